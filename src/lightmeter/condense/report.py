"""The page about a condensed set: what is kept, at which price, beside what, and what the pictures look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.condense.answering import BASELINE, Answer, shown
from lightmeter.condense.attempts import Attempt, compared_hits
from lightmeter.condense.feature_map import drawn_map, outlier_map
from lightmeter.condense.near_copies import Neighbours
from lightmeter.condense.planning import Plan, beside
from lightmeter.condense.reading import Finding
from lightmeter.errors import MissingExtraError
from lightmeter.meter.cost import cpu_text
from lightmeter.metrics.bootstrap import Interval
from lightmeter.report.page import Page
from lightmeter.report.pictures import png_bytes
from lightmeter.report.plots import curves_png, frontier_png
from lightmeter.types import Array

_MOST_CLASSES, _MOST_A_CLASS, _MOST_FINDINGS = 20, 10, 60
_TILE, _GAP = 72, 4
_CAPTION = (
    "Every method that was tried; prices hold all that was learnt for it. Best on test is the best look at all "
    "pictures held out, as papers report it"
)
_PAPER = 250


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What the page is made of besides the answer.

    findings: of single files · near: the kept set's nearest real pictures · plan, took_s: what was expected of each
    phase, and seconds by the clock that it took
    """

    findings: Sequence[Finding]
    near: Neighbours
    plan: Plan
    took_s: Mapping[str, float]


def report_page(answer: Answer, told: Told) -> Page:
    """The whole page.  Cost: a few CPU-seconds, most for the map; about 0.5 MB."""
    kept = answer.kept
    page = Page(f"{kept.per_class} pictures a class", subtitle=headline(answer))
    for note in (*answer.notes, *kept.small.notes):
        page.text(note)
    page.heading("Methods").text(how_scored(answer), style="note")
    page.table(rows_of(answer), caption=_CAPTION)
    _across(page, answer)
    for method, why in answer.not_run.items():
        page.text(f"{shown(method)}: not run, {why}", style="note")
    _plots(page, answer)
    page.heading("Pictures")
    _grids(page, answer)
    _near(page, kept, told.near)
    if answer.options.auto:  # it takes seconds, which one quick method does not
        page.heading("Outliers")
        _map(page, answer)
    _findings(page, told.findings)
    page.heading("Price").table(beside(told.plan, told.took_s), caption="Seconds by the clock, planned and taken")
    return page


def headline(answer: Answer) -> str:
    """What is kept, and what it keeps: one sentence with figures, intervals and price."""
    kept = answer.kept
    own, less = answer.intervals(kept)
    kind = "a made set" if kept.makes else "a coreset: pictures of your own"
    against = "" if less is None else f", {_points(less)} points to random"
    share = f", {100 * own.value / answer.full:.0f} % of the {answer.full:.3f} that all give" if answer.full else ""
    return (
        f"{kept.name} keeps {len(kept.small):,} of {len(answer.split.learn):,} pictures ({kind}): accuracy "
        f"{own.value:.3f} ({own.low:.3f} to {own.high:.3f}){against}{share} · made at {cpu_text(kept.price.cpu_s)}"
    )


def _points(less: Interval) -> str:
    return f"{100 * less.value:+.1f} ({100 * less.low:+.1f} to {100 * less.high:+.1f})"


def how_scored(answer: Answer) -> str:
    """What the accuracies are of."""
    options, held, told = answer.options, len(answer.split.held), len(answer.reported)
    seeds = "one seed" if options.seeds == 1 else f"mean of {options.seeds} seeds"
    rough = " A rough figure: --protocol quick --seeds 3 gives a better one." if options.rough else ""
    chose = f"; methods are chosen by {held - told:,} of them and told by the other {told:,}" if told < held else ""
    return (
        f"Accuracy of students after their last step, protocol {options.protocol}, {seeds}, on {held:,} pictures that "
        f"were held out from everything{chose}. Intervals are of 95 % over pictures and seeds.{rough}"
    )


def facts_of(answer: Answer, attempt: Attempt) -> dict[str, Any]:
    """An attempt for programs: shares from 0 to 1, CPU-seconds."""
    own, less = answer.intervals(attempt)
    return {
        "method": attempt.method, "per_class": attempt.per_class, "pictures": len(attempt.small),
        "makes_pictures": attempt.makes, "accuracy": own.value, "low": own.low, "high": own.high,
        "deviation": attempt.deviation(answer.reported) if len(attempt.hits) > 1 else None,
        "over_random": None if less is None else [less.value, less.low, less.high],
        "of_full": own.value / answer.full if answer.full else None, "best_on_test": float(attempt.best.mean()),
        "price": attempt.price.as_json(), "learning": attempt.learning.as_json(), "kept": attempt is answer.kept,
    }  # fmt: skip


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """A row an attempt, for tables."""
    return [_row(answer, each) for each in answer.attempts]


def _row(answer: Answer, attempt: Attempt) -> dict[str, Any]:
    own, less = answer.intervals(attempt)
    return {
        "method": shown(attempt.method), "a class": attempt.per_class, "accuracy": own.value,
        "95 %": f"{own.low:.3f} to {own.high:.3f}",
        "± seeds": attempt.deviation(answer.reported) if len(attempt.hits) > 1 else None,
        "to random": None if less is None else _points(less), "best on test": float(attempt.best.mean()),
        "kind": "made" if attempt.makes else "coreset", "CPU-s to make": attempt.price.cpu_s,
        "CPU-s to learn": attempt.learning.cpu_s, "kept": "yes" if attempt is answer.kept else "",
    }  # fmt: skip


