"""Labels as colours."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.report.label_colours import label_picture


def test_every_label_has_a_colour_of_its_own():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    painted = label_picture(labels)
    assert painted.shape == (16, 16, 3)
    near = painted.reshape(256, 3)[:12].astype(int)
    gaps = np.abs(near[:, None] - near[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert gaps.min() > 40


def test_a_map_is_flat():
    with pytest.raises(InvalidValueError, match="labels must be"):
        label_picture(np.zeros((2, 2, 3), np.uint8))
