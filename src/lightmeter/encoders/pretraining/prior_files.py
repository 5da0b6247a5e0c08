"""A trained prior in a folder, its tokenizer inside: how it is written and read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer, filled
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import need

KIND = "prior"


def save_prior(folder: Path, net: Any, tokens: Tokenizer, about: Mapping[str, Any]) -> Path:
    """Write a `nets.video_prior.VideoPrior` whose conditioner is flat (2D), and its tokenizer."""
    tokens.save(folder / TOKENS, {"fingerprint": tokens.fingerprint})
    state = {name: each.detach().cpu().numpy() for name, each in net.state_dict().items()}
    return save_model(folder, state, {**about, "kind": KIND, "plan": dataclasses.asdict(net.plan)})


def load_prior(folder: Path | str) -> tuple[Tokenizer, Any]:
    """The tokenizer and the prior that `save_prior` wrote, both in eval mode and frozen.

    Raises MissingAssetError or RejectedFileError.
    """
    need("torch", "torch")
    arrays, about = load_model(folder)
    tokens = Tokenizer.load(Path(folder) / TOKENS)
    plan = _plan(about)
    if (plan.grid, plan.codes, plan.dim) != (tokens.grid, tokens.count, tokens.net.plan.dim):
        raise RejectedFileError("damaged", f"the prior and the tokens of {folder} must go together: pretrain it again")
    return tokens, filled(partial(_flat, plan), arrays)


def _plan(about: Mapping[str, Any]) -> Any:
    from lightmeter.nets.frame_resnet import FrameResNetPlan
    from lightmeter.nets.video_prior import PriorPlan

    plan: Any = about.get("plan")
    if about.get("kind") != KIND or not isinstance(plan, dict):
        raise RejectedFileError("damaged", f"the folder must hold a {KIND} with its plan, got {str(about)[:80]}")
    try:
        inner = FrameResNetPlan(**_tuples(plan["conditioner"]))
        return PriorPlan(**{**_tuples(plan), "conditioner": inner})
    except (TypeError, ValueError, KeyError, AttributeError, InvalidValueError) as error:
        raise RejectedFileError("damaged", f"the plan of a {KIND} must fit: {str(error)[:200]}") from error


def _tuples(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in plan.items()}


def _flat(plan: Any) -> Any:
    from lightmeter.nets.frame_resnet import FrameResNet
    from lightmeter.nets.video_prior import VideoPrior

    net = VideoPrior(plan)
    net.resnet = FrameResNet(plan.conditioner, flat=True)
    return net
