"""From what an encoder says to what a set holds: principal components, and the range that 8 bits must cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import expect, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import YT8M_OFFSET, YT8M_SCALE, Stored
from lightmeter.library.yt8m.quantise import quantise
from lightmeter.meter.record import hash_of
from lightmeter.search.pca import fit_basis
from lightmeter.types import Array, check_axes

FOLDER = "reduction"
TAIL = 1e-4
"""Share of the sampled numbers at either end that 8 bits cut off."""
WHITE_FLOOR = 1e-4
"""Added to the variances before their roots divide, as a share of the largest: noise must not be blown up."""


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """How the rows of one block are made small; fitted on a sample, stored in the set, used again by `--like`.

    name: of the block · made_by: spec of the encoder · dim: numbers that it gives
    mean, axes: float64 [D] and [K, D] of whitened principal components, None: rows stay as they are
    low, high: what the bytes 0 and 255 stand for; what lies beyond is cut off
    fitted: False where there was nothing to fit it on: the block is absent from all that this reduction makes
    """

    name: str
    made_by: str
    dim: int
    mean: Array | None
    axes: Array | None
    low: float
    high: float
    fitted: bool = True

    @classmethod
    def unfitted(cls, name: str, made_by: str, dim: int) -> Reduction:
        """Of a block that no item has, so that models which know it can read the set."""
        return cls(name, made_by, dim, None, None, -1.0, 1.0, fitted=False)

    @classmethod
    def fit(
        cls, name: str, made_by: str, rows: Array, components: int | None, *, seed: int, span: float | None = None
    ) -> Reduction:
        """From a sample of rows, float [N, D].

        components: how many to keep; as many as there are where the rows vary in fewer directions, None: no PCA
        span: 8 bits cover -span … span; None: from the 0.01 % to the 99.99 % quantile of the sample's numbers,
        symmetric with PCA
        Components are divided by sqrt(variance + 1e-4 of the largest): YouTube-8M's own extractor adds 1e-4 itself,
        which suits Inception's scale and no other.  Cost: that of `fit_basis`.
        """
        check_axes("rows", rows, "N D")
        if not len(rows):
            raise InvalidValueError(f"{name} must have rows to be fitted on, got none: leave it out")
        mean, axes = None, None
        if components is not None:
            basis = fit_basis(rows, components, seed=seed)
            if not len(basis.variances):
                raise InvalidValueError(f"{name} must vary to be reduced, got equal rows only: leave --pca out")
            roots = np.sqrt(basis.variances + WHITE_FLOOR * basis.variances[0])
            mean, axes = basis.mean, basis.components / roots[:, None]
        made = cls(name, made_by, rows.shape[1], mean, axes, -1.0, 1.0)
        low, high = (-span, span) if span is not None else _range(made.apply(rows), symmetric=axes is not None)
        return cls(name, made_by, rows.shape[1], mean, axes, low, high)

    @property
    def kept(self) -> int:
        """Numbers a row in the set."""
        return self.dim if self.axes is None else len(self.axes)

    def apply(self, rows: Array) -> Array:
        """Float [N, D] -> float32 [N, K].  Cost: N·D·K."""
        check_axes("rows", rows, f"N {self.dim}")
        wide = np.asarray(rows, np.float32)
        if self.mean is None or self.axes is None:
            return wide
        made: Array = ((wide - self.mean) @ self.axes.T).astype(np.float32)
        return made

    def bytes_of(self, rows: Array) -> Array:
        """What `apply` gave, as uint8 [N, K]: the step in which a number lies, rounded down.

        Dequantising gives the middle of the step, so that nothing is biased: `q * scale + offset` of `stored`.
        """
        return quantise(self.scaled(rows), "floor")

    @property
    def is_plain(self) -> bool:
        """Whether its 8 bits cover -2 to 2, as YouTube-8M's do, so that records hold the very numbers."""
        return (self.low, self.high) == (-2, 2)

    def scaled(self, rows: Array) -> Array:
        """What `apply` gave with low … high moved to -2 … 2, the range of YouTube-8M's bytes."""
        made: Array = (rows - np.float32(self.low)) / np.float32((self.high - self.low) / 4) - np.float32(2)
        return made

    def block(self, kind: str) -> Block:
        """As a set names it; `made_by` tells two reductions of one encoder apart."""
        reduced = "" if self.axes is None else f" then pca {self.kept} {hash_of([self.mean, self.axes])[:8]}"
        return Block(self.name, "frames" if kind == "frame" else "features", self.kept, self.made_by + reduced)

    def stored(self, level: str) -> Stored:
        """How it lies in a set: seconds as bytes with the scale and offset of this range, whole videos as float16.

        The scale is (high - low) / 255 and the offset lies half of 1/128 of the half range above low, so that with
        -2 … 2 both are YouTube-8M's own.
        """
        if level == "video":
            return Stored(self.block(level), "float16")
        half = (self.high - self.low) / 4
        return Stored(self.block(level), "uint8", YT8M_SCALE * half, (YT8M_OFFSET + 2) * half + self.low)


def _range(rows: Array, *, symmetric: bool) -> tuple[float, float]:
    low, high = (float(each) for each in np.quantile(rows, [TAIL, 1 - TAIL]))
    if symmetric:
        high = max(-low, high)
        low = -high
    return (low, high) if high > low else (low - 1.0, low + 1.0)


def save_reductions(folder: Path, reductions: Sequence[Reduction], about: Mapping[str, Any]) -> None:
    """Write them into a set's folder, beside its shards."""
    arrays: dict[str, Array] = {}
    blocks = []
    for each in reductions:
        if each.mean is not None and each.axes is not None:
            arrays |= {f"{each.name}.mean": each.mean, f"{each.name}.axes": each.axes}
        blocks.append(
            {"name": each.name, "made_by": each.made_by, "dim": each.dim, "pca": each.axes is not None}
            | {"low": each.low, "high": each.high, "fitted": each.fitted}
        )
    save_model(folder / FOLDER, arrays, {"schema": "lightmeter.reduction/1", "blocks": blocks, "about": dict(about)})


def load_reductions(folder: Path) -> tuple[tuple[Reduction, ...], dict[str, Any]]:
    """What `save_reductions` wrote.  Raises MissingAssetError where a set has none, RejectedFileError for a forgery."""
    arrays, about = load_model(folder / FOLDER)
    found = []
    blocks: Any = about.get("blocks")
    insist(isinstance(blocks, list) and isinstance(about.get("about"), dict), "a reduction must list its blocks")
    for each in blocks:
        fits = isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("made_by"), str)
        insist(fits and type(each.get("dim")) is int and each["dim"] > 0, "a block must have a name, made_by and a dim")
        low, high = each.get("low"), each.get("high")
        real = all(isinstance(value, int | float) and np.isfinite(value) for value in (low, high))
        insist(real and low < high, f"the range of {each['name'][:40]} must rise")
        mean = axes = None
        if each.get("pca"):
            mean = expect(arrays, f"{each['name']}.mean", "float64", each["dim"])
            axes = expect(arrays, f"{each['name']}.axes", "float64", None, each["dim"])
        fitted = each.get("fitted", True) is not False
        found.append(Reduction(each["name"], each["made_by"], each["dim"], mean, axes, float(low), float(high), fitted))
    return tuple(found), about["about"]
