"""What comes next, drawn from one frame by a predictor that was pretrained."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lightmeter.assets.saving import load_model
from lightmeter.encoders.dense_future import KIND as FUTURE
from lightmeter.encoders.dense_future import layers_of, plan_of
from lightmeter.encoders.pretraining.cells import first_frames
from lightmeter.encoders.pretraining.prior_files import KIND as PRIOR
from lightmeter.encoders.pretraining.prior_files import load_prior
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer, filled
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import need
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from torch import Generator, Tensor

_CHANCE = 0x5A3D
_AT_ONCE = 16

Tell = Callable[[int, int], None]
"""Hears how many of how many steps are done."""


class Sampler(Protocol):
    """A predictor in use.

    tokens: what it predicts; of a window's frames, the first is given
    """

    tokens: Tokenizer

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one window, its pictures included."""
        ...

    def clips(self, first: Array, *, seed: int = 0, tell: Tell | None = None) -> Array:
        """Windows that begin with these frames: uint8 [B, H, W, 3] → uint8 [B, T, H, W, 3].

        Draws of a row depend on the seed and the row's number alone.
        """
        ...


class PriorSampler:
    """Cell after cell, keys and values of those before kept.

    temperature: 1 draws as it has learnt, 0 takes the likeliest · top_k: only so many of the likeliest, 0: all
    Cost: `macs` a window, in as many steps as there are cells.
    """

    def __init__(self, net: Any, tokens: Tokenizer, *, temperature: float = 1.0, top_k: int = 0) -> None:
        self.net, self.tokens, self.temperature, self.top_k = net, tokens, temperature, top_k

    @property
    def macs(self) -> int:
        """Of the look at the frame, of every cell after the other, of the pictures."""
        from lightmeter.nets.dense_videogpt import sampling_macs

        plan = self.net.plan
        seen = int(plan.conditioner.macs(*plan.frames[1:], flat=True))
        return sampling_macs(plan) + seen + _shown_macs(self.tokens)

    def clips(self, first: Array, *, seed: int = 0, tell: Tell | None = None) -> Array:
        """uint8 [B, H, W, 3] → uint8 [B, T, H, W, 3]"""
        return _in_parts(self, first, seed, tell)

    def codes(self, seen: Tensor, generators: list[Generator], tell: Callable[[float], None]) -> Tensor:
        """Codes int64 [B, T', h, w] for first frames float [B, 3, H, W] in -0.5..0.5."""
        import torch

        from lightmeter.nets.prior_cache import Choice

        choices = [Choice(self.temperature, self.top_k, each) for each in generators]
        cells = self.net.plan.tokens

        def choose(logits: Tensor) -> Tensor:
            return torch.cat([choice(row[None]) for choice, row in zip(choices, logits, strict=True)])

        table = self.tokens.net.codebook.embeddings
        made: Tensor = self.net.sample(
            table, self.net.seen(seen[:, :, None]), choose=choose, tell=lambda done: tell(done / cells)
        )
        return made


class FutureSampler:
    """Everything guessed at once and the surest kept, a few times over.

    steps: how often; 1 is plain parallel prediction · temperature: of the draws and of which are kept, 0: none
    Cost: so many passes of the transformer, and one look at the frame.
    """

    def __init__(self, net: Any, tokens: Tokenizer, *, steps: int = 8, temperature: float = 1.0) -> None:
        self.net, self.tokens, self.steps, self.temperature = net, tokens, steps, temperature

    @property
    def macs(self) -> int:
        """Of the look at the frame, of every guess, of the pictures."""
        return int(self.net.plan.decoding_macs(self.steps)) + _shown_macs(self.tokens)

    def clips(self, first: Array, *, seed: int = 0, tell: Tell | None = None) -> Array:
        """uint8 [B, H, W, 3] → uint8 [B, T, H, W, 3]"""
        return _in_parts(self, first, seed, tell)

    def codes(self, seen: Tensor, generators: list[Generator], tell: Callable[[float], None]) -> Tensor:
        """Codes int64 [B, T', h, w] for first frames float [B, 3, H, W] in -0.5..0.5."""
        import torch

        from lightmeter.nets.masked_decoding import decode_masked

        made = []
        for row, generator in enumerate(generators):
            guess = partial(self.net.logits, self.net.seen(self.net.maps(seen[row : row + 1])))
            made.append(
                decode_masked(
                    guess, 1, self.tokens.grid, steps=self.steps, temperature=self.temperature, generator=generator,
                    device=seen.device,
                )
            )  # fmt: skip
            tell((row + 1) / len(generators))
        return torch.cat(made)


