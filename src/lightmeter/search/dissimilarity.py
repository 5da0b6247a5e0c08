"""How unlike two vectors are, by name; and rows that are measured by it, added, removed and kept.

A dissimilarity needs no triangle inequality and no symmetry: pivots and permutations work with any. Add your own to
`DISSIMILARITIES`, and `pivots/metric=yours` finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.assets.saving import expect, insist
from lightmeter.errors import InvalidValueError, RejectedFileError, UnknownNameError, nearest
from lightmeter.search.exact import top
from lightmeter.search.protocol import Certificate, Neighbours, checked_vectors
from lightmeter.types import Array

Domain = Literal["any", "nonnegative", "share", "positive"]
"""What vectors must be: any numbers, 0 or more, 0 or more with something above 0 (scaled to sum 1), or all above 0."""

_BLOCK = 1 << 16
"""Elements measured at once: the temporaries stay in the cache."""


@dataclass(frozen=True, slots=True)
class Dissimilarity:
    """One way to compare.

    one: query [D], rows [R, D] → [R], 0 or more, in the type of the rows
    many: queries [Q, D], rows [R, D] → [Q, R] where that is cheaper than Q times `one`
    domain: what vectors must be · symmetric: ρ(a, b) = ρ(b, a)
    at_least: float32 arithmetic errs by at most 2⁻²⁴·(D + 64) times this or the result, whichever is larger
    """

    name: str
    one: Callable[[Array, Array], Array]
    many: Callable[[Array, Array], Array] | None = None
    domain: Domain = "any"
    symmetric: bool = True
    at_least: float = 0.0

    def check(self, name: str, vectors: Array) -> None:
        """Hold vectors float [N, D] to the domain; raises InvalidValueError with what to do."""
        if self.domain == "any" or not vectors.size:
            return
        if self.domain == "positive" and not (vectors > 0).all():
            raise InvalidValueError(
                f"{name} must be above 0 for {self.name}, got {vectors.min():.4g}: add a small constant, or take "
                "jensen-shannon, which needs none"
            )
        if (vectors < 0).any():
            raise InvalidValueError(
                f"{name} must be 0 or more for {self.name}, got {vectors.min():.4g}: take l2, or features after a ReLU"
            )
        if self.domain == "share" and not vectors.any(axis=1).all():
            raise InvalidValueError(f"{name} must each hold something above 0 for {self.name}: leave zero rows out")

    def to_rows(self, query: Array, rows: Array, ids: Array | None = None) -> Array:
        """ρ(query, row) of every row, or of those named: query [D], rows [R, D], ids int [M] → float64 [R] or [M].

        Cost: that of `one` over R·D or M·D elements, in blocks that fit the cache.
        """
        count = len(rows) if ids is None else len(ids)
        step = max(1, _BLOCK // max(1, rows.shape[1]))
        out = np.empty(count)
        with np.errstate(over="ignore"):
            for at in range(0, count, step):
                some = rows[at : at + step] if ids is None else rows.take(ids[at : at + step], axis=0)
                out[at : at + step] = self.one(query, some)
        return out

    def matrix(self, queries: Array, rows: Array) -> Array:
        """ρ(query, row) of every pair: queries [Q, D], rows [R, D] → float64 [Q, R].

        Cost: Q·R·D elements of `one` (a matrix product for kl), looping over the smaller side where symmetric.
        """
        if self.many is not None:
            return self.many(queries, rows)
        if self.symmetric and len(rows) < len(queries):
            return (
                np.stack([self.to_rows(row, queries) for row in rows], axis=1) if len(rows) else _empty(queries, rows)
            )
        return np.stack([self.to_rows(query, rows) for query in queries]) if len(queries) else _empty(queries, rows)


def _empty(queries: Array, rows: Array) -> Array:
    return np.empty((len(queries), len(rows)))


# -- the table -------------------------------------------------------------------------------------------------------


def squared_l2(query: Array, rows: Array) -> Array:
    """Σ (q − x)²; [D], [R, D] → [R].  Cost: 3·R·D operations, no cancellation: equal rows are at 0 exactly."""
    off = rows - query
    found: Array = np.vecdot(off, off)
    return found


def cosine_gap(query: Array, rows: Array) -> Array:
    """2 − 2·cos(q, x), 0 to 4; a zero vector is 2 from everything.  Cost: 2·R·D multiply–adds."""
    lengths = np.sqrt(np.vecdot(rows, rows)) * np.sqrt(np.dot(query, query))
    cosine = np.divide(rows @ query, lengths, out=np.zeros(len(rows), rows.dtype), where=lengths > 0)
    gap: Array = 2 - 2 * np.clip(cosine, -1, 1)
    return gap


def chi2(query: Array, rows: Array) -> Array:
    """Σ (q − x)² / (q + x), a term of two zeros is 0.  Cost: 6·R·D operations, one of them a division.

    Source: as Savchenko 2017 uses it; minus scikit-learn's `additive_chi2_kernel`. Rows are not scaled.
    """
    off = rows - query
    off *= off
    total = rows + query
    np.maximum(total, _tiny(rows), out=total)
    off /= total
    found: Array = off.sum(axis=1)
    return found


def jensen_shannon(query: Array, rows: Array) -> Array:
    """½ Σ p·ln(2p/(p + q)) + ½ Σ q·ln(2q/(p + q)) of vectors scaled to sum 1, in nats: 0 to ln 2.

    With s = p + q and t = (q − p)/s, a pair gives s/4 · [(1 + t)·ln(1 + t) + (1 − t)·ln(1 − t)], which is 0 or more: so
    float32 errs by about 1e-7 in all, however near the rows are.
    Cost: 2·R·D logarithms and 10·R·D operations, one of them a division.
    Source: Lin, "Divergence measures based on the Shannon entropy", 1991; the square of SciPy's `jensenshannon`.
    """
    lean = _share(rows)
    here = _share(query[None])
    total = lean + here
    lean -= here
    lean /= np.maximum(total, _tiny(rows))
    terms = _x_log_x(1 + lean)
    terms += _x_log_x(1 - lean)
    found: Array = np.maximum(np.vecdot(total, terms) / 4, 0)
    return found


def kl(query: Array, rows: Array) -> Array:
    """Kullback–Leibler Σ p·ln(p/q) of the query's shares p from each row's q, in nats; not symmetric.

    Cost: R·D divisions and logarithms.  Source: Kullback & Leibler 1951; SciPy's `entropy(query, row)`.
    """
    here = _share(query[None])
    found: Array = np.maximum(_x_log_x(here).sum() - np.log(_share(rows)) @ here[0], 0)
    return found


def kl_matrix(queries: Array, rows: Array) -> Array:
    """The same of every pair: [Q, D], [R, D] → [Q, R].  Cost: (Q + R)·D logarithms and Q·R·D multiply–adds."""
    here = _share(queries)
    found: Array = np.maximum(_x_log_x(here).sum(axis=1)[:, None] - here @ np.log(_share(rows)).T, 0)
    return found


def _share(rows: Array) -> Array:
    shares: Array = rows / rows.sum(axis=1, keepdims=True)
    return shares


def _x_log_x(x: Array) -> Array:
    product: Array = x * np.log(np.maximum(x, _tiny(x)))  # faster than a mask; 0 times the log of something tiny is 0
    return product


def _tiny(like: Array) -> Any:
    return np.finfo(like.dtype).tiny


DISSIMILARITIES: dict[str, Dissimilarity] = {
    each.name: each
    for each in (
        Dissimilarity("l2", squared_l2),
        Dissimilarity("cosine", cosine_gap, at_least=4.0),
        Dissimilarity("chi2", chi2, domain="nonnegative"),
        Dissimilarity("jensen-shannon", jensen_shannon, domain="share", at_least=1.0),
        Dissimilarity("kl", kl, kl_matrix, "positive", symmetric=False, at_least=32.0),
    )
}
"""Every dissimilarity by its name; the names are what `metric=` takes."""


def dissimilarity(name: str) -> Dissimilarity:
    """The one of that name; raises UnknownNameError with the nearest.

    >>> dissimilarity("chi2").to_rows(np.array([1.0, 3.0]), np.array([[1.0, 1.0]]))
    array([1.])
    """
    if name not in DISSIMILARITIES:
        raise UnknownNameError(f"no dissimilarity called {name!r}{nearest(name, DISSIMILARITIES)}")
    return DISSIMILARITIES[name]


# -- rows that are measured ------------------------------------------------------------------------------------------


class Stack:
    """Rows of an array that grows by half when it must: adding is amortised, the array given is never written to."""

    def __init__(self, rows: Array) -> None:
        self._room, self._used = rows, len(rows)

    @property
    def rows(self) -> Array:
        """What is in it."""
        return self._room[: self._used]

    def add(self, more: Array) -> None:
        """Put rows behind the others."""
        needed = self._used + len(more)
        if needed > len(self._room):
            room = np.empty((max(needed, self._used + self._used // 2), *self._room.shape[1:]), self._room.dtype)
            room[: self._used] = self.rows
            self._room = room
        self._room[self._used : needed] = more
        self._used = needed


class Gallery:
    """Vectors with ids under one dissimilarity, which of them are there, and the last step of every search."""

    def __init__(self, measure: Dissimilarity, vectors: Array, alive: Array | None = None) -> None:
        self.measure = measure
        self._vectors = Stack(vectors)
        self._alive = Stack(np.ones(len(vectors), bool) if alive is None else alive.astype(bool))
        self._gone = 0 if alive is None else int(np.count_nonzero(~self.alive))

    @classmethod
    def of(cls, measure: Dissimilarity, vectors: Array) -> Gallery:
        """Checked: float [N, D] with N and D of 1 or more, in the dissimilarity's domain."""
        vectors = checked_vectors("vectors", vectors)
        if not vectors.size:
            raise InvalidValueError(f"vectors must be [N, D] with N and D of 1 or more, got {list(vectors.shape)}")
        measure.check("vectors", vectors)
        return cls(measure, vectors)

    @property
    def vectors(self) -> Array:
        """All rows ever given: float32 [R, D]."""
        return self._vectors.rows

    @property
    def alive(self) -> Array:
        """Which of them are there: bool [R]."""
        return self._alive.rows

    def __len__(self) -> int:
        return len(self.vectors) - self._gone

    @property
    def whole(self) -> bool:
        """Whether every row ever given is there."""
        return not self._gone

    def queries(self, queries: Array, k: int) -> Array:
        """Queries checked: float32 [Q, D]."""
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        queries = checked_vectors("queries", queries, self.vectors.shape[1])
        self.measure.check("queries", queries)
        return queries

    def checked(self, vectors: Array) -> Array:
        """Rows to add, checked: float32 [N, D]."""
        vectors = checked_vectors("vectors", vectors, self.vectors.shape[1])
        self.measure.check("vectors", vectors)
        return vectors

    def add(self, vectors: Array) -> Array:
        """Add checked rows → their ids int64 [N].  Cost: N·D, amortised."""
        before = len(self.vectors)
        self._vectors.add(vectors)
        self._alive.add(np.ones(len(vectors), bool))
        return np.arange(before, before + len(vectors))

    def remove(self, ids: Array) -> None:
        """Rows that no longer answer; raises InvalidValueError for one that is not there."""
        ids = np.unique(self.ids(ids))
        self.alive[ids] = False
        self._gone += len(ids)

    def ids(self, ids: Array) -> Array:
        """Ids checked to be of rows that are there: int [M] → int64 [M]."""
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidValueError(f"ids must be int [M], got {ids.dtype} {list(ids.shape)}")
        there = (ids >= 0) & (ids < len(self.alive))
        there[there] = self.alive[ids[there].astype(np.int64)]
        if not there.all():
            raise InvalidValueError(f"ids must be of rows that are there, got {ids[~there][0]}: never given or removed")
        return ids.astype(np.int64)

    def allowed(self, among: Array | None) -> Array:
        """Which rows may answer: bool [R]."""
        if among is None:
            return self.alive
        mask = np.zeros(len(self.alive), bool)
        mask[self.ids(among)] = True
        return mask

    def best(self, query: Array, ids: Array, distances: Array, k: int) -> tuple[Array, Array]:
        """The k nearest of rows already measured: ids int64 [≤ k], distances float64 [≤ k]; ties to the lowest id.

        Those that rounding may have put in the wrong order are measured again in float64.
        """
        if not len(ids):
            return np.empty(0, np.int64), np.empty(0)
        edge = float(np.partition(distances, k - 1)[k - 1]) if k < len(ids) else math.inf
        slack = 2.0**-23 * (self.vectors.shape[1] + 64) * max(edge, self.measure.at_least)
        ids = ids[distances <= edge + slack]
        exactly = self.measure.to_rows(query.astype(np.float64), self.vectors[ids].astype(np.float64))
        order = np.lexsort((ids, exactly))[:k]
        return ids[order], exactly[order]

    def rerank(self, query: Array, ids: Array, k: int) -> tuple[Array, Array]:
        """The same, measuring them first.  Cost: M·D."""
        return self.best(query, ids, self.measure.to_rows(query, self.vectors, ids), k)

    def search_by_codes(
        self, queries: Array, k: int, *, among: Array | None, check: float, unlike: Callable[[Array], Array],
        code_bytes: int, measured: int = 0,
    ) -> Neighbours:  # fmt: skip
        """The k nearest of the rows whose codes are least unlike the query's; certificates count the rows measured.

        queries: float [Q, D] · among: int [M], the ids that may answer · check: share of these measured
        unlike: a query float32 [D] → int [R], how unlike the code of each row is
        code_bytes: read to compare one query's code with all · measured: rows (pivots) measured to make that code
        Cost: `unlike` and check·R·D a query.
        """
        queries, allowed = self.queries(queries, k), self.allowed(among)
        may, count = int(np.count_nonzero(allowed)), rows_to_check(check, allowed, k)
        answers = Answers(len(queries), k)
        row_bytes = self.vectors.shape[1] * self.vectors.itemsize
        for query in queries:  # one by one: an answer must not depend on its batch, and a matrix product rounds by it
            ids = closest_codes(unlike(query), allowed, count)
            refined = len(ids) + measured
            answers.put(
                self.rerank(query, ids, k), complete=len(ids) == may, survivors=(len(ids),), refined=refined,
                bytes_read=code_bytes + refined * row_bytes,
            )  # fmt: skip
        return answers.done()

    def arrays(self) -> dict[str, Array]:
        """What `kept` makes it from."""
        return {"vectors": self.vectors, "alive": self.alive}

    @classmethod
    def kept(cls, measure: Dissimilarity, arrays: Mapping[str, Array]) -> Gallery:
        """A gallery from its arrays; raises RejectedFileError where they are not what `arrays` gives."""
        vectors = expect(arrays, "vectors", "float32", None, None)
        insist(vectors.size, f"vectors of a model must be [N, D] with N and D of 1 or more, got {list(vectors.shape)}")
        try:
            measure.check("vectors", vectors)
        except InvalidValueError as error:
            raise RejectedFileError("damaged", str(error)) from error
        return cls(measure, vectors, expect(arrays, "alive", "bool", len(vectors)))


