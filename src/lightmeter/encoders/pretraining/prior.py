"""Pretraining of VideoGPT's prior: codes of a window one by one, and the conditioner that sees its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightmeter.encoders.pretraining.cells import Cells, NatSums, check_tokens, first_frames, moving_cells
from lightmeter.encoders.pretraining.diagnostics import conditioning_gap, diagnosed_codes, ranks, standing_windows
from lightmeter.encoders.pretraining.prior_files import save_prior
from lightmeter.encoders.pretraining.sampling import PriorSampler
from lightmeter.encoders.pretraining.schedule import Scheduled
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Draw, Footage
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_SCORED = 32
_STRIDE = 4


@dataclass(frozen=True)
class PriorPretraining(Scheduled):
    """Cross-entropy of a tokenizer's codes, each from those before it in raster order and the window's first frame.

    width, layers, heads, attention, dropout, attention_dropout: `nets.video_prior.PriorPlan` · base, blocks, dim: of
    the frame's net, `nets.frame_resnet.FrameResNetPlan`; it learns as the 2D net that the 3D one is for one frame
    still: as in `future`; cells that move are told of, and weigh no more than others
    The published sizes are width=576, layers=8, attention=sparse, base=64, blocks=[3,4,6,3], dim=240, dropout=0.2.
    Source: Yan et al. 2021, arXiv:2104.10157, §3.2. Changed: AdamW with a warm-up in place of Adam; smaller sizes.
    """

    width: int = 96
    layers: int = 2
    heads: int = 4
    attention: Literal["full", "sparse"] = "full"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    base: int = 32
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    dim: int = 96
    still: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.still <= 1:
            raise InvalidValueError(f"still must be 0 to 1, got {self.still}")
        if len(self.blocks) != 4:
            raise InvalidValueError(f"blocks must be four counts, got {self.blocks}")

    def task(self, footage: Footage, *, seed: int, tokens: Tokenizer | None = None, device: str = "cpu") -> PriorTask:
        """At work on clips.  Raises InvalidValueError without tokens, or where sizes do not fit."""
        if tokens is None:
            raise InvalidValueError(
                "prior must have tokens to predict, got none: pretrain a vqvae first, name its folder"
            )
        return PriorTask(self, footage, seed, tokens.to(device), device)

    def plan(self, tokens: Tokenizer) -> Any:
        """The `PriorPlan` for some tokens."""
        from lightmeter.nets.frame_resnet import FrameResNetPlan
        from lightmeter.nets.video_prior import PriorPlan

        first, second, third, fourth = self.blocks
        return PriorPlan(
            tokens.grid, tokens.count, tokens.net.plan.dim, self.width, self.layers, self.heads, self.attention,
            FrameResNetPlan(_STRIDE, self.dim, (first, second, third, fourth), self.base), (1, *tokens.size),
            self.dropout, self.attention_dropout,
        )  # fmt: skip


class PriorTask:
    """One prior that learns; the tokenizer stays as it is."""

    def __init__(self, recipe: PriorPretraining, footage: Footage, seed: int, tokens: Tokenizer, device: str) -> None:
        from lightmeter.nets.video_prior import VideoPrior

        check_tokens(tokens, footage)
        self.recipe, self.footage, self.tokens, self.device = recipe, footage, tokens, device
        self.cells, self.cut = Cells(tokens), tokens.cut
        plan, clips = recipe.plan(tokens), footage.learn
        self.draw = Draw(
            len(clips), tokens.cut.starts(clips.shape[1]), recipe.batch, recipe.steps, recipe.mirror, recipe.reverse,
            seed,
        )  # fmt: skip
        self.net = VideoPrior(plan)
        self.net.resnet = self.net.resnet.collapsed()  # with one frame the other slices get no gradient, ever
        self.net.to(device)
        height, width = tokens.size
        deep, flat = (plan.conditioner.macs(height, width, flat=each) for each in (False, True))
        self.macs = plan.macs() - deep + flat

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean cross-entropy in nats a cell."""
        windows = self.draw.windows(step)
        frames = self.tokens.cut.batch_of(self.footage.learn, windows)
        self.net.train()
        nats, moves = self._nats(frames, self.cells.codes(frames, windows), first_frames(frames, self.device))
        loss = nats.mean()
        moving = (nats.detach() * moves).sum() / moves.sum().clamp(min=1)
        return loss, {"nats": float(loss.detach()), "moving_nats": float(moving)}

    def _nats(self, frames: Array, codes: Array, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each cell given those before it, and whether it moves: [B, T', h, w]."""
        import torch
        from torch.nn import functional

        known = torch.from_numpy(codes).to(self.device)
        logits = self.net(self.tokens.net.codebook.embeddings[known], seen[:, :, None])
        nats = functional.cross_entropy(logits.movedim(-1, 1), known, reduction="none")
        moves = torch.from_numpy(moving_cells(frames, self.tokens.grid, self.recipe.still)).to(self.device)
        return nats, moves

    def score(self) -> dict[str, float]:
        """On windows held out: nats a cell, of all and of those that move."""
        clips = self.footage.held_out
        if clips is None:
            return {}
        import torch

        sums = NatSums()
        self.net.eval()
        with torch.inference_mode():
            for window in self.tokens.cut.fixed(clips, _SCORED):
                frames = self.tokens.cut.batch_of(clips, [window])
                codes = self.cells.codes(frames, [window], held_out=True)
                sums.add(*self._nats(frames, codes, first_frames(frames, self.device)))
        return sums.result()

    def diagnosed(self, windows: Array) -> dict[str, Any]:
        """How codes are used, how many directions the conditioner's maps have, how much the frame tells."""
        import torch

        self.net.eval()
        codes = self.tokens.codes(windows)
        moves = moving_cells(windows, self.tokens.grid, self.recipe.still)

        def nats(rows: slice, seen: Tensor) -> Tensor:
            made: Tensor = self._nats(windows[rows], codes[rows], seen)[0]
            return made

        with torch.inference_mode():
            seen = first_frames(windows, self.device)
            maps = (self.net.resnet.stages(each[None, :, None]) for each in seen)
            named = ({f"group{at}": each[:, :, 0] for at, each in enumerate(stages, 1)} for stages in maps)
            return {
                "codes": diagnosed_codes(codes, self.tokens.count, moves, self.tokens.codes(standing_windows(windows))),
                "effective_rank": ranks(named),
                "conditioning": conditioning_gap(nats, seen, moves),
            }

    def shown(self, windows: Array) -> dict[str, Array]:
        """Windows drawn from their first frames, and what their codes can show: uint8 [B, T, H, W, 3] each."""
        drawn = self.sampler().clips(windows[:, 0])
        return {"predicted": drawn, "recoded": self.tokens.recoded(windows)}

    def sampler(self) -> PriorSampler:
        """The net as it stands, in use."""
        self.net.eval()
        return PriorSampler(self.net, self.tokens)

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """As `videogpt-prior/path=FOLDER` and `videogpt-frame/path=FOLDER` read it, its tokenizer inside."""
        save_prior(folder, self.net, self.tokens, about)
