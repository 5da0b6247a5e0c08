"""Nets that see one frame at a time, with the face of nets that see clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from lightmeter.nets.dense_maps import Maps


class FrameMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> maps [N, C, T, h, w] by name, each frame by itself.

    see: (network, frames [N * T, 3, H, W] in -0.5..0.5) -> all maps [N * T, C, h, w] by name
    """

    def __init__(self, network: nn.Module, see: Callable[[nn.Module, Tensor], Mapping[str, Tensor]]) -> None:
        super().__init__()
        self.network, self.see = network, see

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None."""
        made = self.see(self.network, clips.flatten(0, 1) - 0.5)
        wanted = made if names is None else names
        return {name: made[name].unflatten(0, clips.shape[:2]).transpose(1, 2) for name in wanted}
