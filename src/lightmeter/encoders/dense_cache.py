"""Maps of many frames, encoded once: memory-mapped files in the user's cache, found by what they were made of."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import FileLock, file_sha256, try_lock, write_whole
from lightmeter.encoders.by_path import content_sha256
from lightmeter.encoders.cache import cache_folder, refused
from lightmeter.encoders.dense import DenseEncoder, chosen_sets
from lightmeter.meter.record import hash_of
from lightmeter.types import Array

VERSION = "dense features 1"
"""Raise it with any change to how maps are laid out."""
BLOCK = 32
"""Rows between two marks: what a killed run loses at most."""
_ABOUT = "about.json"
_MARK = "rows"
_LOCK = ".lock"
_PART = ".part"
_WAIT_S = 24 * 3600.0
_log = logging.getLogger("lightmeter.encoders")


def _silent(_text: str) -> None:
    """Says nothing: the default listener."""


@dataclass(frozen=True)
class FeatureCache:
    """Where dense features are kept, and how much of them.

    One folder a request: `NAME.npy`, float32 [N, C, h, w], for every map, and `about.json`: encoder, fingerprint, rows,
    whether and how the frames were augmented, and the hash of every file. A request is known by the encoder's
    fingerprint, the bytes of the frames that it looks at, the names of the maps and the augmentation, so the same
    frames are found again wherever they lie. While a request is being encoded its folder ends in `.part`; whoever asks
    for the same goes on with it.

    folder: `dense` in the user's cache (LIGHTMETER_CACHE) unless another is named; deleting it is harmless
    most_bytes: when more is kept, what was used longest ago goes; a single request above it is not kept on disk
    """

    folder: Path = field(default_factory=lambda: cache_folder() / "dense")
    most_bytes: int = 8 << 30

    def features(
        self,
        encoder: DenseEncoder,
        clips: Array,
        at: Array,
        *,
        augmentation: str = "",
        tell: Callable[[str], None] = _silent,
    ) -> dict[str, Array]:
        """As `encoder.features`, from the cache where they lie there: float32 [N, C, h, w], read-only, memory-mapped.

        augmentation: what was done to the clips before they came here (`flip,copy=3`), "" for nothing: it is written
        down beside the features, and two augmentations are never mistaken for one another · tell: after every block
        A file whose hash fails is made again.  Cost: a hash of the frames; one encoding a row, the first time.
        """
        asked = _Request(encoder, clips, at, augmentation, tell)
        why_not = refused(self.folder)
        if why_not:
            _log.warning("the cache %s %s: it is not used, and features are made again", self.folder, why_not)
        if why_not or asked.size_bytes > self.most_bytes or not len(clips):
            return encoder.features(clips, at)
        place = self.folder / asked.key
        found = _read(place, asked.shapes)
        while found is None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(place, asked)
            self._bound(keep=place)
            found = _read(place, asked.shapes)
        with contextlib.suppress(OSError):  # the order of use is a courtesy
            os.utime(place / _ABOUT)
        return found

    def about(self, encoder: DenseEncoder, clips: Array, at: Array, *, augmentation: str = "") -> dict[str, Any] | None:
        """What is written beside the features of a request; None where they are not kept."""
        return _about(self.folder / _Request(encoder, clips, at, augmentation, _silent).key)

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is kept, unfinished ones too."""
        return sum(_folder_bytes(each) for each in self._entries())

    def _entries(self) -> list[Path]:
        return [each for each in self.folder.glob("*") if each.is_dir()] if self.folder.is_dir() else []

    def _bound(self, keep: Path) -> None:
        """Let go of what was used longest ago until the rest fits; whoever reads it meanwhile keeps what is mapped."""
        kept = {each: _folder_bytes(each) for each in self._entries()}
        total = sum(kept.values())
        for each in sorted(kept, key=_used_s):
            if total > self.most_bytes and each != keep and not _busy(each):
                total -= kept[each]
                shutil.rmtree(each, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class _Request:
    """What was asked for."""

    encoder: DenseEncoder
    clips: Array
    at: Array
    augmentation: str
    tell: Callable[[str], None]

    @cached_property
    def key(self) -> str:
        """32 hex digits of all that the features depend on."""
        encoder = self.encoder
        frames = [hash_of([place, window]) for window, place in encoder.seen(self.clips, self.at)]
        return hash_of([VERSION, encoder.fingerprint, list(encoder.chosen), self.augmentation, frames])[:32]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The maps by name: [N, C, h, w]."""
        height, width = self.clips.shape[2:4]
        sets = chosen_sets(self.encoder).values()
        return {
            each.name: (len(self.clips), each.channels, height // each.stride, width // each.stride) for each in sets
        }

    @property
    def size_bytes(self) -> int:
        """Bytes of all maps."""
        return sum(4 * math.prod(shape) for shape in self.shapes.values())

    def written_down(self, part: Path) -> str:
        """What `about.json` says."""
        about = {
            "version": VERSION, "encoder": self.encoder.spec, "fingerprint": self.encoder.fingerprint,
            "rows": len(self.clips), "augmentation": self.augmentation, "augmented": bool(self.augmentation),
            "sha256": {name: file_sha256(part / f"{name}.npy") for name in self.shapes},
        }  # fmt: skip
        return json.dumps(about, indent=1) + "\n"


def _make(place: Path, asked: _Request) -> None:
    """Fill `place.part` block by block, from where an earlier run stopped, then give it its name."""
    part = place.with_name(f"{place.name}{_PART}")
    part.mkdir(exist_ok=True, mode=0o700)
    lock = FileLock(part / _LOCK)  # it moves with the folder: who waited for it finds the finished one
    try:
        lock.take(_WAIT_S, waiting=asked.tell)
    except FileNotFoundError:  # finished, and renamed, by somebody else just now
        return
    try:
        if not part.is_dir() or _read(place, asked.shapes) is not None:
            return
        _fill(part, asked)
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        part.replace(place)
    finally:
        lock.release()


def _fill(part: Path, asked: _Request) -> None:
    done = _done(part, asked.shapes)
    mode: Any = "r+" if done else "w+"
    files = {
        name: np.lib.format.open_memmap(part / f"{name}.npy", mode=mode, dtype=np.float32, shape=shape)
        for name, shape in asked.shapes.items()
    }
    count = len(asked.clips)
    for start in range(done, count, BLOCK):
        some = slice(start, min(start + BLOCK, count))
        for name, rows in asked.encoder.features(asked.clips[some], asked.at[some]).items():
            files[name][some] = rows
            files[name].flush()
        write_whole(part / _MARK, str(some.stop))
        asked.tell(f"encoded {some.stop:,} of {count:,} frames")
    write_whole(part / _ABOUT, asked.written_down(part))
    (part / _MARK).unlink()


def _done(part: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Rows that an earlier run has finished: 0 unless its files are what they should be."""
    try:
        done = int((part / _MARK).read_text())
    except (OSError, ValueError):
        return 0
    fits = all(_opened(part / f"{name}.npy", shape) is not None for name, shape in shapes.items())
    return done if fits and done > 0 else 0


def _read(place: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array] | None:
    """The maps that lie there; None unless all are whole."""
    about = _about(place)
    if about is None:
        return None
    found: dict[str, Array] = {}
    for name, shape in shapes.items():
        array = _opened(place / f"{name}.npy", shape)
        if array is None or content_sha256(place / f"{name}.npy") != about.get("sha256", {}).get(name):
            return None
        found[name] = array
    return found


def _opened(path: Path, shape: tuple[int, ...]) -> Array | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = array.shape == shape and array.dtype == np.float32
    return array if fits else None


def _about(place: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((place / _ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _folder_bytes(folder: Path) -> int:
    return sum(_stat_of(each)[0] for each in folder.glob("*"))


def _used_s(folder: Path) -> float:
    """When a finished one was asked for last, or an unfinished one written to."""
    return max((_stat_of(folder / name)[1] for name in (_ABOUT, _MARK, _LOCK)), default=0.0)


def _stat_of(path: Path) -> tuple[int, float]:
    try:
        found = path.stat()
    except OSError:  # somebody else has let go of it
        return 0, 0.0
    return found.st_size, found.st_mtime


def _busy(folder: Path) -> bool:
    """Whether a process fills it now."""
    if not folder.name.endswith(_PART):
        return False
    try:
        with (folder / _LOCK).open("rb") as file:
            return not try_lock(file.fileno())
    except OSError:
        return False
