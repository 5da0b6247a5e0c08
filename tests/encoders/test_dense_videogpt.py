"""VideoGPT's nets as maps: what the nets themselves give, the collapse, drawn futures and their price."""

import numpy as np
import pytest
from dense_models import count_macs, videogpt_state

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.parts import build

torch = pytest.importorskip("torch")

AT = np.array([1])
STRIDES = "downsample=[2,2,2]"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videogpt") / "gpt.pt"
    torch.save(videogpt_state(grid=(2, 4, 4)), path)
    return path


@pytest.fixture(scope="module")
def nets(path):
    from lightmeter.encoders.videogpt_files import read_prior

    return read_prior(path, downsample=(2, 2, 2))


def clips(count=1):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 8, 8, 3), np.uint8)


def seen():
    return torch.from_numpy(clips()).movedim(-1, 1).float() / 255 - 0.5


def test_the_conditioner_is_collapsed_and_gives_the_same(path, nets):
    encoder = build(f"videogpt-frame/path='{path}',{STRIDES},maps=[group2,group4]")
    made = encoder.features(clips(), AT)
    with torch.no_grad():
        stages = nets[1].resnet.stages(seen()[:, :, 1:2])
    for name, wanted in (("group2", stages[1]), ("group4", stages[3])):
        np.testing.assert_allclose(made[name], wanted[:, :, 0].numpy(), rtol=1e-3, atol=1e-5)
    assert encoder.macs(8, 8) == nets[1].plan.conditioner.macs(8, 8, flat=True)


def test_the_vqvae_gives_what_is_quantised_its_codes_and_their_vectors(path, nets):
    maps = "maps=[stack,before,after,codes]"
    made = build(f"videogpt-vqvae/path='{path}',{STRIDES},frames=4,clip=real,pool=concat,{maps}").features(clips(), AT)
    vqvae = nets[0]
    with torch.no_grad():
        before, codes = vqvae.latents(seen()), vqvae.encode(seen())
        wanted = {"stack": vqvae.encoder(seen()), "before": before, "after": vqvae.codebook.vectors(codes)}
    for name, each in wanted.items():
        np.testing.assert_allclose(made[name], each.transpose(1, 2).flatten(1, 2).numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(made["codes"][0], codes[0].numpy())


def test_the_prior_gives_its_states_and_logits_of_the_clips_own_codes(path, nets):
    maps = "maps=[hidden0,hidden2,logits,entropy,tokens,embeddings]"
    made = build(f"videogpt-prior/path='{path}',{STRIDES},frames=4,clip=real,pool=concat,{maps}").features(clips(), AT)
    vqvae, prior = nets
    with torch.no_grad():
        codes = vqvae.encode(seen())
        vectors = vqvae.codebook.embeddings[codes]
        states = prior.hidden(vectors, prior.seen(seen()[:, :, :1]), [0, 2])
        logits = prior(vectors, seen()[:, :, :1])
    shares = logits.softmax(-1)
    wanted = {
        "hidden0": states[0], "hidden2": states[2], "logits": logits, "tokens": codes[..., None].float(),
        "entropy": -(shares * shares.log()).sum(-1, keepdim=True), "embeddings": vectors,
    }  # fmt: skip
    for name, each in wanted.items():
        flat = each.movedim(-1, 2).flatten(1, 2).numpy()
        np.testing.assert_allclose(made[name], flat, rtol=1e-3, atol=1e-4)
    assert made["entropy"].min() > 0


def test_a_drawn_future_follows_the_frame_and_the_seed(path, nets):
    def tokens(options="", batch=None, at=AT):
        spec = f"videogpt-prior/path='{path}',{STRIDES},frames=4,clip=sampled,pool=concat,maps=[tokens]{options}"
        return build(spec).features(clips() if batch is None else batch, at)["tokens"]

    drawn = tokens()
    assert drawn.shape == (1, 2, 4, 4)
    assert set(np.unique(drawn)) <= set(range(16))
    other = clips()
    other[:, 3] = 0  # not the labelled frame: a future is drawn of that one alone
    two = np.concatenate([clips()[:, ::-1], other])
    np.testing.assert_array_equal(tokens(batch=two, at=np.array([0, 1]))[1], drawn[0])  # blind to its batch
    assert not np.array_equal(tokens(",seed=1"), drawn)
    vqvae, prior = nets
    with torch.no_grad():
        choose = lambda logits: logits.argmax(-1)  # noqa: E731
        wanted = prior.sample(vqvae.codebook.embeddings, prior.seen(seen()[:, :, 1:2]), choose=choose)
    np.testing.assert_array_equal(tokens(",temperature=0")[0], wanted[0].numpy())


@pytest.mark.parametrize("attention", ["full", pytest.param("sparse", marks=pytest.mark.slow)])
def test_a_drawn_future_has_its_price(attention, tmp_path):
    torch.save(videogpt_state(grid=(2, 4, 4), attention=attention), tmp_path / "gpt.pt")
    encoder = build(f"videogpt-prior/path='{tmp_path / 'gpt.pt'}',{STRIDES},frames=4,clip=sampled,maps=[hidden2]")
    net = encoder._made().eval()
    assert encoder.macs(8, 8) == count_macs(lambda: net(torch.rand(1, 4, 3, 8, 8), ("hidden2",)))
    with pytest.raises(InvalidValueError, match="draws a future cannot be fine-tuned"):
        encoder.net()


class TestFiles:
    def test_counts_of_frames_that_do_not_fit_are_refused(self, path):
        with pytest.raises(InvalidValueError, match="frames must be 4 for this prior, got 16"):
            build(f"videogpt-prior/path='{path}',{STRIDES}").features(clips(), AT)
        with pytest.raises(InvalidValueError, match="frames must be a multiple of 2 for this VQ-VAE, got 3"):
            build(f"videogpt-vqvae/path='{path}',{STRIDES},frames=3").features(clips(), AT)

    def test_a_missing_file_is_named(self, tmp_path):
        for name in ("frame", "vqvae", "prior"):
            with pytest.raises(LightmeterError, match="gone.ckpt"):
                build(f"videogpt-{name}/path='{tmp_path / 'gone.ckpt'}'").features(clips(), AT)
