"""Our VideoGPT against the public one (github.com/wilson1yan/VideoGPT at 733d2b1, MIT), on the same seeded weights.

`fixtures/videogpt.safetensors` was made once, with torch 2.13 on one thread, by the snippet below from a copy of the
public code in which only sizes were changed, for a small file: `240` to `12` in gpt.py; `64`, `128`, `256` before
`* width_multiplier` to `8`, `16`, `32` and `[3, 4, 6, 3]` to `[1, 1, 1, 1]` in resnet.py. Its prior runs token by token
(its way of sampling), because its sparse attention over whole clips needs a CUDA library of 2020.
`fixtures/videogpt_names.json` holds the names and shapes of the unchanged code's `VideoGPT(options(n_codes=2048,
embedding_dim=256, n_hiddens=240, n_res_layers=4, resolution=64, hidden_dim=576, heads=4, layers=8)).state_dict()`: the
sizes of the published `bair_gpt`, its VQ-VAE inside.

    import argparse, itertools, json, os, sys, types
    import torch
    from safetensors.torch import save_file
    from torch import nn

    class Lightning(nn.Module):  # all that the code needs of pytorch_lightning
        def save_hyperparameters(self): ...

    def stub(name, **values):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(values)

    stub("pytorch_lightning", LightningModule=Lightning)
    stub("skvideo"), stub("skvideo.io"), stub("tqdm", tqdm=iter)
    stub("videogpt.download", load_vqvae=lambda args: VQVAE(args))
    from videogpt.gpt import VideoGPT
    from videogpt.resnet import ResNet
    from videogpt.vqvae import VQVAE, Codebook
    from seeded_weights import load_seeded

    def options(**given):
        plain = dict(embedding_dim=6, n_codes=16, n_hiddens=16, n_res_layers=2, downsample=(4, 2, 2),
            sequence_length=16, resolution=16, hidden_dim=24, heads=2, layers=2, dropout=0.2, attn_type="sparse",
            attn_dropout=0.3, n_cond_frames=1, class_cond_dim=None)
        made = argparse.Namespace(**{**plain, **given})
        made.vqvae = made
        return made

    def uniform(seed, *shape):
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5

    os.path.exists = lambda path: False  # so that VideoGPT asks load_vqvae
    made, names = {}, {}
    with torch.no_grad():
        net = load_seeded(VQVAE(options())).train()
        torch.manual_seed(6)
        net(uniform(7, 2, 3, 16, 16, 16)), net.eval()  # one step: the codebook begins with data
        z = net.pre_vq_conv(net.encoder(uniform(1, 1, 3, 16, 16, 16)))  # some latents as codes, so that all are in use
        net.codebook.embeddings.copy_(z.movedim(1, -1).flatten(0, -2)[::16])
        made["vqvae.codes"] = net.encode(uniform(1, 1, 3, 16, 16, 16))
        made["vqvae.error"], made["vqvae.clips"], parts = net(uniform(1, 1, 3, 16, 16, 16))
        made["vqvae.commitment"], made["vqvae.perplexity"] = parts["commitment_loss"], parts["perplexity"]
        torch.manual_seed(5)
        book = Codebook(8, 4).train()
        for step in range(4):
            found = book(uniform(step, 2, 4, 2, 3, 3))
            made[f"book.codes.{step}"], made[f"book.embeddings.{step}"] = found["encodings"], book.embeddings.clone()
        made["book.N"], made["book.z_avg"] = book.N, book.z_avg
        net = load_seeded(ResNet(3, [1, 2, 1, 1], 1, (1, 4, 4), resnet_dim=12))
        made["resnet.one"], made["resnet.two"] = net(uniform(2, 1, 3, 1, 16, 16)), net(uniform(3, 1, 3, 2, 16, 16))
        codes = torch.randint(0, 16, (1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
        for kind in ("full", "sparse"):
            net = load_seeded(VideoGPT(options(attn_type=kind))).eval()
            if kind == "full":  # its mask is a buffer, and was seeded too
                for block in net.attn_stack.attn_nets:
                    block.attn.attn.mask.copy_(torch.ones(256, 256).tril())
            rows, vectors = [], net.vqvae.codebook.dictionary_lookup(codes)
            for step, place in enumerate(itertools.product(range(4), range(8), range(8))):
                last = before if step else place
                at = (slice(None), *(slice(each, each + 1) for each in last))
                cond = {"frame_cond": uniform(2, 1, 3, 1, 16, 16)}
                rows.append(net(vectors[at], codes[at], cond, decode_step=step, decode_idx=place)[1].flatten())
                before = place
            made[f"gpt.{kind}"] = torch.stack(rows).view(1, 4, 8, 8, 16)
            if kind == "full":
                made["gpt.loss"] = net(vectors, codes, {"frame_cond": uniform(2, 1, 3, 1, 16, 16)})[0]
    save_file({name: each.contiguous() for name, each in made.items()}, sys.argv[1])
"""

import json
from pathlib import Path

import pytest
import torch
from seeded_weights import load_seeded

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.nets.codebook import Codebook
from lightmeter.nets.frame_resnet import FrameResNet, FrameResNetPlan
from lightmeter.nets.masked_decoding import masked_loss
from lightmeter.nets.video_prior import PriorPlan, VideoPrior
from lightmeter.nets.vqvae import VqVae, VqVaePlan

