"""TFRecord files → an example set, going on where a stopped run ended; what could not be used is told, line by line."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import Block, BlockKind
from lightmeter.library.example_layout import YT8M_OFFSET, YT8M_SCALE, Storage, Stored
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.example_writing import SetWriter, ShardRows, alone
from lightmeter.library.yt8m.exporting import RECORDS, VOCABULARY, WORDS, carry_words, read_records_about
from lightmeter.library.yt8m.quantise import Rounding, quantise
from lightmeter.library.yt8m.records import (
    MOST_SECONDS,
    FrameRecord,
    Level,
    Schema,
    VideoReader,
    VideoRecord,
    level_of,
    parse_frames,
)  # fmt: skip
from lightmeter.media.tfrecord import Problem, read_records
from lightmeter.types import Array, Labels

SUFFIXES = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz", ".gz")
SHARD_ITEMS, SHARD_BYTES, SHARD_PROBLEMS = 8192, 64 << 20, 10_000
_ITEM_BYTES, _LABEL_BYTES = 500, 40  # what Python needs for them
MADE_BY = ("yt8m/inception-v3-pca", "yt8m/vggish-pca")
_HALF = 65_504.0
MOST_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """How records become a set.

    level: `auto` looks at the first record; `segment` gives one item for each segment that people rated, called
    `id:second`, with the classes that were looked at · label_names: one a class, () for numbers
    storage: of video-level features; uint8 clips them to -2..2 and cuts their fractions off (`floor`, without bias)
    rounding: how the records' own 8-bit frames were made, for the manifest alone (`round` is the published extractor's,
    whose features come back 0.0078 too high)
    made_by: of visual and audio · most_frames: of each video, None: all
    shard_items: items a shard at most; one of 64 MB ends too
    """

    level: Level | Literal["auto"] = "auto"
    schema: Schema = field(default_factory=Schema)
    label_names: tuple[str, ...] = ()
    storage: Storage = "float16"
    rounding: Rounding = "round"
    made_by: tuple[str, str] = MADE_BY
    most_frames: int | None = None
    shard_items: int = SHARD_ITEMS

    def __post_init__(self) -> None:
        if self.label_names and len(self.label_names) != self.schema.classes:
            raise InvalidValueError(f"label_names must be {self.schema.classes}, got {len(self.label_names)}")
        if self.storage not in ("float16", "float32", "uint8") or self.shard_items < 1:
            raise InvalidValueError(f"storage must be float16, float32 or uint8, shards of 1 or more, got {self}")
        if self.most_frames is not None and not 1 <= self.most_frames <= MOST_SECONDS:
            raise InvalidValueError(f"most_frames must be 1 to {MOST_SECONDS}, got {self.most_frames}")

    def quantised_by(self, level: Level) -> Rounding:
        """How the 8 bits came about: by us where we make them, else as the records' were."""
        return "floor" if level == "video" and self.storage == "uint8" else self.rounding

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all classes."""
        return self.label_names or tuple(str(each) for each in range(self.schema.classes))

    def blocks(self, level: Level) -> tuple[Stored, ...]:
        """What an item has."""
        kind: BlockKind = "features" if level == "video" else "frames"
        dims = {"visual": self.schema.visual, "audio": self.schema.audio}
        blocks = [Block(name, kind, dim, by) for (name, dim), by in zip(dims.items(), self.made_by, strict=True)]
        if level != "video":
            return tuple(map(Stored.of, blocks))
        affine = (YT8M_SCALE, YT8M_OFFSET) if self.storage == "uint8" else (1.0, 0.0)
        return tuple(Stored(each, self.storage, *affine) for each in blocks)

    def check(self, level: Level) -> None:
        """Whether what is asked for can be had of records of a level.  Raises InvalidValueError."""
        if level == "video" and self.most_frames is not None:
            raise InvalidValueError(
                f"--max-frames is for records of frames, got {self.most_frames} for whole videos: leave it out"
            )
        if level != "video" and self.storage != "float16":
            raise InvalidValueError(
                f"--store is for records of whole videos, got {self.storage} for frames: they stay 8 bits, leave it out"
            )


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion gave. left_out: how many records were left out, by code; `quarantine.jsonl` has each."""

    examples: ExampleSet
    left_out: Mapping[str, int]


