"""SRe2L: a network squeezes the set into its weights, pictures are recovered from these and labelled by it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.learning_pixels.networks import depth_for, net_macs
from lightmeter.condense.learning_pixels.pixels import (
    PixelLearner,
    PixelRun,
    clamp_standard,
    from_standard,
    labels_of,
    pictures,
    shares,
)
from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.scoring.learning import best_device
from lightmeter.condense.scoring.students import ConvNetStudent
from lightmeter.condense.scoring.teacher import FittedTeacher, fit_teacher
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.parts import Spelled
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor


_SQUEEZED_AT_ONCE = 64
"""Of `scoring.fit_teacher`."""


@dataclass(frozen=True)
class Sre2l(Spelled):
    """Squeeze, recover, relabel: from noise, pictures of which a network with batch norm says what they are to be of.

    steps: of Adam on each batch of pictures; 1,000 to 4,000 are published (`SRE2L_PUBLISHED`) · lr: falls as a cosine
    batch: pictures recovered together, of every class as many, for what the network has seen holds of batches
    statistics: weight of what batch norms have seen, `first` times as much of the first one · smooth: of differences
    between neighbours · small: of the pixels' length
    least: smallest share of the area that a step's crop has, 0.08 published for ImageNet; 1: no crop
    flip: whether pictures are mirrored half of the time, while the network learns too · jitter: most pixels of a roll
    width, squeeze: of the ConvNet, and steps that it learns for

    `soft` are the network's own shares for the recovered pictures as they are; protocol `rded` asks a teacher about
    every view instead, as published.
    Cost: classes · per_class · steps · 3 runs of the network a picture, and squeezing (`scoring.fit_teacher`).
    Source: Yin, Xing and Shen, "Squeeze, recover and relabel", NeurIPS 2023, arXiv:2306.13092, with the authors'
    settings for CIFAR-100, which rolls and does not crop. Ours: a ConvNet squeezes.
    """

    steps: int = 300
    batch: int = 100
    lr: float = 0.1
    statistics: float = 0.05
    first: float = 10.0
    smooth: float = 1e-4
    small: float = 1e-5
    least: float = 1.0
    flip: bool = False
    jitter: int = 2
    width: int = 32
    squeeze: int = 1200

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.width, self.squeeze) < 1:
            raise InvalidValueError(
                "steps, batch, width and squeeze must be 1 or more, got "
                f"{self.steps}, {self.batch}, {self.width} and {self.squeeze}"
            )
        if self.jitter < 0 or self.lr <= 0 or not 0 < self.least <= 1:
            raise InvalidValueError(
                "jitter must be 0 or more, lr above 0 and least above 0 and at most 1, got "
                f"{self.jitter}, {self.lr} and {self.least}"
            )
        if min(self.statistics, self.first, self.smooth, self.small) < 0:
            raise InvalidValueError(
                "statistics, first, smooth and small must be 0 or more, got "
                f"{self.statistics}, {self.first}, {self.smooth} and {self.small}"
            )

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class, with the network's labels."""
        images = material.images
        teacher = self._squeezed(material, seed)
        net = teacher.net().requires_grad_(False)
        labels = labels_of(images, per_class)
        run = PixelRun(material, self.spec, per_class, seed)
        pixels = np.empty((len(labels), *images.images.shape[1:]), np.uint8)
        batches = even_batches(labels, self.batch)
        for number, rows in enumerate(batches):
            make = partial(self._learner, net, images, labels[rows], (seed, number))
            learner = run.take(make, f"batch {number + 1} of {len(batches)}")
            pixels[rows] = pictures(from_standard(learner.pixels))
        return Condensed(pixels, labels, soft=shares(teacher.logits(pixels)))

    def _squeezed(self, material: Material, seed: int) -> FittedTeacher:
        """A ConvNet with batch norm that learnt the set, kept in the material's folder."""
        images, folder = material.images, material.folder
        student = ConvNetStudent(depth_for(images.size), self.width, "batch").spec
        key = hash_of([images.fingerprint, student, self.squeeze, self.flip, seed])[:16]
        place = None if folder is None else folder / f"squeezed-{key}"
        return fit_teacher(
            images, seed=seed, folder=place, tell=material.tell, student=student, steps=self.squeeze, flip=self.flip
        )

    def _learner(self, net: Any, images: ImageSet, labels: Array, seeds: Sequence[int]) -> tuple[PixelLearner, int]:
        """Pixels of one batch, from noise."""
        import torch

        from lightmeter.nets.descent import DescentPlan, rate_at

        seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
        torch.manual_seed(seed)
        height, width, channels = images.images.shape[1:]
        start = torch.randn(len(labels), channels, height, width).to(best_device())
        recovery = _Recovery(net, torch.from_numpy(labels).to(start.device), self)
        learner = PixelLearner(
            start, recovery, DescentPlan("adam", weight_decay=0.0, clip=0.0),
            lambda step: rate_at(step, self.steps, lr=self.lr), seed, after=clamp_standard, betas=(0.5, 0.9),
        )  # fmt: skip
        return learner, self.steps

    def macs(self, shape: tuple[int, int, int], classes: int, per_class: int) -> float:
        """Multiply-accumulates of one run, slopes counted as twice the way forth.  shape: [H, W, C]"""
        return (
            3
            * net_macs(shape, classes, self.width)
            * (classes * per_class * self.steps + _SQUEEZED_AT_ONCE * self.squeeze)
        )


