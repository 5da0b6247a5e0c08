"""A small residual network for controls: what a head can do with features that nobody has trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.dense_maps import Maps


class _Residual(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x + conv(relu(conv(relu(norm x))))."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm, self.inner_norm = nn.GroupNorm(1, before), nn.GroupNorm(1, after)
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(x))
        return self.skip(y) + self.second(functional.relu(self.inner_norm(self.first(y))))


class SmallMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Down to stride 8 and up again with skips, as in a U-Net: maps `down2` `down4` `down8` `up4` `up2`.

    [N, T, 3, H, W] in 0..1 -> [N, C, T, h, w] by name; each frame by itself. C is width at stride 2, twice and four
    times that at 4 and 8.  Cost: 135 M MACs at 64 x 64 and width 32.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down2 = _Residual(width, width, 2)
        self.down4 = _Residual(width, 2 * width, 2)
        self.down8 = _Residual(2 * width, 4 * width, 2)
        self.up4 = _Residual(6 * width, 2 * width, 1)
        self.up2 = _Residual(3 * width, width, 1)

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """All maps, or those up to the last that is named."""
        x = self.stem(clips.flatten(0, 1) * 2 - 1)
        made: Maps = {}
        for name in ("down2", "down4", "down8", "up4", "up2"):
            if name.startswith("up"):
                grown = functional.interpolate(x, scale_factor=2, mode="nearest")
                x = torch.cat([grown, made[name.replace("up", "down")]], dim=1)
            made[name] = x = getattr(self, name)(x)
            if names is not None and set(names) <= set(made):
                break
        return {
            name: made[name].unflatten(0, clips.shape[:2]).transpose(1, 2)
            for name in (made if names is None else names)
        }


def redrawn(net: nn.Module, seed: int) -> nn.Module:
    """The same network with weights drawn anew, in place: what training taught it is gone, its shape is not.

    Modules that can reset themselves do, a codebook with them; single parameters outside of them are shuffled, which
    keeps their spread and loses their order.  The seed decides all; torch's own generator is put back.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        done: set[int] = set()
        for module in net.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is not None:
                reset()
                done |= {id(each) for each in module.parameters()}
        for parameter in net.parameters():
            if id(parameter) not in done:
                flat = parameter.flatten()
                parameter.copy_(flat[torch.randperm(flat.numel())].view_as(parameter))
    return net
