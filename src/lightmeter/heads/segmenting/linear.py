"""Linear probes: what features say of a mask without anything learnt in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightmeter.heads.segmenting.protocol import check_weights, one_stride
from lightmeter.parts import Spelled, need

if TYPE_CHECKING:
    from lightmeter.encoders.dense import FeatureSet


@dataclass(frozen=True)
class LinearPatchHead(Spelled):
    """Each cell's logits from its own features: the usual linear probe, (C + 1)·stride² weights.

    It knows nothing of where a cell lies, so that it cannot draw the average mask.
    """

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        need("torch", "torch")
        from lightmeter.nets.mask_heads import LinearPatch

        names, channels, stride = one_stride(self.spec, inputs)
        return LinearPatch(names, channels, stride, (height, width))


@dataclass(frozen=True)
class LinearGlobalHead(Spelled):
    """Every pixel's logit from all features of all cells, flattened: the seed's linear layer (rows 2 and 5).

    For small maps only: 16.8 M weights for 4 × 32 × 32 features and 64 × 64 pixels; `linear-dual` is the same layer
    for any size.
    """

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`; raises InvalidValueError for more than 64 M weights."""
        need("torch", "torch")
        from lightmeter.nets.mask_heads import LinearGlobal

        names, channels, stride = one_stride(self.spec, inputs)
        numbers = channels * (height // stride) * (width // stride)
        check_weights("linear-global", numbers * height * width, "take linear-dual, the same layer in its dual form")
        return LinearGlobal(names, numbers, (height, width))
