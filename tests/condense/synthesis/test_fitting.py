"""Pictures at the door of a model."""

import numpy as np
import pytest

from lightmeter.condense.synthesis.fitting import Fitting
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")


def pictures(high, wide, channels, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, high, wide, channels), np.uint8)


@pytest.mark.parametrize(("size", "model_size"), [((28, 28), (32, 32)), ((5, 8), (8, 8)), ((7, 3), (8, 8))])
@pytest.mark.parametrize("channels", [1, 3])
def test_padding_changes_no_pixel(size, model_size, channels):
    door, images = Fitting(size, channels, model_size, channels, "pad"), pictures(*size, channels)
    shown = door.to_model(images)
    assert shown.shape == (3, channels, *model_size)
    assert float(shown.min()) >= -1
    assert float(shown.max()) <= 1
    np.testing.assert_array_equal(door.to_set(shown), images)


def test_padding_repeats_the_border():
    door = Fitting((1, 2), 1, (3, 4), 1, "pad")
    shown = door.to_model(np.array([[[[0], [255]]]], np.uint8))[0, 0]
    np.testing.assert_array_equal(shown.numpy(), [[-1, -1, 1, 1]] * 3)


def test_resizing_is_pillows():
    from PIL import Image

    images = pictures(12, 10, 3)
    shown = Fitting((12, 10), 3, (6, 5), 3).to_model(images)
    wanted = [np.asarray(Image.fromarray(each).resize((5, 6), Image.Resampling.BILINEAR)) for each in images]
    np.testing.assert_allclose((shown.movedim(1, -1).numpy() + 1) * 127.5, wanted, atol=1.0)
    back = Fitting((6, 5), 3, (12, 10), 3).to_set(Fitting((12, 10), 3, (12, 10), 3).to_model(images))
    wanted = [np.asarray(Image.fromarray(each).resize((5, 6), Image.Resampling.BICUBIC)) for each in images]
    np.testing.assert_allclose(back.astype(int), wanted, atol=2)


def test_grey_goes_through_a_model_of_colours():
    door, images = Fitting((8, 8), 1, (8, 8), 3), pictures(8, 8, 1)
    shown = door.to_model(images)
    assert shown.shape[1] == 3
    np.testing.assert_array_equal(door.to_set(shown), images)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidValueError, match="as many, got 3"):
        Fitting((8, 8), 3, (8, 8), 1)
    with pytest.raises(InvalidValueError, match="at most"):
        Fitting((9, 8), 1, (8, 8), 1, "pad")
    with pytest.raises(InvalidValueError, match="fit must be"):
        Fitting((8, 8), 1, (8, 8), 1, "crop")
    with pytest.raises(InvalidValueError, match="images must be"):
        Fitting((8, 8), 1, (8, 8), 1).to_model(pictures(9, 8, 1))
