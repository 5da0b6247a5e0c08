"""From bytes to what networks read, and to the size of a protocol."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightmeter.condense.scoring.pixels import floats, normalised, resized


def test_normalised_by_hand():
    images = np.zeros((1, 1, 2, 3), np.uint8)
    images[0, 0, 1] = 255
    made = normalised(images)
    assert made.shape == (1, 3, 1, 2)
    torch.testing.assert_close(made[0, :, 0, 0], torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))
    torch.testing.assert_close(made[0, :, 0, 1], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert normalised(images[..., :1]).shape == (1, 1, 1, 2)


def test_read_only_pictures_are_taken():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    images.flags.writeable = False
    assert floats(images)[1, 0, 1, 1].item() == pytest.approx(7 / 255)


def test_resized_shrinks_as_pillow_does():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 40, 64, 3), dtype=np.uint8)
    made = resized(images, 20, 16)
    assert made.shape == (2, 16, 16, 3)
    assert made.dtype == np.uint8
    alone = np.asarray(Image.fromarray(images[1]).resize((32, 20), Image.Resampling.BILINEAR))[2:18, 8:24]
    assert np.abs(made[1].astype(int) - alone).max() <= 1


def test_what_has_its_size_is_not_touched():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    assert resized(images, 8, 8).base is not None
    assert np.array_equal(resized(images, 8, 8), images)
