"""Example sets written: shard by shard, each whole before the next, so that a stopped run goes on where it ended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightmeter.assets.files import locked, whole_file, write_whole
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import MANIFEST, MOST_FRAMES, Manifest, Shard, ShardFile, Stored, read_json
from lightmeter.library.example_set import ExampleSet, open_set
from lightmeter.types import Array, Labels

MOST_ID_BYTES = 128
PLAN = "plan.json"


@dataclass(frozen=True, slots=True, eq=False)
class ShardRows:
    """The items of one shard.

    values: by block: features [n, dim], float32 or as stored · frames [all frames of all items, dim], as stored,
    item after item · tokens int32 [n, dim]; what is absent is zeros
    lengths: int [n], frames of each item, where there are frame blocks
    labels, rated: None where nobody knows · present: bool [n, M], None: everything is there
    beside: lines (one JSON object each) for files beside the set, by their names: `words`, `quarantine`
    cursor: where the source stood after this shard, for a run that goes on
    """

    ids: Sequence[str]
    values: Mapping[str, Array]
    labels: Labels | None = None
    present: Array | None = None
    lengths: Array | None = None
    rated: Labels | None = None
    beside: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    cursor: Mapping[str, Any] = field(default_factory=dict)


def write_set(
    folder: Path | str,
    blocks: Sequence[Block | Stored],
    label_names: Sequence[str],
    shards: Iterable[ShardRows],
    *,
    about: Mapping[str, Any] | None = None,
) -> ExampleSet:
    """Write a set into a folder that holds none, and open it.

    blocks: a `Block` is stored as suits its kind (`Stored.of`); a `Stored` says how · shards: made one by one, so that
    memory is that of one shard · about: where the set comes from, for the manifest
    Raises InvalidValueError for rows that do not fit, and where a set of another plan stands.
    """
    with alone(folder):
        writer = SetWriter.begin(folder, blocks, label_names, about=about)
        if writer.shards or writer.finished:
            raise InvalidValueError(f"{folder} must hold no set yet: choose another folder or remove it")
        for rows in shards:
            writer.add(rows)
        return writer.finish()


@contextmanager
def alone(folder: Path | str) -> Iterator[None]:
    """Be the only process that writes to a folder; it is made.  Raises LibraryBusyError, which names the other one.

    What is refused before anything was begun leaves no trace: neither the lock nor the folder, where they are new.
    """
    folder = Path(folder)
    lock = folder / ".lock"
    new_folder, new_lock = not folder.exists(), not lock.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(lock):
        try:
            yield
        except Exception:
            if new_lock and not (folder / PLAN).exists():
                lock.unlink(missing_ok=True)
                with suppress(OSError):  # it holds what a run may go on with
                    if new_folder:
                        folder.rmdir()
            raise


@dataclass
class SetWriter:
    """Writes a set and goes on with one that was begun: `shards` are those that stand already.

    A shard stands when its `00000.json` does; what a killed run left of the next one is written over. Hold `alone`
    meanwhile.
    """

    folder: Path
    blocks: tuple[Stored, ...]
    label_names: tuple[str, ...]
    about: dict[str, Any]
    shards: list[Shard]
    finished: bool = False

    @classmethod
    def begin(
        cls,
        folder: Path | str,
        blocks: Sequence[Block | Stored],
        label_names: Sequence[str],
        *,
        about: Mapping[str, Any] | None = None,
    ) -> SetWriter:
        """Begin a set, or go on with the one that a run of the same plan (blocks, labels, about) left.

        Raises InvalidValueError where the folder holds something else.
        """
        folder = Path(folder)
        stored = tuple(each if isinstance(each, Stored) else Stored.of(each) for each in blocks)
        plan = Manifest(stored, tuple(label_names), (), True, dict(about or {}))
        if not stored or len({each.block.name for each in stored}) != len(stored):
            raise InvalidValueError("a set must have blocks, each with a name of its own")
        said = json.loads(json.dumps(plan.as_json()))
        if (folder / PLAN).is_file():
            if read_json(folder / PLAN) != said:
                raise InvalidValueError(f"{folder} holds a set that was made otherwise: choose another folder")
        elif folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise InvalidValueError(f"{folder} must be empty or a set that was begun: choose another folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / PLAN, json.dumps(said, indent=1) + "\n")
        for path in folder.glob(".[0-9]*.tmp"):  # what a killed run left
            path.unlink()
        writer = cls(folder, stored, tuple(label_names), dict(about or {}), [], (folder / MANIFEST).is_file())
        writer.shards = [] if writer.finished else writer._standing()
        return writer

    def _standing(self) -> list[Shard]:
        found: list[Shard] = []
        while (path := self.folder / f"{len(found):05d}.json").is_file():
            try:
                shard = Shard.from_json(read_json(path))
            except (InvalidValueError, RejectedFileError, KeyError, TypeError, ValueError, AttributeError):
                break  # torn by a crash of the machine: it is written again
            whole = all(
                (place := shard.path(self.folder, column)).is_file() and place.stat().st_size == file.size_bytes
                for column, file in shard.files.items()
            )
            if not whole:
                break
            found.append(shard)
        return found

    def add(self, rows: ShardRows) -> Shard:
        """Write the next shard; it stands when this returns.  Raises InvalidValueError for rows that do not fit."""
        columns = self._columns(rows)
        name = f"{len(self.shards):05d}"
        shard = Shard(
            name,
            items=len(rows.ids),
            frames=0 if rows.lengths is None else int(np.sum(rows.lengths)),
            labels=0 if rows.labels is None else len(rows.labels.classes),
            rated=None if rows.rated is None else len(rows.rated.classes),
            files={},
            cursor=rows.cursor,
        )
        files = {column: _write_array(shard.path(self.folder, column), array) for column, array in columns.items()}
        for what, lines in rows.beside.items():
            text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)
            write_whole(self.folder / f"{name}.{what}.jsonl", text)
        shard = replace(shard, files=files)
        write_whole(self.folder / f"{name}.json", json.dumps(shard.as_json()) + "\n")
        self.shards.append(shard)
        return shard

    def finish(self, *, labelled: bool = True) -> ExampleSet:
        """Write the manifest, join what lies beside the shards, and open the set.

        labelled: False where the labels that shards have mean nothing, as in a test set
        """
        if not self.finished:
            labelled = labelled and all("labels" in shard.files for shard in self.shards)
            manifest = Manifest(self.blocks, self.label_names, tuple(self.shards), labelled, self.about)
            self._join_beside()
            write_whole(self.folder / MANIFEST, json.dumps(manifest.as_json(), indent=1) + "\n")
            for path in self._own("json", "*.jsonl"):
                path.unlink()
            self.finished = True
        return open_set(self.folder)

    def abandon(self) -> None:
        """Take away what was begun: nothing that was found could be used."""
        for path in self._own("json", "*.jsonl", "*.npy"):
            path.unlink()
        (self.folder / PLAN).unlink()

    def _own(self, *ends: str) -> list[Path]:
        """Files of the shards that stand, and of the next one, which a killed run may have begun; nobody else's."""
        names = [f"{number:05d}" for number in range(len(self.shards) + 1)]
        return [path for name in names for end in ends for path in sorted(self.folder.glob(f"{name}.{end}"))]

    def _join_beside(self) -> None:
        parts = self._own("*.jsonl")
        for what in sorted({path.name.split(".")[1] for path in parts}):
            with whole_file(self.folder / f"{what}.jsonl") as unfinished, unfinished.open("wb") as file:
                for shard in self.shards:
                    part = self.folder / f"{shard.name}.{what}.jsonl"
                    if part.is_file():
                        file.write(part.read_bytes())

    def _columns(self, rows: ShardRows) -> dict[str, Array]:
        """Every file of a shard as an array of the type on disk."""
        count = len(rows.ids)
        present = np.ones((count, len(self.blocks)), bool) if rows.present is None else np.asarray(rows.present, bool)
        if present.shape != (count, len(self.blocks)):
            raise InvalidValueError(f"present must be [{count}, {len(self.blocks)}], got {list(present.shape)}")
        columns: dict[str, Array] = {"ids": _ids(rows.ids), "present": present}
        if set(rows.values) != {each.block.name for each in self.blocks}:
            names = [each.block.name for each in self.blocks]
            raise InvalidValueError(f"values must be of {names}, got {sorted(rows.values)}")
        frames = 0
        if any(each.block.kind == "frames" for each in self.blocks):
            columns["lengths"] = _lengths(rows.lengths, count)
            frames = int(columns["lengths"].sum())
        for each in self.blocks:
            wanted = (frames if each.block.kind == "frames" else count, each.block.dim)
            columns[each.block.name] = _as_stored(each, rows.values[each.block.name], wanted)
        for name, found in (("label", rows.labels), ("rated", rows.rated)):
            if found is not None:
                if (len(found), found.count) != (count, len(self.label_names)):
                    raise InvalidValueError(
                        f"{name} must be of {count} items and {len(self.label_names)} classes, got {len(found)} and "
                        f"{found.count}"
                    )
                columns[f"{name}-ends"] = found.offsets[1:].astype("<i8")
                columns["labels" if name == "label" else name] = found.classes.astype("<i4")
        return columns


