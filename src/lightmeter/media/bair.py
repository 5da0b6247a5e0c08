"""BAIR's robot pushing data (softmotion30_44k) as clips, read from its TFRecords when asked; and written likewise.

A file holds up to 256 trajectories, each a tf.train.Example of 30 steps: `{i}/image_main/encoded` and
`{i}/image_aux1/encoded` (raw RGB bytes, despite the name), `{i}/action` (4 floats), `{i}/endeffector_pos` (3 floats).
Source: Ebert et al., "Self-supervised visual planning with temporal skip connections", CoRL 2017.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.clip_set import ClipSet, clip_hashes
from lightmeter.media.reading import Reading
from lightmeter.media.rows_on_demand import fingerprint_of, rows_on_demand
from lightmeter.media.tf_example import Features, encode_example, parse_example
from lightmeter.media.tfrecord import Problem, read_records, record_heads, write_records
from lightmeter.types import Array, check_axes

Camera = Literal["main", "aux1"]
FOLDER = "softmotion30_44k"
FILE_CLIPS = 256
MOST_STEPS = 1000
_NAME = re.compile(r"traj_(\d+)_to_\d+")
_TOLD = 5


@dataclass(frozen=True, slots=True)
class BairOptions:
    """How the records become clips.

    camera: aux1 (what VideoGPT learned from) or main · split: folder to read, train or test; None where there is one
    check: read every record once, leave damaged ones out and fingerprint the content; without, the first record alone
        is looked at, a damaged one is refused when its row is read, and the fingerprint is of the files' own checksums
    clips_a_scene: so many neighbouring trajectories are one scene. BAIR does not say which share a bin; more is safer
    """

    camera: Camera = "aux1"
    split: str | None = None
    check: bool = True
    clips_a_scene: int = 1

    def __post_init__(self) -> None:
        if self.camera not in get_args(Camera):
            raise InvalidValueError(f"camera must be one of {', '.join(get_args(Camera))}, got {self.camera!r}")
        if self.clips_a_scene < 1:
            raise InvalidValueError(f"clips_a_scene must be 1 or more, got {self.clips_a_scene}")


def open_bair(
    path: Path | str, options: BairOptions | None = None, *, tell: Callable[[int], None] | None = None
) -> Reading[ClipSet]:
    """Trajectories as clips: frames uint8 [N, 30, 64, 64, 3], actions float32 [N, 30, 4].

    path: the folder that holds softmotion30_44k, that folder, one of its splits, or one file · tell: hears how many
    records were looked at. Damaged records are left out, counted in the notes, and the state is then `damaged`.
    Frames stay on disk; each row is read, and its checksum compared, when it is asked for: 3 ms.
    Cost: one read of everything, or 16 bytes a record without `check`.
    Raises MissingAssetError where there are no files, RejectedFileError where not one record can be read.
    """
    options = options or BairOptions()
    found = _Found(options)
    looked = 0
    for file in bair_files(path, options.split):
        for _ in found.look(file):
            looked += 1
            if tell:
                tell(looked)
    return found.reading(str(path))


def bair_splits(path: Path | str) -> tuple[str, ...]:
    """Names of the splits below a path, sorted; none where it is one of them, or a file."""
    path = Path(path)
    inner = path / FOLDER if (path / FOLDER).is_dir() else path
    if path.is_file() or any(inner.glob("*.tfrecord*")):
        return ()
    return tuple(sorted({file.parent.name for file in inner.glob("*/*.tfrecord*")}))


def bair_files(path: Path | str, split: str | None = None) -> list[Path]:
    """The TFRecord files at a path, by the number of their first trajectory."""
    path = Path(path)
    if path.is_file():
        return [path]
    inner = path / FOLDER if (path / FOLDER).is_dir() else path
    splits = sorted({file.parent for file in inner.glob("*/*.tfrecord*")})
    if split is not None and inner.name != split:
        splits = [folder for folder in splits if folder.name == split]
    elif sorted(inner.glob("*.tfrecord*")):
        splits = [inner]
    if len(splits) > 1:
        names = ", ".join(folder.name for folder in splits)
        raise InvalidValueError(f"{path} holds the splits {names}: name one")
    files = [file for folder in splits for file in folder.glob("*.tfrecord*")]
    if not files:
        wanted = f"{FOLDER}/{split or 'train'}/traj_0_to_255.tfrecords"
        raise MissingAssetError(f"no TFRecords at {path}: unpack the BAIR robot pushing data so that it holds {wanted}")
    return sorted(files, key=lambda file: (_first(file) or 0, file.name))


def _first(file: Path) -> int | None:
    """The number of a file's first trajectory, where its name tells."""
    named = _NAME.search(file.name)
    return int(named[1]) if named else None


