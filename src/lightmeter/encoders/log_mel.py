"""Statistics of log-mel bands: the cheapest sound encoder, for finding the same sound again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.encoders.mel import MelShape, mel_power
from lightmeter.encoders.protocol import Takes, checked, stacked, unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array, Sound

RANGE_DB = 60.0
"""How far below the loudest moments a band still counts: coders and resamplers change what lies deeper."""

_RATE_HZ, _FRAME, _HOP = 16_000, 512, 256
_STATISTICS = 6


@dataclass(frozen=True)
class LogMel(Spelled):
    """How loud each band is, how much it varies and how fast: no matter how loud the whole is.

    encode: N sounds -> float32 [N, 6 * bands], rows of length 1; silence gives a row of zeros.
    Six blocks: mean, standard deviation, 10 %, 50 % and 90 % quantiles over time, and the standard deviation of the change
    from frame to frame. Levels are in dB below the sound's loudest moments, cut at 60 dB; every block is centred over its
    bands, so that cosines compare shapes.
    Cost: one FFT of 512 samples each 16 ms; no weights.
    Source: Tzanetakis & Cook, "Musical genre classification of audio signals", IEEE TSAP 2002 (statistics of spectral
    features over time); bands and blocks are ours.

    bands: triangles on the mel scale between 60 and 7,600 Hz, 8 to 128
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
        return _RATE_HZ // _HOP * (_FRAME // 2 + 1) * self.bands

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
        shape = MelShape(_RATE_HZ, _FRAME, _HOP, self.bands, low_hz=60.0, high_hz=7600.0)
        levels = levels_db(mel_power(sound, shape))
        if len(levels) == 0:
            return np.zeros(self.dim, np.float32)
        change = np.diff(levels, axis=0) if len(levels) > 1 else np.zeros_like(levels)
        blocks = [levels.mean(axis=0), levels.std(axis=0), *np.quantile(levels, [0.1, 0.5, 0.9], axis=0), change.std(axis=0)]
        return np.concatenate([block - block.mean() for block in blocks]).astype(np.float32)


def levels_db(power: Array) -> Array:
    """Band powers [T, B] as dB below the loudest moments, float32 [T', B] in -RANGE_DB..; silent ends are left out.

    The reference is the 99 % quantile of the frames' total power: one click does not change it, a gain does not either.
    """
    totals = power.sum(axis=1)
    reference = float(np.quantile(totals, 0.99)) if len(totals) else 0.0
    if reference <= 1e-12:
        return np.zeros((0, power.shape[1]), np.float32)
    floor = reference * 10 ** (-RANGE_DB / 10)
    heard = np.flatnonzero(totals > floor)
    kept = power[heard[0] : heard[-1] + 1]
    levels: Array = 10 * np.log10(np.maximum(kept, floor / power.shape[1]) / reference)
    return levels