SRE2L_PUBLISHED = Sre2l(steps=1000, jitter=4)
"""As published for CIFAR-100, but for the network."""


def even_batches(labels: Array, batch: int) -> list[Array]:
    """Rows of pictures in batches of equal size, ± 1, each with classes as even as can be: int64 [≤ batch] each.

    >>> [each.tolist() for each in even_batches(np.array([0, 0, 1, 1]), 2)]
    [[0, 2], [1, 3]]
    """
    turn = np.concatenate([np.arange(count) for count in np.unique(labels, return_counts=True)[1]])
    return np.array_split(np.lexsort((labels, turn)), -(-len(labels) // batch))


def statistics_apart(rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """‖mean of rows − mean‖ + ‖variance of rows − variance‖, of channels: rows [B, C, H, W], mean, variance [C].

    Source: arXiv:2306.13092, eq. 9 (after DeepInversion, arXiv:1912.08795, eq. 4): norms, not their squares.
    """
    apart = rows.mean(dim=(0, 2, 3)) - mean
    spread = rows.var(dim=(0, 2, 3), unbiased=False) - variance
    return apart.norm() + spread.norm()


def unevenness(pixels: Tensor) -> Tensor:
    """Total variation: the sum of lengths of differences to the right, below and along both diagonals: a scalar.

    pixels: [B, C, H, W].  Source: as in the authors' program; a length is over all pictures together.
    """
    across = pixels[:, :, :, :-1] - pixels[:, :, :, 1:]
    down = pixels[:, :, :-1, :] - pixels[:, :, 1:, :]
    falling = pixels[:, :, :-1, :-1] - pixels[:, :, 1:, 1:]
    rising = pixels[:, :, 1:, :-1] - pixels[:, :, :-1, 1:]
    return across.norm() + down.norm() + falling.norm() + rising.norm()


def random_view(pixels: Tensor, least: float, *, flip: bool, jitter: int) -> Tensor:
    """The same crop, enlarged, mirroring and roll for all pictures, by torch's chance: [B, C, H, W] as before."""
    import torch
    from torch.nn import functional

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    chance = torch.rand(5).tolist()
    if least < 1:
        area, aspect = least + (1 - least) * chance[0], (4 / 3) ** (2 * chance[1] - 1)
        high = min(height, max(1, round(height * (area / aspect) ** 0.5)))
        wide = min(width, max(1, round(width * (area * aspect) ** 0.5)))
        top, left = int(chance[2] * (height - high + 1)), int(chance[3] * (width - wide + 1))
        cut = pixels[:, :, top : top + high, left : left + wide]
        pixels = functional.interpolate(cut, (height, width), mode="bilinear", antialias=True)
    if flip and chance[4] < 0.5:
        pixels = pixels.flip(3)
    if jitter:
        down, right = torch.randint(0, jitter + 1, (2,)).tolist()
        pixels = torch.roll(pixels, (down, right), dims=(2, 3))
    return pixels


@dataclass(frozen=True, eq=False)
class _Recovery:
    """What recovered pictures should get right; see `pixels.Objective`."""

    net: Any
    labels: Tensor
    how: Sre2l

    def loss(self, number: int, pixels: Tensor) -> Tensor:
        """Of one view of all pictures of the batch."""
        from torch.nn import functional

        how = self.how
        seen = random_view(pixels, how.least, flip=how.flip, jitter=how.jitter)
        with batch_norm_inputs(self.net) as inputs:
            logits = self.net(seen)
        total: Any = functional.cross_entropy(logits, self.labels)
        for at, (layer, rows) in enumerate(inputs):
            weight = how.statistics * (how.first if at == 0 else 1.0)
            total = total + weight * statistics_apart(rows, layer.running_mean, layer.running_var)
        made: Tensor = total + how.smooth * unevenness(seen) + how.small * seen.flatten(1).norm(dim=1).mean()
        return made


@contextmanager
def batch_norm_inputs(net: Any) -> Iterator[list[tuple[Any, Tensor]]]:
    """Gathers, in the order they are run, batch norms and what each reads, of the network's runs within."""
    from torch import nn

    gathered: list[tuple[Any, Tensor]] = []
    hooks = [
        each.register_forward_pre_hook(lambda layer, inputs: gathered.append((layer, inputs[0])))
        for each in net.modules()
        if isinstance(each, nn.BatchNorm2d)
    ]
    try:
        yield gathered
    finally:
        for hook in hooks:
            hook.remove()
