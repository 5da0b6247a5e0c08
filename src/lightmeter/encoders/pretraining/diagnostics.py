"""What a trained net is worth before any head is trained: use of codes, rank of features, what the frame tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.effective_rank import EffectiveRank
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

Nats = Callable[[slice, "Tensor"], "Tensor"]
"""(which windows, what is taken for their first frames float [b, 3, H, W]) → nats of each cell, [b, T', h, w]"""


def diagnosed_codes(codes: Array, count: int, moves: Array, standing: Array) -> dict[str, float]:
    """How a codebook is used: int64 [B, T', h, w] of `count` codes, bool [B, T', h, w] which cells move.

    standing: codes of the same windows if their first frames stayed (`standing_windows`)
    used: codes that occur · perplexity: exp of their entropy, 1..count · most_used: share of the commonest
    flicker: see `flicker`, where a place is still
    """
    if codes.size == 0 or codes.shape != moves.shape or codes.shape != standing.shape:
        raise InvalidValueError(
            f"codes, moves and standing must be alike and not empty, got {codes.shape}, {moves.shape} and "
            f"{standing.shape}"
        )
    counts = np.bincount(codes.ravel(), minlength=count)
    shares = counts[counts > 0] / counts.sum()
    made = {
        "count": float(count), "used": float((counts > 0).sum()),
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())), "most_used": float(shares.max()),
    }  # fmt: skip
    found = flicker(codes, standing, moves)
    return made if found is None else {**made, "flicker": found}


def standing_windows(windows: Array) -> Array:
    """The first frame for ever: uint8 [B, T, H, W, 3] → the same shape."""
    return np.repeat(windows[:, :1], windows.shape[1], 1)


def flicker(codes: Array, standing: Array, moves: Array) -> float | None:
    """How often a place where nothing moves has another code than if the whole window stood still: a share, 0 is best.

    codes, standing: int64 [B, T', h, w] of windows and of `standing_windows` of them · moves: bool, the same shape
    None where everything moves. What differs comes of noise, or of what moves nearby, as far as a code sees.
    Codes of two moments are not compared: paddings let a code say which moment it is of, so that still places change
    theirs from one to the next where nothing flickers at all.
    """
    return float((codes != standing)[~moves].mean()) if not moves.all() else None


def ranks(maps: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Effective rank of maps by name, each place of each picture a row: float [B, C, h, w] or [B, C, T', h, w]."""
    found: dict[str, EffectiveRank] = {}
    for each in maps:
        for name, map_ in each.items():
            rows = map_.movedim(1, -1).flatten(0, -2).float().cpu().numpy()
            found.setdefault(name, EffectiveRank(rows.shape[1])).update(rows)
    return {name: each.result() for name, each in found.items()}


def conditioning_gap(nats: Nats, seen: Tensor, moves: Array) -> dict[str, float]:
    """How much the frame tells: nats a cell with the right frame, with another window's, and with a grey one.

    seen: first frames float [B, 3, H, W] in -0.5..0.5 · moves: bool [B, T', h, w]
    gap: wrong − right, over all cells; moving_gap: over those that move. About 0: the frame is not looked at. A single
    window has no wrong frame, and no gap.
    """
    import torch

    frames = {"right": seen, "blank": torch.zeros_like(seen)}
    if len(seen) > 1:
        frames["wrong"] = seen.roll(1, 0)
    made, moving = {}, torch.from_numpy(moves)
    for name, each in frames.items():
        found = torch.cat([nats(slice(row, row + 1), each[row : row + 1]) for row in range(len(seen))]).cpu()
        made[f"{name}_nats"] = float(found.mean())
        if moving.any():
            made[f"{name}_moving_nats"] = float(found[moving].mean())
    for kind in ("", "moving_") if "wrong" in frames else ():
        if f"wrong_{kind}nats" in made:
            made[f"{kind}gap"] = made[f"wrong_{kind}nats"] - made[f"right_{kind}nats"]
    return made
