"""Maps of video autoencoders and of Wan's transformer against diffusers' own runs; folders that do not fit."""

import json
import shutil

import numpy as np
import pytest
from dense_models import diffusers_model, rewritten

from lightmeter.encoders.dense_diffusers import strides_of
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

AT = np.array([3])


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """(autoencoder, transformer, pipeline folder)"""
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    vae, transformer = diffusers_model("wan").eval(), diffusers_model("transformer").eval()
    vae.save_pretrained(folder / "vae")
    transformer.save_pretrained(folder / "transformer")
    return vae, transformer, folder


def clips():
    return np.random.default_rng(0).integers(0, 256, (1, 9, 32, 32, 3), np.uint8)


def seen():
    return torch.from_numpy(clips()).movedim(-1, 1).float() / 255 * 2 - 1


def test_maps_are_what_the_encoder_gives_piece_by_piece(wan):
    vae, _, folder = wan
    encoder = build(
        f"video-vae/folder='{folder / 'vae'}',frames=9,clip=real,pool=concat,maps=[conv_in,mid_block,latents]"
    )
    made = encoder.features(clips(), AT)
    pieces = {"conv_in": [], "mid_block": []}
    holds = [
        vae.encoder.get_submodule(name).register_forward_hook(lambda _m, _i, out, got=got: got.append(out))
        for name, got in pieces.items()
    ]
    with torch.no_grad():
        latents = vae.encode(seen()).latent_dist.mean
    [hold.remove() for hold in holds]
    assert len(pieces["mid_block"]) == 3  # the first frame, then 4 at a time
    assert made["conv_in"].shape == (1, 9 * 8, 32, 32)
    assert made["mid_block"].shape == (1, 3 * 8, 4, 4)
    for name, wanted in {**{name: torch.cat(got, 2) for name, got in pieces.items()}, "latents": latents}.items():
        flat = wanted.transpose(1, 2).flatten(1, 2).numpy()
        np.testing.assert_allclose(made[name], flat, rtol=1e-3, atol=1e-5)


def test_at_takes_the_moment_that_holds_the_frame(wan):
    spec = f"video-vae/folder='{wan[2] / 'vae'}',frames=9,clip=real,maps=[latents],pool="
    every = build(spec + "concat").features(clips(), AT)["latents"].reshape(3, 4, 4, 4)
    for frame, moment in ((0, 0), (1, 1), (4, 1), (5, 2)):
        found = build(spec + "at").features(clips(), np.array([frame]))["latents"][0]
        np.testing.assert_array_equal(found, every[moment])


def test_transformer_states_are_those_of_a_noisy_clip_without_words(wan):
    vae, transformer, folder = wan
    encoder = build(
        f"wan-transformer/folder='{folder}',frames=9,clip=real,pool=concat,timestep=300,seed=4,maps=[block1]"
    )
    made = encoder.features(clips(), AT)["block1"]
    with torch.no_grad():
        mean, std = (
            torch.tensor(each).view(1, -1, 1, 1, 1) for each in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents = (vae.encode(seen()).latent_dist.mean - mean) / std
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))
        caught = []
        hold = transformer.blocks[1].register_forward_hook(lambda _m, _i, out: caught.append(out))
        transformer(0.7 * latents + 0.3 * noise, torch.tensor([300]), torch.zeros(1, 512, 16))  # as many as Wan pads to
        hold.remove()
    wanted = caught[0].view(1, 3, 2, 2, 24).permute(0, 1, 4, 2, 3).flatten(1, 2).numpy()
    np.testing.assert_allclose(made, wanted, rtol=1e-3, atol=1e-4)


def test_noise_follows_its_seed_and_level(wan):
    def block(options):
        return build(f"wan-transformer/folder='{wan[2]}',maps=[block0],{options}").features(clips(), AT)["block0"]

    clean = block("timestep=0,seed=1")
    np.testing.assert_array_equal(clean, block("timestep=0,seed=2"))
    assert not np.allclose(block("timestep=500,seed=1"), block("timestep=500,seed=2"))


def test_blocks_above_the_last_are_not_paid(wan):
    price = [build(f"wan-transformer/folder='{wan[2]}',maps=[block{at}]").macs(32, 32) for at in range(3)]
    assert price[0] < price[1] < price[2]
    assert price[2] - price[1] == price[1] - price[0]


def test_strides_are_read_off_the_config():
    wan = {"_class_name": "AutoencoderKLWan", "temperal_downsample": [False, True, True]}
    assert strides_of(wan) == (4, 8)
    assert strides_of(wan | {"patch_size": 2}) == (4, 16)  # Wan 2.2
    ltx = {"spatio_temporal_scaling": [True, True, True, False], "patch_size": 4, "patch_size_t": 1}
    assert strides_of({"_class_name": "AutoencoderKLLTXVideo", **ltx}) == (8, 32)
    cog = {"block_out_channels": [128, 256, 256, 512], "temporal_compression_ratio": 4}
    assert strides_of({"_class_name": "AutoencoderKLCogVideoX", **cog}) == (4, 8)
    assert strides_of({"_class_name": "AutoencoderKL", "block_out_channels": [1, 1, 1, 1]}) == (1, 8)


