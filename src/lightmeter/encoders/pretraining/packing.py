"""What a pretrained predictor of future codes is shipped as: its frame encoder alone, in half precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import ARRAYS, load_model, save_model
from lightmeter.encoders.dense_future import FRAME, KIND
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import open_clips, part_about
from lightmeter.meter.record import hash_of
from lightmeter.types import Array

_LINK = ("pretraining", "data", "tokens", "seed", "from", "device", "figures", "cost")
_TOLD = ("plan", *_LINK, "diagnostics")
_SUMMED = ("wall_s", "cpu_s", "steps")
_CLIPS = ("scenes", "seed", "clips_a_scene", "frames", "size", "versions")


def pack(
    folder: Path | str, out: Path | str, *, before: Sequence[Path | str] = (), clips: Sequence[Path | str] = ()
) -> Path:
    """Write the frame encoder of a folder of `segment pretrain` as `future-codes/path=OUT` reads it: float16.

    The predictor behind it and half of every number are left out: about half of the size where the predictor has no
    layers. A test holds features to 0.4 % of the largest.
    before: the folders of the runs that it stands on, its tokens' first, then what it was started from, oldest first.
    OUT then tells the `chain` of all of them, and `cost` is their sum; without, `cost` is of the last run alone
    clips: the folders that were simulated for it, learnt from and held out: OUT then tells their options and seeds
    Raises InvalidValueError for a folder of another kind of net, a chain or clips that are not of it, and for a weight
    that half precision cannot hold.  Cost: a copy of the weights, and a read of those before.
    """
    arrays, about = load_model(folder)
    if about.get("kind") != KIND:
        raise InvalidValueError(f"{folder} must hold a {KIND} net, got {about.get('kind')!r}: pretrain --net future")
    kept = {name: _halved(name, each) for name, each in arrays.items() if name.startswith(FRAME)}
    told = {name: about[name] for name in _TOLD if name in about}
    if before:
        chain = [*_linked([Path(each) for each in before], about), _link(about)]
        told |= {"cost": {name: sum(each["cost"][name] for each in chain) for name in _SUMMED}, "chain": chain}
    if clips:
        told["clips"] = [_simulated(Path(each), str(about.get("data"))) for each in clips]
    return save_model(out, kept, {**told, "kind": KIND, "whole": False})


def _halved(name: str, array: Array) -> Array:
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise InvalidValueError(
            f"{name} must be within ±65504 to be kept in half precision, got {largest:.6g}: ship the folder as it is"
        )
    return array.astype(np.float16)


def _link(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: about[name] for name in _LINK if name in about}


def _linked(before: list[Path], about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is told of each run before; raises InvalidValueError where they are not those that a net says it is of."""
    wanted, links = about, []
    for folder in reversed(before[1:]):
        if hash_of([folder / ARRAYS]) != wanted.get("from"):
            raise InvalidValueError(f"{folder} must be what the next run was started from, got another: name that")
        wanted = load_model(folder)[1]
        links.append(wanted)
    arrays, tokens = load_model(before[0])
    whole = not wanted.get("from") and not tokens.get("from")
    if not whole or Tokenizer.of_model(arrays, tokens).fingerprint != about.get("tokens"):
        raise InvalidValueError(
            f"before must be the net's tokens and all that it was started from, got {', '.join(map(str, before))}: "
            "name every folder, oldest first"
        )
    yield from (_link(each) for each in (tokens, *reversed(links)))


def _simulated(folder: Path, data: str) -> dict[str, Any]:
    found, first = open_clips(folder), part_about(folder, 0) or {}
    if found.fingerprint not in data.split(" "):
        raise InvalidValueError(f"clips must be those of the run, got others in {folder}: name its own")
    told = {name: first[name] for name in _CLIPS if name in first}
    return {"clips": len(found), **told, "fingerprint": found.fingerprint}
