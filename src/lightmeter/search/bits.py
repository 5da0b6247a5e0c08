"""One-bit codes: the signs of a rotated vector, and what their bit counts say about distances.

Notation, after a shift to the mean: a row is o·length and a query q·reach, o and q of length 1; after a random rotation
a row's code s holds the signs (±1) of its B coordinates. Two estimates of the cosine ρ = ⟨o, q⟩ come from counts alone:

    by signs    ρ ≈ cos(π·H / B), H the bits in which s and the query's signs differ
                variance (π²/4 − 1)·(1 − ρ²)/B
    by digits   ρ ≈ ⟨s, q̂⟩ / (√B·a), a = ⟨s, o⟩/√B of the row, q̂ the query in a few binary digits
                variance (1/a² − 1)·(1 − ρ²)/B + ‖q − q̂‖²/(a²·B)

Source: the second is RaBitQ, Gao & Long 2024, arXiv 2405.12497, its unbiased estimator with a factor a row (thm 3.2);
changed: one centre; the query is rounded to nearest, not at random. The first is Charikar 2002 (random hyperplanes);
its variance, ρ being given, is that of the sign count less the part that the rotation keeps fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

BLOCK = 1 << 16
"""Rows of one block of codes."""
_FIT_BYTES = 32 << 20
_SIGNS_VARIANCE = math.pi**2 / 4 - 1
_ROUNDING = 1e-5
Noise = tuple[Array | float, Array | float]
"""Variance of an estimated ρ: per 1 − ρ², and whatever ρ."""


@dataclass(frozen=True, slots=True, eq=False)
class Coder:
    """What turns vectors into codes.

    rotation: float32 [B, D], orthonormal columns · mean: float32 [D] in units · unit: length that is 1 in codes
    """

    rotation: Array
    mean: Array
    unit: float
    cosine: bool

    @property
    def bits(self) -> int:
        """Bits of a code, a multiple of 64."""
        return len(self.rotation)

    def centred(self, vectors: Array) -> Array:
        """Vectors float32 [N, D] less the mean, in units; for cosine of length 1 first."""
        if self.cosine:
            lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
            scale = np.divide(1, lengths, out=np.zeros(len(vectors)), where=lengths > 0)
            there: Array = (vectors * scale[:, None]).astype(np.float32)
        else:
            there = vectors * np.float32(1 / self.unit)
        there -= self.mean
        return there

    def encode(self, vectors: Array) -> CodeBlock:
        """Codes of vectors float32 [N, D].  Cost: N·B·D multiply–adds."""
        there = self.centred(vectors)
        seen = there @ self.rotation.T
        lengths = np.sqrt(np.vecdot(there, there))
        signs = np.packbits(seen > 0, axis=1, bitorder="little").view(np.uint64)
        sums = np.abs(seen).sum(axis=1)
        factors = np.divide(math.sqrt(self.bits) * lengths, sums, out=np.ones_like(lengths), where=sums > 0)
        return CodeBlock(np.ascontiguousarray(signs.T), lengths, factors)


def coder_of(vectors: Array, *, cosine: bool, seed: int) -> Coder:
    """A seeded rotation, and the mean and scale of vectors [N, D], read once in blocks.

    Cost: N·D, and D³ for the rotation.  Raises InvalidValueError for NaN and infinity.
    """
    dim = int(vectors.shape[1])
    bits = 64 * -(-dim // 64)
    drawn = np.random.default_rng(seed).standard_normal((bits, dim))
    rotation = np.ascontiguousarray(np.linalg.qr(drawn)[0], np.float32)
    total, largest, rows = np.zeros(dim), 0.0, 0
    plain = Coder(rotation, np.zeros(dim, np.float32), 1.0, cosine)
    for _, block in blocks_of(vectors):
        total += (plain.centred(block) if cosine else block).sum(axis=0, dtype=np.float64)
        largest = max(largest, float(np.abs(block).max()))
        rows += len(block)
    unit = 1.0 if cosine or not largest else 2.0 ** round(math.log2(largest))
    return Coder(rotation, (total / rows / unit).astype(np.float32), unit, cosine)


def blocks_of(vectors: Array) -> Iterator[tuple[int, Array]]:
    """The first row and the rows, float32 and finite, of each block of at most 32 MB (never across `BLOCK` rows)."""
    rows, dim = vectors.shape
    step = min(BLOCK, 1 << max(6, int(math.log2(max(1, _FIT_BYTES // (4 * dim))))))
    for at in range(0, rows, step):
        block = np.ascontiguousarray(vectors[at : at + step], np.float32)
        if not np.isfinite(block).all():
            raise InvalidValueError("vectors must be finite float32, got NaN or infinity: check what was encoded")
        yield at, block


@dataclass(frozen=True, slots=True, eq=False)
class CodeBlock:
    """Codes of some rows: signs uint64 [B / 64, N], lengths float32 [N] in units, factors float32 [N] = 1/a."""

    signs: Array
    lengths: Array
    factors: Array

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return int(self.signs.nbytes + self.lengths.nbytes + self.factors.nbytes)

    def part(self, rows: slice) -> CodeBlock:
        """Some of the rows."""
        return CodeBlock(self.signs[:, rows], self.lengths[rows], self.factors[rows])

    def distances_by_signs(self, query: QueryBits) -> tuple[Array, Array]:
        """Bits that differ, uint16 [N]; squared distances in units, less reach², by signs: float32 [N]."""
        differ = bits_that_differ(self.signs, query.planes[-1])
        found = query.by_signs.take(differ, mode="clip")  # clip: no row is out of bounds, and none is checked
        np.subtract(self.lengths, found, out=found)
        found *= self.lengths
        return differ, found

    def distances_by_digits(self, query: QueryBits, rows: Array, differ: Array) -> Array:
        """The same by digits, of some rows: int [M], their bits that differ uint16 [M] → float32 [M]."""
        dots = (query.bits - 2 * differ.astype(np.float32)) * np.float32(query.weights[-1])
        signs = self.signs.take(rows, axis=1)
        for plane, weight in zip(query.planes[:-1], query.weights[:-1], strict=True):
            off = bits_that_differ(signs, plane).astype(np.float32)
            dots += (query.bits - 2 * off) * np.float32(weight)
        dots *= self.factors[rows] * np.float32(2 * query.reach / math.sqrt(query.bits))
        found: Array = self.lengths[rows]
        found *= found - dots
        return found


def may_be_near(
    query: QueryBits, lengths: Array, estimated: Array, edge: float, doubt: float, noise: Noise
) -> Array:  # fmt: skip
    """Whether a row may lie within a squared distance `edge`, the estimate being wrong by `doubt` deviations at most.

    lengths, estimated: float32 [N], in units, as the two estimates have them → bool [N]
    A row at the very edge has 2·length·reach·ρ = length² + reach² − edge: so its doubt is known without an angle. Those
    nearer have less.
    """
    reach = np.float32(query.reach)
    double = lengths * (2 * reach)
    double *= double
    off = lengths * lengths
    off += np.float32(query.reach**2 - edge)
    np.maximum(off, 0, out=off)
    off *= off
    np.subtract(double, off, out=off)  # (2·length·reach)²·(1 − ρ²)
    np.maximum(off, 0, out=off)
    off *= noise[0]
    off += double * noise[1]
    np.sqrt(off, out=off)
    off *= np.float32(doubt)
    off += np.float32(edge - query.reach**2 + _ROUNDING * query.reach**2)
    near: Array = estimated <= off + np.float32(_ROUNDING) * lengths * lengths
    return near


def bits_that_differ(signs: Array, plane: Array) -> Array:
    """Hamming distances: signs uint64 [W, N], plane uint64 [W] → uint16 [N].  Cost: 8·W·N bytes read.

    >>> bits_that_differ(np.array([[0b0110, 0b1111]], np.uint64), np.array([0b0101], np.uint64)).tolist()
    [2, 2]
    """
    count = signs.shape[1]
    total = np.zeros(count, np.uint16)
    few, ones, other = np.empty(count, np.uint8), np.empty(count, np.uint8), np.empty(count, np.uint64)
    for at in range(0, len(signs), 3):  # three words differ in at most 192 bits: they fit a byte
        for word in range(at, min(at + 3, len(signs))):
            np.bitwise_xor(signs[word], plane[word], out=other)
            np.bitwise_count(other, out=few if word == at else ones)
            if word != at:
                few += ones
        total += few
    return total


@dataclass(frozen=True, slots=True, eq=False)
class QueryBits:
    """A query as codes see it: q ≈ Σ weights·planes, planes ±1, the last plane its signs.

    planes: uint64 [P, B / 64] · weights: of q's coordinates, [P] · rounding: ‖q − q̂‖ · reach: length in units
    by_signs: float32 [B + 1], 2·reach·cos(π·H / B) of every count H
    """

    planes: Array
    weights: tuple[float, ...]
    rounding: float
    reach: float
    by_signs: Array

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return 64 * int(self.planes.shape[1])

    @property
    def noise_by_signs(self) -> Noise:
        """That of ρ by signs."""
        return _SIGNS_VARIANCE / self.bits, 0.0

    def noise_by_digits(self, factors: Array) -> Noise:
        """That of ρ by digits, of rows with these factors: float32 [M] each."""
        squares = factors * factors / np.float32(self.bits)
        return squares - np.float32(1 / self.bits), squares * np.float32(self.rounding**2)


def query_bits(coder: Coder, query: Array, digits: int) -> QueryBits:
    """One query float32 [D] in so many binary digits a coordinate.  Cost: B·D multiply–adds."""
    there = coder.centred(query[None])[0].astype(np.float64)
    reach = math.sqrt(float(there @ there))
    seen = coder.rotation.astype(np.float32) @ (there / reach if reach else there).astype(np.float32)
    levels = 1 << digits
    step = max(2 * _largest_worth_keeping(seen, digits) / levels, 1e-30)
    codes = np.clip(np.floor(seen / step) + levels // 2, 0, levels - 1).astype(np.int64)
    rounding = math.sqrt(float((((codes - (levels - 1) / 2) * step - seen) ** 2).sum()))
    planes = [np.packbits(codes >> digit & 1, bitorder="little").view(np.uint64) for digit in range(digits)]
    angles = np.cos(np.arange(coder.bits + 1) * (math.pi / coder.bits))
    weights = tuple(step / 2 * (1 << digit) for digit in range(digits))
    return QueryBits(np.stack(planes), weights, rounding, reach, (2 * reach * angles).astype(np.float32))


def _largest_worth_keeping(seen: Array, digits: int) -> float:
    """Where to clip: coordinates of a rotated query are nearly normal, and these are the best uniform steps for that.

    Source: Max 1960, "Quantizing for minimum distortion", table II (steps of 1.596, .996, .586, .335, .188 deviations).
    """
    steps = (1.596, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
    return steps[digits - 1] * (1 << digits) / 2 * math.sqrt(float(seen @ seen) / len(seen))
