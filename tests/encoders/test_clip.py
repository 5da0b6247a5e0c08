"""CLIP and SigLIP from folders, against transformers itself; the checkpoints are tiny and random."""

import json
import shutil

import numpy as np
import pytest

from lightmeter.encoders.clip import ClipEncoder
from lightmeter.encoders.clip_folder import open_folder
from lightmeter.errors import InvalidValueError, MissingAssetError, UnsafeFileError
from lightmeter.types import Image


def pooled(output):
    return getattr(output, "pooler_output", output)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_rows_are_those_of_transformers(kind, request, items):
    folder = request.getfixturevalue(f"{kind}_folder")
    import torch
    import transformers

    model = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}[kind].from_pretrained(folder)
    encoder, prepared = ClipEncoder(folder), open_folder(folder)
    image = items["image"][0][0]
    with torch.inference_mode():
        picture = pooled(model.get_image_features(torch.from_numpy(prepared.pixels(image)[None])))[0].numpy()
        words = pooled(model.get_text_features(torch.from_numpy(prepared.tokens("a cat on the mat"))))[0].numpy()
    np.testing.assert_allclose(encoder.encode([image])[0], picture / np.linalg.norm(picture), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_words(["a cat on the mat"])[0], words / np.linalg.norm(words), atol=1e-5)


def test_pictures_are_prepared_as_transformers_does(clip_folder, siglip_folder, items):
    pil = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = pil.CLIPImageProcessorPil.from_pretrained(clip_folder)
    for image in items["image"][0]:
        theirs = processor(image.pixels, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(open_folder(clip_folder).pixels(image), theirs, atol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_macs_are_what_the_layers_do(kind, request, items):
    folder = request.getfixturevalue(f"{kind}_folder")
    import torch

    encoder, counted = ClipEncoder(folder), []

    def hook(layer, args, output):
        if isinstance(layer, torch.nn.Linear):
            counted.append(output.numel() * layer.in_features)
        elif isinstance(layer, torch.nn.Conv2d):
            counted.append(output.numel() * layer.weight[0].numel())

    model = encoder._model()
    handles = [each.register_forward_hook(hook) for each in model.modules()]
    encoder.encode(items["image"][0][:1])
    for handle in handles:
        handle.remove()
    tokens = 16 + (kind == "clip")
    counted.append(2 * 2 * tokens * tokens * 24)  # the attention products of two layers hold no weights
    if kind == "siglip":  # nn.MultiheadAttention projects without calling its layers: q once, k and v for all, out once
        counted.append(24 * 24 * (2 * tokens + 1) + 2 * tokens * 24)
        assert encoder.macs == pytest.approx(sum(counted), rel=0.02)
    else:
        assert encoder.macs == sum(counted)


def test_missing_files_are_named(tmp_path, clip_folder):
    with pytest.raises(
        MissingAssetError, match=r"config.json, preprocessor_config.json, tokenizer.json, model.safetensors"
    ):
        ClipEncoder(tmp_path).load()
    shutil.copytree(clip_folder, tmp_path / "part")
    (tmp_path / "part" / "tokenizer.json").unlink()
    with pytest.raises(MissingAssetError, match="lacks tokenizer.json: put"):
        _ = ClipEncoder(tmp_path / "part").dim


def test_pickles_are_refused(tmp_path, clip_folder):
    shutil.copytree(clip_folder, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").rename(tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="a pickle, which is never read"):
        ClipEncoder(tmp_path / "old").load()


@pytest.mark.parametrize("text", ["[]", "{", '{"model_type": "bert"}'])
def test_other_models_are_refused(tmp_path, clip_folder, text):
    shutil.copytree(clip_folder, tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text(text)
    with pytest.raises(InvalidValueError, match="must"):
        _ = ClipEncoder(tmp_path / "odd").dim


def test_shards_are_found_beside_their_index(tmp_path, clip_folder):
    shutil.copytree(clip_folder, tmp_path / "shards")
    folder = tmp_path / "shards"
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "../../../model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_folder(folder).weights == (folder / "model-00001-of-00001.safetensors",)


def test_a_very_long_picture_costs_no_memory(clip_folder):
    assert open_folder(clip_folder).pixels(Image(np.zeros((2, 60_000, 3), np.uint8))).shape == (3, 32, 32)
