"""Mode guidance: while noise is taken away, what the model expects to see is pulled towards a prototype."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor


def pulled(said: Tensor, noisy: Tensor, mode: Tensor, *, signal: float, pull: float, kind: str = "epsilon") -> Tensor:
    """What a denoiser says, changed so that the picture it stands for lies `pull` of the way nearer to the mode.

    noisy = √signal·x₀ + √(1 − signal)·ε; the x₀ that is said becomes x₀ + pull·(mode − x₀), pull 0 to 1.
    kind: what is said: `epsilon`, `v_prediction` or `sample`
    It is affine in what is said, so that it may be done before or after classifier-free guidance alike.
    Source: Chan-Santiago et al. 2025, arXiv:2505.18963 (MGD³), whose noise is changed by λ·σ·(mode − x₀). Changed: the
    pull is a share of x₀, which stays bounded at all noise levels.
    """
    clean, noise = math.sqrt(signal), math.sqrt(1 - signal)
    if kind == "epsilon":
        seen = (noisy - noise * said) / clean
    elif kind == "v_prediction":
        seen = clean * noisy - noise * said
    else:
        seen = said
    wanted = seen + pull * (mode - seen)
    if kind == "sample":
        return wanted
    epsilon = (noisy - clean * wanted) / noise
    return epsilon if kind == "epsilon" else clean * epsilon - noise * wanted


class ModeGuidance:
    """While it is entered, a denoiser's answers are pulled towards modes [M, c, h, w], in its first `calls` calls.

    It listens at the denoiser itself, so that diffusers' pipeline stays as it is. Guided and unguided halves of a batch
    are pulled alike.
    """

    def __init__(self, unet: Any, scheduler: Any, modes: Tensor, *, pull: float, calls: int) -> None:
        self.unet, self.scheduler, self.modes, self.pull, self.left = unet, scheduler, modes, pull, calls

    def __enter__(self) -> Self:
        self._hold = self.unet.register_forward_hook(self._changed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hold.remove()

    def _changed(self, unet: Any, given: tuple[Any, ...], said: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.left <= 0:
            return said
        self.left -= 1
        noisy, step = given[:2]
        modes = self.modes.repeat(len(noisy) // len(self.modes), 1, 1, 1)
        signal = float(self.scheduler.alphas_cumprod[int(step)])
        kind = self.scheduler.config.prediction_type
        return (pulled(said[0], noisy, modes, signal=signal, pull=self.pull, kind=kind), *said[1:])
