"""Duplicates: the same bytes at several paths, and items whose features say that one is a copy of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.library.calibrating import answers_words, usable
from lightmeter.library.store import Library
from lightmeter.types import Array

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Group:
    """Paths that hold the same thing. how: `exact` (score 1) or `near` · score: as `near_groups` says."""

    how: Literal["exact", "near"]
    score: float
    paths: tuple[str, ...]


def exact_groups(library: Library) -> list[Group]:
    """Contents that stand at more than one path now.  Cost: one SQL query."""
    keys = [library.key_of(item.id) for item in library.duplicates()]
    return [Group("exact", 1.0, tuple(_present(library, key))) for key in keys if key is not None]


def near_groups(library: Library, *, at_least: float = 0.95) -> list[Group]:
    """Items linked by features of pictures with a cosine of at least `at_least`, chains included, surest first.

    A video is compared by the mean of its frames' features. A group's score is the lowest that a member reaches on its
    nearest one in the group.
    Cost: N² · D / 2 multiply–adds in blocks, O(N · D) memory: about 2 s for 10,000 × 1,280 on one core.
    """
    if not 0 < at_least <= 1:
        raise InvalidValueError(f"at_least must be above 0 and at most 1, got {at_least}")
    for series, encoder in usable(library):
        if encoder.takes == "image" and not answers_words(encoder):
            features = library.features(series)
            owners, rows = _mean_rows(features.owners, features.vectors)
            return _linked(library, owners, rows, at_least)
    return []


def _mean_rows(owners: Array, vectors: Array) -> tuple[Array, Array]:
    """One unit row an owner."""
    if not len(owners):
        return owners, np.empty((0, vectors.shape[1]), np.float32)
    order = np.argsort(owners, kind="stable")
    unique, starts = np.unique(owners[order], return_index=True)
    rows = unit_rows(vectors)[order]
    return unique, rows if len(unique) == len(owners) else unit_rows(np.add.reduceat(rows, starts, axis=0))


def _linked(library: Library, owners: Array, rows: Array, at_least: float) -> list[Group]:
    """Groups by single linkage. Memory: one block of scores and two numbers an owner, however many links there are."""
    group = np.arange(len(owners))
    nearest = np.full(len(owners), -1.0, np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        likeness = rows[start : start + ROWS_AT_ONCE] @ rows[start:].T
        likeness[np.tri(*likeness.shape, dtype=np.bool_)] = -1.0
        for place, scores in enumerate(likeness):
            links = start + np.flatnonzero(scores >= at_least)
            if len(links):
                reached = scores[links - start]
                nearest[links] = np.maximum(nearest[links], reached)
                nearest[start + place] = max(nearest[start + place], float(reached.max()))
                joined = np.unique(group[np.append(links, start + place)])
                group[np.isin(group, joined)] = joined[0]
    heads, counts = np.unique(group[nearest >= at_least], return_counts=True)
    found = []
    for head in heads[counts > 1].tolist():
        members = np.flatnonzero(group == head)
        paths = tuple(path for key in sorted(owners[members].tolist()) for path in _present(library, key)[:1])
        found.append(Group("near", float(nearest[members].min()), paths))
    return sorted(found, key=lambda each: (-each.score, each.paths))


def _present(library: Library, key: int) -> list[str]:
    paths = library.paths_of(key)
    return [path.path for path in paths if not path.missing] or [path.path for path in paths]
