"""Indexing reads what changed, keeps what it knew, names what failed, and goes on where it was."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil

import numpy as np
import pytest
from media_folder import QUICK, gallery, indexed, picture, sound, video
from toy_encoders import TOYS

from lightmeter.encoders.table import ENCODERS
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.errors import InvalidValueError, WorkerError
from lightmeter.library import stage as stage_module
from lightmeter.library.filters import Where
from lightmeter.library.indexing import DEFAULT_ENCODERS, IndexOptions, dry_run, index
from lightmeter.library.room import naming_the_limit, room_bytes
from lightmeter.library.scan import scan
from lightmeter.library.searching import search
from lightmeter.library.store import open_library
from lightmeter.library.tagging import set_by_hand
from lightmeter.library.watching import watch


@pytest.fixture
def folder(tmp_path):
    return gallery(tmp_path / "media")


def state_of(library):
    """All that a user can see of a library, in one comparable value."""
    with open_library(library) as opened:
        items = [(i.id, i.kind, i.state, sorted(i.paths)) for i in opened.items()]
        features = {}
        for series in opened.all_series():
            rows = opened.features(series)
            ids = {key: item.id for key, item in zip(opened.items().keys.tolist(), opened.items(), strict=True)}
            owners = [ids.get(owner, "path") for owner in rows.owners.tolist()]
            features[series.spec] = sorted(zip(owners, [v.tobytes() for v in rows.vectors], strict=True))
        return sorted(items), features


def test_everything_is_found_and_nothing_is_read_twice(folder, tmp_path):
    first = indexed(folder, tmp_path / "l")
    assert (first.done, first.items, first.failed) == (12, 12, {})
    again = indexed(folder, tmp_path / "l")
    assert (again.done, again.unchanged) == (0, 12)


def test_inline_and_local_end_alike(folder, tmp_path):
    indexed(folder, tmp_path / "a")
    index([folder], tmp_path / "b", dataclasses.replace(QUICK, engine=Local(workers=2)))
    assert state_of(tmp_path / "a") == state_of(tmp_path / "b")


def test_only_what_changed_is_read(folder, tmp_path):
    indexed(folder, tmp_path / "l")
    picture(folder / "red-0.png", "blue", seed=99)
    picture(folder / "new.png", "grey", seed=98)
    (folder / "green-1.png").unlink()
    again = indexed(folder, tmp_path / "l")
    assert (again.done, again.unchanged, again.missing) == (2, 10, 1)


def test_a_moved_file_keeps_its_features(folder, tmp_path):
    indexed(folder, tmp_path / "l")
    before = state_of(tmp_path / "l")[1]
    (folder / "deep").mkdir()
    (folder / "red-0.png").rename(folder / "deep" / "renamed.png")
    again = indexed(folder, tmp_path / "l")
    assert again.items == 12
    assert again.missing == 1
    assert state_of(tmp_path / "l")[1] == before
    with open_library(tmp_path / "l") as library:
        key = library.known_path(folder / "deep" / "renamed.png").item
        seen = {os.path.basename(p.path): p.missing for p in library.paths_of(key)}
        assert seen == {"red-0.png": True, "renamed.png": False}


def test_labels_and_the_shown_path_follow_a_moved_folder(folder, tmp_path):
    indexed(folder, tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as library:
        set_by_hand(library, [folder / "red-0.png"], add=["holiday"])
    moved = folder.rename(tmp_path / "elsewhere")
    indexed(moved, tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        key = library.known_path(moved / "red-0.png").key
        assert [tag.tag for tag in library.tags_of([key])[key]] == ["holiday"]
        assert library.counts().missing_paths == 12
        [hit] = search(library, None, where=Where(tags=("holiday",))).hits
        assert (hit.path, hit.missing) == (str(moved / "red-0.png"), False)


def test_a_folder_that_vanished_has_its_files_marked(folder, tmp_path):
    indexed(folder, tmp_path / "l")
    shutil.rmtree(folder)
    done = indexed(folder, tmp_path / "l")
    assert (done.missing, done.items) == (12, 12)


def test_a_copy_is_one_item_with_two_paths(folder, tmp_path):
    shutil.copy(folder / "red-0.png", folder / "copy.png")
    assert indexed(folder, tmp_path / "l").items == 12


def test_a_broken_file_is_named_and_its_neighbours_are_kept(folder, tmp_path):
    (folder / "zero.png").touch()
    (folder / "fake.mp4").write_text("ffconcat version 1.0\nfile red-0.png\n")
    (folder / "notes.txt").write_text("not media")
    done = indexed(folder, tmp_path / "l")
    assert {os.path.basename(p): reason.split(":")[0] for p, reason in done.failed.items()} == {
        "zero.png": "empty", "fake.mp4": "disguise",
    }  # fmt: skip
    assert (done.items, done.skipped) == (12, 1)
    again = indexed(folder, tmp_path / "l")
    assert again.done == 0
    assert set(again.failed) == set(done.failed), "a known failure is named again, and not tried again"


def test_a_mended_file_is_read(folder, tmp_path):
    (folder / "zero.png").touch()
    indexed(folder, tmp_path / "l")
    picture(folder / "zero.png", "red", seed=50)
    done = indexed(folder, tmp_path / "l")
    assert (done.done, done.failed, done.items) == (1, {}, 13)
    with open_library(tmp_path / "l") as library:
        assert list(library.errors()) == []


def test_retry_tries_again(folder, tmp_path):
    (folder / "zero.png").touch()
    indexed(folder, tmp_path / "l")
    heard = []
    retry = dataclasses.replace(QUICK, retry=True)
    index([folder], tmp_path / "l", retry, events=lambda event, total: heard.append((event.kind, total)))
    assert ("failure", 1) in heard


def test_damaged_but_readable_is_kept_and_named(folder, tmp_path):
    whole = picture(folder / "whole.jpg", "green", seed=7, size=(200, 150)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    done = indexed(folder, tmp_path / "l")
    assert [os.path.basename(path) for path in done.damaged] == ["cut.jpg"]
    with open_library(tmp_path / "l") as library:
        assert library.counts().states == {"damaged": 1, "ok": 13}


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    outside = picture(tmp_path / "secret.png", "red", seed=3)
    (folder / "link.png").symlink_to(outside)
    (folder / "inside.png").symlink_to(folder / "red-0.png")
    os.mkfifo(folder / "pipe.png")
    done = indexed(folder, tmp_path / "l")
    assert {os.path.basename(p) for p in done.failed} == {"link.png"}
    assert done.items == 12
    assert done.skipped == 2


def test_what_is_excluded_is_passed_over(folder, tmp_path):
    options = dataclasses.replace(QUICK, exclude=("red-*", "*/media/blue-1.png"))
    done = indexed(folder, tmp_path / "l", options)
    assert (done.items, done.skipped) == (8, 4)


def test_names_may_hold_anything(folder, tmp_path):
    for name in (b"new\nline.png", b"bad\xff\xfebytes.png", "ünï—🐈.png".encode(), b"-dash.png", b"sp ace.png"):
        shutil.copy(picture(tmp_path / "x.png", "blue", seed=len(name) + 200), os.path.join(os.fsencode(folder), name))
    done = indexed(folder, tmp_path / "l")
    assert (done.items, done.failed) == (17, {})


@pytest.mark.parametrize("year", [1600, 2300, 5138])
def test_a_date_that_no_database_can_hold_is_clamped(folder, tmp_path, monkeypatch, year):
    """One file of the year 2300 must not end the run, at this look or the next."""
    real, odd_s = os.lstat, (year - 1970) * 31_556_952

    def lstat(path, **more):  # few file systems keep such a date, and all must pass this
        seen = real(path, **more)
        if not os.fspath(path).endswith(("red-0.png", "red-1.txt")):
            return seen
        whole = list(seen)
        whole[8] = odd_s
        return os.stat_result(whole, {"st_mtime": float(odd_s), "st_mtime_ns": odd_s * 10**9})

    monkeypatch.setattr(os, "lstat", lstat)
    (folder / "red-1.txt").write_text("words of another age")
    options = dataclasses.replace(QUICK, encoders=("color-histogram",))
    assert scan([folder]).found[0].stamp_ns > 0
    assert all(-(2**63) <= found.stamp_ns < 2**63 for found in scan([folder]).found)
    monkeypatch.setattr(stage_module, "_now", lambda path: stage_module._stamp(real(path)))
    assert index([folder], tmp_path / "l", options).failed == {}
    assert indexed(folder, tmp_path / "l").unchanged == 12


@pytest.mark.parametrize(("mtime_s", "says"), [(1e12, None), (-1e12, None), (0.0, "1970-01-01T00:00:00")])
def test_a_date_beyond_the_calendar_is_none(mtime_s, says):
    assert stage_module._iso(mtime_s) == says


def test_a_file_of_the_far_future_is_read(folder, tmp_path):
    os.utime(folder / "red-0.png", ns=(0, 13_569_465_600 * 10**9))
    if os.lstat(folder / "red-0.png").st_mtime_ns < 2**63:
        pytest.skip("this file system keeps no dates beyond 2262")
    assert indexed(folder, tmp_path / "l").failed == {}
    assert indexed(folder, tmp_path / "l").unchanged == 12


def test_a_file_without_a_date_inside_has_its_own_and_not_that_of_its_words(folder, tmp_path):
    (folder / "red-0.txt").write_text("a ripe tomato")
    os.utime(folder / "red-0.txt", (2e9, 2e9))
    os.utime(folder / "red-0.png", (1e9, 1e9))
    indexed(folder, tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        key = library.known_path(folder / "red-0.png").item
        [(taken_at,)] = library.catalogue.rows("SELECT taken_at FROM items WHERE key = ?", [key])
    assert taken_at == "2001-09-09T01:46:40"


def test_two_names_that_look_alike_are_two_tasks(folder, tmp_path):
    names = (b"a\xff.png", rb"a\xff.png")
    for seed, name in enumerate(names):
        path = os.path.join(os.fsencode(folder), name)
        shutil.copy(picture(tmp_path / "x.bmp", "blue", seed=300 + seed), path)
        os.utime(path, (1e9, 1e9))
    done = indexed(folder, tmp_path / "l")
    assert (done.done, done.items, done.failed) == (14, 14, {})


def test_one_large_table_of_words_costs_no_picture(folder, tmp_path, monkeypatch):
    """Reading it takes longer than a worker may be silent."""
    rows = (f'{{"file_name": "x{n}.png", "text": "number {n}"}}\n' for n in range(100_000))
    (folder / "metadata.jsonl").write_text("".join(rows) + '{"file_name": "red-0.png", "text": "a tomato"}\n')
    options = dataclasses.replace(QUICK, engine=Local(workers=2), limits=Limits(silent_s=0.3))
    assert index([folder], tmp_path / "l", options).failed == {}
    with open_library(tmp_path / "l") as library:
        key = library.known_path(folder / "red-0.png").key
        assert [w.text for w in library.words_of([key])[key] if w.source == "metadata"] == ["a tomato"]


def test_words_that_cannot_be_read_are_noted_and_the_picture_is_kept(folder, tmp_path):
    (folder / "metadata.jsonl").write_text('{"file_name": "red-0.png", "text": "a tomato"}\n' + "x" * 2_000_000)
    done = indexed(folder, tmp_path / "l")
    assert (done.done, done.failed, done.damaged) == (12, {}, {})
    with open_library(tmp_path / "l") as library:
        reasons = {item.reason for item in library.items()}
    assert reasons == {"metadata.jsonl cannot be read further: a row has more than 1000000 bytes"}


def test_a_second_encoder_is_added_later(folder, tmp_path):
    indexed(folder, tmp_path / "l")
    more = dataclasses.replace(QUICK, encoders=("color-histogram", "color-histogram/bins=2"))
    assert index([folder], tmp_path / "l", more).done == 12
    with open_library(tmp_path / "l") as library:
        assert [len(library.features(series)) for series in library.all_series()] == [12, 12]


def test_videos_have_a_row_a_second_and_sounds_a_row_a_window(tmp_path):
    (tmp_path / "media").mkdir()
    video(tmp_path / "media" / "v.mp4", ["red", "green", "blue"])
    sound(tmp_path / "media" / "s.wav", 440, seconds=12)
    options = dataclasses.replace(QUICK, encoders=("color-histogram", "log-mel"))
    assert index([tmp_path / "media"], tmp_path / "l", options).failed == {}
    with open_library(tmp_path / "l") as library:
        kinds = {item.kind: key for item, key in zip(library.items(), library.items().keys.tolist(), strict=True)}
        by_spec = {series.spec.partition("/")[0]: library.features(series) for series in library.all_series()}
        histogram, mel = by_spec["color-histogram"], by_spec["log-mel"]
        assert histogram.owners.tolist() == [kinds["video"]] * 3
        assert histogram.times_s.tolist() == [0, 1, 2]
        assert mel.owners.tolist() == [kinds["sound"]] * 2
        assert mel.times_s.tolist() == [0, 10]


def test_words_beside_a_file_are_read_and_read_again_when_they_change(folder, tmp_path):
    (folder / "red-0.txt").write_text("a ripe tomato")
    indexed(folder, tmp_path / "l")

    def told():
        with open_library(tmp_path / "l") as library:
            key = library.known_path(folder / "red-0.png").key
            return [w.text for w in library.words_of([key]).get(key, ()) if w.source == "sidecar"]

    assert told() == ["a ripe tomato"]
    (folder / "red-0.txt").write_text("a strawberry")
    os.utime(folder / "red-0.txt", ns=(0, 2_000_000_000_000_000_000))
    assert indexed(folder, tmp_path / "l").done == 1
    assert told() == ["a strawberry"]


def test_a_dry_run_changes_nothing(folder, tmp_path):
    plan = dry_run([folder], tmp_path / "l", QUICK)
    assert len(plan.fresh) == 12
    assert not (tmp_path / "l").exists()
    indexed(folder, tmp_path / "l")
    assert dry_run([folder], tmp_path / "l", QUICK).fresh == []


def test_the_library_may_stand_in_the_folder_it_indexes(folder):
    assert indexed(folder, folder / "lm").items == 12
    assert indexed(folder, folder / "lm").items == 12


def test_watch_runs_when_something_changed(folder, tmp_path):
    runs = []

    def run():
        runs.append(indexed(folder, tmp_path / "l").done)
        if len(runs) == 1:
            picture(folder / "later.png", "red", seed=77)
        return 0

    assert watch([folder], tmp_path / "l", QUICK, every_s=0.01, run=run, looks=3) == 0
    assert runs == [12, 1]


def test_a_stopped_run_ends_the_watch(folder, tmp_path):
    runs = []

    def stopped():
        runs.append(1)
        return 130

    assert watch([folder], tmp_path / "l", QUICK, every_s=0.01, run=stopped, looks=3) == 130
    assert runs == [1]


@pytest.mark.parametrize("every_s", [0, -1, math.nan, math.inf])
def test_a_watch_needs_a_time_that_passes(folder, tmp_path, every_s):
    with pytest.raises(InvalidValueError, match="--every must be above 0"):
        watch([folder], tmp_path / "l", QUICK, every_s=every_s, run=lambda: 0, looks=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"fps": 0}, "fps must be above 0"), ({"encoders": ("bge-small",)}, "must take pictures or sound")],
)
def test_bad_options_are_refused(options, says):
    with pytest.raises(InvalidValueError, match=says):
        IndexOptions(**options).made()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="FOLDER must exist"):
        indexed(tmp_path / "none", tmp_path / "l")


def test_the_default_encoders_share_one_look_at_a_picture(folder, tmp_path):
    done = index([folder], tmp_path / "l", IndexOptions(encoders=DEFAULT_ENCODERS, engine=QUICK.engine))
    assert done.items == 12
    with open_library(tmp_path / "l") as library:
        dims = {series.spec.partition("/")[0]: series.dim for series in library.all_series()}
        assert {"efficientnet-lite", "conse", "log-mel", "centred"} == set(dims)
        base = library.features(next(s for s in library.all_series() if s.spec.startswith("efficientnet")))
        joint = library.features(next(s for s in library.all_series() if s.spec.startswith("conse")))
        from lightmeter.parts import build

        np.testing.assert_allclose(joint.vectors, build(joint.spec).derive(base.vectors), rtol=1e-5, atol=1e-6)
        assert sum(library.calibration(series, "null") is not None for series in library.all_series()) == 3


def test_no_connection_stays_open_behind_an_index_in_this_process(folder, tmp_path):
    """One that did went stale when another process merged the log: a killed gc then looked like a lost shard."""
    indexed(folder, tmp_path / "l")
    with os.scandir("/proc/self/fd") as listing:
        open_files = [os.readlink(each.path) for each in listing if os.path.lexists(each.path)]
    assert not [path for path in open_files if path.startswith(str(tmp_path / "l"))]


# -- what an encoder rejects ----------------------------------------------------------------------------------------


@pytest.fixture
def bright(monkeypatch):
    """Options of an encoder that takes no picture darker than 100: grey (120) passes, the colours (87) do not."""
    monkeypatch.setitem(ENCODERS, "toy-bright", TOYS["toy-bright"])
    return dataclasses.replace(QUICK, encoders=("toy-bright/least=100",))


def rows_of(library, spec):
    with open_library(library) as opened:
        features = opened.features(opened.series(spec, "item"))
        return features.vectors.copy(), features.times_s.copy(), [each.reason for each in opened.items()]


def test_frames_that_an_encoder_rejects_are_left_out_of_their_video(tmp_path, bright):
    video(tmp_path / "media" / "a.mp4", ["red", "grey", "green", "grey"])
    assert indexed(tmp_path / "media", tmp_path / "l", bright).failed == {}
    vectors, times_s, (reason,) = rows_of(tmp_path / "l", "toy-bright/least=100")
    assert times_s.tolist() == [1, 3], "each row keeps the time of its own frame"
    assert np.abs(vectors[:, 0] - 120).max() < 8
    assert "toy-bright left out 2 of 4 frames: of brightness 8" in reason


def test_a_file_of_which_nothing_is_left_fails_with_the_first_reason(tmp_path, bright):
    video(tmp_path / "media" / "a.mp4", ["red", "green"])
    picture(tmp_path / "media" / "b.png", "red")
    failed = indexed(tmp_path / "media", tmp_path / "l", bright).failed
    assert sorted(reason.partition(":")[0] for reason in failed.values()) == ["too-dark", "too-dark"]


def test_a_picture_that_one_of_two_encoders_rejects_is_kept_for_the_other(tmp_path, bright):
    picture(tmp_path / "media" / "a.png", "red")
    picture(tmp_path / "media" / "b.png", "grey")
    both = dataclasses.replace(bright, encoders=("color-histogram", *bright.encoders))
    assert indexed(tmp_path / "media", tmp_path / "l", both).failed == {}
    assert len(rows_of(tmp_path / "l", "color-histogram/bins=4")[0]) == 2
    assert rows_of(tmp_path / "l", "toy-bright/least=100")[0].shape == (1, 1)
    assert indexed(tmp_path / "media", tmp_path / "l", both).unchanged == 2, "nothing is missing"


def test_a_picture_whose_middle_is_rejected_only_lacks_its_twin(tmp_path, bright):
    from PIL import Image as Pillow

    pixels = np.full((40, 40, 3), 250, np.uint8)
    pixels[8:32, 8:32] = 0
    (tmp_path / "media").mkdir()
    Pillow.fromarray(pixels).save(tmp_path / "media" / "ring.png")
    done = indexed(tmp_path / "media", tmp_path / "l", bright)
    assert (done.failed, done.items) == ({}, 1)
    with open_library(tmp_path / "l") as opened:
        assert opened.calibration(opened.series("toy-bright/least=100", "item"), "twins") is None


def test_a_search_asks_those_that_take_the_file(tmp_path, bright, monkeypatch):
    """One of two encoders sees nothing in the query (in a worker, the toy is not known: its refusal is put in)."""
    from lightmeter.errors import MissingAssetError, RejectedFileError
    from lightmeter.library import looking

    gallery(tmp_path / "media")
    both = dataclasses.replace(bright, encoders=("color-histogram", *bright.encoders))
    indexed(tmp_path / "media", tmp_path / "l", both)
    real = looking.encode_file

    def refuse(all_of_them, error):
        def encode_file(path, spec, takes):
            if all_of_them or spec.startswith("toy"):
                raise error
            return real(path, spec, takes)

        monkeypatch.setattr(looking, "encode_file", encode_file)

    with open_library(tmp_path / "l", write=True) as library:
        for error in (RejectedFileError("too-dark", "of brightness 87"), MissingAssetError("the weights are gone")):
            refuse(False, error)
            found = search(library, str(tmp_path / "media" / "red-0.png"), everything=True)
            assert [note for note in found.notes if f"toy-bright/least=100 not asked, {error}" in note]
            assert found.hits
        refuse(True, RejectedFileError("no-face", "none"))
        with pytest.raises(RejectedFileError, match="no-face"):
            search(library, str(tmp_path / "media" / "red-0.png"), everything=True)


# -- memory ---------------------------------------------------------------------------------------------------------


class Heavy:
    size_bytes = 537_000_000


def test_a_worker_may_take_what_its_weights_need():
    assert room_bytes([]) == Limits().memory_bytes
    assert room_bytes([Heavy()]) == 1_574_000_000


def test_a_worker_that_cannot_start_names_the_limit_that_would_do():
    says = r"say --memory-limit 1\.6GB, or leave it out \(the worker said: no memory"
    with pytest.raises(WorkerError, match=says), naming_the_limit([Heavy()], Limits()):
        raise WorkerError("no memory")
    with pytest.raises(WorkerError, match="^no memory$"), naming_the_limit([], Limits()):
        raise WorkerError("no memory")
