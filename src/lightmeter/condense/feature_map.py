"""A map of features: which pictures lie near each other, and which stand apart from their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.outliers import inliers
from lightmeter.parts import need
from lightmeter.report.label_colours import label_picture
from lightmeter.types import Array

MOST = 500
CONTAMINATION = 0.1
_SIDE, _DOT = 400, 2
_PAPER, _INK = (253, 251, 247), (38, 36, 31)
_FIRST_COLOUR, _COLOURS = 2, 253


@dataclass(frozen=True, slots=True, eq=False)
class OutlierMap:
    """Some pictures in the plane.

    places: float64 [n, 2] · labels: int64 [n] · kept: bool [n], no outlier of its class
    """

    places: Array
    labels: Array
    kept: Array


def outlier_map(images: ImageSet, features: Array, *, seed: int) -> OutlierMap:
    """t-SNE of up to 500 pictures, classes in equal shares, and which of them a Local Outlier Factor leaves out.

    features: [N, D] of all pictures · Cost: about 2 CPU-seconds.
    Source: van der Maaten and Hinton 2008; Breunig et al. 2000, at the contamination of 0.1 of seed 002.
    """
    manifold = need("sklearn.manifold", "heads")
    rows = _shares(images, seed)
    some = np.asarray(features[rows], np.float64)
    labels = images.labels[rows]
    kept = np.ones(len(rows), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        kept[own] = inliers(some[own].astype(np.float32), CONTAMINATION, at_least=1)[0]
    perplexity = max(1.0, min(30.0, (len(rows) - 1) / 3))
    made = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(some)
    return OutlierMap(np.asarray(made, np.float64), labels, kept)


def _shares(images: ImageSet, seed: int) -> Array:
    """Rows, rising: as many of each class where classes allow it."""
    share = max(2, MOST // len(images.classes))
    draws = np.random.default_rng(seed)
    parts = [draws.permutation(images.rows_of(label))[:share] for label in range(len(images.classes))]
    return np.sort(np.concatenate(parts)[:MOST])


def drawn_map(made: OutlierMap, *, outliers: bool) -> Array:
    """The map as RGB: a dot a picture in its class's colour; outliers as dark crosses, or left out."""
    canvas = np.full((_SIDE, _SIDE, 3), _PAPER, np.uint8)
    low, high = made.places.min(axis=0), made.places.max(axis=0)
    spots = 8 + np.round((made.places - low) / np.maximum(high - low, 1e-9) * (_SIDE - 17)).astype(int)
    colours = label_picture((_FIRST_COLOUR + made.labels % _COLOURS).astype(np.uint8)[None])[0]
    for (x, y), colour, kept in zip(spots.tolist(), colours, made.kept.tolist(), strict=True):
        if kept:
            canvas[y - _DOT : y + _DOT + 1, x - _DOT : x + _DOT + 1] = colour
        elif outliers:
            for step in range(-3, 4):
                canvas[y + step, x + step] = canvas[y + step, x - step] = _INK
    return canvas
