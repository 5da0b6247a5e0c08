"""Which pieces of which clips are learnt from, step by step: a function of seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightmeter.engines.order import Order
from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import ClipSet, split_by_group
from lightmeter.types import Array

_CHANCE = 0x71D0
_SPLIT = "dev="
"""Of a fingerprint, before the share that the clips themselves say how to split."""


class Window(NamedTuple):
    """A piece of a clip: of which, from which frame on, and whether it is mirrored and shown backwards."""

    clip: int
    start: int = 0
    mirrored: bool = False
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """How windows are cut: so many frames, so many frames apart."""

    frames: int = 8
    every: int = 1

    def __post_init__(self) -> None:
        if min(self.frames, self.every) < 1:
            raise InvalidValueError(f"frames and every must be 1 or more, got {self.frames} and {self.every}")

    @property
    def span(self) -> int:
        """Frames of the clip from the first one on that a window reaches over."""
        return (self.frames - 1) * self.every + 1

    def starts(self, length: int) -> int:
        """How many places a window can start at in a clip; raises InvalidValueError where it does not fit."""
        if length < self.span:
            raise InvalidValueError(
                f"clips must have {self.span} frames or more for {self.frames} frames {self.every} apart, got {length}"
            )
        return length - self.span + 1

    def frames_of(self, clips: Array, window: Window) -> Array:
        """uint8 [frames, H, W, 3] out of uint8 [N, T, H, W, 3]."""
        found: Array = clips[window.clip][window.start : window.start + self.span : self.every]
        found = found[::-1] if window.backwards else found
        return np.ascontiguousarray(found[:, :, ::-1] if window.mirrored else found)

    def batch_of(self, clips: Array, windows: Sequence[Window]) -> Array:
        """uint8 [B, frames, H, W, 3]"""
        return np.stack([self.frames_of(clips, each) for each in windows])

    def fixed(self, clips: Array, most: int) -> list[Window]:
        """The windows that a net is scored on: the middle of clips, spread evenly over them."""
        rows = np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int))
        start = (self.starts(clips.shape[1]) - 1) // 2
        return [Window(int(row), start) for row in rows]


@dataclass(frozen=True, slots=True)
class Draw:
    """`windows(step)` of a run: clips epoch after epoch, each from a frame, mirrored and reversed as chance has it."""

    items: int
    starts: int
    batch: int
    steps: int
    mirror: bool
    reverse: bool
    seed: int

    def windows(self, step: int) -> list[Window]:
        """What a step learns from."""
        rows = Order(self.items, self.batch, -(-self.steps * self.batch // self.items), self.seed).rows(step)
        chance = np.random.default_rng([_CHANCE, self.seed, step])
        starts = chance.integers(0, self.starts, len(rows))
        mirrored, backwards = chance.random((2, len(rows))) < 0.5
        return [
            Window(int(row), int(start), bool(turned and self.mirror), bool(back and self.reverse))
            for row, start, turned, back in zip(rows, starts, mirrored, backwards, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """Clips to learn from and clips of other scenes to be scored on, uint8 [N, T, H, W, 3]; where they come from."""

    learn: Array
    held_out: Array | None
    fingerprint: str

    def __post_init__(self) -> None:
        if not len(self.learn):
            raise InvalidValueError("there must be a clip to learn from, got none")
        if self.held_out is not None and self.held_out.shape[1:] != self.learn.shape[1:]:
            raise InvalidValueError(
                f"clips held out must be {list(self.learn.shape[1:])} as those learnt from, got "
                f"{list(self.held_out.shape[1:])}"
            )

    @classmethod
    def of(
        cls, clips: ClipSet, *, held_out: ClipSet | None = None, share: float = 0.0, seed: int | None = None
    ) -> Footage:
        """From a set, and either another one that is held out, or a share of its scenes; or neither.

        seed: of which scenes are held out; None: told by the clips themselves, so that all runs on them hold out the
        same ones, tokenizers and what is built on them alike.
        Raises InvalidValueError where a clip that is held out is also learnt from.
        Cost: clips stay where they are when nothing is split off, else those learnt from are copied into memory; of a
        set that is held out and of the other one, every first frame is read.
        """
        if held_out is not None:
            _check_apart(clips, held_out)
            return cls(clips.frames, held_out.frames, f"{clips.fingerprint} {held_out.fingerprint}")
        if not share:
            return cls(clips.frames, None, clips.fingerprint)
        by = int.from_bytes(hashlib.sha256(clips.fingerprint.encode()).digest()[:8]) if seed is None else seed
        learn, kept = split_by_group(clips.scenes, share=share, seed=by)
        said = f"{_SPLIT}{share}" if seed is None else f"{share} {seed}"
        return cls(clips.frames[learn], clips.frames[kept], f"{clips.fingerprint} {said}")

    def check_unseen(self, data: object, what: str) -> None:
        """Raises InvalidValueError where another run has surely learnt from what is held out here.

        data: the fingerprint of its footage · what: that run, in the sentence
        Of other clips, nothing is known and nothing is said.
        """
        clips, _, rest = str(data).partition(" ")
        mine, _, kept = self.fingerprint.partition(" ")
        split = kept.startswith(_SPLIT) or " " in kept
        if (split and clips == mine and rest != kept) or (clips and clips == kept):
            raise InvalidValueError(
                f"clips that are held out must be new to {what}, got some that it has learnt from: hold out what was "
                "held out there (--dev, --held-out)"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.learn.shape[2]), int(self.learn.shape[3])


def _check_apart(clips: ClipSet, held_out: ClipSet) -> None:
    """Raises InvalidValueError where two sets share a clip: alike in their first frames, and then in all."""
    if clips.fingerprint and clips.fingerprint == held_out.fingerprint:
        raise InvalidValueError("clips held out must be of other scenes, got those that are learnt from: name others")
    if clips.frames.shape[1:] != held_out.frames.shape[1:]:
        return
    firsts: dict[bytes, list[int]] = {}
    for row in range(len(held_out)):
        firsts.setdefault(_first_hash(held_out.frames, row), []).append(row)
    for row in range(len(clips)):
        others = firsts.get(_first_hash(clips.frames, row), [])
        if any(np.array_equal(clips.frames[row], held_out.frames[other]) for other in others):
            raise InvalidValueError(
                f"clips held out must be of other scenes, got clip {row} in both: simulate them with another --seed"
            )


def _first_hash(clips: Array, row: int) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(clips[row][0]).data).digest()
