"""Codes are made shard by shard and kept where they pay; a full disk or a kill -9 leaves the old state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from coded_library import FROM, SPEC, SURE, add, check_alike, kept, series_of, shard_folders

from lightmeter.library import coding, neighbours
from lightmeter.library.calibrating import calibrate
from lightmeter.library.codes import count_strays, sweep_codes
from lightmeter.library.coding import keep_codes
from lightmeter.library.facts import library_facts
from lightmeter.library.fsck import fsck
from lightmeter.library.neighbours import kept_choice
from lightmeter.library.store import open_library
from lightmeter.meter.trials import choose


def test_new_shards_are_coded_and_the_others_kept(library, codes_win):
    keep_codes(library, series_of(library), from_rows=FROM)
    before = {place.name: (place / "model.json").stat().st_mtime_ns for place in shard_folders(library)}
    assert len(before) == 3
    first = kept(library)
    add(library, 900, 60, np.random.default_rng(1))
    keep_codes(library, series_of(library), from_rows=FROM)
    after = {place.name: (place / "model.json").stat().st_mtime_ns for place in shard_folders(library)}
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    assert kept(library) == first, "a few more rows: the choice holds"


def test_the_choice_is_measured_again_when_a_fifth_has_changed(library, codes_win):
    keep_codes(library, series_of(library), from_rows=FROM)
    first = kept(library)
    assert first.choice.rows == len(library.features(SPEC)) == 1260
    library.remove(library.items().keys[:300].tolist())
    keep_codes(library, series_of(library), from_rows=FROM)
    second = kept(library)
    assert (second.choice.rows, second.folder) == (840, first.folder)
    library.remove(library.items().keys[:300].tolist())
    keep_codes(library, series_of(library), from_rows=FROM)
    third = kept(library)
    assert third.folder != first.folder, "a third of the rows: a coder of its own"
    assert count_strays(library.catalogue) == 1
    sweep_codes(library.catalogue)
    assert [place.name for place in (library.folder / "indexes").iterdir()] == [third.folder]
    assert keep_codes(library, series_of(library), from_rows=10_000) is None
    assert kept_choice(library, series_of(library)) is None
    sweep_codes(library.catalogue)
    assert list((library.folder / "indexes").iterdir()) == []


def test_the_cheaper_one_is_chosen_and_a_scan_keeps_no_codes(library):
    choice = keep_codes(library, series_of(library), from_rows=FROM)
    price = {trial.candidate: trial.cost.cpu_s for trial in choice.trials}
    assert set(price) == {"brute", "one-bit", SURE}
    assert choice.spec == min(price, key=price.get) == "brute", "opening codes costs more than 1,260 rows"
    agreement = {trial.candidate: trial.quality for trial in choice.trials}
    assert agreement["brute"] == 1
    assert agreement[SURE] >= 0.99
    assert kept(library).folder is None
    assert keep_codes(library, series_of(library), from_rows=FROM) == choice, "remembered"
    for spec, recipe in neighbours.CANDIDATES.items():
        assert replace(choice, spec=spec).recipe() == recipe, "spelt as `search.auto` builds it"
    assert "scan" in library_facts(library)["searched_by"][SPEC]
    calibrate(library)  # sweeps; below 20,000 rows nothing is kept
    assert library_facts(library)["searched_by"] == {}
    assert list((library.folder / "indexes").iterdir()) == []


def test_codes_that_agree_too_seldom_are_not_chosen(library, monkeypatch):
    def dear(trials, **how):
        cheap = [replace(each, quality=0.98 if each.candidate != "brute" else 1.0) for each in trials]
        return choose([replace(e, cost=replace(e.cost, cpu_s=9.0)) if e.quality == 1 else e for e in cheap], **how)

    monkeypatch.setattr(coding, "choose", dear)
    assert keep_codes(library, series_of(library), from_rows=FROM).spec == "brute"


def test_agreement_is_counted_on_the_ten_best_others(library, monkeypatch):
    """Codes whose measured rows lack half of the answers agree by half."""
    whole = coding.Coded.rounds

    def half(self, query, k):
        for found in whole(self, query, k):
            order = np.argsort(-found.values)
            keep = np.sort(order[[0, 1, 3, 5, 7, 9, *range(11, len(order))]])
            keep = keep[found.values[keep] >= np.sort(found.values)[-10]]
            yield replace(found, owners=found.owners[keep], values=found.values[keep], sure=-2.0)

    monkeypatch.setattr(coding.Coded, "rounds", half)
    monkeypatch.setattr(coding._Contest, "by_codes", lambda self, coded, query: _first(coded.rounds(query, self.k)))
    choice = keep_codes(library, series_of(library), from_rows=FROM)
    assert 0.4 <= next(trial.quality for trial in choice.trials if trial.candidate == SURE) <= 0.6


def _first(rounds):
    found = next(iter(rounds))
    return found.owners, found.values


def test_a_full_disk_keeps_everything_else(library, codes_win, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    told = []
    monkeypatch.setattr(coding, "write_codes", full)
    assert keep_codes(library, series_of(library), from_rows=FROM, tell=told.append) is None
    assert "No space left" in told[0]
    sweep_codes(library.catalogue)
    assert list((library.folder / "indexes").iterdir()) == []


def test_what_takes_long_is_told_once(library, monkeypatch):
    told = []
    monkeypatch.setattr(coding._Maker, "spent_s", property(lambda self: 2.0))
    keep_codes(library, series_of(library), from_rows=FROM, tell=told.append)
    [text] = told
    assert "codes of 1,260 rows of color-histogram" in text


# -- kill -9 ---------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from lightmeter.assets import saving
from lightmeter.library import coding
from lightmeter.library.store import open_library

left = [int(sys.argv[2])]
write = saving.write_safetensors

def dying(path, arrays):
    left[0] -= 1
    if left[0] < 0:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, arrays)

saving.write_safetensors = dying
coding.choose = lambda trials, **_: trials[2]
with open_library(sys.argv[1], write=True) as library:
    coding.keep_codes(library, library.series("color-histogram/bins=4", "item"), from_rows=100)
"""


def killed_while_coding(place, after):
    command = [sys.executable, "-c", KILLED, str(place), str(after)]
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode


@pytest.mark.parametrize("after", [pytest.param(0, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_kill_while_codes_are_written_leaves_the_old_state(library, asking, codes_win, after):
    calibrate(library)
    vector = library.features(SPEC).vectors[7]
    library.close()
    assert killed_while_coding(library.folder, after) == -signal.SIGKILL
    with open_library(library.folder, write=True) as opened:
        assert kept_choice(opened, series_of(opened)) is None
        assert asking(opened, vector).sources[0].answered is None
        assert keep_codes(opened, series_of(opened), from_rows=FROM).spec == SURE
        sweep_codes(opened.catalogue)
        assert len(list((opened.folder / "indexes").iterdir())) == 1
        add(opened, 900, 100, np.random.default_rng(5))
        before = kept(opened)
    assert killed_while_coding(library.folder, 0) == -signal.SIGKILL, "while a new shard is coded"
    with open_library(library.folder, write=True) as opened:
        assert kept(opened) == before
        answer = asking(opened, vector)
        assert (answer.sources[0].answered.scanned, answer.notes) == (140, [])
        check_alike(answer, asking.by_scan(opened, vector))
        assert fsck(library.folder).orphans == 1
        keep_codes(opened, series_of(opened), from_rows=FROM)
        sweep_codes(opened.catalogue)
        assert asking(opened, vector).sources[0].answered.scanned == 0
    health = fsck(library.folder)
    assert (health.problems, health.orphans) == ((), 0)
