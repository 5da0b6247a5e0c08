"""How sure a quality is that is made of sums over pictures, and the difference of two systems: bootstrap, in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.bootstrap import Interval, Range, difference_range, drawn_weights, interval_of
from lightmeter.types import Array

Qualities = Callable[[Array], Array]
"""Sums float64 [..., C] → qualities float64 [..., M]; NaN where there is nothing to score."""


def compared_rows(
    systems: Sequence[Array],
    qualities: Qualities,
    ranges: Mapping[str, Range],
    *,
    rounds: int = 1000,
    certainty: float = 0.95,
    seed: int = 0,
    groups: Array | None = None,
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    """Of each system its intervals by name, and those of its difference to the first; empty of the first one.

    systems: float [N, C] each, a row a picture, of the same pictures in the same order
    ranges: names of the M qualities, in order, and what each can be: intervals are cut to it
    groups: int [N], None: each picture for itself.  Pictures of one scene are drawn together, else intervals are too
    short.  Every round draws the same for all systems.  Intervals are as in `metrics.bootstrap`; of one group, or one
    picture, they are all that a quality can be: nothing is known of others.
    Cost: a product of [rounds, N] and [N, C] for each system.
    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 10 and 13.
    """
    if not 0 < certainty < 1 or rounds < 2:
        raise InvalidValueError(
            f"certainty must be between 0 and 1 and rounds at least 2, got {certainty} and {rounds}"
        )
    shapes = {each.shape for each in systems}
    if len(shapes) != 1 or not len(systems[0]):
        raise InvalidValueError(
            f"systems must have scored the same pictures, one at least, got rows {sorted(shapes)}: score them all alike"
        )
    weights = np.array(list(drawn_weights(len(systems[0]), rounds, seed, groups)), np.float64)
    whole = [qualities(each.sum(axis=0, dtype=np.float64)) for each in systems]
    drawn = [qualities(weights @ each.astype(np.float64)) for each in systems]
    alone = len(systems[0]) < 2 if groups is None else len(np.unique(groups)) < 2
    made = []
    for at in range(len(systems)):
        own = {
            name: interval_of(whole[at][m], drawn[at][:, m], certainty, of)
            for m, (name, of) in enumerate(ranges.items())
        }
        less = {
            name: interval_of(
                whole[at][m] - whole[0][m], drawn[at][:, m] - drawn[0][:, m], certainty, difference_range(of)
            )
            for m, (name, of) in enumerate(ranges.items())
        }
        if alone:
            own = {name: _unknown(own[name].value, of) for name, of in ranges.items()}
            less = {name: _unknown(less[name].value, difference_range(of)) for name, of in ranges.items()}
        made.append((own, less if at else {}))
    return made


def _unknown(value: float, within: Range) -> Interval:
    return Interval(value, *within, float("nan"), 0)


def shares(sums: Array, counts: Array) -> Array:
    """sums / counts of any shape, NaN where a count is 0."""
    sums, counts = np.broadcast_arrays(np.asarray(sums, np.float64), np.asarray(counts, np.float64))
    made: Array = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return made
