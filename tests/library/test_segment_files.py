"""Files in, masks out: names and links, `masks.json` that grows, nothing answered twice, videos as they come."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.library import kept_masks
from lightmeter.library.segment_files import PredictOptions, media_files, predict_files, video_masks
from lightmeter.library.segmenting import SegmentOptions, fit_masks
from lightmeter.media.clip_set import labelled_frames
from lightmeter.media.labelled_clips import open_labelled
from lightmeter.media.labelling import LabelOptions
from lightmeter.media.mask_files import open_masks
from lightmeter.media.mask_json import MaskEntry, masks_about, read_masks, write_masks
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.write import write_frames, write_image
from lightmeter.parts import build
from lightmeter.types import Image

ONE = SegmentOptions(("pixels/patch=2",), ("linear-patch",), MaskTraining(steps=5, batch=8))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    frames = labelled_frames(moving_shapes(16, frames=2, size=16, seed=0), seed=0)
    return fit_masks(frames, tmp_path_factory.mktemp("fitted") / "model", ONE).segmenter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("media")
    clips = moving_shapes(2, frames=20, size=32, seed=9)
    write_image(Image(clips.frames[0, 0]), place / "garden" / "one.png")
    write_frames(clips.frames[1], place / "street.mp4", fps=10, crf=0)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (place / "notes.txt").write_text("hello")
    (place / ".hidden.png").write_bytes(b"")
    return place


def test_a_folder_of_files(segmenter, folder, tmp_path):
    files = media_files([folder])
    assert [name for _, name in files] == ["broken.png", "garden/one.png", "street.mp4"]
    counted, heard = [], []
    made = predict_files(segmenter, files, tmp_path / "out", tell=heard.append, frame=counted.append)
    assert [bool(each.failed) for each in made] == [True, False, False]
    assert heard == made
    assert sum(counted) == 21
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["garden/one.mask.png", "garden/one.overlay.png", "masks.json", "street.overlay.mp4"]
    with Pillow.open(tmp_path / "out" / "garden" / "one.mask.png") as picture:
        drawn = np.asarray(picture)
    assert (drawn == 255 * made[1].entries[0].mask.mask()).all()
    assert made[1].share == pytest.approx((drawn > 0).mean())


def test_masks_of_predict_are_read_by_fit(segmenter, folder, tmp_path):
    files = [each for each in media_files([folder]) if each[1] != "broken.png"]
    made = predict_files(segmenter, files, tmp_path)
    entries = read_masks(tmp_path / "masks.json")
    assert len(entries) == 21
    assert [each.time_s for each in entries[1:4]] == [0.0, 0.1, 0.2]
    labelled = open_labelled(folder, tmp_path / "masks.json").value
    assert len(labelled) == 21
    assert (labelled.masks[0] == made[0].entries[0].values()).all()
    assert (labelled.masks[1:] == np.stack([each.values() for each in made[1].entries])).all()


def test_overlay_video_is_h264_of_the_same_frames(segmenter, folder, tmp_path):
    predict_files(segmenter, [(folder / "street.mp4", "street.mp4")], tmp_path)
    with av.open(str(tmp_path / "street.overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 32, 32)
        assert float(stream.average_rate) == 10
        assert len(list(container.decode(video=0))) == 20


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A folder of three pictures."""
    place = tmp_path_factory.mktemp("still")
    for row, frame in enumerate(moving_shapes(3, frames=1, size=16, seed=9).frames[:, 0]):
        write_image(Image(frame), place / f"{row}.png")
    return place


def copied(folder, out):
    out.mkdir()
    for each in folder.iterdir():
        (out / each.name).write_bytes(each.read_bytes())
    return out


def paths_in(file):
    return [each.path for each in read_masks(file)]


def test_masks_of_files_answered_before_stay(segmenter, still, tmp_path):
    segmenter, files, out = segmenter, media_files([still]), tmp_path / "out"
    predict_files(segmenter, files[1:], out)
    first = read_masks(out / "masks.json")
    predict_files(segmenter, files[:1], out)
    assert paths_in(out / "masks.json") == ["0.png", "1.png", "2.png"]
    assert read_masks(out / "masks.json")[1].mask.text == first[0].mask.text
    whole = (out / "masks.json").read_bytes()
    predict_files(segmenter, files, tmp_path / "other")
    assert (tmp_path / "other" / "masks.json").read_bytes() == whole, "however it came to be"


