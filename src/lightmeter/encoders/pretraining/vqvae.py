"""Pretraining of a tokenizer: a 3D VQ-VAE that says windows of frames, or what changes in them, in few codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.encoders.pretraining.cells import STILL, moving_cells
from lightmeter.encoders.pretraining.diagnostics import diagnosed_codes, ranks, standing_windows
from lightmeter.encoders.pretraining.schedule import Scheduled
from lightmeter.encoders.pretraining.tokenizer import Of, Tokenizer, seen_pixels, shown_pixels
from lightmeter.encoders.pretraining.windows import Cut, Draw, Footage
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_SCORED = 64
_MEASURED = 128
_LEAST_VARIANCE = 1e-4
MOVES = 0.02
"""A pixel that differs by more than this share of the range from the first frame moves."""


@dataclass(frozen=True)
class VqVaePretraining(Scheduled):
    """Squared error over variance, plus commitment; codes follow by running means and are drawn anew when not used.

    of: `frames`, as VideoGPT has it, or `changes`, less the window's first frame: what stays still is then one code
    frames, every: of a window, and how far apart · hiddens, layers, downsample, dim, codes: `nets.vqvae.VqVaePlan`
    variance: what the error is divided by; 0: that of what is shown, measured. The public code has 0.06 for BAIR.
    least_use: latents a step, on running average, below which a code is drawn anew
    Source: Yan et al. 2021, arXiv:2104.10157, §3.1. Changed: AdamW with a cosine in place of Adam at one rate.
    """

    of: Of = "changes"
    frames: int = 8
    every: int = 1
    hiddens: int = 64
    layers: int = 1
    downsample: tuple[int, ...] = (4, 4, 4)
    dim: int = 64
    codes: int = 512
    variance: float = 0.0
    least_use: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Cut(self.frames, self.every)
        if min(self.variance, self.least_use) < 0:
            raise InvalidValueError(f"variance and least_use must be 0 or more, got {self}")

    def task(self, footage: Footage, *, seed: int, tokens: Tokenizer | None = None, device: str = "cpu") -> VqVaeTask:
        """At work on clips; without tokens.  Raises InvalidValueError for sizes that do not divide."""
        if tokens is not None:
            raise InvalidValueError("vqvae must have no tokens, got some: it makes them")
        return VqVaeTask(self, footage, seed, device)


class VqVaeTask:
    """One tokenizer that learns."""

    def __init__(self, recipe: VqVaePretraining, footage: Footage, seed: int, device: str) -> None:
        from lightmeter.nets.vqvae import VqVae, VqVaePlan

        self.recipe, self.footage, self.device = recipe, footage, device
        self.cut = Cut(recipe.frames, recipe.every)
        first, second, third = recipe.downsample if len(recipe.downsample) == 3 else (0, 0, 0)
        plan = VqVaePlan(recipe.hiddens, recipe.layers, (first, second, third), recipe.dim, recipe.codes)
        plan.grid(recipe.frames, *footage.size)
        self.macs = plan.encode_macs(recipe.frames, *footage.size) + plan.decode_macs(recipe.frames, *footage.size)
        clips = footage.learn
        self.draw = Draw(
            len(clips), self.cut.starts(clips.shape[1]), recipe.batch, recipe.steps, recipe.mirror, recipe.reverse, seed
        )
        self.net = VqVae(plan).to(device)
        self.net.codebook.least_use = recipe.least_use
        self.variance = recipe.variance or self._measured()

    def _measured(self) -> float:
        """Mean square of what is shown, less its mean for frames, over some windows."""
        windows = self.cut.batch_of(self.footage.learn, self.cut.fixed(self.footage.learn, _MEASURED))
        pixels = windows.astype(np.float32) / 255
        found = pixels.var() if self.recipe.of == "frames" else np.square(pixels - pixels[:, :1]).mean()
        return max(float(found), _LEAST_VARIANCE)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Error over variance, plus commitment."""
        from torch.nn import functional

        seen = self._seen(self.cut.batch_of(self.footage.learn, self.draw.windows(step)))
        self.net.train()
        made = self.net(seen)
        error = functional.mse_loss(made.clips, seen) / self.variance
        told = {"error": error, "commitment": made.commitment, "perplexity": made.perplexity}
        return error + made.commitment, {name: float(each.detach()) for name, each in told.items()}

    def score(self) -> dict[str, float]:
        """Loss, PSNR (all pixels, and those that move), codes in use and their perplexity, on windows held out."""
        clips = self.footage.held_out
        if clips is None:
            return {}
        import torch

        from lightmeter.nets.codebook import perplexity

        sums, counts = Errors(), torch.zeros(self.recipe.codes)
        loss = 0.0
        windows = self.cut.fixed(clips, _SCORED)
        self.net.eval()
        with torch.inference_mode():
            for window in windows:
                frames = self.cut.batch_of(clips, [window])
                seen = self._seen(frames)
                made = self.net(seen)
                loss += float((made.clips - seen).square().mean() / self.variance + made.commitment) / len(windows)
                first = torch.from_numpy(frames[:, 0]).to(self.device)
                shown = shown_pixels(made.clips, first, self.recipe.of)[0].movedim(0, -1).cpu().numpy()
                sums.add(shown, frames[0].astype(np.float32) / 255)
                counts += torch.bincount(made.codes.flatten(), minlength=self.recipe.codes).float().cpu()
        used = {"codes_used": float((counts > 0).sum()), "perplexity": float(perplexity(counts))}
        return {"loss": loss, **sums.result(), **used}

    def diagnosed(self, windows: Array) -> dict[str, Any]:
        """How codes are used, and how many directions there are before quantisation."""
        import torch

        self.net.eval()
        tokens = self.tokenizer()
        with torch.inference_mode():
            maps = ({"before": self.net.latents(self._seen(each[None]))} for each in windows)
            moves = moving_cells(windows, tokens.grid, STILL)
            standing = tokens.codes(standing_windows(windows))
            codes = diagnosed_codes(tokens.codes(windows), tokens.count, moves, standing)
            return {"codes": codes, "effective_rank": ranks(maps)}

    def shown(self, windows: Array) -> dict[str, Array]:
        """Windows through their codes and back: uint8 [B, T, H, W, 3]."""
        self.net.eval()
        return {"recoded": self.tokenizer().recoded(windows)}

    def _seen(self, windows: Array) -> Tensor:
        import torch

        return seen_pixels(torch.from_numpy(windows).to(self.device), self.recipe.of)

    def tokenizer(self) -> Tokenizer:
        """The net as it stands, in use."""
        return Tokenizer(self.net, self.recipe.of, self.cut, self.footage.size)

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """As `Tokenizer.load` reads it."""
        self.tokenizer().save(folder, {**about, "variance": self.variance})


