"""What all selections share: classes one after another, those that are smaller than asked for, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.outliers import inliers
from lightmeter.condense.protocol import Condensed
from lightmeter.condense.rows import Rows, RowsOf
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """What is kept of a class: places in its rows, int64 [n]; members: places that each stands for, () for unknown."""

    places: Array
    members: tuple[Array, ...] = ()


@dataclass(slots=True)
class Notes:
    """What was done differently from what was asked, class by class; one sentence for many classes."""

    _classes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, class_name: str, what: str) -> None:
        """Note a clause about a class; an empty one is nothing."""
        if what:
            self._classes.setdefault(what, []).append(class_name)

    def sentences(self) -> tuple[str, ...]:
        """Each once, the classes before it: five by name, the rest counted."""
        return tuple(f"{_listed(names)}: {what}" for what, names in self._classes.items())


def classes_of(images: ImageSet) -> Iterator[tuple[int, Array]]:
    """Every class and its rows, int64 [n], rising.  Cost: one sort for all classes."""
    order = np.argsort(images.labels, kind="stable")
    ends = np.searchsorted(images.labels[order], np.arange(len(images.classes) + 1))
    for label in range(len(images.classes)):
        yield label, order[ends[label] : ends[label + 1]]


def sizes_told(images: ImageSet, per_class: int, notes: Notes) -> Iterator[tuple[int, Array, int]]:
    """Every class that has pictures, its rows, and how many there will be of it; smaller ones are noted.

    Raises InvalidValueError for per_class below 1.
    """
    if per_class < 1:
        raise InvalidValueError(f"per_class must be 1 or more, got {per_class}")
    for label, rows in classes_of(images):
        if len(rows) < per_class:
            there = f"there are {len(rows) or 'none'}"
            notes.add(images.classes[label], f"{per_class} pictures a class were asked for, {there}")
        if len(rows):
            yield label, rows, min(per_class, len(rows))


def selected(
    images: ImageSet, per_class: int, pick: Callable[[int, Array, int], Picked], *, notes: Notes | None = None
) -> Condensed:
    """Pictures of every class as `pick(label, rows, count)` chooses them; of a class that is too small, all."""
    said = notes or Notes()
    kept: list[Array] = []
    members: list[Array] = []
    for label, rows, count in sizes_told(images, per_class, said):
        picked = pick(label, rows, count) if count < len(rows) else everything(len(rows))
        kept.append(rows[picked.places])
        members += [rows[each] for each in picked.members]
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    known = members if len(members) == len(chosen) else ()
    return Condensed.of_rows(images, chosen, known, said.sentences())


def everything(count: int) -> Picked:
    """All rows of a class; each stands for itself."""
    places = np.arange(count)
    return Picked(places, tuple(places[:, None]))


def without_outliers(rows: Rows, share: float, count: int) -> tuple[Array, Rows, str]:
    """Places that stay, int64 [n], their rows, and what is to be noted; `count` stay at least."""
    if not share:
        return np.arange(rows.shape[0]), rows, ""
    stays, note = inliers(rows, share, at_least=count)
    places = np.flatnonzero(stays)
    return places, RowsOf(rows, places), note


def check_share(outliers: float) -> None:
    """Raises InvalidValueError unless it is a share that outliers may have."""
    if not 0 <= outliers <= 0.5:
        raise InvalidValueError(f"outliers must be 0 to 0.5, got {outliers}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