class TestFolders:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(MissingAssetError, match=r"lacks config.json, diffusion_pytorch_model.safetensors"):
            build(f"video-vae/folder='{tmp_path}'").features(clips(), AT)
        with pytest.raises(MissingAssetError, match=r"transformer lacks config.json"):
            build(f"wan-transformer/folder='{tmp_path}'").features(clips(), AT)

    def test_counts_of_frames_that_would_be_cut_off_are_refused(self, wan):
        with pytest.raises(InvalidValueError, match=r"frames must be 1 \+ a multiple of 4 for AutoencoderKLWan, got 8"):
            build(f"video-vae/folder='{wan[2] / 'vae'}',frames=8").features(clips(), AT)

    def test_another_class_is_named(self, wan):
        with pytest.raises(InvalidValueError, match=r"must hold one of AutoencoderKL, .*'WanTransformer3DModel'"):
            build(f"video-vae/folder='{wan[2] / 'transformer'}'").features(clips(), AT)

    def test_a_transformer_that_takes_a_picture_too_is_refused(self, wan, tmp_path):
        shutil.copytree(wan[2], tmp_path / "pipe")
        path = tmp_path / "pipe" / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 9}))
        with pytest.raises(InvalidValueError, match=r"must take the 4 channels of its latents, got 9"):
            build(f"wan-transformer/folder='{tmp_path / 'pipe'}'").features(clips(), AT)

    def test_weights_that_do_not_fit_are_named(self, wan, tmp_path):
        shutil.copytree(wan[2], tmp_path / "pipe")
        path = tmp_path / "pipe" / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_layers": 4}))
        with pytest.raises(
            InvalidValueError, match=r"must hold all weights of its transformer, blocks.3\.\S+ is missing"
        ):
            build(f"wan-transformer/folder='{tmp_path / 'pipe'}'").features(clips(), AT)

    def copied(self, wan, tmp_path, part, **config):
        """A pipeline's folder with other options in the config of one part; None: left out."""
        shutil.copytree(wan[2], tmp_path / "pipe")
        path = tmp_path / "pipe" / part / "config.json"
        told = json.loads(path.read_text()) | config
        path.write_text(json.dumps({name: each for name, each in told.items() if each is not None}))
        return tmp_path / "pipe"

    @pytest.mark.parametrize(
        ("name", "value", "why"),
        [
            ("encoder.conv_in.bias", None, r"all weights of its network, encoder.conv_in.bias is missing \(1 in all"),
            ("encoder.conv_in.bias", np.zeros(3, np.float32), "as save_pretrained writes it, got RuntimeError"),
            ("encoder.conv_in.bias", np.full(8, np.inf, np.float32), "NaN or infinity in encoder.conv_in.bias"),
        ],
    )
    def test_an_encoder_that_is_not_whole_is_refused(self, wan, tmp_path, name, value, why):
        folder = self.copied(wan, tmp_path, "vae")
        weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
        rewritten(weights, lambda arrays: arrays.pop(name) if value is None else arrays.update({name: value}))
        with pytest.raises(InvalidValueError, match=rf"{folder / 'vae'} .*{why}"):
            build(f"video-vae/folder='{folder / 'vae'}'").features(clips(), AT)

    def test_the_decoder_may_be_missing(self, wan, tmp_path):
        folder = self.copied(wan, tmp_path, "vae")
        rewritten(
            folder / "vae" / "diffusion_pytorch_model.safetensors",
            lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith(("decoder.", "post_quant"))],
        )
        made = [build(f"video-vae/folder='{each / 'vae'}'").features(clips(), AT) for each in (folder, wan[2])]
        np.testing.assert_array_equal(made[0]["mid_block"], made[1]["mid_block"])

    def test_a_transformer_that_is_not_finite_is_refused(self, wan, tmp_path):
        folder = self.copied(wan, tmp_path, "transformer")
        bias = {"blocks.1.ffn.net.2.bias": np.full(24, np.nan, np.float32)}
        rewritten(folder / "transformer" / "diffusion_pytorch_model.safetensors", lambda arrays: arrays.update(bias))
        with pytest.raises(InvalidValueError, match=r"finite weights, got NaN or infinity in blocks.1.ffn.net.2.bias"):
            build(f"wan-transformer/folder='{folder}'").features(clips(), AT)

    @pytest.mark.parametrize(
        ("part", "config", "why"),
        [
            (
                "vae",
                {"temperal_downsample": [10**12, 1, 1]},
                "temperal_downsample in config.json must be a list of true",
            ),
            ("vae", {"temperal_downsample": "yes"}, "temperal_downsample in config.json must be a list of 1 to"),
            ("vae", {"temperal_downsample": None}, "temporal_compression_ratio in config.json must be a whole number"),
            ("vae", {"base_dim": "x"}, "must hold a model as save_pretrained writes it"),
            ("vae", {"latents_std": [1, 1, 1, 0]}, "latents_std must be 4 numbers from 1e-06"),
            ("vae", {"latents_mean": [0]}, "latents_mean must be 4 numbers"),
            ("transformer", {"num_layers": "x"}, "num_layers in config.json must be a whole number"),
            ("transformer", {"patch_size": 2}, "patch_size must be 3 numbers from 1"),
            ("transformer", {"in_channels": "x"}, "in_channels in config.json must be a whole number"),
            ("transformer", {"attention_head_dim": -1}, "must hold a model as save_pretrained writes it"),
        ],
    )
    def test_a_config_that_cannot_be_is_refused_with_its_folder(self, wan, tmp_path, part, config, why):
        folder = self.copied(wan, tmp_path, part, **config)
        with pytest.raises(InvalidValueError, match=f"{folder / part}.*{why}"):
            build(f"wan-transformer/folder='{folder}'").features(clips(), AT)

    @pytest.mark.parametrize("missing", ["patch_size_t", "patch_size", "spatio_temporal_scaling"])
    def test_a_stride_that_is_not_told_is_named(self, missing):
        ltx = {"spatio_temporal_scaling": [True], "patch_size": 4, "patch_size_t": 1}
        ltx.pop(missing)
        with pytest.raises(InvalidValueError, match=f"{missing} in config.json must be a"):
            strides_of({"_class_name": "AutoencoderKLLTXVideo", **ltx})
