"""Sound to mel bands in numpy: resampling, frames, power spectra, triangles on the HTK mel scale.

A model gets the bands it was trained on: these triangles are straight on the mel scale, frames centred. Bands of
`media.sound.log_mel` are straight in hertz, and its frames begin at the first sample; neither can stand for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from lightmeter.types import Array, Sound

_CHUNK_FRAMES = 2048


@dataclass(frozen=True, slots=True)
class MelShape:
    """How sound becomes bands.

    rate_hz: sound is brought to this rate first · frame, hop: samples · low_hz, high_hz: outer edges of the triangles
    area: `peak` gives every triangle the height 1, `sum` lets its weights sum to 1
    """

    rate_hz: int
    frame: int
    hop: int
    bands: int
    low_hz: float
    high_hz: float
    area: Literal["peak", "sum"] = "peak"


def mel_power(sound: Sound, shape: MelShape) -> Array:
    """Power in each band, float32 [T, bands]; frame t is centred on sample t * hop, zeros outside the sound.

    Cost: one FFT of `frame` samples a hop; memory stays flat for the spectra, chunk by chunk.
    """
    samples = resampled(sound, shape.rate_hz)
    frames = -(-len(samples) // shape.hop)
    padded = np.pad(samples, (shape.frame // 2, shape.frame))
    window = np.hanning(shape.frame).astype(np.float32)
    triangles = mel_triangles(shape)
    power = np.empty((frames, shape.bands), np.float32)
    for start in range(0, frames, _CHUNK_FRAMES):
        stop = min(frames, start + _CHUNK_FRAMES)
        part = padded[start * shape.hop : (stop - 1) * shape.hop + shape.frame]
        views = np.lib.stride_tricks.sliding_window_view(part, shape.frame)[:: shape.hop]
        spectra = np.fft.rfft(views * window, axis=1)
        power[start:stop] = (spectra.real**2 + spectra.imag**2) @ triangles
    return power


@cache
def mel_triangles(shape: MelShape) -> Array:
    """Weights of the bands, float32 [frame // 2 + 1, bands]: straight lines on the mel scale.

    Source: mel = 1127.01048 * ln(1 + hz / 700), as HTK has it.
    """
    edges = np.linspace(_mel(shape.low_hz), _mel(shape.high_hz), shape.bands + 2)
    bins = _mel(np.fft.rfftfreq(shape.frame, 1 / shape.rate_hz))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    if shape.area == "sum":
        weights /= np.maximum(weights.sum(axis=0), 1e-12)
    return weights.astype(np.float32)


def _mel(hz: Array | float) -> Array:
    return 1127.01048 * np.log1p(np.asarray(hz, np.float64) / 700)


def resampled(sound: Sound, rate_hz: int) -> Array:
    """The samples at another rate, float32 [S']: FFmpeg's resampler; a handful of samples may leave nothing."""
    if sound.rate_hz == rate_hz or len(sound.samples) == 0:
        return sound.samples
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.samples)[None], format="flt", layout="mono")
    frame.sample_rate = sound.rate_hz
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([np.zeros(0, np.float32), *(part.to_ndarray()[0] for part in parts)])
