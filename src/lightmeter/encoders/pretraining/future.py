"""Pretraining of a frame encoder: from one frame, the codes of what comes next, in all cells at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightmeter.encoders.dense_future import save_future_codes
from lightmeter.encoders.pretraining.cells import Cells, NatSums, check_tokens, first_frames, moving_cells
from lightmeter.encoders.pretraining.diagnostics import conditioning_gap, diagnosed_codes, ranks, standing_windows
from lightmeter.encoders.pretraining.sampling import FutureSampler
from lightmeter.encoders.pretraining.schedule import Scheduled
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer
from lightmeter.encoders.pretraining.windows import Draw, Footage
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_SCORED = 64
_SAMPLED = 8


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
        self.cells, self.cut = Cells(tokens), tokens.cut
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
        """Weighted mean of the cross-entropy over hidden cells, targets smoothed; the nats beside it are plain."""
        import torch
        from torch.nn import functional

        from lightmeter.nets.masked_decoding import drawn_hidden

        windows = self.draw.windows(step)
        frames = self.tokens.cut.batch_of(self.footage.learn, windows)
        hidden = drawn_hidden(len(windows), self.tokens.grid)
        hidden |= (torch.rand(len(windows)) < self.recipe.blank)[:, None, None, None]
        hidden = hidden.to(self.device)
        self.net.train()
        logits, known = self._asked(frames, self.cells.codes(frames, windows), hidden)
        nats, smoothing = functional.cross_entropy(logits, known, reduction="none"), self.recipe.smoothing
        terms = nats
        if smoothing:
            terms = functional.cross_entropy(logits, known, reduction="none", label_smoothing=smoothing)
        moves = self._moves(frames)[hidden]
        weights = torch.where(moves, self.recipe.motion, 1.0)
        told = {"nats": nats.mean(), "moving_nats": nats[moves].sum() / moves.sum().clamp(min=1)}
        return (weights * terms).sum() / weights.sum(), {name: float(each.detach()) for name, each in told.items()}

    def _asked(self, frames: Array, codes: Array, hidden: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [n, K] of the n cells that are hidden, and their codes [n].

        seen: what is taken for the first frames, where these are not
        """
        import torch

        known = torch.from_numpy(codes).to(self.device)
        logits = self.net(first_frames(frames, self.device) if seen is None else seen, known, hidden)
        return logits[hidden], known[hidden]

    def _nats(self, frames: Array, codes: Array, seen: Tensor | None = None) -> Tensor:
        """Cross-entropy of each cell where all are hidden, [B, T', h, w]."""
        import torch
        from torch.nn import functional

        hidden = torch.ones(codes.shape, dtype=torch.bool, device=self.device)
        return functional.cross_entropy(*self._asked(frames, codes, hidden, seen), reduction="none").view(codes.shape)

    def _moves(self, frames: Array) -> Tensor:
        import torch

        return torch.from_numpy(moving_cells(frames, self.tokens.grid, self.recipe.still)).to(self.device)

    def score(self) -> dict[str, float]:
        """On windows held out, all hidden: nats a cell, of all and of those that move; `loss`: weighed as they are."""
        clips = self.footage.held_out
        if clips is None:
            return {}
        import torch

        windows = self.tokens.cut.fixed(clips, _SCORED)
        sums = NatSums()
        self.net.eval()
        with torch.inference_mode():
            for window in windows:
                frames = self.tokens.cut.batch_of(clips, [window])
                nats = self._nats(frames, self.cells.codes(frames, [window], held_out=True))
                sums.add(nats, self._moves(frames))
        return sums.result(self.recipe.motion)

    def diagnosed(self, windows: Array) -> dict[str, Any]:
        """How codes are used, how many directions the frame's maps have, how much the frame tells, all codes hidden."""
        import torch

        self.net.eval()
        codes = self.tokens.codes(windows)
        moves = moving_cells(windows, self.tokens.grid, self.recipe.still)

        def nats(rows: slice, seen: Tensor) -> Tensor:
            return self._nats(windows[rows], codes[rows], seen)

        with torch.inference_mode():
            seen = first_frames(windows, self.device)
            maps = (self.net.maps(each[None]) for each in seen)
            named = ({f"stride{stride}": each for stride, each in made.items()} for made in maps)
            return {
                "codes": diagnosed_codes(codes, self.tokens.count, moves, self.tokens.codes(standing_windows(windows))),
                "effective_rank": ranks(named),
                "conditioning": conditioning_gap(nats, seen, moves),
            }

    def shown(self, windows: Array) -> dict[str, Array]:
        """Windows drawn from their first frames, and what their codes can show: uint8 [B, T, H, W, 3] each."""
        drawn = self.sampler().clips(windows[:, 0])
        return {"predicted": drawn, "recoded": self.tokens.recoded(windows)}

    def sampler(self) -> FutureSampler:
        """The net as it stands, in use."""
        self.net.eval()
        return FutureSampler(self.net, self.tokens, steps=min(_SAMPLED, math.prod(self.tokens.grid)))

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """As `future-codes/path=FOLDER` reads it, its tokenizer inside."""
        self.tokens.save(folder / TOKENS, {"fingerprint": self.tokens.fingerprint})
        save_future_codes(folder, self.net, about)