class Answers:
    """Answers of a batch as they come."""

    def __init__(self, queries: int, k: int) -> None:
        self.ids = np.full((queries, k), -1, np.int64)
        self.distances = np.full((queries, k), np.inf)
        self.certificates: list[Certificate] = []

    def put(self, found: tuple[Array, Array], *, complete: bool, survivors: tuple[int, ...], **counts: Any) -> None:
        """One query's answer.  complete: all rows that may answer were measured; counts: refined and bytes_read.

        Nothing but 0 is known to lie below what was not measured: the gap of an incomplete answer is −(last distance).
        """
        at, size = len(self.certificates), len(found[0])
        self.ids[at, :size], self.distances[at, :size] = found
        gap = math.inf if complete else -float(self.distances[at, -1])
        self.certificates.append(
            Certificate(exact=complete, gap=gap, levels=len(survivors), survivors=survivors, **counts)
        )  # fmt: skip

    def done(self) -> Neighbours:
        """All of them."""
        return Neighbours(self.ids, self.distances, tuple(self.certificates))


def closest_codes(unlike: Array, allowed: Array, count: int) -> Array:
    """Ids of the `count` allowed rows whose codes are least unlike, nearest first, ties to the lowest id.

    unlike: int [R] · allowed: bool [R] → int64 [≤ count].  Cost: R.
    """
    ids = np.flatnonzero(allowed)
    return ids[top(-unlike[ids].astype(np.float64), count)] if len(ids) else ids


def hold_check(check: float) -> None:
    """Hold the share of the rows that an index measures to (0, 1]; raises InvalidValueError."""
    if not 0 < check <= 1:
        raise InvalidValueError(f"check must be above 0 and at most 1, got {check}")


def rows_to_check(share: float, allowed: Array, k: int) -> int:
    """A share of the rows that may answer, and no fewer than k."""
    return max(k, math.ceil(share * int(np.count_nonzero(allowed)) - 1e-9))
