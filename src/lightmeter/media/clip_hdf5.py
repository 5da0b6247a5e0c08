"""Clips in HDF5, as VideoGPT keeps them: rows are read when asked, with h5py (`pip install 'lightmeter[hdf5]'`).

Two layouts. `videogpt`: train_data uint8 [M, H, W, 3] (all frames, one after the other), train_idx int [N] (where each
clip begins), train_actions [M, A], and the same of test. `paper`: frames uint8 [N, 3, T, H, W], actions [N, T, A].
Source: github.com/wilson1yan, VideoGPT (videogpt/data.py) and VideoGPT-Paper (preprocess_bair).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.clip_set import ClipSet, clip_hashes
from lightmeter.media.door import at_the_door
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.reading import Reading
from lightmeter.media.rows_on_demand import fingerprint_of, rows_on_demand
from lightmeter.parts import need
from lightmeter.types import Array

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_CLIPS = 10_000_000
_BLOCK_BYTES = 32 << 20
"""Of clips that are hashed at once."""
_COPIES = 3
"""Of a clip there are so many in memory while it is read: as it is stored, as frames, and in a block."""
_MOST_SHRUNK = 1000
"""So many times smaller no codec makes frames; what claims more was never written."""


@dataclass(frozen=True, slots=True)
class Hdf5Options:
    """split: train or test, of the `videogpt` layout; None where the file holds one · check: fingerprint the content,
    which reads it once (without: the file's name, size and time) · frames: take so many of each clip, its first;
    needed where clips are of several lengths, shorter ones are then left out and counted · clips_a_scene: neighbours
    that are one scene · limits: `decode_bytes` of reading one clip, `frames` of all of them
    """

    split: str | None = None
    check: bool = True
    frames: int | None = None
    clips_a_scene: int = 1
    limits: MediaLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.clips_a_scene < 1 or (self.frames is not None and self.frames < 1):
            raise InvalidValueError(
                f"clips_a_scene and frames must be 1 or more, got {self.clips_a_scene} and {self.frames}"
            )


def is_hdf5(path: Path | str) -> bool:
    """Whether a file begins as HDF5 does."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def hdf5_splits(path: Path | str) -> tuple[str, ...]:
    """Names of the splits in a file of the layout `videogpt`, sorted; none of the other layout."""
    with _opened(Path(path)) as file:
        return _splits(set(file))


def _splits(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(name.removesuffix("_data") for name in names if name.endswith("_data")))


def open_hdf5(path: Path | str, options: Hdf5Options | None = None) -> Reading[ClipSet]:
    """A file of either layout as clips; frames and actions stay on disk until rows are read.

    Cost: one read of everything for the fingerprint, 32 MB of clips at once, or milliseconds without `check`.
    Raises MissingExtraError without h5py, MissingAssetError where no file is, RejectedFileError where it is of neither
    layout, leads to other files, or claims more than its limits or than its bytes can hold, before anything is read;
    InvalidValueError where an option has to be given.
    """
    options = options or Hdf5Options()
    path = Path(path).absolute()
    if not path.is_file():
        raise MissingAssetError(f"no file at {path}: name an HDF5 file such as bair.hdf5")
    with _opened(path) as file:
        names = set(file)
        if "frames" in names:
            layout, notes = _paper(file, options)
        else:
            layout, notes = _videogpt(file, options, names)
    read = _Reader(path, layout)
    count, length = len(layout.starts), layout.length
    actions = None
    if layout.actions:
        actions = rows_on_demand((count, length, layout.action_size), "float32", read.actions)
    frames = rows_on_demand((count, length, *layout.pixels, 3), "uint8", read.frames)
    scenes = np.arange(count, dtype=np.int64) // options.clips_a_scene
    clips = ClipSet(frames, scenes, actions=actions)
    status = path.stat()
    about = f"{path.name} {status.st_size} {status.st_mtime_ns} {layout}"
    fingerprint = fingerprint_of(_hashes(clips)) if options.check else hashlib.sha256(about.encode()).hexdigest()
    return Reading(replace(clips, fingerprint=fingerprint), "ok", notes)


@dataclass(frozen=True, slots=True)
class _Layout:
    """frames: name of the data set · starts: first frame of each clip, or the clip's row where `joined` is not set"""

    frames: str
    actions: str
    action_size: int
    starts: Sequence[int]
    length: int
    pixels: tuple[int, int]
    joined: bool


def _paper(file: Any, options: Hdf5Options) -> tuple[_Layout, tuple[str, ...]]:
    frames = _plain(file, "frames", "frames", options.limits)
    if frames.ndim != 5 or frames.shape[1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        got = f"{frames.dtype} {list(frames.shape)}"
        raise RejectedFileError("wrong-shape", f"frames must be uint8 [N, 3, T, H, W], got {got}")
    count, _, length, height, width = frames.shape
    wanted = options.frames or length
    if wanted > length:
        raise InvalidValueError(f"frames must be 1 to {length} here, got {wanted}")
    _check_size(frames, "frames", (count, wanted, height, width), options.limits)
    name, size, notes = _actions_of(file, "actions", (count, length), length, options.limits)
    return _Layout("frames", name, size, range(count), wanted, (height, width), False), notes


def _videogpt(file: Any, options: Hdf5Options, names: set[str]) -> tuple[_Layout, tuple[str, ...]]:
    splits = _splits(names)
    if options.split not in splits and (options.split is not None or len(splits) != 1):
        there = ", ".join(splits) or f"only {', '.join(sorted(names)[:6]) or 'nothing'}"
        if not splits:
            raise RejectedFileError(
                "unknown-layout", f"HDF5 must hold frames, or train_data and train_idx, got {there}"
            )
        raise InvalidValueError(f"split must be one of {there}, got {options.split}: name one")
    split = options.split or splits[0]
    data = _plain(file, f"{split}_data", "frames", options.limits)
    index = _plain(file, f"{split}_idx", "starts", options.limits)
    if data.ndim != 4 or data.shape[3] != 3 or data.dtype != np.uint8 or 0 in data.shape:
        got = f"{data.dtype} {list(data.shape)}"
        raise RejectedFileError("wrong-shape", f"{split}_data must be uint8 [M, H, W, 3], got {got}")
    if index.ndim != 1 or index.dtype.kind not in "iu" or not 1 <= len(index) <= _MOST_CLIPS:
        raise RejectedFileError("wrong-shape", f"{split}_idx must be whole numbers [N], got {list(index.shape)}")
    starts = np.asarray(index[:]).astype(np.int64)
    lengths = np.diff(starts, append=len(data))
    if starts[0] < 0 or (lengths < 1).any():
        raise RejectedFileError("wrong-index", f"{split}_idx must rise from 0 or more to below {len(data)}")
    starts, length, notes = _cut(starts, lengths, options.frames)
    _check_size(data, f"{split}_data", (len(starts), length, *data.shape[1:3]), options.limits)
    name, size, more = _actions_of(file, f"{split}_actions", (len(data),), length, options.limits)
    places = tuple(starts.tolist())
    return _Layout(f"{split}_data", name, size, places, length, data.shape[1:3], True), notes + more


def _cut(starts: Array, lengths: Array, wanted: int | None) -> tuple[Array, int, tuple[str, ...]]:
    """Starts of the clips that are long enough, and the length of all."""
    if wanted is None and len(np.unique(lengths)) > 1:
        raise InvalidValueError(
            f"clips of {lengths.min()} to {lengths.max()} frames need one length, got none: give frames"
        )
    wanted = wanted or int(lengths[0])
    enough = lengths >= wanted
    if not enough.any():
        raise InvalidValueError(f"frames must be 1 to {lengths.max()} here, got {wanted}")
    short = int((~enough).sum())
    notes = (f"{short} of {len(starts)} clips are left out: shorter than {wanted} frames",) if short else ()
    return starts[enough], wanted, notes


def _check_size(frames: Any, name: str, shape: tuple[int, int, int, int], limits: MediaLimits) -> None:
    """Refuse clips that would fill the memory, or never end, whatever a few bytes of a header say.

    shape: clips, frames of each, height, width
    """
    count, length, height, width = shape
    limits.check_size(width, height, of_video=True)
    clip_bytes = length * height * width * 3
    if _COPIES * clip_bytes > limits.decode_bytes:
        raise RejectedFileError(
            "too-large", f"a clip of {name} must be at most {limits.decode_bytes // _COPIES} bytes, got {clip_bytes}: "
            "take fewer frames"
        )  # fmt: skip
    if count * length > limits.frames:
        raise RejectedFileError(
            "too-large", f"{name} has {count} clips of {length}: the limit is {limits.frames} frames"
        )
    stored_bytes = int(frames.id.get_storage_size())
    if frames.nbytes > _MOST_SHRUNK * stored_bytes:
        raise RejectedFileError(
            "too-large", f"{name} must be written, got {frames.nbytes} bytes of which the file holds {stored_bytes}"
        )


def _actions_of(
    file: Any, name: str, axes: tuple[int, ...], length: int, limits: MediaLimits
) -> tuple[str, int, tuple[str, ...]]:
    """Name and width of the actions, where they are there and fit; else why not.  length: rows read for a clip"""
    if name not in file:
        return "", 0, ()
    actions = _plain(file, name, "actions", limits)
    if actions.ndim != len(axes) + 1 or actions.shape[:-1] != axes or actions.dtype.kind not in "fiu":
        shape = ", ".join(map(str, axes))
        return "", 0, (f"{name} are left out: they must be numbers [{shape}, A], got {list(actions.shape)}",)
    a_clip = length * int(actions.shape[-1]) * max(4, actions.dtype.itemsize)
    if _COPIES * a_clip > limits.decode_bytes:
        raise RejectedFileError("too-large", f"{name} of a clip are {a_clip} bytes: leave them out of the file")
    return name, int(actions.shape[-1]), ()


def _plain(file: Any, name: str, what: str, limits: MediaLimits) -> Any:
    """A data set that lies in this very file, in pieces that can be read: a link or external storage would open
    another one, and of a chunk all is read."""
    h5py = need("h5py", "hdf5")
    if name not in file:
        raise RejectedFileError("unknown-layout", f"HDF5 must hold {name} ({what}), got {', '.join(sorted(file)[:6])}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise RejectedFileError("link-outside", f"{name} must lie in this file, got a link: copy the data set into it")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise RejectedFileError("link-outside", f"{name} must be a data set within this file: copy it into it")
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > limits.decode_bytes:
        raise RejectedFileError("too-large", f"{name} must have chunks of at most {limits.decode_bytes} bytes")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = need("h5py", "hdf5")
    with at_the_door(path.name), h5py.File(path, "r") as file:
        yield file


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads rows; the file is open only meanwhile."""

    path: Path
    layout: _Layout

    def frames(self, rows: Array) -> Iterator[Array]:
        with _opened(self.path) as file:
            data = file[self.layout.frames]
            for row in rows.tolist():
                start = self.layout.starts[row]
                if self.layout.joined:
                    yield np.asarray(data[start : start + self.layout.length])
                else:
                    clip = np.asarray(data[start, :, : self.layout.length])
                    yield np.ascontiguousarray(clip.transpose(1, 2, 3, 0))

    def actions(self, rows: Array) -> Iterator[Array]:
        with _opened(self.path) as file:
            data = file[self.layout.actions]
            for row in rows.tolist():
                start = self.layout.starts[row]
                part = data[start : start + self.layout.length] if self.layout.joined else data[start]
                yield np.asarray(part, np.float32)[: self.layout.length]


def _hashes(clips: ClipSet) -> Iterator[str]:
    """Hashes of the clips, of which some MB are in memory at a time."""
    arrays = [each for each in (clips.frames, clips.actions) if each is not None]
    clip_bytes = sum(math.prod(each.shape[1:]) * each.dtype.itemsize for each in arrays)
    step = max(1, _BLOCK_BYTES // clip_bytes)
    for start in range(0, len(clips), step):
        some = slice(start, start + step)
        actions = None if clips.actions is None else clips.actions[some]
        yield from clip_hashes(ClipSet(clips.frames[some], clips.scenes[some], actions=actions))
