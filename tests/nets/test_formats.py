"""Number formats: worked by hand, held to their bounds and sizes, exact where they can be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.nets.formats import FORMATS, float16, int8_rows, kmeans_book, quantile_book, restored, uniform_book


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = {
    "normal": noise(40, 50),
    "heavy": noise(40, 50, seed=1) ** 5,
    "tiny": noise(30, 20, scale=1e-6),
    "constant": torch.full((7, 9), -0.3),
    "zeros": torch.zeros(5, 4),
    "three axes": noise(6, 5, 4),
    "fewer than 256": noise(3, 4),
    "row": noise(1, 600),
    "zero row": torch.cat([torch.zeros(1, 50), noise(3, 50)]),
    "few values": noise(200, 20).sign(),
    "empty": torch.zeros(0, 4),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_errors_are_within_their_bound_and_sizes_as_said(format, name):
    weight = WEIGHTS[name]
    kept = FORMATS[format](weight)
    back = kept.weight()
    assert back.shape == weight.shape
    assert back.dtype == torch.float32
    if weight.numel():
        assert float((back - weight).abs().max()) <= kept.bound
        assert kept.bound <= float(weight.max() - weight.min()) / 2 + float(weight.abs().max()) / 100 + 1e-7
    count = weight.numel()
    sizes = {"float32": 4 * count, "float16": 2 * count, "int8": count + 4 * len(weight)}
    assert kept.size_bytes == sizes.get(format, count + 1024)
    assert torch.equal(restored(kept.parts, kept.shape), back)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40), st.sampled_from(sorted(FORMATS)))
def test_any_weight_is_within_its_bound(values, format):
    weight = torch.tensor([values])
    kept = FORMATS[format](weight)
    assert float((kept.weight() - weight).abs().max()) <= kept.bound


def test_int8_by_hand():
    kept = int8_rows(torch.tensor([[1.27, -0.638, 0.004, 0.006], [0.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(kept.parts["scale"], torch.tensor([[0.01], [1.0]]))
    assert kept.parts["codes"].tolist() == [[127, -64, 0, 1], [0, 0, 0, 0]]
    assert kept.parts["codes"].dtype == torch.int8


def test_the_uniform_book_is_an_even_ladder():
    kept = uniform_book(torch.arange(256.0)[None] * 2 - 5)
    torch.testing.assert_close(kept.parts["book"], torch.arange(256.0) * 2 - 5)
    assert kept.parts["codes"].flatten().tolist() == list(range(256))
    torch.testing.assert_close(kept.weight()[0], torch.arange(256.0) * 2 - 5)


def test_quantiles_are_means_of_as_many_values():
    weight = torch.arange(512.0)[None] ** 2
    book = quantile_book(weight).parts["book"]
    torch.testing.assert_close(book, (weight[0, ::2] + weight[0, 1::2]) / 2)


def test_256_values_or_fewer_come_back_exactly_from_clusters():
    values = noise(200, seed=3)
    weight = values[torch.randint(0, 200, (40, 100), generator=torch.Generator().manual_seed(1))]
    assert torch.equal(quantile_book(values[None]).weight()[0], values)
    assert float((kmeans_book(weight).weight() - weight).square().mean()) < 1e-6


def test_kmeans_is_not_worse_than_what_it_starts_from():
    for name in ("normal", "heavy", "tiny", "few values"):
        weight = WEIGHTS[name]
        errors = {
            each: float((FORMATS[each](weight).weight() - weight).square().mean())
            for each in ("kmeans", "quantile", "uniform")
        }
        assert errors["kmeans"] <= errors["quantile"] * (1 + 1e-6), (name, errors)
        assert errors["kmeans"] <= errors["uniform"] * (1 + 1e-6), (name, errors)


def test_kmeans_agrees_with_the_slow_one():
    weight = noise(1, 2000, seed=9) ** 3
    flat = weight.flatten().double()
    book = quantile_book(weight).parts["book"].double()
    for _ in range(20):
        nearest = (flat[:, None] - book).abs().argmin(1)
        book = torch.stack([flat[nearest == at].mean() if (nearest == at).any() else book[at] for at in range(256)])
    slow = float((flat - book[(flat[:, None] - book).abs().argmin(1)]).square().mean())
    quick = float((kmeans_book(weight).weight().flatten() - flat).square().mean())
    assert quick <= slow * 1.05


def test_what_a_format_cannot_hold_is_refused():
    with pytest.raises(InvalidValueError, match="float16 must be within ±65504, got 70000: keep it as float32"):
        float16(torch.tensor([[7e4]]))
    for weight in (torch.tensor([[float("nan")]]), torch.tensor([[float("inf")]]), torch.tensor([[1]])):
        for format in FORMATS.values():
            with pytest.raises(InvalidValueError, match="a weight must be finite floats"):
                format(weight)
