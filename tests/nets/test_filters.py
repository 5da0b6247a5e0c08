"""Filters are the slides' and SciPy's; sliding is the obvious version's, numpy's and torch's alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from filters_reference import gabor, slid, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError, SpecError, UnknownNameError
from lightmeter.nets.convolution import SlidePlan, convolve, factors, output_side, pad_index, pooled, relu
from lightmeter.nets.kernels import FILTERS, DifferenceOfGaussians, Gabor, Gaussian, LaplacianOfGaussian, Sobel
from lightmeter.parts import build, table

SPECS = [
    "gaussian", "gaussian/sigma=2.3", "gaussian/sigma=0.4,normalised=false", "prewitt/axis=x", "prewitt/axis=y",
    "sobel/axis=x", "sobel/axis=y", "laplacian", "laplacian-of-gaussian", "laplacian-of-gaussian/sigma=2,axis=x",
    "laplacian-of-gaussian/axis=y,normalised=false", "difference-of-gaussians", "gabor",
    "gabor/omega_deg=30,phi_deg=50",
]  # fmt: skip
PADDINGS = ["none", "zero", "edge", "reflect", "symmetric", "wrap"]
SCIPY_MODES = {"zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect", "wrap": "wrap"}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def kernel_of(spec):
    return build(spec, "filter").kernel


# -- the kernels ------------------------------------------------------------------------------------------------------


def test_the_table_is_covered_here():
    assert {spec.partition("/")[0] for spec in SPECS} == set(FILTERS) == set(table("filter"))


@pytest.mark.parametrize("spec", SPECS)
def test_every_filter_is_rebuilt_by_its_spec_and_has_a_middle(spec):
    part = build(spec, "filter")
    assert build(part.spec) == part
    assert part.kernel.dtype == np.float64
    assert all(side % 2 for side in part.kernel.shape)


@pytest.mark.parametrize(
    ("spec", "printed"),
    [
        ("prewitt/axis=x", [[1, 0, -1], [1, 0, -1], [1, 0, -1]]),
        ("prewitt/axis=y", [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]),
        ("sobel/axis=x", [[1, 0, -1], [2, 0, -2], [1, 0, -1]]),
        ("sobel/axis=y", [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]),
        ("laplacian", [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]),
    ],
)
def test_matrices_are_those_of_the_slides(spec, printed):
    assert kernel_of(spec).tolist() == printed


def test_the_gaussian_is_the_printed_density_or_sums_to_one():
    density = Gaussian(sigma=2.0, normalised=False).kernel
    assert density.shape == (17, 17)
    assert density[8, 8] == pytest.approx(1 / (2 * math.pi * 4))
    assert density[8 + 3, 8 - 1] == pytest.approx(math.exp(-(9 + 1) / 8) / (2 * math.pi * 4))
    assert Gaussian(sigma=0.3, normalised=False).kernel.sum() == pytest.approx(1.7958397643231934)
    assert Gaussian(sigma=0.3).kernel.sum() == pytest.approx(1, abs=1e-15)


def test_log_is_the_printed_formula_along_one_axis():
    sigma = 1.5
    line = LaplacianOfGaussian(sigma, axis="x", normalised=False).kernel
    assert line.shape == (1, 13)
    for x in (0, 2, -5):
        density = math.exp(-(x**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
        assert line[0, 6 + x] == pytest.approx((x**2 / sigma**4 - 1 / sigma**2) * density)
    assert line[0, 6] < 0, "the opposite sign of the slides' Laplacian"
    np.testing.assert_array_equal(LaplacianOfGaussian(sigma, axis="y", normalised=False).kernel, line.T)


def test_log_in_two_dimensions():
    sigma = 1.5
    both = LaplacianOfGaussian(sigma, normalised=False).kernel
    for m, n in ((0, 0), (2, -1), (-4, 3)):
        density = math.exp(-(m * m + n * n) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
        assert both[6 + n, 6 + m] == pytest.approx(((m * m + n * n) / sigma**4 - 2 / sigma**2) * density)


def test_gabor_is_the_printed_formula():
    made = Gabor(sigma=2.0, wavelength=5.0, omega_deg=30.0, phi_deg=40.0)
    asked = {"sigma": 2.0, "wavelength": 5.0, "omega": math.radians(30), "phi": math.radians(40)}
    expected = [[gabor(m, n, **asked) for m in range(-8, 9)] for n in range(-8, 9)]
    np.testing.assert_allclose(made.kernel, expected, atol=1e-16)
    flat = Gabor(omega_deg=0.0).kernel
    assert flat[12, 10] == -flat[12, 14] != 0, "omega 0: the wave runs to the right"


def test_dog_is_one_blur_less_another_and_nearly_a_log():
    both = DifferenceOfGaussians(1.0, 2.0).kernel
    assert both.shape == (17, 17)
    np.testing.assert_allclose(both[4:13, 4:13], Gaussian(1.0).kernel - Gaussian(2.0).kernel[4:13, 4:13], atol=1e-16)
    near = DifferenceOfGaussians(2.0, 2.01, truncate=6).kernel
    curved = LaplacianOfGaussian(2.005, truncate=6).kernel
    np.testing.assert_allclose(near, -0.01 * 2.005 * curved, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("gaussian/sigma=0", InvalidValueError, "sigma must be 0.1 to 100, got 0.0"),
        ("gaussian/sigma=nan", InvalidValueError, "sigma must be"),
        ("gaussian/truncate=20", InvalidValueError, "truncate must be 0.5 to 10"),
        ("gaussian/sigma=100,truncate=6", InvalidValueError, "at most 500 pixels, got 600"),
        ("difference-of-gaussians/narrow=2,wide=1", InvalidValueError, "narrow must be below wide"),
        ("gabor/wavelength=1", InvalidValueError, "wavelength must be at least 2 pixels"),
        ("gabor/phi_deg=inf", InvalidValueError, "phi_deg must be finite"),
        ("sobel/axis=z", SpecError, "sobel/axis must be one of x, y, got z"),
        ("sobbel", UnknownNameError, "did you mean 'sobel'"),
    ],
)
def test_bad_filters_say_what_must_be(spec, error, says):
    with pytest.raises(error) as caught:
        build(spec, "filter")
    assert says in str(caught.value)


# -- against SciPy and scikit-image -----------------------------------------------------------------------------------


def _ndimage(name, **options):
    return lambda x: getattr(pytest.importorskip("scipy.ndimage"), name)(x, **options)


def _skimage(name, scale, **options):
    return lambda x: scale * getattr(pytest.importorskip("skimage.filters"), name)(x, **options)


def _skimage_gabor(x):
    filters = pytest.importorskip("skimage.filters")
    turned = math.radians(35)
    return filters.gabor(x, 1 / 6, theta=math.pi / 2, sigma_x=3, sigma_y=3, n_stds=4, offset=turned)[1]


@pytest.mark.parametrize(
    ("spec", "padding", "theirs"),
    [
        ("gaussian/sigma=1.7", "symmetric", _ndimage("gaussian_filter", sigma=1.7)),
        ("gaussian/sigma=1.7,truncate=3", "edge", _skimage("gaussian", 1, sigma=1.7, truncate=3.0)),
        ("prewitt/axis=x", "symmetric", _ndimage("prewitt", axis=1)),
        ("prewitt/axis=y", "symmetric", _ndimage("prewitt", axis=0)),
        ("prewitt/axis=x", "symmetric", _skimage("prewitt_v", 3)),
        ("prewitt/axis=y", "symmetric", _skimage("prewitt_h", 3)),
        ("sobel/axis=x", "symmetric", _ndimage("sobel", axis=1)),
        ("sobel/axis=y", "symmetric", _ndimage("sobel", axis=0)),
        ("sobel/axis=x", "symmetric", _skimage("sobel_v", 4)),
        ("sobel/axis=y", "symmetric", _skimage("sobel_h", 4)),
        ("laplacian", "symmetric", lambda x: -_ndimage("laplace")(x)),
        ("laplacian", "symmetric", _skimage("laplace", 1)),
        ("laplacian-of-gaussian/sigma=1.4", "symmetric", _ndimage("gaussian_laplace", sigma=1.4)),
        ("laplacian-of-gaussian/axis=x", "symmetric", _ndimage("gaussian_filter1d", sigma=1.4, axis=1, order=2)),
        ("laplacian-of-gaussian/axis=y", "symmetric", _ndimage("gaussian_filter1d", sigma=1.4, axis=0, order=2)),
        ("difference-of-gaussians/narrow=1,wide=1.6", "edge",
         _skimage("difference_of_gaussians", 1, low_sigma=1, high_sigma=1.6)),
        ("gabor/omega_deg=90,wavelength=6,phi_deg=35", "symmetric", _skimage_gabor),
    ],
)  # fmt: skip
def test_filters_are_scipys_and_scikit_images(spec, padding, theirs):
    picture = noise(40, 31)
    expected = theirs(picture)
    np.testing.assert_allclose(convolve(picture, kernel_of(spec), padding=padding), expected, atol=1e-12)


@pytest.mark.parametrize("omega_deg", [0, 45, 120])
def test_gabor_is_scikit_images_where_both_have_taps(omega_deg):
    theirs = pytest.importorskip("skimage.filters").gabor_kernel(
        1 / 8, theta=math.radians(omega_deg), sigma_x=3, sigma_y=3, n_stds=3, offset=0.4
    )
    tall, wide = (side // 2 for side in theirs.shape)
    ours = Gabor(3.0, 8.0, float(omega_deg), math.degrees(0.4)).kernel
    middle = len(ours) // 2
    cut = ours[middle - tall : middle + tall + 1, middle - wide : middle + wide + 1]
    np.testing.assert_allclose(cut, theirs.imag, atol=1e-15)


def test_opencv_up_to_sign_turn_and_scale():
    cv2 = pytest.importorskip("cv2")
    picture = noise(40, 31)  # OpenCV pads as our `reflect`, and Sobel's dx is our x
    np.testing.assert_allclose(convolve(picture, kernel_of("sobel/axis=x")), cv2.Sobel(picture, -1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(convolve(picture, kernel_of("laplacian")), -cv2.Laplacian(picture, -1), atol=1e-12)
    kernel = kernel_of("gabor/omega_deg=30,phi_deg=20")
    theirs = cv2.getGaborKernel((25, 25), 3, math.radians(30), 8, 1, math.radians(20 - 90))
    np.testing.assert_allclose(theirs[::-1, ::-1], 2 * math.pi * 9 * kernel, atol=1e-12)
    filtered = cv2.filter2D(picture, -1, theirs) / (2 * math.pi * 9)
    np.testing.assert_allclose(convolve(picture, kernel), filtered, atol=1e-12)


@pytest.mark.parametrize("padding", SCIPY_MODES)
@pytest.mark.parametrize("correlate", [False, True])
def test_padding_and_turning_are_scipys(padding, correlate):
    ndimage = pytest.importorskip("scipy.ndimage")
    picture, kernel = noise(23, 31), noise(5, 7, seed=1) - 0.5
    theirs = (ndimage.correlate if correlate else ndimage.convolve)(picture, kernel, mode=SCIPY_MODES[padding])
    np.testing.assert_allclose(convolve(picture, kernel, correlate=correlate, padding=padding), theirs, atol=1e-12)


# -- sliding ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    rank=st.integers(0, 2),
    correlate=st.booleans(),
    stride=st.integers(1, 4),
    padding=st.sampled_from(PADDINGS),
    pad=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_sliding_is_the_obvious_version(shape, sides, rank, correlate, stride, padding, pad, seed):
    drawn = np.random.default_rng(seed)
    picture = drawn.standard_normal(shape)
    kernel = drawn.standard_normal(sides)
    if rank:  # such as run as rows and columns
        kernel = drawn.standard_normal((sides[0], rank)) @ drawn.standard_normal((rank, sides[1]))
    pad = 0 if padding == "none" else pad
    asked = {"correlate": correlate, "stride": stride, "padding": padding, "pad": pad}
    if any(side + 2 * pad < window for side, window in zip(shape, sides, strict=True)):
        with pytest.raises(InvalidValueError, match="must fit into"):
            convolve(picture, kernel, **asked)
        return
    got = convolve(picture, kernel, **asked)
    np.testing.assert_allclose(got, slid(picture.tolist(), kernel.tolist(), **asked), atol=1e-11)
    assert got.shape == tuple(output_side(n, k, pad=pad, stride=stride) for n, k in zip(shape, sides, strict=True))


def test_convolution_and_correlation_by_hand():
    picture = np.array([[0.0, 0, 1, 0, 0]])
    kernel = np.array([[1.0, 2, 3]])
    assert convolve(picture, kernel, padding="zero").tolist() == [[0, 1, 2, 3, 0]], "s(t) = sum of I(t - a) K(a)"
    turned = convolve(picture, kernel, padding="zero", correlate=True)
    assert turned.tolist() == [[0, 3, 2, 1, 0]], "s(t) = sum of I(t + a) K(a)"


def test_slopes_point_to_the_light():
    step = np.zeros((5, 6))
    step[:, 3:] = 1
    across = convolve(step, Sobel("x").kernel)
    assert across[2].tolist() == [0, 0, 4, 4, 0, 0]
    assert not convolve(step, Sobel("y").kernel).any()
    assert convolve(step.T, Sobel("y").kernel)[2].tolist() == [4] * 5
    assert convolve(step, Sobel("x").kernel, correlate=True)[2].tolist() == [0, 0, -4, -4, 0, 0]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride_leaves_places_out(spec, stride):
    picture, kernel = noise(33, 26), kernel_of(spec)
    every = convolve(picture, kernel)
    assert every.shape == picture.shape
    np.testing.assert_allclose(convolve(picture, kernel, stride=stride), every[::stride, ::stride], atol=1e-14)


def test_sliding_commutes_with_shifting_and_adding():
    a, b, kernel = noise(20, 17), noise(20, 17, seed=1), kernel_of("gabor/omega_deg=20")
    one = convolve(a, kernel, padding="wrap")
    np.testing.assert_allclose(
        convolve(np.roll(a, (3, -5), (0, 1)), kernel, padding="wrap"), np.roll(one, (3, -5), (0, 1)), atol=1e-14
    )
    two = convolve(b, kernel, padding="wrap")
    np.testing.assert_allclose(convolve(2 * a - b, kernel, padding="wrap"), 2 * one - two, atol=1e-14)


@pytest.mark.parametrize("spec", ["laplacian", "gaussian/sigma=3"])
def test_tiles_leave_no_seam(spec):
    picture, kernel = noise(700, 2100), kernel_of(spec)
    plan = SlidePlan.of(picture.shape, kernel, stride=2)
    tiles = list(plan.tiles())
    assert len({rows.start for rows, _ in tiles}) > 2
    assert len({columns.start for _, columns in tiles}) > 1
    ndimage = pytest.importorskip("scipy.ndimage")
    got = convolve(picture, kernel, stride=2)
    np.testing.assert_allclose(got, ndimage.convolve(picture, kernel, mode="mirror")[::2, ::2], atol=1e-12)


def test_types():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9), dtype=np.uint8)
    kernel = kernel_of("laplacian")
    assert convolve(pixels, kernel).dtype == np.float64
    np.testing.assert_array_equal(convolve(pixels, kernel), convolve(pixels.astype(float), kernel))
    single = convolve(noise(12, 9).astype(np.float32), kernel_of("gaussian"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, convolve(noise(12, 9), kernel_of("gaussian")), atol=1e-6)


@pytest.mark.parametrize(
    ("picture", "kernel", "options", "says"),
    [
        (np.ones((3, 3, 3)), np.ones((3, 3)), {}, "picture must be [H, W], got [3, 3, 3]"),
        (np.ones((3, 3)), np.ones(3), {}, "kernel must be [h, w], got [3]"),
        (np.ones((3, 3)), np.full((3, 3), np.nan), {}, "kernel must have finite taps"),
        (np.ones((3, 3)), np.ones((0, 3)), {}, "kernel must have finite taps, at least one, got [0, 3]"),
        (np.ones((3, 3)), np.ones((2, 3)), {}, "a kernel of 2 x 3 has no middle"),
        (np.ones((3, 3), complex), np.ones((3, 3)), {}, "must be real"),
        (np.ones((3, 3)), np.full((3, 3), 1j), {}, "must be real"),
        (np.ones((3, 3)), np.ones((3, 3)), {"stride": 0}, "stride must be 1 or more, got 0"),
        (np.ones((3, 3)), np.ones((3, 3)), {"pad": -1}, "pad must be 0 or more, got -1"),
        (np.ones((3, 3)), np.ones((3, 3)), {"padding": "none", "pad": 1}, "pad must be 0 with padding none"),
        (np.ones((3, 3)), np.ones((3, 3)), {"padding": "mirror"}, "padding must be one of none, zero"),
        (np.ones((3, 3)), np.ones((5, 5)), {"padding": "none"}, "a window of 5 must fit into 3"),
        (np.ones((0, 3)), np.ones((3, 3)), {}, "side must be 1 or more, got 0"),
    ],
)
def test_bad_slides_say_what_must_be(picture, kernel, options, says):
    with pytest.raises(InvalidValueError) as caught:
        convolve(picture, kernel, **options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("side", "kernel", "pad", "stride", "out"),
    [(227, 11, 0, 4, 55), (224, 7, 3, 2, 112), (13, 3, 1, 1, 13), (6, 3, 0, 2, 2), (5, 5, 0, 3, 1)],
)
def test_output_sides_by_hand(side, kernel, pad, stride, out):
    assert output_side(side, kernel, pad=pad, stride=stride) == out
    assert out == math.floor((side - kernel + 2 * pad) / stride) + 1, "the slide leaves the + 1 out"


def test_pads_by_hand():
    found = {padding: pad_index(4, 2, padding).tolist() for padding in PADDINGS[1:]}
    assert found == {
        "zero": [-1, -1, 0, 1, 2, 3, -1, -1], "edge": [0, 0, 0, 1, 2, 3, 3, 3], "reflect": [2, 1, 0, 1, 2, 3, 2, 1],
        "symmetric": [1, 0, 0, 1, 2, 3, 3, 2], "wrap": [2, 3, 0, 1, 2, 3, 0, 1],
    }  # fmt: skip
    with pytest.raises(InvalidValueError, match="pad must be"):
        pad_index(4, 2, "none")


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_every_filter_is_a_sum_of_one_or_two_products(spec):
    kernel = kernel_of(spec)
    made = factors(kernel)
    assert len(made) <= 2
    np.testing.assert_allclose(sum(np.outer(column, row) for column, row in made), kernel, atol=1e-15)


def test_macs_by_hand():
    assert SlidePlan.of((20, 30), kernel_of("laplacian")).macs == 20 * 30 * 5, "taps that are 0 cost nothing"
    assert SlidePlan.of((20, 30), kernel_of("sobel")).macs == 20 * 30 * 6, "3 + 3 would not be less"
    assert SlidePlan.of((20, 30), kernel_of("gaussian")).macs == (28 * 9 + 20 * 9) * 30, "28 rows along, then down"
    two = SlidePlan.of((20, 30), kernel_of("laplacian-of-gaussian"), stride=2)
    assert two.macs == 2 * ((2 * 9 + 13) * 13 + 10 * 13) * 15


def test_macs_are_what_is_multiplied(monkeypatch):
    counted = []

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            plain = [np.asarray(each) for each in inputs]
            if ufunc is np.multiply:
                counted.append(max(each.size for each in plain))
            done = getattr(ufunc, method)(*plain, **options)
            if out:
                out[0][...] = done
                return out[0]
            return done.view(Counting)

    from lightmeter.nets import convolution

    placed = convolution._placed
    monkeypatch.setattr(convolution, "_placed", lambda *args: placed(*args).view(Counting))
    for spec in SPECS:
        counted.clear()
        picture, kernel = noise(400, 600), kernel_of(spec)
        np.asarray(convolve(picture, kernel, stride=3))
        assert sum(counted) == SlidePlan.of(picture.shape, kernel, stride=3).macs, spec


# -- detector and pooling ---------------------------------------------------------------------------------------------


def test_pooling_by_hand():
    response = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])
    assert pooled(response, 2).tolist() == [[6, 8], [3, 4]]
    assert pooled(response, 2, how="average").tolist() == [[3.25, 5.25], [2, 2]]
    assert pooled(response, 3, stride=1).tolist() == [[7, 8], [7, 8]]
    assert pooled(response, 3).tolist() == [[7]], "what does not fill a window is left out"
    assert response[0, 0] == 1, "the input is not touched"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.sampled_from(["max", "average"]))
def test_pooling_is_the_obvious_version(height, width, size, stride, how):
    response = noise(height, width) - 0.5
    if min(height, width) < size:
        with pytest.raises(InvalidValueError, match=f"a window of {size} must fit"):
            pooled(response, size, stride=stride, how=how)
        return
    np.testing.assert_allclose(
        pooled(response, size, stride=stride, how=how), windows(response.tolist(), size, stride, how)
    )


def test_relu_and_bad_pools():
    assert relu(np.array([-1.5, 0.0, 2.0])).tolist() == [0, 0, 2]
    with pytest.raises(InvalidValueError, match="how must be one of max, average, got 'mean'"):
        pooled(np.ones((4, 4)), 2, how="mean")
    with pytest.raises(InvalidValueError, match="kernel must be 1 or more"):
        pooled(np.ones((4, 4)), 0)
