"""Frames to the size that an encoder takes, masks and logits to the size of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder


def work_size(encoder: DenseEncoder, height: int, width: int) -> tuple[int, int]:
    """At which size an encoder sees frames: the next multiples of its own, or the one size that it takes."""
    side: int | None = getattr(encoder, "only_side", None)
    if side:
        return side, side
    multiple = encoder.size_multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def resized_clips(clips: Array, height: int, width: int) -> Array:
    """uint8 [N, T, H, W, 3] at another size, bilinear, smoothed where it shrinks; as it is where it fits."""
    if clips.shape[2:4] == (height, width):
        return clips
    torch = need("torch", "torch")
    made = np.empty((*clips.shape[:2], height, width, 3), np.uint8)
    for row in range(len(clips)):
        pixels = torch.from_numpy(np.ascontiguousarray(clips[row].transpose(0, 3, 1, 2))).float()
        scaled = torch.nn.functional.interpolate(
            pixels, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        made[row] = scaled.round().clamp(0, 255).byte().numpy().transpose(0, 2, 3, 1)
    return made


def resized_masks(masks: Array, height: int, width: int) -> Array:
    """uint8 [N, H, W], or numbers of any kind [N, H, W, …], at another size, the nearest pixel each.

    Numbers stay what they are: flow at another size is still in pixels of the first one.
    """
    if masks.shape[1:3] == (height, width):
        return masks
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip((height, width), masks.shape[1:3], strict=True)
    )
    made: Array = masks[:, rows][:, :, columns]
    return made


def resized_logits(logits: Any, height: int, width: int) -> Array:
    """A tensor of logits [N, h, w] → float32 [N, H, W], bilinear where the size is another."""
    torch = need("torch", "torch")
    if tuple(logits.shape[1:]) != (height, width):
        logits = torch.nn.functional.interpolate(
            logits[:, None], (height, width), mode="bilinear", align_corners=False
        )[:, 0]  # fmt: skip
    made: Array = logits.float().numpy()
    return made


def resized_numbers(numbers: Array, height: int, width: int) -> Array:
    """Numbers a pixel float32 [N, H, W] or [N, H, W, K] at another size, bilinear; in the units that they have."""
    if numbers.shape[1:3] == (height, width):
        return numbers
    torch = need("torch", "torch")
    whole = numbers.reshape(*numbers.shape[:3], -1)
    kinds = [resized_logits(torch.from_numpy(whole[..., at].copy()), height, width) for at in range(whole.shape[-1])]
    made: Array = np.stack(kinds, axis=-1).reshape(len(numbers), height, width, *numbers.shape[3:])
    return made
