"""Tiny checkpoints of the real classes for dense encoders, and a counter of multiply-accumulates of its own."""

import math

import pytest

WIDE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEEN = {"image_size": 32, "patch_size": 8}
DOWN = {"block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "layers_per_block": 1}


def transformers_model(kind):
    """A model of 2 layers and 24 channels, patches of 8 pixels, made for 32 x 32."""
    made = pytest.importorskip("transformers")
    dino = WIDE | SEEN | {"mlp_ratio": 2}
    dino.pop("intermediate_size")
    if kind == "v-jepa2":
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
        pred = {"pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
        clip = {"patch_size": 8, "crop_size": 32, "frames_per_clip": 4, "tubelet_size": 2}
        return made.VJEPA2Model(made.VJEPA2Config(**sizes, **pred, **clip))
    return {
        "videomae": lambda: made.VideoMAEModel(made.VideoMAEConfig(num_frames=4, **WIDE, **SEEN)),
        "timesformer": lambda: made.TimesformerModel(made.TimesformerConfig(num_frames=4, **WIDE, **SEEN)),
        "dinov2": lambda: made.Dinov2Model(made.Dinov2Config(**dino)),
        "dinov2-registers": lambda: made.Dinov2WithRegistersModel(
            made.Dinov2WithRegistersConfig(num_register_tokens=2, **dino)
        ),
        "dinov3": lambda: made.DINOv3ViTModel(made.DINOv3ViTConfig(num_register_tokens=3, **WIDE, **SEEN)),
    }[kind]()


def diffusers_model(kind):
    """An autoencoder of 8 channels, or a Wan transformer of 3 blocks over 4 channels of latents."""
    made = pytest.importorskip("diffusers")
    wan = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    stats = {"latents_mean": [0.1, -0.2, 0.0, 0.3], "latents_std": [2.0, 1.0, 1.5, 0.5]}
    down = DOWN | {"temporal_compression_ratio": 4}
    cog = {f"{way}_block_types": (f"CogVideoX{way.title()}Block3D",) * 4 for way in ("down", "up")}
    hunyuan = {f"{way}_block_types": (f"HunyuanVideo{way.title()}Block3D",) * 4 for way in ("down", "up")}
    wide = {"block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (8, 8, 8, 8)}
    scaled = {"spatio_temporal_scaling": (True, True, False, False)}
    scaled |= {"decoder_spatio_temporal_scaling": (True, True, False, False), "patch_size": 4, "patch_size_t": 1}
    cosmos = {"encoder_block_out_channels": (8, 8, 8, 8), "decode_block_out_channels": (8, 8, 8, 8), "num_layers": 1}
    flat = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return {
        "wan": lambda: made.AutoencoderKLWan(temperal_downsample=[False, True, True], **wan, **stats),
        "wan22": lambda: made.AutoencoderKLWan(
            temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
            decoder_base_dim=8, scale_factor_spatial=16, **wan, **stats,
        ),
        "qwen": lambda: made.AutoencoderKLQwenImage(**wan),
        "cogvideox": lambda: made.AutoencoderKLCogVideoX(norm_num_groups=2, **down, **cog),
        "hunyuan": lambda: made.AutoencoderKLHunyuanVideo(norm_num_groups=4, **DOWN, **hunyuan),
        "ltx": lambda: made.AutoencoderKLLTXVideo(
            latent_channels=8, layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5, **wide, **scaled
        ),
        "cosmos": lambda: made.AutoencoderKLCosmos(
            latent_channels=4, attention_resolutions=(8,), resolution=64, patch_size=4, spatial_compression_ratio=8,
            temporal_compression_ratio=4, **cosmos,
        ),
        "magvit": lambda: made.AutoencoderKLMagvit(norm_num_groups=4, **DOWN),
        "pictures": lambda: made.AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, **flat),
        "svd": lambda: made.AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2
        ),
        "transformer": lambda: made.WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=32,
            ffn_dim=32, num_layers=3, rope_max_seq_len=32,
        ),
    }[kind]()  # fmt: skip


