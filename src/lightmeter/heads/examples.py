"""What classifiers of videos learn from: items with blocks of features, each there or not, and any number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, get_args

import numpy as np

from lightmeter.errors import InvalidValueError, UnknownNameError, nearest
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Labels

BlockKind = Literal["features", "frames", "tokens"]


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that is known of a video: `visual`, `audio`, `title`, `keywords` …

    kind: `features` are float32 [dim] an item, `frames` float32 [T, dim] with T its own (all frame blocks of an item
    have the same T), `tokens` int32 [dim] word numbers from 1 on, padded with 0 at the end
    made_by: spec of what made it, "" where nobody knows
    """

    name: str
    kind: BlockKind
    dim: int
    made_by: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(BlockKind) or self.dim < 1:
            raise InvalidValueError(f"a block must be features, frames or tokens of 1 or more, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some items, ready for a network.

    values: by name of block: float32 [B, dim] · float32 [B, T, dim], zeros after the last frame · int32 [B, dim]
    present: bool [B, M], in the order of the blocks; what is absent is zeros in `values`
    lengths: int64 [B], frames of each item; None without frame blocks
    labels: None where nobody knows them
    rated: for segments that people rated class by class: which classes were looked at; None: all of them
    """

    values: Mapping[str, Array]
    present: Array
    lengths: Array | None = None
    labels: Labels | None = None
    rated: Labels | None = None

    def __len__(self) -> int:
        return len(self.present)


class Examples(Protocol):
    """A set of items that can be read in any order: same rows, same batch.

    `ids` are the names of the items, `label_names` those of the K classes; `fingerprint` is a hash of all content.
    """

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is known of an item."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name a class."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """One name an item."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of blocks, values and labels."""
        ...

    @property
    def labels(self) -> Labels | None:
        """Labels of all items; None where nobody knows them."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]. names: of the blocks to read, in that order, no other is; None: all."""
        ...


def is_rated(examples: Examples) -> bool:
    """Whether people rated items class by class (`Batch.rated`), so that of the other classes nothing is known.

    A set is rated as a whole or not at all.  Cost: no block is read.
    """
    return bool(len(examples)) and examples.batch(np.zeros(1, np.int64), ()).rated is not None


def narrowed(batch: Batch, blocks: Sequence[Block], own: Sequence[Block]) -> Batch:
    """A batch of some blocks, as a model that reads `own` of them wants it."""
    places = {block.name: at for at, block in enumerate(blocks)}
    columns = [places[block.name] for block in own]
    framed = any(block.kind == "frames" for block in own)
    values = {block.name: batch.values[block.name] for block in own}
    return replace(
        batch, values=values, present=batch.present[:, columns], lengths=batch.lengths if framed else None
    )  # fmt: skip


def places_of(blocks: Sequence[Block], names: Sequence[str] | None) -> list[int]:
    """Where the blocks of some names stand among others, in the order of the names; None: all of them, as they stand.

    Raises UnknownNameError.
    """
    if names is None:
        return list(range(len(blocks)))
    known = {block.name: at for at, block in enumerate(blocks)}
    for name in names:
        if name not in known:
            raise UnknownNameError(f"no block called {name!r} in this set{nearest(name, known)}")
    return [known[name] for name in names]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayExamples:
    """Examples that lie in memory.

    values: by block: float32 [N, dim] · a list of float32 [T, dim], one an item · int32 [N, dim]
    present: bool [N, M]; None: everything is there · labels: None where nobody knows them
    """

    blocks: tuple[Block, ...]
    values: Mapping[str, Array | Sequence[Array]]
    ids: Sequence[str]
    label_names: tuple[str, ...]
    labels: Labels | None = None
    present: Array | None = field(default=None)

    def __post_init__(self) -> None:
        if {block.name for block in self.blocks} != set(self.values):
            raise InvalidValueError(f"values must be of {[each.name for each in self.blocks]}, got {list(self.values)}")
        for block in self.blocks:
            got = self.values[block.name]
            first = got[0] if block.kind == "frames" and len(got) else None
            dim = first.shape[-1] if first is not None else np.shape(got)[-1]
            if len(got) != len(self.ids) or (len(got) and dim != block.dim):
                raise InvalidValueError(
                    f"{block.name} must be {len(self.ids)} rows of {block.dim}, got {len(got)} of {dim}"
                )
        if self.labels is not None and (len(self.labels), self.labels.count) != (len(self.ids), len(self.label_names)):
            raise InvalidValueError(
                f"labels must be of {len(self.ids)} items and {len(self.label_names)} classes, got {len(self.labels)} "
                f"and {self.labels.count}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """Hash of all content.  Cost: reads it once."""
        parts: list[object] = [[(each.name, each.kind, each.dim) for each in self.blocks], list(self.ids)]
        for block in self.blocks:
            parts += [np.ascontiguousarray(each) for each in self.values[block.name]]
        parts += [] if self.present is None else [np.ascontiguousarray(self.present)]
        parts += [] if self.labels is None else [self.labels.offsets, self.labels.classes]
        return hash_of(parts)

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]; see `Examples`."""
        rows, places = np.asarray(rows, np.int64), places_of(self.blocks, names)
        present = np.ones((len(rows), len(places)), bool)
        if self.present is not None:
            present = self.present[np.ix_(rows, np.array(places, np.int64))]
        values, lengths = {}, None
        for at, block in enumerate(self.blocks[place] for place in places):
            if block.kind == "frames":
                taken = [np.asarray(self.values[block.name][row], np.float32) for row in rows.tolist()]
                lengths = np.array([len(each) for each in taken], np.int64)
                made = padded(taken, block.dim)
            else:
                made = np.asarray(self.values[block.name])[rows]
            made[~present[:, at]] = 0
            values[block.name] = made
        return Batch(values, present, lengths, None if self.labels is None else self.labels.take(rows))


def padded(frames: Sequence[Array], dim: int) -> Array:
    """Frames of several items, float32 [T, dim] each, as one float32 [B, longest T, dim] with zeros at the ends."""
    made = np.zeros((len(frames), max((len(each) for each in frames), default=0), dim), np.float32)
    for at, each in enumerate(frames):
        made[at, : len(each)] = each
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Some blocks, or some items, of a set: a view, nothing is copied.

    rows: int64 [N] of the whole set, None: all of them
    """

    whole: Examples
    blocks: tuple[Block, ...]
    rows: Array | None = None

    @classmethod
    def of(cls, whole: Examples, *, blocks: Sequence[str] | None = None, rows: Array | None = None) -> Chosen:
        """blocks: names; None: all of them.  Raises UnknownNameError."""
        places = places_of(whole.blocks, None if blocks is None else list(dict.fromkeys(blocks)))
        chosen = tuple(whole.blocks[place] for place in places)
        return cls(whole, chosen, None if rows is None else np.asarray(rows, np.int64))

    def __len__(self) -> int:
        return len(self.whole) if self.rows is None else len(self.rows)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the whole set."""
        return self.whole.label_names

    @property
    def ids(self) -> Sequence[str]:
        """Of the chosen items."""
        return self.whole.ids if self.rows is None else [self.whole.ids[row] for row in self.rows.tolist()]

    @property
    def fingerprint(self) -> str:
        """Hash of the whole set's and of what was chosen."""
        return hash_of([self.whole.fingerprint, [each.name for each in self.blocks], self.rows])

    @property
    def labels(self) -> Labels | None:
        """Of the chosen items."""
        labels = self.whole.labels
        return labels if labels is None or self.rows is None else labels.take(self.rows)

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers among the chosen: int [B]; blocks that were not chosen are not read."""
        rows = np.asarray(rows, np.int64)
        chosen = [self.blocks[place].name for place in places_of(self.blocks, names)]
        return self.whole.batch(rows if self.rows is None else self.rows[rows], chosen)


@dataclass(frozen=True, slots=True, eq=False)
class Rebatched:
    """A set whose batches are made in another way; all else is that of the whole set, its fingerprint too.

    read: numbers of items int [B] → their batch, of the blocks of the whole set
    """

    whole: Examples
    read: Callable[[Array], Batch]

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Of the whole set."""
        return self.whole.blocks

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the whole set."""
        return self.whole.label_names

    @property
    def ids(self) -> Sequence[str]:
        """Of the whole set."""
        return self.whole.ids

    @property
    def fingerprint(self) -> str:
        """Of the whole set."""
        return self.whole.fingerprint

    @property
    def labels(self) -> Labels | None:
        """Of the whole set."""
        return self.whole.labels

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]; see `Examples`, but that `read` reads what it does."""
        batch = self.read(rows)
        if names is None:
            return batch
        return narrowed(batch, self.blocks, [self.blocks[place] for place in places_of(self.blocks, names)])
