"""Codes for large series, made when indexing ends, and the choice between them and a scan, measured there.

The choice is one of `search.auto`: a Budget, trials, the cheapest that agrees, remembered until a fifth has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lightmeter.errors import LightmeterError
from lightmeter.library.codes import (
    codes_bytes,
    new_folder,
    read_coder,
    read_codes,
    write_coder,
    write_codes,
)
from lightmeter.library.features import Features, Series
from lightmeter.library.neighbours import CANDIDATES, ROUNDING, SCAN, Coded, Kept, OpenCodes, kept_choice, trial_of
from lightmeter.library.store import CODES, Library
from lightmeter.meter.cost import Cost
from lightmeter.meter.trials import Trial, choose
from lightmeter.search.auto import Budget, Choice, roofline_s
from lightmeter.search.bits import CodeBlock, Coder, blocks_of, coder_of
from lightmeter.search.exact import scan, scan_mean
from lightmeter.types import Array

FROM_ROWS = 20_000
"""Rows from which codes are tried: below, opening them costs what they save (docs/results/library-search.json)."""
NEAREST = 10
"""Owners that are asked for when the choice is measured."""
_ASKING = 20
_COLD = Budget(queries=1, candidates=tuple(CANDIDATES))
"""Each `lightmeter search` opens the codes for one query."""
_SHARE = 64
"""A shard with fewer rows than one in so many has no codes yet: the next runs merge it into a larger one."""
_COARSE = 2
"""A coder is made anew when the series has so many times more or fewer rows."""
_MEAN_ROWS = 20_000


def keep_codes(
    library: Library, series: Series, *, asked: Callable[[], Array | None] = lambda: None,
    from_rows: int | None = None, seed: int = 0, tell: Callable[[str], None] | None = None,
) -> Choice | None:  # fmt: skip
    """Bring the codes of a series up to its shards, and measure whether they are worth it, unless that is known.

    asked: makes float32 [Q, D], queries to measure with beside rows of the series · tell: hears of what takes long
    None below `from_rows` rows (`FROM_ROWS` unless given), where there is nothing to choose. A choice holds until the
    series has grown or shrunk by 20 %; new shards alone are coded. Killed at any moment it leaves what was kept before.
    Cost: about 50 CPU-µs a new row of 1,280 numbers; one read of the codes; a choice takes about 25 scans and 40
    searches by codes, twice that where words ask too.
    """
    features, kept = library.features(series), kept_choice(library, series)
    if len(features) < (FROM_ROWS if from_rows is None else from_rows):
        if library.calibration(series, CODES):
            with library.transaction():
                sql = "DELETE FROM calibrations WHERE series = ? AND name = ?"
                library.catalogue.execute(sql, (series.id, CODES))
        return None
    held = kept is not None and kept.choice.fits(len(features), series.dim, batch=_COLD.batch, at_least=_COLD.at_least)
    if kept is not None and held and kept.folder is None:
        return kept.choice
    maker = _Maker(library, series, features, tell)
    try:
        folder, coder_rows = maker.folder(kept, seed)
        maker.code_missing(folder)
    except OSError as error:  # a full disk: everything else is kept, and searches scan
        if tell:
            tell(f"no codes of {series.spec} were kept, searches scan: {error}")
        return None
    library.opened_codes.pop(series.id, None)
    if kept is not None and held and kept.folder == folder:
        return kept.choice
    choice = (
        kept.choice if kept is not None and held else _measured(library, features, folder, maker.spent_s, asked(), seed)
    )
    named = None if choice.spec == SCAN else folder
    library.set_calibration(series, CODES, {"choice": choice.as_json(), "folder": named, "coder_rows": coder_rows})
    return choice


def kept_codes(library: Library) -> dict[str, str]:
    """What is kept for searches, spec of the series → one line."""
    lines = {}
    for series in library.all_series():
        kept = kept_choice(library, series)
        if kept is None:
            continue
        trial = trial_of(kept.choice, kept.choice.spec)
        said = f"scan, {kept.scan_s * 1e3:.1f} CPU-ms a search"
        if kept.folder is not None:
            size = codes_bytes(library.folder, kept.folder) / 1e6
            said = (
                f"{trial.candidate} codes, {size:.1f} MB: {kept.codes_s(opened=False) * 1e3:.1f} CPU-ms a search "
                f"for a scan's {kept.scan_s * 1e3:.1f}, agreement {trial.quality:.3f}"
            )
        lines[series.spec] = f"{said} (measured on {kept.choice.rows:,} rows)"
    return lines


class _Maker:
    """Makes what is missing of the codes of a series."""

    def __init__(
        self, library: Library, series: Series, features: Features, tell: Callable[[str], None] | None
    ) -> None:  # fmt: skip
        self.library, self.series, self.features, self.tell = library, series, features, tell
        self.coder: Coder | None = None
        self.start_s = time.process_time()

    @property
    def spent_s(self) -> float:
        """CPU seconds so far."""
        return time.process_time() - self.start_s

    def folder(self, kept: Kept | None, seed: int) -> tuple[str, int]:
        """The folder in use, while its coder is sound and of much the same rows; else a new one with a new coder."""
        rows = len(self.features)
        if kept is not None and kept.folder is not None and 1 / _COARSE <= rows / max(1, kept.coder_rows) <= _COARSE:
            try:
                self.coder = read_coder(self.library.folder, kept.folder, dim=self.series.dim)
            except LightmeterError:
                pass  # damaged: all is made again below
            else:
                return kept.folder, kept.coder_rows
        some = np.random.default_rng(seed).permutation(rows)[:_MEAN_ROWS]
        self.coder = coder_of(self.features.take(np.sort(some)), cosine=True, seed=seed)
        folder = new_folder(self.series.id)
        write_coder(self.library.folder, folder, self.coder)
        return folder, rows

    def code_missing(self, folder: str) -> None:
        """Codes of the shards that have none, or damaged ones; of all their rows, searches mask the dead ones."""
        assert self.coder is not None
        least = len(self.features) // _SHARE
        missing: list[tuple[str, Array]] = []
        for name, block, _ in self.features.shards():
            try:
                found = read_codes(
                    self.library.folder, folder, name, rows=len(block.owners), bits=self.coder.bits
                )  # fmt: skip
            except LightmeterError:
                found = None
            if found is None and len(block.owners) >= max(1, least):
                missing.append((name, block.vectors))
        todo = total = sum(len(vectors) for _, vectors in missing)
        for name, vectors in missing:
            parts = []
            for _, some in blocks_of(vectors):
                parts.append(self.coder.encode(some))
                todo -= len(some)
                self._told(total, todo)
            write_codes(self.library.folder, folder, name, _joined(parts))

    def _told(self, total: int, todo: int) -> None:
        """Say so, once, when more than a second is spent."""
        if self.tell and self.spent_s > 1:
            left_s = self.spent_s * todo / max(1, total - todo)
            self.tell(f"codes of {total:,} rows of {self.series.spec} for faster searches: about {left_s:.0f} s to go")
            self.tell = None


def _joined(parts: Sequence[CodeBlock]) -> CodeBlock:
    columns = zip(*((part.signs.T, part.lengths, part.factors) for part in parts), strict=True)
    signs, lengths, factors = map(np.concatenate, columns)
    return CodeBlock(np.ascontiguousarray(signs.T), lengths, factors)


# -- choosing ---------------------------------------------------------------------------------------------------------


def _measured(
    library: Library, features: Features, folder: str, build_s: float, asked: Array | None, seed: int
) -> Choice:  # fmt: skip
    """Scan and codes, asked for the ten best owners by rows of the series (each for others) and by `asked`."""
    contest = _Contest.of(features, asked, seed)
    start_s = time.process_time()
    codes = OpenCodes(library, features.series, folder)
    Coded(codes, features, next(iter(CANDIDATES.values())))  # reads them
    open_s, size = time.process_time() - start_s, codes_bytes(library.folder, folder)
    trials = [contest.trial(SCAN, contest.by_scan, 0.0, 0)]
    for spec, recipe in CANDIDATES.items():
        coded = Coded(codes, features, recipe)
        trials.append(contest.trial(spec, partial(contest.by_codes, coded), open_s, size))
    chosen = choose(trials, at_least=_COLD.at_least)
    largest = max((block.vectors for block in features.blocks()), key=len)
    return Choice(
        chosen.candidate, "cosine", tuple(trials), {}, roofline_s(largest) * len(features) / len(largest),
        len(features), features.dim, _COLD.batch, _COLD.at_least, _COLD.queries, "agreement",
        {trial.candidate: build_s if trial.candidate != SCAN else 0.0 for trial in trials},
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Contest:
    """Queries, whose row each is (−1: nobody's), and the score that an owner needs to be among the ten best others."""

    features: Features
    queries: Array
    own: Array
    edges: Array
    k: int

    @classmethod
    def of(cls, features: Features, asked: Array | None, seed: int) -> _Contest:
        rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:_ASKING])
        queries, own = features.take(rows), features.owners[rows]
        if asked is not None:
            queries = np.concatenate([queries, asked[:_ASKING].astype(np.float32)])
            own = np.concatenate([own, np.full(len(queries) - len(own), -1)])
        k, edges = NEAREST, []
        for at in range(0, len(queries), 4):  # all scores of all queries would not fit
            scores = scan(features.blocks(), queries[at : at + 4])
            k = min(k, max(1, len(scores.owners) - 1))
            for best, mine in zip(scores.best, own[at : at + 4], strict=True):
                best[scores.owners == mine] = -np.inf
                edges.append(float(np.partition(best, len(best) - k)[len(best) - k]))
        return cls(features, queries, own, np.array(edges), k)

    def by_scan(self, query: Array) -> tuple[Array, Array]:
        """Owners and scores."""
        owners, values, _ = scan_mean(self.features.blocks(), query)
        return owners, values

    def by_codes(self, coded: Coded, query: Array) -> tuple[Array, Array]:
        """The same by codes, a scan where these are not enough: as a search does it."""
        for found in coded.rounds(query, self.k):
            if np.count_nonzero(found.values > found.sure) > self.k:  # one more: the query's own
                return found.owners, found.values
        return self.by_scan(query)

    def trial(self, spec: str, ask: Callable[[Array], tuple[Array, Array]], open_s: float, size_bytes: int) -> Trial:
        """Agreement with the scan, and the median CPU seconds of an answer."""
        took, right = [], 0
        for query, own, edge in zip(self.queries, self.own, self.edges, strict=True):
            start_s = time.process_time()
            owners, values = ask(query[None])
            took.append(time.process_time() - start_s)
            right += min(self.k, int(np.count_nonzero((values >= edge - ROUNDING) & (owners != own))))
        query_s = max(float(np.median(took)), 1e-9)
        cost = Cost(query_s + open_s, query_s + open_s, size_bytes, size_bytes=size_bytes)
        others = {"query_s": query_s, "open_s": open_s}
        return Trial(spec, right / (self.k * len(took)), cost, quality_name="agreement", others=others)
