"""How an example set lies on disk: its columns, its manifest, and what a manifest from a stranger may say.

A set is a folder. Each shard is a handful of `.npy` files `00000.visual.npy` … and, written after them, `00000.json`;
when all shards stand, `set.json` is written and names every file with its size and sha256.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import Block
from lightmeter.meter.record import hash_of

SCHEMA = "lightmeter.example-set/1"
MANIFEST = "set.json"
MOST_MANIFEST_BYTES = 256 << 20
MOST_DIM = 1 << 20
MOST_BLOCKS = 64
MOST_FRAMES = 100_000
"""Frames an item: a manifest or an offset that says more is refused."""
YT8M_SCALE = 4 / 255
YT8M_OFFSET = 4 / 512 - 2
"""What an 8-bit feature of YouTube-8M stands for: `q * scale + offset`, -1.992 to 2.008."""

Storage = Literal["float32", "float16", "uint8", "int32"]
DTYPES: dict[str, str] = {"float32": "<f4", "float16": "<f2", "uint8": "|u1", "int32": "<i4"}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_SHARD = re.compile(r"[0-9]{5,9}")
_OWN = frozenset(["ids", "present", "lengths", "labels", "label-ends", "rated", "rated-ends"])
"""Columns of every set; no block may be called so."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A block and how its numbers lie on disk; those of uint8 stand for `q * scale + offset`."""

    block: Block
    storage: Storage
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.block.name) or self.block.name in _OWN:
            raise InvalidValueError(f"a block's name must be lower-case letters and digits, got {self.block.name!r}")
        fits = {"features": ("float32", "float16", "uint8"), "frames": ("uint8", "float16"), "tokens": ("int32",)}
        if self.storage not in fits[self.block.kind]:
            raise InvalidValueError(
                f"{self.block.name} ({self.block.kind}) must be stored as {' or '.join(fits[self.block.kind])}, "
                f"got {self.storage}"
            )
        if not 1 <= self.block.dim <= MOST_DIM or not (np.isfinite(self.scale) and np.isfinite(self.offset)):
            raise InvalidValueError(f"{self.block.name} must be of 1 to {MOST_DIM} finite numbers, got {self}")

    @classmethod
    def of(cls, block: Block) -> Stored:
        """What suits the kind: features as float16, frames as YouTube-8M's uint8, tokens as int32."""
        if block.kind == "frames":
            return cls(block, "uint8", YT8M_SCALE, YT8M_OFFSET)
        return cls(block, "int32" if block.kind == "tokens" else "float16")

    @property
    def dtype(self) -> np.dtype[Any]:
        """On disk."""
        return np.dtype(DTYPES[self.storage])

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        block = self.block
        affine = {"scale": self.scale, "offset": self.offset} if self.storage == "uint8" else {}
        return {
            "name": block.name, "kind": block.kind, "dim": block.dim, "made_by": block.made_by,
            "storage": self.storage, **affine,
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Stored:
        """The inverse of `as_json`; raises InvalidValueError, KeyError or TypeError for anything else."""
        name, kind, dim, made_by = (said[key] for key in ("name", "kind", "dim", "made_by"))
        texts = (name, kind, made_by, said["storage"])
        if any(not isinstance(each, str) for each in texts) or type(dim) is not int or said["storage"] not in DTYPES:
            raise InvalidValueError("a block must have a name, a kind, a dim and a storage")
        block = Block(name, kind, dim, made_by)
        return cls(block, said["storage"], float(said.get("scale", 1.0)), float(said.get("offset", 0.0)))


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a shard, as it was written."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: how much is in it, and its files by column.

    items, frames, labels: counts · rated: count of rated classes, None where all classes of all items are
    cursor: where its source stood when it ended, for those that go on from there
    """

    name: str
    items: int
    frames: int
    labels: int
    rated: int | None
    files: Mapping[str, ShardFile]
    cursor: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        files = {name: {"size_bytes": each.size_bytes, "sha256": each.sha256} for name, each in self.files.items()}
        return {
            "name": self.name, "items": self.items, "frames": self.frames, "labels": self.labels, "rated": self.rated,
            "files": files, "cursor": dict(self.cursor),
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Shard:
        """The inverse of `as_json`; raises InvalidValueError, KeyError, TypeError or AttributeError for anything else.

        Names are held to digits, and columns to names of blocks: nothing in a manifest can lead out of its folder.
        """
        counts = [said["items"], said["frames"], said["labels"], 0 if said["rated"] is None else said["rated"]]
        if any(type(each) is not int or not 0 <= each < 1 << 40 for each in counts):
            raise InvalidValueError("a shard's counts must be whole numbers")
        if not isinstance(said["name"], str) or not _SHARD.fullmatch(said["name"]):
            raise InvalidValueError(f"a shard's name must be digits, got {str(said['name'])[:40]!r}")
        files = {}
        for column, each in said["files"].items():
            if not _NAME.fullmatch(column):
                raise InvalidValueError(f"a column's name must be lower-case letters, got {column[:40]!r}")
            files[column] = ShardFile(int(each["size_bytes"]), str(each["sha256"]))
        items, frames, labels, _ = counts
        return cls(said["name"], items, frames, labels, said["rated"], files, dict(said["cursor"]))

    def path(self, folder: Path, column: str) -> Path:
        """Where one of its columns lies."""
        return folder / f"{self.name}.{column}.npy"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that `set.json` says. labelled: whether anybody knows the labels · about: where the set comes from."""

    blocks: tuple[Stored, ...]
    label_names: tuple[str, ...]
    shards: tuple[Shard, ...]
    labelled: bool
    about: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of blocks, label names and the hashes of all files.  Cost: none of the data is read."""
        files = [[shard.items, {name: each.sha256 for name, each in shard.files.items()}] for shard in self.shards]
        return hash_of([[each.as_json() for each in self.blocks], list(self.label_names), files])

    def as_json(self) -> dict[str, Any]:
        """For `set.json`."""
        return {
            "schema": SCHEMA,
            "blocks": [each.as_json() for each in self.blocks],
            "items": sum(each.items for each in self.shards),
            "labelled": self.labelled,
            "label_names": list(self.label_names),
            "about": dict(self.about),
            "shards": [each.as_json() for each in self.shards],
        }

    def columns(self, shard: Shard) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """What each file of a shard must hold: type (of `ids` only its letter, S) and shape."""
        wanted: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "ids": (np.dtype("S"), (shard.items,)),
            "present": (np.dtype(bool), (shard.items, len(self.blocks))),
        }
        if any(each.block.kind == "frames" for each in self.blocks):
            wanted["lengths"] = (np.dtype("<i4"), (shard.items,))
        if self.labelled:
            wanted["label-ends"] = (np.dtype("<i8"), (shard.items,))
            wanted["labels"] = (np.dtype("<i4"), (shard.labels,))
        if shard.rated is not None:
            wanted["rated-ends"] = (np.dtype("<i8"), (shard.items,))
            wanted["rated"] = (np.dtype("<i4"), (shard.rated,))
        for each in self.blocks:
            rows = shard.frames if each.block.kind == "frames" else shard.items
            wanted[each.block.name] = (each.dtype, (rows, each.block.dim))
        return wanted


def read_manifest(folder: Path) -> Manifest:
    """What `set.json` of a folder says.

    Raises RejectedFileError: `not-a-set`, `unfinished` (shards without it), `broken-manifest`.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if any(folder.glob("[0-9]*.json")):
            raise RejectedFileError("unfinished", f"{folder} holds a part of a set: run the same command again")
        raise RejectedFileError("not-a-set", f"{folder} must hold a {MANIFEST}: make a set with `lightmeter yt8m`")
    said = read_json(path)
    try:
        if said["schema"] != SCHEMA:
            raise InvalidValueError(f"its schema must be {SCHEMA}, got {str(said['schema'])[:60]!r}")
        return _manifest(said)
    except (InvalidValueError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RejectedFileError("broken-manifest", f"{path}: {str(error)[:200]}") from error


def _manifest(said: Mapping[str, Any]) -> Manifest:
    blocks = tuple(Stored.from_json(each) for each in said["blocks"])
    names = [each.block.name for each in blocks]
    if not 1 <= len(blocks) <= MOST_BLOCKS or len(set(names)) != len(names):
        raise InvalidValueError(f"a set must have 1 to {MOST_BLOCKS} blocks of different names, got {names[:9]}")
    labels = said["label_names"]
    if not isinstance(labels, list) or any(not isinstance(each, str) for each in labels):
        raise InvalidValueError("label_names must be texts")
    shards = tuple(Shard.from_json(each) for each in said["shards"])
    if len({each.name for each in shards}) != len(shards):
        raise InvalidValueError("shards must have different names")
    if type(said["labelled"]) is not bool or said["items"] != sum(each.items for each in shards):
        raise InvalidValueError("items must be what the shards hold together")
    return Manifest(blocks, tuple(labels), shards, said["labelled"], dict(said["about"]))


def read_json(path: Path) -> Any:
    """One JSON file that is no bigger than a manifest may be.  Raises RejectedFileError."""
    if path.stat().st_size > MOST_MANIFEST_BYTES:
        raise RejectedFileError("too-large", f"{path} must be at most {MOST_MANIFEST_BYTES} bytes")
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RejectedFileError("broken-manifest", f"{path} must be JSON: {str(error)[:200]}") from error
