"""Files as Lightning 1.3 writes them, made here: options as a Namespace, callbacks by their classes, more besides."""

import argparse
import collections
import os
import sys
import types

import numpy as np
import pytest
import torch
from seeded_weights import load_seeded

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.lightning import read_lightning
from lightmeter.assets.saving import write_safetensors
from lightmeter.encoders.videogpt_files import read_prior, read_vqvae
from lightmeter.errors import InvalidValueError, RejectedFileError, UnsafeFileError
from lightmeter.nets.frame_resnet import FrameResNetPlan
from lightmeter.nets.video_prior import PriorPlan, VideoPrior
from lightmeter.nets.vqvae import VqVae, VqVaePlan

VQVAE = VqVaePlan(hiddens=8, layers=1, downsample=(4, 2, 2), dim=6, codes=16)
CONDITIONER = FrameResNetPlan(dim=12, base=4, layers=(1, 2, 1, 1))
ARGS = {"embedding_dim": 6, "n_codes": 16, "n_hiddens": 8, "n_res_layers": 1, "downsample": [4, 2, 2], "gpus": None}
GPT_ARGS = {
    "sequence_length": 16, "resolution": 16, "hidden_dim": 24, "heads": 2, "layers": 2, "dropout": 0.1,
    "n_cond_frames": 1, "class_cond": False, "vqvae": "bair_stride4x2x2", "lr": 3e-4, "progress": True,
}  # fmt: skip


def prior_plan(attention):
    return PriorPlan((4, 8, 8), 16, 6, 24, 2, 2, attention, CONDITIONER, (1, 16, 16), 0.1, 0.3)


