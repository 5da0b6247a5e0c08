"""What predictors of codes have in common: codes of windows, which cells move, how well they are told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Footage, Window
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_MOST_KEPT_BYTES = 256 << 20
STILL = 0.01
"""Mean difference from the first frame, as a share of the range, up to which a cell is said to stay."""


class Cells:
    """Codes of windows, each computed once as long as they fit into memory.

    With a small net and 16 × 64 × 64 pixels an encoding takes 33 ms of CPU, a fifth to a third of what the predictor
    takes to learn from it; a long run sees each window several times.
    """

    def __init__(self, tokens: Tokenizer) -> None:
        self.tokens = tokens
        self.kept: dict[tuple[Window, bool], int] = {}
        kind = np.uint16 if tokens.count <= 1 << 16 else np.int64
        # one block for all: thousands of small arrays between a run's large ones would hold gigabytes of the heap
        self.store = np.empty(
            (_MOST_KEPT_BYTES // (np.dtype(kind).itemsize * math.prod(tokens.grid)), *tokens.grid), kind
        )

    def codes(self, frames: Array, windows: list[Window], *, held_out: bool = False) -> Array:
        """int64 [B, T', h, w] of frames uint8 [B, T, H, W, 3], which are what those windows show."""
        keys = [(window, held_out) for window in windows]
        new = [row for row, key in enumerate(keys) if key not in self.kept]
        fresh = dict(zip(new, self.tokens.codes(frames[new]), strict=True)) if new else {}
        made = np.empty((len(windows), *self.tokens.grid), np.int64)
        for row, key in enumerate(keys):
            made[row] = fresh[row] if row in fresh else self.store[self.kept[key]]
        for row, each in fresh.items():
            if len(self.kept) < len(self.store):
                place = self.kept.setdefault(keys[row], len(self.kept))
                self.store[place] = each
        return made


def check_tokens(tokens: Tokenizer, footage: Footage) -> None:
    """Raises InvalidValueError for clips of another size, and for cells that are not square."""
    if tokens.size != footage.size:
        raise InvalidValueError(
            f"clips must be {tokens.size} pixels high and wide for these tokens, got {footage.size}"
        )
    _, high, wide = tokens.net.plan.downsample
    if high != wide:
        raise InvalidValueError(f"tokens must be square cells, got {high} × {wide} pixels")


def first_frames(frames: Array, device: str = "cpu") -> Tensor:
    """uint8 [B, T, H, W, 3] → float [B, 3, H, W] in -0.5..0.5, of the first."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames[:, 0])).to(device).movedim(-1, 1).float() / 255 - 0.5


def moving_cells(frames: Array, grid: tuple[int, int, int], still: float) -> Array:
    """Which cells differ from the first frame: uint8 [B, T, H, W, 3] → bool [B, T', h, w].

    still: mean difference over a cell's pixels in one of its frames, as a share of the range, up to which it stays
    """
    batch, length, height, width, _ = frames.shape
    times, rows, columns = grid
    change = np.abs(frames.astype(np.int16) - frames[:, :1].astype(np.int16)).mean(-1, dtype=np.float32)
    blocks = change.reshape(batch, times, length // times, rows, height // rows, columns, width // columns)
    found: Array = blocks.mean((4, 6)).max(2) > still * 255
    return found


class NatSums:
    """Nats of cells, pooled: over all, and over those that move."""

    def __init__(self) -> None:
        self.all = self.moving = 0.0
        self.count = self.moved = 0

    def add(self, nats: Tensor, moves: Tensor) -> None:
        """Nats float [B, T', h, w] of cells, and whether each moves."""
        moving = nats[moves]
        self.all += float(nats.sum())
        self.count += nats.numel()
        self.moving += float(moving.sum())
        self.moved += moving.numel()

    def result(self, motion: float = 1.0) -> dict[str, float]:
        """Nats a cell; `loss`: the mean with cells that move counted so many times."""
        loss = (self.all + (motion - 1) * self.moving) / (self.count + (motion - 1) * self.moved)
        made = {"loss": loss, "nats": self.all / self.count, "moving_share": self.moved / self.count}
        return {**made, "moving_nats": self.moving / self.moved} if self.moved else made
