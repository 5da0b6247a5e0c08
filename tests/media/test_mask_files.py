"""Labelled frames from folders and videos: the right frame beside the right mask, groups kept, bad masks named."""

import numpy as np
import pytest
from label_makers import film, save
from media_makers import make_video, number_of, numbered_frame

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.labelling import LabelOptions, frame_numbers, window_start, windows
from lightmeter.media.mask_files import open_masks
from lightmeter.media.mask_pixels import MaskValues


def mask_of(number, height=64, width=96):
    """A mask that tells its number by its size."""
    mask = np.zeros((height, width), np.uint8)
    mask[: number + 1, :10] = 1
    return mask


def number_in(mask):
    return int((mask[:, 0] == 1).sum()) - 1


def folders(tmp_path, stems):
    for number, stem in enumerate(stems):
        save(tmp_path / "frames" / f"{stem}.png", numbered_frame(number))
        save(tmp_path / "masks" / f"{stem}.{'bmp' if number % 2 else 'png'}", mask_of(number) * np.uint8(255))
    return tmp_path / "frames", tmp_path / "masks"


def test_pictures_and_masks_of_one_name(tmp_path):
    stems = ["a/f1", "a/f2", "a/f10", "b/f1", "c", "d"]
    found = open_masks(*folders(tmp_path, stems)).value
    assert list(found.names) == stems, "2 before 10"
    assert [number_of(frame) for frame in found.frames] == list(range(6))
    assert [number_in(mask) for mask in found.masks] == list(range(6))
    assert found.groups.tolist() == [0, 0, 0, 1, 2, 3], "a folder is a group, pictures at the top stand alone"
    assert found.clips.shape == (6, 1, 64, 96, 3)


def test_groups_by_stem(tmp_path):
    stems = ["cat_01", "cat_02", "dog_1"]
    found = open_masks(*folders(tmp_path, stems), LabelOptions(group_by="stem")).value
    assert found.groups.tolist() == [0, 0, 1]


def test_pictures_around_are_context(tmp_path):
    found = open_masks(*folders(tmp_path, ["a/1", "a/2", "a/3", "a/10"]), LabelOptions(context=3)).value
    assert [[number_of(frame) for frame in clip] for clip in found.clips] == [
        [0, 1, 2],
        [0, 1, 2],
        [1, 2, 3],
        [1, 2, 3],
    ]
    assert found.at.tolist() == [0, 1, 1, 2]
    assert [number_of(frame) for frame in found.frames] == [0, 1, 2, 3]
    with pytest.raises(RejectedFileError, match="stands among 4 pictures: the context is 5"):
        open_masks(tmp_path / "frames", tmp_path / "masks", LabelOptions(context=5))


def test_work_size(tmp_path):
    frames, masks = folders(tmp_path, ["a", "b"])
    save(frames / "c.png", numbered_frame(2, 192, 128))
    save(masks / "c.png", mask_of(2, 128, 192))
    with pytest.raises(RejectedFileError, match=r"wrong-size: c is 128 x 192, a 64 x 96: give one size"):
        open_masks(frames, masks)
    found = open_masks(frames, masks, LabelOptions(size=(32, 48))).value
    assert found.clips.shape == (3, 1, 32, 48, 3)
    assert found.masks.shape == (3, 32, 48)
    assert found.masks[1].tolist() == mask_of(1)[::2, ::2].tolist()


def test_bad_masks_are_refused_by_name(tmp_path):
    frames, masks = folders(tmp_path, ["a", "b"])
    bad = masks / "b.bmp"
    save(bad, mask_of(1, 32, 48))
    with pytest.raises(RejectedFileError, match=rf"wrong-size: {bad} must be 64 x 96 as its frame, got 32 x 48"):
        open_masks(frames, masks)
    save(bad, mask_of(1) * np.uint8(7))
    with pytest.raises(RejectedFileError, match=rf"not-binary: {bad} must hold 0 and 1"):
        open_masks(frames, masks)
    named = open_masks(frames, masks, LabelOptions(values=MaskValues(wanted=(7, 255)))).value
    assert [number_in(mask) for mask in named.masks] == [0, 1], "unless its values are named"
    bad.unlink()
    with pytest.raises(RejectedFileError, match=rf"missing: the frame b has no mask at {masks}: allow partial"):
        open_masks(frames, masks)
    assert open_masks(frames, masks, LabelOptions(partial=True)).value.names == ("a",)
    save(masks / "x.png", mask_of(1))
    save(masks / "y.png", mask_of(1))
    with pytest.raises(RejectedFileError, match=rf"the mask x has no frame at {frames} \(nor have 1 more\)"):
        open_masks(frames, masks, LabelOptions(partial=True))


def test_names_that_are_not_clear(tmp_path):
    frames, masks = folders(tmp_path, ["a"])
    save(masks / "a.gif", mask_of(0))
    with pytest.raises(RejectedFileError, match="two-of-one"):
        open_masks(frames, masks)
    with pytest.raises(RejectedFileError, match="nothing at"):
        open_masks(frames, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RejectedFileError, match="no masks at"):
        open_masks(frames, tmp_path / "empty")
    with pytest.raises(RejectedFileError, match="no pictures at"):
        open_masks(tmp_path / "empty", masks)
    with pytest.raises(RejectedFileError, match="must be a folder or JSON"):
        open_masks(frames, masks / "a.gif")


