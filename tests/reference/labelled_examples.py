"""Small sets of examples that can be learnt, for tests of heads and verbs."""

from __future__ import annotations

import numpy as np

from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.types import Labels


def labelled(items=200, classes=11, *, seed=0, dims=(16, 8), absent=0.0):
    """Items of blocks `visual`, `audio` …, one to three labels each, whose centres add up."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, sum(dims)))
    lists = [sorted(set(rng.integers(0, classes, rng.integers(1, 4)).tolist())) for _ in range(items)]
    rows = np.stack([centres[each].sum(axis=0) for each in lists]) + 0.5 * rng.normal(size=(items, sum(dims)))
    names = ("visual", "audio", "title", "keywords")[: len(dims)]
    parts = np.split(rows.astype(np.float32), np.cumsum(dims)[:-1], axis=1)
    present = rng.random((items, len(dims))) >= absent
    present[~present.any(axis=1), 0] = True
    return ArrayExamples(
        tuple(Block(name, "features", dim) for name, dim in zip(names, dims, strict=True)),
        dict(zip(names, parts, strict=True)),
        [f"v{at:04d}" for at in range(items)],
        tuple(f"class {at}" for at in range(classes)),
        Labels.of(lists, classes),
        present,
    )
