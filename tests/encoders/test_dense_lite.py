"""EfficientNet-Lite's maps against the torch network, and their price against its layers."""

import numpy as np
import pytest
from dense_models import count_macs

from lightmeter.assets.finding import find
from lightmeter.nets.lite_plan import lite_plan
from lightmeter.parts import build

torch = pytest.importorskip("torch")
LAST = {"stage1": 0, "stage2": 2, "stage3": 4, "stage4": 7, "stage5": 10, "stage6": 14, "stage7": 15}  # of size 0


@pytest.fixture(scope="module")
def net():
    from lightmeter.nets.efficientnet_lite import load_efficientnet_lite

    return load_efficientnet_lite(find("efficientnet-lite0"))


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (1, 1, 32, 64, 3), np.uint8)


def stages(net, frames, last):
    """(name, map) of the torch network, up to a block."""
    from torch.nn import functional

    x = (torch.from_numpy(frames[0]).movedim(-1, 1).float() - 127) / 128
    x = functional.relu6(net._bn0(net._conv_stem(x)))
    made = {"stem": x}
    for at, block in enumerate(net._blocks[: last + 1]):
        x = block(x)
        made |= {name: x for name, end in LAST.items() if end == at}
    if last == 15:
        made["head"] = functional.relu6(net._bn1(net._conv_head(x)))
    return made


def test_maps_are_those_of_the_torch_network(net, frames):
    with torch.no_grad():
        wanted = stages(net, frames, 15)
    encoder = build(f"lite-maps/maps=[{','.join(wanted)}]")
    assert set(encoder.feature_sets) == set(wanted)
    for name, each in encoder.features(frames, np.array([0])).items():
        np.testing.assert_allclose(each, wanted[name].numpy(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["stem", "stage1", "stage3", "stage7", "head"])
def test_price_is_that_of_the_layers_up_to_the_map(net, frames, name):
    last = {"stem": -1, "head": 15, **LAST}[name]

    def run():
        stages(net, frames, last)

    encoder = build(f"lite-maps/maps=[{name}]")
    head = 1 * 2 * 320 * 1280 if name == "stage7" else 0  # the run above goes on to the head
    assert encoder.macs(32, 64) == count_macs(run) - head


def test_price_at_full_size_is_that_of_the_encoder():
    assert build("lite-maps/maps=[head]").macs(224, 224) == lite_plan(0).macs
    assert build("lite-maps/maps=[head],enlarge=2").macs(112, 112) == lite_plan(0).macs


def test_enlarging_halves_the_strides(frames):
    plain, large = build("lite-maps/maps=[stage3]"), build("lite-maps/maps=[stage3],enlarge=2")
    assert (plain.feature_sets["stage3"].stride, large.feature_sets["stage3"].stride) == (8, 4)
    assert large.features(frames, np.array([0]))["stage3"].shape == (1, 40, 8, 16)
