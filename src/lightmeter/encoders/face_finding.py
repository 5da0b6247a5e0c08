"""The face in a picture: found by dlib, measured by its landmarks, cut out for networks that want a crop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from typing import Any

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.encoders.protocol import checked_image
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import need
from lightmeter.types import Array, Image, check_axes

LANDMARKS = "dlib-landmarks"
SEARCH_SIDE = 800
"""Pixels on the long side of what is searched: faces of a tenth of it and more are found, in 0.1 s of CPU."""
MOST_GROWN = 2
"""How much a small picture is enlarged for the search; beyond it there is nothing to see."""
SURE_SHARE = 0.5
"""Of the best score: what scores less is no face. Faces score 1 to 2, chance patterns 0.1, and some are large."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the picture; half-open, may lie partly outside."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """Where a face is.

    box:  left, top, right, bottom in pixels, from the brows to the chin; may lie partly outside of the picture
    eyes: float64 [2, 2]  (x, y) of the centre of the eye on the picture's left, then of that on its right
    """

    box: Box
    eyes: Array

    def __post_init__(self) -> None:
        check_axes("eyes", self.eyes, "2 2", "float64")


def largest_face(image: Image, *, search_side: int = SEARCH_SIDE) -> FoundFace:
    """The largest face of a picture.

    search_side: pixels of the long side of what is searched, smaller ones are enlarged, twofold at most. Faces of 80
    pixels there are found, and smaller ones are not; a larger side finds smaller faces and costs with its square
    Among what is found, what scores less than half of the best is no face: chance patterns may be large.
    Raises RejectedFileError (`no-face`) where none is found, MissingExtraError without dlib, MissingAssetError without
    the landmarks.  Cost: up to 0.1 s of CPU, 0.2 s where 4,000 x 4,000 pixels are reduced first; the
    landmarks 3 ms (docs/results/dlib-face.json).
    Source: histograms of oriented gradients, Dalal & Triggs, CVPR 2005, as max-margin detector, King 2015,
    arXiv:1502.00046; five landmarks by regression trees, Kazemi & Sullivan, CVPR 2014.
    """
    box = face_box(image, search_side=search_side)
    x, y = np.array([(part.x, part.y) for part in landmarks(image, box).parts()], np.float64).T
    right, left = (0, 1), (2, 3)  # corners of the eyes, as they stand in the picture; 4 is the nose
    eyes = np.array([[x[[*eye]].mean(), y[[*eye]].mean()] for eye in (left, right)])
    return FoundFace(box, eyes)


def face_box(image: Image, *, search_side: int = SEARCH_SIDE) -> Box:
    """The box of the largest face; as `largest_face`, without the landmarks."""
    if search_side < 1:
        raise InvalidValueError(f"search_side must be 1 or more, got {search_side}")
    pixels = checked_image(image, "a search for faces").pixels
    seen = _searched(pixels, search_side)
    rectangles, scores, _ = _detector().run(seen, 0, 0.0)  # by falling score
    if not rectangles:
        raise RejectedFileError(
            "no-face", f"no face of {_smallest(pixels, seen)} pixels or more is seen in the picture"
        )
    sure = [each for each, score in zip(rectangles, scores, strict=True) if score >= SURE_SHARE * scores[0]]
    found = max(sure, key=lambda each: each.area())  # the first of equals
    across, down = pixels.shape[1] / seen.shape[1], pixels.shape[0] / seen.shape[0]
    return found.left() * across, found.top() * down, (found.right() + 1) * across, (found.bottom() + 1) * down


def landmarks(image: Image, box: Box) -> Any:
    """dlib's full_object_detection of the five landmarks of the face in a box, in the picture's pixels."""
    left, top, right, bottom = (round(each) for each in box)
    whole = need("dlib", "faces").rectangle(left, top, max(left, right - 1), max(top, bottom - 1))
    return _predictor()(np.ascontiguousarray(image.pixels), whole)


def cut(image: Image, box: Box, side: int) -> Array:
    """A box of a picture resized to a square: uint8 [side, side, 3]; what lies outside repeats the picture's edge.

    Resized bilinearly by Pillow, over the area of a pixel where it shrinks.  Cost: O(pixels of the box).
    Raises InvalidValueError for a box that is empty, does not touch the picture or is over ten times as long.
    """
    from PIL import Image as pillow  # noqa: N813

    pixels = checked_image(image, "a cut").pixels
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    touches = left < right and top < bottom and left < width and top < height and right > 0 and bottom > 0
    if not touches or max(right - left, bottom - top) > 10 * max(height, width):
        raise InvalidValueError(f"a box must touch the picture of {width} x {height} and be at most ten times as long, "
                                f"got {list(box)}")  # fmt: skip
    reach = 2 + int(max(1.0, (right - left) / side, (bottom - top) / side))  # of the filter beyond the box
    x, y = floor(left) - reach, floor(top) - reach
    rows = np.arange(y, ceil(bottom) + reach).clip(0, height - 1)
    columns = np.arange(x, ceil(right) + reach).clip(0, width - 1)
    part = np.ascontiguousarray(pixels[rows][:, columns])
    inner = (left - x, top - y, right - x, bottom - y)
    return np.asarray(pillow.fromarray(part).resize((side, side), pillow.Resampling.BILINEAR, box=inner))


def load() -> None:
    """Make the detector and read the landmarks now, once a process."""
    _detector()
    _predictor()


def _searched(pixels: Array, search_side: int) -> Array:
    from PIL import Image as pillow  # noqa: N813

    height, width = pixels.shape[:2]
    scale = min(search_side / max(height, width), MOST_GROWN)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return np.ascontiguousarray(pixels)
    whole = pillow.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(whole.resize(size, pillow.Resampling.BILINEAR, reducing_gap=2.0))


def _smallest(pixels: Array, seen: Array) -> int:
    found: int = max(1, round(80 * pixels.shape[1] / seen.shape[1]))
    return found


@cache
def _detector() -> Any:
    return need("dlib", "faces").get_frontal_face_detector()


@cache
def _predictor() -> Any:
    # checked, because it is dlib's reader that opens it, not ours
    return need("dlib", "faces").shape_predictor(str(find(LANDMARKS, check=True)))
