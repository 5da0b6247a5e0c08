"""`lightmeter fit`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, json_option, quiet_option, refuse_here, say, seed_option, size_option

if TYPE_CHECKING:
    from lightmeter.heads.training import Told
    from lightmeter.library.fitting import FitOptions, Fitted
    from lightmeter.library.labelled import Opened
    from lightmeter.meter.cost import Cost
    from lightmeter.metrics.ranking import VideoQuality
    from lightmeter.metrics.segments import SegmentQuality
    from lightmeter.report.progress import Progress


@click.command(
    epilog="Examples: `lightmeter fit SET/train --head moe/experts=2 --out MODEL` · `lightmeter fit .lightmeter "
    "--labels labels.csv --out MODEL --training adam/epochs=20,batch=64` · `lightmeter fit SET/train --out MODEL "
    "--class-shard 500 --training adam/clip_by=class`"
)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the model.")
@click.option("--head", default="moe/experts=2", show_default=True, help="Spec of a head for several labels.")
@click.option("--training", default="adam", show_default=True, help="Spec of how it learns.")
@click.option("--blocks", metavar="NAMES", help="Blocks to learn from, as visual,audio.  [default: all that it reads]")
@click.option(
    "--labels", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV",
    help="Lines of path,label;label (of a set: id,label;label).  [default: labels of the set, tags set by hand]",
)  # fmt: skip
@click.option(
    "--dev", default=0.0, show_default=True, type=Finite(min=0, max=1, max_open=True),
    help="Share that is kept from learning and scored at the end.",
)  # fmt: skip
@click.option(
    "--class-shard", type=click.IntRange(1), metavar="K", help="Learn K classes at a time, in the memory of K classes."
)
@click.option("--engine", help="Spec of the engine that learns shards of classes of a set, as local or ray.")
@click.option(
    "--teacher", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="MODEL",
    help="Model that adam/distil=SHARE listens to.",
)  # fmt: skip
@click.option(
    "--most-size", "most_bytes", metavar="SIZE", callback=size_option,
    help="What the model may weigh, as 1MB: weights of fewer bits, as needed.",
)  # fmt: skip
@click.option("--anew", is_flag=True, help="Begin again, and replace what stands in --out.")
@seed_option
@json_option
@quiet_option
def fit(data: Path, out: Path, **asked: Any) -> None:
    """Fit a classifier of several labels on DATA: a set made by `yt8m`, or a library.

    Of a library, every encoder's features are a block, averaged over the item. A run that was stopped or killed goes on
    when the same command is given again, and ends as if nothing had happened.
    """
    from lightmeter.library.fitting import check_out
    from lightmeter.library.labelled import open_examples
    from lightmeter.meter.cost import measure

    check_out(out)
    opened = open_examples(data, labels=asked["labels"])
    for note in opened.notes:
        say(note, quiet=asked["quiet"])
    options = _options(asked, opened)
    with measure() as meter:
        fitted, rate = _on_engine(data, out, options, asked) if asked["engine"] else _here(opened, out, options, asked)
    _show(out, fitted, opened, meter.cost, rate, asked)


def _options(asked: dict[str, Any], opened: Opened) -> FitOptions:
    from lightmeter.heads.net_head import NetHead, label_head
    from lightmeter.heads.training import Plan
    from lightmeter.library.fitting import FitOptions, with_teacher
    from lightmeter.parts import build

    if asked["engine"] and not asked["class_shard"]:
        raise click.UsageError("--engine learns shards of classes: say how large they are, with --class-shard")
    names, head = asked["blocks"], label_head(asked["head"])
    if not isinstance(head, NetHead):
        refuse_here(
            ("training", "class_shard", "engine", "teacher", "most_bytes", "seed"), f"does not go with {asked['head']}"
        )
    options = FitOptions(
        head,
        build(asked["training"], "training"),
        blocks=None if names is None else tuple(name.strip() for name in names.split(",") if name.strip()),
        dev=asked["dev"],
        seed=asked["seed"],
        anew=asked["anew"],
        plan=Plan(class_shard=asked["class_shard"]),
        most_bytes=asked["most_bytes"],
    )
    return options if asked["teacher"] is None else with_teacher(options, asked["teacher"], opened.examples)


def _here(opened: Opened, out: Path, options: FitOptions, asked: dict[str, Any]) -> tuple[Fitted, float | None]:
    """What was fitted, and examples a second."""
    from lightmeter.library.fitting import fit as run

    with _Speed(quiet=asked["quiet"]) as speed:
        return run(opened.examples, out, options, tell=speed, note=_noted(asked)), speed.examples_per_s


def _on_engine(data: Path, out: Path, options: FitOptions, asked: dict[str, Any]) -> tuple[Fitted, None]:
    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.fitting import fit_on
    from lightmeter.parts import build

    refuse_here(
        ("labels", "dev", "teacher", "most_bytes"), "does not go with --engine: learn without it, or without --engine"
    )
    with engine_progress("fit shards", quiet=asked["quiet"]) as heard:
        engine = build(asked["engine"], "engine")
        return fit_on(data, out, options, engine=engine, events=heard, note=_noted(asked)), None


def _noted(asked: dict[str, Any]) -> Callable[[str], None]:
    return lambda text: say(text, quiet=asked["quiet"])


class _Speed:
    """Hears how it goes, puts it on a line of progress, and keeps how fast it was; what takes no steps gets no line."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet, self.done, self.learnt = quiet, 0, 0
        self.line: Progress | None = None
        self.first: tuple[float, int] | None = None
        self.last_s = 0.0

    def __enter__(self) -> _Speed:
        return self

    def __exit__(self, *_: object) -> None:
        if self.line is not None:
            self.line.close()

    def __call__(self, told: Told) -> None:
        """Once or twice a second."""
        from lightmeter.heads.training import told_text
        from lightmeter.report.progress import Progress

        if self.line is None:
            self.line = Progress("fit", quiet=self.quiet)
        self.line.total = told.total
        self.line.label = f"fit ({told_text(told)})"
        self.line.advance(skipped=max(0, told.began - self.done))
        fresh = told.done - max(told.began, self.done)
        self.line.advance(ok=fresh)
        self.done, self.learnt, self.last_s = told.done, self.learnt + fresh, time.monotonic()
        self.first = self.first or (self.last_s, self.learnt)

    @property
    def examples_per_s(self) -> float | None:
        """Examples learnt from a second, from the first time it heard of any; None where it heard once."""
        if self.first is None or self.last_s <= self.first[0]:
            return None
        return (self.learnt - self.first[1]) / (self.last_s - self.first[0])


