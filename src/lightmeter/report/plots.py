"""Plots as PNG: frontiers, curves and bars, in the colours of the page. matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.meter.trials import Frontier, Trial
from lightmeter.report.text import bytes_text, clean, clip_text, seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAPER, _INK, _SOFT, _LINE, _AMBER = "#fdfbf7", "#26241f", "#6b6557", "#ddd6c8", "#c9881f"
_COLORS = (_AMBER, "#3f6b74", "#8c4a3c", "#6d7f3a", "#5d5078", _SOFT)
_MARKERS = "osD^vP"
_RATIO_FOR_LOG = 20
_RATIO_FOR_DECADES = 500
_AXIS_NAMES = {
    "cpu_s": "CPU time",
    "wall_s": "time by the clock",
    "gpu_s": "GPU time",
    "peak_bytes": "most memory held, bytes",
    "gpu_peak_bytes": "most GPU memory held, bytes",
    "read_bytes": "bytes read",
    "size_bytes": "bytes of files",
    "macs": "multiply-adds",
    "joules": "joules",
}
_STYLE: Any = {
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.facecolor": _PAPER,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": _PAPER,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def frontier_png(
    trials: Sequence[Trial], path: Path | str | None = None, *, price: str = "cpu_s", title: str = ""
) -> bytes:
    """Quality over price: all trials as dots, the frontier joined by steps, its points named. PNG bytes, also written.

    Whiskers are the quartiles of repeats where there are any. The price is on a log scale when it spans a factor of 20.
    """
    if not trials:
        raise InvalidValueError("a frontier plot must have at least one trial, got none")
    points = Frontier(trials, price).points
    beaten = [trial for trial in trials if trial not in points]
    with _figure(title, _AXIS_NAMES.get(price, price), trials[0].quality_name) as (figure, axes):
        axes.plot(_prices(points, price), _qualities(points), color=_AMBER, lw=1.2, drawstyle="steps-post", zorder=2)
        axes.plot(_prices(beaten, price), _qualities(beaten), "o", mfc=_PAPER, mec=_SOFT, ms=6, zorder=3)
        axes.plot(_prices(points, price), _qualities(points), "o", color=_AMBER, ms=8, zorder=4)
        _whiskers(axes, trials, price)
        _log_when_wide(axes, _prices(trials, price))
        axes.xaxis.set_major_formatter(_number_of(price))
        axes.margins(x=0.18, y=0.15)
        _name_points(figure, axes, trials, price, strong=points)
        return _png(figure, path)


def curves_png(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: Path | str | None = None,
    *,
    x_label: str = "",
    y_label: str = "",
    title: str = "",
    y_log: bool = False,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> bytes:
    """Lines, name → (x, y) of equal length; each with its own colour or dashes. PNG bytes, also written to `path`.

    y_log: a log scale, where y is above 0; what is 0 falls off the plot
    bands: name of a curve → (low, high), as long as it: shaded around it; none where these are NaN
    """
    if not curves:
        raise InvalidValueError("a plot must have at least one curve, got none")
    for name, (x, y) in curves.items():
        if len(x) != len(y):
            raise InvalidValueError(f"x and y of curve {name!r} must be equally long, got {len(x)} and {len(y)}")
    with _figure(title, x_label, y_label) as (figure, axes):
        for index, (name, (x, y)) in enumerate(curves.items()):
            color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
            shown = marker if len(x) <= 40 else ""
            style = "-" if index < len(_COLORS) else "--"  # colours come round again
            axes.plot(np.asarray(x), np.asarray(y), style, color=color, marker=shown, ms=4, lw=1.6, label=_label(name))
            if bands and name in bands:
                low, high = bands[name]
                axes.fill_between(np.asarray(x), np.asarray(low), np.asarray(high), color=color, alpha=0.18, lw=0)
        if y_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_number)
        if len(curves) > 1:
            axes.legend()
        return _png(figure, path)


def bars_png(
    values: Mapping[str, float],
    path: Path | str | None = None,
    *,
    label: str = "",
    title: str = "",
    errors: Mapping[str, tuple[float, float]] | None = None,
) -> bytes:
    """Horizontal bars, name → value, from top to bottom. errors: name → (low, high) ends of a whisker."""
    if not values:
        raise InvalidValueError("a plot must have at least one bar, got none")
    with _figure(title, label, "", height=1.0 + 0.38 * len(values)) as (figure, axes):
        places = np.arange(len(values))[::-1]
        axes.barh(places, list(values.values()), height=0.62, color=_AMBER)
        axes.set_yticks(places, [_label(name) for name in values])
        axes.grid(visible=False, axis="y")
        for name, place in zip(values, places, strict=True):
            if errors and name in errors:
                axes.plot(errors[name], (place, place), color=_INK, lw=1.2)
        return _png(figure, path)


@contextmanager
def _figure(title: str, x_label: str, y_label: str, *, height: float = 4.0) -> Iterator[tuple[Figure, Axes]]:
    """A figure without pyplot: nothing global is kept, so there is nothing to close; freed when it goes out of use."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # such characters show as boxes
        figure = Figure(figsize=(7.2, height), dpi=144, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True)
        axes.tick_params(length=0)
        axes.set(title=_label(title, 90), xlabel=_label(x_label, 90), ylabel=_label(y_label, 60))
        yield figure, axes