@pytest.fixture
def callback(monkeypatch):
    """The class by which Lightning keys the state of its callback; Lightning itself is not here."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    for each in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, each, types.ModuleType(each))
    monkeypatch.setitem(sys.modules, name, module)
    return module.ModelCheckpoint


def save(path, net_state, args, callback=None, legacy=False, **more):
    tree = {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "1.3.3",
        "state_dict": net_state,
        "callbacks": {callback: {"monitor": "val/loss", "best_model_score": torch.tensor(1.0)}} if callback else {},
        "optimizer_states": [{"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [{"T_max": 100, "base_lrs": [1e-3], "_last_lr": [1e-3]}],
        "hparams_name": "args",
        "hyper_parameters": {"args": argparse.Namespace(**args)},
        **more,
    }
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    return path


def gpt_state(attention, vqvae, prior):
    state = collections.OrderedDict((f"vqvae.{name}", each) for name, each in vqvae.state_dict().items())
    state.update(prior.state_dict())
    if attention == "full":
        for layer in range(2):
            state[f"attn_stack.attn_nets.{layer}.attn.attn.mask"] = torch.ones(256, 256).tril()
    return state


@pytest.mark.parametrize("legacy", [False, True])
def test_a_vqvae_is_read_as_it_was(tmp_path, callback, legacy):
    net = load_seeded(VqVae(VQVAE)).eval()
    net.codebook.N.fill_(100)  # as after training: a vector is its running sum over its running count
    net.codebook.z_avg.copy_(100 * net.codebook.embeddings)
    path = save(tmp_path / "v.ckpt", net.state_dict(), ARGS, callback, legacy)
    read = read_vqvae(path)
    assert read.plan == VQVAE
    assert not read.training
    clips = torch.rand((1, 3, 8, 16, 16), generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        assert torch.equal(read(clips).clips, net(clips).clips)
        read.train()
        before = read.codebook.embeddings.clone()
        read(clips)  # the public code would draw the codebook anew here
    moved = float((read.codebook.embeddings - before).abs().max())
    assert 1e-4 < moved < 0.5 < float(before.std())


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_a_prior_is_read_as_it_was(tmp_path, callback, attention):
    vqvae, prior = load_seeded(VqVae(VQVAE)).eval(), load_seeded(VideoPrior(prior_plan(attention))).eval()
    path = save(tmp_path / "g.ckpt", gpt_state(attention, vqvae, prior), GPT_ARGS, callback)
    read_codes, read = read_prior(path)
    assert (read_codes.plan, read.plan) == (VQVAE, prior.plan)
    assert read_vqvae(path).plan == VQVAE
    vectors, frames = torch.rand(1, 4, 8, 8, 6), torch.rand(1, 3, 1, 16, 16) - 0.5
    with torch.no_grad():
        assert torch.equal(read(vectors, frames), prior(vectors, frames))


def test_bare_weights_need_to_be_told_their_strides(tmp_path):
    net = load_seeded(VqVae(VQVAE))
    write_safetensors(tmp_path / "v.safetensors", {name: each.numpy() for name, each in net.state_dict().items()})
    assert read_vqvae(tmp_path / "v.safetensors", downsample=(4, 2, 2)).plan == VQVAE
    torch.save({name: each.half() if each.is_floating_point() else each for name, each in net.state_dict().items()},
               tmp_path / "v.pt")  # fmt: skip
    read = read_vqvae(tmp_path / "v.pt", downsample=(4, 2, 2))
    assert read.codebook.embeddings.dtype == torch.float32
    with pytest.raises(InvalidValueError, match="does not say its strides: add downsample"):
        read_vqvae(tmp_path / "v.pt")
    with pytest.raises(RejectedFileError, match="needs other than its 2 halving"):
        read_vqvae(tmp_path / "v.pt", downsample=(8, 2, 2))


def test_strides_must_be_those_in_the_file(tmp_path):
    path = save(tmp_path / "v.ckpt", VqVae(VQVAE).state_dict(), ARGS)
    with pytest.raises(InvalidValueError, match=r"must be \(4, 2, 2\), as .* says, got \(4, 4, 4\)"):
        read_vqvae(path, downsample=(4, 4, 4))


def test_options_are_plain_values(tmp_path, callback):
    path = save(tmp_path / "v.ckpt", {"w": torch.zeros(2)}, {**ARGS, "device": torch.device("cpu")}, callback)
    weights, options = read_lightning(path)
    assert list(weights) == ["w"]
    assert options == {"args": {**ARGS, "device": None}}


class Evil:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


class EvilState:
    def __reduce__(self):
        return argparse.Namespace, (), {"x": 1}


@pytest.mark.parametrize("place", ["evil", "state_dict", "hyper_parameters"])
def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    state = VqVae(VQVAE).state_dict()
    inside = {"evil": Evil(), "state_dict": {**state, "evil": Evil()}, "hyper_parameters": {"args": Evil()}}
    path = save(tmp_path / "v.ckpt", state, ARGS, **{place: inside[place]})
    with pytest.raises(UnsafeFileError, match=r"names 'posix.system', which no training file needs: refused, nothing"):
        read_vqvae(path)
    assert not (tmp_path / "PWNED").exists()


def test_what_only_names_a_known_class_may_not_call_it(tmp_path, callback):
    def called(*given):
        return type("Caller", (), {"__reduce__": lambda self: given})()

    for given in ((argparse.Namespace, ()), (callback, ()), (argparse.Namespace, (), {"x": 1})):
        torch.save({"state_dict": {}, "odd": called(*given)}, tmp_path / "v.ckpt")
        with pytest.raises(UnsafeFileError, match="refused"):
            read_lightning(tmp_path / "v.ckpt")


def test_plain_checkpoints_still_know_no_namespace(tmp_path):
    with pytest.raises(UnsafeFileError, match=r"argparse\.Namespace"):
        read_checkpoint(save(tmp_path / "v.ckpt", {"w": torch.zeros(2)}, ARGS))


def changed(state, **new):
    made = {**state, **{name.replace("__", "."): each for name, each in new.items()}}
    return {name: each for name, each in made.items() if each is not None}


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"codebook__N": torch.zeros(3)}, r"odd-shapes: codebook.N of .* must be \(16,\), got \(3,\)"),
        ({"codebook__N": None}, r"codebook.N of .* must be \(16,\), got nothing"),
        ({"more": torch.zeros(3)}, r"more of .* must be left out, got \(3,\)"),
        ({"codebook__embeddings": None}, "odd-sizes: .* codebook.embeddings must have 2 axes, got nothing"),
        ({"codebook__N": torch.full((16,), torch.nan)}, "not-finite: codebook.N"),
        ({"codebook__N": torch.zeros(16, dtype=torch.int64)}, "odd-type: codebook.N of .* must be floats, got int64"),
        ({"encoder__conv_last__conv__weight": torch.zeros(7, 8, 3, 3, 3)}, "hiddens must be a multiple of 2"),
    ],
)
def test_odd_weights_are_refused_by_name(tmp_path, new, said):
    path = save(tmp_path / "v.ckpt", changed(VqVae(VQVAE).state_dict(), **new), ARGS)
    with pytest.raises(RejectedFileError, match=said):
        read_vqvae(path)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"downsample": [4, 2]}, "option downsample must be 3 counts"),
        ({"downsample": [1 << 40, 2, 2]}, "counts from 1 on"),
        ({"downsample": [3, 2, 2]}, "powers of two"),
        ({"downsample": "422"}, "3 counts"),
    ],
)
def test_odd_options_are_refused_by_name(tmp_path, new, said):
    path = save(tmp_path / "v.ckpt", VqVae(VQVAE).state_dict(), {**ARGS, **new})
    with pytest.raises(RejectedFileError, match=said):
        read_vqvae(path)


def test_odd_priors_are_refused_by_name(tmp_path):
    vqvae, prior = VqVae(VQVAE), VideoPrior(prior_plan("sparse"))
    state = gpt_state("sparse", vqvae, prior)
    for new, args, said in (
        ({"norm__wb__weight": torch.zeros(3, 24)}, {}, "conditioned on classes"),
        ({}, {"heads": 5}, "multiple of 3 and of 5 heads"),
        ({"attn_stack__pos_embd__emb__d_1": torch.zeros(4096, 8)}, {}, "at most 16,384"),
        ({"fc_in__weight": torch.zeros(24, 7)}, {}, r"fc_in.weight of .* must be \(24, 6\), got \(24, 7\)"),
        ({}, {"dropout": 7}, "option dropout"),
    ):
        path = save(tmp_path / "g.ckpt", changed(state, **new), {**GPT_ARGS, **args, "downsample": None})
        with pytest.raises((RejectedFileError, InvalidValueError), match=said):
            read_prior(path, downsample=(4, 2, 2))
    with pytest.raises(RejectedFileError, match="holds no prior"):
        read_prior(save(tmp_path / "v.ckpt", vqvae.state_dict(), ARGS))


def test_options_without_end_are_refused(tmp_path):
    deep = {}
    for _ in range(20):
        deep = {"x": deep}
    for given in (deep, {"x": list(range(20_000))}):
        torch.save({"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": given}, tmp_path / "v.ckpt")
        with pytest.raises(RejectedFileError, match="options must be at most"):
            read_lightning(tmp_path / "v.ckpt")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("weights")
    with pytest.raises(RejectedFileError, match="unknown-format"):
        read_vqvae(tmp_path / "text.ckpt")
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(RejectedFileError):
        read_prior(tmp_path / "a.npy")
