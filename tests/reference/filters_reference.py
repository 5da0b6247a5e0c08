"""Convolution and pooling, one number at a time, as the slides write them."""

from __future__ import annotations

import math


def outside(at, side, padding):
    """Which pixel stands at a place of an endless side, None for a zero."""
    if 0 <= at < side:
        return at
    if padding == "edge":
        return min(max(at, 0), side - 1)
    if padding == "wrap":
        return at % side
    if padding == "symmetric":
        at %= 2 * side
        return min(at, 2 * side - 1 - at)
    if padding == "reflect":
        if side == 1:
            return 0
        at %= 2 * side - 2
        return min(at, 2 * side - 2 - at)
    return None


def slid(picture, kernel, *, correlate, stride, padding, pad):
    """out[i, j] = sum of picture[i - n, j - m] kernel[n, m] (or + for a correlation), kernel's origin at its middle."""
    height, width = len(picture), len(picture[0])
    tall, wide = len(kernel), len(kernel[0])

    def pixel(row, column):
        row, column = outside(row, height, padding), outside(column, width, padding)
        return 0.0 if row is None or column is None else picture[row][column]

    out = []
    for top in range(-pad, height + pad - tall + 1, stride):
        line = []
        for left in range(-pad, width + pad - wide + 1, stride):
            total = 0.0
            for n in range(tall):
                for m in range(wide):
                    tap = kernel[n][m] if correlate else kernel[tall - 1 - n][wide - 1 - m]
                    total += pixel(top + n, left + m) * tap
            line.append(total)
        out.append(line)
    return out


def gabor(m, n, *, sigma, omega, wavelength, phi):
    """The slide's formula."""
    density = math.exp(-(m * m + n * n) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    return density * math.sin(2 * math.pi * (math.cos(omega) * m + math.sin(omega) * n) / wavelength + phi)


def windows(picture, size, stride, how):
    """The largest or the mean of each whole window."""
    out = []
    for top in range(0, len(picture) - size + 1, stride):
        line = []
        for left in range(0, len(picture[0]) - size + 1, stride):
            seen = [picture[top + n][left + m] for n in range(size) for m in range(size)]
            line.append(max(seen) if how == "max" else sum(seen) / len(seen))
        out.append(line)
    return out
