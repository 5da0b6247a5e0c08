"""A trained prior in a folder, its tokenizer inside: how it is written and read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lightmeter.assets.saving import insist, load_model, save_model
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer, filled
from lightmeter.encoders.saved_net import saved_plan
from lightmeter.errors import RejectedFileError
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
    return tokens, filled(partial(_flat, plan), arrays, _layers(plan))


def _plan(about: Mapping[str, Any]) -> Any:
    from lightmeter.nets.video_prior import PriorPlan

    if about.get("kind") != KIND:
        raise RejectedFileError("damaged", f"the folder must hold a {KIND} with its plan, got {str(about)[:80]}")
    plan = saved_plan(PriorPlan, about.get("plan"), KIND)
    insist(plan.conditioner is not None, f"the plan of a {KIND} must have a conditioner, got none")
    return plan


def _layers(plan: Any) -> dict[str, int]:
    """How many blocks there are of every sort, as `unfilled` has it."""
    groups = {
        f"resnet.group{at}.blocks.{{}}.conv1.weight": each - 1 for at, each in enumerate(plan.conditioner.layers, 1)
    }
    return {"attn_stack.attn_nets.{}.pre_attn_norm.g": plan.layers, **groups}


def _flat(plan: Any) -> Any:
    from lightmeter.nets.frame_resnet import FrameResNet
    from lightmeter.nets.video_prior import VideoPrior

    net = VideoPrior(plan)
    net.resnet = FrameResNet(plan.conditioner, flat=True)
    return net
