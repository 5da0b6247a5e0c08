"""The classic filters as explicit kernels: what a first convolution layer computed before weights were learnt.

Every filter is a frozen dataclass in `FILTERS`; its `kernel` is float64 [H, W] with odd sides and its origin in the
middle. Offsets count from there: m to the right (columns), n down (rows), in pixels. Kernels are written for
*convolution*, out[i, j] = sum over n, m of picture[i - n, j - m] kernel[n, m], as the seed prints them; under
correlation the odd ones (Prewitt, Sobel, Gabor with phi 0) change their sign.
`lightmeter.nets.convolution` lets them slide in numpy, `lightmeter.nets.filters` in torch.

Source: A. Savchenko, "Efficient image recognition with convolutional neural networks", slides, 2018, after S. Prince,
"Computer vision: models, learning, and inference", 2012, section 13.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

FILTERS: dict[str, str] = {
    "gaussian": "lightmeter.nets.kernels:Gaussian",
    "prewitt": "lightmeter.nets.kernels:Prewitt",
    "sobel": "lightmeter.nets.kernels:Sobel",
    "laplacian": "lightmeter.nets.kernels:Laplacian",
    "laplacian-of-gaussian": "lightmeter.nets.kernels:LaplacianOfGaussian",
    "difference-of-gaussians": "lightmeter.nets.kernels:DifferenceOfGaussians",
    "gabor": "lightmeter.nets.kernels:Gabor",
}

Axis = Literal["x", "y"]
_SIGMAS = (0.1, 100.0)  # below, a pixel is all of the kernel; above, the kernel is larger than pictures are
_TRUNCATES = (0.5, 10.0)
_LARGEST_RADIUS = 500


class Filter(Protocol):
    """A filter of the table."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    @property
    def kernel(self) -> Array:
        """Its taps: float64 [H, W], odd sides, made anew at each call."""
        ...


# -- smoothing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian(Spelled):
    """Blur: f(m, n) = exp(-(m² + n²) / 2 sigma²) / (2 pi sigma²).

    sigma: pixels, 0.1 to 100 · truncate: the kernel ends at int(truncate * sigma + 0.5) pixels, as SciPy's
    normalised: taps are divided by their sum, so that a flat picture keeps its value. False is the seed's density as
    printed: sampled and cut off, it sums to 0.99999 for sigma 1, to 1.03 for 0.5 and to 1.8 for 0.3.
    Equal to `scipy.ndimage.gaussian_filter` (normalised): sign +1, scale 1, same truncation.
    """

    sigma: float = 1.0
    normalised: bool = True
    truncate: float = 4.0

    def __post_init__(self) -> None:
        _check_width(self.sigma, self.truncate)

    @property
    def kernel(self) -> Array:
        """[K, K], K = 2 int(truncate * sigma + 0.5) + 1; all taps positive."""
        line = _density(self.sigma, self.truncate, self.normalised)
        return np.outer(line, line)


# -- first derivatives ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prewitt(Spelled):
    """Slope of brightness along an axis, the mean of three lines, times 6.

    axis: `x`: positive where it grows brighter to the right; `y`: where it grows brighter downwards
    Equal to `scipy.ndimage.prewitt` (axis 1 for x, 0 for y): sign +1, scale 1; three times
    `skimage.filters.prewitt_v` (x) and `prewitt_h` (y).
    """

    axis: Axis = "x"

    @property
    def kernel(self) -> Array:
        """[3, 3], the seed's F_x or F_y."""
        return _slope([1.0, 1.0, 1.0], self.axis)


@dataclass(frozen=True)
class Sobel(Spelled):
    """Slope of brightness along an axis, the middle line counted twice, times 8.

    axis: as Prewitt's
    Equal to `scipy.ndimage.sobel` (axis 1 for x, 0 for y): sign +1, scale 1; four times `skimage.filters.sobel_v` (x)
    and `sobel_h` (y).
    """

    axis: Axis = "x"

    @property
    def kernel(self) -> Array:
        """[3, 3], the seed's F_x or F_y."""
        return _slope([1.0, 2.0, 1.0], self.axis)


