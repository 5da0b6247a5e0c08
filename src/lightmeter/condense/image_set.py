"""Labelled pictures of one size in an array, the shape that everything in `condense` takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """N labelled pictures. `images` may lie on disk as a memory-mapped array until rows of it are read.

    images:  uint8 [N, H, W, C]  C is 3, RGB, or 1, grey; 0..255
    labels:  int64 [N]           row of `classes`
    classes: names, in the order that labels count
    names:   one a picture, as `class/file.png`; no two alike
    fingerprint: of pixels, labels and classes; `ImageSet.of` computes it
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        check_axes("images", self.images, "N H W C", "uint8")
        count, _, _, channels = self.images.shape
        if channels not in (1, 3):
            raise InvalidValueError(f"images must be [N, H, W, C] with C 1 or 3, got C {channels}: move colours last")
        check_axes("labels", self.labels, str(count), "int64")
        if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise InvalidValueError(
                f"labels must be 0 to {len(self.classes) - 1}, got {self.labels.min()} to {self.labels.max()}"
            )
        if len(self.names) != count:
            raise InvalidValueError(f"names must be {count}, got {len(self.names)}: give one a picture")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @classmethod
    def of(
        cls, images: Array, labels: Array, classes: Sequence[str], names: Sequence[str] = (), *, fingerprint: str = ""
    ) -> ImageSet:
        """With a fingerprint of its content, and names `class/row` where none are given."""
        numbers = np.ascontiguousarray(labels, dtype=np.int64)
        named = tuple(names) or tuple(f"{classes[label]}/{row}" for row, label in enumerate(numbers.tolist()))
        return cls(images, numbers, tuple(classes), named, fingerprint or _hash(images, numbers, classes))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return cast(tuple[int, int], self.images.shape[1:3])

    def rows_of(self, label: int) -> Array:
        """Rows of a class: int64 [n], rising."""
        return np.flatnonzero(self.labels == label)

    def counts(self) -> Array:
        """Pictures of every class: int64 [classes]."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def take(self, rows: Array) -> ImageSet:
        """Some rows, in this order; the classes stay."""
        some = np.asarray(rows, dtype=np.int64)
        names = tuple(self.names[row] for row in some.tolist())
        mark = hashlib.sha256(self.fingerprint.encode() + some.tobytes()).hexdigest()
        return ImageSet(self.images[some], self.labels[some], self.classes, names, mark)


def _hash(images: Array, labels: Array, classes: Sequence[str]) -> str:
    digest = hashlib.sha256(repr((images.shape, tuple(classes))).encode())
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]).tobytes())
    digest.update(labels.tobytes())
    return digest.hexdigest()


def split_classes(labels: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Rows split class by class: what is kept and the share set aside, int64, each rising.

    Every class keeps a row; one of a single row sets none aside. share: 0 to 1, of each class, rounded.
    """
    if not 0 <= share < 1:
        raise InvalidValueError(f"share must be from 0 to below 1, got {share}")
    kept, aside = [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        mixed = np.random.default_rng([seed, int(label)]).permutation(rows)
        count = min(round(share * len(rows)), len(rows) - 1)
        aside.append(mixed[:count])
        kept.append(mixed[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(aside))
