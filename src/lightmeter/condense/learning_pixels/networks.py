"""Networks that pixels are learnt on, and the changes that real and made pictures undergo alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring.siamese import CHANGES, siamese
from lightmeter.condense.scoring.students import ConvNetStudent
from lightmeter.errors import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor

_DEEPEST = 3
_NET, _CHANGE = 0x4E7, 0xD5A


def depth_for(size: tuple[int, int]) -> int:
    """Of a ConvNet whose last map has 2 × 2 cells or more, at most 3, as published for 32 px.

    >>> [depth_for((side, side)) for side in (4, 8, 16, 32, 64)]
    [1, 2, 3, 3, 3]
    """
    return max(1, min(_DEEPEST, min(size).bit_length() - 2))


def random_net(images: ImageSet, width: int, seeds: tuple[int, ...]) -> Any:
    """A ConvNet with instance norm that has learnt nothing: `features` and logits of the set's pictures."""
    seed = int(np.random.SeedSequence((_NET, *seeds)).generate_state(1)[0])
    return _net(images.images.shape[1:], len(images.classes), width, seed)


def net_macs(shape: tuple[int, int, int], classes: int, width: int) -> float:
    """Multiply-accumulates of such a network for one picture, [H, W, C]."""
    return float(_net(shape, classes, width, 0).macs)


def _net(shape: tuple[int, int, int], classes: int, width: int, seed: int) -> Any:
    return ConvNetStudent(depth_for(shape[:2]), width).net(shape[2], classes, shape[:2], seed=seed)


class Alike(np.random.Generator):
    """A generator whose numbers are all the same within a call: what is drawn for each picture is drawn for all."""

    def random(self, size: Any = None) -> Any:  # type: ignore[override]
        """One number of 0..1, `size` times."""
        return _filled(size, super().random())

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """One number, `size` times."""
        return _filled(size, super().uniform(low, high))

    def integers(self, low: Any, high: Any = None, size: Any = None) -> Any:  # type: ignore[override]
        """One whole number, `size` times."""
        return _filled(size, super().integers(low, high))


def _filled(size: Any, value: Any) -> Any:
    return value if size is None else np.full(size, value)


def changed_alike(
    real: Tensor, made: Tensor, changes: tuple[str, ...], seeds: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Real and made pictures of a class, float [n, C, H, W] and [m, C, H, W], all changed in one and the same way.

    Source: Zhao and Bilen, arXiv:2102.08259, eq. 4: the same ω for both sides, and for all pictures of a batch.
    """
    import torch

    if not changes:
        return real, made
    both = siamese(torch.cat([real, made]), Alike(np.random.PCG64((_CHANGE, *seeds))), changes)
    return both[: len(real)].detach(), both[len(real) :]


def changed_apart(pixels: Tensor, changes: tuple[str, ...], seeds: tuple[int, ...]) -> Tensor:
    """Pictures float [n, C, H, W], each changed in its own way."""
    return siamese(pixels, np.random.default_rng((_CHANGE, *seeds)), changes) if changes else pixels


def check_changes(changes: tuple[str, ...]) -> None:
    """Raises InvalidValueError for a change that DSA does not know."""
    unknown = sorted(set(changes) - set(CHANGES))
    if unknown:
        raise InvalidValueError(f"changes must be of {', '.join(CHANGES)}, got {unknown[0]!r}")
