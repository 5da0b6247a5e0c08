"""The published files of VideoGPT: VQ-VAEs and priors, read without Lightning and without running what they say.

Beside them, folders of the same nets that were pretrained here (`encoders.pretraining`).
Sizes are read off the shapes; what shapes do not tell (strides, heads) off the options in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.lightning import read_lightning
from lightmeter.encoders.pretraining.prior_files import load_prior
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.nets.frame_resnet import FrameResNetPlan
    from lightmeter.nets.video_prior import PriorPlan, VideoPrior
    from lightmeter.nets.vqvae import VqVae, VqVaePlan

_VQVAE = "vqvae."
_MOST_COUNT = 1 << 16
_DEFAULT_HEADS = 4  # the public code's: its files say how many, bare weights cannot
_PRIOR = "attn_stack.pos_embd.emb.d_0"

Downsample = tuple[int, int, int]


def read_vqvae(path: Path | str, *, downsample: Downsample | None = None) -> VqVae:
    """The VQ-VAE of a VideoGPT file, in eval mode: one of its own, or the one inside a prior's file.

    path: such a file, or a folder of a tokenizer or a predictor that was pretrained here; that of `pretrained_tokens`
    downsample: pixels a code along T, H, W, for a file that does not say
    Raises RejectedFileError for a file that holds no such net (broken, other shapes, numbers that are not finite),
    UnsafeFileError for one that would run code; InvalidValueError where `downsample` is needed or contradicts.
    Cost: a read of the file.
    """
    if Path(path).is_dir():
        return _agreeing(pretrained_tokens(path), downsample).net  # type: ignore[no-any-return]
    weights, options = _opened(path)
    if _PRIOR in weights:
        options = _vqvae_options(weights, options)
        weights = _under(weights, _VQVAE)
    return _vqvae(path, weights, options, downsample)


def read_prior(path: Path | str, *, downsample: Downsample | None = None) -> tuple[VqVae, VideoPrior]:
    """The prior of a VideoGPT file and the VQ-VAE in it, both in eval mode; errors and cost as `read_vqvae`.

    path: such a file, or a folder of a prior that was pretrained here, whose frame conditioner is flat already
    """
    from lightmeter.nets.video_prior import VideoPrior

    if Path(path).is_dir():
        tokens, prior = load_prior(path)
        return _agreeing(tokens, downsample).net, prior

    weights, options = _opened(path)
    if _PRIOR not in weights:
        raise RejectedFileError("other-kind", f"{path} holds no prior of VideoGPT (no {_PRIOR}): name a GPT's file")
    vqvae = _vqvae(path, _under(weights, _VQVAE), _vqvae_options(weights, options), downsample)
    own = {name: each for name, each in weights.items() if not name.startswith(_VQVAE)}
    classes = [name for name in own if name.endswith("norm.wb.weight")]
    if classes:
        raise RejectedFileError("other-kind", f"{path} is a prior that is conditioned on classes: that is not read")
    plan = _planned(path, _prior_plan, own, options, vqvae.plan)
    causal = {name for name in own if name.endswith(".attn.attn.mask")}  # a constant that full attention stores
    prior = _filled(path, VideoPrior, plan, {name: each for name, each in own.items() if name not in causal})
    return vqvae, prior


def pretrained_tokens(folder: Path | str) -> Tokenizer:
    """The tokenizer in a folder that `pretrain` wrote, or the one inside it that a predictor there predicts."""
    inside = Path(folder) / TOKENS
    return Tokenizer.load(inside if inside.is_dir() else folder)


def shows_changes(path: Path | str) -> bool:
    """Whether the VQ-VAE at a path is shown what windows differ by from their first frame; a published one is not."""
    return Path(path).is_dir() and pretrained_tokens(path).of == "changes"


def _agreeing(tokens: Tokenizer, downsample: Downsample | None) -> Tokenizer:
    told = tokens.net.plan.downsample
    if downsample is not None and tuple(downsample) != told:
        raise InvalidValueError(f"downsample must be {told}, as the folder says, got {downsample}: leave it out")
    return tokens


def _opened(path: Path | str) -> tuple[dict[str, Array], dict[str, Any]]:
    need("torch", "torch")
    weights, options = read_lightning(path)
    args = options.get("args", options)
    return weights, args if isinstance(args, dict) else {}


def _under(weights: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}


def _vqvae(
    path: Path | str, weights: Mapping[str, Array], options: Mapping[str, Any], downsample: Downsample | None
) -> VqVae:
    from lightmeter.nets.vqvae import VqVae

    given = _counts(options, "downsample", 3)
    if downsample is not None and given is not None and tuple(given) != tuple(downsample):
        raise InvalidValueError(f"downsample must be {tuple(given)}, as {path} says, got {downsample}: leave it out")
    chosen = downsample or given
    if chosen is None:
        raise InvalidValueError(f"{path} does not say its strides: add downsample=(T, H, W), such as (4, 2, 2)")
    made: VqVae = _filled(path, VqVae, _planned(path, _vqvae_plan, weights, chosen), weights)
    return made


# -- sizes ----------------------------------------------------------------------------------------------------------


def _planned(path: Path | str, make: Any, *given: Any) -> Any:
    try:
        return make(*given)
    except InvalidValueError as error:
        raise RejectedFileError("odd-sizes", f"{path} is no VideoGPT: {error}") from error


def _vqvae_plan(weights: Mapping[str, Array], downsample: tuple[int, ...]) -> VqVaePlan:
    from lightmeter.nets.same_padding import halvings
    from lightmeter.nets.vqvae import VqVaePlan

    codes, dim = _shape(weights, "codebook.embeddings", 2)
    hiddens = _shape(weights, "encoder.conv_last.conv.weight", 5)[0]
    layers = _length(weights, "encoder.res_stack.{}.block.0.weight")
    plan = VqVaePlan(hiddens, layers, (downsample[0], downsample[1], downsample[2]), dim, codes)
    convs = _length(weights, "encoder.convs.{}.conv.weight")
    if len(halvings(plan.downsample)) != convs:
        raise InvalidValueError(f"downsample {plan.downsample} needs other than its {convs} halving convolutions")
    return plan


def _vqvae_options(weights: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Any]:
    """Strides of the VQ-VAE inside a prior: the clip's size over that of the grid; nothing where it is not told."""
    clip, size = _counts(options, "sequence_length", 1), _counts(options, "resolution", 1)
    if clip is None or size is None:
        return {}
    grid = _grid(weights, "attn_stack.pos_embd")
    factors = [whole // max(each, 1) for whole, each in zip((*clip, *size, *size), grid, strict=True)]
    if any(whole != each * factor for whole, each, factor in zip((*clip, *size, *size), grid, factors, strict=True)):
        return {}
    return {"downsample": factors}


def _prior_plan(weights: Mapping[str, Array], options: Mapping[str, Any], vqvae: VqVaePlan) -> PriorPlan:
    from lightmeter.nets.video_prior import PriorPlan

    heads = _counts(options, "heads", 1) or (_DEFAULT_HEADS,)
    told, masked = options.get("attn_type"), any(name.endswith(".attn.attn.mask") for name in weights)
    conditioner = _conditioner_plan(weights)
    frames = (1, 1, 1)
    if conditioner is not None:
        seen = _grid(weights, "cond_pos_embd")
        frames = (seen[0], seen[1] * conditioner.stride, seen[2] * conditioner.stride)
    return PriorPlan(
        _grid(weights, "attn_stack.pos_embd"),
        vqvae.codes,
        vqvae.dim,
        _shape(weights, "fc_in.weight", 2)[0],
        _length(weights, "attn_stack.attn_nets.{}.pre_attn_norm.g"),
        heads[0],
        "full" if told == "full" or (told is None and masked) else "sparse",
        conditioner,
        frames,
        _share(options, "dropout", 0.2),
        _share(options, "attn_dropout", 0.3),
    )


def _conditioner_plan(weights: Mapping[str, Array]) -> FrameResNetPlan | None:
    from lightmeter.nets.video_prior import PUBLISHED_CONDITIONER

    if "resnet.stem.0.weight" not in weights:
        return None
    made = type(PUBLISHED_CONDITIONER)
    layers = [1 + _length(weights, f"resnet.group{group}.blocks.{{}}.conv1.weight") for group in (1, 2, 3, 4)]
    dim = _shape(weights, "resnet.group4.start_block.conv1.weight", 5)[0]
    base = _shape(weights, "resnet.stem.0.weight", 5)[0]
    return made(PUBLISHED_CONDITIONER.stride, dim, (layers[0], layers[1], layers[2], layers[3]), base)


def _grid(weights: Mapping[str, Array], name: str) -> tuple[int, int, int]:
    frames, height, width = (_shape(weights, f"{name}.emb.d_{axis}", 2)[0] for axis in range(3))
    return frames, height, width


def _shape(weights: Mapping[str, Array], name: str, axes: int) -> tuple[int, ...]:
    found = weights.get(name)
    if found is None or found.ndim != axes:
        got = "nothing" if found is None else f"{list(found.shape)}"
        raise InvalidValueError(f"{name} must have {axes} axes, got {got}")
    return found.shape


def _length(weights: Mapping[str, Array], pattern: str) -> int:
    """How many names of a pattern there are, counted from 0 on."""
    count = 0
    while pattern.format(count) in weights:
        count += 1
    return count


def _counts(options: Mapping[str, Any], name: str, many: int) -> tuple[int, ...] | None:
    """Whole numbers from 1 on among the options; None where they are not told; raises RejectedFileError for others."""
    value = options.get(name)
    if value is None:
        return None
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(found) != many or not all(type(each) is int and 1 <= each <= _MOST_COUNT for each in found):
        raise RejectedFileError("odd-sizes", f"option {name} must be {many} counts from 1 on, got {value!s:.80}")
    return found


def _share(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise RejectedFileError("odd-sizes", f"option {name} must be 0 to below 1, got {value!s:.80}")
    return float(value)


# -- weights --------------------------------------------------------------------------------------------------------


def _filled(path: Path | str, make: Any, plan: Any, weights: Mapping[str, Array]) -> Any:
    """A net of these weights and no others; made on the meta device, so that nothing is allocated before it fits."""
    import torch

    with torch.device("meta"):
        net = make(plan)
    wanted = {name: tuple(each.shape) for name, each in net.state_dict().items()}
    for name in sorted(wanted.keys() | weights.keys()):
        got = weights[name].shape if name in weights else "nothing"
        if wanted.get(name) != got:
            raise RejectedFileError(
                "odd-shapes", f"{name[:200]} of {path} must be {wanted.get(name, 'left out')}, got {got}"
            )
    net.load_state_dict({name: _tensor(path, name, weights[name]) for name in wanted}, assign=True)
    return net.eval()


def _tensor(path: Path | str, name: str, array: Array) -> Any:
    import torch

    whole = name.endswith("num_batches_tracked")
    if array.dtype.kind not in ("iu" if whole else "f"):
        wanted = "whole numbers" if whole else "floats"
        raise RejectedFileError("odd-type", f"{name} of {path} must be {wanted}, got {array.dtype}: save it again")
    made = np.array(array, np.int64 if whole else np.float32)
    if not np.isfinite(made).all():
        raise RejectedFileError("not-finite", f"{name} of {path} holds numbers that are not finite: get the file again")
    return torch.from_numpy(made)
