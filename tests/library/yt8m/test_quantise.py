"""8 bits and back: the formulas of YouTube-8M, and what each rounding does to the mean."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.library.yt8m.quantise import BIAS, dequantise, quantise


def test_worked_by_hand():
    values = np.array([-9, -2, -1.99, 0, 1.999, 2, 9], np.float32)  # (x + 2) * 63.75: 0, 0, 0.6, 127.5, 254.9, 255
    assert quantise(values, "floor").tolist() == [0, 0, 0, 127, 254, 255, 255]
    assert quantise(values, "round").tolist() == [0, 0, 1, 128, 255, 255, 255]
    np.testing.assert_allclose(dequantise(np.array([0, 127, 255], np.uint8)), [-1.9921875, 0.0, 2.0078125], atol=2e-4)


def test_every_code_goes_round():
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(codes), "floor"), codes)


@pytest.mark.parametrize(("rounding", "most"), [("floor", 0.0079), ("round", 0.0157)])
def test_bias_is_as_stated(rounding, most):
    values = np.random.default_rng(0).uniform(-1.9, 1.9, 400_000).astype(np.float32)
    error = dequantise(quantise(values, rounding)) - values
    assert error.mean() == pytest.approx(BIAS[rounding], abs=3e-5)
    assert np.abs(error).max() <= most
    assert error.std() == pytest.approx(0.00453, abs=1e-4)


def test_refused():
    with pytest.raises(InvalidValueError, match="NaN"):
        quantise(np.array([np.nan]))
    with pytest.raises(InvalidValueError, match="floor or round"):
        quantise(np.array([0.0]), "up")
    with pytest.raises(InvalidValueError, match="uint8"):
        dequantise(np.array([0.5]))
