"""Nearest real pictures: by hand, against a slow search, and which made ones count as copies."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense import near_copies
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.near_copies import nearest_real
from lightmeter.condense.protocol import Condensed


def real_set(count=40, side=6, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    return ImageSet.of(pixels, np.arange(count) % 2, ("a", "b"))


def made(images, labels):
    return Condensed(np.stack(images), np.array(labels, np.int64))


def test_distances_by_hand():
    pixels = np.zeros((3, 2, 2, 1), np.uint8)
    pixels[1] = 255
    pixels[2, 0, 0] = 255
    real = ImageSet.of(pixels, np.array([0, 1, 0]), ("a", "b"))
    found = nearest_real(made([np.full((2, 2, 1), 51, np.uint8)], [0]), real)
    assert found.rows.tolist() == [0]
    assert found.distances[0] == pytest.approx(0.2)


@pytest.mark.parametrize("own_class", [False, True])
def test_it_finds_what_a_slow_search_finds(monkeypatch, own_class):
    monkeypatch.setattr(near_copies, "_MOST_PRODUCTS", 0 if own_class else 1e18)
    monkeypatch.setattr(near_copies, "_BLOCK_BYTES", 4 * 36 * 7)
    monkeypatch.setattr(near_copies, "_QUERIES", 3)
    real, queries = real_set(), real_set(count=8, seed=1)
    found = nearest_real(made(list(queries.images), queries.labels), real)
    for at in range(8):
        away = ((queries.images[at] / 255.0 - real.images / 255.0) ** 2).reshape(40, -1).mean(axis=1)
        if own_class:
            away[real.labels != queries.labels[at]] = np.inf
        assert found.rows[at] == away.argmin()
        assert found.distances[at] == pytest.approx(np.sqrt(away.min()), rel=1e-5)
    assert found.own_class == own_class


def test_a_copy_is_marked_and_a_stranger_is_not():
    real = real_set()
    copy = real.images[5].copy()
    copy[0, 0] ^= 3
    found = nearest_real(made([copy, real_set(seed=9).images[0]], [1, 0]), real)
    assert found.near.tolist() == [True, False]
    assert found.rate == 0.5


def test_a_kept_picture_is_compared_to_others_and_never_marked():
    real = real_set()
    twin = real.images.copy()
    twin[7] = twin[3]
    doubled = ImageSet.of(twin, real.labels, real.classes)
    found = nearest_real(Condensed.of_rows(doubled, np.array([3])), doubled)
    assert (found.rows.tolist(), found.distances.tolist()) == ([7], [0.0])
    assert not found.near.any()


def test_a_set_of_one_picture_has_no_neighbour():
    real = real_set(count=1)
    found = nearest_real(Condensed.of_rows(real, np.array([0])), real)
    assert found.rows.tolist() == [-1]
    assert np.isnan(found.distances).all()
