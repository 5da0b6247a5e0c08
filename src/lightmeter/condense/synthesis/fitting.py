"""Between pictures of a set, of one size and 1 or 3 channels, and what a diffusion model takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["resize", "pad"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """The door of a model.

    size, channels: of the set's pictures · model_size, model_channels: of the model's
    fit: `resize`: squeezed or stretched to the model's size, bilinear one way and bicubic back, both antialiased, as
    published; `pad`: the border is repeated around the middle, and cut away again, so that no pixel is changed
    """

    size: tuple[int, int]
    channels: int
    model_size: tuple[int, int]
    model_channels: int
    fit: Fit = "resize"

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise InvalidValueError(f"fit must be one of {', '.join(get_args(Fit))}, got {self.fit!r}")
        if self.model_channels not in (1, 3) or (self.model_channels == 1 and self.channels != 1):
            raise InvalidValueError(
                f"a model of {self.model_channels} channels must be shown pictures of as many, got {self.channels}: "
                "take a model of colours for a set of colours"
            )
        if self.fit == "pad" and any(own > its for own, its in zip(self.size, self.model_size, strict=True)):
            raise InvalidValueError(
                f"pictures that are padded must be at most {self.model_size}, got {self.size}: let them be resized"
            )

    def to_model(self, images: Array) -> Tensor:
        """Pictures uint8 [M, H, W, C] → float32 [M, c, h, w] in −1..1; grey is shown to a model of colours as grey."""
        import torch
        from torch.nn import functional

        check_axes("images", images, f"M {self.size[0]} {self.size[1]} {self.channels}", "uint8")
        pixels = torch.from_numpy(images.copy()).movedim(-1, 1).float() / 127.5 - 1
        if self.fit == "pad":
            pixels = functional.pad(pixels, self._border(), mode="replicate")
        elif self.size != self.model_size:
            pixels = functional.interpolate(pixels, self.model_size, mode="bilinear", antialias=True)
        return pixels.expand(-1, self.model_channels, -1, -1)

    def to_set(self, made: Tensor) -> Array:
        """The way back: float [M, c, h, w] around −1..1 → uint8 [M, H, W, C]; colours become grey by their mean."""
        from torch.nn import functional

        pixels = made.detach().float().cpu()
        if self.channels == 1 and self.model_channels == 3:
            pixels = pixels.mean(1, keepdim=True)
        if self.fit == "pad":
            left, _, top, _ = self._border()
            pixels = pixels[:, :, top : top + self.size[0], left : left + self.size[1]]
        elif self.size != self.model_size:
            pixels = functional.interpolate(pixels.clamp(-1, 1), self.size, mode="bicubic", antialias=True)
        found: Array = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1).contiguous().numpy()
        return found

    def _border(self) -> tuple[int, int, int, int]:
        """Pixels left, right, above, below."""
        high, wide = (its - own for own, its in zip(self.size, self.model_size, strict=True))
        return wide // 2, wide - wide // 2, high // 2, high - high // 2
