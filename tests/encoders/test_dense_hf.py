"""Tokens as maps against transformers' own forward; other sizes than they were made for; odd folders."""

import json
import shutil

import numpy as np
import pytest
from dense_models import rewritten, transformers_model

from lightmeter.errors import InvalidValueError, MissingAssetError, UnsafeFileError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PARTS = {"v-jepa2": "v-jepa2", "videomae": "videomae", "timesformer": "timesformer", "dinov2": "dino",
         "dinov2-registers": "dino", "dinov3": "dino"}  # fmt: skip
FRAMES = {"dino": 1}
AT = np.array([2])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    made = {}

    def save(kind):
        if kind not in made:
            torch.manual_seed(0)
            made[kind] = transformers_model(kind).eval(), tmp_path_factory.mktemp(kind)
            made[kind][0].save_pretrained(made[kind][1])
        return made[kind]

    return save


def clips(height=32, width=32):
    return np.random.default_rng(0).integers(0, 256, (1, 4, height, width, 3), np.uint8)


def kinds(*slow):
    return [pytest.param(kind, marks=pytest.mark.slow if kind in slow else ()) for kind in PARTS]


@pytest.mark.parametrize("kind", kinds("timesformer", "dinov2-registers", "dinov3"))
def test_last_is_what_transformers_gives(kind, saved):
    model, folder = saved(kind)
    part = PARTS[kind]
    frames = FRAMES.get(part, 4)
    encoder = build(f"{part}/folder='{folder}',frames={frames},clip=real,pool=concat")
    windows, _ = encoder.windows(clips(), AT)
    mean, std = (torch.tensor(each)[:, None, None] for each in encoder.colours)
    seen = (torch.from_numpy(windows).movedim(-1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        if part == "dino":
            grid = model(seen[:, 0]).last_hidden_state[:, -16:].view(1, 1, 4, 4, 24)
        elif part == "timesformer":  # cell by cell, moment by moment, after one token for all
            grid = model(seen).last_hidden_state[:, 1:].view(1, 4, 4, 4, 24).permute(0, 3, 1, 2, 4)
        else:
            more = {"skip_predictor": True} if part == "v-jepa2" else {}
            grid = model(seen, **more).last_hidden_state.view(1, 2, 4, 4, 24)
    wanted = grid.permute(0, 1, 4, 2, 3).flatten(1, 2).numpy()
    np.testing.assert_allclose(encoder.features(clips(), AT)["last"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", kinds("videomae", "timesformer", "dinov2-registers", "dinov3"))
def test_what_is_seen_left_and_right_is_found_left_and_right(kind, saved):
    """Of a picture twice as wide as high, changed in one corner: the cell there changes most."""
    part, folder = PARTS[kind], saved(kind)[1]
    encoder = build(f"{part}/folder='{folder}',frames={FRAMES.get(part, 4)},maps=[layer0]")
    before, after = clips(32, 64), clips(32, 64)
    after[:, :, 24:, 56:] ^= 255
    change = np.abs(encoder.features(after, AT)["layer0"] - encoder.features(before, AT)["layer0"])[0].sum(0)
    assert np.unravel_index(change.argmax(), change.shape) == (3, 7)


def test_a_grid_that_is_not_square_is_a_part_of_one_that_is(saved):
    """V-JEPA's angles of cells depend on row and column alone: the model's own numbering of a square gives the same."""
    model, folder = saved("v-jepa2")
    from lightmeter.nets.dense_tokens import TokenPlan, VJepaMaps

    maps = VJepaMaps(model.encoder, TokenPlan(8, 2, 8, (0.0,) * 3, (1.0,) * 3))
    square = torch.rand(1, 4, 3, 64, 64)
    with torch.no_grad():
        ours = maps(square, ["last"])["last"]
        for layer in model.encoder.layer:
            layer.attention.grid_size = 8
        theirs = model.encoder(square).last_hidden_state.view(1, 2, 8, 8, 24).movedim(-1, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_finer_strides_show_the_model_larger_frames(saved):
    folder = saved("dinov2")[1]
    encoder = build(f"dino/folder='{folder}',stride=4")
    assert encoder.features(clips(), AT)["last"].shape == (1, 24, 8, 8)
    assert encoder.feature_sets["last"].stride == encoder.size_multiple == 4
    patches = 8 * 8 * 3 * 24 * (8 * 8)  # the layers have 65 tokens for 17, and 65 * 65 pairs for 17 * 17
    plain = build(f"dino/folder='{folder}'").macs(32, 32) - patches // 4
    assert 65 / 17 * plain < encoder.macs(32, 32) - patches < (65 / 17) ** 2 * plain


def test_colours_are_normalised_as_the_folder_says(saved, tmp_path):
    shutil.copytree(saved("dinov2")[1], tmp_path / "other")
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(said))
    plain, other = (build(f"dino/folder='{each}'") for each in (saved("dinov2")[1], tmp_path / "other"))
    assert other._colours() == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert not np.allclose(plain.features(clips(), AT)["last"], other.features(clips(), AT)["last"])


class TestFolders:
    def test_a_missing_file_is_named(self, tmp_path):
        encoder = build(f"v-jepa2/folder='{tmp_path}'")
        with pytest.raises(MissingAssetError, match=r"lacks config.json, model.safetensors: put there what"):
            encoder.features(clips(), AT)
        (tmp_path / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "../../model-2.safetensors"}})
        )
        with pytest.raises(MissingAssetError, match=r"config.json, model-2.safetensors, model-1.safetensors"):
            encoder.features(clips(), AT)

    def test_a_pickle_is_refused(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "vjepa2"}')
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(UnsafeFileError, match=r"holds pytorch_model.bin, a pickle, which is never read"):
            build(f"v-jepa2/folder='{tmp_path}'").features(clips(), AT)

    def test_another_family_is_named(self, saved):
        with pytest.raises(InvalidValueError, match=r"must hold a model of type vjepa2, its config.json says 'dinov2'"):
            build(f"v-jepa2/folder='{saved('dinov2')[1]}'").features(clips(), AT)

    def test_odd_counts_of_frames_are_refused(self, saved):
        with pytest.raises(InvalidValueError, match=r"frames must be a multiple of 2, got 3"):
            build(f"v-jepa2/folder='{saved('v-jepa2')[1]}',frames=3").features(clips(), AT)

    def test_a_config_that_is_none_is_refused(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"")
        (tmp_path / "config.json").write_text("[]")
        with pytest.raises(InvalidValueError, match="must hold a JSON object, got list"):
            build(f"dino/folder='{tmp_path}'").features(clips(), AT)


def changed(saved, tmp_path, kind, **config):
    """A copy of a folder, other options in its config."""
    shutil.copytree(saved(kind)[1], tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return tmp_path / "copy"


class TestWeights:
    """A loader draws what is missing at random and goes on; here it is named."""

    @pytest.mark.parametrize(
        ("kind", "name"),
        [("dinov2", "encoder.layer.1.mlp.fc1.bias"), ("v-jepa2", "encoder.layer.1.attention.key.bias")],
    )
    def test_what_is_missing_is_named(self, kind, name, saved, tmp_path):
        folder = changed(saved, tmp_path, kind)
        rewritten(folder / "model.safetensors", lambda weights: weights.pop(name))
        encoder = build(f"{PARTS[kind]}/folder='{folder}',frames=2,clip=real")
        with pytest.raises(InvalidValueError, match=rf"must hold all weights of its network, {name} is missing \(1 in"):
            encoder.features(clips(), AT)

    def test_what_never_runs_may_be_missing(self, saved, tmp_path):
        folder = changed(saved, tmp_path, "v-jepa2")
        before = build(f"v-jepa2/folder='{saved('v-jepa2')[1]}',frames=2").features(clips(), AT)["last"]
        rewritten(
            folder / "model.safetensors",
            lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("predictor.")],
        )
        np.testing.assert_array_equal(
            build(f"v-jepa2/folder='{folder}',frames=2").features(clips(), AT)["last"], before
        )

    def test_what_has_another_shape_is_refused(self, saved, tmp_path):
        folder = changed(saved, tmp_path, "dinov2")
        rewritten(
            folder / "model.safetensors", lambda weights: weights.update({"layernorm.weight": np.ones(7, np.float32)})
        )
        with pytest.raises(
            InvalidValueError, match=r"copy must hold a model as save_pretrained writes it, got Runtime"
        ):
            build(f"dino/folder='{folder}'").features(clips(), AT)

    def test_what_is_not_finite_is_refused(self, saved, tmp_path):
        folder = changed(saved, tmp_path, "dinov2")
        rewritten(
            folder / "model.safetensors",
            lambda weights: weights.update({"layernorm.weight": np.full(24, np.nan, np.float32)}),
        )
        with pytest.raises(
            InvalidValueError, match=r"must hold finite weights, got NaN or infinity in layernorm.weight"
        ):
            build(f"dino/folder='{folder}'").features(clips(), AT)


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("num_hidden_layers", "x", "num_hidden_layers in config.json must be a whole number"),
        ("num_hidden_layers", 10**9, "num_hidden_layers in config.json must be a whole number from 1 to 1024"),
        ("patch_size", True, "patch_size in config.json must be a whole number"),
        ("patch_size", [8, 8], "patch_size in config.json must be a whole number"),
        ("hidden_size", "24", "must hold a model as save_pretrained writes it"),
        ("num_attention_heads", 0, "must hold a model as save_pretrained writes it"),
        ("model_type", [], "must hold a model of type dinov2 or"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_its_folder(saved, tmp_path, option, value, why):
    folder = changed(saved, tmp_path, "dinov2", **{option: value})
    with pytest.raises(InvalidValueError, match=f"{folder}.*{why}"):
        build(f"dino/folder='{folder}'").features(clips(), AT)


@pytest.mark.parametrize(
    "said",
    [
        {"image_mean": [0, 0, 0], "image_std": [0, 0, 0]},
        {"image_mean": [0, 0, 0], "image_std": [1, 1, -1]},
        {"image_mean": [0.5, 0.5], "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, 0]},
        {"image_mean": "abc", "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, True], "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, float("nan")], "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, 10**400], "image_std": [1, 1, 1]},
    ],
)
def test_colours_are_three_numbers_and_deviations_above_zero(saved, tmp_path, said):
    folder = changed(saved, tmp_path, "dinov2")
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(InvalidValueError, match=r"preprocessor_config.json .*image_(mean|std) must be 3 numbers from"):
        build(f"dino/folder='{folder}'").features(clips(), AT)
