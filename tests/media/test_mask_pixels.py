"""Mask pictures in every way that programs write them; sizes that change."""

import numpy as np
import pytest
from label_makers import save
from PIL import Image

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.mask_pixels import MaskValues, read_mask, resized_frame, resized_mask

MASK = np.zeros((6, 8), np.uint8)
MASK[2:5, 3:7] = 1


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
@pytest.mark.parametrize("high", [1, 255])
def test_grey(tmp_path, name, high):
    np.testing.assert_array_equal(read_mask(save(tmp_path / name, MASK * np.uint8(high))), MASK)


@pytest.mark.parametrize("mode", ["1", "LA", "RGB", "RGBA", "P"])
def test_other_modes(tmp_path, mode):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", MASK * np.uint8(255), mode)), MASK)


def test_sixteen_bits(tmp_path):
    for high in (1, 65535):
        np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", MASK * np.uint16(high))), MASK)


def palette_picture(path, numbers, colours):
    made = Image.frombytes("P", numbers.shape[::-1], numbers.tobytes())
    made.putpalette([value for colour in colours for value in colour])
    made.save(path)
    return path


def test_palettes(tmp_path):
    path = tmp_path / "a.png"
    np.testing.assert_array_equal(read_mask(palette_picture(path, MASK, [(0, 0, 0), (128, 0, 0)])), MASK)
    white_first = palette_picture(path, 1 - MASK, [(255, 255, 255), (0, 0, 0)])
    np.testing.assert_array_equal(read_mask(white_first), MASK, "black and white go by colour")
    three = palette_picture(path, MASK * np.uint8(2), [(0, 0, 0), (128, 0, 0), (0, 128, 0)])
    with pytest.raises(RejectedFileError, match="0 and 1, or 0 and 255, got 2 values"):
        read_mask(three)
    np.testing.assert_array_equal(read_mask(three, MaskValues(wanted=(2, 7))), MASK)


def test_not_judged_is_an_option(tmp_path):
    mask = MASK.copy()
    mask[0] = 255
    path = save(tmp_path / "a.png", mask)
    with pytest.raises(RejectedFileError, match="got 3 values"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, MaskValues(not_judged=255)), mask)
    only = save(tmp_path / "b.png", MASK * np.uint8(255))
    np.testing.assert_array_equal(read_mask(only, MaskValues(not_judged=255)), MASK * 255)


def test_empty_and_full_masks(tmp_path):
    assert not read_mask(save(tmp_path / "a.png", np.zeros((4, 4), np.uint8))).any()
    assert read_mask(save(tmp_path / "a.png", np.full((4, 4), 255, np.uint8))).all()


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (MASK * np.uint8(128), "got 2 values .0, 128."),
        (np.arange(48, dtype=np.uint8).reshape(6, 8), r"got 48 values .0, 1, 2, 3, 4 …."),
        (np.stack([MASK * 255, MASK, MASK], -1).astype(np.uint8), "must be grey, got colours"),
        (np.stack([MASK * 255] * 3 + [MASK * 128], -1).astype(np.uint8), "must be opaque"),
        (MASK * 254 + np.uint8(1), "got 2 values"),
    ],
)
def test_what_is_not_binary_is_refused_by_name(tmp_path, pixels, says):
    with pytest.raises(RejectedFileError, match=says) as error:
        read_mask(save(tmp_path / "cat.png", pixels))
    assert error.value.code == "not-binary"
    assert str(tmp_path / "cat.png") in str(error.value)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"<svg>")
    with pytest.raises(RejectedFileError, match="disguise"):
        read_mask(tmp_path / "a.png")
    with pytest.raises(RejectedFileError, match="missing"):
        read_mask(tmp_path / "b.png")
    with pytest.raises(InvalidValueError):
        MaskValues(wanted=(1, 255), not_judged=255)


def test_the_greater_area_decides():
    mask = np.array([[1, 1, 0, 0, 255, 255, 1, 255], [1, 0, 0, 1, 255, 0, 1, 0]], np.uint8)
    assert resized_mask(mask, (1, 4)).tolist() == [[1, 0, 255, 1]]
    # columns of 3 pixels into 2: each new one covers one and a half
    assert resized_mask(np.array([[1, 0, 1]], np.uint8), (1, 2)).tolist() == [[1, 1]]
    larger = resized_mask(mask, (4, 16))
    assert larger.tolist() == np.kron(mask, np.ones((2, 2), np.uint8)).tolist()
    assert resized_mask(mask, (2, 8)) is mask


def test_frames_are_means_where_sides_divide():
    frame = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    small = resized_frame(frame, (3, 4)).astype(float)
    np.testing.assert_allclose(small, frame.reshape(3, 2, 4, 2, 3).mean((1, 3)), atol=1.0)  # it rounds twice
    assert resized_frame(frame, (5, 7)).shape == (5, 7, 3)
    assert resized_frame(frame, None) is frame
