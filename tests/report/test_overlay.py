"""Overlays: what is outside stays, what is inside is tinted, the boundary drawn."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.report.overlay import AMBER, overlay


def test_by_hand():
    frame = np.full((7, 7, 3), 100, np.uint8)
    mask = np.zeros((7, 7), np.uint8)
    mask[1:6, 1:6] = 1
    made = overlay(frame, mask)
    assert (made[0] == 100).all()
    assert made[1, 1].tolist() == list(AMBER)
    assert made[3, 3].tolist() == [163, 132, 73]  # 0.55 · 100 + 0.45 · amber
    assert (frame == 100).all()
    inside = (made != frame).any(axis=-1)
    assert (inside == (mask == 1)).all()


def test_nothing_inside_changes_nothing():
    frame = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    made = overlay(frame, np.zeros((8, 9), np.uint8))
    assert (made == frame).all()
    assert made is not frame


def test_a_mask_over_the_whole_picture_has_no_boundary():
    made = overlay(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8))
    assert (made == made[0, 0]).all()
    assert made[0, 0].tolist() == [108, 76, 18]


def test_lines_are_wider_on_large_pictures():
    mask = np.zeros((850, 20), np.uint8)
    mask[10:, 5:15] = 1
    made = overlay(np.zeros((850, 20, 3), np.uint8), mask)
    assert (made[400] == AMBER).all(axis=-1).tolist() == [False] * 5 + [True] * 3 + [False] * 4 + [True] * 3 + [
        False
    ] * 5


def test_another_size():
    with pytest.raises(InvalidValueError, match=r"mask must be \[4, 4\], got \[4, 5\]"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8))
