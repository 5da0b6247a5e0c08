"""Nearest rows of a large series: by a scan of all, or by one-bit codes where these were measured to be cheaper.

Codes are a help and never the truth: rows without codes are scanned, rows that were removed or filtered out are masked,
and what the codes leave is measured on the vectors themselves. `search.one_bit` says what the codes may miss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.errors import LightmeterError
from lightmeter.library.codes import read_coder, read_codes
from lightmeter.library.features import Features, Series
from lightmeter.library.store import CODES, Library
from lightmeter.meter.trials import Trial
from lightmeter.search.auto import Choice
from lightmeter.search.bits import BLOCK, CodeBlock
from lightmeter.search.exact import Block, scan_mean
from lightmeter.search.one_bit import FittedOneBit, OneBit
from lightmeter.types import Array

SCAN = "brute"
CANDIDATES = {
    "one-bit": OneBit(metric="cosine"),
    "one-bit/doubt=3.5": OneBit(metric="cosine", doubt=3.5),
}
"""Ways to ask the same codes, by their spelling in `search.auto`; to build one would look up plug-ins: 10 ms."""
ROUNDING = 4e-6
"""Cosines in float32 that differ by less may stand in either order."""
_MOST = 4096
"""Rows asked of the codes at most; who needs more is scanned."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was chosen for a series, and its folder of codes, None where a scan was cheaper.

    coder_rows: rows of the series when the coder was made
    """

    choice: Choice
    folder: str | None
    coder_rows: int

    @property
    def scan_s(self) -> float:
        """CPU seconds of a scan, when it was measured."""
        return trial_of(self.choice, SCAN).others["query_s"]

    def codes_s(self, *, opened: bool) -> float:
        """CPU seconds of an answer by codes, that of opening them included unless they are open."""
        trial = trial_of(self.choice, self.choice.spec)
        return trial.others["query_s"] + (0.0 if opened else trial.others["open_s"])

    def worth(self, rows: int, *, opened: bool) -> bool:
        """Whether codes are cheaper than a scan of so many rows."""
        return self.folder is not None and self.scan_s * rows / self.choice.rows > self.codes_s(opened=opened)


def trial_of(choice: Choice, spec: str) -> Trial:
    """One of the candidates.  Raises StopIteration where it was not among them."""
    return next(trial for trial in choice.trials if trial.candidate == spec)


def kept_choice(library: Library, series: Series) -> Kept | None:
    """What was chosen when indexing ended last; None where nothing was measured, or what is kept does not parse."""
    found = library.calibration(series, CODES)
    try:
        if not found:
            return None
        said = found[0]
        kept = Kept(Choice.from_json(said["choice"]), said["folder"], int(said["coder_rows"]))
        known = kept.choice.spec in (SCAN, *CANDIDATES) and min(kept.scan_s, kept.codes_s(opened=False)) >= 0
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError):
        return None
    return kept if known and kept.choice.rows > 0 else None


# -- asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """How codes answered.

    index: its spec · cpu_s: what it took · scan_cpu_s: what a scan of these rows would take, and agreement: the share
    of a scan's ten best owners that it finds, as both were measured when indexing ended · scanned: rows without codes
    """

    index: str
    cpu_s: float
    scan_cpu_s: float
    agreement: float
    scanned: int

    def said(self) -> str:
        """For people."""
        rest = f", {self.scanned:,} rows without codes scanned" if self.scanned else ""
        return (
            f"by {self.index} codes in {self.cpu_s * 1e3:.1f} CPU-ms for a scan's {self.scan_cpu_s * 1e3:.1f}, "
            f"agreement {self.agreement:.3f}{rest}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """The best owners of a series by their best row: owners int64 [M] rising, values float32 [M], times_s float64 [M].

    sure: all owners with a value above are in here; −inf where all are
    """

    owners: Array
    values: Array
    times_s: Array
    sure: float


def ask(
    library: Library, features: Features, query: Array, k: int, enough: Callable[[Partial], bool]
) -> tuple[Partial | None, Answered | None, list[str]]:  # fmt: skip
    """Answer one query by codes, where they are cheaper: more and more rows, until the answer is enough.

    query: float32 [1, D] → what was found, or None where all must be scanned; and sentences on codes that do not read
    Nothing is written.  Cost: see `search.one_bit`; the codes are read once while the library is open.
    """
    kept = kept_choice(library, features.series)
    if kept is None or kept.choice.spec not in CANDIDATES or not query.any():
        return None, None, []
    opened = library.opened_codes.get(features.series.id)
    if not kept.worth(len(features), opened=opened is not None and opened.folder == kept.folder):
        return None, None, []
    start_s = time.process_time()
    try:
        coded = Coded(_opened(library, features.series, kept), features, CANDIDATES[kept.choice.spec])
    except (LightmeterError, OSError) as error:
        return None, None, [f"its codes cannot be read ({error}), all was scanned: `lightmeter index` makes them again"]
    if 2 * coded.scanned > len(features):
        lost = "most of its rows have no codes (yet, or since `gc`), all were scanned: `lightmeter index` makes them"
        return None, None, coded.notes or [lost]
    for found in coded.rounds(query, k):
        if enough(found):
            trial, spent_s = trial_of(kept.choice, kept.choice.spec), time.process_time() - start_s
            scan_s = kept.scan_s * len(features) / kept.choice.rows
            return found, Answered(kept.choice.spec, spent_s, scan_s, trial.quality, coded.scanned), coded.notes
    return None, None, coded.notes


class OpenCodes:
    """Codes of a series as they were read; those of a shard are read when they are first asked for."""

    def __init__(self, library: Library, series: Series, folder: str | None) -> None:
        self.library, self.folder = library.folder, folder
        self.coder = read_coder(library.folder, folder, dim=series.dim)
        self.damaged: dict[str, str] = {}
        self._read: dict[str, CodeBlock | None] = {}

    def of(self, shard: str, rows: int) -> CodeBlock | None:
        """Codes of a shard, None where it has none or they cannot be read."""
        if shard not in self._read:
            try:
                self._read[shard] = read_codes(self.library, self.folder, shard, rows=rows, bits=self.coder.bits)
            except (LightmeterError, OSError) as error:
                self.damaged[shard], self._read[shard] = str(error), None
        return self._read[shard]


def _opened(library: Library, series: Series, kept: Kept) -> OpenCodes:
    found: OpenCodes | None = library.opened_codes.get(series.id)
    if found is None or found.folder != kept.folder:
        found = library.opened_codes[series.id] = OpenCodes(library, series, kept.folder)
    return found


class Coded:
    """Rows of a series as a filter leaves them: most by their codes, the rest by a scan.

    A shard takes whole blocks of `BLOCK` ids, of which its rows are the first: so shards come and go without moving the
    codes of others. Vectors stay where they are mapped.
    """

    def __init__(self, codes: OpenCodes, features: Features, recipe: OneBit) -> None:
        self._rest: list[Block] = []
        self.scanned = 0
        shards: list[Block] = []
        blocks: list[CodeBlock] = []
        masks: list[Array] = []
        for name, block, rows in features.shards():
            code = codes.of(name, len(block.owners))
            if code is None:
                live = block if rows is None else Block(*(column[rows] for column in block))
                self._rest.append(live)
                self.scanned += len(live.owners)
                continue
            shards.append(block)
            blocks += [code.part(slice(at, at + BLOCK)) for at in range(0, len(code), BLOCK)]
            masks.append(np.zeros(BLOCK * -(-len(code) // BLOCK), bool))
            masks[-1][slice(0, len(code)) if rows is None else rows] = True
        self._rows = _Rows(shards, np.cumsum([0, *map(len, masks)]))
        self._live = len(features) - self.scanned
        alive = np.concatenate(masks) if masks else np.zeros(0, bool)
        vectors: Any = self._rows  # what has `take` is enough
        self._index = FittedOneBit(recipe, codes.coder, blocks, [vectors], alive)
        self.notes = _notes(codes.damaged)

    def rounds(self, query: Array, k: int) -> Iterator[Partial]:
        """The best owners, each time by four times as many rows, until all rows or `_MOST` have been asked for."""
        rest = scan_mean(self._rest, query)
        wanted = 2 * k + 12
        while self._live:
            found = self._index.search(query, wanted)
            there = found.ids[0] >= 0
            ids, distances = found.ids[0][there], found.distances[0][there]
            near = scan_mean([self._rows.pick(np.sort(ids))], query)
            owners, values, times_s = (np.concatenate(pair) for pair in zip(near, rest, strict=True))
            order = np.argsort(owners, kind="stable")
            sure = 1 - float(distances[-1]) / 2 + ROUNDING if len(ids) < self._live else -np.inf
            yield Partial(owners[order], values[order], times_s[order], sure)
            if len(ids) == self._live or wanted >= _MOST:
                return
            wanted = min(4 * wanted, _MOST)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of the shards by the ids of `Coded`.  firsts: the first id of each shard, and where the ids end."""

    shards: Sequence[Block]
    firsts: Array

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def pick(self, ids: Array) -> Block:
        """Rows by rising ids: only these are read."""
        cuts = np.searchsorted(ids, self.firsts)
        parts = [
            Block(*(column.take(ids[low:high] - first, axis=0) for column in block))
            for block, first, low, high in zip(self.shards, self.firsts, cuts, cuts[1:], strict=False)
            if high > low
        ]
        return Block(*map(np.concatenate, zip(*parts, strict=True)))

    def take(self, ids: Array, axis: int = 0) -> Array:
        """Their vectors, float32 [n, D]."""
        assert axis == 0, axis
        return self.pick(ids).vectors


def _notes(damaged: dict[str, str]) -> list[str]:
    if not damaged:
        return []
    shards = f"{len(damaged)} shard{'s' * (len(damaged) > 1)}"
    why = next(iter(damaged.values()))
    return [f"the codes of {shards} cannot be read ({why}), they were scanned: `lightmeter index` makes them again"]
