"""What a mask head is: maps of features in, logits of a mask out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build

if TYPE_CHECKING:
    from lightmeter.encoders.dense import FeatureSet

MOST_WEIGHTS = 64_000_000
"""More are refused: a flattened layer of the seed's sizes would have 252 million, or 3.8 billion."""


@runtime_checkable
class MaskHead(Protocol):
    """A recipe: a frozen dataclass in `MASK_HEADS`."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """Fresh weights by torch's global generator: forward(maps float32 [N, C, h, w] by name) → logits [N, H, W].

        inputs: the maps, in the order in which they are read · height, width: of the frames, and of the logits
        Raises InvalidValueError where the head cannot read such maps.
        """
        ...


def mask_head(spec: str) -> MaskHead:
    """The mask head of a spec; raises SpecError, UnknownNameError or InvalidValueError."""
    head = build(spec, "mask-head")
    if not isinstance(head, MaskHead):
        raise InvalidValueError(f"head must be a mask head, got {spec}: take linear-patch, multi-scale or another")
    return head


def one_stride(spec: str, inputs: Mapping[str, FeatureSet]) -> tuple[tuple[str, ...], int, int]:
    """Names, channels together and stride of maps that a head joins side by side.

    Raises InvalidValueError for maps of several strides.
    """
    strides = {each.stride for each in inputs.values()}
    if len(strides) != 1:
        told = ", ".join(f"{each.name} of stride {each.stride}" for each in inputs.values()) or "none"
        raise InvalidValueError(f"{spec.partition('/')[0]} must read maps of one stride, got {told}: take multi-scale")
    return tuple(inputs), sum(each.channels for each in inputs.values()), strides.pop()


def check_weights(what: str, count: int, way_out: str) -> None:
    """Raise InvalidValueError for a layer of more than MOST_WEIGHTS weights, before any memory is taken."""
    if count > MOST_WEIGHTS:
        raise InvalidValueError(f"{what} must have at most {MOST_WEIGHTS:,} weights, got {count:,}: {way_out}")


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raise InvalidValueError for a number of an option outside least..most; saved models are held to it too."""
    if not least <= value <= most:
        raise InvalidValueError(f"{name} must be {least} to {most}, got {value}")
