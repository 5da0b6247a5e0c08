"""Folders that are whole, and those that are not."""

import json
import shutil

import pytest

from lightmeter.condense.synthesis.folder import check_place, diffusion_folder, load_parts
from lightmeter.errors import InvalidValueError, MissingAssetError, UnsafeFileError


@pytest.fixture
def copied(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def changed(folder, part, **values):
    path = folder / part
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_whole_folder_tells_what_it_is(tiny_folder):
    found = diffusion_folder(tiny_folder)
    assert (found.stride, found.resolution, found.channels, found.scheduler) == (2, 8, 1, "PNDMScheduler")
    assert {each.name for each in found.files} >= {"diffusion_pytorch_model.safetensors", "model.safetensors"}


def test_every_missing_file_is_named(copied):
    (copied / "unet" / "config.json").unlink()
    (copied / "tokenizer" / "tokenizer.json").unlink()
    (copied / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingAssetError) as told:
        diffusion_folder(copied)
    for name in ("unet/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "vae/diffusion_pytorch_model.saf"):
        assert name in str(told.value)


def test_nothing_there_is_a_missing_asset(tmp_path):
    with pytest.raises(MissingAssetError, match=r"scheduler/scheduler_config\.json"):
        diffusion_folder(tmp_path / "none")


def test_pickles_are_refused(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UnsafeFileError, match="never read"):
        diffusion_folder(copied)


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("unet/config.json", {"in_channels": 9}, "in_channels of the unet"),
        ("unet/config.json", {"cross_attention_dim": 99}, "two models"),
        ("unet/config.json", {"_class_name": "UNet3D"}, "unet of"),
        ("vae/config.json", {"latent_channels": 16}, "channels of the latents"),
        ("vae/config.json", {"_class_name": "VQModel"}, "vae of"),
        ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, "text encoder"),
        ("scheduler/scheduler_config.json", {"_class_name": "os.system"}, "scheduler of"),
    ],
)
def test_models_of_another_kind_are_refused(copied, part, values, message):
    changed(copied, part, **values)
    with pytest.raises(InvalidValueError, match=message):
        diffusion_folder(copied)


def test_a_broken_config_is_named(copied):
    (copied / "vae" / "config.json").write_text("{")
    with pytest.raises(InvalidValueError, match="must be JSON"):
        diffusion_folder(copied)


def test_parts_rest_and_are_in_the_precision_asked_for(tiny_folder):
    parts = load_parts(diffusion_folder(tiny_folder), precision="bfloat16")
    assert {str(each.dtype) for each in parts.unet.parameters()} == {"torch.bfloat16"}
    assert not any(each.requires_grad for part in (parts.vae, parts.text_encoder) for each in part.parameters())
    assert not parts.unet.training


def test_a_place_must_be_there():
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidValueError, match="device must be one of"):
        check_place("tpu", "float32")
    with pytest.raises(InvalidValueError, match="precision"):
        check_place("cpu", "int8")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidValueError, match="on a machine without"):
            check_place("cuda", "float32")
