"""Files that change, break, heal or vanish between and during runs; calibrations blind to the order of files."""

import dataclasses
import os

import pytest
from media_folder import QUICK, gallery, indexed, picture

from lightmeter.assets.files import file_sha256
from lightmeter.engines.stage import Failure, Task
from lightmeter.library import calibrating
from lightmeter.library import stage as stage_module
from lightmeter.library.facts import status_facts
from lightmeter.library.indexing import index
from lightmeter.library.stage import IndexStage
from lightmeter.library.store import open_library
from lightmeter.media.door import pinned, read_bytes
from lightmeter.media.images import read_image


def known(library, path):
    with open_library(library) as opened:
        row = opened.known_path(path)
        return (row.missing if row else None), [error.code for error in opened.errors()]


def test_path_whose_file_broke_no_longer_holds_what_it_held(tmp_path):
    folder, library = tmp_path / "media", tmp_path / "library"
    path = picture(folder / "a.png", "red")
    picture(folder / "b.png", "blue")
    indexed(folder, library)
    good = path.read_bytes()
    path.write_bytes(b"nonsense")
    assert list(indexed(folder, library).failed) == [str(path)]
    assert known(library, path) == (True, ["unknown-format"])
    path.write_bytes(good)
    os.utime(path, ns=(1, 1))
    assert indexed(folder, library).failed == {}
    assert known(library, path) == (False, [])


def test_error_of_a_file_that_is_gone_is_forgotten(tmp_path):
    folder, library = gallery(tmp_path / "media", per_colour=1), tmp_path / "library"
    bad = folder / "bad.png"
    bad.write_bytes(b"nonsense")
    (folder / "out.png").symlink_to("/etc/hostname")
    assert len(indexed(folder, library).failed) == 2
    bad.unlink()
    (folder / "out.png").unlink()
    assert indexed(folder, library).failed == {}
    assert known(library, bad) == (None, [])


def test_file_that_changes_while_it_is_read_is_refused(tmp_path):
    """Its features would stand under the hash of other bytes."""
    folder, library = tmp_path / "media", tmp_path / "library"
    path = picture(folder / "a.png", "red")
    indexed(folder, library)
    picture(path, "blue", seed=1)
    stage = IndexStage(("color-histogram/bins=3",), "", library)
    stage.open()
    beats = []

    def beat():
        beats.append(1)
        if len(beats) == 2:  # the first is before the file, the second while it is hashed
            picture(path, "green", seed=2)

    payload = {"path": str(path), "root": str(folder), "size_bytes": 1, "stamp_ns": 1}
    (outcome,) = stage.run([Task("k", payload)], beat)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "rejected:changed"


@pytest.mark.parametrize("swapped", ["file before", "folder before", "file meanwhile"])
def test_a_link_put_in_a_files_place_is_not_followed(tmp_path, monkeypatch, swapped):
    """Between the listing and the reading, and while it is read."""
    folder, library, outside = tmp_path / "media", tmp_path / "library", tmp_path / "outside"
    path = picture(folder / "deep" / "a.png", "red")
    secret = picture(outside / "a.png", "blue", seed=1)
    indexed(folder, library)
    stage = IndexStage(("color-histogram/bins=3",), "", library)
    stage.open()
    digest = file_sha256(path)
    beats = []

    def swap():
        if swapped == "folder before":
            path.parent.rename(folder / "aside")
            (folder / "deep").symlink_to(outside)
        else:
            path.unlink()
            path.symlink_to(secret)

    def beat():
        beats.append(1)
        if len(beats) == (2 if swapped == "file meanwhile" else 1):
            swap()

    seen = []
    monkeypatch.setattr(stage_module, "specs_of", lambda catalogue, found: seen.append(found) or set())
    payload = {"path": str(path), "root": str(folder), "size_bytes": 1, "stamp_ns": 1}
    (outcome,) = stage.run([Task("k", payload)], beat)
    code = {"file before": "not-a-file", "folder before": "link-outside", "file meanwhile": "changed"}[swapped]
    assert isinstance(outcome, Failure)
    assert outcome.reason == f"rejected:{code}"
    assert seen == ([digest] if swapped == "file meanwhile" else [])


def test_within_a_pin_every_reader_gets_the_same_file(tmp_path):
    path, other = picture(tmp_path / "a.png", "red"), picture(tmp_path / "b.png", "blue", seed=1)
    before = path.read_bytes()
    with pinned(path, tmp_path):
        path.unlink()
        path.symlink_to(other)
        assert read_bytes(path, 10**9) == before
        assert read_image(str(path)).value.pixels[5, 5].argmax() == 0
        assert read_bytes(other, 10**9) != before
    assert read_bytes(path, 10**9) == other.read_bytes()


def nulls(library):
    with open_library(library) as opened:
        return {series.spec: opened.calibration(series, "null")[0] for series in opened.all_series()}


@pytest.mark.parametrize("pairs", [400, 9])
def test_calibration_does_not_depend_on_the_order_in_which_files_came(tmp_path, monkeypatch, pairs):
    monkeypatch.setattr(calibrating, "MEMBERS", pairs)
    folder = gallery(tmp_path / "media", per_colour=5)
    indexed(folder, tmp_path / "one")
    for name in ("red", "grey", "blue"):
        paths = sorted(folder.glob(f"{name}-*.png"), reverse=True)
        hidden = [path for path in folder.iterdir() if path not in paths and path.suffix == ".png"]
        for path in hidden:
            path.rename(path.with_suffix(".later"))
        indexed(folder, tmp_path / "many", dataclasses.replace(QUICK, seed=0))
        for path in hidden:
            path.with_suffix(".later").rename(path)
    index([folder], tmp_path / "many", QUICK)
    one, many = nulls(tmp_path / "one"), nulls(tmp_path / "many")
    for spec, found in one.items():
        assert found["null"]["threshold"] == pytest.approx(many[spec]["null"]["threshold"], abs=1e-6)
        assert found["null"]["miss"] == many[spec]["null"]["miss"]


def test_status_tells_of_a_run_that_did_not_end(tmp_path, monkeypatch):
    folder, library = gallery(tmp_path / "media", per_colour=1), tmp_path / "library"
    indexed(folder, library)
    with open_library(library) as opened:
        assert status_facts(opened)[0]["unfinished_runs"] == 0
    with monkeypatch.context() as patch:
        patch.setattr("lightmeter.library.indexing.calibrate", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            indexed(folder, library)
    with open_library(library) as opened:
        assert status_facts(opened)[0]["unfinished_runs"] == 1
    indexed(folder, library)
    with open_library(library) as opened:
        assert status_facts(opened)[0]["unfinished_runs"] == 0
