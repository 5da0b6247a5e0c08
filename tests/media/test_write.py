"""What we write is what we read: frames, times, words; and a file appears whole or not at all."""

from fractions import Fraction

import numpy as np
import pytest
from media_makers import number_of, numbered_frame

from lightmeter.errors import InvalidValueError
from lightmeter.media import probe, read_clip, read_image, read_words, write_image, write_video
from lightmeter.media.write import exact_rate, write_frames
from lightmeter.types import Clip, Image


def clip_of(count: int, width: int = 96, height: int = 64) -> Clip:
    return Clip(np.stack([numbered_frame(n, width, height) for n in range(count)]), np.arange(count) / 10)


@pytest.mark.parametrize("size", [(96, 64), (97, 65), (96, 720)])
def test_a_clip_comes_back(size, tmp_path):
    clip = clip_of(4, *size)
    write_video(clip, tmp_path / "x.mp4", fps=29.97, crf=1, metadata={"title": "Numbers"})
    back = read_clip(tmp_path / "x.mp4").value
    assert back.frames.shape[1:3] == (size[1] // 2 * 2, size[0] // 2 * 2)
    assert [number_of(each) for each in back.frames] == [0, 1, 2, 3]
    smooth = np.s_[:, back.frames.shape[1] // 3 :]  # the blocks' edges suffer from 4:2:0
    cropped = clip.frames[:, : back.frames.shape[1], : back.frames.shape[2]]
    assert np.abs(back.frames[smooth].astype(int) - cropped[smooth]).mean() < 8
    np.testing.assert_allclose(back.times_s, np.arange(4) * 1001 / 30000, atol=1e-4)
    assert probe(tmp_path / "x.mp4").fps == pytest.approx(30000 / 1001)
    assert read_words(tmp_path / "x.mp4")[0].title == "Numbers"


def test_grey_stays_grey(tmp_path):
    grey = Clip(np.stack([np.full((64, 64, 3), value, np.uint8) for value in (0, 64, 128, 255)]), np.arange(4.0))
    write_video(grey, tmp_path / "x.mp4", fps=2, crf=1)
    means = read_clip(tmp_path / "x.mp4").value.frames.reshape(4, -1).mean(1)
    np.testing.assert_allclose(means, [0, 64, 128, 255], atol=2)


def test_pictures_come_back(tmp_path):
    image = Image(numbered_frame(9))
    write_image(image, tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").value.pixels, image.pixels)
    write_image(image, tmp_path / "x.jpg")
    assert np.abs(read_image(tmp_path / "x.jpg").value.pixels.astype(int) - image.pixels).mean() < 10


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"old")
    with pytest.raises(InvalidValueError):
        write_video(Clip(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0)), tmp_path / "x.mp4", fps=1)
    with pytest.raises(InvalidValueError, match="must end in"):
        write_image(Image(numbered_frame(1)), tmp_path / "x.xyz")
    with pytest.raises(OSError):
        write_image(Image(numbered_frame(1)), tmp_path / "x.mp4" / "x.png")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("x.mp4", b"old")]


def test_rates_are_exact():
    for rate in (23.976, 29.97, 59.94):
        assert exact_rate(rate).denominator == 1001
    assert exact_rate(25) == 25
    assert exact_rate(12.5) == Fraction(25, 2)
    assert exact_rate(24) == 24
    with pytest.raises(InvalidValueError):
        exact_rate(0)


def test_frames_that_come_one_by_one_are_the_clip(tmp_path):
    frames = np.stack([numbered_frame(number, 61, 40) for number in range(5)])
    write_video(Clip(frames, np.arange(5) / 5), tmp_path / "at_once.mp4", fps=5)
    assert write_frames(iter(frames), tmp_path / "by_and_by.mp4", fps=5) == 5
    assert (tmp_path / "by_and_by.mp4").read_bytes() == (tmp_path / "at_once.mp4").read_bytes()


def test_frames_that_stop_coming_leave_nothing(tmp_path):
    def broken():
        yield numbered_frame(0, 60, 40)
        raise InvalidValueError("the source broke")

    with pytest.raises(InvalidValueError, match="the source broke"):
        write_frames(broken(), tmp_path / "v.mp4", fps=5)
    with pytest.raises(InvalidValueError, match="must all be"):
        write_frames([numbered_frame(0, 60, 40), numbered_frame(1, 62, 40)], tmp_path / "v.mp4", fps=5)
    with pytest.raises(InvalidValueError, match="got none"):
        write_frames([], tmp_path / "v.mp4", fps=5)
    assert not list(tmp_path.iterdir())
