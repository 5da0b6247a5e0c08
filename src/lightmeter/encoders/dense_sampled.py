"""A future that a pretrained predictor draws from one picture, shown to any encoder of clips as if it were filmed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.encoders.by_path import content_sha256, settle
from lightmeter.encoders.dense import DenseEncoder, FeatureSet, at_least
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.parts import Spelled
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from lightmeter.encoders.pretraining.sampling import Sampler


@dataclass(frozen=True)
class SampledFuture(Spelled):
    """Maps that another encoder makes of a clip drawn from the labelled frame: the policy `sampled` for all of them.

    The clip begins with the labelled frame, which is the moment that `pool=at` takes, and goes on as the predictor has
    learnt, as many frames apart as it was trained on. Same picture, same seed: same future. Frames must be of the size
    of the predictor's clips. It cannot be fine-tuned.
    Cost: `macs` of `of`, and of the drawing (`Sampler.macs`) for every frame.
    Source: `encoders.pretraining.sampling`.

    of: an encoder in brackets that looks at 2 frames or more with clip=real, such as
    (videomae/folder='…',frames=8,clip=real) · model: a folder of `segment pretrain` with a `future` or a `prior` in it
    seed, temperature: of what is drawn · steps: of a predictor that guesses at once, 8 where none; a prior has none
    device: `cpu` or `cuda`, of the predictor
    """

    of: DenseEncoder
    model: Path
    seed: int = 0
    temperature: float = 1.0
    steps: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        settle(self, "model")
        at_least("seed", self.seed, 0)
        at_least("steps", 1 if self.steps is None else self.steps)
        if not 0 <= self.temperature < math.inf:
            raise InvalidValueError(f"temperature must be 0 or more and finite, got {self.temperature}")
        if getattr(self.of, "clip", None) != "real" or self.of.frames < 2:
            raise InvalidValueError(f"of must look at 2 frames or more with clip=real, got {self.of.spec}")

    @property
    def clip(self) -> str:
        """How its clips come of a picture."""
        return "sampled"

    @property
    def feature_sets(self) -> Mapping[str, FeatureSet]:
        """As of `of`."""
        return self.of.feature_sets

    @property
    def chosen(self) -> tuple[str, ...]:
        """As of `of`."""
        return self.of.chosen

    @property
    def size_multiple(self) -> int:
        """As of `of`."""
        return self.of.size_multiple

    @property
    def frames(self) -> int:
        """As of `of`."""
        return self.of.frames

    @property
    def fingerprint(self) -> str:
        """Of the options, `of` and what the folder holds."""
        drawn = [self.seed, self.temperature, self.steps, content_sha256(self.model)]
        return hash_of([type(self).__name__, *drawn, self.of.fingerprint])

    def windows(self, clips: Array, at: Array) -> tuple[Array, Array]:
        """The drawn frames that `of` looks at, uint8 [N, frames, H, W, 3]; the labelled one is the first of each."""
        return self.of.windows(*self._drawn(clips, at))

    def seen(self, clips: Array, at: Array) -> Iterator[tuple[Array, int]]:
        """What the maps of every row depend on: the labelled frame alone."""
        self._check(clips, at)
        for row in range(len(clips)):
            yield clips[row, int(at[row])][None], 0

    def features(self, clips: Array, at: Array) -> dict[str, Array]:
        """Clips uint8 [N, T, H, W, 3], frames int64 [N] -> float32 [N, C, h, w] by name; one future a row."""
        return self.of.features(*self._drawn(clips, at))

    def macs(self, height: int, width: int) -> int:
        """Of `of` and of drawing one clip."""
        return self.of.macs(height, width) + self._sampler().macs

    def net(self) -> Any:
        """Raises InvalidValueError: each step would draw anew."""
        raise InvalidValueError(
            "an encoder that draws a future cannot be fine-tuned: take the one inside it, with clip=static or clip=real"
        )

    def _sampler(self) -> Sampler:
        found = _sampler(self.model, content_sha256(self.model), self.temperature, self.steps, self.device)
        most = found.tokens.cut.frames
        if self.frames > most:
            raise InvalidValueError(f"of must look at no more than the {most} frames that are drawn, got {self.frames}")
        return found

    def _drawn(self, clips: Array, at: Array) -> tuple[Array, Array]:
        """Clips that begin with the labelled frames, and where those are: 0."""
        self._check(clips, at)
        sampler = self._sampler()
        made = np.empty((len(clips), sampler.tokens.cut.frames, *clips.shape[2:]), np.uint8)
        for row in range(len(clips)):  # one by one: chance follows a row's number, and must not follow the batch
            made[row] = sampler.clips(clips[row, int(at[row])][None], seed=self.seed)[0]
        return made, np.zeros(len(clips), np.int64)

    def _check(self, clips: Array, at: Array) -> None:
        check_axes("clips", clips, "N T H W 3", "uint8")
        check_axes("at", at, str(len(clips)), "int64")
        times, size, wanted = clips.shape[1], tuple(clips.shape[2:4]), tuple(self._sampler().tokens.size)
        if size != wanted:
            raise InvalidValueError(
                f"frames must be {wanted[0]} x {wanted[1]}, got {size[0]} x {size[1]}: resize them to what is drawn"
            )
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < times:
            raise InvalidValueError(f"at must be 0 to {times - 1}, got {int(at.min())} to {int(at.max())}")


@lru_cache(maxsize=2)
def _sampler(model: Path, _content: str, temperature: float, steps: int | None, device: str) -> Sampler:
    """Read once a process, while the folder stays as it is."""
    from lightmeter.encoders.pretraining.sampling import load_sampler

    if steps is None:
        return load_sampler(model, temperature=temperature, device=device)
    found = load_sampler(model, temperature=temperature, steps=steps, device=device)
    if getattr(found, "steps", None) != steps:
        raise InvalidValueError(f"steps must be left out for {model}, a prior, got {steps}: it draws cell after cell")
    return found
