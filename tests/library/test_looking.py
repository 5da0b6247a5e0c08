"""Files a command was asked about are read in a worker: what kills it is a refusal, and memory stays flat."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from media_folder import picture, sound, video
from toy_encoders import TOYS
from worker_killer import Killer

from lightmeter.encoders.table import ENCODERS
from lightmeter.engines.limits import Limits
from lightmeter.engines.stage import Task
from lightmeter.errors import MissingAssetError, RejectedFileError
from lightmeter.library import looking
from lightmeter.library.looking import EncodeStage, StripStage, encode_file, strip, thumbnails
from lightmeter.media.images import read_image
from lightmeter.media.sound import SoundReader
from lightmeter.parts import build
from lightmeter.types import Image


def test_the_rows_are_those_of_the_encoder(tmp_path):
    encoder = build("color-histogram", "encoder")
    shot = picture(tmp_path / "a.png", "red")
    np.testing.assert_array_equal(encode_file(shot, encoder.spec, "image"), encoder.encode([read_image(shot).value]))
    clip = video(tmp_path / "v.mp4", ["red", "green", "blue"])
    assert encode_file(clip, encoder.spec, "image").shape == (3, encoder.dim)
    mel = build("log-mel", "encoder")
    tone = sound(tmp_path / "s.wav", 440, seconds=12)
    windows = [window for _, window in SoundReader(tone, block_s=10.0)]
    np.testing.assert_array_equal(encode_file(tone, mel.spec, "sound"), mel.encode(windows))


@pytest.mark.parametrize(("kind", "code"), [("empty", "empty"), ("silent", "no-sound"), ("none", "missing")])
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(tmp_path, kind, code):
    path = tmp_path / "x.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "silent":
        video(path, ["red"])
    with pytest.raises(RejectedFileError) as caught:
        encode_file(path, "log-mel", "sound")
    assert caught.value.code == code


def test_an_encoder_that_is_missing_is_no_fault_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path))
    with pytest.raises(MissingAssetError):
        encode_file(sound(tmp_path / "s.wav", 440), "aisfx", "sound")


@pytest.mark.parametrize("reason", ["signal", "timeout", "memory"])
def test_what_kills_the_worker_becomes_a_refusal(monkeypatch, reason):
    monkeypatch.setattr(looking, "_LIMITS", Limits(silent_s=0.5, memory_bytes=500_000_000, attempts=1))
    monkeypatch.setattr(looking, "EncodeStage", lambda spec, takes: Killer(reason))
    with pytest.raises(RejectedFileError) as caught:
        encode_file("x.png", "color-histogram", "image")
    assert caught.value.code == reason
    monkeypatch.setattr(looking, "ThumbnailStage", lambda short_side: Killer(reason))
    assert thumbnails([("x.png", None)], short_side=10) == [reason]


def test_thumbnails_come_in_order_and_say_why_there_is_none(tmp_path):
    clip = video(tmp_path / "v.mp4", ["red", "green", "blue"])
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    (tmp_path / "notes.txt").write_text("nothing")
    wide = picture(tmp_path / "wide.png", "grey", size=(3000, 20))
    tone = sound(tmp_path / "s.wav", 440)
    asks = [(clip, 1.5), (clip, None), (clip, 99.0), (tmp_path / "bad.png", None), (tmp_path / "notes.txt", None),
            (tmp_path / "none.png", None), (tone, None), (wide, None)]  # fmt: skip
    *pictures, wide_one = thumbnails(asks * 2, short_side=20)[len(asks) :]
    seen = ["red green blue".split()[each.pixels[5, 5].argmax()] for each in pictures if isinstance(each, Image)]
    assert seen == ["green", "red", "blue"]
    assert pictures[3:] == ["unknown-format", "not media", "missing", "sound"]
    assert max(wide_one.pixels.shape) == 80
    assert thumbnails([], short_side=20) == []


@pytest.mark.parametrize("said_s", [None, 0.05, 3.0, 900.0])
def test_a_strip_holds_few_frames_whatever_the_header_says(tmp_path, monkeypatch, said_s):
    clip = video(tmp_path / "v.mp4", ["red", "green", "blue"] * 10)
    monkeypatch.setattr(
        sys.modules["lightmeter.media.probe"], "probe", lambda path: type("Said", (), {"duration_s": said_s})
    )
    held = []
    real = looking._thinned
    monkeypatch.setattr(looking, "_thinned", lambda frames, most: held.append(real(frames, most)) or held[0])
    (outcome,) = StripStage(2, 20).run([Task("0", {"path": str(clip)})], lambda: None)
    assert len(held[0]) <= 16
    times_s = outcome.value["times_s"]
    assert times_s[0] == 0
    assert 1 <= len(times_s) <= 2
    if said_s != 900.0:  # a header that promises far too much leaves only the first
        assert times_s[-1] > 15


def test_a_strip_is_spread_over_the_video(tmp_path):
    clip = strip(video(tmp_path / "v.mp4", ["red", "green", "blue"]), count=3, short_side=20)
    assert clip.frames.shape == (3, 20, 30, 3)
    assert [int(frame[5, 5].argmax()) for frame in clip.frames] == [0, 1, 2]
    with pytest.raises(RejectedFileError, match="no-video"):
        strip(sound(tmp_path / "s.wav", 440), count=3, short_side=20)


def test_a_long_query_is_read_frame_by_frame_with_a_sign_of_life_after_each(tmp_path, monkeypatch):
    stage = EncodeStage("color-histogram", "image")
    stage.open()
    sizes = []
    real = stage._encoder
    stage._encoder = type("Counted", (), {
        "short_side": 20, "encode": lambda self, items: sizes.append(len(items)) or real.encode(items),
    })()  # fmt: skip
    clip = video(tmp_path / "v.mp4", ["red"] * 40, fps=2)
    beats = []
    (outcome,) = stage.run([Task("0", {"path": str(clip)})], lambda: beats.append(len(sizes)))
    assert outcome.value["rows"].shape == (40, real.dim)
    assert sizes == [1] * 40, "frames of a long video are not kept until all are read"
    assert set(range(1, 41)) <= set(beats), "a slow encoder is not taken for one that hangs"


def test_frames_that_the_encoder_rejects_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy-bright", TOYS["toy-bright"])
    stage = EncodeStage("toy-bright/least=100", "image")
    stage.open()
    some, none = video(tmp_path / "a.mp4", ["red", "grey", "grey"]), video(tmp_path / "b.mp4", ["red", "red"])
    tasks = [Task(str(at), {"path": str(path)}) for at, path in enumerate((some, none))]
    kept, refused = stage.run(tasks, lambda: None)
    assert kept.value["rows"].shape == (2, 1)
    assert kept.value["damage"].startswith("toy-bright left out 1 of 3 frames: of brightness 8")
    assert refused.reason == "rejected:too-dark"