def load_sampler(folder: Path | str, *, temperature: float = 1.0, steps: int = 8, device: str = "cpu") -> Sampler:
    """The predictor that `pretrain` left in a folder; steps: of one that guesses at once.

    Raises MissingAssetError, RejectedFileError for anything else, InvalidValueError for a frame encoder alone.
    """
    torch = need("torch", "torch")
    if not 0 <= temperature < math.inf:
        raise InvalidValueError(f"temperature must be 0 or more and finite, got {temperature}")
    torch.set_num_threads(threads())
    arrays, about = load_model(folder)
    if about.get("kind") == PRIOR:
        tokens, prior = load_prior(folder)
        return PriorSampler(prior.to(device), tokens.to(device), temperature=temperature)
    if about.get("kind") != FUTURE:
        raise RejectedFileError(
            "other-kind", f"{folder} must hold a predictor (future or prior), got {str(about.get('kind'))[:80]!r}"
        )
    from lightmeter.nets.future_codes import FutureCodes

    plan = plan_of(about)
    if about.get("whole") is not True or not (Path(folder) / TOKENS).is_dir():
        raise InvalidValueError(
            f"{folder} must hold the whole predictor and its tokens, got the frame encoder alone: it cannot draw"
        )
    tokens = Tokenizer.load(Path(folder) / TOKENS)
    if (plan.grid, plan.codes, plan.size) != (tokens.grid, tokens.count, tokens.size):
        raise RejectedFileError("damaged", f"the predictor and the tokens of {folder} must go together")
    net = filled(partial(FutureCodes, plan), arrays, {**layers_of(plan), "blocks.{}.norm.weight": plan.layers})
    return FutureSampler(net.to(device), tokens.to(device), steps=steps, temperature=temperature)


def _shown_macs(tokens: Tokenizer) -> int:
    return int(tokens.net.plan.decode_macs(tokens.cut.frames, *tokens.size))


def _in_parts(sampler: PriorSampler | FutureSampler, first: Array, seed: int, tell: Tell | None) -> Array:
    """Some windows at a time: codes of their first frames, then their pictures."""
    torch = need("torch", "torch")
    tokens, whole = sampler.tokens, 100
    check_axes("first", first, f"B {tokens.size[0]} {tokens.size[1]} 3", "uint8")
    made = [np.empty((0, tokens.cut.frames, *tokens.size, 3), np.uint8)]
    device = tokens.net.codebook.embeddings.device
    on_cpu = isinstance(sampler, FutureSampler)  # masked decoding draws there wherever the net is
    for start in range(0, len(first), _AT_ONCE):
        part = first[start : start + _AT_ONCE]
        numbers = range(start, start + len(part))
        generators = [torch.Generator("cpu" if on_cpu else device).manual_seed(_seed(seed, row)) for row in numbers]

        def told(share: float, start: int = start, count: int = len(part)) -> None:
            if tell is not None:
                tell(round(whole * (start + share * count) / len(first)), whole)

        with torch.inference_mode():
            drawn = sampler.codes(first_frames(part[:, None], device), generators, told)
        made.append(tokens.pictures(drawn.cpu().numpy(), part))
    return np.concatenate(made)


def _seed(seed: int, row: int) -> int:
    return int(np.random.SeedSequence([_CHANCE, seed, row]).generate_state(1, np.uint64)[0] >> 1)