class Errors:
    """Squared errors of predicted windows in 0..1, pooled: over everything, and over what moves."""

    def __init__(self) -> None:
        self.all = self.moving = self.frozen = 0.0
        self.count = self.moved = 0

    def add(self, made: Array, truth: Array) -> None:
        """Float [T, H, W, 3] each, of which the first frame of `truth` is known."""
        squares = np.square(made.astype(np.float64) - truth).mean(-1)
        changes = np.abs(truth - truth[:1])
        moves = changes.max(-1) > MOVES
        self.all += float(squares.sum())
        self.moving += float(squares[moves].sum())
        self.frozen += float(np.square(changes[moves]).mean(-1).sum()) if moves.any() else 0.0
        self.count += squares.size
        self.moved += int(moves.sum())

    def result(self) -> dict[str, float]:
        """PSNR in dB: of all, of pixels that move, and of these if the first frame stayed (the floor)."""
        made = {"psnr_db": _psnr(self.all, self.count)}
        if self.moved:
            made["moving_psnr_db"] = _psnr(self.moving, self.moved)
            made["frozen_moving_psnr_db"] = _psnr(self.frozen, self.moved)
        return made


def _psnr(squares: float, count: int) -> float:
    return float(-10 * np.log10(max(squares / max(count, 1), 1e-10)))
