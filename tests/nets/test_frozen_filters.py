"""Frozen layers are the numpy filters, do not learn, let gradients through, and cost what they say."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.nets.convolution import convolve, pooled, relu
from lightmeter.nets.kernels import FILTERS
from lightmeter.parts import build

torch = pytest.importorskip("torch")
BANK = [build(name, "filter") for name in FILTERS]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def layer(filters=BANK, **options):
    from lightmeter.nets.filters import FrozenFilters

    return FrozenFilters(filters, **options)


def noise(*shape):
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize("correlate", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"padding": each} for each in ("none", "zero", "edge", "reflect", "symmetric", "wrap")]
    + [{"stride": 3}, {"padding": "zero", "pad": 1, "stride": 2}],
    ids=str,
)
def test_a_bank_is_the_numpy_filters(options, correlate):
    pictures = noise(2, 3, 40, 37)
    bank = layer(correlate=correlate, **options)
    got = bank(torch.from_numpy(pictures)).numpy()
    side = max(max(each.kernel.shape) for each in BANK)
    assert got.shape == (2, 3 * len(BANK), *bank.output_shape(40, 37))
    for channel in range(3):
        for at, each in enumerate(BANK):
            framed = np.pad(each.kernel, [((side - n) // 2,) * 2 for n in each.kernel.shape])
            expected = convolve(pictures[1, channel], framed, correlate=correlate, **options)
            np.testing.assert_allclose(got[1, channel * len(BANK) + at], expected, atol=1e-12)


@pytest.mark.parametrize("part", BANK, ids=lambda part: part.spec)
def test_single_precision_is_near(part):
    picture = noise(40, 37).astype(np.float32)
    got = layer([part]).float()(torch.from_numpy(picture)[None, None])
    np.testing.assert_allclose(got.numpy()[0, 0], convolve(picture.astype(np.float64), part.kernel), atol=1e-6)


def test_a_picture_may_be_smaller_than_its_padding():
    tiny = noise(4, 3)
    part = build("gaussian/sigma=3", "filter")
    np.testing.assert_allclose(
        layer([part])(torch.from_numpy(tiny)[None, None])[0, 0], convolve(tiny, part.kernel), atol=1e-14
    )


def test_filters_are_frozen_and_gradients_pass():
    bank = layer([build("sobel", "filter")], padding="wrap")
    assert list(bank.parameters()) == []
    assert list(bank.state_dict()) == ["weight"]
    x = torch.from_numpy(noise(1, 1, 6, 5)).requires_grad_()
    up = torch.from_numpy(noise(1, 1, 6, 5) - 0.5)
    (bank(x) * up).sum().backward()
    back = convolve(up[0, 0].numpy(), build("sobel", "filter").kernel, padding="wrap", correlate=True)
    np.testing.assert_allclose(x.grad[0, 0], back, atol=1e-14, err_msg="the gradient of a convolution is a correlation")


@pytest.mark.parametrize("pool", ["max", "average"])
def test_the_block_is_the_numpy_block(pool):
    from lightmeter.nets.filters import DetectorBlock

    picture, part = noise(21, 18), build("gabor/sigma=2,omega_deg=60", "filter")
    block = DetectorBlock(layer([part], stride=2, padding="zero"), size=3, pool=pool)
    got = block(torch.from_numpy(picture)[None, None])[0, 0].numpy()
    response = convolve(picture, part.kernel, stride=2, padding="zero")
    assert response.min() < 0
    np.testing.assert_allclose(got, pooled(relu(response), 3, how=pool), atol=1e-14)
    assert list(block.parameters()) == []


def test_overlapping_pools_are_torchs():
    response = noise(11, 14)
    x = torch.from_numpy(response)[None, None]
    np.testing.assert_array_equal(pooled(response, 3, stride=2), torch.nn.functional.max_pool2d(x, 3, 2)[0, 0])
    means = torch.nn.functional.avg_pool2d(x, 3, 2)[0, 0]
    np.testing.assert_allclose(pooled(response, 3, stride=2, how="average"), means, atol=1e-15)


def test_a_layer_states_its_cost():
    from torch.utils.flop_counter import FlopCounterMode

    bank = layer(BANK[:3], stride=2)
    with FlopCounterMode(display=False) as counter:
        bank(torch.zeros(1, 2, 30, 41))
    assert bank.macs(30, 41, channels=2) == counter.get_total_flops() // 2
    assert bank.size_bytes == 3 * 9 * 9 * 8


def test_bad_layers_say_what_must_be():
    from lightmeter.nets.filters import DetectorBlock

    with pytest.raises(InvalidValueError, match="filters must hold at least one"):
        layer([])
    with pytest.raises(InvalidValueError, match="pad must be 0 with padding none"):
        layer(padding="none", pad=1)
    with pytest.raises(InvalidValueError, match="padding must be one of"):
        layer(padding="mirror")
    with pytest.raises(InvalidValueError, match="stride must be 1 or more"):
        layer(stride=0)
    with pytest.raises(InvalidValueError, match=r"x must be \[N, C, H, W\], got \[5, 5\]"):
        layer()(torch.zeros(5, 5))
    with pytest.raises(InvalidValueError, match="must fit into"):
        layer(padding="none")(torch.zeros(1, 1, 5, 5))
    with pytest.raises(InvalidValueError, match="size must be 1 or more"):
        DetectorBlock(layer(), size=0)
    with pytest.raises(InvalidValueError, match="pool must be max or average"):
        DetectorBlock(layer(), pool="mean")
