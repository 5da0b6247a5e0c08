"""How quality depends on how common a class is: bands of frequency and the moving average of the seed's figure 5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True)
class FrequencyBand:
    """Classes of similar frequency.

    first, last: ranks, 1 is the commonest class · most, least: counts of these two · classes, count: how many, and the
    sum of their counts · map: mean of their average precisions; low, high: its interval, NaN of one class
    """

    first: int
    last: int
    most: int
    least: int
    classes: int
    count: int
    map: float
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        """By name; NaN as None."""
        return {name: None if (got := getattr(self, name)) != got else got for name in self.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class FrequencyCurve:
    """Average precision over the rank of a class by frequency, averaged over its neighbours.

    rank: int64 [R], from 1, commonest first · count: int64 [R], of the class · classes: int64 [R], averaged there
    mean, low, high: float64 [R]; the interval is NaN where one class is averaged
    """

    rank: Array
    count: Array
    classes: Array
    mean: Array
    low: Array
    high: Array


def by_frequency(precisions: Array, counts: Array, *, bands: int = 10, certainty: float = 0.95) -> list[FrequencyBand]:
    """Mean average precision of each tenth of the classes, commonest first: a mean over all hides the rare ones.

    precisions: float [K], NaN for classes to leave out (those without a label) · counts: int [K], how common each class
    is where it was learnt, or its labels · bands: of as many classes each, or one more; fewer where classes are few
    The interval takes the classes of a band for a sample: mean ± z · standard deviation / √classes.
    """
    order = _ranked(precisions, counts)
    if bands < 1:
        raise InvalidValueError(f"bands must be at least 1, got {bands}")
    made, first = [], 1
    for some in np.array_split(order, min(bands, len(order))) if len(order) else []:
        mean, half = _mean_and_half(precisions[some], certainty)
        own = counts[some]
        made.append(
            FrequencyBand(
                first, first + len(some) - 1, int(own[0]), int(own[-1]), len(some), int(own.sum()), mean,
                mean - half, mean + half,
            )
        )  # fmt: skip
        first += len(some)
    return made


def moving_average(precisions: Array, counts: Array, *, window: int = 101, certainty: float = 0.95) -> FrequencyCurve:
    """Average precision by rank of frequency, each averaged with its neighbours: data for figure 5 of the seed.

    precisions, counts: as `by_frequency` · window: odd; classes on both sides of a rank, as many as there are at the
    ends, so that the commonest class stands for itself and is not drawn towards rarer ones
    Cost: O(K).  Source: the seed's figure 5, whose window is not stated; counts and intervals are added.
    """
    if window < 1 or window % 2 == 0:
        raise InvalidValueError(f"window must be odd and at least 1, got {window}")
    z = _quantile(certainty)
    order = _ranked(precisions, counts)
    at = np.arange(len(order))
    reach = np.minimum(window // 2, np.minimum(at, len(order) - 1 - at))
    values = precisions[order].astype(np.float64)
    low, high, size = at - reach, at + reach + 1, 2 * reach + 1
    sums, squares = (np.concatenate([[0], np.cumsum(each)]) for each in (values, values**2))
    mean = (sums[high] - sums[low]) / size
    spread = np.maximum((squares[high] - squares[low]) / size - mean**2, 0) / np.maximum(size - 1, 1)
    half = np.where(size > 1, z * np.sqrt(spread), np.nan)
    return FrequencyCurve(at + 1, counts[order], size, mean, mean - half, mean + half)


def _ranked(precisions: Array, counts: Array) -> Array:
    """Classes that have a precision, commonest first; equally common ones by number."""
    check_axes("precisions", precisions, "K")
    check_axes("counts", counts, str(len(precisions)))
    order = np.argsort(-np.asarray(counts, np.int64), kind="stable")
    kept: Array = order[~np.isnan(precisions[order])]
    return kept


def _mean_and_half(values: Array, certainty: float) -> tuple[float, float]:
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), _quantile(certainty) * float(values.std(ddof=1)) / math.sqrt(len(values))


def _quantile(certainty: float) -> float:
    if not 0 < certainty < 1:
        raise InvalidValueError(f"certainty must be between 0 and 1, got {certainty}: 0.95 is usual")
    return NormalDist().inv_cdf((1 + certainty) / 2)
