"""One bit a dimension: a million rows are looked through by XOR and bit counts, and few of them are measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import file_sha256, whole_file
from lightmeter.assets.saving import expect, expect_number, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import Spelled
from lightmeter.search.backends.rerank import measured
from lightmeter.search.bits import BLOCK, CodeBlock, Coder, QueryBits, blocks_of, coder_of, may_be_near, query_bits
from lightmeter.search.dissimilarity import Answers
from lightmeter.search.protocol import Abilities, Metric, Neighbours, checked_vectors
from lightmeter.types import Array, check_axes

_FIRST = 256
"""Rows measured first: they say how near a row must be."""
_COLUMNS = 2048
_VECTORS = "vectors.npy"
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class OneBit(Spelled):
    """Codes of one bit a dimension and two numbers a row; what they cannot rule out is measured in full.

    fit: vectors [N, D], in memory or mapped from disk (`numpy.memmap`, or what has shape, dtype, slices and `take`);
    they are read in blocks, never copied where they are float32, and searched by reading single rows.
    The codes are read once for a rough distance of every row, then, for the rows that remain, with a query of more
    digits. A row is ruled out where its estimate lies `doubt` standard deviations beyond the k-th nearest row measured
    so far: a row that just belongs is missed in each step with the chance that a normal variable exceeds `doubt` (0.6 %
    at 2.5); the nearer a row, the less.

    doubt: standard deviations, 0 or more; larger is slower and surer · digits: of the query's coordinates, 2 to 8
    most: rows measured at most, a query; beyond it the likeliest are · threads: for one query · seed: of the rotation
    Cost: fit N·B·D multiply–adds (B: D rounded up to 64) and B·D floats; B/8 + 9 bytes a row; a query reads B/8 + 12
    bytes of every row, and D·4 bytes of those measured.
    Source: see `search.bits`.
    """

    metric: Metric = "l2"
    doubt: float = 2.5
    digits: int = 4
    most: int = 50_000
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.doubt >= 0:
            raise InvalidValueError(f"doubt must be 0 or more, got {self.doubt}")
        if not 2 <= self.digits <= 8:
            raise InvalidValueError(f"digits must be 2 to 8, got {self.digits}")
        for name in ("most", "threads"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def fit(self, vectors: Array) -> FittedOneBit:
        """Codes of vectors: float [N, D], N and D of 1 or more.  Memory: one block of 32 MB beside the codes.

        Rows that are not float32 are copied. Raises InvalidValueError for NaN and infinity.
        """
        check_axes("vectors", vectors, "N D")
        if not vectors.size:
            raise InvalidValueError(f"vectors must be [N, D] with N and D of 1 or more, got {list(vectors.shape)}")
        if vectors.dtype != np.float32:
            vectors = checked_vectors("vectors", vectors)
        coder = coder_of(vectors, cosine=self.metric == "cosine", seed=self.seed)
        return FittedOneBit(self, coder, _coded(coder, vectors), [vectors], np.ones(len(vectors), bool))


def _coded(coder: Coder, vectors: Array) -> list[CodeBlock]:
    blocks: list[CodeBlock] = []
    parts: list[CodeBlock] = []
    for at, block in blocks_of(vectors):
        if at % BLOCK == 0 and parts:
            blocks.append(_joined(parts))
            parts = []
        parts.append(coder.encode(block))
    return [*blocks, _joined(parts)] if parts else blocks


def _joined(parts: Sequence[CodeBlock]) -> CodeBlock:
    if len(parts) == 1:
        return parts[0]
    return CodeBlock(
        np.concatenate([part.signs for part in parts], axis=1),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.factors for part in parts]),
    )


class FittedOneBit:
    """Codes, and where the vectors lie. One thread may change it while no other searches."""

    def __init__(
        self, recipe: OneBit, coder: Coder, blocks: list[CodeBlock], shards: list[Array], alive: Array
    ) -> None:
        self.recipe, self.coder, self.blocks, self.shards, self.alive = recipe, coder, blocks, shards, alive
        self._starts = np.cumsum([0, *map(len, shards)])
        self._pool = ThreadPoolExecutor(recipe.threads, "one-bit") if recipe.threads > 1 else None

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.coder.rotation.shape[1])

    @property
    def abilities(self) -> Abilities:
        """All but exact."""
        return Abilities(exact=False, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors: the codes, two numbers and a flag a row, the rotation."""
        codes = sum(block.nbytes for block in self.blocks)
        return int(codes + self.alive.nbytes + self.coder.rotation.nbytes + self.coder.mean.nbytes)

    # -- asking ------------------------------------------------------------------------------------------------------

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest rows that the codes do not rule out; certificates count what was left and what was measured.

        queries: float [Q, D] · among: int [M], the ids that may answer.  Cost: see `OneBit`.
        """
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        queries = checked_vectors("queries", queries, self.dim)
        allowed = self._allowed(among)
        answers = Answers(len(queries), k)
        for query in queries:
            self._search_one(query, k, allowed, answers)
        return answers.done()

    def _search_one(self, query: Array, k: int, allowed: Array | None, answers: Answers) -> None:
        may = len(self.alive) if allowed is None else int(np.count_nonzero(allowed))
        race = _Race(self, query, k, allowed)
        left: tuple[int, ...] = ()
        if may <= max(_FIRST, k) or (self.recipe.metric == "cosine" and not query.any()):
            race.measure(np.flatnonzero(allowed)[:may] if allowed is not None else np.arange(may))
        else:
            left = race.run()
        bytes_read = len(self.alive) * (self.coder.bits // 8 + 12) * bool(left) + race.measured * self.dim * 4
        answers.put(
            race.answer(), complete=race.measured >= may, survivors=left, refined=race.measured, bytes_read=bytes_read
        )

    def each(self, work: Callable[[_Given], _Made], given: Iterable[_Given]) -> list[_Made]:
        """Work on all, by as many threads as the recipe has; numpy lets them run side by side."""
        return list(map(work, given)) if self._pool is None else list(self._pool.map(work, given))

    def rows(self, ids: Array) -> Array:
        """Vectors by rising ids: int64 [M] → float32 [M, D]; only these rows are read."""
        if len(self.shards) == 1:
            return self.shards[0].take(ids, axis=0)
        cuts = np.searchsorted(ids, self._starts)
        parts = [
            shard.take(ids[low:high] - start, axis=0)
            for shard, start, low, high in zip(self.shards, self._starts, cuts, cuts[1:], strict=False)
            if high > low
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def _allowed(self, among: Array | None) -> Array | None:
        if among is None:
            return None if self.alive.all() else self.alive
        mask = np.zeros(len(self.alive), bool)
        mask[self._checked_ids(among)] = True
        return mask

    def _checked_ids(self, ids: Array) -> Array:
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidValueError(f"ids must be int [M], got {ids.dtype} {list(ids.shape)}")
        there = (ids >= 0) & (ids < len(self.alive))
        there[there] = self.alive[ids[there].astype(np.int64)]
        if not there.all():
            raise InvalidValueError(f"ids must be of rows that are there, got {ids[~there][0]}: never given or removed")
        return ids.astype(np.int64)

    # -- changing ----------------------------------------------------------------------------------------------------

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N]; mean and rotation stay.

        Cost: N·B·D, and a copy of the flags, of the last block of codes, and of the last rows added.
        """
        vectors = checked_vectors("vectors", vectors, self.dim)
        before = len(self.alive)
        if not len(vectors):
            return np.empty(0, np.int64)
        room = BLOCK - len(self.blocks[-1])
        if room:
            self.blocks[-1] = _joined([self.blocks[-1], *_coded(self.coder, vectors[:room])])
        if len(vectors) > room:
            self.blocks += _coded(self.coder, vectors[room:])
        self._keep(vectors.copy())
        self.alive = np.concatenate([self.alive, np.ones(len(vectors), bool)])
        return np.arange(before, before + len(vectors))

    def _keep(self, vectors: Array) -> None:
        """Put rows behind the shards; small ones that were added before are joined, so that there are few."""
        if len(self.shards) > 1 and len(self.shards[-1]) < BLOCK:
            vectors = np.concatenate([self.shards.pop(), vectors])
        self.shards.append(vectors)
        self._starts = np.cumsum([0, *map(len, self.shards)])

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again; their codes stay.  Cost: O(1) a row."""
        self.alive[self._checked_ids(ids)] = False

    # -- keeping -----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write codes and vectors into a folder; the vectors as a `.npy` file, which `load` leaves on disk."""
        folder = Path(folder)
        with whole_file(folder / _VECTORS) as unfinished:
            self._write_vectors(unfinished)
            digest = file_sha256(unfinished)
        codes = _joined(self.blocks)
        arrays = {
            "signs": codes.signs.view(np.int64), "lengths": codes.lengths, "factors": codes.factors,
            "alive": self.alive, "rotation": self.coder.rotation, "mean": self.coder.mean,
        }  # fmt: skip
        save_model(folder, arrays, {"spec": self.recipe.spec, "unit": self.coder.unit, "vectors_sha256": digest})

    def _write_vectors(self, path: Path) -> None:
        header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (len(self.alive), self.dim)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for shard in self.shards:
                for _, block in blocks_of(shard):
                    file.write(np.ascontiguousarray(block, "<f4").data)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; the vectors stay on disk.  Cost: two reads of the vectors, to check them.

        Raises RejectedFileError for anything else, such as vectors that are not those of the codes.
        """
        folder = Path(folder)
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "index", OneBit)
        vectors = _loaded_vectors(folder / _VECTORS, about.get("vectors_sha256"))
        rows, dim = vectors.shape
        bits = 64 * -(-dim // 64)
        coder = Coder(
            expect(arrays, "rotation", "float32", bits, dim), expect(arrays, "mean", "float32", dim),
            expect_number(about, "unit"), recipe.metric == "cosine",
        )  # fmt: skip
        whole = CodeBlock(
            expect(arrays, "signs", "int64", bits // 64, rows).view(np.uint64),
            expect(arrays, "lengths", "float32", rows), expect(arrays, "factors", "float32", rows),
        )  # fmt: skip
        insist(whole.lengths.min() >= 0 and whole.factors.min() > 0, "lengths and factors must not be below 0")
        cuts = [slice(at, at + BLOCK) for at in range(0, len(whole), BLOCK)]
        blocks = [CodeBlock(np.ascontiguousarray(p.signs), p.lengths, p.factors) for p in map(whole.part, cuts)]
        return cls(recipe, coder, blocks, [vectors], expect(arrays, "alive", "bool", rows).copy())


def _loaded_vectors(path: Path, sha256: Any) -> Array:
    """Vectors that a model left on disk, of the hash that it names: float32 [N, D], mapped, N and D of 1 or more."""
    if not path.is_file():
        raise RejectedFileError(
            "damaged", f"a one-bit model must hold {path.name}, {path.parent} has none: save it again"
        )
    vectors = read_array(path, mapped=True)
    insist(file_sha256(path) == sha256, f"{path} must be of one saving with its codes")
    insist(
        vectors.dtype == np.float32 and vectors.ndim == 2 and vectors.size,
        f"{path} must be float32 [N, D] with N and D of 1 or more, got {vectors.dtype} {list(vectors.shape)}",
    )
    try:
        for _ in blocks_of(vectors):
            pass
    except InvalidValueError as error:
        raise RejectedFileError("damaged", f"{path} must be finite, got NaN or infinity: save it again") from error
    return vectors


class _Race:
    """One query: what the codes say, and the rows measured so far."""

    def __init__(self, index: FittedOneBit, query: Array, k: int, allowed: Array | None) -> None:
        self.index, self.query, self.k, self.allowed = index, query, k, allowed
        self.bits: QueryBits = query_bits(index.coder, query, index.recipe.digits)
        self.ids, self.distances = np.empty(0, np.int64), np.empty(0)
        self.measured = 0
        self._scale = index.coder.unit**2

    def answer(self) -> tuple[Array, Array]:
        """The k nearest of the rows measured."""
        return self.ids, self.distances

    @property
    def edge(self) -> float:
        """Squared distance in units within which a row must lie to be among the k nearest."""
        return float(self.distances[self.k - 1]) / self._scale if len(self.ids) >= self.k else math.inf

    def run(self) -> tuple[int, int]:
        """Both passes → rows left after each."""
        blocks = self.index.blocks
        rough = self.index.each(self._look, range(len(blocks)))
        least = np.minimum.reduce([each[2] for each in rough])
        wanted = max(_FIRST, 2 * self.k)
        level = float(np.partition(least, wanted)[wanted]) if wanted < len(least) else math.inf
        first = [at * BLOCK + np.flatnonzero(each[1] <= level) for at, each in enumerate(rough)]
        estimates = np.concatenate(
            [each[1][ids - at * BLOCK] for at, (each, ids) in enumerate(zip(rough, first, strict=True))]
        )
        ids = np.concatenate(first)
        ids = ids[np.isfinite(estimates)] if len(ids) <= 2 * wanted else _least(ids, estimates, wanted)
        self.measure(ids)
        fine = self.index.each(lambda at: self._look_closer(at, *rough[at][:2]), range(len(blocks)))
        return self._finish(ids, [each[0] for each in fine], [each[1] for each in fine])

    def _look(self, at: int) -> tuple[Array, Array, Array]:
        """One block: bits that differ, rough distances, and the least of each of `_COLUMNS` interleaved groups."""
        differ, found = self.index.blocks[at].distances_by_signs(self.bits)
        if self.allowed is not None:
            found[~self.allowed[at * BLOCK : at * BLOCK + len(found)]] = np.inf
        whole = len(found) // _COLUMNS * _COLUMNS
        least = np.full(_COLUMNS, np.inf, np.float32)
        if whole:
            least = found[:whole].reshape(-1, _COLUMNS).min(axis=0)
        rest = len(found) - whole
        least[:rest] = np.minimum(least[:rest], found[whole:])
        return differ, found, least

    def _look_closer(self, at: int, differ: Array, found: Array) -> tuple[Array, Array]:
        """One block: ids that are not ruled out by their rough distance, and their finer one."""
        block, bits, doubt = self.index.blocks[at], self.bits, self.index.recipe.doubt
        near = may_be_near(bits, block.lengths, found, self.edge, doubt, bits.noise_by_signs)
        if self.allowed is not None:
            near &= self.allowed[at * BLOCK : at * BLOCK + len(found)]
        rows = np.flatnonzero(near)
        return rows + at * BLOCK, block.distances_by_digits(bits, rows, differ[rows])

    def _finish(self, seen: Array, left: list[Array], estimates: list[Array]) -> tuple[int, int]:
        """Measure the best by the finer distance, and then all that these do not rule out."""
        ids, finer = np.concatenate(left), np.concatenate(estimates)
        best = _least(ids, finer, max(_FIRST, 2 * self.k))
        self.measure(np.setdiff1d(best, seen, assume_unique=True))
        seen = np.union1d(seen, best)
        near = []
        for block, (some, fine) in enumerate(zip(left, estimates, strict=True)):
            codes, rows = self.index.blocks[block], some - block * BLOCK
            noise = self.bits.noise_by_digits(codes.factors[rows])
            near.append(may_be_near(self.bits, codes.lengths[rows], fine, self.edge, self.index.recipe.doubt, noise))
        kept = np.concatenate(near)
        last, estimated = ids[kept], finer[kept]
        if len(last) > self.index.recipe.most:
            last = _least(last, estimated, self.index.recipe.most)
        self.measure(np.setdiff1d(last, seen, assume_unique=True))
        return len(ids), int(np.count_nonzero(kept))

    def measure(self, ids: Array) -> None:
        """Measure rows in full, by rising id, and keep the k nearest of all so far."""
        if not len(ids):
            return
        parts = np.array_split(np.sort(ids), self.index.recipe.threads)
        found = self.index.each(self._distances, parts)
        self.measured += len(ids)
        ids = np.concatenate([self.ids, *parts])
        distances = np.concatenate([self.distances, *found])
        order = np.lexsort((ids, distances))[: self.k]
        self.ids, self.distances = ids[order], distances[order]

    def _distances(self, ids: Array) -> Array:
        step = max(1, (1 << 16) // self.index.dim)
        parts = [
            measured(self.index.recipe.metric, self.query, self.index.rows(ids[at : at + step]))
            for at in range(0, len(ids), step)
        ]
        return np.concatenate(parts) if parts else np.empty(0)


def _least(ids: Array, values: Array, count: int) -> Array:
    """The ids of the `count` least values, ties to the lowest id; in ascending order."""
    if len(ids) <= count:
        return ids[np.isfinite(values)]
    edge = np.partition(values, count - 1)[count - 1]
    below, level = np.flatnonzero(values < edge), np.flatnonzero(values == edge)
    kept = np.concatenate([below, level[: count - len(below)]])
    return np.sort(ids[kept[np.isfinite(values[kept])]])
