"""IDC: pictures that pull a network's weights where real ones pull them, several small ones stored in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.learning_pixels.networks import (
    changed_alike,
    changed_apart,
    check_changes,
    net_macs,
    random_net,
)
from lightmeter.condense.learning_pixels.pixels import (
    ClassBatches,
    PixelLearner,
    PixelRun,
    check_start,
    labels_of,
    pictures,
    start_rows,
)
from lightmeter.condense.learning_pixels.rded import mosaic, mosaic_cells
from lightmeter.condense.protocol import Condensed, Condenser, Material
from lightmeter.condense.scoring.learning import best_device
from lightmeter.condense.scoring.pixels import floats, normalised, standardised
from lightmeter.condense.selecting.random_rows import Random
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

Metric = Literal["l1", "mse"]
_NET, _BATCH = "learns.", 0x1DC
_NET_RATE, _NET_BATCH = 0.01, 64
_BASE = 10 * 32 * 32
"""Pixels of a class, of 10 pictures of 32 × 32, at which `lr` is meant; more pixels, larger steps, as published."""


@dataclass(frozen=True)
class Idc(Spelled):
    """Gradient matching on a network that learns from real pictures meanwhile, and is begun anew now and then.

    factor: each picture holds factor × factor small ones, which are enlarged before they are learnt from (`opened`);
    1 is IDC-I · start: a method that keeps pictures of the set
    networks, inner, net_steps: new networks, steps of the pixels on each, and batches of 64 that the network learns
    from after each of these; 2,000 · 100 · 8 are published for 28 and 32 px (`IDC_PUBLISHED`), the default is short
    batch: real pictures of a class at a step · most: made ones · width: of the ConvNet, 128 published
    lr, momentum: of SGD on pixels of 0..1; lr for 10 pictures a class of 32 × 32, it grows with their pixels; 0.0001 is
    published, with which a short schedule gets nowhere
    metric: how slopes are compared
    changes: of `scoring.siamese.CHANGES`, [] for
    none, the same for real and made ones

    Cost: networks · inner · (classes · (3 batch + 6 made) + 192 net_steps) runs of the network a picture.
    Source: Kim et al., "Dataset condensation via efficient synthetic-data parameterization", ICML 2022,
    arXiv:2205.14959, with the authors' settings for Fashion-MNIST. Ours: one step for all classes together, not one
    after the other on the same network, which differs in where the momentum acts.
    """

    factor: int = 1
    start: Condenser = field(default_factory=Random)
    networks: int = 10
    inner: int = 10
    net_steps: int = 1
    batch: int = 32
    most: int = 128
    width: int = 32
    lr: float = 0.03
    momentum: float = 0.5
    metric: Metric = "l1"
    changes: tuple[str, ...] = ("color", "crop", "cutout")

    def __post_init__(self) -> None:
        counts = (self.networks, self.inner, self.batch, self.most, self.width)
        if min(counts) < 1 or self.net_steps < 0 or self.lr <= 0 or not 0 <= self.momentum < 1:
            raise InvalidValueError(
                "networks, inner, batch, most and width must be 1 or more, net_steps 0 or more, lr above 0 and "
                f"momentum below 1, got {counts}, {self.net_steps}, {self.lr} and {self.momentum}"
            )
        if self.factor not in (1, 2, 3):
            raise InvalidValueError(f"factor must be 1, 2 or 3, got {self.factor}")
        if self.metric not in get_args(Metric):
            raise InvalidValueError(f"metric must be one of {', '.join(get_args(Metric))}, got {self.metric!r}")
        check_start(self.start)
        check_changes(self.changes)

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class, each of factor × factor small ones."""
        images = material.images
        if min(images.size) < 4 * self.factor:
            raise InvalidValueError(f"factor must leave pictures of 4 pixels, got {self.factor} of {images.size}")
        start = self._start(material, per_class, seed)
        run = PixelRun(material, self.spec, per_class, seed)
        learner = run.take(lambda: (IdcLearner(images, start, per_class, self, seed), self.networks * self.inner))
        said = (
            f"each picture is {self.factor} × {self.factor} small ones, which are enlarged before they are learnt from"
        )
        return Condensed(
            pictures(learner.pixels.pixels), labels_of(images, per_class), formation=self.factor,
            notes=(said,) if self.factor > 1 else (),
        )  # fmt: skip

    def _start(self, material: Material, per_class: int, seed: int) -> Array:
        """Pictures of the set, or mosaics of them made small: uint8 [M, H, W, C]."""
        images, parts = material.images, self.factor**2
        rows = start_rows(material, self.start, per_class * parts, seed=seed).reshape(-1, per_class, parts)
        if parts == 1:
            first: Array = np.array(images.images[rows.ravel()])
            return first
        whole = np.tile(np.array([0, 0, *images.size]), (parts, 1))
        cells = mosaic_cells(*images.size, self.factor)
        return np.stack([mosaic(images, each, whole, cells) for each in rows.reshape(-1, parts)])

    def macs(self, shape: tuple[int, int, int], classes: int, per_class: int) -> float:
        """Multiply-accumulates of one run: slopes twice the way forth, theirs as much again.  shape: [H, W, C]"""
        made = min(per_class * self.factor**2, self.most)
        shown = classes * (3 * self.batch + 6 * made) + 3 * _NET_BATCH * self.net_steps
        return self.networks * self.inner * shown * net_macs(shape, classes, self.width)


IDC_PUBLISHED = Idc(networks=2000, inner=100, net_steps=8, batch=64, width=128, lr=1e-4)
"""As published for Fashion-MNIST, as IDC-I; `dataclasses.replace(IDC_PUBLISHED, factor=2)` is IDC."""