def test_masks_that_were_drawn_by_hand_stay(segmenter, still, tmp_path):
    drawn = [MaskEntry.of("mine.png", np.ones((4, 4), np.uint8), group="g"), MaskEntry.of("0.png", np.eye(16) > 0)]
    write_masks(tmp_path / "masks.json", drawn, {"by": "me", "place": "garden"})
    (made,) = predict_files(segmenter, media_files([still / "0.png"]), tmp_path)
    assert not made.again
    found = {each.path: each for each in read_masks(tmp_path / "masks.json")}
    assert found["mine.png"].group == "g"
    assert found["0.png"].mask.text == made.entries[0].mask.text
    assert masks_about(tmp_path / "masks.json")["place"] == "garden"
    (tmp_path / "masks.json").write_text("{}")
    with pytest.raises(RejectedFileError, match=r"masks.json must be JSON of schema"):
        predict_files(segmenter, media_files([still]), tmp_path)
    assert (tmp_path / "masks.json").read_text() == "{}"


def test_what_the_same_model_has_answered_is_not_answered_again(segmenter, still, tmp_path):
    place, out = copied(still, tmp_path / "in"), tmp_path / "out"
    write_frames(moving_shapes(1, frames=3, size=32).frames[0], place / "v.mp4", fps=4)
    counted = []

    def again(model=segmenter, **how):
        made = predict_files(model, media_files([place]), out, PredictOptions(**how), frame=counted.append)
        return [each.name for each in made if each.again]

    assert again() == []
    first = {each.path: each.mask.text for each in read_masks(out / "masks.json")}
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*.*"))
    counted.clear()
    assert again() == ["0.png", "1.png", "2.png", "v.mp4"]
    assert not counted
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*.*")) == before, "nothing was written"
    (out / "1.overlay.png").unlink()
    assert again() == ["0.png", "2.png", "v.mp4"]
    write_image(Image(np.zeros((16, 16, 3), np.uint8)), place / "2.png")
    assert again(crf=30) == ["0.png", "1.png"], "another picture, another video"
    other = replace(segmenter, threshold=segmenter.threshold + 1)
    assert again(other) == []
    assert {each.path: each.mask.text for each in read_masks(out / "masks.json")} != first


def test_what_stood_is_told_as_it_was(segmenter, folder, tmp_path):
    files = [each for each in media_files([folder]) if each[1] != "broken.png"]
    made, again = (predict_files(segmenter, files, tmp_path) for _ in range(2))
    for one, other in zip(made, again, strict=True):
        assert (other.again, other.written, other.share) == (True, one.written, pytest.approx(one.share))
        assert [each.mask.text for each in other.entries] == [each.mask.text for each in one.entries]


def test_a_run_that_is_stopped_keeps_what_it_answered(segmenter, still, tmp_path):
    def stop(one):
        if one.name == "1.png":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(segmenter, media_files([still]), tmp_path, tell=stop)
    assert paths_in(tmp_path / "masks.json") == ["0.png", "1.png"]
    made = predict_files(segmenter, media_files([still]), tmp_path)
    assert [each.again for each in made] == [True, True, False]


def test_a_run_that_is_killed_keeps_most_of_it(segmenter, still, tmp_path, monkeypatch):
    """Masks are written as files end, and less often where writing takes long."""
    written = []
    monkeypatch.setattr(kept_masks, "write_masks", lambda path, entries, about: written.append(len(list(entries))))
    clock = SimpleNamespace(monotonic=lambda: 0.0)  # writing takes no time
    monkeypatch.setattr(kept_masks, "time", clock)
    predict_files(segmenter, media_files([still]), tmp_path / "out")
    assert written == [1, 2, 3]
    now = iter([0.0, 0.0, 10.0, 11.0, 209.0, 300.0, 301.0])  # due; began, ended: not due before 210 s
    clock.monotonic = lambda: next(now)
    written.clear()
    predict_files(segmenter, media_files([still]), tmp_path / "slow")
    assert written == [1, 3]