def convert(
    sources: Sequence[Path | str],
    folder: Path | str,
    how: Conversion | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Convert TFRecord files, or folders of them, into an example set.

    Finished shards stay when a run is stopped, and the same call goes on after them; a kill loses one shard at most.
    Records that cannot be used, duplicates among them, are left out and told in `folder/quarantine.jsonl`. Files
    `words.jsonl` beside the records are joined to `folder/words.jsonl`, where `yt8m words` finds them.
    progress: called after each shard with how many items it has and how many records were left out
    Raises InvalidValueError where there are no files, or no record that can be used: no set is made then.
    Cost: memory of one shard twice, some 150 MB, of the record that is read (16 MB at most, and its fields), and 8
    bytes an item to know duplicates (64 bits of a hash).
    """
    how = how or Conversion()
    files = source_files(sources)
    level = how.level if how.level != "auto" else _first_level(files)
    how.check(level)
    plan = {key: value for key, value in asdict(how).items() if key not in ("label_names", "rounding", "made_by")}
    texts = beside(files, WORDS)
    sizes, words = ([[str(path), path.stat().st_size] for path in some] for some in (files, texts))
    about = {
        "made_by": "lightmeter yt8m convert",
        "quantised_by": how.quantised_by(level),
        **plan,
        "level": level,
        "files": sizes,
        **({"texts": words} if words else {}),
    }
    with alone(folder):
        writer = SetWriter.begin(folder, how.blocks(level), how.names, about=about)
        if not writer.finished:
            carry_words(texts, writer.folder)
        return _convert(files, writer, how, level, progress)


def _convert(
    files: Sequence[Path],
    writer: SetWriter,
    how: Conversion,
    level: Level,
    progress: Callable[[int, int], None] | None,
) -> Converted:
    if not writer.finished:
        seen = _Seen()
        for shard in writer.shards:
            seen.add(np.asarray(read_array(shard.path(writer.folder, "ids"))).tolist())
            if progress:
                progress(shard.items, 0)
        cursor = writer.shards[-1].cursor if writer.shards else {"file": 0, "offset": 0}
        place = int(cursor["file"]), int(cursor["offset"]), int(cursor.get("item", 0))
        for rows in _Reader(files, how, level, seen).shards(*place):
            writer.add(rows)
            if progress:
                progress(len(rows.ids), len(rows.beside["quarantine"]))
    if not any(shard.items for shard in writer.shards) and not writer.finished:
        raise _nothing(writer)
    examples = writer.finish(labelled=any(shard.labels for shard in writer.shards))
    return Converted(examples, left_out_of(examples.folder))


def _nothing(writer: SetWriter) -> InvalidValueError:
    """Takes away what was begun of a set without items; gives why there are none."""
    count, first = 0, ""
    for shard in writer.shards:
        with (writer.folder / f"{shard.name}.quarantine.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                first, count = first or line, count + 1
    writer.abandon()
    (writer.folder / WORDS).unlink(missing_ok=True)
    why = json.loads(first) if first else {"code": "empty", "reason": "there is no item in them"}
    return InvalidValueError(
        f"SOURCE must hold records that can be used, got {count} that cannot, as {why['code']}: {why['reason']}"
    )


def left_out_of(folder: Path) -> dict[str, int]:
    """How many records a conversion left out, by code."""
    path = folder / "quarantine.jsonl"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as lines:
        return dict(Counter(str(json.loads(line)["code"]) for line in lines))


def source_files(sources: Sequence[Path | str]) -> list[Path]:
    """All files, those of folders by their suffix (.tfrecord, .tfrecords, either with .gz), in the order of names."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += sorted(path for path in source.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
        elif source.is_file():
            found.append(source)
        else:
            raise InvalidValueError(f"{source} must be a file or a folder: there is none")
    if not found:
        raise InvalidValueError(f"there must be TFRecord files ({', '.join(SUFFIXES[:4])}) in {sources[0]}, got none")
    return list(dict.fromkeys(found))


def beside(files: Sequence[Path], name: str) -> list[Path]:
    """The files of a name in the folders that some files lie in, in their order."""
    return [path for folder in dict.fromkeys(each.parent for each in files) if (path := folder / name).is_file()]


def vocabulary_beside(sources: Sequence[Path | str]) -> Path | None:
    """`vocabulary.csv` beside the TFRecords of some sources; None where there is none.

    Raises InvalidValueError where there are several that differ.
    """
    found = beside(source_files(sources), VOCABULARY)
    other = next((path for path in found if path.read_bytes() != found[0].read_bytes()), None)
    if other is not None:
        raise InvalidValueError(
            f"records must have one vocabulary, got {found[0]} and {other}, which differ: say which, with --vocabulary"
        )
    return found[0] if found else None


def blocks_beside(sources: Sequence[Path | str]) -> tuple[Path | None, dict[str, tuple[int, str]]]:
    """`records.json` beside the TFRecords of some sources, and what it says: width and `made_by` by block.

    Raises InvalidValueError where there are several that differ.
    """
    found = beside(source_files(sources), RECORDS)
    said = [read_records_about(path) for path in found]
    for path, each in zip(found, said, strict=True):
        if each != said[0]:
            raise InvalidValueError(f"records must be of the same blocks, got {found[0]} and {path}, which differ")
    return (found[0], said[0]) if said else (None, {})


def read_label_names(path: Path | str, classes: int | None = None) -> tuple[str, ...]:
    """Names of classes from YouTube-8M's `vocabulary.csv` (Index, Name) or `label_names.csv` (label_id, label_name).

    classes: how many there are, None: up to the last one that is named
    Classes that the file does not name are called by their number.  Raises InvalidValueError for other files.
    """
    named: dict[int, str] = {}
    most = MOST_CLASSES if classes is None else classes
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            names = rows.fieldnames or []
            number = next((each for each in ("Index", "label_id") if each in names), "")
            name = next((each for each in ("Name", "label_name") if each in names), "")
            if not number or not name:
                raise InvalidValueError(f"{path} must have the columns Index and Name, got {', '.join(names)[:80]}")
            for row in rows:
                if 0 <= int(row[number]) < most and row[name]:
                    named[int(row[number])] = row[name]
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise InvalidValueError(f"{path} must be a CSV of class numbers and names: {str(error)[:200]}") from error
    count = max(named, default=-1) + 1 if classes is None else classes
    return tuple(named.get(each, str(each)) for each in range(count))


def _first_level(files: Sequence[Path]) -> Level:
    for path in files:
        with suppress(OSError, RejectedFileError):
            for _, data, _ in read_records(path, lambda problem: None):
                with suppress(RejectedFileError):
                    return level_of(data)
    raise InvalidValueError(
        f"SOURCE must hold a record that can be read, got none in {files[0]}"
        f"{f' and {len(files) - 1} more' if files[1:] else ''}: are they TFRecords of YouTube-8M?"
    )


class _Seen:
    """Which ids came already, by 64 bits of their hash."""

    def __init__(self) -> None:
        self._known: Array = np.empty(0, np.uint64)

    @staticmethod
    def _hashes(ids: Sequence[bytes]) -> Array:
        made = [int.from_bytes(blake2b(each, digest_size=8).digest(), "little") for each in ids]
        return np.array(made, np.uint64)

    def add(self, ids: Sequence[bytes]) -> Array:
        """Whether each is new; then they are known: bool [n]."""
        hashes = self._hashes(ids)
        first = np.zeros(len(hashes), bool)
        first[np.unique(hashes, return_index=True)[1]] = True
        new: Array = first & ~np.isin(hashes, self._known)
        self._known = np.sort(np.concatenate([self._known, hashes[new]]))
        return new


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """One row to be: arrays by block, None where absent; `problem` says where it came from, should it be left out."""

    id: str
    labels: tuple[int, ...]
    values: tuple[Array | None, ...]
    rated: tuple[int, ...] | None
    problem: Problem


class _Reader:
    """Reads files into shards."""

    def __init__(self, files: Sequence[Path], how: Conversion, level: Level, seen: _Seen) -> None:
        self._files, self._how, self._level, self._seen = files, how, level, seen
        self._blocks = how.blocks(level)
        self._videos = VideoReader(how.schema)
        self._items: list[_Item] = []
        self._problems: list[Problem] = []
        self._bytes = 0

    def shards(self, file: int, offset: int, item: int = 0) -> Iterator[ShardRows]:
        """All shards from a cursor on; the last one may be short.  item: of the record there, how many stand already"""
        for number in range(file, len(self._files)):
            start, skip = (offset, item) if number == file else (0, 0)
            for cursor in self._records(self._files[number], start, skip):
                if self._full:
                    yield self._made({"file": number, **cursor})
        if self._items or self._problems:
            yield self._made({"file": len(self._files), "offset": 0})

    @property
    def _full(self) -> bool:
        return (
            len(self._items) >= self._how.shard_items
            or self._bytes >= SHARD_BYTES
            or len(self._problems) >= SHARD_PROBLEMS
        )

    def _records(self, path: Path, start: int, skip: int) -> Iterator[dict[str, int]]:
        """Collects the items of one file; gives the place after each: a record of many may end in another shard."""
        try:
            for offset, data, following in read_records(path, self._problems.append, start=start):
                found: list[_Item] = []
                try:
                    found = self._found(data, Problem(str(path), offset, "", ""))
                except RejectedFileError as error:
                    self._problems.append(Problem(str(path), offset, error.code, error.detail))
                for at, item in enumerate(found[skip:-1], skip + 1):
                    self._keep(item)
                    yield {"offset": offset, "item": at}
                for item in found[-1:]:
                    self._keep(item)
                skip = 0
                yield {"offset": following}
        except (OSError, RejectedFileError) as error:
            self._problems.append(Problem(str(path), 0, "unreadable", str(error)[:200]))

    def _found(self, data: bytes, problem: Problem) -> list[_Item]:
        if self._level == "video":
            return [_of_video(self._videos.parse(data), problem)]
        framed = parse_frames(data, self._how.schema)
        return _of_segments(framed, problem) if self._level == "segment" else [_of_frames(framed, problem)]

    def _keep(self, item: _Item) -> None:
        """Keep an item's numbers by themselves: as views they would keep the whole record, whatever else is in it."""
        most = None if self._level == "video" else self._how.most_frames
        kept = tuple(None if each is None else each[:most].copy() for each in item.values)
        self._items.append(replace(item, values=kept))
        self._bytes += _ITEM_BYTES + sum(each.nbytes for each in kept if each is not None)
        self._bytes += _LABEL_BYTES * (len(item.labels) + len(item.rated or ()))

    def _made(self, cursor: Mapping[str, Any]) -> ShardRows:
        """The collected items as one shard."""
        items, problems = self._usable(), self._problems
        self._items, self._problems, self._bytes = [], [], 0
        values, present = self._values(items)
        classes = self._how.schema.classes
        rated = None
        if self._level == "segment":
            rated = Labels.of([item.rated or () for item in items], classes)
        return ShardRows(
            [item.id for item in items],
            values,
            Labels.of([item.labels for item in items], classes),
            present,
            np.array([_length(item) for item in items], np.int64) if self._level != "video" else None,
            rated,
            {"quarantine": [each.as_json() for each in problems]},
            cursor,
        )

    def _usable(self) -> list[_Item]:
        """Those whose numbers are numbers and whose ids are new; of the others it is said why."""
        finite = [item for item in self._items if self._told(item, _is_finite(item, self._how), "not-numbers")]
        new = self._seen.add([item.id.encode() for item in finite]).tolist()
        return [item for item, is_new in zip(finite, new, strict=True) if self._told(item, is_new, "duplicate")]

    def _told(self, item: _Item, fine: bool, code: str) -> bool:
        if not fine:
            why = {"not-numbers": "features must be finite numbers", "duplicate": "an item of this id came before"}
            self._problems.append(Problem(item.problem.file, item.problem.offset, code, why[code], item.id))
        return fine

    def _values(self, items: Sequence[_Item]) -> tuple[dict[str, Array], Array]:
        present = np.ones((len(items), len(self._blocks)), bool)
        values: dict[str, Array] = {}
        for at, stored in enumerate(self._blocks):
            absent = [item.values[at] is None for item in items]
            present[absent, at] = False
            if self._level == "video":
                made = np.zeros((len(items), stored.block.dim), np.float32)
                for row, item in enumerate(items):
                    if item.values[at] is not None:
                        made[row] = item.values[at]
                values[stored.block.name] = quantise(made, "floor") if stored.storage == "uint8" else made
            else:
                values[stored.block.name] = _joined(items, at, stored.block.dim)
        return values, present


def _joined(items: Sequence[_Item], at: int, dim: int) -> Array:
    made = np.zeros((sum(map(_length, items)), dim), np.uint8)
    start = 0
    for item in items:
        length, frames = _length(item), item.values[at]
        if frames is not None:
            made[start : start + length] = frames
        start += length
    return made


def _length(item: _Item) -> int:
    return next((len(each) for each in item.values if each is not None), 0)


def _is_finite(item: _Item, how: Conversion) -> bool:
    """Whether the values can be kept: frames always, floats where no NaN or infinity would come of them."""
    most = _HALF if how.storage == "float16" else float(np.finfo(np.float32).max)
    for each in item.values:
        if each is not None and each.dtype == np.float32 and not max(-float(each.min()), float(each.max())) <= most:
            return False
    return True


def _of_video(record: VideoRecord, problem: Problem) -> _Item:
    return _Item(record.id, record.labels, (record.visual, record.audio), None, problem)


def _of_frames(record: FrameRecord, problem: Problem) -> _Item:
    return _Item(record.id, record.labels, (record.visual, record.audio), None, problem)


def _of_segments(record: FrameRecord, problem: Problem) -> list[_Item]:
    """One item for each segment: labels are the classes that are seen in it, rated those that were looked at."""
    rated = record.segments
    if rated is None:
        raise RejectedFileError("no-segments", "a record must have segments at --level segment")
    found = []
    for start, end in sorted(set(zip(rated.starts.tolist(), rated.ends.tolist(), strict=True))):
        here = (rated.starts == start) & (rated.ends == end)
        cut = tuple(None if each is None else each[start:end] for each in (record.visual, record.audio))
        if start >= record.length:
            raise RejectedFileError("broken-segments", f"a segment must lie within {record.length} frames, got {start}")
        seen = rated.labels[here & (rated.scores >= 0.5)].tolist()
        found.append(_Item(f"{record.id}:{start}", tuple(seen), cut, tuple(rated.labels[here].tolist()), problem))
    return found