def _show(
    out: Path, fitted: Fitted, opened: Opened, cost: Cost, examples_per_s: float | None, asked: dict[str, Any]
) -> None:  # fmt: skip
    from lightmeter.library.scoring import evaluate, facts
    from lightmeter.meter.cost import measure
    from lightmeter.meter.units import bytes_text, count_text

    quality, price = None, None
    if fitted.dev is not None:
        with measure() as scoring:
            quality = evaluate(fitted.classifier, fitted.classifier.view(fitted.dev)).result()
        price = scoring.cost
    said = facts(fitted.classifier)
    if asked["as_json"]:
        dev = None if quality is None or price is None else {**quality.as_json(), "cost": price.as_json()}
        more = {"again": fitted.again, "examples": fitted.learnt_from, "examples_per_s": examples_per_s, "dev": dev}
        more["classes_lost"] = len(fitted.lost)
        emit([{"path": out, **said, **more, **opened.left_out, "cost": cost.as_json()}], "fit/1")
        return
    rate = "" if examples_per_s is None else f" · {examples_per_s:,.0f} examples/s"
    click.echo(
        f"{out}: {said['head']} of {', '.join(said['blocks'])} → {said['classes']} classes, learnt from "
        f"{fitted.learnt_from} examples{' before' if fitted.again else ''} · {bytes_text(said['size_bytes'])} · "
        f"{count_text(said['macs'])}MAC an item{rate} · {cost.text()}"
    )
    shrunk = said.get("shrunk")
    if shrunk:
        click.echo(
            f"kept as {shrunk['format']} in place of {bytes_text(shrunk['from_bytes'])}: answers differ by "
            f"{shrunk['divergence']:.3g} nats an item ({'kept from learning' if fitted.dev else 'learnt from'})"
        )
    if fitted.dev is not None and quality is not None and price is not None:
        click.echo(f"of {len(fitted.dev)} kept from learning: {quality_text(quality)} · {price.text()}")


def quality_text(quality: VideoQuality | SegmentQuality) -> str:
    """GAP and the rest in one line; MAP of rated segments."""
    from lightmeter.metrics.segments import SegmentQuality

    if isinstance(quality, SegmentQuality):
        return f"MAP {quality.map:.4f} of {quality.rated} rated pairs"
    return (
        f"GAP {quality.gap:.4f} (equal scores: {quality.gap_worst:.4f} to {quality.gap_best:.4f}) · "
        f"Hit@1 {quality.hit_at_1:.4f} · PERR {quality.perr:.4f} · mAP {quality.map:.4f}"
    )