@dataclass(slots=True)
class _Found:
    """What the files hold, as far as it was looked at."""

    options: BairOptions
    spots: list[tuple[Path, int]] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    action_shape: tuple[int, ...] | None = None
    records: int = 0
    _sums: list[str] = field(default_factory=list)

    def look(self, file: Path) -> Iterator[None]:
        """Take in the records of one file; yields after each."""
        start = _first(file)
        start = self.records if start is None else start
        heads = list(record_heads(file, (lambda _: None) if self.options.check else self.problems.append))
        places = {offset: place for place, (offset, _, _) in enumerate(heads)}
        if self.options.check:
            for offset, data, _ in read_records(file, self.problems.append):
                self._take(file, offset, data, (start + places[offset]) // self.options.clips_a_scene)
                yield
        else:
            self._trust(file, heads, start)
            yield
        self.records += len(heads)

    def _take(self, file: Path, offset: int, data: bytes, scene: int) -> None:
        try:
            frames, actions = decode_trajectory(data, self.options.camera)
            self._fit(frames, actions)
        except RejectedFileError as error:
            self.problems.append(Problem(str(file), offset, error.code, error.detail))
            return
        told = None if actions is None else actions[None]
        self.hashes += clip_hashes(ClipSet(frames[None], np.array([scene], np.int64), actions=told))
        self.actions += [] if actions is None else [actions]
        self.spots.append((file, offset))
        self.scenes.append(scene)

    def _trust(self, file: Path, heads: list[tuple[int, int, int]], start: int) -> None:
        """Take every record for whole; the first tells the shape of all."""
        if heads and not self.shape:
            self._fit(*_read_trajectory(file, heads[0][0], self.options.camera))
        for place, (offset, length, checksum) in enumerate(heads):
            self.spots.append((file, offset))
            self.scenes.append((start + place) // self.options.clips_a_scene)
            self._sums.append(f"{length} {checksum} {self.scenes[-1]}\n")

    def _fit(self, frames: Array, actions: Array | None) -> None:
        """Hold a trajectory to the shape of the first."""
        shapes = frames.shape, None if actions is None else actions.shape
        if not self.shape:
            self.shape, self.action_shape = shapes
        if shapes != (self.shape, self.action_shape):
            wanted = f"{list(self.shape)} and actions {_shown(self.action_shape)}"
            raise RejectedFileError(
                "other-shape", f"frames must be {wanted} as in the first, got {list(shapes[0])} and {_shown(shapes[1])}"
            )

    def reading(self, where: str) -> Reading[ClipSet]:
        """The set, and what is wrong with its files."""
        notes = self._notes()
        if not self.spots:
            raise RejectedFileError("no-records", f"{where} must hold whole trajectories, got none: {notes[:1]}")
        fingerprint = fingerprint_of(self.hashes)
        if not self.options.check:
            fingerprint = hashlib.sha256(f"{self.options.camera}\n{''.join(self._sums)}".encode()).hexdigest()
        read = _Reader(tuple(self.spots), self.options.camera, (self.shape, self.action_shape))
        count = len(self.spots)
        actions = None
        if self.action_shape is not None:
            shape = (count, *self.action_shape)
            actions = np.stack(self.actions) if self.actions else rows_on_demand(shape, "float32", read.actions)
        frames = rows_on_demand((count, *self.shape), "uint8", read.frames)
        clips = ClipSet(frames, np.array(self.scenes, np.int64), actions=actions, fingerprint=fingerprint)
        return Reading(clips, "damaged" if notes else "ok", notes)

    def _notes(self) -> tuple[str, ...]:
        if not self.problems:
            return ()
        counts = Counter(each.code for each in self.problems)
        said = ", ".join(f"{count} x {code}" for code, count in sorted(counts.items()))
        first = [f"{Path(each.file).name} at byte {each.offset}: {each.reason}" for each in self.problems[:_TOLD]]
        return (
            f"{len(self.problems)} damaged records are left out beside {len(self.spots)} whole ones: {said}",
            *first,
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads rows; each must look as the first did."""

    spots: tuple[tuple[Path, int], ...]
    camera: Camera
    shapes: tuple[tuple[int, ...], tuple[int, ...] | None]

    def frames(self, rows: Array) -> Iterator[Array]:
        return (self._row(row)[0] for row in rows.tolist())

    def actions(self, rows: Array) -> Iterator[Array]:
        for row in rows.tolist():
            found = self._row(row)[1]
            assert found is not None  # `_row` has held it to the shape of the first
            yield found

    def _row(self, row: int) -> tuple[Array, Array | None]:
        file, offset = self.spots[row]
        frames, actions = _read_trajectory(file, offset, self.camera)
        if (frames.shape, None if actions is None else actions.shape) != self.shapes:
            raise RejectedFileError("other-shape", f"{file} at byte {offset} is of another shape than the first record")
        return frames, actions


def _read_trajectory(file: Path, offset: int, camera: Camera) -> tuple[Array, Array | None]:
    problems: list[Problem] = []
    for at, data, _ in read_records(file, problems.append, start=offset):
        if at == offset:
            try:
                return decode_trajectory(data, camera)
            except RejectedFileError as error:
                raise RejectedFileError(error.code, f"{file} at byte {offset}: {error.detail}") from error
        break
    code, reason = (problems[0].code, problems[0].reason) if problems else ("truncated", "the file ends before it")
    raise RejectedFileError(code, f"{file} at byte {offset}: {reason}: open it with check to leave such records out")


def decode_trajectory(data: bytes, camera: Camera) -> tuple[Array, Array | None]:
    """Frames uint8 [T, H, W, 3] and actions float32 [T, A] (None where there are none) of a record.

    Pictures must be square: a record does not tell their size.  Raises RejectedFileError.
    """
    found = parse_example(data)
    steps = 0
    while f"{steps}/image_{camera}/encoded" in found:
        steps += 1
    if not 1 <= steps <= MOST_STEPS:
        raise RejectedFileError("no-frames", f"a record must have 1 to {MOST_STEPS} pictures of {camera}, got {steps}")
    pictures = [_bytes_of(found, f"{step}/image_{camera}/encoded") for step in range(steps)]
    side = math.isqrt(len(pictures[0]) // 3)
    if side < 1 or any(len(each) != side * side * 3 for each in pictures):
        sizes = sorted({len(each) for each in pictures})[:4]
        raise RejectedFileError("wrong-size", f"pictures must be raw square RGB of one size, got {sizes} bytes")
    frames = np.frombuffer(b"".join(pictures), np.uint8).reshape(steps, side, side, 3)
    actions = [found.get(f"{step}/action") for step in range(steps)]
    if all(each is None for each in actions):
        return frames, None
    rows = [each for each in actions if isinstance(each, np.ndarray) and each.dtype == np.float32]
    if len(rows) != steps or len({each.shape for each in rows}) > 1:
        raise RejectedFileError("wrong-actions", "every step must have an action, of equally many floats")
    return frames, np.stack(rows)


def _bytes_of(found: Features, key: str) -> bytes:
    value = found[key]
    if not isinstance(value, list) or len(value) != 1:
        raise RejectedFileError("no-frames", f"{key} must be one string of bytes")
    return value[0]


def _shown(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))


def write_bair(
    folder: Path | str,
    cameras: Mapping[Camera, Array],
    actions: Array,
    *,
    positions: Array | None = None,
    split: str = "train",
    file_clips: int = FILE_CLIPS,
) -> list[Path]:
    """Write trajectories as BAIR's files, `file_clips` a file, into `softmotion30_44k/{split}`; gives the files.

    cameras: uint8 [N, T, S, S, 3] of each camera · actions: float [N, T, A] · positions: of the hand, float [N, T, 3]
    """
    first = next(iter(cameras.values()), None)
    if first is None or set(cameras) - set(get_args(Camera)):
        raise InvalidValueError(f"cameras must be of {', '.join(get_args(Camera))}, got {', '.join(cameras) or 'none'}")
    count, length, side, _, _ = first.shape
    for name, frames in cameras.items():
        check_axes(f"frames of {name}", frames, f"{count} {length} {side} {side} 3", "uint8")
    check_axes("actions", actions, f"{count} {length} A")
    numbers = {"action": actions}
    if positions is not None:
        check_axes("positions", positions, f"{count} {length} P")
        numbers["endeffector_pos"] = positions
    files = []
    for start in range(0, count, file_clips):
        stop = min(start + file_clips, count)
        path = Path(folder) / FOLDER / split / f"traj_{start}_to_{stop - 1}.tfrecords"
        write_records(path, (_encoded(cameras, numbers, row) for row in range(start, stop)))
        files.append(path)
    return files


def _encoded(cameras: Mapping[Camera, Array], numbers: Mapping[str, Array], row: int) -> bytes:
    found: Features = {}
    for step in range(len(next(iter(numbers.values()))[row])):
        for camera, frames in cameras.items():
            found[f"{step}/image_{camera}/encoded"] = [np.ascontiguousarray(frames[row, step]).tobytes()]
        for name, values in numbers.items():
            found[f"{step}/{name}"] = np.asarray(values[row, step], np.float32)
    return encode_example(found)
