"""How a condensed set is scored: the published protocols to the number, and a quick one of our own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from lightmeter.condense.scoring.augment import (
    Mixed,
    cropped,
    draw_crops,
    flipped,
    jittered,
    lit,
    mixed,
    shifted,
    shuffled_patches,
)
from lightmeter.condense.scoring.course import Course, stepped
from lightmeter.condense.scoring.pixels import resized, standardised
from lightmeter.condense.scoring.siamese import CHANGES, siamese
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.nets.descent import DescentPlan

Labels = Literal["classes", "teacher", "own"]
"""What a student learns: the classes; what a teacher says of the very batch; labels that came with the set."""

_CLASSES: Labels = "classes"
_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
_EPOCHS_ABOVE = 300


class Preset(Protocol):
    """A protocol: a frozen dataclass of its options, kind "protocol". Pictures are uint8 [M, H, W, C] until a batch."""

    @property
    def spec(self) -> str:
        """Its spelling with all options."""
        ...

    @property
    def students(self) -> tuple[str, ...]:
        """Specs of the networks that it is published with; the first is its own."""
        ...

    @property
    def labels(self) -> Labels:
        """What a student learns."""
        ...

    @property
    def temperature(self) -> float:
        """Logits are divided by it where labels are soft."""
        ...

    @property
    def decays_all(self) -> bool:
        """Whether biases and norms decay too."""
        ...

    def descent(self) -> DescentPlan:
        """The optimiser."""
        ...

    def course(self, items: int, per_class: int, classes: int) -> Course:
        """Steps, batches, rates and looks for a set of so many pictures."""
        ...

    def shown(self, images: Array, *, learning: bool) -> Array:
        """Pictures as they are before anything is drawn: uint8, those to learn from, or those to be tested on."""
        ...

    def changed(self, x: Tensor, rng: np.random.Generator) -> Mixed:
        """A batch float [B, C, H, W] of 0 to 1 as a student sees it: changed, standardised, mixed."""
        ...


@dataclass(frozen=True)
class Minimax(Spelled):
    """Hard labels, SGD, rates in steps: the protocol of IDC and Minimax, of ImageNet's subsets in seed 002.

    size: pixels a side, by Resize and CenterCrop, 224 as published; 0: as the set is
    epochs: 0: by `epochs_of` · looks: how often test pictures are looked at, 100 as published (best of them there)
    changes: `imagenet`: crop of half the area or more, mirror, colour jitter .4, PCA lighting .1; `dsa`: see `siamese`,
    as for CIFAR (with mix=0.5, epochs=1000) · mix: share of batches with CutMix
    lr, weight_decay, batch: the public code has 0.1, 1e-4 and 128 above 100 classes
    Source: Gu et al. 2024, arXiv:2311.15529; Kim et al. 2022, arXiv:2205.14959; their public code.
    """

    size: int = 0
    epochs: int = 0
    looks: int = 100
    changes: Literal["imagenet", "dsa"] = "imagenet"
    mix: float = 1.0
    lr: float = 0.01
    weight_decay: float = 5e-4
    batch: int = 64

    def __post_init__(self) -> None:
        _check(size=self.size, epochs=self.epochs)
        if min(self.looks, self.batch) < 1 or not 0 <= self.mix <= 1:
            raise InvalidValueError(f"looks and batch must be 1 or more and mix a share, got {self}")

    @property
    def students(self) -> tuple[str, ...]:
        """ConvNet-6, ResNetAP-10 and ResNet-18, all with instance norm."""
        return (
            "conv-net/depth=6,width=128,norm=instance",
            "resnet-ap/depth=10,width=64,norm=instance,stem=auto",
            "resnet/depth=18,width=64,norm=instance,stem=auto",
        )

    labels = _CLASSES
    temperature = 1.0
    decays_all = True

    def descent(self) -> DescentPlan:
        """SGD with momentum."""
        return _sgd(self.weight_decay)

    def epochs_of(self, per_class: int, classes: int) -> int:
        """Passes over the set: fewer, the more pictures a class; two thirds at 100 classes, whole hundreds.

        >>> [Minimax().epochs_of(each, 10) for each in (1, 2, 10, 50, 200, 500, 501)]
        [3000, 2000, 2000, 1500, 1000, 500, 300]
        """
        if self.epochs:
            return self.epochs
        made = next((epochs for most, epochs in _EPOCHS if per_class <= most), _EPOCHS_ABOVE)
        return made * 2 // 3 // 100 * 100 if classes == 100 else made

    def course(self, items: int, per_class: int, classes: int) -> Course:
        """See `Preset.course`."""
        epochs, batch = self.epochs_of(per_class, classes), min(self.batch, items)
        unit = -(-items // batch)
        every = max(1, epochs // self.looks)
        looks = {*range(every, epochs + 1, every), epochs}
        return Course(items, batch, stepped(self.lr, epochs), unit, tuple(unit * each for each in sorted(looks)))

    def shown(self, images: Array, *, learning: bool) -> Array:
        """Resize and CenterCrop to `size`, of both."""
        return resized(images, self.size, self.size) if self.size else images

    def changed(self, x: Tensor, rng: np.random.Generator) -> Mixed:
        """See `changes` and `mix`."""
        if self.changes == "dsa":
            changes = tuple(each for each in CHANGES if each != "cutout" or not self.mix)
            x = siamese(standardised(x), rng, changes)
        else:
            count, size = len(x), (x.shape[2], x.shape[3])
            x = cropped(x, draw_crops(rng, count, size, (0.5, 1.0)), size)
            x = flipped(x, rng.random(count) < 0.5)
            x = jittered(x, rng.uniform(-0.4, 0.4, (count, 3)))
            x = standardised(lit(x, rng.normal(0, 0.1, (count, 3))))
        return mixed(x, rng) if rng.random() < self.mix else Mixed(x)


@dataclass(frozen=True)
class Rded(Spelled):
    """Soft labels from a teacher that sees the student's very batch, AdamW: the protocol of RDED.

    size: pixels a side, 224 for ImageNet; 0: as the set is. Test pictures have their short side at size // 7 · 8, of
    which the middle stays (those of a set that is not square, without `size`, stay as they are).
    epochs: 300 as published, 500 for CIFAR in seed 002 · looks_every: epochs between two looks, all in the last fifth
    factor: pictures are mosaics of factor² patches, which are shuffled and cropped; 1: one picture, neither
    mix: `cutmix` with temperature 20, `mixup` (Beta of 0.8) with 4, `none` with 20
    batch: 0: by `batch_of`; 100 for Tiny-ImageNet
    labels: `own`: those that came with the set, mixed as pictures are, in place of a teacher's
    The rate falls to half of `lr`, not to 0, as the public code does.
    Loss: Kullback–Leibler divergence of the two softmaxes at the temperature, summed over classes, mean of the batch;
    not times its square.
    Source: Sun et al. 2024, arXiv:2312.03526, public code.
    """

    size: int = 0
    epochs: int = 300
    looks_every: int = 10
    factor: int = 1
    mix: Literal["cutmix", "mixup", "none"] = "cutmix"
    labels: Literal["teacher", "own"] = "teacher"
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 0

    def __post_init__(self) -> None:
        _check(size=self.size, batch=self.batch)
        if min(self.epochs, self.looks_every, self.factor) < 1:
            raise InvalidValueError(f"epochs, looks_every and factor must be 1 or more, got {self}")

    @property
    def students(self) -> tuple[str, ...]:
        """ResNet-18 with batch norm; with the small stem ("modified") to 64 px."""
        return ("resnet/depth=18,width=64,norm=batch,stem=auto",)

    decays_all = False

    @property
    def temperature(self) -> float:
        """20, or 4 with mixup."""
        return 4.0 if self.mix == "mixup" else 20.0

    def descent(self) -> DescentPlan:
        """AdamW; biases and norms do not decay."""
        from lightmeter.nets.descent import DescentPlan

        return DescentPlan("adamw", self.weight_decay, 0.0)

    def batch_of(self, items: int, per_class: int, classes: int) -> int:
        """Pictures a step: 10, 50, 100 from 1, 10, 50 a class on, twice that from 100 classes on; at most all.

        >>> [Rded().batch_of(10**6, each, classes) for classes in (10, 100) for each in (1, 10, 50)]
        [10, 50, 100, 20, 100, 200]
        """
        made = self.batch or (10 if per_class < 10 else 50 if per_class < 50 else 100) * (2 if classes >= 100 else 1)
        return min(made, items)

    def course(self, items: int, per_class: int, classes: int) -> Course:
        """See `Preset.course`."""
        batch, epochs = self.batch_of(items, per_class, classes), self.epochs
        rates = tuple(self.lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs / 2)) for epoch in range(epochs))
        unit = -(-items // batch)
        tenths = {at for at in range(epochs) if at % self.looks_every == self.looks_every - 1 and at > 0.8 * epochs}
        looks = tuple(unit * (at + 1) for at in sorted({*tenths, epochs - 1}))
        return Course(items, batch, rates, unit, looks)

    def shown(self, images: Array, *, learning: bool) -> Array:
        """See `size`."""
        height, width = images.shape[1:3]
        if not self.size and height != width:
            return images
        side = self.size or height
        return resized(images, side if learning else side // 7 * 8, side)

    def changed(self, x: Tensor, rng: np.random.Generator) -> Mixed:
        """Patches shuffled and cropped where there are some, mirror, mix."""
        count, size = len(x), (x.shape[2], x.shape[3])
        if self.factor > 1:
            orders = (rng.permuted(np.tile(np.arange(self.factor), (count, 1)), axis=1) for _ in range(2))
            x = shuffled_patches(x, *orders)
            x = cropped(x, draw_crops(rng, count, size, (1 / self.factor, 1.0)), size)
        x = standardised(flipped(x, rng.random(count) < 0.5))
        if self.mix == "none":
            return Mixed(x)
        return mixed(x, rng, how=self.mix, alpha=1.0 if self.mix == "cutmix" else 0.8)


@dataclass(frozen=True)
class Quick(Spelled):
    """Our own, for reports and tests, never to be compared with published numbers: hard labels, a few hundred steps.

    steps: 0: by `steps_of` · flip: mirror half of the pictures; not for digits and letters
    mix: share of batches with CutMix · batch: no more than there are pictures; batches run across the ends of epochs
    Pictures are moved by up to an eighth of their side. The rates are Minimax's, by steps.
    """

    steps: int = 0
    flip: bool = True
    mix: float = 0.5
    lr: float = 0.01
    weight_decay: float = 5e-4
    batch: int = 64

    def __post_init__(self) -> None:
        _check(steps=self.steps)
        if self.batch < 1 or not 0 <= self.mix <= 1:
            raise InvalidValueError(f"batch must be 1 or more and mix a share, got {self}")

    @property
    def students(self) -> tuple[str, ...]:
        """ConvNet-3 of width 32 with instance norm."""
        return ("conv-net/depth=3,width=32,norm=instance",)

    labels = _CLASSES
    temperature = 1.0
    decays_all = True

    def descent(self) -> DescentPlan:
        """SGD with momentum."""
        return _sgd(self.weight_decay)

    def steps_of(self, per_class: int) -> int:
        """100, 200, 300 steps at 1, 10, 50 pictures a class; between these by the logarithm of the count; then 300.

        >>> [Quick().steps_of(each) for each in (1, 3, 10, 20, 50, 500)]
        [100, 148, 200, 243, 300, 300]
        """
        return self.steps or round(float(np.interp(math.log(per_class), np.log([1, 10, 50]), [100, 200, 300])))

    def course(self, items: int, per_class: int, classes: int) -> Course:
        """See `Preset.course`."""
        steps = self.steps_of(per_class)
        return Course(items, min(self.batch, items), stepped(self.lr, steps), 1, (steps,), across=True)

    def shown(self, images: Array, *, learning: bool) -> Array:
        """Pictures as they are."""
        return images

    def changed(self, x: Tensor, rng: np.random.Generator) -> Mixed:
        """Moved, mirrored, sometimes mixed."""
        most = [max(1, round(side / 8)) for side in x.shape[2:]]
        x = shifted(x, *(rng.integers(-each, each + 1, len(x)) for each in most))
        if self.flip:
            x = flipped(x, rng.random(len(x)) < 0.5)
        x = standardised(x)
        return mixed(x, rng) if rng.random() < self.mix else Mixed(x)


def _sgd(weight_decay: float) -> DescentPlan:
    from lightmeter.nets.descent import DescentPlan

    return DescentPlan("sgd", weight_decay, 0.0, 0.9)


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 0:
            raise InvalidValueError(f"{name} must be 0 or more, got {value}")