def rewritten(path, change):
    """A safetensors file of torch's again, its arrays by name changed in place."""
    import numpy as np

    from lightmeter.assets.checkpoint import read_checkpoint
    from lightmeter.assets.saving import write_safetensors

    arrays = {name: np.array(each) for name, each in read_checkpoint(path).items()}
    change(arrays)
    write_safetensors(path, arrays)
    text = path.read_bytes()
    head = int.from_bytes(text[:8], "little")
    mended = text[8 : 8 + head].rstrip().replace(b"{", b'{"__metadata__": {"format": "pt"}, ', 1)
    path.write_bytes(len(mended).to_bytes(8, "little") + mended + text[8 + head :])


def drawing_model(folder, kind="future", side=32):
    """A predictor that draws clips of 4 frames, `future` or `prior`, and its tokens, as `segment pretrain` saves."""
    torch = pytest.importorskip("torch")
    from lightmeter.encoders.dense_future import save_future_codes
    from lightmeter.encoders.pretraining.prior_files import _flat, save_prior
    from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer
    from lightmeter.encoders.pretraining.windows import Cut
    from lightmeter.nets.frame_resnet import FrameResNetPlan
    from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan
    from lightmeter.nets.video_prior import PriorPlan
    from lightmeter.nets.vqvae import VqVae, VqVaePlan

    torch.manual_seed(0)
    vqvae = VqVae(VqVaePlan(hiddens=8, layers=1, downsample=(2, 4, 4), dim=6, codes=16)).eval()
    tokens, grid = Tokenizer(vqvae, "frames", Cut(4), (side, side)), (2, side // 4, side // 4)
    if kind == "prior":
        conditioner = FrameResNetPlan(dim=12, base=8, layers=(1, 2, 1, 1))
        prior = _flat(PriorPlan(grid, 16, 6, 24, 2, 4, "full", conditioner, (1, side, side)))
        torch.nn.init.normal_(prior.fc_out.weight)
        save_prior(folder, prior, tokens, {})
    else:
        plan = FutureCodesPlan(grid=grid, codes=16, stride=4, width=12, layers=1, base=8, levels=2)
        save_future_codes(folder, FutureCodes(plan), {})
        tokens.save(folder / TOKENS, {})
    return folder


def videogpt_state(grid=(2, 16, 16), attention="full"):
    """Bare weights of a prior and its VQ-VAE with strides (2, 2, 2), drawn at random; codes in use."""
    torch = pytest.importorskip("torch")
    from lightmeter.nets.frame_resnet import FrameResNetPlan
    from lightmeter.nets.video_prior import PriorPlan, VideoPrior
    from lightmeter.nets.vqvae import VqVae, VqVaePlan

    torch.manual_seed(0)
    conditioner = FrameResNetPlan(dim=12, base=8, layers=(1, 2, 1, 1))
    frames = (1, 2 * grid[1], 2 * grid[2])
    prior = VideoPrior(PriorPlan(grid, 16, 6, 24, 2, 4, attention, conditioner, frames))
    vqvae = VqVae(VqVaePlan(hiddens=8, layers=1, downsample=(2, 2, 2), dim=6, codes=16))
    with torch.no_grad():
        torch.nn.init.normal_(prior.fc_out.weight)  # drawn as zeros, which would make all logits alike
        clips = torch.rand(4, 3, 4, 16, 16) - 0.5
        vqvae.train()(clips)  # the first batch gives the codebook
    state = {f"vqvae.{name}": each for name, each in vqvae.state_dict().items()} | prior.state_dict()
    masks = {f"attn_stack.attn_nets.{at}.attn.attn.mask": torch.ones(1) for at in range(2)}
    return state | (masks if attention == "full" else {})


def count_macs(run):
    """What `run()` multiplies in matrix products, convolutions and attention, counted operation by operation."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            made = operation(*args, **(kwargs or {}))
            self.total += _macs(operation.overloadpacket.__name__, args, made)
            return made

    with torch.no_grad(), Counting() as counting:
        run()
    return counting.total


def _macs(name, args, made):
    if name == "convolution":
        data, weight, transposed = args[0], args[1], args[6]
        return math.prod((data if transposed else made).shape) * math.prod(weight.shape[1:])
    if name in ("mm", "bmm"):
        return math.prod(made.shape) * args[0].shape[-1]
    if name in ("addmm", "baddbmm"):
        return math.prod(made.shape) * args[1].shape[-1]
    if name.startswith("_scaled_dot_product"):
        query, key, value = args[:3]
        return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    return 0
