"""What a pretrained predictor of future codes is shipped as: its frame encoder alone, in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.dense_future import FRAME, KIND
from lightmeter.errors import InvalidValueError

_TOLD = ("plan", "pretraining", "data", "tokens", "seed", "from", "figures", "cost", "diagnostics")


def pack(folder: Path | str, out: Path | str) -> Path:
    """Write the frame encoder of a folder of `segment pretrain` as `future-codes/path=OUT` reads it: float16.

    The predictor behind it and half of every number are left out: about half of the size where the predictor has no
    layers. A test holds features to 0.4 % of the largest. `cost` is of the last run alone, not of those it began from.
    Raises InvalidValueError for a folder of another kind of net.  Cost: a copy of the weights.
    """
    arrays, about = load_model(folder)
    if about.get("kind") != KIND:
        raise InvalidValueError(f"{folder} must hold a {KIND} net, got {about.get('kind')!r}: pretrain --net future")
    kept = {name: each.astype(np.float16) for name, each in arrays.items() if name.startswith(FRAME)}
    told = {name: about[name] for name in _TOLD if name in about}
    return save_model(out, kept, {**told, "kind": KIND, "whole": False})
