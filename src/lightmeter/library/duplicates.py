"""Duplicates: the same bytes at several paths, and items whose features say that one is a copy of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.library.store import Library
from lightmeter.parts import build
from lightmeter.types import Array

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Group:
    """Paths that hold the same thing. how: `exact` (score 1) or `near` · score: lowest cosine that links two."""

    how: Literal["exact", "near"]
    score: float
    paths: tuple[str, ...]


def exact_groups(library: Library) -> list[Group]:
    """Contents that stand at more than one path now.  Cost: one SQL query."""
    keys = [library.key_of(item.id) for item in library.duplicates()]
    return [Group("exact", 1.0, tuple(_present(library, key))) for key in keys if key is not None]


def near_groups(library: Library, *, at_least: float = 0.95) -> list[Group]:
    """Items linked by features of pictures with a cosine of at least `at_least`, chains included, surest first.

    A video is compared by the mean of its frames' features.
    Cost: N² · D / 2 multiply–adds in blocks, O(N · D) memory: about 1.5 s for 10,000 × 1,280 on one core.
    """
    if not 0 < at_least <= 1:
        raise InvalidValueError(f"at_least must be above 0 and at most 1, got {at_least}")
    for series in library.all_series():
        encoder = build(series.spec, "encoder")
        if encoder.takes == "image" and not hasattr(encoder, "encode_words"):
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
    parent = np.arange(len(owners))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    lowest: dict[int, float] = {}
    links: list[tuple[float, int, int]] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        likeness = rows[start : start + ROWS_AT_ONCE] @ rows[start:].T
        for left, right in np.argwhere(np.triu(likeness >= at_least, 1)).tolist():
            links.append((float(likeness[left, right]), start + left, start + right))
    for score, left, right in sorted(links, reverse=True):
        one, other = root(left), root(right)
        if one != other:
            parent[other] = one
            lowest[one] = min(score, lowest.get(one, 1.0), lowest.pop(other, 1.0))
    members: dict[int, list[int]] = {}
    for node in {node for _, left, right in links for node in (left, right)}:
        members.setdefault(root(node), []).append(int(owners[node]))
    groups = [
        Group("near", lowest[head], tuple(path for key in sorted(keys) for path in _present(library, key)[:1]))
        for head, keys in members.items()
    ]
    return sorted(groups, key=lambda group: (-group.score, group.paths))


def _present(library: Library, key: int) -> list[str]:
    paths = library.paths_of(key)
    return [path.path for path in paths if not path.missing] or [path.path for path in paths]
