"""The frame encoder of a predictor of future codes: the packaged default, or one that was pretrained here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.encoders.by_path import content_sha256, settle
from lightmeter.encoders.dense import Policy, Pool, Windowed, check_options
from lightmeter.encoders.dense_net import ByNet
from lightmeter.encoders.saved_net import saved_plan, unfilled
from lightmeter.errors import MissingAssetError, RejectedFileError
from lightmeter.meter.record import hash_of
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

KIND = "future-codes"
_PACKAGED = Path(__file__).with_name("weights") / "future_codes"
FRAME = "frame."
"""How the names of the frame encoder's arrays begin."""


@dataclass(frozen=True)
class FutureCodesMaps(ByNet, Windowed, Spelled):
    """What a network sees in a frame that has learnt to say what comes next: `stride2` `stride4` `stride8` ….

    Only its frame encoder is read: a strided stem and a small U-Net, of which every size is a map, after its way up.
    Cost: `nets.future_codes.FutureCodesPlan.frame_macs`, whichever maps are taken.
    Source: `nets.future_codes.FutureCodes`.

    path: a folder that `save_future_codes` wrote; none: the packaged one, trained on simulated robot pushing
    maps, frames, clip, pool: as in `DenseEncoder`; frames are seen one by one, so that `clip=real,frames=3,pool=concat`
    shows motion to the head · device: `cpu` or `cuda`
    """

    path: Path | None = None
    maps: tuple[str, ...] = ()
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        check_options(self)
        if self.path is not None:
            settle(self, "path")

    @property
    def folder(self) -> Path:
        """Where the weights lie."""
        if self.path is None and not _PACKAGED.is_dir():
            raise MissingAssetError(
                f"no weights of future-codes come with this build ({_PACKAGED} is not there): "
                "pretrain one with `lightmeter segment pretrain`, and name its folder: future-codes/path='…'"
            )
        return self.path or _PACKAGED

    @property
    def size_multiple(self) -> int:
        """The stride of the coarsest map."""
        return 2 << int(self._kept().network.plan.levels)

    @property
    def fingerprint(self) -> str:
        """Of the options and the weights, wherever they lie."""
        return hash_of([super().fingerprint, content_sha256(self.folder)])

    def _defaults(self) -> tuple[str, ...]:
        return ("stride4",)

    def _made(self) -> Any:
        need("torch", "torch")
        from lightmeter.nets.dense_frames import FrameMaps

        return FrameMaps(_frame_encoder(*load_model(self.folder)), _see)


def _see(network: Any, frames: Any) -> dict[str, Any]:
    return {f"stride{stride}": each for stride, each in network(frames).items()}


def save_future_codes(folder: Path | str, net: Any, about: Mapping[str, Any], *, whole: bool = True) -> Path:
    """Write a trained `nets.future_codes.FutureCodes` as `future-codes/path=FOLDER` reads it.

    about: what JSON can hold (data, seed, cost), written beside · whole: the transformer too, which predicts; False:
    the frame encoder alone, which is all that features need
    """
    state = {name: each.detach().cpu().numpy() for name, each in net.state_dict().items()}
    kept = {name: each for name, each in state.items() if whole or name.startswith(FRAME)}
    plan = dataclasses.asdict(net.plan)
    return save_model(folder, kept, {**about, "kind": KIND, "plan": plan, "whole": whole})


def plan_of(about: Mapping[str, Any]) -> Any:
    """The `FutureCodesPlan` that was saved; raises RejectedFileError for anything else."""
    from lightmeter.nets.future_codes import FutureCodesPlan

    if about.get("kind") != KIND:
        raise RejectedFileError(
            "damaged", f"the folder must hold a {KIND} model with its plan, got {str(about.get('kind'))[:80]!r}"
        )
    return saved_plan(FutureCodesPlan, about.get("plan"), f"{KIND} model")


def layers_of(plan: Any) -> dict[str, int]:
    """How many halvings its frame encoder has, as `unfilled` has it."""
    return {f"{FRAME}unet.down.{{}}.0.weight": plan.levels + 1}


def _frame_encoder(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Any:
    import torch

    from lightmeter.nets.future_codes import FrameEncoder

    plan = plan_of(about)
    net = unfilled(partial(FrameEncoder, plan), arrays, layers_of(plan))
    state = {}
    for name, each in net.state_dict().items():
        found = arrays.get(FRAME + name)
        kind = "float16" if found is not None and found.dtype.name == "float16" else str(each.dtype).split(".")[-1]
        array = expect(arrays, FRAME + name, kind, *each.shape)
        state[name] = torch.from_numpy(array.copy()).to(each.dtype)
    net.load_state_dict(state, assign=True)
    net.plan = plan
    return net