def test_a_video_and_masks_by_number(tmp_path):
    video = make_video(tmp_path / "walk.mp4", 30)
    for number in (29, 0, 7):
        save(tmp_path / "masks" / f"mask_{number:04d}.png", mask_of(number))
    found = open_masks(video, tmp_path / "masks").value
    assert [number_of(frame) for frame in found.frames] == [0, 7, 29] == [number_in(mask) for mask in found.masks]
    assert found.groups.tolist() == [0, 0, 0]
    assert found.names[1] == "walk frame 7"
    clips = open_masks(video, tmp_path / "masks", LabelOptions(context=4, size=(32, 48)))
    assert [[number_of(frame) for frame in clip] for clip in clips.value.clips] == [
        [0, 1, 2, 3], [5, 6, 7, 8], [26, 27, 28, 29],
    ]  # fmt: skip
    assert clips.value.at.tolist() == [0, 2, 3]
    assert [number_of(frame) for frame in clips.value.frames] == [0, 7, 29]
    save(tmp_path / "masks" / "30.png", mask_of(1))
    with pytest.raises(RejectedFileError, match="has the frames 0 to 29, got a mask of frame 30"):
        open_masks(video, tmp_path / "masks")
    save(tmp_path / "masks" / "mask_30.png", mask_of(1))
    with pytest.raises(RejectedFileError, match="two-of-one"):
        open_masks(video, tmp_path / "masks")
    save(tmp_path / "masks2" / "first.png", mask_of(1))
    with pytest.raises(RejectedFileError, match="must end in the number of its frame"):
        open_masks(video, tmp_path / "masks2")


def test_a_mask_video(tmp_path):
    video = make_video(tmp_path / "walk.mp4", 12)
    masks = np.stack([mask_of(number) * np.uint8(255) for number in range(12)])
    drawn = film(tmp_path / "drawn.mp4", np.repeat(masks[..., None], 3, -1))
    found = open_masks(video, drawn, LabelOptions(every=5, context=2)).value
    assert [number_of(frame) for frame in found.frames] == [0, 5, 10] == [number_in(mask) for mask in found.masks]
    assert len(open_masks(video, drawn).value) == 12
    short = film(tmp_path / "short.mp4", np.repeat(masks[:9, ..., None], 3, -1))
    with pytest.raises(RejectedFileError, match=r"short.mp4 must have 12 frames as walk.mp4, got 9"):
        open_masks(video, short)
    with pytest.raises(RejectedFileError, match=r"frame 0 must be black and white"):
        open_masks(video, video)
    with pytest.raises(RejectedFileError, match="must be a folder, a video or JSON"):
        open_masks(video, save(tmp_path / "a.png", mask_of(1)))


def test_a_folder_of_videos(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("b", "a"):
        make_video(tmp_path / "videos" / f"{name}.mp4", 10)
    save(tmp_path / "masks" / "a" / "3.png", mask_of(3))
    save(tmp_path / "masks" / "a" / "5.png", mask_of(5))
    with pytest.raises(RejectedFileError, match=r"the video .*b.mp4 has no masks"):
        open_masks(tmp_path / "videos", tmp_path / "masks")
    assert len(open_masks(tmp_path / "videos", tmp_path / "masks", LabelOptions(partial=True)).value) == 2
    film(tmp_path / "masks" / "b.mp4", np.repeat(np.stack([mask_of(2)] * 10)[..., None] * np.uint8(255), 3, -1))
    found = open_masks(tmp_path / "videos", tmp_path / "masks", LabelOptions(every=6)).value
    assert [number_of(frame) for frame in found.frames] == [3, 5, 0, 6]
    assert [number_in(mask) for mask in found.masks] == [3, 5, 2, 2]
    assert found.groups.tolist() == [0, 0, 1, 1]


def test_moments_to_frames(tmp_path):
    video = make_video(tmp_path / "a.mp4", 10, stamps=[0, 100, 150, 400, 410, 500, 600, 700, 800, 900])
    found = frame_numbers(video, [0.0, 0.09, 0.1, 0.399, 0.405, 0.9])
    assert found == {0.0: 0, 0.09: 0, 0.1: 1, 0.399: 2, 0.405: 3, 0.9: 9}
    with pytest.raises(RejectedFileError, match="got a mask at 7"):
        frame_numbers(video, [7.0])


def test_windows_of_a_short_video(tmp_path):
    video = make_video(tmp_path / "a.mp4", 3)
    with pytest.raises(RejectedFileError, match="has 3 frames: a context of 5 needs more"):
        list(windows(video, [1], LabelOptions(context=5)))
    assert list(windows(video, [], LabelOptions())) == []


@pytest.mark.parametrize(("length", "count"), [(1, 5), (2, 6), (3, 7), (4, 9), (5, 5)])
def test_windows_of_every_frame(tmp_path, length, count):
    video = make_video(tmp_path / "a.mp4", count)
    found = list(windows(video, range(count), LabelOptions(context=length)))
    assert [window.number for window in found] == list(range(count))
    for window in found:
        start = window_start(window.number, length, count)
        assert [number_of(frame) for frame in window.clip] == list(range(start, start + length))
        assert window.at == window.number - start
        assert start in (0, count - length) or window.at == length // 2, "in the middle, but near the ends"


def test_options_are_checked():
    for wrong in ({"size": (0, 4)}, {"context": 0}, {"every": 0}, {"group_by": "colour"}):
        with pytest.raises(InvalidValueError):
            LabelOptions(**wrong)
