"""A segmenting network as it is exported: pixels in, logits of one picture out."""

from __future__ import annotations

from torch import Tensor, nn


class FramesToLogits(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """uint8 [T, H, W, 3] → logits float32 [H, W] less the threshold.

    net: clips float32 [1, T, 3, H, W] in 0..1 → logits [1, H, W]
    """

    def __init__(self, net: nn.Module, threshold: float) -> None:
        super().__init__()
        self.net, self.threshold = net, threshold

    def forward(self, frames: Tensor) -> Tensor:
        """Logits [H, W], above 0 inside."""
        return self.net(frames.permute(0, 3, 1, 2).float()[None] / 255)[0] - self.threshold