def slopes_apart(real: Sequence[Tensor], made: Sequence[Tensor], metric: Metric = "l1") -> Tensor:
    """Σ |real − made| over the slopes of convolutions (those of three axes or more), or of squares: a scalar.

    Source: arXiv:2205.14959, eq. 1, without biases, norms and the last layer, as in the authors' program.
    """
    apart = [one - other for one, other in zip(real, made, strict=True) if one.ndim > 2]
    total: Tensor = sum((each.abs() if metric == "l1" else each.square()).sum() for each in apart)
    return total


def opened_pixels(pixels: Tensor, factor: int) -> Tensor:
    """Every picture's parts, enlarged to its size, bilinear: [M, C, H, W] → [M · factor², C, H, W].

    The parts of a picture stand together, row by row. Where the side does not divide, the first parts are larger.
    """
    import torch
    from torch.nn import functional

    if factor == 1:
        return pixels
    size = (int(pixels.shape[2]), int(pixels.shape[3]))
    parts = [
        functional.interpolate(pixels[:, :, top : top + high, left : left + wide], size, mode="bilinear")
        for top, left, high, wide in mosaic_cells(*size, factor)
    ]
    return torch.stack(parts, dim=1).flatten(0, 1)


def opened(small: Condensed) -> Condensed:
    """What is learnt from: every part of every picture as a picture of its own, of its picture's label."""
    parts = small.formation**2
    if parts == 1:
        return small
    made = pictures(opened_pixels(floats(small.images), small.formation))
    soft = None if small.soft is None else np.repeat(small.soft, parts, axis=0)
    return Condensed(made, np.repeat(small.labels, parts), soft=soft, notes=small.notes)


class IdcLearner:
    """Pixels, and the network they are matched on; see `engines.steps.Learner`."""

    def __init__(self, images: ImageSet, start: Array, per_class: int, how: Idc, seed: int) -> None:
        from lightmeter.nets.descent import DescentPlan

        self.images, self.per_class, self.how, self.seed = images, per_class, how, seed
        self.batches, self.device = ClassBatches.of(images, how.batch, seed), best_device()
        height, width = images.size
        rate = how.lr * per_class * height * width / _BASE
        plan = DescentPlan("sgd", weight_decay=0.0, clip=0.0, momentum=how.momentum)
        self.pixels = PixelLearner(floats(start, self.device), self, plan, lambda _: rate, seed)
        self._begin(0)

    @property
    def told(self) -> float:
        """The loss of late."""
        return self.pixels.told

    def step(self, number: int) -> None:
        """The pixels once, then the network a few times."""
        if number % self.how.inner == 0:
            self._begin(number)
            self.pixels.pixels.data.clamp_(0, 1)
        self.pixels.step(number)
        for each in range(self.how.net_steps):
            count = number * self.how.net_steps + each
            self.net_descent.step(count, _NET_RATE, lambda count=count: self._net_loss(count))  # type: ignore[misc]

    def loss(self, number: int, pixels: Tensor) -> Tensor:
        """How far slopes of made pictures are from those of real ones, over all classes."""
        total: Any = 0.0
        for at, label in enumerate(self.batches.rows):
            real = normalised(self.images.images[self.batches.at(label, number)], self.device)
            own = opened_pixels(pixels[at * self.per_class : (at + 1) * self.per_class], self.how.factor)
            made = standardised(self._some(own, number, label))
            real, made = changed_alike(real, made, self.how.changes, (self.seed, number, label))
            pair = self._slopes(real, label, graph=False), self._slopes(made, label, graph=True)
            total = total + slopes_apart(*pair, self.how.metric)
        made_total: Tensor = total
        return made_total

    def state(self) -> dict[str, Array]:
        """Pixels, network and the moments of both."""
        return {**self.pixels.state(), **{_NET + name: each for name, each in self.net_descent.state().items()}}

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from there."""
        self.pixels.restore(arrays, steps)
        own = {name.removeprefix(_NET): each for name, each in arrays.items() if name.startswith(_NET)}
        self.net_descent.restore(own, steps * self.how.net_steps)

    def _begin(self, number: int) -> None:
        """A new network, by seed and step alone."""
        from lightmeter.nets.descent import Descent, DescentPlan

        self.net = random_net(self.images, self.how.width, (self.seed, number)).to(self.device)
        plan = DescentPlan("sgd", weight_decay=5e-4, clip=0.0, momentum=0.9)
        self.net_descent = Descent(self.net, plan, seed=self.seed)

    def _net_loss(self, count: int) -> Tensor:
        """Of a batch of real pictures of all classes, changed."""
        import torch
        from torch.nn import functional

        rng = np.random.default_rng([_BATCH, self.seed, count])
        rows = np.sort(rng.choice(len(self.images), min(_NET_BATCH, len(self.images)), replace=False))
        pixels = changed_apart(normalised(self.images.images[rows], self.device), self.how.changes, (self.seed, count))
        return functional.cross_entropy(self.net(pixels), torch.from_numpy(self.images.labels[rows]).to(self.device))

    def _some(self, pixels: Tensor, number: int, label: int) -> Tensor:
        """At most `most` of a class's made pictures."""
        if len(pixels) <= self.how.most:
            return pixels
        rng = np.random.default_rng([_BATCH, self.seed, number, label])
        return pixels[np.sort(rng.choice(len(pixels), self.how.most, replace=False))]

    def _slopes(self, pixels: Tensor, label: int, *, graph: bool) -> Sequence[Tensor]:
        import torch
        from torch.nn import functional

        labels = torch.full((len(pixels),), label, device=pixels.device)
        loss = functional.cross_entropy(self.net(pixels), labels)
        found: Sequence[Tensor] = torch.autograd.grad(loss, list(self.net.parameters()), create_graph=graph)
        return found
