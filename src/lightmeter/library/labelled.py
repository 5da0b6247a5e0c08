"""Where labelled examples come from: a set on disk, a library with its tags, or either with a table of labels."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import ABOUT
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import ArrayExamples, Batch, Block, Chosen, Examples
from lightmeter.library.calibrating import unusable, usable
from lightmeter.library.example_layout import MANIFEST
from lightmeter.library.example_set import ExampleSet, open_set
from lightmeter.library.features import Features, Series
from lightmeter.library.recognising import is_library
from lightmeter.library.store import Library, open_library
from lightmeter.library.yt8m.extract_labels import ABOUT_FOLDER, place_labels
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Labels


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Examples, whether their ids are paths of files, and sentences on what did not fit.

    lines_left_out: of the table, which are of nothing that is here · items_left_out: which have no label
    """

    examples: Examples
    paths: bool
    notes: tuple[str, ...] = ()
    lines_left_out: int = 0
    items_left_out: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """For programs."""
        return {"lines_left_out": self.lines_left_out, "items_left_out": self.items_left_out}


def open_examples(data: Path, *, labels: Path | None = None, labelled: bool = True) -> Opened:
    """What lies at a path, as examples: a set (`lightmeter yt8m …`), or a library with its features as blocks.

    labels: CSV of `path,label;label` lines (see `place_labels`); None: those of the set, the tags that were set by hand
    in the library
    labelled: refuse where nothing has a label; of a library, leave out what has none
    Raises InvalidValueError that says what to do with what is neither: TFRecords are converted first.
    """
    if (data / MANIFEST).is_file():
        whole = open_set(data)
        if not len(whole):
            raise InvalidValueError(f"DATA must hold items, got {data}, a set without any: make it again")
        opened = Opened(whole, False) if labels is None else _relabelled(whole, labels)
    elif is_library(data):
        opened = _of_library(data, labels, labelled=labelled)
    else:
        raise InvalidValueError(_no_data(data))
    return _labelled(opened, data, labels) if labelled else opened


def _no_data(data: Path) -> str:
    records = _records(data)
    if records is not None:
        among = "" if records == data else f" (and so each folder of them in {data})"
        return (
            f"DATA must be a set or a library, got TFRecords: make a set of them with `lightmeter yt8m convert "
            f"{shlex.quote(str(records))} OUT`{among}, and give OUT"
        )
    if (data / "train" / MANIFEST).is_file():
        return f"DATA must be a set or a library, got a folder of sets: take {data / 'train'} or another of them"
    if (data / ABOUT).is_file():
        return f"DATA must be a set or a library, got {data}, a model: DATA comes last, after models"
    return (
        f"DATA must be a set (made by `lightmeter yt8m`) or a library, got {data}: index a folder of files with "
        f"`lightmeter index FOLDER --library LIBRARY` first"
    )


def _records(data: Path) -> Path | None:
    """What to convert where TFRecords were given, plain or gzipped: the file, or the folder that they lie in; or None.

    A file is one by its name or its first record; in a folder, and in those below it, names decide.
    """
    from lightmeter.library.yt8m.convert import SUFFIXES
    from lightmeter.media.tfrecord import read_records

    named = tuple(each for each in SUFFIXES if each != ".gz")
    if data.is_dir():
        found = (each for each in sorted(data.rglob("*")) if each.name.endswith(named) and each.is_file())
        first = next(found, None)
        return None if first is None else data if first.parent == data else first.parent
    if data.name.endswith(named) or next(read_records(data, lambda problem: None), None) is not None:
        return data
    return None


def _labelled(opened: Opened, data: Path, table: Path | None) -> Opened:
    """As it is, where something has a label."""
    labels = opened.examples.labels
    if labels is None or not len(labels.classes):
        way_out = (
            f"write lines of path,label;label into {table}" if table is not None
            else "tag files with `lightmeter tag --set NAME FILE…`, or give --labels FILE.csv" if opened.paths
            else "give --labels FILE.csv"
        )  # fmt: skip
        raise InvalidValueError(f"DATA must be labelled, got no label in {data}: {way_out}")
    return opened


# -- tables of labels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Relabelled:
    """Examples with other labels: what a table says, in place of what they came with."""

    whole: Examples
    label_names: tuple[str, ...]
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Of the whole."""
        return self.whole.blocks

    @property
    def ids(self) -> Sequence[str]:
        """Of the whole."""
        return self.whole.ids

    @property
    def fingerprint(self) -> str:
        """Of the whole and the labels."""
        own = [] if self.labels is None else [self.labels.offsets, self.labels.classes]
        return hash_of([self.whole.fingerprint, list(self.label_names), *own])

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]; see `Examples`."""
        batch = self.whole.batch(rows, names)
        labels = None if self.labels is None else self.labels.take(np.asarray(rows, np.int64))
        return Batch(batch.values, batch.present, batch.lengths, labels)


def _relabelled(whole: ExampleSet, table: Path) -> Opened:
    """A set with the labels of a table, those of its items that the table names."""
    folder = whole.manifest.about.get(ABOUT_FOLDER)
    ids = {name: at for at, name in enumerate(whole.ids)}
    placed = place_labels(table, ids=ids, folders=(folder,) if isinstance(folder, str) else ())
    rows = np.array(sorted(placed.labels), np.int64)
    names, labels = _numbered([placed.labels[each] for each in rows.tolist()])
    bare = len(whole) - len(rows)
    relabelled = Relabelled(Chosen.of(whole, rows=rows), names, labels)
    return Opened(relabelled, False, (*placed.notes, *_bare(bare, len(whole))), len(placed.strangers), bare)


