"""DM: pictures whose features have the mean of the real ones', in ever new networks that have learnt nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.learning_pixels.networks import changed_alike, check_changes, net_macs, random_net
from lightmeter.condense.learning_pixels.pixels import (
    ClassBatches,
    PixelLearner,
    PixelRun,
    check_start,
    from_standard,
    labels_of,
    pictures,
    start_rows,
)
from lightmeter.condense.protocol import Condensed, Condenser, Material
from lightmeter.condense.scoring.learning import at_once, best_device, blocks
from lightmeter.condense.scoring.pixels import normalised
from lightmeter.condense.scoring.siamese import CHANGES
from lightmeter.condense.selecting.random_rows import Random
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dm(Spelled):
    """Distribution matching: at every step a new random ConvNet sees real and made pictures, changed in the same way.

    start: a method that keeps pictures of the set, such as `herding`
    steps, batch (real pictures of a class at a step), width: 20,000, 256 and 128 are published (`DM_PUBLISHED`), the
    default is for small pictures on a CPU
    lr, momentum: of SGD on standardised pixels · changes: of `scoring.siamese.CHANGES`, [] for none

    Cost: steps · classes · (batch + 3 · per_class) runs of the network a picture.
    Memory: the network's maps of all made pictures.
    Source: Zhao and Bilen, "Dataset condensation with distribution matching", WACV 2023, arXiv:2110.04181.
    """

    start: Condenser = field(default_factory=Random)
    steps: int = 200
    batch: int = 32
    width: int = 32
    lr: float = 1.0
    momentum: float = 0.5
    changes: tuple[str, ...] = CHANGES

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.width) < 1 or self.lr <= 0 or not 0 <= self.momentum < 1:
            raise InvalidValueError(
                "steps, batch and width must be 1 or more, lr above 0 and momentum below 1, got "
                f"{self.steps}, {self.batch}, {self.width}, {self.lr} and {self.momentum}"
            )
        check_start(self.start)
        check_changes(self.changes)

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class, learnt from where they start."""
        images = material.images
        rows = start_rows(material, self.start, per_class, seed=seed)

        def make() -> tuple[PixelLearner, int]:
            from lightmeter.nets.descent import DescentPlan

            objective = _Means(images, ClassBatches.of(images, self.batch, seed), per_class, self)
            plan = DescentPlan("sgd", weight_decay=0.0, clip=0.0, momentum=self.momentum)
            start = normalised(images.images[rows], best_device())
            return PixelLearner(start, objective, plan, lambda _: self.lr, seed), self.steps

        learner = PixelRun(material, self.spec, per_class, seed).take(make)
        return Condensed(pictures(from_standard(learner.pixels)), labels_of(images, per_class))

    def macs(self, shape: tuple[int, int, int], classes: int, per_class: int) -> float:
        """Multiply-accumulates of one run, slopes counted as twice the way forth.  shape: [H, W, C]"""
        return self.steps * classes * (self.batch + 3 * per_class) * net_macs(shape, classes, self.width)


DM_PUBLISHED = Dm(steps=20_000, batch=256, width=128)
"""As published."""


def means_apart(real: Tensor, made: Tensor) -> Tensor:
    """‖mean of real − mean of made‖²: float32 [n, D] and [m, D] → a scalar.

    Source: arXiv:2110.04181, eq. 5, for one class.
    """
    return (real.mean(dim=0) - made.mean(dim=0)).square().sum()


def _features(net: Any, pixels: Tensor) -> Tensor:
    """In parts that stay in the cache: pictures do not touch each other in a net with instance norm."""
    import torch

    return torch.cat([net.features(pixels[part]) for part in blocks(len(pixels), at_once(net))])


@dataclass(frozen=True, eq=False)
class _Means:
    """The sum over classes, of one step's network and one step's changes a class."""

    images: ImageSet
    batches: ClassBatches
    per_class: int
    how: Dm

    def loss(self, number: int, pixels: Tensor) -> Tensor:
        """Of a step; see `pixels.Objective`."""
        import torch

        net = random_net(self.images, self.how.width, (self.batches.seed, number))
        net = net.to(pixels.device).requires_grad_(False)
        means, changed = [], []
        for at, label in enumerate(self.batches.rows):
            real = normalised(self.images.images[self.batches.at(label, number)], str(pixels.device))
            made = pixels[at * self.per_class : (at + 1) * self.per_class]
            real, made = changed_alike(real, made, self.how.changes, (self.batches.seed, number, label))
            with torch.no_grad():
                means.append(_features(net, real).mean(dim=0, keepdim=True))
            changed.append(made)
        rows = _features(net, torch.cat(changed)).split(self.per_class)
        return torch.stack([means_apart(*both) for both in zip(means, rows, strict=True)]).sum()
