"""RDED: the crops that a teacher is surest of, put together to mosaics."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condensed, Material, Teacher
from lightmeter.condense.workbench import cross_entropy
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

_CHANCE = 0x2DED
_AT_ONCE = 512
_LOOKED_AT = 4096
_LARGE_PX = 96


@dataclass(frozen=True)
class Rded(Spelled):
    """Mosaics of the crops that the teacher knows best; made to be scored with its soft labels (protocol `rded`).

    factor: a picture holds factor × factor crops; 0: 1 where pictures are below 96 px, 2 from there on, as published
    crops: tried of each picture, of which the one with the lowest loss stays · pool: pictures of a class that are
    looked at, 0: all · least: smallest share of a picture's area that a crop has

    Cost: the teacher's on `crops` × `pool` pictures a class.  Memory: one class's crops that stay.
    Source: Sun et al., "On the diversity and realism of distilled dataset", CVPR 2024, arXiv:2312.03526; crops of .08
    to 1 of the area and the middle of a canvas of the mean colour as in the authors' program. Ours: a crop has the
    picture's aspect; where a class has fewer pictures than crops are needed, their second-best ones are taken too.
    """

    factor: int = 0
    crops: int = 5
    pool: int = 300
    least: float = 0.08

    def __post_init__(self) -> None:
        if min(self.factor, self.pool) < 0 or self.crops < 1 or not 0 < self.least <= 1:
            raise InvalidValueError(
                "factor and pool must be 0 or more, crops 1 or more and least above 0 and at most 1, got "
                f"{self.factor}, {self.pool}, {self.crops} and {self.least}"
            )

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` mosaics of every class; `members` are the pictures that each was cut from."""
        images, teacher = material.images, material.teacher()
        factor = self.factor or (2 if min(images.size) >= _LARGE_PX else 1)
        if min(images.size) < 2 * factor:
            raise InvalidValueError(f"factor must leave crops of 2 pixels, got {factor} of {images.size}: take less")
        colour = mean_colour(images.images)
        cells = mosaic_cells(*images.size, factor)
        made, labels, members, notes = [], [], [], []
        for label in np.flatnonzero(images.counts()):
            rows, boxes = self._drawn(images, int(label), per_class * factor**2, seed)
            losses = crop_losses(teacher, images, rows, boxes, cells[0][2:], colour)
            at, which = best_crops(losses, per_class * factor**2)
            if len(rows) < len(at):
                notes.append(f"{images.classes[label]}: {len(rows)} pictures for {len(at)} crops, several of some")
            cut = boxes[at, which].reshape(factor**2, per_class, 4)
            of = rows[at].reshape(factor**2, per_class)
            made += [mosaic(images, of[:, each], cut[:, each], cells) for each in range(per_class)]
            members += [np.unique(of[:, each]) for each in range(per_class)]
            labels += [label] * per_class
            material.tell(f"rded: {images.classes[label]}, {per_class} mosaics of {factor} × {factor} crops")
        return Condensed(np.stack(made), np.array(labels, np.int64), members=tuple(members), notes=tuple(notes))

    def _drawn(self, images: ImageSet, label: int, needed: int, seed: int) -> tuple[Array, Array]:
        """Pictures of a class, int64 [n], and crops of each: int64 [n, m, 4], enough for all that is needed."""
        rng = np.random.default_rng([_CHANCE, seed, label])
        rows = rng.permutation(images.rows_of(label))[: max(self.pool, needed) if self.pool else None]
        crops = max(self.crops, -(-needed // len(rows)))
        return rows, random_crops(*images.size, (len(rows), crops), self.least, rng)


def random_crops(height: int, width: int, count: tuple[int, ...], least: float, rng: np.random.Generator) -> Array:
    """Boxes (top, left, height, width) of the picture's aspect: int64 [*count, 4]; areas from `least` to 1 of it."""
    share = np.sqrt(rng.uniform(least, 1, count))
    sides = [np.maximum(1, np.round(share * side)).astype(np.int64) for side in (height, width)]
    top, left = (rng.integers(0, side - each + 1) for side, each in zip((height, width), sides, strict=True))
    return np.stack([top, left, *sides], axis=-1)


def best_crops(losses: Array, count: int) -> tuple[Array, Array]:
    """Which picture and which crop of it, int64 [count] each: lowest loss first, of each picture its best crop.

    Second-best crops come only after the best of all pictures, and so on.  losses: [n pictures, m crops], n·m ≥ count

    >>> [each.tolist() for each in best_crops(np.array([[0.9, 0.2], [0.1, 0.3], [0.5, 0.4]]), 4)]
    [[1, 0, 2, 1], [0, 1, 1, 1]]
    """
    ranked = np.argsort(losses, axis=1, kind="stable")
    own = np.take_along_axis(losses, ranked, axis=1)
    turn = np.broadcast_to(np.arange(losses.shape[1]), losses.shape)
    order = np.lexsort((own.ravel(), turn.ravel()))[:count]
    at, rank = np.divmod(order, losses.shape[1])
    return at, ranked[at, rank]


def mosaic_cells(height: int, width: int, factor: int) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, height, width) that tile a picture, row by row; the first take what does not divide.

    >>> mosaic_cells(5, 4, 2)
    [(0, 0, 3, 2), (0, 2, 3, 2), (3, 0, 2, 2), (3, 2, 2, 2)]
    """
    rows, columns = (
        [n * (side // factor) + min(n, side % factor) for n in range(factor + 1)] for side in (height, width)
    )
    return [(top, left, low - top, right - left) for top, low in pairwise(rows) for left, right in pairwise(columns)]


def cut(picture: Array, box: Array, size: tuple[int, int]) -> Array:
    """A crop at another (height, width), bilinear, antialiased: uint8 [H, W, C] → uint8 [h, w, C]."""
    from PIL import Image as pillow  # noqa: N813

    top, left, height, width = (int(each) for each in box)
    pixels = np.ascontiguousarray(picture[top : top + height, left : left + width])
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    made = np.asarray(pillow.fromarray(flat).resize((size[1], size[0]), pillow.Resampling.BILINEAR))
    return made.reshape(*size, pixels.shape[2])


def mosaic(images: ImageSet, rows: Array, boxes: Array, cells: list[tuple[int, int, int, int]]) -> Array:
    """One picture, uint8 [H, W, C], of a crop a cell: rows int64 [cells] of the set, boxes int64 [cells, 4]."""
    made = np.empty(images.images.shape[1:], np.uint8)
    for row, box, (top, left, height, width) in zip(rows.tolist(), boxes, cells, strict=True):
        made[top : top + height, left : left + width] = cut(images.images[row], box, (height, width))
    return made


def mean_colour(images: Array) -> Array:
    """Of up to 4,096 pictures spread over a set: uint8 [C]."""
    some = images[:: -(-len(images) // _LOOKED_AT)]
    return np.asarray(some.reshape(-1, images.shape[-1]).mean(axis=0).round(), np.uint8)


def crop_losses(
    teacher: Teacher, images: ImageSet, rows: Array, boxes: Array, size: tuple[int, int], colour: Array
) -> Array:
    """The teacher's cross-entropy, nats, of crops as large as a mosaic's, in the middle of a canvas: float32 [n, m].

    rows: int64 [n], of one class · boxes: int64 [n, m, 4] · size: (height, width) of a crop as it is shown
    """
    count, crops = boxes.shape[:2]
    high, wide = images.size
    top, left = (high - size[0]) // 2, (wide - size[1]) // 2
    losses = np.empty(count * crops, np.float32)
    for start in range(0, count * crops, _AT_ONCE):
        stop = min(start + _AT_ONCE, count * crops)
        shown = np.empty((stop - start, *images.images.shape[1:]), np.uint8)
        shown[:] = colour
        for number in range(start, stop):
            at, which = divmod(number, crops)
            crop = cut(images.images[rows[at]], boxes[at, which], size)
            shown[number - start, top : top + size[0], left : left + size[1]] = crop
        logits = teacher.logits(shown)
        losses[start:stop] = cross_entropy(logits, images.labels[rows[np.arange(start, stop) // crops]])
    return losses.reshape(count, crops)