def _bare(count: int, items: int) -> tuple[str, ...]:
    return (f"items without a label, left out: {count} of {items}",) if count else ()


def _numbered(lists: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], Labels]:
    names = tuple(sorted({name for each in lists for name in each}))
    number = {name: at for at, name in enumerate(names)}
    return names, Labels.of([[number[name] for name in each] for each in lists], len(names))


# -- libraries --------------------------------------------------------------------------------------------------------


def _of_library(folder: Path, table: Path | None, *, labelled: bool) -> Opened:
    """One example an item: each encoder's rows averaged to a block, labels of all its paths together.

    Memory: 4 bytes a number of every block.
    """
    with open_library(folder) as library:
        places = _paths(library)
        told: dict[int, set[str]] = _tags(library)
        notes: tuple[str, ...] = ()
        strangers = 0
        if table is not None:
            owners = {path: item for item, paths in places.items() for _, path in paths}
            placed = place_labels(table, paths=owners, folders=_folders(library))
            told, notes = {item: set(names) for item, names in placed.labels.items()}, placed.notes
            strangers = len(placed.strangers)
        items = sorted(item for item in places if told.get(item) or not labelled)
        series = [each for each, _ in usable(library) if len(library.features(each))]
        names = _block_names(series)
        left = unusable(library)
        if left:
            notes = (*notes, f"left out, their encoders are not here: {', '.join(left)}")
        if not series:
            raise InvalidValueError(f"the library must hold features, got none in {folder}: index some files first")
        bare = len(places) - len(items)
        notes = (*notes, *_bare(bare, len(places)))
        pooled = [_pooled(library, each, items, places) for each in series]
    blocks = tuple(Block(name, "features", each.dim, each.spec) for name, each in zip(names, series, strict=True))
    label_names, labels = _numbered([sorted(told.get(item, ())) for item in items])
    examples = ArrayExamples(
        blocks, dict(zip(names, (rows for rows, _ in pooled), strict=True)), [places[item][0][1] for item in items],
        label_names, labels if label_names else None, np.stack([there for _, there in pooled], axis=1),
    )  # fmt: skip
    return Opened(examples, True, notes, strangers, bare)


def _paths(library: Library) -> dict[int, list[tuple[int, str]]]:
    """Item → keys and names of its paths that are there, in the order they were found."""
    sql = (
        "SELECT p.item, p.key, p.path FROM paths p JOIN items i ON i.key = p.item "
        "WHERE p.missing = 0 AND i.removed = 0 ORDER BY p.key"
    )
    found: dict[int, list[tuple[int, str]]] = {}
    for item, key, path in library.catalogue.rows(sql):
        found.setdefault(int(item), []).append((int(key), os.fsdecode(path)))
    return found


def _tags(library: Library) -> dict[int, set[str]]:
    """Item → the tags that a person set on its paths."""
    sql = (
        "SELECT p.item, t.tag FROM tags t JOIN paths p ON p.key = t.path "
        "WHERE t.score IS NULL AND p.missing = 0"
    )  # fmt: skip
    found: dict[int, set[str]] = {}
    for item, tag in library.catalogue.rows(sql):
        found.setdefault(int(item), set()).add(tag)
    return found


def _folders(library: Library) -> tuple[str, ...]:
    """The folders that were indexed, the newest first."""
    told = [run["arguments"] for run in library.runs() if run["verb"] == "index"]
    lists = [each.get("folders") for each in told if isinstance(each, dict)]
    names = [name for each in lists if isinstance(each, list) for name in each if isinstance(name, str)]
    return tuple(name for name in dict.fromkeys(names) if os.path.isabs(name))  # noqa: PTH117  any bytes


def _block_names(series: Sequence[Series]) -> list[str]:
    """The encoders' names, with a number from the second of a name on."""
    names: list[str] = []
    for each in series:
        name = each.spec.partition("/")[0]
        same = sum(other.partition("/")[0] == name for other in (s.spec for s in series[: len(names)]))
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def _pooled(
    library: Library, series: Series, items: Sequence[int], places: Mapping[int, list[tuple[int, str]]]
) -> tuple[Array, Array]:
    """The mean of an encoder's rows of each item, float32 [N, D], and which items have any: bool [N]."""
    owner = np.array(items, np.int64)
    if series.owner == "path":
        pairs = sorted((key, at) for at, item in enumerate(items) for key, _ in places[item])
        keys, rows = np.array([key for key, _ in pairs], np.int64), np.array([at for _, at in pairs], np.int64)
    else:
        keys, rows = owner, np.arange(len(items))
    sums, counts = np.zeros((len(items), series.dim)), np.zeros(len(items), np.int64)
    for at, vectors in _runs(library.features(series), keys):
        np.add.at(sums, rows[at], vectors)
        np.add.at(counts, rows[at], 1)
    made: Array = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return made, counts > 0


def _runs(features: Features, keys: Array) -> Iterator[tuple[Array, Any]]:
    """Shard by shard: which key owns each row, int [R], and the rows float32 [R, D] of those that are asked for."""
    for block in features.blocks():
        at = np.minimum(np.searchsorted(keys, block.owners), max(0, len(keys) - 1))
        known = keys[at] == block.owners if len(keys) else np.zeros(len(block.owners), bool)
        if known.any():
            yield at[known], block.vectors[known]
