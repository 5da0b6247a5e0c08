"""A packed predictor sees what the whole one saw, in half of the bytes or fewer."""

import numpy as np
import pytest
import torch

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.dense_future import FutureCodesMaps, save_future_codes
from lightmeter.encoders.pretraining.packing import pack
from lightmeter.errors import InvalidValueError
from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan


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


def test_another_kind_of_net_is_refused(tmp_path):
    save_model(tmp_path, {"weight": np.zeros(3, np.float32)}, {"kind": "vqvae"})
    with pytest.raises(InvalidValueError, match="must hold a future-codes net, got 'vqvae'"):
        pack(tmp_path, tmp_path / "out")
