"""Codes that are damaged, lost or forged are named, scanned around and made again; none are left behind."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from coded_library import DIM, FROM, SPEC, SURE, check_alike, folder, kept, series_of, shard_folders
from media_folder import gallery, indexed

from lightmeter.cli.info import info
from lightmeter.library import coding
from lightmeter.library.calibrating import calibrate
from lightmeter.library.codes import codes_bytes, count_strays, damaged_codes, sweep_codes
from lightmeter.library.coding import keep_codes
from lightmeter.library.fsck import fsck
from lightmeter.library.neighbours import kept_choice
from lightmeter.library.searching import search
from lightmeter.library.store import CODES, open_library


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
