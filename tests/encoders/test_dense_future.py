"""The frame encoder of a predictor of future codes: saved, read back, and what does not fit refused."""

import json

import numpy as np
import pytest

from lightmeter.errors import LightmeterError, MissingAssetError, RejectedFileError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
from lightmeter.encoders.dense_future import save_future_codes  # noqa: E402
from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan  # noqa: E402

PLAN = FutureCodesPlan(grid=(2, 4, 4), codes=8, stride=8, width=12, layers=1, base=8, levels=2)
AT = np.array([0])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return FutureCodes(PLAN).eval()


def clips():
    return np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("whole", [True, False])
def test_maps_are_those_of_the_net_at_every_stride(net, tmp_path, whole):
    save_future_codes(tmp_path / "m", net, {"seed": 3}, whole=whole)
    encoder = build(f"future-codes/path='{tmp_path / 'm'}',maps=[stride2,stride4,stride8]")
    with torch.no_grad():
        wanted = net.maps(torch.from_numpy(clips())[0].movedim(-1, 1).float() / 255 - 0.5)
    for name, each in encoder.features(clips(), AT).items():
        np.testing.assert_allclose(each, wanted[int(name.removeprefix("stride"))].numpy(), rtol=1e-4, atol=1e-5)
    assert encoder.macs(32, 32) == PLAN.frame_macs(32, 32)
    assert {each.stride: each.channels for each in encoder.feature_sets.values()} == PLAN.strides
    assert json.loads((tmp_path / "m" / "model.json").read_text())["seed"] == 3


def test_the_frame_encoder_alone_is_smaller(net, tmp_path):
    for whole in (True, False):
        save_future_codes(tmp_path / str(whole), net, {}, whole=whole)
    sizes = [(tmp_path / str(whole) / "model.safetensors").stat().st_size for whole in (True, False)]
    assert sizes[1] < sizes[0]


def test_what_does_not_fit_is_refused(net, tmp_path):
    folder = tmp_path / "m"
    encoder = build(f"future-codes/path='{folder}'")
    with pytest.raises(MissingAssetError, match=str(folder)):
        encoder.features(clips(), AT)
    from lightmeter.assets.saving import load_model, save_model

    save_future_codes(folder, net, {})
    arrays, about = load_model(folder)
    plan = about["plan"]
    for changed in (
        {"kind": "other"}, {"plan": {"grid": 3}}, {"plan": {"unknown": 3}}, {"plan": None},
        {"plan": plan | {"base": 12}},
        {"plan": plan | {"levels": 10**9}}, {"plan": plan | {"levels": 3}}, {"plan": plan | {"base": True}},
        {"plan": plan | {"base": 10**40}}, {"plan": plan | {"norm": []}}, {"plan": plan | {"grid": [2, 4]}},
    ):  # fmt: skip
        save_model(folder, arrays, about | changed)
        with pytest.raises(RejectedFileError):
            encoder.features(clips(), AT)
    save_model(folder, arrays, about | {"plan": about["plan"] | {"base": 16}})
    with pytest.raises(RejectedFileError, match=r"frame\.stem\.weight of a model must be float32 \[16, 3, 4, 4\]"):
        encoder.features(clips(), AT)


def test_a_build_without_weights_says_how_to_get_them(monkeypatch, tmp_path):
    from lightmeter.encoders import dense_future

    monkeypatch.setattr(dense_future, "_PACKAGED", tmp_path / "nothing")
    with pytest.raises(MissingAssetError, match="lightmeter segment pretrain"):
        build("future-codes").features(clips(), AT)
    assert issubclass(MissingAssetError, LightmeterError)
