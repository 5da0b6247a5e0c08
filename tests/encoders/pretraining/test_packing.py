"""A packed predictor sees what the whole one saw, in half of the bytes or fewer."""

import numpy as np
import pytest
import torch

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.dense_future import FutureCodesMaps, save_future_codes
from lightmeter.encoders.pretraining.packing import pack
from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import open_clips
from lightmeter.media.simulate import Wanted, simulate
from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan
from lightmeter.parts import build

FUTURE = build("future/steps=2,batch=3,width=12,layers=1,heads=2,base=8,levels=1,lr=0.01")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.manual_seed(0)
    net = FutureCodes(FutureCodesPlan(grid=(2, 8, 8), codes=16, stride=2, width=24, layers=1, base=8, levels=1))
    return save_future_codes(tmp_path_factory.mktemp("net") / "whole", net, {"seed": 3, "curve": "long"}).parent


def test_features_stay_and_the_predictor_goes(whole, tmp_path):
    packed = pack(whole, tmp_path / "packed").parent
    clips, at = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16, 3), np.uint8), np.zeros(2, np.int64)
    before = FutureCodesMaps(path=whole, maps=("stride2",)).features(clips, at)["stride2"]
    after = FutureCodesMaps(path=packed, maps=("stride2",)).features(clips, at)["stride2"]
    np.testing.assert_allclose(after, before, atol=4e-3 * np.abs(before).max())
    assert not np.array_equal(after, before)
    arrays, about = load_model(packed)
    assert {each.dtype.name for each in arrays.values()} == {"float16"}
    assert about["seed"] == 3
    assert "curve" not in about
    assert sum(each.nbytes for each in arrays.values()) < 0.5 * (whole / "model.safetensors").stat().st_size


def test_a_chain_is_told(clips, footage, tokens, made, tmp_path):
    """Recipes, seeds, figures and costs of all runs, oldest first; the price is their sum; and of which clips."""
    first = pretrain(FUTURE, footage, tmp_path / "first", PretrainRun(tokens, report=False))
    second = pretrain(FUTURE, footage, tmp_path / "second", PretrainRun(tokens, tmp_path / "first", 2, report=False))
    packed = pack(second.folder, tmp_path / "packed", before=[made, first.folder]).parent
    about, links = load_model(packed)[1], [load_model(made)[1], first.about, second.about]
    assert [each["pretraining"].partition("/")[0] for each in about["chain"]] == ["vqvae", "future", "future"]
    for link, expected in zip(about["chain"], links, strict=True):
        assert link == {name: expected[name] for name in link}
        assert {"pretraining", "data", "seed", "from", "tokens", "figures", "cost"} <= set(link)
    assert about["cost"]["steps"] == 6 + 2 + 2
    assert about["cost"]["cpu_s"] == pytest.approx(sum(each["cost"]["cpu_s"] for each in links))
    alone = load_model(pack(second.folder, tmp_path / "alone").parent)
    assert (alone[1]["cost"], "chain" in alone[1]) == (second.about["cost"], False)
    assert all(np.array_equal(each, alone[0][name]) for name, each in load_model(packed)[0].items())
    for before in ([made], [first.folder], [made, second.folder], [first.folder, first.folder]):
        with pytest.raises((InvalidValueError, RejectedFileError)):
            pack(second.folder, tmp_path / "other", before=before)
    assert not (tmp_path / "other").exists()


def test_clips_are_told(tokens, tmp_path):
    """By what simulated them; those of another run are refused."""
    for name, seed in (("clips", 4), ("others", 5)):
        simulate(tmp_path / name, Wanted("shapes", clips=4, frames=6, size=16, seed=seed))
    footage = Footage.of(open_clips(tmp_path / "clips"), share=0.5)
    made = pretrain(FUTURE, footage, tmp_path / "net", PretrainRun(tokens, report=False)).folder
    about = load_model(pack(made, tmp_path / "packed", clips=[tmp_path / "clips"]).parent)[1]
    (told,) = about["clips"]
    assert (told["clips"], told["scenes"], told["seed"], told["frames"], told["size"]) == (4, "shapes", 4, 6, 16)
    assert about["data"].startswith(told["fingerprint"])
    with pytest.raises(InvalidValueError, match="got others in"):
        pack(made, tmp_path / "packed", clips=[tmp_path / "others"])


@pytest.mark.parametrize("value", [65520.0, -1e6, np.inf, np.nan])
def test_a_weight_that_half_precision_cannot_hold(whole, tmp_path, value):
    arrays, about = load_model(whole)
    name = next(name for name in arrays if name.startswith("frame."))
    large = {**arrays, name: np.full_like(arrays[name], value)}
    save_model(tmp_path / "large", large, about)
    with pytest.raises(InvalidValueError, match="must be within ±65504"):
        pack(tmp_path / "large", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_model(tmp_path / "edge", {**arrays, name: np.full_like(arrays[name], 65504.0)}, about)
    assert np.isfinite(load_model(pack(tmp_path / "edge", tmp_path / "out").parent)[0][name]).all()


def test_another_kind_of_net_is_refused(tmp_path):
    save_model(tmp_path, {"weight": np.zeros(3, np.float32)}, {"kind": "vqvae"})
    with pytest.raises(InvalidValueError, match="must hold a future-codes net, got 'vqvae'"):
        pack(tmp_path, tmp_path / "out")
