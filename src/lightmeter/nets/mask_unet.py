"""A U-Net on maps of features, or on pixels: a head, and the baseline that learns from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.mask_heads import fitted, joined
from lightmeter.nets.unet import UNet, UNetPlan


class MaskUNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """before (a linear layer, ReLU; or nothing) → U-Net with one output → bilinear to the mask's size.

    A map that is no multiple of the U-Net's is padded at its right and lower edge by repeating it, and cut again.
    forward: maps of one stride by name → logits [N, H, W]
    """

    def __init__(self, names: Sequence[str], before: nn.Module, plan: UNetPlan, size: tuple[int, int]) -> None:
        super().__init__()
        self.names, self.size, self.before, self.unet = tuple(names), size, before, UNet(plan)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        x = self.before(joined(features, self.names))
        height, width = x.shape[2:]
        down, right = (-each % self.unet.plan.size_multiple for each in (height, width))
        if down or right:
            x = functional.pad(x, (0, right, 0, down), mode="replicate")
        return fitted(self.unet(x)[:, :, :height, :width], *self.size)
