"""RDED: which crops stay, how they are put together, and that it is the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.learning_pixels.rded import (
    Rded,
    best_crops,
    crop_losses,
    cut,
    mean_colour,
    mosaic,
    mosaic_cells,
    random_crops,
)
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build


def test_is_rebuilt_by_its_spec():
    recipe = Rded(factor=2, crops=3, pool=0, least=0.5)
    assert build(recipe.spec) == recipe
    assert build("rded") == Rded()
    assert recipe.makes


@pytest.mark.parametrize("wrong", ["factor=-1", "crops=0", "pool=-2", "least=0.0", "least=1.5"])
def test_refuses_what_makes_no_sense(wrong):
    with pytest.raises(InvalidValueError, match="factor and pool must be 0 or more"):
        build(f"rded/{wrong}", "condenser")


def test_each_picture_gives_its_best_crop_before_any_gives_a_second():
    losses = np.array([[3.0, 1.0, 2.0], [9.0, 8.0, 7.0], [0.5, 0.6, 0.7]])
    at, which = best_crops(losses, 5)
    assert at.tolist() == [2, 0, 1, 2, 0]  # .5, 1, 7, then second-best .6, 2
    assert which.tolist() == [0, 1, 2, 1, 2]


def test_crops_have_the_pictures_aspect_and_stay_inside():
    boxes = random_crops(10, 20, (200, 3), 0.25, np.random.default_rng(0))
    top, left, height, width = np.moveaxis(boxes, -1, 0)
    assert boxes.shape == (200, 3, 4)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 10).all()
    assert (left + width <= 20).all()
    assert np.abs(width - 2 * height).max() <= 1
    assert height.min() == 5
    assert height.max() == 10


@pytest.mark.parametrize(("high", "wide", "factor"), [(8, 8, 1), (9, 8, 2), (32, 30, 5)])
def test_cells_tile_the_picture(high, wide, factor):
    covered = np.zeros((high, wide), int)
    for top, left, height, width in mosaic_cells(high, wide, factor):
        covered[top : top + height, left : left + width] += 1
    assert (covered == 1).all()


def test_a_crop_is_what_stands_there_and_made_smaller_its_means():
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 10
    assert (cut(picture, np.array([1, 2, 2, 2]), (2, 2)) == picture[1:3, 2:4]).all()
    flat = np.full((4, 4, 3), 77, np.uint8)
    assert (cut(flat, np.array([0, 0, 4, 4]), (2, 3)) == 77).all()


def test_a_mosaic_by_hand():
    tones = np.array([10, 20, 30, 40], np.uint8)
    pictures = np.broadcast_to(tones[:, None, None, None], (4, 4, 4, 1)).copy()
    images = ImageSet.of(pictures, np.zeros(4, np.int64), ("a", "b"))
    whole = np.tile([0, 0, 4, 4], (4, 1))
    made = mosaic(images, np.array([3, 2, 1, 0]), whole, mosaic_cells(4, 4, 2))
    assert made[..., 0].tolist() == [[40, 40, 30, 30]] * 2 + [[20, 20, 10, 10]] * 2


def test_losses_are_the_teachers_on_crops_in_the_middle_of_the_mean_colour(stripes, material):
    images = stripes(3, channels=3)
    teacher, colour = material(images).teacher(), mean_colour(images.images)
    assert colour.tolist() == images.images.reshape(-1, 3).mean(axis=0).round().tolist()
    boxes = np.array([[[2, 2, 4, 4], [0, 0, 8, 8]]])
    losses = crop_losses(teacher, images, np.array([4]), boxes, (4, 4), colour)
    shown = np.empty((1, 8, 8, 3), np.uint8)
    shown[:] = colour
    shown[0, 2:6, 2:6] = images.images[4, 2:6, 2:6]
    logits = teacher.logits(shown)[0].astype(float)
    assert losses.shape == (1, 2)
    assert losses[0, 0] == pytest.approx(np.log(np.exp(logits).sum()) - logits[images.labels[4]], rel=1e-5)


@pytest.mark.parametrize("factor", [1, 2])
def test_makes_as_many_mosaics_as_asked_of_crops_of_the_same_class(stripes, material, factor):
    images = stripes(12, channels=3)
    small = Rded(factor=factor).condense(material(images), 2, seed=3)
    assert small.images.shape == (4, 8, 8, 3)
    assert small.rows is None
    assert small.labels.tolist() == [0, 0, 1, 1]
    for label, members in zip(small.labels, small.members, strict=True):
        assert 1 <= len(members) <= factor**2
        assert (images.labels[members] == label).all()
    assert small.notes == ()


def test_same_seed_same_pictures(stripes, material):
    images = stripes(12)
    one, same, other = (Rded().condense(material(images), 2, seed=seed) for seed in (1, 1, 2))
    assert (one.images == same.images).all()
    assert (one.images != other.images).any()


def test_looks_at_a_pool_only(stripes, material):
    images = stripes(12)
    small = Rded(pool=2, factor=1, crops=2).condense(material(images), 2, seed=0)
    assert len(np.unique(np.concatenate(small.members))) == 4


def test_a_class_that_is_too_small_gives_several_crops_of_a_picture_and_that_is_said(stripes, material):
    images = stripes(12).take(np.array([0, 1, 12, 13, 14, 15, 16, 17]))
    told = material(images)
    small = Rded(factor=2, crops=1).condense(told, 1, seed=0)
    assert small.labels.tolist() == [0, 1]
    assert small.notes == ("across: 2 pictures for 4 crops, several of some",)
    assert len(told.said) == 2


def test_a_class_without_pictures_is_left_out_and_crops_must_have_pixels(stripes, material):
    images = stripes(4)
    some = ImageSet.of(images.images, images.labels * 2, ("a", "nothing", "c"))
    teacher = material(images).teacher()
    told = material(some)
    told.teacher = lambda: type("Three", (), {"logits": lambda _, x: np.insert(teacher.logits(x), 1, -9, axis=1)})()
    assert Rded().condense(told, 1, seed=0).labels.tolist() == [0, 2]
    with pytest.raises(InvalidValueError, match="crops of 2 pixels"):
        Rded(factor=5).condense(told, 1, seed=0)
