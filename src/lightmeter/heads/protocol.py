"""What every head is: a recipe whose `fit` gives a new model that scores classes from features."""

from __future__ import annotations

from typing import Protocol

from lightmeter.types import Array


class Head(Protocol):
    """A recipe: a frozen dataclass in `heads.table`."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def fit(self, x: Array, y: Array) -> Model:
        """Learn from features x float [N, D] and labels y int [N] in 0..K−1."""
        ...


class Model(Protocol):
    """A fitted head."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates to score one row."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        ...

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K]; higher means likelier, what they are is the head's to say."""
        ...

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N], the class with the highest score, the lowest among equals."""
        ...
