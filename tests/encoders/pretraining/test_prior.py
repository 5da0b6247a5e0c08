"""The prior: its loss by hand, the collapsed conditioner, its folder as the dense encoders read it."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.pretraining.cells import first_frames
from lightmeter.encoders.pretraining.prior import PriorPretraining
from lightmeter.encoders.pretraining.prior_files import load_prior
from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.videogpt_files import read_prior, read_vqvae
from lightmeter.errors import InvalidValueError, RejectedFileError, SpecError
from lightmeter.nets.frame_resnet import FrameResNet
from lightmeter.nets.video_prior import VideoPrior
from lightmeter.parts import build

PRIOR = build("prior/steps=4,batch=3,width=12,layers=1,heads=2,base=8,dim=6,lr=0.01,dropout=0.0")
AT = np.array([0, 2])


@pytest.fixture
def folder(models):
    return models["prior"]


def nats_of(net, tokens, frames):
    codes = torch.from_numpy(tokens.codes(frames))
    logits = net(tokens.net.codebook.embeddings[codes], first_frames(frames)[:, :, None])
    return functional.cross_entropy(logits.flatten(0, 3), codes.flatten(), reduction="none").view(codes.shape)


def test_a_recipe_spells_itself():
    assert build(PriorPretraining().spec, "pretraining") == PriorPretraining()
    for spec in ("prior/still=2.0", "prior/blocks=[1,1]", "prior/steps=0", "prior/attention=some"):
        with pytest.raises((InvalidValueError, SpecError)):
            build(spec)


def test_the_loss_by_hand(footage, tokens):
    torch.manual_seed(0)
    task = PRIOR.task(footage, seed=4, tokens=tokens)
    torch.nn.init.normal_(task.net.fc_out.weight, std=0.5)  # zeros before the first step: all codes alike
    loss, told = task.loss(3)
    frames = tokens.cut.batch_of(footage.learn, task.draw.windows(3))
    nats = nats_of(task.net, tokens, frames)
    assert loss.item() == told["nats"] == pytest.approx(nats.mean().item(), rel=1e-5)
    assert 0 < told["moving_nats"] != told["nats"]
    first = task.score()
    assert first == task.score()
    with torch.no_grad():
        kept = nats_of(task.net, tokens, tokens.cut.batch_of(footage.held_out, tokens.cut.fixed(footage.held_out, 32)))
    assert first["nats"] == pytest.approx(kept.mean().item(), rel=1e-4)


def test_the_collapsed_conditioner_learns_as_the_deep_one_does(footage, tokens):
    """With one frame, slices before and after the middle one get no gradient: the 2D net goes the same way."""
    task = PRIOR.task(footage, seed=0, tokens=tokens)
    torch.manual_seed(1)
    deep = VideoPrior(PRIOR.plan(tokens))
    torch.nn.init.normal_(deep.fc_out.weight, std=0.5)
    task.net.load_state_dict({**deep.state_dict(), **{f"resnet.{name}": each for name, each in
                                                      deep.resnet.collapsed().state_dict().items()}})  # fmt: skip
    frames = footage.learn[:2, :4]
    for net in (deep, task.net):
        nats_of(net, tokens, frames).mean().backward()
    grads = deep.resnet.group1.start_block.conv1.weight.grad
    assert grads[:, :, 1].abs().max() > 0
    assert grads[:, :, ::2].abs().max() == 0
    flat = task.net.resnet.group1.start_block.conv1.weight.grad
    torch.testing.assert_close(flat, grads[:, :, 1], rtol=1e-3, atol=1e-5 * float(flat.abs().max()))


def test_what_does_not_fit(footage, tokens, folder, tmp_path):
    with pytest.raises(InvalidValueError, match="got none: pretrain a vqvae first"):
        PRIOR.task(footage, seed=0)
    arrays, about = load_model(folder)
    tokens.save(tmp_path / "tokens", {})
    inner = about["plan"]["conditioner"]
    for change in ({"kind": "vqvae"}, {"plan": {**about["plan"], "width": 13}}, {"plan": {**about["plan"], "odd": 1}},
                   {"plan": {**about["plan"], "codes": 8}}, {"plan": {**about["plan"], "conditioner": None}},
                   {"plan": {**about["plan"], "layers": 2}}, {"plan": {**about["plan"], "layers": 10**7}},
                   {"plan": {**about["plan"], "dropout": "0"}}, {"plan": {**about["plan"], "conditioner": {"dim": 6}}},
                   {"plan": {**about["plan"], "conditioner": {**inner, "layers": [1, 1, 1, 10**7]}}},
                   {"plan": {**about["plan"], "attention": ["full"]}}):  # fmt: skip
        save_model(tmp_path, arrays, {**about, **change})
        with pytest.raises(RejectedFileError):
            load_prior(tmp_path)


class TestAsDenseEncoder:
    def test_the_folder_is_a_prior(self, folder, footage, tokens):
        own, prior = load_prior(folder)
        assert own.fingerprint == tokens.fingerprint
        vqvae, again = read_prior(folder)
        assert vqvae.plan == tokens.net.plan == read_vqvae(folder).plan
        assert again.plan == prior.plan
        assert isinstance(again.resnet, FrameResNet)
        assert again.resnet.flat
        with pytest.raises(InvalidValueError, match=r"must be \(2, 4, 4\)"):
            read_vqvae(folder, downsample=(4, 4, 4))

    def test_frame(self, folder, footage):
        encoder = build(f"videogpt-frame/path='{folder}',maps=[group2,group4]", "dense-encoder")
        made = encoder.features(footage.learn[:2], AT)
        with torch.no_grad():
            frames = first_frames(footage.learn[[0, 1], AT][:, None])
            stages = load_prior(folder)[1].resnet.stages(frames[:, :, None])
        np.testing.assert_allclose(made["group4"], stages[3][:, :, 0], rtol=1e-4, atol=1e-5)
        assert encoder.feature_sets["group4"].stride == 4

    def test_prior_and_its_tokens(self, folder, footage, tokens):
        spec = f"videogpt-prior/path='{folder}',frames=4,clip=real,pool=concat,maps=[tokens,logits]"
        made = build(spec).features(footage.learn[:2, :4], AT)
        codes = tokens.codes(footage.learn[:2, :4])
        np.testing.assert_array_equal(made["tokens"], codes)
        with torch.no_grad():
            net, known = load_prior(folder)[1], torch.from_numpy(codes)
            logits = net(tokens.net.codebook.embeddings[known], first_frames(footage.learn[:2])[:, :, None])
        flat = logits.movedim(-1, 2).flatten(1, 2).numpy()
        np.testing.assert_allclose(made["logits"], flat, rtol=1e-3, atol=1e-4)
        with pytest.raises(InvalidValueError, match="clip must be real or sampled for a prior over codes of changes"):
            build(f"videogpt-prior/path='{folder}',frames=4").features(footage.learn[:1], AT[:1])
        drawn = build(f"videogpt-prior/path='{folder}',frames=4,clip=sampled,maps=[hidden1]")
        assert drawn.features(footage.learn[:1], AT[:1])["hidden1"].shape == (1, 12, 4, 4)

    def test_vqvae_of_changes(self, folder, made, footage, tokens):
        for path in (folder, made):
            spec = f"videogpt-vqvae/path='{path}',frames=4,clip=real,pool=concat,maps=[codes]"
            found = build(spec).features(footage.learn[:2, :4], AT)["codes"]
            np.testing.assert_array_equal(found, tokens.codes(footage.learn[:2, :4]))
        with pytest.raises(InvalidValueError, match="a still clip has none"):
            build(f"videogpt-vqvae/path='{made}',frames=4").features(footage.learn[:1], AT[:1])

    def test_vqvae_of_frames(self, footage, tmp_path):
        recipe = dataclasses.replace(build("vqvae/steps=1,batch=2,frames=4,hiddens=8,layers=0,dim=4,codes=16"),
                                     of="frames", downsample=(2, 4, 4))  # fmt: skip
        task = pretrain(recipe, footage, tmp_path, PretrainRun(report=False)).task
        made = build(f"videogpt-vqvae/path='{tmp_path}',frames=4,pool=concat,maps=[codes]")
        still = np.repeat(footage.learn[:1, 2:3], 4, 1)
        np.testing.assert_array_equal(
            made.features(footage.learn[:1], np.array([2]))["codes"], task.tokenizer().codes(still)
        )
