"""The seed's linear layer from all features to all pixels, 252 million weights, in its dual form: seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.protocol import one_stride
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.encoders.dense import FeatureSet


@dataclass(frozen=True)
class LinearDual(Spelled):
    """logits = (X·X_trainᵀ / D)·A + b: `linear-global` of any size, whose weights are never made.

    What learns is A [R, H·W] and b, R the training frames: 1.0 M numbers for 250 frames of 64 × 64 in place of 251.7 M;
    the training features are kept with it, 4·R·D bytes. Inner products are made once, so that a step costs R·B·H·W.
    For frozen encoders only: the kernel must not move.
    """

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """Raises InvalidValueError: the net is made of training features, by `net_of`."""
        raise InvalidValueError(
            "linear-dual must be made of training features, got none: fit it with a frozen encoder, fine_tune=0"
        )

    def net_of(self, inputs: Mapping[str, FeatureSet], height: int, width: int, rows: Any) -> Any:
        """A net that has learnt nothing yet.  rows: training features, flattened, a tensor float32 [R, C·h·w]."""
        need("torch", "torch")
        from lightmeter.nets.mask_dual import DualBasis, DualLinear, DualReadout

        names, channels, stride = one_stride(self.spec, inputs)
        numbers = channels * (height // stride) * (width // stride)
        if rows.ndim != 2 or rows.shape[1] != numbers:
            raise InvalidValueError(f"rows must be [R, {numbers}], got {list(rows.shape)}: flatten the joined maps")
        return DualLinear(DualBasis(names, rows), DualReadout(len(rows), (height, width)))


def dual_ridge(x: Array, y: Array, l2: float) -> tuple[Array, Array]:
    """Least squares with a penalty in its dual form: A float64 [N, M] and b [M] so that logits = (X′·Xᵀ / D)·A + b.

    x: float [N, D] features of the training set · y: float [N, M] targets, such as ±1 a pixel · l2: λ above 0
    Solves min ‖X·W + b − Y‖² + λ·D·‖W‖² for W = Xᵀ·A / D; b is not penalised.
    Cost: N²·D + N³: under a second for 250 rows, whatever D.
    Source: Saunders, Gammerman and Vovk 1998, with the bias by centring in feature space.
    """
    import numpy as np

    if not l2 > 0 or len(x) != len(y) or x.ndim != 2 or y.ndim != 2:
        raise InvalidValueError(
            f"l2 must be above 0, x [N, D] and y [N, M], got {l2}, {list(x.shape)} and {list(y.shape)}"
        )
    kernel = x.astype(np.float64) @ x.T.astype(np.float64) / x.shape[1]
    aside = y.mean(axis=0)
    centre = np.eye(len(x)) - 1 / len(x)
    weights = np.linalg.solve(centre @ kernel @ centre + l2 * np.eye(len(x)), y - aside)
    weights = centre @ weights
    return weights, aside - kernel.mean(axis=0) @ weights