def test_a_picture_whose_overlay_cannot_be_drawn_leaves_nothing(segmenter, still, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightmeter.library.segment_files.overlay", full)
    with pytest.raises(OSError, match="No space left"):
        predict_files(segmenter, media_files([still]), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_links_are_not_followed_out_of_the_folder(segmenter, still, tmp_path):
    place, out = copied(still, tmp_path / "in"), tmp_path / "out"
    (place / "inside.png").symlink_to(place / "0.png")
    (place / "outside.png").symlink_to(still / "1.png")
    (place / "nowhere.png").symlink_to(tmp_path / "nothing.png")
    (place / "circle.png").symlink_to(place / "circle.png")
    (place / "folder.png").symlink_to(still)
    files = media_files([place])
    assert [name for _, name in files] == ["0.png", "1.png", "2.png", "folder.png", "nowhere.png", "outside.png"]
    made = predict_files(segmenter, files, out)
    assert [each.name for each in made if not each.failed] == ["0.png", "1.png", "2.png"]
    assert {each.failed for each in made if each.failed} == {
        f"link-outside: {place / name} is a link that leads out of the folder: name its target"
        for name in ("folder.png", "nowhere.png", "outside.png")
    }
    assert paths_in(out / "masks.json") == ["0.png", "1.png", "2.png"]
    (tmp_path / "link").symlink_to(place)
    assert [name for _, name in media_files([tmp_path / "link"])][:3] == ["0.png", "1.png", "2.png"]
    (named,) = predict_files(segmenter, media_files([place / "outside.png"]), tmp_path / "named")
    assert (named.failed, named.name) == ("", "1.png"), "a link that is named stands for its target"


def test_a_name_that_no_masks_file_can_hold_stops_nothing(segmenter, still, tmp_path):
    place = copied(still, tmp_path / "in")
    (place / "0.png").rename(place / "a\\b.png")
    made = predict_files(segmenter, media_files([place]), tmp_path / "out")
    assert [bool(each.failed) for each in made] == [False, False, True]
    assert paths_in(tmp_path / "out" / "masks.json") == ["1.png", "2.png"]


@pytest.mark.parametrize(("window", "count"), [(1, 6), (2, 7), (3, 7), (4, 9), (5, 5)])
def test_learning_and_predicting_look_at_the_same_frames(segmenter, window, count, tmp_path, monkeypatch):
    """An encoder that sees motion is asked about the same windows, whether frames have masks or come of a video."""
    video, seen = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8), []
    encoder = build(f"pixels/patch=2,frames={window},clip=real,pool=concat", "dense-encoder")

    def look(self, clips, at):
        frames, place = encoder.windows(clips, at)
        seen.extend(zip(frames.tolist(), place.tolist(), strict=True))
        return np.zeros((len(clips), *clips.shape[2:4]), np.uint8)

    monkeypatch.setattr(Segmenter, "predict_clips", look)
    segmenter = replace(segmenter, encoder=encoder)
    segmenter.predict_video(video)
    at_once = list(seen)
    seen.clear()
    list(video_masks(segmenter, enumerate(video)))
    assert seen == at_once
    for number, frame in enumerate(video):
        write_image(Image(frame), tmp_path / "frames" / f"{number}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Pillow.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    for context in range(window, count + 1):
        labelled = open_masks(tmp_path / "frames", tmp_path / "masks", LabelOptions(context=context)).value
        frames, place = encoder.windows(labelled.clips, labelled.at)
        assert list(zip(frames.tolist(), place.tolist(), strict=True)) == at_once


@pytest.mark.parametrize(("window", "count"), [(1, 40), (3, 45), (4, 2), (5, 70)])
def test_a_video_as_it_comes_is_the_video_at_once(window, count, tmp_path):
    encoder = f"pixels/patch=2,frames={window},clip=real,pool=concat"
    clips = moving_shapes(6, frames=5, size=16, seed=1)
    made = fit_masks(labelled_frames(clips, seed=0), tmp_path / "m", replace(ONE, encoders=(encoder,))).segmenter
    video = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    if count < window:
        with pytest.raises(InvalidValueError, match="needs clips of 4 frames"):
            list(video_masks(made, enumerate(video)))
        return
    found = list(video_masks(made, ((float(at), frame) for at, frame in enumerate(video))))
    assert [time_s for time_s, _, _ in found] == list(range(count))
    assert (np.stack([frame for _, frame, _ in found]) == video).all()
    assert (np.stack([mask for _, _, mask in found]) == made.predict_video(video)).all()


def test_a_video_that_breaks_leaves_nothing(segmenter, folder, tmp_path):
    whole = (folder / "street.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 8])
    (made,) = predict_files(segmenter, [(tmp_path / "cut.mp4", "cut.mp4")], tmp_path / "out")
    assert made.failed
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.*"))


def test_files_that_would_share_an_output(folder, tmp_path):
    (tmp_path / "a.png").write_bytes((folder / "garden" / "one.png").read_bytes())
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InvalidValueError, match="must differ in more than their ending"):
        media_files([tmp_path])
    with pytest.raises(InvalidValueError, match="must differ"):
        media_files([tmp_path / "a.png", tmp_path / "a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValueError, match="must hold a picture or a video"):
        media_files([tmp_path / "empty"])


def test_names_are_below_what_holds_them_all(folder):
    assert [name for _, name in media_files([folder / "garden" / "one.png"])] == ["one.png"]
    assert [name for _, name in media_files([folder / "garden" / "one.png", folder / "street.mp4"])] == [
        "garden/one.png", "street.mp4",
    ]  # fmt: skip
