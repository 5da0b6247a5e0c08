"""A method tried at a budget: the set that it made, what a student learns from it, and its price; kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import expect, insist, load_model, save_model
from lightmeter.condense.keeping import condensed_arrays, condensed_of
from lightmeter.condense.protocol import Condensed
from lightmeter.errors import MissingAssetError, RejectedFileError
from lightmeter.meter.cost import Cost
from lightmeter.metrics.bootstrap import SHARE, Interval, difference_range, drawn_weights, interval_of
from lightmeter.types import Array

ROUNDS = 1000
_CERTAINTY = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One method at one budget.

    method: its spec · makes: whether it makes pictures · small: the set of the first seed, which is the one delivered
    hits: bool [S, V], which held-out pictures the student of each seed knows after its last step
    best: float64 [S], its best share of them at any check, "best on test" as papers report it
    price: of making one such set, with all that was learnt for it · learning: of S students
    """

    method: str
    per_class: int
    makes: bool
    small: Condensed
    hits: Array
    best: Array
    price: Cost
    learning: Cost

    @property
    def name(self) -> str:
        """The method without its options."""
        return self.method.partition("/")[0]

    def accuracies(self, rows: Array) -> Array:
        """Share of some held-out pictures that each seed's student knows: float64 [S]."""
        made: Array = self.hits[:, rows].mean(axis=1)
        return made

    def accuracy(self, rows: Array) -> float:
        """Their mean."""
        return float(self.accuracies(rows).mean())

    def deviation(self, rows: Array) -> float:
        """Their standard deviation, of S − 1 degrees of freedom; 0 for one seed."""
        own = self.accuracies(rows)
        return float(own.std(ddof=1)) if len(own) > 1 else 0.0

    def save(self, folder: Path) -> None:
        """Keep it; whole or not at all."""
        arrays, told = condensed_arrays(self.small)
        about = {
            "method": self.method, "per_class": self.per_class, "makes": self.makes, "price": self.price.as_json(),
            "learning": self.learning.as_json(),
        }  # fmt: skip
        save_model(folder, arrays | {"hits": self.hits, "best": self.best}, about | told)

    @classmethod
    def load(cls, folder: Path) -> Attempt | None:
        """What `save` kept; None where nothing whole lies there."""
        try:
            return _attempt(*load_model(folder))
        except (MissingAssetError, RejectedFileError):
            return None


def _attempt(arrays: dict[str, Array], about: dict[str, Any]) -> Attempt:
    insist(
        all(isinstance(about.get(name), str | int) for name in ("method", "per_class", "makes")),
        "a trial must say what it is",
    )
    small = condensed_of(arrays, about)
    return Attempt(
        about["method"], about["per_class"], about["makes"], small, expect(arrays, "hits", "bool", None, None),
        expect(arrays, "best", "float64", None), Cost.from_json(about["price"]), Cost.from_json(about["learning"]),
    )  # fmt: skip


def as_learnt(small: Condensed) -> Condensed:
    """The pictures that a student sees: those of a set, or, where each holds several, these enlarged."""
    if small.formation == 1:
        return small
    from lightmeter.condense.learning_pixels.idc import opened  # needs torch

    return opened(small)


def compared_hits(
    systems: Sequence[Array], *, rounds: int = ROUNDS, seed: int = 0
) -> list[tuple[Interval, Interval | None]]:
    """Of each system its accuracy, and its difference to the first; None of the first one.

    systems: bool [S, V] each, of the same seeds and pictures. Every round draws seeds and pictures anew, the same for
    all systems, so an interval holds chance in learning and in what was held out.  Cost: rounds · S · V each.
    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 10 and 13.
    """
    seeds, pictures = systems[0].shape
    weights = np.array(list(drawn_weights(pictures, rounds, seed, None)), np.float32)
    picked = np.random.default_rng([seed, seeds]).integers(0, seeds, (rounds, seeds))
    often = np.stack([np.bincount(each, minlength=seeds) for each in picked])
    drawn = [((weights @ each.T.astype(np.float32)) * often).sum(axis=1) / (seeds * pictures) for each in systems]
    whole = [float(each.mean()) for each in systems]
    made: list[tuple[Interval, Interval | None]] = []
    for at in range(len(systems)):
        own = interval_of(whole[at], drawn[at], _CERTAINTY, SHARE)
        less = interval_of(whole[at] - whole[0], drawn[at] - drawn[0], _CERTAINTY, difference_range(SHARE))
        made.append((own, less if at else None))
    return made