HERE = Path(__file__).parent / "fixtures"
NAMES = json.loads((HERE / "videogpt_names.json").read_text())
SMALL = VqVaePlan(hiddens=16, layers=2, downsample=(4, 2, 2), dim=6, codes=16)
CONDITIONER = FrameResNetPlan(dim=12, base=8, layers=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def wanted():
    return {
        name: torch.from_numpy(each.copy()) for name, each in read_checkpoint(HERE / "videogpt.safetensors").items()
    }


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def prior_plan(attention):
    return PriorPlan((4, 8, 8), 16, 6, 24, 2, 2, attention, CONDITIONER, (1, 16, 16))


def test_vqvae_gives_the_same_codes_clips_and_losses(wanted):
    net, clips = load_seeded(VqVae(SMALL)).train(), uniform(1, 1, 3, 16, 16, 16)
    net.codebook.N.zero_()  # as if it had never seen a batch
    torch.manual_seed(6)
    with torch.no_grad():
        net(uniform(7, 2, 3, 16, 16, 16))
        net.eval()
        net.codebook.embeddings.copy_(net.latents(clips).movedim(1, -1).flatten(0, -2)[::16])
        codes, made = net.encode(clips), net(clips)
    assert torch.equal(codes, wanted["vqvae.codes"])
    assert codes.unique().numel() > 8  # not all alike
    assert torch.equal(made.codes, codes)
    assert wanted["vqvae.clips"].std() > 0.1
    torch.testing.assert_close(made.clips, wanted["vqvae.clips"], rtol=0, atol=1e-5)
    torch.testing.assert_close(net.decode(codes).detach(), wanted["vqvae.clips"], rtol=0, atol=1e-5)
    for name in ("error", "commitment", "perplexity"):
        torch.testing.assert_close(getattr(made, name), wanted[f"vqvae.{name}"], rtol=1e-5, atol=0)


def test_codebook_learns_the_same_with_its_restarts(wanted):
    torch.manual_seed(5)
    book = Codebook(8, 4).train()
    for step in range(4):
        found = book(uniform(step, 2, 4, 2, 3, 3))
        assert torch.equal(found.codes, wanted[f"book.codes.{step}"])
        torch.testing.assert_close(book.embeddings, wanted[f"book.embeddings.{step}"], rtol=0, atol=1e-5)
    torch.testing.assert_close(book.N, wanted["book.N"], rtol=0, atol=1e-5)
    torch.testing.assert_close(book.z_avg, wanted["book.z_avg"], rtol=0, atol=1e-5)


def test_frame_conditioner_gives_the_same_for_one_frame_and_two(wanted):
    net = load_seeded(FrameResNet(FrameResNetPlan(dim=12, base=8, layers=(1, 2, 1, 1))))
    with torch.no_grad():
        two = net(uniform(3, 1, 3, 2, 16, 16))
    torch.testing.assert_close(two, wanted["resnet.two"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_prior_gives_the_same_logits(wanted, attention):
    net, vqvae = load_prior(attention), load_seeded(VqVae(SMALL), prefix="vqvae.")
    codes = torch.randint(0, 16, (1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        logits = net(vqvae.codebook.embeddings[codes], uniform(2, 1, 3, 1, 16, 16))
    assert wanted[f"gpt.{attention}"].std() > 0.5
    torch.testing.assert_close(logits, wanted[f"gpt.{attention}"], rtol=0, atol=3e-5)
    if attention == "full":
        torch.testing.assert_close(masked_loss(logits, codes), wanted["gpt.loss"], rtol=1e-5, atol=0)
        assert (wanted["gpt.full"] - wanted["gpt.sparse"]).abs().max() > 0.01  # the sparse mask hides something


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_prior_forced_along_a_clip_gives_the_same_logits_cell_by_cell(wanted, attention):
    net, table = load_prior(attention), load_seeded(VqVae(SMALL), prefix="vqvae.").codebook.embeddings
    codes = torch.randint(0, 16, (1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
    rows, told = [], []

    def forced(logits):
        rows.append(logits)
        return codes.flatten()[len(rows) - 1 : len(rows)]

    made = net.sample(table, net.seen(uniform(2, 1, 3, 1, 16, 16)), choose=forced, tell=told.append)
    assert torch.equal(made, codes)
    assert told == list(range(1, 257))
    torch.testing.assert_close(torch.stack(rows, 1).view(1, 4, 8, 8, 16), wanted[f"gpt.{attention}"], rtol=0, atol=3e-5)


def load_prior(attention):
    return load_seeded(VideoPrior(prior_plan(attention))).eval()


def test_names_and_shapes_are_those_of_the_published_sizes():
    with torch.device("meta"):
        vqvae = VqVae(VqVaePlan(downsample=(4, 2, 2)))
        prior = VideoPrior(PriorPlan())
    ours = {f"vqvae.{name}": list(each.shape) for name, each in vqvae.state_dict().items()}
    ours |= {name: list(each.shape) for name, each in prior.state_dict().items()}
    assert ours == NAMES


def test_weights_are_as_many_as_published_sizes_have():
    with torch.device("meta"):
        vqvae, net = VqVae(VqVaePlan()), FrameResNet(FrameResNetPlan())
        counts = [counted(each) for each in (vqvae, vqvae.encoder, net, net.collapsed(), VideoPrior(PriorPlan()))]
    assert [round(each / 1e6, 2) for each in counts] == [21.14, 11.29, 33.89, 11.38, 72.47]


def counted(net):
    return sum(each.numel() for each in net.parameters())
