"""Example sets on disk, read through memory maps: what classifiers train on when it does not fit into memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import file_sha256
from lightmeter.errors import InvalidValueError, RejectedFileError, UnsafeFileError
from lightmeter.heads.examples import Batch, Block, places_of
from lightmeter.library.example_layout import MOST_FRAMES, Manifest, Shard, Stored, read_manifest
from lightmeter.types import Array, Labels

MOST_MAPS = 200
"""Files that are mapped at once: each holds a descriptor, and 1,024 is what many systems allow."""
_FRAME_BYTES = 1 << 32


def open_set(folder: Path | str) -> ExampleSet:
    """Open a set that `write_set` made; the manifest and the sizes of the files are read, not their content.

    Raises RejectedFileError where it is none, is unfinished, or its files are not those of the manifest.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        for column in manifest.columns(shard):
            path = shard.path(folder, column)
            if column not in shard.files or not path.is_file():
                raise RejectedFileError("missing-file", f"{path} must be there: the set is not whole, make it again")
            if path.stat().st_size != shard.files[column].size_bytes:
                raise RejectedFileError(
                    "wrong-size", f"{path} must have {shard.files[column].size_bytes} bytes, got {path.stat().st_size}"
                )
    return ExampleSet(folder, manifest)


@dataclass(eq=False)
class ExampleSet:
    """A set on disk; the same rows give the same batch. Safe to share between threads, cheap to send to a process.

    Cost of `batch`: one gather a block; nothing but ids, labels, lengths and presence is kept in memory.
    """

    folder: Path
    manifest: Manifest
    _maps: OrderedDict[tuple[int, str], Array] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __reduce__(self) -> tuple[Callable[[Path], ExampleSet], tuple[Path]]:
        return open_set, (self.folder,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is known of an item."""
        return tuple(each.block for each in self.manifest.blocks)

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name a class."""
        return self.manifest.label_names

    @property
    def fingerprint(self) -> str:
        """Hash of blocks, values and labels, from the manifest.  Cost: nothing is read."""
        return self.manifest.fingerprint

    @cached_property
    def ids(self) -> Sequence[str]:
        """One name an item."""
        return Ids([self._column(at, "ids") for at in range(len(self.manifest.shards))], self._starts)

    @cached_property
    def labels(self) -> Labels | None:
        """Labels of all items; None where nobody knows them.  Memory: 8 bytes an item, 4 a label."""
        return self._sparse("labels", "label-ends") if self.manifest.labelled else None

    @cached_property
    def rated(self) -> Labels | None:
        """Which classes people looked at; None: all of them."""
        some = any(shard.rated is not None for shard in self.manifest.shards)
        return self._sparse("rated", "rated-ends") if some else None

    @cached_property
    def lengths(self) -> Array | None:
        """Frames of each item, int64 [N]; None without frame blocks."""
        if all(each.block.kind != "frames" for each in self.manifest.blocks):
            return None
        return np.concatenate([np.empty(0, np.int64), *(self._lengths(at) for at in range(len(self._shards)))])

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]; see `Examples`.  Raises InvalidValueError for numbers that no item has."""
        rows = np.asarray(rows, np.int64)
        if rows.ndim != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self)):
            raise InvalidValueError(f"rows must be numbers of 0 to {len(self) - 1}, got {rows}")
        places, asked = self._places(rows), places_of(self.blocks, names)
        present = self.present[np.ix_(rows, np.array(asked, np.int64))]
        wanted = [self.manifest.blocks[each] for each in asked]
        framed = any(each.block.kind == "frames" for each in wanted)
        lengths = self.lengths[rows] if framed and self.lengths is not None else None
        values = {}
        for at, stored in enumerate(wanted):
            if stored.block.kind == "frames":
                assert lengths is not None
                values[stored.block.name] = self._frames(stored, places, lengths, present[:, at])
            else:
                made = _plain(stored, self._gathered(stored, places, len(rows)))
                if not present[:, at].all():
                    made[~present[:, at]] = 0
                values[stored.block.name] = made
        labels = None if self.labels is None else self.labels.take(rows)
        return Batch(values, present, lengths, labels, None if self.rated is None else self.rated.take(rows))

    def frames(self, row: int, name: str) -> Array:
        """The frames of one item as they lie on disk, [T, dim]: a view, nothing is copied or dequantised."""
        at = int(np.searchsorted(self._starts, row, side="right")) - 1
        ends = self._frame_ends[at]
        row -= int(self._starts[at])
        view: Array = self._column(at, name)[ends[row] : ends[row + 1]]
        return view

    def stored(self, shard: int, name: str) -> Array:
        """A block of a shard as it lies on disk, items or all frames of all items x dim: a view, nothing is copied."""
        return self._column(shard, name)

    def verify(self, beat: Callable[[], None] | None = None) -> list[str]:
        """Names of the files whose content is not what was written; empty: all is well.

        beat: called after every MB · Cost: reads everything once
        """
        wrong = []
        for shard in self._shards:
            for column, file in shard.files.items():
                path = shard.path(self.folder, column)
                if not path.is_file() or file_sha256(path, beat) != file.sha256:
                    wrong.append(path.name)
        return wrong

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def _shards(self) -> tuple[Shard, ...]:
        return self.manifest.shards

    @cached_property
    def _starts(self) -> Array:
        """Number of the first item of each shard, and the end: int64 [S + 1]."""
        return np.cumsum([0, *(shard.items for shard in self._shards)], dtype=np.int64)

    @cached_property
    def present(self) -> Array:
        """Which block each item has: bool [N, M]."""
        empty = np.empty((0, len(self.manifest.blocks)), bool)
        return np.concatenate([empty, *(self._column(at, "present") for at in range(len(self._shards)))])

    @cached_property
    def _frame_ends(self) -> list[Array]:
        """By shard: where the frames of each item start, and the end: int64 [n + 1]."""
        return [np.concatenate([[0], np.cumsum(self._lengths(at))]) for at in range(len(self._shards))]

    def _lengths(self, at: int) -> Array:
        found = self._column(at, "lengths").astype(np.int64)
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) <= MOST_FRAMES:
            raise RejectedFileError("broken-column", f"lengths of {self.folder} must be 0 to {MOST_FRAMES} frames")
        if int(found.sum()) != self._shards[at].frames:
            raise RejectedFileError("broken-column", f"lengths of {self.folder} must add up to the frames of a shard")
        return found

    def _sparse(self, name: str, ends_name: str) -> Labels:
        """The labels of all shards as one."""
        offsets, classes = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
        start = 0
        for at, shard in enumerate(self._shards):
            if name not in self.manifest.columns(shard):  # of these items every class was looked at
                raise RejectedFileError("broken-manifest", f"{self.folder}: all shards must have {name}, or none")
            ends, found = self._column(at, ends_name), self._column(at, name)
            if len(ends) and int(ends[-1]) != len(found):
                raise RejectedFileError("broken-column", f"{ends_name} of {self.folder} must end at {len(found)}")
            offsets.append(ends + start)
            classes.append(found)
            start += len(found)
        try:
            return Labels(np.concatenate(offsets), np.concatenate(classes), len(self.label_names))
        except InvalidValueError as error:
            raise RejectedFileError("broken-column", f"{name} of {self.folder}: {error}") from error

    def _column(self, at: int, column: str) -> Array:
        """One file of a shard, mapped, held to what the manifest says."""
        key = (at, column)
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key]
        shard = self._shards[at]
        path = shard.path(self.folder, column)
        dtype, shape = self.manifest.columns(shard)[column]
        try:
            found = read_array(path, mapped=True)
        except UnsafeFileError as error:
            raise RejectedFileError("broken-column", str(error)) from error
        same = found.dtype.kind == "S" if dtype.kind == "S" else found.dtype == dtype
        if not same or found.shape != shape or not found.flags.c_contiguous:
            raise RejectedFileError(
                "broken-column", f"{path} must hold {dtype} {list(shape)}, got {found.dtype} {list(found.shape)}"
            )
        with self._lock:
            self._maps[key] = found = np.asarray(found)
            while len(self._maps) > MOST_MAPS:
                self._maps.popitem(last=False)
        return found

    def _places(self, rows: Array) -> list[tuple[int, Array, Array]]:
        """The rows of each shard: its number, which of the batch they are, and which of the shard."""
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        if len(rows) and (shards == shards[0]).all():
            return [(int(shards[0]), np.arange(len(rows)), rows - self._starts[shards[0]])]
        order = np.argsort(shards, kind="stable")
        numbers, firsts = np.unique(shards[order], return_index=True)
        parts = np.split(order, firsts[1:])
        return [(int(at), part, rows[part] - self._starts[at]) for at, part in zip(numbers, parts, strict=False)]

    def _gathered(self, stored: Stored, places: list[tuple[int, Array, Array]], count: int) -> Array:
        """Rows as they lie on disk, [B, dim]."""
        if len(places) == 1:
            at, _, rows = places[0]
            taken: Array = self._column(at, stored.block.name)[rows]
            return taken
        made = np.empty((count, stored.block.dim), stored.dtype)
        for at, which, rows in places:
            made[which] = self._column(at, stored.block.name)[rows]
        return made

    def _frames(self, stored: Stored, places: list[tuple[int, Array, Array]], lengths: Array, present: Array) -> Array:
        """float32 [B, longest T, dim], zeros after the last frame and where the block is absent."""
        longest = int(lengths.max(initial=0))
        if len(lengths) * longest * stored.block.dim * 4 > _FRAME_BYTES:
            raise InvalidValueError(
                f"a batch of {len(lengths)} x {longest} frames needs too much memory: ask for fewer"
            )
        made = np.zeros((len(lengths), longest, stored.block.dim), np.float32)
        for at, which, rows in places:
            ends, column = self._frame_ends[at], self._column(at, stored.block.name)
            for to, row in zip(which.tolist(), rows.tolist(), strict=True):
                if present[to]:
                    _dequantised(stored, column[ends[row] : ends[row + 1]], made[to, : lengths[to]])
        return made


def _plain(stored: Stored, taken: Array) -> Array:
    """Stored rows as the numbers they stand for: float32, tokens int32."""
    if stored.block.kind == "tokens":
        return taken
    if stored.storage == "uint8":
        made = np.empty(taken.shape, np.float32)
        _dequantised(stored, taken, made)
        return made
    return taken.astype(np.float32, copy=False)


def _dequantised(stored: Stored, taken: Array, out: Array) -> None:
    if stored.storage != "uint8":
        out[...] = taken
        return
    np.multiply(taken, np.float32(stored.scale), out=out)
    out += np.float32(stored.offset)


class Ids(Sequence[str]):
    """Names of items, decoded when asked for."""

    def __init__(self, parts: Sequence[Array], starts: Array) -> None:
        self._parts, self._starts = parts, starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        row = int(at) + (len(self) if at < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(at)
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return _text(self._parts[part][row - int(self._starts[part])])

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            for each in part.tolist():
                yield _text(each)


def _text(raw: Any) -> str:
    return bytes(raw).decode("utf-8", "replace")
