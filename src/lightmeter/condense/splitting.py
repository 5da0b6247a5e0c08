"""A set parted class by class: what methods may look at, and what students are scored on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.condense.image_set import ImageSet, split_classes
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.types import Array

MOST_SCORED = 5000
"""Pictures that are held out at most: more would make intervals little narrower, and scoring dear."""
_SPLIT, _HALVES = 0xC0DE, 0xC0DF
"""Keep these draws apart from others of the same seed."""
_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A set in two parts.

    learn: what methods see, memory-mapped · held: what students are scored on, in memory
    choosing, reporting: rows of `held`: the best method is chosen by the one half and told by the other, so that what
    is told was not picked for being high
    """

    learn: ImageSet
    held: ImageSet
    choosing: Array
    reporting: Array


def parted(images: ImageSet, work: Path, *, share: float, seed: int) -> Split:
    """Hold out a share of each class, at most about 5,000 pictures in all.

    work: folder that gets a copy of the pictures to learn from, so that they need not be in memory
    Raises InvalidValueError where classes are too small to hold two pictures out.
    """
    capped = min(share, MOST_SCORED / max(1, len(images)))
    learn, aside = split_classes(images.labels, capped, seed + _SPLIT)
    if len(aside) < 2:
        raise InvalidValueError(
            f"valid must leave two pictures or more to score on, got {share} of classes of {images.counts().min()} to "
            f"{images.counts().max()}: raise it, or add pictures"
        )
    held = images.take(aside)
    reporting, choosing = split_classes(held.labels, 0.5, seed + _HALVES)
    return Split(on_disk(images, learn, work), held, choosing if len(choosing) else reporting, reporting)


def on_disk(images: ImageSet, rows: Array, work: Path) -> ImageSet:
    """Some rows of a set as a memory-mapped set of their own, kept by content.  Memory: a block of pictures."""
    names = tuple(images.names[row] for row in rows.tolist())
    mark = hash_of([images.fingerprint, rows])
    path = work / f"learn-{mark[:16]}.npy"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        shape = (len(rows), *images.images.shape[1:])
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(rows), _ROWS):
            out[start : start + _ROWS] = images.images[rows[start : start + _ROWS]]
        out.flush()
        del out
        part.replace(path)
    return ImageSet(read_array(path, mapped=True), images.labels[rows], images.classes, names, mark)
