"""Searches of large series: codes answer as the scan does, whatever was removed, added, merged, filtered or broken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from media_folder import gallery, indexed, picture

from lightmeter.cli.info import info
from lightmeter.cli.search import search as command
from lightmeter.library import coding, looking, neighbours
from lightmeter.library.calibrating import calibrate
from lightmeter.library.codes import codes_bytes, count_strays, damaged_codes, sweep_codes
from lightmeter.library.coding import keep_codes
from lightmeter.library.contents import Tag
from lightmeter.library.facts import library_facts
from lightmeter.library.filters import Where
from lightmeter.library.fsck import fsck
from lightmeter.library.neighbours import Answered, Kept, kept_choice
from lightmeter.library.searching import search
from lightmeter.library.store import CODES, open_library
from lightmeter.meter.trials import choose
from lightmeter.types import Item

SPEC, DIM = "color-histogram/bins=4", 64
SURE = "one-bit/doubt=3.5"
FROM = 100


@pytest.fixture
def codes_win(monkeypatch):
    """Small series too: codes are chosen and used wherever there are some."""
    monkeypatch.setattr(coding, "choose", lambda trials, **_: trials[2])
    monkeypatch.setattr(coding, "_ASKING", 6)
    monkeypatch.setattr(Kept, "worth", lambda kept, rows, opened: kept.folder is not None)


def drawn(rng, count):
    """Rows in clusters, some of them twice, though not within one video: rounding may show either moment."""
    centres = np.random.default_rng(99).standard_normal((12, DIM))
    rows = centres[rng.integers(12, size=count)] + 0.6 * rng.standard_normal((count, DIM))
    rows[1::9] = np.roll(rows[::9][: len(rows[1::9])], 3, axis=0)
    return rows.astype(np.float32)


def add(library, first, count, rng):
    """Pictures of one row and videos of five, at a path each; every third carries a tag."""
    with library.transaction():
        names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(first, first + count)]
        kinds = ["video" if number % 10 == 0 else "image" for number in range(first, first + count)]
        keys = library.add_contents([Item(name, kind, 1) for name, kind in zip(names, kinds, strict=True)])
        for number, key in enumerate(keys.tolist(), first):
            path = library.add_path(f"/m/{number}.png", key, size_bytes=1, mtime_ns=0)
            if number % 3 == 0:
                library.set_tags([Tag(path, "third", 1.0, "test")])
        owners = np.repeat(keys, [5 if kind == "video" else 1 for kind in kinds])
        times_s = np.concatenate([np.arange(5.0) if kind == "video" else [np.nan] for kind in kinds])
        library.append(library.series(SPEC, "item", DIM), owners, drawn(rng, len(owners)), times_s)
    return keys


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "l"
    with open_library(place, create=True) as opened:
        rng = np.random.default_rng(0)
        for at in range(3):
            add(opened, 300 * at, 300, rng)
        calibrate(opened)
    return place


@pytest.fixture
def library(made, tmp_path):
    """900 items in three shards, 1,260 rows."""
    shutil.copytree(made, tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as opened:
        yield opened


def series_of(library):
    return library.series(SPEC, "item")


def kept(library):
    found = kept_choice(library, series_of(library))
    assert found is not None
    return found


def folder(library):
    return library.folder / "indexes" / kept(library).folder


def shard_folders(library):
    return sorted(place for place in folder(library).iterdir() if place.name != "coder")


class Asking:
    """Searches by a vector: the file that asks is a stand-in, and its vector is given."""

    def __init__(self, place, monkeypatch):
        self.query = picture(place / "query.png", "red")
        self.monkeypatch = monkeypatch

    def __call__(self, library, vectors, **how):
        self.monkeypatch.setattr(looking, "encode_file", lambda *_: np.atleast_2d(vectors).astype(np.float32))
        return search(library, str(self.query), **how)

    def by_scan(self, library, vectors, **how):
        with self.monkeypatch.context() as patch:
            patch.setattr(Kept, "worth", lambda kept, rows, opened: False)
            return self(library, vectors, **how)


@pytest.fixture
def asking(tmp_path, monkeypatch):
    return Asking(tmp_path, monkeypatch)


def check_alike(mine, scanned):
    """The same hits in the same order; those whose scores differ by rounding alone may have changed places."""
    scores = [np.array([hit.score for hit in answer.hits]) for answer in (mine, scanned)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    known = {hit.key: (hit.time_s, hit.path) for hit in scanned.hits}
    for hit in mine.hits:
        if hit.key in known or hit.score > scores[0].min() + 1e-5:
            assert known[hit.key] == (hit.time_s, hit.path)


def check_same(asking, library, rng, *, count=9):
    """Codes and scan give the same. Returns by how many queries codes were used."""
    by_codes = 0
    for at in range(count):
        features = library.features(series_of(library))
        own = features.take(rng.integers(len(features), size=1))[0]
        vector = own if at % 3 == 0 else own + 0.3 * rng.standard_normal(DIM)
        if at % 6 == 5:
            vector = rng.standard_normal(DIM)
        how = {"k": int(rng.choice([1, 5, 10])), "where": [None, Where(tags=("third",)), Where(kind="video")][at % 3]}
        mine, scanned = asking(library, vector, **how), asking.by_scan(library, vector, **how)
        check_alike(mine, scanned)
        assert mine.looked_at == scanned.looked_at
        assert mine.sources[0].nearest == pytest.approx(scanned.sources[0].nearest, abs=1e-5)
        assert scanned.sources[0].answered is None
        by_codes += mine.sources[0].answered is not None
    return by_codes


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))])
def test_codes_answer_as_the_scan_does_through_every_change(library, asking, codes_win, seed):
    rng = np.random.default_rng(seed)
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    assert check_same(asking, library, rng) >= 4
    library.remove(rng.permutation(library.items().keys)[:90].tolist())
    assert check_same(asking, library, rng) >= 4
    add(library, 900, 40, rng)  # a shard without codes
    assert check_same(asking, library, rng) >= 4
    library.forget_features(series_of(library), library.items().keys[:30].tolist())
    replaced = library.items(Where(kind="image")).keys[:20]
    library.append(series_of(library), replaced, drawn(rng, 20), replace=True)
    assert check_same(asking, library, rng) >= 4
    library.gc()
    assert check_same(asking, library, rng) == 0, "merged: no codes, all is scanned"
    assert "most of its rows have no codes" in asking(library, np.ones(DIM)).notes[0]
    keep_codes(library, series_of(library), from_rows=FROM)
    assert check_same(asking, library, rng) >= 4


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


def test_what_answered_is_told_with_its_price(library, asking, codes_win):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    source = asking(library, vector).sources[0]
    assert source.answered.index == SURE
    assert source.answered.agreement >= 0.99
    assert source.answered.scanned == 0
    assert f"by {SURE} codes in" in source.said()
    assert asking(library, vector, everything=True).sources[0].answered is None, "--all scans"
    two = np.stack([vector, vector])
    assert asking(library, two).sources[0].answered is None, "so do queries of several rows"
    check_alike(asking(library, two), asking(library, vector))
    assert "12 rows without" in Answered("one-bit", 0.1, 0.2, 1.0, 12).said()
    assert SURE in library_facts(library)["searched_by"][SPEC]


def test_codes_are_used_where_they_are_cheaper_than_a_scan_of_the_rows_let_through(library, monkeypatch):
    choice = keep_codes(library, series_of(library), from_rows=FROM)
    priced = tuple(
        replace(each, others={"query_s": seconds, "open_s": 0.02})
        for each, seconds in zip(choice.trials, (0.1, 0.01, 0.01), strict=True)
    )
    kept = Kept(replace(choice, spec="one-bit", trials=priced), "codes-1-00000000", 1260)
    assert kept.worth(1260, opened=False)
    assert not kept.worth(300, opened=False), "0.024 s to scan, 0.03 to open and ask"
    assert kept.worth(300, opened=True)
    assert not replace(kept, folder=None).worth(1260, opened=True)


def test_an_owner_of_many_rows_hides_no_other(tmp_path, asking, codes_win, monkeypatch):
    """1,000 equal rows of one owner stand before all others: no number of rows asked of the codes shows ten items."""
    monkeypatch.setattr(neighbours, "_MOST", 512)
    rng = np.random.default_rng(0)
    with open_library(tmp_path / "many", create=True) as library, library.transaction():
        names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(301)]
        keys = library.add_contents([Item(name, "video", 1) for name in names])
        one = np.eye(DIM, dtype=np.float32)[0]
        others = one + np.repeat([0.002, 0.2], [20, 280])[:, None] * rng.standard_normal((300, DIM))
        rows = np.concatenate([np.tile(one, (1000, 1)), others])
        library.append(library.series(SPEC, "item", DIM), np.concatenate([np.full(1000, keys[0]), keys[1:]]), rows)
    with open_library(tmp_path / "many", write=True) as library:
        calibrate(library)
        keep_codes(library, series_of(library), from_rows=FROM)
        answer = asking(library, one)
        assert answer.sources[0].answered is None
        assert len(answer.hits) == 10
        check_alike(answer, asking.by_scan(library, one))


def test_searching_writes_nothing_and_needs_no_right_to(library, asking, codes_win):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    library.close()
    before = {path: path.stat().st_mtime_ns for path in library.folder.rglob("*")}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with open_library(library.folder) as reader:
        assert asking(reader, vector).sources[0].answered is not None
    for path in before:
        path.chmod(0o755 if path.is_dir() else 0o644)
    after = {path: path.stat().st_mtime_ns for path in library.folder.rglob("*")}
    assert {path: stamp for path, stamp in after.items() if not path.name.endswith(("-wal", "-shm"))} == before


def test_index_makes_codes_and_makes_damaged_ones_again(tmp_path, codes_win, monkeypatch):
    monkeypatch.setattr(coding, "FROM_ROWS", 5)
    media = gallery(tmp_path / "media")
    for change in (None, flip):
        indexed(media, tmp_path / "l")
        with open_library(tmp_path / "l") as library:
            answer = search(library, str(media / "red-0.png"))
            assert answer.sources[0].answered.index == SURE
            assert (answer.notes, len(answer.hits) > 0) == ([], True)
            assert CliRunner().invoke(info, ["--library", str(tmp_path / "l")]).output.count(SURE) == 1
            if change:
                break
            [place] = [each for each in (tmp_path / "l" / "indexes").glob("*/*") if each.name != "coder"]
            flip(place / "model.safetensors")
            assert search(library, str(media / "red-0.png")).sources[0].answered is not None, "read before"
        with open_library(tmp_path / "l") as library:
            [note] = search(library, str(media / "red-0.png")).notes
            assert note.startswith("picture: the codes of 1 shard cannot be read")


def test_the_command_tells_which_index_answered(tmp_path, codes_win, monkeypatch):
    monkeypatch.setattr(coding, "FROM_ROWS", 5)
    media = gallery(tmp_path / "media")
    asked = [str(media / "red-0.png"), "--library", str(tmp_path / "l")]
    indexed(media, tmp_path / "l")
    assert f"by {SURE} codes in" in CliRunner().invoke(command, asked).stderr
    rows = [json.loads(line) for line in CliRunner().invoke(command, [*asked, "--json"]).stdout.splitlines()]
    told = rows[-1]["sources"][0]["index"]
    assert told["index"] == SURE
    assert told["agreement"] == 1
    assert set(told) == {"index", "cpu_s", "scan_cpu_s", "agreement", "scanned"}
    rows = CliRunner().invoke(command, [*asked, "--json", "--all"]).stdout.splitlines()
    assert json.loads(rows[-1])["sources"][0]["index"] == {"index": "scan"}


# -- damage ----------------------------------------------------------------------------------------------------------


def flip(file):
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


def link_away(file):
    away = file.with_name("away")
    file.rename(away)
    file.symlink_to(away)


def exchange(file):
    """The codes of another shard, whole in themselves."""
    other = next(place for place in file.parent.parent.iterdir() if place.name not in ("coder", file.parent.name))
    for name in ("model.json", "model.safetensors"):
        (file.parent / name).write_bytes((other / name).read_bytes())


@pytest.mark.parametrize("harm", [flip, cut, link_away, exchange])
def test_damaged_codes_are_named_scanned_around_and_made_again(library, asking, codes_win, harm):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    harm(shard_folders(library)[1] / "model.safetensors")
    with open_library(library.folder) as reader:
        answer = asking(reader, vector)
        check_alike(answer, asking.by_scan(reader, vector))
        assert answer.sources[0].answered.scanned == 420
        assert any("`lightmeter index` makes them again" in note for note in answer.notes)
    [problem] = fsck(library.folder).problems
    assert problem.place == "codes"
    if harm is link_away:
        (shard_folders(library)[1] / "model.safetensors").unlink()
    keep_codes(library, series_of(library), from_rows=FROM)
    sweep_codes(library.catalogue)
    assert damaged_codes(library.catalogue) == []
    assert asking(library, vector).notes == []
    assert asking(library, vector).sources[0].answered.scanned == 0
    assert fsck(library.folder).problems == ()


@pytest.mark.parametrize("part", ["coder", "folder"])
def test_a_lost_coder_is_named_and_made_again(library, asking, codes_win, part):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    old = folder(library)
    if part == "coder":
        flip(old / "coder" / "model.safetensors")
    else:
        old.rename(library.folder / "elsewhere")
    with open_library(library.folder) as reader:
        answer = asking(reader, vector)
        assert answer.sources[0].answered is None
        check_alike(answer, asking.by_scan(reader, vector))
        assert "its codes cannot be read" in answer.notes[0]
    keep_codes(library, series_of(library), from_rows=FROM)
    sweep_codes(library.catalogue)
    assert folder(library) != old
    assert asking(library, vector).sources[0].answered is not None
    assert fsck(library.folder).problems == ()


def test_fsck_repairs_codes_and_counts_strays(library, codes_win):
    keep_codes(library, series_of(library), from_rows=FROM)
    flip(shard_folders(library)[0] / "model.safetensors")
    stray = library.folder / "indexes" / "codes-7-0123abcd"
    stray.mkdir()
    (shard_folders(library)[1] / ".model.json.ab.tmp").write_text("half")
    other = library.folder / "indexes" / "recognise-1"
    other.mkdir()
    library.close()
    health = fsck(library.folder)
    assert ([problem.place for problem in health.problems], health.orphans) == (["codes"], 2)
    assert fsck(library.folder, repair=True).repaired
    health = fsck(library.folder)
    assert (health.problems, health.orphans) == ((), 0)
    assert not stray.exists()
    assert other.exists(), "indexes of other commands are left alone"
    with open_library(library.folder) as reader:
        flip(folder(reader) / "coder" / "model.safetensors")
    assert fsck(library.folder, repair=True).repaired
    with open_library(library.folder) as reader:
        assert kept_choice(reader, series_of(reader)) is None
    assert fsck(library.folder).problems == ()


def test_gc_leaves_no_codes_of_shards_that_are_gone(library, codes_win):
    keep_codes(library, series_of(library), from_rows=FROM)
    assert codes_bytes(library.folder, kept(library).folder) > 3 * 420 * DIM // 8
    library.remove(library.items().keys[:10].tolist())
    library.gc()
    assert shard_folders(library) == []
    assert count_strays(library.catalogue) == 0


def test_a_link_is_never_followed(library, asking, codes_win, tmp_path):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    (library.folder / "indexes").rename(tmp_path / "away")
    (library.folder / "indexes").symlink_to(tmp_path / "away")
    before = sorted(path for path in (tmp_path / "away").rglob("*"))
    with open_library(library.folder) as reader:
        assert "is a link" in asking(reader, vector).notes[0]
    sweep_codes(library.catalogue)
    fsck_problems = fsck(library.folder).problems
    assert [problem.place for problem in fsck_problems] == ["codes"]
    library.close()
    fsck(library.folder, repair=True)
    assert sorted(path for path in (tmp_path / "away").rglob("*")) == before


@pytest.mark.parametrize(
    "said", ["[]", "{}", '{"choice": {}}', '{"choice": [], "folder": "../..", "coder_rows": 3}', "3", "null"]
)
def test_what_a_stranger_wrote_into_the_catalogue_is_no_choice(library, asking, codes_win, said):
    with library.transaction():
        library.set_calibration(series_of(library), CODES, json.loads(said))
    assert kept_choice(library, series_of(library)) is None
    assert asking(library, library.features(SPEC).vectors[7]).hits
    sweep_codes(library.catalogue)
    assert keep_codes(library, series_of(library), from_rows=FROM).spec == SURE
    place = {"choice": kept(library).choice.as_json(), "folder": "../../etc", "coder_rows": 1}
    library.set_calibration(series_of(library), CODES, place)
    assert "are no folder of codes" in asking(library, library.features(SPEC).vectors[7]).notes[0]
    assert [problem.place for problem in fsck(library.folder).problems] == ["codes"]


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
from lightmeter.cli.info import info
from lightmeter.cli.search import search as command
from lightmeter.library import coding
from lightmeter.library.neighbours import Kept
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


def test_a_reader_goes_on_while_a_writer_makes_new_codes(library, asking, codes_win):
    calibrate(library)
    keep_codes(library, series_of(library), from_rows=FROM)
    vector = library.features(SPEC).vectors[7]
    with open_library(library.folder) as reader:
        first = asking(reader, vector)
        library.remove(library.items().keys[100:700].tolist())
        keep_codes(library, series_of(library), from_rows=FROM)
        sweep_codes(library.catalogue)
        later = asking(reader, vector)
        check_alike(later, asking.by_scan(library, vector))
        assert later.sources[0].answered is not None
        assert {hit.key for hit in first.hits} != {hit.key for hit in later.hits}
    assert neighbours.kept_choice(library, series_of(library)).folder == kept(library).folder
    assert Path(library.folder / "indexes" / kept(library).folder).is_dir()
