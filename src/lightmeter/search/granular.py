"""Granular search: the true neighbours from a fraction of the bytes, or nearly always those from still fewer."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import Spelled, build
from lightmeter.search.calibration import (
    OWN_ROWS,
    VALIDATION,
    Calibration,
    calibrate,
    check_rates,
    exact_calibration,
)
from lightmeter.search.granules import LANES, Coded, Lens, encode, fit_lens
from lightmeter.search.growing import grown
from lightmeter.search.kernels import MOST_COMPONENTS, MOST_LEVELS, TOLD, AskStruct, GranulesStruct, address, compiled
from lightmeter.search.protocol import Abilities, Certificate, Metric, Neighbours, checked_vectors
from lightmeter.search.twin import Race
from lightmeter.types import Array

_OWN_ROWS = 1000
_PATH_ROWS = 200
_LENS_ARRAYS = ("mean", "basis", "basis_step", "mix")


@dataclass(frozen=True)
class Granular(Spelled):
    """Principal components in granules, pruned by bounds, the last few rows measured in full.

    Exact unless `kappa` or `alpha` says otherwise: with them a query may miss, and its certificate says whether this
    one did not.

    metric: l2 or cosine · granules: components of each level, multiples of 16, 1 to 4 levels
    kappa: 1 is exact; less takes what is left out of two vectors to be at most so parallel, at every level
    alpha: learn κ from the gallery's own rows, so that about this share of queries or fewer misses: an estimate, where
    `calibrated` with validation queries gives a promise · confidence: of the test that it rests on
    few: so few survivors are measured at once · seed: of what is sampled
    Cost: fit N·D·K and a decomposition; memory K + 12·levels bytes a row beside the vectors, which are not copied.
    Source: bounds and κ are ours; granules after Savchenko, "Granular computing and sequential analysis of deep
    embeddings in fast still-to-video face recognition", 2018.
    """

    metric: Metric = "l2"
    granules: tuple[int, ...] = (64, 192)
    kappa: float = 1.0
    alpha: float | None = None
    confidence: float = 0.95
    few: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [width for width in self.granules if width < LANES or width % LANES]
        if wrong or not 1 <= len(self.granules) <= MOST_LEVELS or sum(self.granules) > MOST_COMPONENTS:
            raise InvalidValueError(
                f"granules must be 1 to {MOST_LEVELS} multiples of {LANES}, {MOST_COMPONENTS} in all, got "
                f"{list(self.granules)}: try [64,192]"
            )
        _check_kappa(self.kappa)
        if self.few < 0:
            raise InvalidValueError(f"few must be 0 or more, got {self.few}")
        if self.alpha is not None:
            check_rates(self.alpha, self.confidence)
            if self.kappa != 1:
                raise InvalidValueError("give kappa or alpha, got both: alpha learns kappa")

    def fit(self, vectors: Array) -> FittedGranular:
        """Index vectors: float [N, D], N ≥ 1; float32 in C order is used where it lies."""
        vectors = checked_vectors("vectors", vectors)
        if not vectors.size:
            raise InvalidValueError(f"vectors must be [N, D] with N and D of 1 or more, got {list(vectors.shape)}")
        inverse_norms = _inverse_norms(vectors) if self.metric == "cosine" else None
        lens, axes = fit_lens(vectors, inverse_norms, _fitting(self.granules, vectors.shape[1]), seed=self.seed)
        exact = exact_calibration(len(lens.widths))
        coded = encode(lens, axes, vectors, inverse_norms)
        fitted = FittedGranular(self, lens, coded, vectors, inverse_norms, exact)
        if self.alpha is not None:
            return fitted.calibrated(None, alpha=self.alpha, confidence=self.confidence)
        return fitted.with_kappa(self.kappa)


def _check_kappa(kappa: float) -> None:
    if not 0 <= kappa <= 1:
        raise InvalidValueError(f"kappa must be 0 to 1, got {kappa}: 1 is exact")


def _fitting(widths: Sequence[int], dim: int) -> tuple[int, ...]:
    """The granules that D leaves room for: the last is cut, the rest dropped."""
    room = -(-dim // LANES) * LANES
    kept: list[int] = []
    for width in widths:
        if sum(kept) < room:
            kept.append(min(width, room - sum(kept)))
    return tuple(kept)


def _inverse_norms(vectors: Array) -> Array:
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    inverse: Array = np.divide(1.0, norms, out=np.zeros(len(norms)), where=norms > 0)
    return inverse


class _Certificates(Sequence[Certificate]):
    """Certificates of a batch, made when they are looked at."""

    def __init__(self, told: Array, *, exact: bool) -> None:
        self._told, self._exact = told, exact

    def __len__(self) -> int:
        return len(self._told)

    @overload
    def __getitem__(self, index: int) -> Certificate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Certificate]: ...
    def __getitem__(self, index: int | slice) -> Certificate | Sequence[Certificate]:
        if isinstance(index, slice):
            return _Certificates(self._told[index], exact=self._exact)
        row = self._told[index]
        return Certificate(
            exact=self._exact or bool(row["gap"] >= 0),
            gap=float(row["gap"]),
            levels=int(row["levels"]),
            survivors=tuple(row["survivors"][: row["levels"]].tolist()),
            refined=int(row["refined"]),
            bytes_read=int(row["bytes"]),
        )


class _Room:
    """Arrays that a call of the kernels reads and writes, and their addresses."""

    def __init__(self, library: Any, granules: GranulesStruct, queries: Array, ask: AskStruct) -> None:
        k = ask.k
        self.of, self.queries, self.granules = granules, queries, ctypes.addressof(granules)
        self.ask = ask
        self.scratch = np.empty(library.lm_scratch(self.granules, len(queries)), np.uint8)
        self.ids, self.distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        self.told = np.empty(len(queries), TOLD)
        self.query = address(queries)
        self.places = tuple(map(address, (self.scratch, self.ids, self.distances, self.told)))

    def answer(self) -> tuple[Array, Array, Array]:
        """Copies, so that the next query may write here."""
        return self.ids.copy(), self.distances.copy(), self.told.copy()


class FittedGranular:
    """Vectors, their granules and a calibration. One thread may change it while no other searches."""

    def __init__(
        self, recipe: Granular, lens: Lens, coded: Coded, vectors: Array, inverse_norms: Array | None,
        calibration: Calibration,
    ) -> None:  # fmt: skip
        self.recipe, self.lens, self.coded, self.calibration = recipe, lens, coded, calibration
        self.vectors, self.inverse_norms = vectors, inverse_norms
        self._own = self._own_energies = False
        self._axes: Array | None = None  # made when the first row is added
        self._alive = len(vectors) - int(np.isposinf(coded.energies).sum())
        self._mine = threading.local()
        self._compiled = compiled()
        self._granules = _struct(lens, coded, vectors, inverse_norms)

    def __len__(self) -> int:
        return self._alive

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    @property
    def abilities(self) -> Abilities:
        """Everything."""
        return Abilities(exact=self.calibration.exact, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors."""
        rows = [*self.coded.codes, *self.coded.errors, *self.coded.residuals, self.coded.energies]
        lens = [self.lens.mean, self.lens.basis, self.lens.basis_step, self.lens.mix]
        others = [each for each in (self.inverse_norms, self._axes) if each is not None]
        return sum(int(each.nbytes) for each in (*rows, *lens, *others))

    # -- asking ------------------------------------------------------------------------------------------------------

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest rows of each query, each with a certificate.

        queries: float [Q, D] · among: int [M], the ids that may answer
        Cost: K·D' bytes of the basis and K + 12·levels bytes a row that is still in the race, then D·4 a survivor.
        """
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        queries = np.asarray(queries)
        mask = None if among is None else self._mask(among)
        if self._compiled is None:
            ids, distances, told = self._search_by_twin(checked_vectors("queries", queries, self.dim), k, mask)
        else:
            ids, distances, told = self._search_compiled(queries, k, mask)
        exact = min(self.calibration.kappas_for(k)) >= 1
        return Neighbours(ids, distances, _Certificates(told, exact=exact))

    def _search_compiled(self, queries: Array, k: int, mask: Array | None) -> tuple[Array, Array, Array]:
        """One query reads and writes where the last one did: finding out addresses would cost more than the search."""
        if queries.shape == (1, self.dim) and queries.dtype.kind in "fiu":
            room = self._room(k)
            room.queries[:] = queries
        else:
            queries = checked_vectors("queries", queries, self.dim)
            room = _Room(self._compiled, self._granules, queries, self._ask(k))
        room.ask.among = address(mask)
        if self._compiled.lm_search(room.granules, ctypes.byref(room.ask), room.query, len(queries), *room.places):
            checked_vectors("queries", queries, self.dim)
        return (room.ids, room.distances, room.told) if len(queries) > 1 else room.answer()

    def _room(self, k: int) -> _Room:
        """This thread's room for one query."""
        room: _Room | None = getattr(self._mine, "room", None)
        if room is None or room.of is not self._granules or room.ids.shape[1] != k:
            query = np.empty((1, self.dim), np.float32)
            room = self._mine.room = _Room(self._compiled, self._granules, query, self._ask(k))
        return room

    def _ask(self, k: int) -> AskStruct:
        return AskStruct(k, self.calibration.kappas_for(k), self.calibration.guesses, None, self.recipe.few)

    def _search_by_twin(self, queries: Array, k: int, mask: Array | None) -> tuple[Array, Array, Array]:
        race = Race(self.lens, self.coded, self.vectors, self.inverse_norms)
        out = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf), np.zeros(len(queries), TOLD)
        allowed = None if mask is None else mask.astype(bool)
        for at, query in enumerate(queries):
            ids, distances, told = race.search(
                query, k, self.calibration.kappas_for(k), few=self.recipe.few, among=allowed
            )
            out[0][at, : len(ids)], out[1][at, : len(ids)] = ids, distances
            survivors = (*told.survivors, *[0] * (MOST_LEVELS - len(told.survivors)))
            gap = math.inf if math.isinf(told.proof) else told.proof - out[1][at, -1]
            out[2][at] = (told.levels, told.refined, told.bytes, survivors, gap, told.proof)
        return out

    def _mask(self, among: Array) -> Array:
        mask = np.zeros(len(self.vectors), np.uint8)
        mask[self._checked_ids(among)] = 1
        return mask

    def _checked_ids(self, ids: Array) -> Array:
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidValueError(f"ids must be int [M], got {ids.dtype} {list(ids.shape)}")
        wrong = ids[(ids < 0) | (ids >= len(self.vectors))]
        if not len(wrong):
            wrong = ids[np.isposinf(self.coded.energies[ids.astype(np.int64)])]
        if len(wrong):
            raise InvalidValueError(
                f"ids must be of rows that are there, got {wrong[0]}: it was never given or removed"
            )
        return ids.astype(np.int64)

    # -- calibration -------------------------------------------------------------------------------------------------

    def with_kappa(self, kappa: float) -> FittedGranular:
        """The same rows with one κ, 0 to 1, at every level; nothing is promised of less than 1."""
        _check_kappa(kappa)
        plain = exact_calibration(len(self.lens.widths), self.calibration.guesses)
        return self._with(replace(plain, kappas=(kappa,) * len(self.lens.widths)))

    def calibrated(
        self, queries: Array | None, *, alpha: float, confidence: float = 0.95, k: int = 1
    ) -> FittedGranular:  # fmt: skip
        """The same rows with κ learnt: at most `alpha` of queries like these miss one of their k true neighbours.

        queries: float [Q, D], like those to come and not among the rows; None asks with up to 1,000 rows of the
        gallery, each without itself: an estimate then, no promise, since rows are no independent draws.
        It takes log(1 − confidence) / log(1 − alpha) queries (299 for 1 % and 95 %); with fewer the answer stays exact.
        More than k neighbours are searched exactly. Rows that come or go make the promise void and the search exact.
        Cost: one search a query for each step of `PATH` that is tried.
        """
        check_rates(alpha, confidence)
        rng = np.random.default_rng(self.recipe.seed)
        rows = rng.permutation(np.flatnonzero(np.isfinite(self.coded.energies)))[: _OWN_ROWS + _PATH_ROWS]
        shown, rows = np.split(rows, [min(_PATH_ROWS, len(rows) // 2)])
        own, asked = (rows, OWN_ROWS) if queries is None else (None, VALIDATION)
        queries = self.vectors[rows] if queries is None else checked_vectors("queries", queries, self.dim)
        exact = self.with_kappa(1.0)
        true = exact.nearest_others(queries, own, k)
        nearest = exact.nearest_others(self.vectors[shown], shown, 1).ids[:, 0]
        cosines = exact.residual_cosines(self.vectors[shown], nearest)
        if not len(cosines) or not len(queries):
            return exact

        def missed(kappas: tuple[float, ...]) -> int:
            loose = self._with(replace(exact.calibration, kappas=kappas)).nearest_others(queries, own, k)
            return int((loose.distances > true.distances).any(axis=1).sum())

        return self._with(
            calibrate(cosines, missed, len(queries), alpha=alpha, confidence=confidence, asked=asked, k=k)
        )  # fmt: skip

    def nearest_others(self, queries: Array, own: Array | None, k: int) -> Neighbours:
        """The k nearest that are not the query itself.  own: int64 [Q] the query's own id, None where it has none."""
        if own is None:
            return self.search(queries, k)
        found = self.search(queries, k + 1)
        other = found.ids != own[:, None]
        other[other.all(axis=1), k] = False  # it was not among its own neighbours: one too many
        ids, distances = found.ids[other].reshape(-1, k), found.distances[other].reshape(-1, k)
        return Neighbours(ids, distances, found.certificates)

    def residual_cosines(self, queries: Array, ids: Array) -> Array:
        """Cosine of what each level leaves out of a query and of a row: float64 [Q, L]; ids −1 are left out."""
        here, there = queries[ids >= 0].astype(np.float64), self.vectors[ids[ids >= 0]].astype(np.float64)
        if self.inverse_norms is not None:
            here, there = (each * _inverse_norms(each)[:, None] for each in (here, there))
        here, there = here - self.lens.mean, there - self.lens.mean
        axes = self.lens.axes().astype(np.float64)
        seen, theirs = here @ axes.T, there @ axes.T
        left = [np.einsum("nd,nd->n", a, b) for a, b in ((here, there), (here, here), (there, there))]
        least = 1e-9 * np.sqrt(left[1] * left[2])
        columns, start = [], 0
        for width in self.lens.widths:
            part = slice(start, start + width)
            for at, (a, b) in enumerate(((seen, theirs), (seen, seen), (theirs, theirs))):
                left[at] = left[at] - np.einsum("nd,nd->n", a[:, part], b[:, part])
            size = np.sqrt(np.maximum(left[1], 0) * np.maximum(left[2], 0))
            columns.append(np.divide(left[0], size, out=np.zeros(len(size)), where=size > least))
            start += width
        cosines: Array = np.clip(np.stack(columns, axis=1), -1, 1)
        return cosines

    def _with(self, calibration: Calibration) -> FittedGranular:
        self._own = self._own_energies = False  # both look at the same arrays now: who changes first takes a copy
        return FittedGranular(self.recipe, self.lens, self.coded, self.vectors, self.inverse_norms, calibration)

    # -- changing ----------------------------------------------------------------------------------------------------

    def add(self, vectors: Array) -> Array:
        """Add rows without refitting: float [N, D] → their ids int64 [N].  Cost: N·D·K; amortised, no copy of the rest.

        The basis stays that of the first rows: exact answers stay exact, other data only prune less.
        """
        vectors = checked_vectors("vectors", vectors, self.dim)
        inverse_norms = None if self.inverse_norms is None else _inverse_norms(vectors)
        if self._axes is None:
            self._axes = self.lens.axes()
        more = encode(self.lens, self._axes, vectors, inverse_norms)
        before, wider = len(self.vectors), partial(grown, own=self._own)
        self.vectors = wider(self.vectors, vectors)
        if self.inverse_norms is not None and inverse_norms is not None:
            self.inverse_norms = wider(self.inverse_norms, inverse_norms)
        self.coded = Coded(
            tuple(map(wider, self.coded.codes, more.codes)), tuple(map(wider, self.coded.errors, more.errors)),
            tuple(map(wider, self.coded.residuals, more.residuals)), wider(self.coded.energies, more.energies),
        )  # fmt: skip
        self._own = self._own_energies = True
        self._alive += len(vectors)
        self._void()
        self._granules = _struct(self.lens, self.coded, self.vectors, self.inverse_norms)
        return np.arange(before, before + len(vectors))

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again; their place is kept.  Cost: O(1) a row."""
        ids = self._checked_ids(ids)
        if not self._own_energies:
            self.coded = replace(self.coded, energies=self.coded.energies.copy())
            self._own_energies = True
            self._granules = _struct(self.lens, self.coded, self.vectors, self.inverse_norms)
        self.coded.energies[ids] = np.inf
        self._alive -= len(np.unique(ids))
        self._void()

    def _void(self) -> None:
        """What was promised was promised of other rows; a κ that the user named promises nothing and stays."""
        if self.calibration.alpha and not self.calibration.stale:
            self.calibration = replace(self.calibration, stale=True)
            self._mine = threading.local()

    # -- keeping -----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write vectors, granules and calibration into a folder."""
        arrays = {"vectors": self.vectors, "removed": np.isposinf(self.coded.energies)}
        arrays |= {f"lens.{name}": getattr(self.lens, name) for name in _LENS_ARRAYS}
        about = {
            "spec": self.recipe.spec, "calibration": self.calibration.as_json(), "steps": self.lens.steps,
            "scale": self.lens.scale, "typical": self.lens.typical,
        }  # fmt: skip
        save_model(folder, arrays, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote. Codes and lengths are made anew from the vectors: a bound is only as true as they are.

        Raises RejectedFileError for what the kernels could not read as what they take it for.  Cost: N·D·K.
        """
        arrays, about = load_model(folder)
        vectors = expect(arrays, "vectors", "float32", None, None)
        rows, dim = vectors.shape
        recipe = build(str(about.get("spec")), "index")
        if not isinstance(recipe, Granular) or not vectors.size:
            raise RejectedFileError("damaged", f"{folder} must hold a granular index, got {about.get('spec')!r:.80}")
        lens = _loaded_lens(arrays, about, _fitting(recipe.granules, dim), dim)
        norms = _inverse_norms(vectors) if recipe.metric == "cosine" else None
        coded = encode(lens, lens.axes(), vectors, norms)
        coded.energies[expect(arrays, "removed", "bool", rows)] = np.inf
        calibration = Calibration.from_json(about.get("calibration"), levels=len(lens.widths))
        return cls(recipe, lens, coded, vectors, norms, calibration)


def _loaded_lens(arrays: Mapping[str, Array], about: Mapping[str, Any], widths: tuple[int, ...], dim: int) -> Lens:
    """The lens of a model, every size as the kernels take it to be."""
    total, padded = sum(widths), -(-dim // LANES) * LANES
    numbers = [*about.get("steps", ()), about.get("scale"), about.get("typical")]
    if len(numbers) != len(widths) + 2 or not all(isinstance(each, float) and 0 < each < math.inf for each in numbers):
        raise RejectedFileError(
            "damaged", f"steps, scale and typical must be {len(widths) + 2} numbers above 0: save it again"
        )
    lens = Lens(
        expect(arrays, "lens.mean", "float32", dim), expect(arrays, "lens.basis", "int8", total, padded),
        expect(arrays, "lens.basis_step", "float32", total), expect(arrays, "lens.mix", "float32", total, total),
        widths, tuple(numbers[:-2]), numbers[-2], numbers[-1],
    )  # fmt: skip
    axes = lens.axes().astype(np.float64)
    off = np.abs(axes @ axes.T - np.diag(axes.any(axis=1)))
    if off.max(initial=0) > 1e-4:
        raise RejectedFileError(
            "damaged", "lens.mix must make the basis orthonormal, or bounds are none: save it again"
        )
    return lens


def _struct(lens: Lens, coded: Coded, vectors: Array, inverse_norms: Array | None) -> GranulesStruct:
    """The same as the kernels read it; it holds addresses, not the arrays."""
    levels = len(lens.widths)
    struct = GranulesStruct(
        rows=len(vectors), dim=vectors.shape[1], padded=lens.basis.shape[1], levels=levels,
        vectors=address(vectors), inverse_norms=address(inverse_norms), mean=address(lens.mean),
        basis=address(lens.basis), basis_step=address(lens.basis_step), mix=address(lens.mix),
        energies=address(coded.energies), scale=lens.scale, typical=lens.typical,
    )  # fmt: skip
    for level in range(levels):
        struct.widths[level], struct.steps[level] = lens.widths[level], lens.steps[level]
        struct.codes[level] = address(coded.codes[level])
        struct.errors[level], struct.residuals[level] = address(coded.errors[level]), address(coded.residuals[level])
    return struct