# -- second derivatives -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Laplacian(Spelled):
    """How much brighter a pixel is than its four neighbours: the *negative* of the sum of second derivatives.

    The seed prints +4 in the centre. Equal to `skimage.filters.laplace` (sign +1) and to minus `scipy.ndimage.laplace`,
    which has -4 there; scale 1.
    """

    @property
    def kernel(self) -> Array:
        """[3, 3]: 4 in the centre, -1 beside, above and below it."""
        return np.array([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class LaplacianOfGaussian(Spelled):
    """Second derivatives of a blurred picture; *negative* on a bright spot, unlike `Laplacian`.

    axis: `x` or `y`: the seed's one-dimensional (x² / sigma⁴ - 1 / sigma²) G(x), G the one-dimensional density, along
    one axis and without a blur across it; `both`: ((m² + n²) / sigma⁴ - 2 / sigma²) G(m, n)
    sigma, normalised, truncate: of G, as Gaussian's. Sampled and cut off, the taps do not sum to 0 exactly.
    Equal (normalised) to `scipy.ndimage.gaussian_laplace` (both) and `gaussian_filter1d(…, order=2)` (one axis):
    sign +1, scale 1, same truncation.
    """

    sigma: float = 1.4
    axis: Literal["x", "y", "both"] = "both"
    normalised: bool = True
    truncate: float = 4.0

    def __post_init__(self) -> None:
        _check_width(self.sigma, self.truncate)

    @property
    def kernel(self) -> Array:
        """[K, K] for both axes, [1, K] along x, [K, 1] along y; K as Gaussian's."""
        line = _density(self.sigma, self.truncate, self.normalised)
        curved = (_offsets(self.sigma, self.truncate) ** 2 / self.sigma**4 - 1 / self.sigma**2) * line
        if self.axis == "both":
            taps: Array = np.outer(line, curved) + np.outer(curved, line)
            return taps
        return curved[None, :] if self.axis == "x" else curved[:, None]


@dataclass(frozen=True)
class DifferenceOfGaussians(Spelled):
    """A narrow blur minus a wide one: a band of details; *positive* on a bright spot.

    narrow, wide: the sigmas, pixels, narrow < wide · normalised, truncate: of each, as Gaussian's
    Equal (normalised) to `skimage.filters.difference_of_gaussians`: sign +1, scale 1, each cut off at its own radius.
    With a small step of sigma it is about (narrow - wide) * sigma times `LaplacianOfGaussian`: the opposite sign.
    """

    narrow: float = 1.0
    wide: float = 1.6
    normalised: bool = True
    truncate: float = 4.0

    def __post_init__(self) -> None:
        _check_width(self.narrow, self.truncate)
        _check_width(self.wide, self.truncate)
        if not self.narrow < self.wide:
            raise InvalidValueError(f"narrow must be below wide, got {self.narrow} and {self.wide}: exchange them")

    @property
    def kernel(self) -> Array:
        """[K, K], K that of the wide one."""
        inner = _density(self.narrow, self.truncate, self.normalised)
        outer = _density(self.wide, self.truncate, self.normalised)
        inner = np.pad(inner, (len(outer) - len(inner)) // 2)
        taps: Array = np.outer(inner, inner) - np.outer(outer, outer)
        return taps


# -- waves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gabor(Spelled):
    """A wave under a Gaussian: f(m, n) = G(m, n) sin(2 pi (m cos omega + n sin omega) / lambda + phi).

    sigma: of the seed's density G, pixels · wavelength: lambda, pixels a wave, at least 2
    omega_deg: where the wave runs, degrees: 0 to the right, 90 down · phi_deg: its phase; 0 is odd (edges), 90 is even
    (lines), and then its taps do not sum to 0 · truncate: as Gaussian's
    Equal to the imaginary part of `skimage.filters.gabor_kernel(1 / lambda, omega, sigma_x=sigma, sigma_y=sigma,
    offset=phi)`: sign +1, scale 1; that one ends at ceil(n_stds * sigma * max(|cos|, |sin|)) pixels instead.
    OpenCV's `getGaborKernel` (the seed's "getGaborFilter" does not exist), with psi = phi - 90 degrees and gamma = 1,
    is 2 pi sigma² times this kernel, turned by half a circle because `filter2D` correlates.
    """

    sigma: float = 3.0
    wavelength: float = 8.0
    omega_deg: float = 0.0
    phi_deg: float = 0.0
    truncate: float = 4.0

    def __post_init__(self) -> None:
        _check_width(self.sigma, self.truncate)
        if not 2.0 <= self.wavelength < math.inf:
            raise InvalidValueError(
                f"wavelength must be at least 2 pixels and finite, got {self.wavelength}: pixels hold no shorter wave"
            )
        for name in ("omega_deg", "phi_deg"):
            if not math.isfinite(getattr(self, name)):
                raise InvalidValueError(f"{name} must be finite, got {getattr(self, name)}: give degrees")

    @property
    def kernel(self) -> Array:
        """[K, K], K as Gaussian's."""
        at = _offsets(self.sigma, self.truncate)
        omega, phi = math.radians(self.omega_deg), math.radians(self.phi_deg)
        along = math.cos(omega) * at[None, :] + math.sin(omega) * at[:, None]
        line = _density(self.sigma, self.truncate, normalised=False)
        wave: Array = np.outer(line, line) * np.sin(2 * math.pi * along / self.wavelength + phi)
        return wave


# -- shared -----------------------------------------------------------------------------------------------------------


def _slope(across: list[float], axis: Axis) -> Array:
    along = np.array([1.0, 0.0, -1.0])
    return np.outer(across, along) if axis == "x" else np.outer(along, across)


def _radius(sigma: float, truncate: float) -> int:
    return int(truncate * sigma + 0.5)


def _offsets(sigma: float, truncate: float) -> Array:
    radius = _radius(sigma, truncate)
    return np.arange(-radius, radius + 1, dtype=np.float64)


def _density(sigma: float, truncate: float, normalised: bool) -> Array:
    """The one-dimensional Gaussian at whole offsets; the two-dimensional one is its outer product with itself."""
    density = np.exp(-(_offsets(sigma, truncate) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    shared: Array = density / density.sum() if normalised else density
    return shared


def _check_width(sigma: float, truncate: float) -> None:
    for name, value, (least, most) in (("sigma", sigma, _SIGMAS), ("truncate", truncate, _TRUNCATES)):
        if not least <= value <= most:
            raise InvalidValueError(f"{name} must be {least:g} to {most:g}, got {value}")
    if _radius(sigma, truncate) > _LARGEST_RADIUS:
        raise InvalidValueError(
            f"truncate * sigma must be at most {_LARGEST_RADIUS} pixels, got {truncate * sigma:g}: lower one of them"
        )
