"""Labels for items: zero-shot from a list, the built-in thousand, or by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.calibrating import null_of, usable
from lightmeter.library.contents import Tag
from lightmeter.library.features import Series
from lightmeter.library.filters import Where
from lightmeter.library.store import Library
from lightmeter.search.exact import scan, top
from lightmeter.types import Array


@dataclass(frozen=True, slots=True)
class Tagged:
    """The labels of one item, best first, with their scores (a probability, or a cosine for a list of one's own)."""

    path: str
    tags: tuple[tuple[str, float], ...]


def tag_builtin(library: Library, *, at_least: float = 0.3, most: int = 3, where: Where | None = None) -> list[Tagged]:
    """Label items with the classes that the image encoder knows, where it is at least this sure.

    A video carries a label when one of its frames does. Scores are probabilities, 0..1.
    Raises InvalidValueError where the library has no classifier's features.  Cost: D · 1000 MACs a row.
    """
    series, encoder = _classifier(library)
    features = library.features(series, where)
    owners, rows = [], []
    for block in features.blocks():
        owners.append(block.owners)
        rows.append(encoder.probabilities(block.vectors))
    if not owners:
        return []
    return _store(library, np.concatenate(owners), np.concatenate(rows), encoder.labels(), at_least, most, "built-in")


def tag_with(
    library: Library, labels: Sequence[str], *, at_least: float | None = None, most: int = 3, where: Where | None = None
) -> list[Tagged]:
    """Label items with words of one's own, without training.

    at_least: lowest cosine that counts; None takes the threshold of a search by words, label by label.
    Raises InvalidValueError where there are no labels or the library has no joint encoder's features.
    """
    named = list(dict.fromkeys(label.strip() for label in labels if label.strip()))
    if not named:
        raise InvalidValueError("labels must be words, got none: give some")
    series, encoder = _joint(library)
    null, _ = null_of(library, series, encoder)
    if null is None:
        return []
    scores = scan(library.features(series, where).blocks(), encoder.encode_words(named))
    enough = null.threshold if at_least is None else at_least
    return _store(library, scores.owners, scores.best.T, named, enough, most, "zero-shot")


def set_by_hand(library: Library, paths: Sequence[Path], *, add: Sequence[str] = (), drop: Sequence[str] = ()) -> int:
    """Set and unset labels of files; no machine overwrites them. Returns how many paths changed.

    Raises InvalidValueError naming the first path that the library does not know, before anything is written.
    """
    keys = []
    for path in paths:
        known = library.known_path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links
        if known is None:
            raise InvalidValueError(f"PATH must be in the library, got {os.fspath(path)!r}: index it first")
        keys.append(known.key)
    with library.transaction():
        for tag in drop:
            library.unset_tags(keys, tag=tag)
        library.set_tags([Tag(key, tag, None, "hand") for key in keys for tag in add])
    return len(keys)


def _store(
    library: Library, owners: Array, scores: Array, labels: Sequence[str], at_least: float, most: int, source: str
) -> list[Tagged]:
    """Keep each owner's best rows: scores float [N, K], several rows an owner allowed."""
    unique, inverse = np.unique(owners, return_inverse=True)
    best = np.full((len(unique), len(labels)), -np.inf, np.float32)
    np.maximum.at(best, inverse, scores)
    tagged: list[Tagged] = []
    tags: list[Tag] = []
    stale: list[int] = []
    for owner, row in zip(unique.tolist(), best, strict=True):
        chosen = [(labels[at], float(row[at])) for at in top(row, most) if row[at] >= at_least]
        for path in library.paths_of(owner):
            stale.append(path.key)
            tags += [Tag(path.key, label, score, source) for label, score in chosen]
            if chosen:
                tagged.append(Tagged(path.path, tuple(chosen)))
    with library.transaction():  # other labels of earlier calls stay
        for label in {tag for tag in library.tag_counts() if tag in labels}:
            library.unset_tags(stale, tag=label, source=source)
        library.set_tags(tags)
    return tagged


def _classifier(library: Library) -> tuple[Series, Any]:
    for series, encoder in usable(library):
        if hasattr(encoder, "probabilities"):
            return series, encoder
    raise InvalidValueError("built-in labels need a classifier's features: index with --encoder efficientnet-lite")


def _joint(library: Library) -> tuple[Series, Any]:
    for series, encoder in usable(library):
        if hasattr(encoder, "encode_words"):
            return series, encoder
    raise InvalidValueError("labels of your own need a joint encoder's features: index with --encoder conse")
