"""Searches of large series: codes answer as the scan does, whatever was removed, added, merged or filtered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from coded_library import DIM, FROM, SPEC, SURE, add, check_alike, drawn, kept, series_of
from media_folder import gallery, indexed

from lightmeter.cli.search import search as command
from lightmeter.library import coding, neighbours
from lightmeter.library.calibrating import calibrate
from lightmeter.library.codes import sweep_codes
from lightmeter.library.coding import keep_codes
from lightmeter.library.facts import library_facts
from lightmeter.library.filters import Where
from lightmeter.library.neighbours import Answered, Kept
from lightmeter.library.store import open_library
from lightmeter.types import Item


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
