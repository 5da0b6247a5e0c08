"""Statistics of log-mel bands: the cheapest sound encoder, for finding the same sound again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.encoders.mel import resampled
from lightmeter.encoders.protocol import Takes, checked, stacked, unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.media.sound import log_mel
from lightmeter.parts import Spelled
from lightmeter.types import Array, Sound

_RATE_HZ, _WINDOW_S, _STEP_S = 16_000, 0.032, 0.016
_FLOOR = np.log(1e-6)  # what log_mel gives an empty band: 60 dB below a sound brought to full scale
_STATISTICS = 6


@dataclass(frozen=True)
class LogMel(Spelled):
    """How loud each band is, how much it varies and how fast: no matter how loud the whole is.

    encode: N sounds -> float32 [N, 6 * bands], rows of length 1; silence gives a row of zeros.
    Six blocks: mean, standard deviation, 10 %, 50 % and 90 % quantiles over time, and the standard deviation of the
    change from frame to frame. Sounds are brought to one rate and one loudness first, levels end 60 dB below the
    loudest moments (coders and resamplers change what lies deeper), and every block is centred over its bands, so that
    cosines compare shapes.
    Cost: one FFT of 512 samples each 16 ms; no weights.
    Source: Tzanetakis & Cook, "Musical genre classification of audio signals", IEEE TSAP 2002 (statistics of spectral
    features over time); bands and blocks are ours.

    bands: triangles on the mel scale up to 8 kHz, 8 to 128
    """

    bands: int = 64

    def __post_init__(self) -> None:
        if not 8 <= self.bands <= 128:
            raise InvalidValueError(f"bands must be 8 to 128, got {self.bands}")

    @property
    def dim(self) -> int:
        """Six statistics a band."""
        return _STATISTICS * self.bands

    @property
    def takes(self) -> Takes:
        """Sounds of any rate and length."""
        return "sound"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "second of sound"

    @property
    def macs(self) -> int:
        """The triangles; the FFT is no matrix product."""
        return round(1 / _STEP_S) * (round(_WINDOW_S * _RATE_HZ) // 2 + 1) * self.bands

    @property
    def size_bytes(self) -> int:
        """There are no weights."""
        return 0

    def load(self) -> None:
        """There is nothing to load."""

    def encode(self, items: Sequence[Sound]) -> Array:
        """N sounds -> float32 [N, 6 * bands]."""
        return unit_rows(stacked([self._statistics(each) for each in checked(items, Sound, "log-mel")], self.dim))

    def _statistics(self, sound: Sound) -> Array:
        loud = even_loudness(sound)
        if loud is None:
            return np.zeros(self.dim, np.float32)
        levels = log_mel(loud, bands=self.bands, window_s=_WINDOW_S, step_s=_STEP_S)
        heard = np.flatnonzero(levels.max(axis=1) > _FLOOR + 1)
        levels = levels[heard[0] : heard[-1] + 1] if len(heard) else levels
        change = np.diff(levels, axis=0) if len(levels) > 1 else np.zeros_like(levels)
        blocks = [
            levels.mean(axis=0),
            levels.std(axis=0),
            *np.quantile(levels, [0.1, 0.5, 0.9], axis=0),
            change.std(axis=0),
        ]
        return np.concatenate([block - block.mean() for block in blocks]).astype(np.float32)


def even_loudness(sound: Sound) -> Sound | None:
    """The sound at 16 kHz, scaled so that its loudest moments have a power of 1; None where there is silence only.

    The loudest moments are the 99 % quantile of the power in pieces of 16 ms: one click does not move it much.
    """
    samples = np.nan_to_num(resampled(sound, _RATE_HZ))
    step = round(_STEP_S * _RATE_HZ)
    pieces = np.pad(samples, (0, -len(samples) % step)).reshape(-1, step).astype(np.float64)
    power = float(np.quantile((pieces**2).mean(axis=1), 0.99)) if len(pieces) else 0.0
    if power < 1e-12:
        return None
    return Sound((samples / np.sqrt(power)).astype(np.float32), _RATE_HZ)
