"""Strided block-sparse attention: which tokens of a raster a token may look back at, as a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightmeter.errors import InvalidValueError

BLOCK = 32
"""Tokens of one block: written into the public code."""
LOCAL_BLOCKS = 4
"""Blocks before its own that a token always sees."""


def blocks_of(shape: Sequence[int], *, block: int = BLOCK) -> tuple[int, ...]:
    """The grid of blocks that a raster of tokens is cut into: the last axes are merged until one block fits.

    >>> blocks_of((4, 32, 32))
    (4, 32)
    """
    merged, axis = 1, len(shape)
    while axis and merged <= block:
        axis -= 1
        merged *= shape[axis]
    if merged % block:
        raise InvalidValueError(
            f"sparse attention needs a grid that cuts into blocks of {block} tokens, got {tuple(shape)}: take full"
        )
    return (*shape[:axis], merged // block)


def strided_blocks(shape: Sequence[int], *, block: int = BLOCK, local: int = LOCAL_BLOCKS) -> Tensor:
    """bool [blocks, blocks]: row block sees column block, never a later one.

    Seen are the block itself, the `local` ones before it, and earlier ones that share all but one coordinate in the
    grid of blocks (the last coordinate is always shared).
    Source: Child et al. 2019, arXiv:1904.10509, §4.2, as VideoGPT's public code widens it to more axes.
    """
    grid = blocks_of(shape, block=block)
    count = math.prod(grid)
    places = torch.stack(torch.unravel_index(torch.arange(count), grid), 1)
    same = places[:, None] == places[None]
    number = torch.arange(count)
    back = number[:, None] - number[None]
    seen = (back >= 0) & (back <= local)
    for axis in range(len(grid) - 1):
        others = [each for each in range(len(grid)) if each != axis]
        seen |= same[..., others].all(-1) & (back >= 0)
    return seen


def sparse_mask(shape: Sequence[int], *, block: int = BLOCK, local: int = LOCAL_BLOCKS) -> Tensor:
    """float32 [L, L], L the product of the shape: 0 where a token (row) sees another, -inf elsewhere; causal.

    Memory: 4·L² bytes; 64 MB for the 4,096 tokens of the published BAIR prior.
    """
    blocks = strided_blocks(shape, block=block, local=local)
    seen = blocks.repeat_interleave(block, 0).repeat_interleave(block, 1).tril_()
    return torch.zeros(seen.shape).masked_fill_(~seen, -math.inf)
