"""Numbers as people read them: three digits, one unit, never more exact than they are."""

from __future__ import annotations

import math

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")
_COUNTS = ("", "k", "M", "G", "T", "P")


def bytes_text(size_bytes: float) -> str:
    """Bytes in decimal units (1 kB = 1000 B).

    >>> bytes_text(0), bytes_text(999), bytes_text(312_400_000)
    ('0 B', '999 B', '312 MB')
    """
    return _scaled(size_bytes, _BYTES)


def count_text(count: float) -> str:
    """A large count, such as MACs, in decimal steps.

    >>> count_text(407_000_000), count_text(12)
    ('407 M', '12')
    """
    return _scaled(count, _COUNTS)


def seconds_text(seconds: float) -> str:
    """A duration: fine below a minute, clock-like above.

    >>> seconds_text(0.84), seconds_text(0.0123), seconds_text(75), seconds_text(3 * 3600 + 125)
    ('0.84 s', '12.3 ms', '1 min 15 s', '3 h 02 min')
    """
    if not math.isfinite(seconds):
        return "? s" if math.isnan(seconds) else f"{'-' if seconds < 0 else ''}∞ s"
    if seconds < 0:
        return f"-{seconds_text(-seconds)}"
    if seconds == 0:
        return "0 s"
    if seconds < 59.95:
        return _below_a_minute(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24:02d} h"


def _below_a_minute(seconds: float) -> str:
    for limit, factor, unit in ((0.9995e-6, 1e9, "ns"), (0.9995e-3, 1e6, "µs"), (0.09995, 1e3, "ms")):
        if seconds < limit:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def ratio_text(ratio: float) -> str:
    """How many times more (or less) something is.

    >>> ratio_text(2.5), ratio_text(0.125), ratio_text(140)
    ('2.50 ×', '0.125 ×', '140 ×')
    """
    return f"{_three_digits(ratio)} ×" if math.isfinite(ratio) else "? ×"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    if not math.isfinite(value):
        return f"? {units[0]}".strip()
    if value < 0:
        return f"-{_scaled(-value, units)}"
    step = 0
    while step < len(units) - 1 and value >= 999.5:
        value, step = value / 1000, step + 1
    number = f"{value:.0f}" if step == 0 and value == int(value) else _three_digits(value)
    return f"{number} {units[step]}".rstrip()


def _three_digits(value: float) -> str:
    size = abs(value)
    if size >= 99.95 or size == 0:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.9995 else f"{value:.3g}"
