"""How far pruning may go: from exact to ever looser bounds, as long as a finite sample shows that few queries miss.

The bound of Cauchy–Schwarz takes the parts of two vectors that the granules leave out to be parallel. They hardly ever
are: with κ_l instead of 1 for ⟨ρ, ρ'⟩ / (r r') at level l the bound is tighter, and now and then wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.metrics.binomial import binomial_cdf, fewest_without_error
from lightmeter.types import Array, check_axes

VALIDATION = "validation queries"
OWN_ROWS = "rows of the gallery"
MOST_K = 1 << 31


@dataclass(frozen=True, slots=True)
class Calibration:
    """One κ a level, and what it promises.

    kappas: 1 everywhere is exact · alpha: at most this share of queries misses a true neighbour …
    confidence: … in this share of calibrations, for queries drawn like those it was measured on
    queries: how many those were · asked: who they were (`validation queries`, `rows of the gallery`)
    k: neighbours of each of them that had to be found; more are searched exactly · stale: rows came or went since, so
    that the promise is void and the search exact
    """

    kappas: tuple[float, ...]
    guesses: tuple[float, ...]
    alpha: float
    confidence: float
    queries: int
    asked: str
    k: int = MOST_K
    stale: bool = False

    @property
    def exact(self) -> bool:
        """Whether it prunes by Cauchy–Schwarz alone."""
        return self.stale or all(kappa >= 1 for kappa in self.kappas)

    @property
    def promised(self) -> bool:
        """Whether `alpha` holds with `confidence`: the gallery's own rows are no independent draws."""
        return self.asked == VALIDATION

    def kappas_for(self, k: int) -> tuple[float, ...]:
        """What to prune with for so many neighbours: κ where it was learnt for as many, else 1."""
        return (1.0,) * len(self.kappas) if self.stale or k > self.k else self.kappas

    def said(self) -> str:
        """For people.

        >>> Calibration((1.0, 1.0), (0.3, 0.3), 0.01, 0.95, 100, "validation queries").said()
        'exact: 100 validation queries are too few to allow 1.0% misses with 95% confidence, it takes 299'
        """
        if self.stale:
            return "exact: rows came or went after it was calibrated, calibrate again"
        if self.exact:
            least = fewest_without_error(self.alpha, self.confidence) if self.alpha else 0
            too_few = f": {self.queries} {self.asked} are too few to allow {self.alpha:.1%} misses with "
            too_few += f"{self.confidence:.0%} confidence, it takes {least}"
            return f"exact{too_few if self.alpha and self.queries < least else ''}"
        kappas = ", ".join(f"{kappa:.2f}" for kappa in self.kappas)
        if not self.alpha:
            return f"may miss, by as much as nobody measured (κ {kappas})"
        most = f"at most {self.alpha:.1%} misses with {self.confidence:.0%} confidence, from"
        about = f"about {self.alpha:.1%} misses or fewer, estimated on"
        few = f", k up to {self.k}" if self.k > 1 else ""
        return f"{most if self.promised else about} {self.queries} {self.asked}{few} (κ {kappas})"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any, *, levels: int) -> Self:
        """What `as_json` wrote, with as many κ as levels; raises RejectedFileError for anything else."""
        names = set(cls.__dataclass_fields__)
        if isinstance(values, dict) and set(values) == names:
            pairs = [values["kappas"], values["guesses"]]
            if all(isinstance(each, list) and len(each) == levels and _cosines(each) for each in pairs):
                return cls(**{**values, "kappas": tuple(pairs[0]), "guesses": tuple(pairs[1])})
        raise RejectedFileError("damaged", f"a calibration must have {', '.join(sorted(names))} for {levels} levels")


def _cosines(values: list[Any]) -> bool:
    return all(isinstance(each, int | float) and -1 <= each <= 1 for each in values)


def exact_calibration(levels: int, guesses: Sequence[float] | None = None) -> Calibration:
    """κ = 1: nothing is ever missed."""
    return Calibration((1.0,) * levels, tuple(guesses or (0.3,) * levels), 0.0, 1.0, 0, "")


def misses_allowed(queries: int, alpha: float, confidence: float) -> int:
    """The most misses among so many queries that still show a rate of at most alpha; −1 where none would.

    The largest m with P(Binomial(queries, alpha) ≤ m) ≤ 1 − confidence (Clopper and Pearson 1934).

    >>> misses_allowed(299, 0.01, 0.95), misses_allowed(298, 0.01, 0.95)
    (0, -1)
    """
    check_rates(alpha, confidence)
    allowed = -1
    while allowed < queries and binomial_cdf(allowed + 1, queries, alpha) <= 1 - confidence:
        allowed += 1
    return allowed


PATH = (
    40.0, 32.0, 26.0, 20.0, 16.0, 13.0, 11.0, 9.5, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.75, 2.5, 2.25, 2.0, 1.75,
    1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0, -0.25, -0.5, -1.0,
)  # fmt: skip
"""κ of each level, in spreads of the residual cosines of true neighbours above their mean: tried from the left."""


def calibrate(
    cosines: Array, missed: Callable[[tuple[float, ...]], int], queries: int, *, alpha: float, confidence: float,
    asked: str, k: int = 1,
) -> Calibration:  # fmt: skip
    """The loosest bounds along `PATH` before the first that a sample of queries does not allow.

    Each step is tested by an exact binomial test, in an order that was fixed before; the first that fails ends it. The
    chance that any accepted step misses more than alpha is then at most 1 − confidence, whatever the data.

    cosines: float [P, L] residual cosines of rows and their neighbours, which give the path its scale; of other rows
    than the queries, or the order would not be fixed before they are seen
    missed: κ of each level → how many of the queries then miss a true neighbour
    Source: Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then test", 2021, arXiv:2110.01052, fixed-sequence testing.
    """
    check_axes("cosines", cosines, "P L")
    centre, spread = cosines.mean(axis=0), np.maximum(cosines.std(axis=0), 1e-3)
    guesses = tuple(float(each) for each in np.clip(centre, 0, 1))
    kappas = (1.0,) * cosines.shape[1]
    allowed = misses_allowed(queries, alpha, confidence)
    for step in PATH if allowed >= 0 else ():
        looser = tuple(float(each) for each in np.clip(centre + step * spread, -1, 1))
        if looser != kappas:
            if missed(looser) > allowed:
                break
            kappas = looser
    return Calibration(kappas, guesses, alpha, confidence, queries, asked, k)


def check_rates(alpha: float, confidence: float) -> None:
    """Raise InvalidValueError where a rate is no rate."""
    if not 0 < alpha < 1 or not 0 < confidence < 1:
        raise InvalidValueError(
            f"alpha and confidence must be between 0 and 1, got {alpha} and {confidence}: 0.01 and 0.95 allow one miss "
            "in a hundred"
        )
