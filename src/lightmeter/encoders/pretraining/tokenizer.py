"""A trained VQ-VAE in use: windows of frames to codes and back, frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.encoders.pretraining.windows import Cut
from lightmeter.encoders.saved_net import saved_plan, size_of, unfilled
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.meter.record import hash_of
from lightmeter.parts import need
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from torch import Tensor

KIND = "vqvae"
TOKENS = "tokens"
"""The folder inside a predictor's that holds what it predicts."""
Of = Literal["frames", "changes"]
"""What is tokenized: frames as they are, or what they differ by from the window's first, as video codecs do."""


def seen_pixels(windows: Tensor, of: Of) -> Tensor:
    """What a VQ-VAE is shown: uint8 [B, T, H, W, 3] → float [B, 3, T, H, W], -0.5..0.5 of frames, -1..1 of changes."""
    pixels = windows.movedim(-1, 1).float() / 255
    return pixels - 0.5 if of == "frames" else pixels - pixels[:, :, :1]


def shown_pixels(made: Tensor, first: Tensor, of: Of) -> Tensor:
    """The way back: float [B, 3, T, H, W] and first frames uint8 [B, H, W, 3] → float [B, 3, T, H, W] in 0..1."""
    base = 0.5 if of == "frames" else first.movedim(-1, 1)[:, :, None].float() / 255
    return (made + base).clamp(0, 1)


def filled(make: Callable[[], Any], arrays: Mapping[str, Array], layers: Mapping[str, int]) -> Any:
    """A net with the weights of a model, in eval mode and frozen; nothing is drawn or allocated before they fit.

    layers: as in `unfilled`. Raises RejectedFileError where names, types or shapes are others.
    """
    import torch

    net = unfilled(make, arrays, layers)
    state = {
        name: torch.from_numpy(expect(arrays, name, str(each.dtype).removeprefix("torch."), *each.shape).copy())
        for name, each in net.state_dict().items()
    }
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(requires_grad=False)


class Tokenizer:
    """Codes of windows, and pictures of codes.

    A window is tokenized by itself: its codes do not depend on what else is asked for.
    Cost: `plan.encode_macs`, `plan.decode_macs` a window.
    """

    def __init__(self, net: Any, of: Of, cut: Cut, size: tuple[int, int]) -> None:
        self.net, self.of, self.cut, self.size = net, of, cut, size
        self.grid: tuple[int, int, int] = net.plan.grid(cut.frames, *size)
        self.count: int = net.plan.codes

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote; raises MissingAssetError or RejectedFileError."""
        need("torch", "torch")
        return cls.of_model(*load_model(folder))

    @classmethod
    def of_model(cls, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Self:
        """From what `load_model` gave."""
        from lightmeter.nets.vqvae import VqVae, VqVaePlan

        of: Any = about.get("of")
        if about.get("kind") != KIND or of not in get_args(Of):
            raise RejectedFileError("damaged", f"a tokenizer must be of {KIND}, got {str(about)[:80]}")
        sizes = saved_plan(VqVaePlan, about.get("plan"), KIND)
        blocks = {f"{half}.res_stack.{{}}.block.0.weight": sizes.layers for half in ("encoder", "decoder")}
        net = filled(partial(VqVae, sizes), arrays, blocks)
        frames, every, height, width = (
            size_of(about.get(name), f"{name} of a tokenizer", 1) for name in ("frames", "every", "height", "width")
        )
        try:
            return cls(net, of, Cut(frames, every), (height, width))
        except InvalidValueError as error:
            raise RejectedFileError("damaged", f"the windows of a tokenizer must fit: {str(error)[:200]}") from error

    def save(self, folder: Path | str, about: Mapping[str, Any]) -> Path:
        """Into a folder."""
        return save_model(folder, self.arrays(), {**about, **self.about()})

    def arrays(self) -> dict[str, Array]:
        """Weights and codebook by name."""
        return {name: each.detach().cpu().numpy() for name, each in self.net.state_dict().items()}

    def about(self) -> dict[str, Any]:
        """What must be known beside the weights."""
        plan = dataclasses.asdict(self.net.plan)
        height, width = self.size
        windows = {"of": self.of, "frames": self.cut.frames, "every": self.cut.every, "height": height, "width": width}
        return {"kind": KIND, "plan": plan, **windows}

    @property
    def fingerprint(self) -> str:
        """Of all that decides codes and pictures.  Cost: a hash of the weights."""
        return hash_of([self.arrays(), self.about()])

    def to(self, device: str) -> Self:
        """The same elsewhere: `cpu` or `cuda`; itself."""
        self.net.to(device)
        return self

    def codes(self, windows: Array) -> Array:
        """uint8 [B, T, H, W, 3] → int64 [B, T', h, w]"""
        torch = need("torch", "torch")
        check_axes("windows", windows, f"B {self.cut.frames} {self.size[0]} {self.size[1]} 3", "uint8")
        device = self.net.codebook.embeddings.device
        made = np.empty((len(windows), *self.grid), np.int64)
        with torch.inference_mode():
            for row, window in enumerate(windows):
                pixels = seen_pixels(torch.from_numpy(window[None]).to(device), self.of)
                made[row] = self.net.encode(pixels)[0].cpu().numpy()
        return made

    def recoded(self, windows: Array) -> Array:
        """Windows through their codes and back, uint8 [B, T, H, W, 3]: the best that a predictor of codes can show."""
        return self.pictures(self.codes(windows), windows[:, 0])

    def pictures(self, codes: Array, first: Array) -> Array:
        """Codes int64 [B, T', h, w] and first frames uint8 [B, H, W, 3] → uint8 [B, T, H, W, 3]."""
        torch = need("torch", "torch")
        device = self.net.codebook.embeddings.device
        made = np.empty((len(codes), self.cut.frames, *self.size, 3), np.uint8)
        with torch.inference_mode():
            for row, (each, frame) in enumerate(zip(codes, first, strict=True)):
                decoded = self.net.decode(torch.from_numpy(each[None]).to(device))
                shown = shown_pixels(decoded, torch.from_numpy(frame[None]).to(device), self.of)
                made[row] = (shown[0].movedim(0, -1) * 255).round().byte().cpu().numpy()
        return made
