"""VideoGPT's nets as dense encoders, from its published checkpoints or from what was pretrained here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from lightmeter.encoders.by_path import content_sha256, settle
from lightmeter.encoders.dense import Policy, Pool, Windowed, at_least, check_options
from lightmeter.encoders.dense_net import ByNet
from lightmeter.encoders.videogpt_files import Downsample, read_prior, read_vqvae, shows_changes
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need

Sampled = Literal["static", "real", "sampled"]


@lru_cache(maxsize=16)
def _plans(path: Path, downsample: tuple[int, ...], _content: str, *, prior: bool) -> tuple[Any, Any]:
    """Sizes of the VQ-VAE and of the prior in a file; without the prior, None.  Cost: a read of the file, once."""
    if not prior:
        return read_vqvae(path, downsample=_told(downsample)).plan, None
    vqvae, found = read_prior(path, downsample=_told(downsample))
    return vqvae.plan, found.plan


def _plans_of(encoder: Any, *, prior: bool) -> tuple[Any, Any]:
    return _plans(encoder.path, encoder.downsample, content_sha256(encoder.path), prior=prior)


def _told(downsample: tuple[int, ...]) -> Downsample | None:
    return cast(Downsample, downsample) if downsample else None


def _settle(encoder: Any, policies: tuple[str, ...] = ("static", "real")) -> None:
    check_options(encoder, policies)
    settle(encoder, "path")
    if encoder.downsample and (len(encoder.downsample) != 3 or min(encoder.downsample) < 1):
        raise InvalidValueError(f"downsample must be three counts along T, H, W, got {encoder.downsample}")


def _spatial(encoder: Any, *, prior: bool) -> int:
    return int(max(_plans_of(encoder, prior=prior)[0].downsample[1:]))


@dataclass(frozen=True)
class VideoGptFrame(ByNet, Windowed, Spelled):
    """The frame conditioner of a prior: `group1` … `group4`, of the published BAIR one 64, 128, 256, 240 channels.

    One that was trained on single frames is collapsed to 2D, exactly, and sees every frame alone; one that was trained
    on several takes so many `frames`, no more and no fewer.
    Cost: 4.6 G MACs at 64 x 64 for the published one, collapsed.  Source: `nets.frame_resnet`.

    path: a checkpoint of a prior with a conditioner, or the folder of one pretrained here
    maps, frames, clip, pool: as in `DenseEncoder`
    downsample: pixels a code along T, H, W, for a file that does not say · device: `cpu` or `cuda`
    """

    path: Path
    maps: tuple[str, ...] = ()
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    downsample: tuple[int, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        _settle(self)

    @property
    def size_multiple(self) -> int:
        """Pixels a cell of the last group."""
        return int(self._conditioner().stride)

    def _conditioner(self) -> Any:
        plan = _plans_of(self, prior=True)[1]
        if plan.conditioner is None:
            raise InvalidValueError(f"{self.path} holds a prior without a frame conditioner: take one with")
        return plan.conditioner

    def _made(self) -> Any:
        self._conditioner()
        prior = read_prior(self.path, downsample=_told(self.downsample))[1]
        from lightmeter.nets.dense_videogpt import ConditionerMaps

        told = prior.plan.frames[0]
        if told > 1 and self.frames != told:
            raise InvalidValueError(f"frames must be {told} for this conditioner, got {self.frames}")
        return ConditionerMaps(prior.resnet.collapsed() if told == 1 else prior.resnet)


@dataclass(frozen=True)
class VideoGptVqVae(ByNet, Windowed, Spelled):
    """The encoder of a VQ-VAE: `half1` …, `stack`, `before` and `after` quantisation, `codes` (numbers of the codes).

    `codes` have no metric meaning; they are there because the seed of study `bair` fed them.
    Cost: `nets.vqvae.VqVaePlan.encode_macs`, less what comes after the last map.  Source: `nets.vqvae`.

    path: a checkpoint of a VQ-VAE, or of a prior, which holds one; or a folder of either that was pretrained here. One
    of `changes` there is shown what frames differ by from the first, so that a static clip would tell it nothing.
    frames: a multiple of its stride in time
    maps, clip, pool: as in `DenseEncoder` · downsample: as above · device: `cpu` or `cuda`
    """

    path: Path
    maps: tuple[str, ...] = ()
    frames: int = 16
    clip: Policy = "static"
    pool: Pool = "mean"
    downsample: tuple[int, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        _settle(self)

    @property
    def size_multiple(self) -> int:
        """Pixels a code."""
        return _spatial(self, prior=False)

    def _defaults(self) -> tuple[str, ...]:
        return ("before",)

    def _made(self) -> Any:
        vqvae, changes = read_vqvae(self.path, downsample=_told(self.downsample)), shows_changes(self.path)
        from lightmeter.nets.dense_videogpt import VqVaeMaps

        if changes and self.clip == "static":
            raise InvalidValueError("clip must be real for a VQ-VAE of changes, got static: a still clip has none")
        moment = vqvae.plan.downsample[0]
        if self.frames % moment:
            raise InvalidValueError(f"frames must be a multiple of {moment} for this VQ-VAE, got {self.frames}")
        return VqVaeMaps(vqvae, changes=changes)


@dataclass(frozen=True)
class VideoGptPrior(ByNet, Windowed, Spelled):
    """The transformer over codes: `hidden0` … after so many blocks, `logits`, `entropy`, `tokens`, `embeddings`.

    The codes are the clip's own, shown all at once (each cell sees those before it), or with clip=sampled those that
    the prior draws from the labelled frame, cell by cell: 4,096 steps and 166 G MACs for the published one.
    Cost: `nets.video_prior.PriorPlan.macs`, less what comes after the last map, and the VQ-VAE's encoder.
    Source: `nets.video_prior`.

    path: a checkpoint of a prior, or the folder of one pretrained here, whose codes may be of changes: with a static
    clip all codes would be those of standstill, whatever the picture · frames: those of its clips
    seed, temperature: of what is drawn
    maps, pool: as in `DenseEncoder` · downsample: as above · device: `cpu` or `cuda`
    """

    path: Path
    maps: tuple[str, ...] = ()
    frames: int = 16
    clip: Sampled = "static"
    pool: Pool = "mean"
    seed: int = 0
    temperature: float = 1.0
    downsample: tuple[int, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        _settle(self, ("static", "real", "sampled"))
        at_least("seed", self.seed, 0)
        if not self.temperature >= 0:
            raise InvalidValueError(f"temperature must be 0 or more, got {self.temperature}")

    @property
    def size_multiple(self) -> int:
        """Pixels a code."""
        return _spatial(self, prior=True)

    def _only_side(self) -> int | None:
        return int(_plans_of(self, prior=True)[1].grid[1] * self.size_multiple)

    def _defaults(self) -> tuple[str, ...]:
        return (f"hidden{_plans_of(self, prior=True)[1].layers}",)

    def _sampling_macs(self) -> int:
        need("torch", "torch")
        from lightmeter.nets.dense_videogpt import sampling_macs

        return sampling_macs(_plans_of(self, prior=True)[1]) if self.clip == "sampled" else 0

    def _made(self) -> Any:
        vqvae, prior = read_prior(self.path, downsample=_told(self.downsample))
        from lightmeter.nets.dense_videogpt import PriorMaps

        changes = shows_changes(self.path)
        if changes and self.clip == "static":
            raise InvalidValueError(
                "clip must be real or sampled for a prior over codes of changes, got static: a still clip has none"
            )
        count = prior.plan.grid[0] * vqvae.plan.downsample[0]
        if self.frames != count or prior.plan.grid[1] != prior.plan.grid[2]:
            raise InvalidValueError(f"frames must be {count} for this prior, got {self.frames}")
        seed = self.seed if self.clip == "sampled" else None
        return PriorMaps(vqvae, prior, seed, self.temperature, changes=changes)