def _png(figure: Figure, path: Path | str | None) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png")
    if path is not None:
        write_whole(path, out.getvalue())
    return out.getvalue()


def _label(text: str, width: int = 40) -> str:
    """Text for a plot. A leading underscore would hide a line from the legend."""
    shown = clip_text(clean(text), width)
    return f"\u200a{shown}" if shown.startswith("_") else shown


def _number(value: float, _position: float = 0.0) -> str:
    return f"{value:g}"


def _bytes(value: float, _position: float = 0.0) -> str:
    return bytes_text(value)


def _seconds(value: float, _position: float = 0.0) -> str:
    """As `seconds_text`, without zeros at the end.

    >>> _seconds(2e-5), _seconds(1.5), _seconds(75)
    ('20 µs', '1.5 s', '1 min 15 s')
    """
    number, _, unit = seconds_text(value).partition(" ")
    return seconds_text(value) if " " in unit else f"{float(number):g} {unit}"


def _number_of(price: str) -> Callable[[float, float], str]:
    """How the numbers of a price are written along its axis."""
    if price.endswith("_bytes"):
        return _bytes
    return _seconds if price.endswith("_s") else _number


def _prices(trials: Sequence[Trial], price: str) -> list[float]:
    return [trial.price(price) for trial in trials]


def _qualities(trials: Sequence[Trial]) -> list[float]:
    return [trial.quality for trial in trials]


def _whiskers(axes: Axes, trials: Sequence[Trial], price: str) -> None:
    for trial in trials:
        if spread := trial.spreads.get(price):
            axes.plot((spread.low, spread.high), (trial.quality, trial.quality), color=_SOFT, lw=1, zorder=1)


def _log_when_wide(axes: Axes, prices: Sequence[float]) -> None:
    if min(prices) > 0 and max(prices) / min(prices) >= _RATIO_FOR_LOG:
        from matplotlib.ticker import LogLocator, NullLocator

        axes.set_xscale("log")
        crowded = max(prices) / min(prices) >= _RATIO_FOR_DECADES
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())


_PLACES = [
    (dx, dy, side)
    for step in range(8)
    for dx, side in ((6, "left"), (-6, "right"))
    for dy in (5 + 12 * step, -14 - 12 * step)
]
"""Where a name may stand beside its point, in points of the page, best first."""
_DOT = 7
"""Half the side of a dot's place, in pixels of the page."""


def _name_points(figure: Figure, axes: Axes, trials: Sequence[Trial], price: str, *, strong: Sequence[Trial]) -> None:
    """Names beside the dots, the frontier's first and in ink, each where it hides no other and no dot and stays inside.

    With more than 12 trials only the frontier's.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # settles the layout, so that extents are known
    inside = axes.get_window_extent()
    dots = axes.transData.transform([(trial.price(price), trial.quality) for trial in trials])
    taken: list[Any] = [Bbox.from_extents(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots]
    named = trials if len(trials) <= 12 else strong
    for trial in sorted(named, key=lambda each: each not in strong):
        for dx, dy, side in _PLACES:
            name = axes.annotate(
                _label(trial.candidate), (trial.price(price), trial.quality), (dx, dy), textcoords="offset points",
                ha=side, fontsize=8.5, color=_INK if trial in strong else _SOFT,
            )  # fmt: skip
            box = name.get_window_extent()
            if inside.x0 <= box.x0 and box.x1 <= inside.x1 and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy, side) != _PLACES[-1]:
                name.remove()
        taken.append(box)