def across_of(answer: Answer) -> list[dict[str, Any]]:
    """Other students: what they learn from the kept set, beside the baseline of its budget."""
    rows, told = [], answer.reported
    for student, (mine, base) in answer.across.items():
        own, less = compared_hits([base.hits[:, told], mine.hits[:, told]], seed=answer.options.seed)[1]
        assert less is not None, "the second of two has a difference"
        rows.append({
            "student": student, "accuracy": own.value, "95 %": f"{own.low:.3f} to {own.high:.3f}",
            "to random": _points(less), "CPU-s to learn": mine.learning.cpu_s,
        })  # fmt: skip
    return rows


def _across(page: Page, answer: Answer) -> None:
    rows = across_of(answer)
    if rows:
        page.table(rows, caption=f"{answer.kept.name} × {answer.kept.per_class}, learnt by other networks")
    else:
        page.text("Other networks: not run; --student asks for them.", style="note")


def _plots(page: Page, answer: Answer) -> None:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    bands: dict[str, tuple[list[float], list[float]]] = {}
    for attempt in answer.attempts:
        own = answer.intervals(attempt)[0]
        x, y = curves.setdefault(attempt.name, ([], []))
        x.append(attempt.per_class)
        y.append(own.value)
        if attempt.name in (BASELINE, answer.kept.name):  # more bands than two hide one another
            low, high = bands.setdefault(attempt.name, ([], []))
            low.append(own.low)
            high.append(own.high)
    if len({each.per_class for each in answer.attempts}) > 1:
        plot = curves_png(curves, x_label="pictures a class", y_label="accuracy", bands=bands)
        page.picture(plot, "Accuracy by pictures a class; 95 % intervals of what is kept and of random")
    own_budget = [answer.trial(each) for each in answer.attempts if each.per_class == answer.kept.per_class]
    if len(own_budget) > 1:
        page.picture(frontier_png(own_budget), "Accuracy by the price of making the set, at the budget that is kept")


def _grids(page: Page, answer: Answer) -> None:
    """A row of what is kept of each class, and below it of the best made set, where pictures were made too."""
    kept, told = answer.kept, answer.reported
    made = [each for each in answer.attempts if each.makes and each.per_class == kept.per_class and each is not kept]
    shown_too = max(made, key=lambda each: each.accuracy(told), default=None)
    below = "" if shown_too is None else f"; below, of {shown_too.name}"
    labels = np.unique(kept.small.labels).tolist()
    for label in labels[:_MOST_CLASSES]:
        own = kept.small.images[kept.small.labels == label]
        rows = [strip(own[:_MOST_A_CLASS])]
        if shown_too is not None:
            rows.append(strip(shown_too.small.images[shown_too.small.labels == label][:_MOST_A_CLASS]))
        said = f"{answer.split.learn.classes[label]}: {min(len(own), _MOST_A_CLASS)} of {len(own)}{below}"
        page.picture(png_bytes(_stacked(rows)), said)
    if len(labels) > _MOST_CLASSES:
        page.text(f"{len(labels) - _MOST_CLASSES} more classes are not shown", style="note")


def _stacked(rows: Sequence[Array]) -> Array:
    """Pictures below one another, a gap between them."""
    width, height = max(each.shape[1] for each in rows), sum(len(each) + _GAP for each in rows) - _GAP
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    top = 0
    for each in rows:
        canvas[top : top + len(each), : each.shape[1]] = each
        top += len(each) + _GAP
    return canvas


def strip(images: Array) -> Array:
    """Pictures in a row, each as large as fits 72 pixels by whole multiples: uint8 [H, W, 3]."""
    height, width = images.shape[1:3]
    times = max(1, _TILE // max(height, width))
    canvas = np.full((height * times, len(images) * (width * times + _GAP) - _GAP, 3), _PAPER, np.uint8)
    for at, picture in enumerate(images):
        left = at * (width * times + _GAP)
        canvas[:, left : left + width * times] = picture.repeat(times, axis=0).repeat(times, axis=1)
    return canvas


def _near(page: Page, kept: Attempt, near: Neighbours) -> None:
    if not kept.makes:
        page.text("Every picture is one of your own; provenance.json names its file.", style="note")
        return
    among = "of its class" if near.own_class else "of all"
    page.text(
        f"{int(near.near.sum())} of {len(near.near)} made pictures are near copies of a real one: nearer to the "
        f"nearest {among} than half the usual distance of real pictures ({near.limit:.3f}). Distances are of pixels, "
        "so this is no promise of privacy; provenance.json names the nearest picture of each."
    )


def _map(page: Page, answer: Answer) -> None:
    learn = answer.split.learn
    try:
        made = outlier_map(learn, answer.bench.features("teacher"), seed=answer.options.seed)
    except MissingExtraError as error:
        page.text(f"The map of features is not drawn: {error}", style="empty")
        return
    shown = np.concatenate([drawn_map(made, outliers=True), drawn_map(made, outliers=False)], axis=1)
    page.picture(
        png_bytes(shown),
        f"t-SNE of {len(made.labels)} pictures, by what a network that learnt them sees; left all, crosses the "
        f"{int((~made.kept).sum())} that a Local Outlier Factor at 0.1 finds, right without them",
    )


def _findings(page: Page, findings: Sequence[Finding]) -> None:
    page.heading("Files with something to be said")
    if not findings:
        page.text("None.", style="empty")
        return
    counts = Counter((each.what, each.used) for each in findings)
    said = ", ".join(f"{n:,} {what} ({'used' if used else 'left out'})" for (what, used), n in sorted(counts.items()))
    page.text(said)
    rows = [{"file": each.name, "what": each.what, "used": each.used, "why": each.detail} for each in findings]
    page.table(rows[:_MOST_FINDINGS])
    if len(rows) > _MOST_FINDINGS:
        page.text(f"{len(rows) - _MOST_FINDINGS} more stand in findings.jsonl", style="note")
