"""Pretraining of a frame encoder: from one frame, the codes of what comes next, in all cells at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.encoders.dense_future import save_future_codes
from lightmeter.encoders.pretraining.schedule import Scheduled
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Draw, Footage, Window
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_SCORED = 64
_MOST_KEPT_BYTES = 256 << 20
TOKENS = "tokens"


@dataclass(frozen=True)
class FuturePretraining(Scheduled):
    """Masked cross-entropy of a tokenizer's codes, given the window's first frame (the last one where it is reversed).

    blank: share of windows of which all codes are hidden, so that only the frame can tell; of the others a share is
    hidden as MaskGIT does · motion: weight of cells that move, against 1 of those that stay · still: mean difference
    from the first frame, as a share of the range, up to which a cell stays · smoothing: share of the target over all
    codes · width, layers, heads, base, levels, condition, attention, norm: `nets.future_codes.FutureCodesPlan`
    Source: Chang et al. 2022, arXiv:2202.04200, §3.2; Yu et al. 2023, arXiv:2212.05199. Changed: `blank`, `motion`.
    """

    blank: float = 0.5
    motion: float = 4.0
    still: float = 0.01
    smoothing: float = 0.0
    width: int = 96
    layers: int = 2
    heads: int = 4
    base: int = 32
    levels: int = 3
    condition: Literal["add", "cross"] = "add"
    attention: Literal["full", "axial"] = "axial"
    norm: Literal["none", "batch", "group"] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("blank", self.blank), ("still", self.still), ("smoothing", self.smoothing)):
            if not 0 <= value <= 1:
                raise InvalidValueError(f"{name} must be 0 to 1, got {value}")
        if not 0 < self.motion < math.inf:
            raise InvalidValueError(f"motion must be above 0 and finite, got {self.motion}")

    def task(self, footage: Footage, *, seed: int, tokens: Tokenizer | None = None, device: str = "cpu") -> FutureTask:
        """At work on clips.  Raises InvalidValueError without tokens, or where sizes do not fit."""
        if tokens is None:
            raise InvalidValueError(
                "future must have tokens to predict, got none: pretrain a vqvae first, name its folder"
            )
        return FutureTask(self, footage, seed, tokens.to(device), device)


class FutureTask:
    """One predictor that learns."""

    def __init__(self, recipe: FuturePretraining, footage: Footage, seed: int, tokens: Tokenizer, device: str) -> None:
        from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan

        check_tokens(tokens, footage)
        self.recipe, self.footage, self.tokens, self.device = recipe, footage, tokens, device
        self.cells = Cells(tokens)
        stride = tokens.net.plan.downsample[1]
        plan = FutureCodesPlan(
            tokens.grid, tokens.count, stride, recipe.width, recipe.layers, recipe.heads, recipe.base, recipe.levels,
            recipe.condition, recipe.attention, recipe.norm,
        )  # fmt: skip
        clips = footage.learn
        self.draw = Draw(
            len(clips), tokens.cut.starts(clips.shape[1]), recipe.batch, recipe.steps, recipe.mirror, recipe.reverse,
            seed,
        )  # fmt: skip
        self.net = FutureCodes(plan).to(device)
        self.macs = plan.macs()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean of the cross-entropy in nats over hidden cells."""
        import torch

        from lightmeter.nets.masked_decoding import drawn_hidden

        windows = self.draw.windows(step)
        frames = self.tokens.cut.batch_of(self.footage.learn, windows)
        hidden = drawn_hidden(len(windows), self.tokens.grid)
        hidden |= (torch.rand(len(windows)) < self.recipe.blank)[:, None, None, None]
        self.net.train()
        nats, moves = self._nats(frames, self.cells.codes(frames, windows), hidden.to(self.device))
        weights = torch.where(moves, self.recipe.motion, 1.0)[hidden.to(self.device)]
        hit = nats[hidden.to(self.device)]
        told = {
            "nats": hit.mean(),
            "moving_nats": nats[moves].sum() / (moves & hidden.to(self.device)).sum().clamp(min=1),
        }
        return (weights * hit).sum() / weights.sum(), {name: float(each.detach()) for name, each in told.items()}

    def _nats(self, frames: Array, codes: Array, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each cell, 0 where it is not hidden, and whether it moves: [B, T', h, w]."""
        import torch
        from torch.nn import functional

        known = torch.from_numpy(codes).to(self.device)
        logits = self.net(first_frames(frames, self.device), known, hidden)
        nats = functional.cross_entropy(
            logits[hidden], known[hidden], reduction="none", label_smoothing=self.recipe.smoothing
        )
        moves = torch.from_numpy(moving_cells(frames, self.tokens.grid, self.recipe.still)).to(self.device)
        return torch.zeros_like(logits[..., 0]).masked_scatter(hidden, nats), moves

    def score(self) -> dict[str, float]:
        """On windows held out, everything hidden: the same loss, and the nats a cell, of all and of those that move."""
        clips = self.footage.held_out
        if clips is None:
            return {}
        import torch

        windows = self.tokens.cut.fixed(clips, _SCORED)
        hidden = torch.ones((1, *self.tokens.grid), dtype=torch.bool, device=self.device)
        sums = [0.0] * 4
        self.net.eval()
        with torch.inference_mode():
            for window in windows:
                frames = self.tokens.cut.batch_of(clips, [window])
                nats, moves = self._nats(frames, self.cells.codes(frames, [window], held_out=True), hidden)
                moving = nats[moves]
                found = float(nats.sum()), nats.numel(), float(moving.sum()), moving.numel()
                sums = [before + each for before, each in zip(sums, found, strict=True)]
        total, count, moved, moved_count = sums
        weighted = total + (self.recipe.motion - 1) * moved
        loss = weighted / (count + (self.recipe.motion - 1) * moved_count)
        made = {"loss": loss, "nats": total / count, "moving_share": moved_count / count}
        return {**made, "moving_nats": moved / moved_count} if moved_count else made

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """As `future-codes/path=FOLDER` reads it, its tokenizer inside."""
        self.tokens.save(folder / TOKENS, {"fingerprint": self.tokens.fingerprint})
        save_future_codes(folder, self.net, about)


class Cells:
    """Codes of windows, each computed once as long as they fit into memory.

    With a small net and 16 × 64 × 64 pixels an encoding takes 33 ms of CPU, a fifth to a third of what the predictor
    takes to learn from it; a long run sees each window several times.
    """

    def __init__(self, tokens: Tokenizer) -> None:
        self.tokens = tokens
        self.kept: dict[tuple[Window, bool], Array] = {}
        self.most = _MOST_KEPT_BYTES // (2 * math.prod(tokens.grid))

    def codes(self, frames: Array, windows: list[Window], *, held_out: bool = False) -> Array:
        """int64 [B, T', h, w] of frames uint8 [B, T, H, W, 3], which are what those windows show."""
        keys = [(window, held_out) for window in windows]
        new = [row for row, key in enumerate(keys) if key not in self.kept]
        fresh = dict(zip(new, self.tokens.codes(frames[new]), strict=True)) if new else {}
        made = np.stack(
            [fresh[row] if row in fresh else self.kept[key].astype(np.int64) for row, key in enumerate(keys)]
        )
        for row, each in fresh.items():
            if len(self.kept) < self.most:
                self.kept[keys[row]] = each.astype(np.uint16 if self.tokens.count <= 1 << 16 else np.int64)
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
