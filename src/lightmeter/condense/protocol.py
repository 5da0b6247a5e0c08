"""What every way to condense a data set is: a labelled set in, N pictures a class out, and what each stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """A small set, and where each picture of it comes from.

    images:  uint8 [M, H, W, C] as those of the set it was made of · labels: int64 [M], class after class
    rows:    int64 [M], which picture of the set each is; None where pictures are made
    members: rows of the set that each stands for, as a cluster; () where a method knows none
    texts:   prompts that pictures were made with, one each; () for none
    soft:    float32 [M, classes], labels of the method's own; None: the classes
    notes:   sentences about what was done differently from what was asked
    formation: each picture is formation × formation small ones, to be enlarged and learnt from one by one
        (`learning_pixels.idc.opened`); 1: it is one
    """

    images: Array
    labels: Array
    rows: Array | None = None
    members: tuple[Array, ...] = ()
    texts: tuple[str, ...] = ()
    soft: Array | None = None
    notes: tuple[str, ...] = ()
    formation: int = 1

    def __post_init__(self) -> None:
        check_axes("images", self.images, "M H W C", "uint8")
        count = str(len(self.images))
        check_axes("labels", self.labels, count, "int64")
        if self.rows is not None:
            check_axes("rows", self.rows, count, "int64")
        for name, each in (("members", self.members), ("texts", self.texts)):
            if each and len(each) != len(self.images):
                raise InvalidValueError(f"{name} must be {count} or none, got {len(each)}")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @classmethod
    def of_rows(
        cls, images: ImageSet, rows: Array, members: Sequence[Array] = (), notes: Sequence[str] = ()
    ) -> Condensed:
        """Pictures of the set itself, class after class in the order that they are given in."""
        order = np.argsort(images.labels[rows], kind="stable")
        some = np.asarray(rows, dtype=np.int64)[order]
        stood = tuple(members[at] for at in order.tolist()) if members else ()
        return cls(images.images[some], images.labels[some], some, stood, notes=tuple(notes))


class Material(Protocol):
    """What a method may look at: the set to condense, and what is learnt of it once and kept.

    Nothing here has seen a picture that the result is scored on.
    """

    @property
    def images(self) -> ImageSet:
        """The set to condense."""
        ...

    @property
    def tell(self) -> Tell:
        """Takes a line of progress."""
        ...

    @property
    def folder(self) -> Path | None:
        """Of this set, where what takes minutes keeps how far it is, each in a folder of its own; None: nowhere."""
        ...

    def features(self, of: str) -> Array:
        """A row a picture, float32 [N, D], perhaps memory-mapped: of `teacher`, `pixels`, `latents` or an encoder."""
        ...

    def losses(self) -> Array:
        """Cross-entropy of the teacher on each picture: float32 [N], nats."""
        ...

    def teacher(self) -> Teacher:
        """A network that learnt the whole set."""
        ...

    def captions(self) -> tuple[str, ...]:
        """A caption a picture; "" where there is none."""
        ...

    def generator(self) -> Generator:
        """A diffusion model with its autoencoder: a small one that learnt the set, or the user's."""
        ...


class Generator(Protocol):
    """A text-to-image diffusion model as methods use it; pictures have the set's size, whatever the model's own."""

    @property
    def fingerprint(self) -> str:
        """Hash of its weights and settings."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent; rows of `features("latents")` are those, flat."""
        ...

    def encode(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] → latents float32 [M, c, h, w], scaled as the denoiser reads them."""
        ...

    def decode(self, latents: Array) -> Array:
        """The way back: uint8 [M, H, W, C]."""
        ...

    def draw(self, latents: Array, texts: Sequence[str], drawing: Drawing, *, seeds: Sequence[int]) -> Array:
        """A picture from each latent float32 [M, c, h, w], by its text and its own seed: uint8 [M, H, W, C]."""
        ...


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a picture is drawn. Defaults are those that are published for Stable Diffusion 1.5 (seed 002, table 1).

    strength: share of the steps that are run, 0 (decoded as it is) to 1 (from noise alone)
    guidance: classifier-free, 1 for none · negative: what the picture should not be like, "" for nothing
    mode: pull of the latent towards where it started, of the share of steps `until` (MGD3's mode guidance); 0: none
    """

    strength: float = 0.7
    guidance: float = 10.0
    steps: int = 50
    negative: str = "cartoon, anime, painting"
    mode: float = 0.0
    until: float = 0.5


class Teacher(Protocol):
    """A network that learnt the whole set, as methods and protocols use it."""

    def logits(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] → float32 [M, classes]."""
        ...

    def features(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] → what its last layer reads, float32 [M, D]."""
        ...

    def net(self) -> object:
        """The torch module itself, in eval mode: forward(float32 [M, C, H, W], as `normalised` gives it) → logits."""
        ...


@runtime_checkable
class Condenser(Protocol):
    """A method: a frozen dataclass of its options, kind "condenser"."""

    @property
    def spec(self) -> str:
        """Its spelling with all options."""
        ...

    @property
    def makes(self) -> bool:
        """Whether it makes pictures; False: it keeps pictures of the set."""
        ...

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """Exactly `per_class` pictures of every class, fewer only where a class that is kept from has fewer: said.

        Same material, same seed: same pictures.
        """
        ...