def _ids(ids: Sequence[str]) -> Array:
    raw = [each.encode("utf-8", "surrogatepass") for each in ids]
    longest = max((len(each) for each in raw), default=1)
    if longest > MOST_ID_BYTES or any(b"\0" in each for each in raw):
        raise InvalidValueError(f"ids must be at most {MOST_ID_BYTES} bytes without a NUL, got one of {longest}")
    return np.array(raw, dtype=f"S{max(longest, 1)}")


def _lengths(lengths: Array | None, count: int) -> Array:
    found = np.asarray([] if lengths is None else lengths)
    if len(found) != count or (count and not 0 <= int(found.min()) <= int(found.max()) <= MOST_FRAMES):
        raise InvalidValueError(f"lengths must be {count} numbers of 0 to {MOST_FRAMES} frames, got {found}")
    return found.astype("<i4")


def _as_stored(stored: Stored, values: Array, wanted: tuple[int, int]) -> Array:
    values = np.asarray(values)
    name = stored.block.name
    if values.shape != wanted:
        raise InvalidValueError(f"{name} must be {list(wanted)}, got {list(values.shape)}")
    if stored.storage in ("uint8", "int32"):
        if not np.can_cast(values.dtype, stored.dtype, "same_kind") or values.dtype.kind not in "iu":
            raise InvalidValueError(f"{name} must be {stored.storage}, got {values.dtype}: quantise it first")
        return np.ascontiguousarray(values, stored.dtype)
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(values, stored.dtype)
    if not np.isfinite(made).all():
        raise InvalidValueError(f"{name} must be finite numbers within {stored.storage}, got some that are not")
    return made


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.size_bytes = file, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        """As a file's."""
        view = memoryview(data).cast("B")
        self.digest.update(view)
        self.size_bytes += len(view)
        return self._file.write(view)


def _write_array(path: Path, array: Array) -> ShardFile:
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        hashed = _Hashed(file)
        np.lib.format.write_array(hashed, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return ShardFile(hashed.size_bytes, hashed.digest.hexdigest())
