"""`lightmeter segment fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, given_here, json_option, quiet_option, refuse_here, say, seed_option
from lightmeter.cli.segment_data import data_options, opened

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.fitting import MaskTold
    from lightmeter.library.segmenting import Candidate, FittedSegmenter, Listener, SegmentOptions
    from lightmeter.meter.cost import Cost
    from lightmeter.meter.trials import Trial
    from lightmeter.report.progress import Progress

_OF_SWEEP = ("how", "draws")
DEFAULT_ENCODER = "future-codes/maps=[stride2,stride4,stride8]"
DEFAULT_HEAD = "multi-scale/stride=4,width=32,blocks=2"


@click.command(
    epilog="Examples: `lightmeter segment fit FRAMES MASKS --out MODEL` · `lightmeter segment fit street.mp4 motion "
    "--out MODEL --size 96x128` · `lightmeter segment fit CLIPS robot --out MODEL --sweep 'lr=0.01;0.003' --sweep "
    "'loss=mask-dice;mask-bce'` · `lightmeter segment fit FRAMES MASKS --out MODEL --encoder future-codes --encoder "
    "lite-maps --head linear-patch --head fc-conv --at-least 0.8`"
)
@click.argument("frames", type=click.Path(path_type=Path, exists=True))
@click.argument("masks")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the model.")
@click.option(
    "--encoder", "encoders", multiple=True, metavar="SPEC", default=(DEFAULT_ENCODER,), show_default=True,
    help="Dense encoder (repeatable: the best of them is kept).",
)  # fmt: skip
@click.option(
    "--head", "heads", multiple=True, metavar="SPEC", default=(DEFAULT_HEAD,), show_default=True,
    help="Mask head (repeatable).",
)  # fmt: skip
@click.option("--training", default="mask-training", show_default=True, metavar="SPEC", help="How the head learns.")
@click.option(
    "--valid", default=0.2, show_default=True, type=Finite(min=0, max=1, max_open=True), metavar="SHARE",
    help="Share of the groups held out, for the threshold and the choice; 0: none.",
)  # fmt: skip
@click.option(
    "--sweep", "sweeps", multiple=True, metavar="OPTION=A;B",
    help="Values of an option of head or training to try first (repeatable).",
)  # fmt: skip
@click.option(
    "--how", default="grid", show_default=True, type=click.Choice(["grid", "random", "halving"]),
    help="Of --sweep: all of them, --draws of them, or those with few steps, the best with more.",
)  # fmt: skip
@click.option("--draws", default=16, show_default=True, type=click.IntRange(1), help="Of --how random and halving.")
@click.option("--at-least", type=Finite(), metavar="IOU", help="Keep the cheapest that reaches this IoU.")
@click.option("--within", type=Finite(min=0), metavar="COST", help="Keep the best whose --price is no more than this.")
@click.option(
    "--price", default="cpu_s", show_default=True, type=click.Choice(["cpu_s", "macs", "size_bytes"]),
    help="What candidates are compared by: CPU-seconds or multiply-adds a frame, or bytes kept.",
)  # fmt: skip
@data_options
@click.option("--anew", is_flag=True, help="Replace what stands in --out; a stopped run of the same goes on.")
@seed_option
@json_option
@quiet_option
def fit(frames: Path, masks: str, out: Path, **asked: Any) -> None:
    """Fit a segmenter on FRAMES and MASKS: pictures, videos or clips, and what is foreground in them.

    MASKS is a folder of mask pictures, a mask video, a JSON file (`segment predict`'s, COCO's), or a word: `motion` for
    what moves before a fixed camera; of simulated clips `robot`, `objects` or `moving`. Frames are split by group, so
    that none of a scene that was learnt from is scored. A stopped run goes on when the same command is given again.
    """
    from lightmeter.encoders.dense_cache import FeatureCache
    from lightmeter.library.segmenting import check_segment_out, fit_masks
    from lightmeter.meter.cost import measure

    check_segment_out(out)
    if not asked["sweeps"]:
        refuse_here(_OF_SWEEP, "is for --sweep: name options to try")
    if asked["how"] == "grid":
        refuse_here(("draws",), "is for --how random or halving")
    if len(asked["encoders"]) * len(asked["heads"]) == 1 and not given_here(("at_least", "within")):
        refuse_here(("price",), "is for several candidates, --at-least or --within")
    options = _options(asked)
    with measure() as meter, _Heard(quiet=asked["quiet"]) as heard:
        reading = opened(frames, masks, asked)
        for note in reading.notes:
            say(note, quiet=asked["quiet"])
        made = fit_masks(reading.value, out, options, cache=FeatureCache(), listener=heard.listener())
    _show(out, made, options, meter.cost, asked)


def _options(asked: dict[str, Any]) -> SegmentOptions:
    from lightmeter.library.segmenting import SegmentOptions, sweep_of
    from lightmeter.parts import build

    sweep = sweep_of(asked["sweeps"], asked["how"], asked["draws"], asked["seed"]) if asked["sweeps"] else None
    return SegmentOptions(
        tuple(asked["encoders"]), tuple(asked["heads"]), build(asked["training"], "mask-training"), asked["valid"],
        asked["seed"], sweep, asked["at_least"], asked["within"], asked["price"], asked["anew"],
    )  # fmt: skip


class _Heard:
    """Hears how it goes, and puts it on a line of progress: one of steps a candidate, one of trials a sweep."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet, self.done, self.label = quiet, 0, "fit"
        self.line: Progress | None = None

    def __enter__(self) -> _Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line."""
        if self.line is not None:
            self.line.close()
        self.line, self.done = None, 0

    def listener(self) -> Listener:
        """What `fit_masks` calls."""
        from lightmeter.library.segmenting import Listener

        return Listener(self._candidate, self._step, self._trial)

    def _candidate(self, number: int, total: int, name: str) -> None:
        self.close()
        self.label = "fit" if total == 1 else f"fit {number}/{total}"
        if total > 1:
            say(f"{number}/{total}: {name}", quiet=self.quiet)

    def _opened(self, label: str, total: int) -> Progress:
        from lightmeter.report.progress import Progress

        if self.line is None:
            self.line = Progress(label, total, quiet=self.quiet)
        self.line.label = label
        return self.line

    def _step(self, told: MaskTold) -> None:
        line = self._opened(f"{self.label} (loss {told.loss:.3g}, IoU of the batch {told.iou:.3f})", told.steps)
        line.advance(skipped=max(0, told.began - self.done))
        line.advance(ok=told.step - max(told.began, self.done))
        self.done = told.step
        if told.step == told.steps:
            self.close()

    def _trial(self, trial: Trial, number: int, total: int) -> None:
        line = self._opened(f"{self.label} sweep (IoU {trial.quality:.3f})", total)
        line.advance(ok=1)
        if number == total:
            self.close()


def _show(out: Path, made: FittedSegmenter, options: SegmentOptions, cost: Cost, asked: dict[str, Any]) -> None:
    from lightmeter.library.segmenting import segmenter_facts
    from lightmeter.meter.units import bytes_text, count_text

    facts, frontier = segmenter_facts(made.segmenter), made.frontier(options.price)
    if asked["as_json"]:
        rows = [_row(each, frontier is not None and each.trial in frontier) for each in made.candidates]
        row = {"path": out, **facts, "frames": made.frames, "held_out": made.held_out, "again": made.again}
        emit([{**row, "candidates": rows, "cost": cost.as_json()}], "segment.fit/1")
        return
    if len(made.candidates) > 1:
        _show_candidates(made, options)
    click.echo(
        f"{out}: {facts['head'].partition('/')[0]} on {facts['encoder'].partition('/')[0]} at {facts['height']} × "
        f"{facts['width']}, learnt from {made.frames} frames{' before' if made.again else ''} · "
        f"{count_text(facts['head_parameters'])} numbers learnt, {bytes_text(facts['size_bytes'])} · "
        f"{count_text(facts['macs'])}MAC a frame · {cost.text()}"
    )
    click.echo(_validation(made, facts))


def _validation(made: FittedSegmenter, facts: dict[str, Any]) -> str:
    """What the held-out frames say, with its price."""
    kept = made.chosen
    if kept is None or kept.trial is None or kept.iou is None or kept.gain is None:
        found = facts["calibrated"]
        if found is None:
            return "no frame was held out: the threshold is logit 0, and nothing says how good it is"
        return f"of {made.held_out} frames held out: IoU {found['iou']:.3f} at logit {facts['threshold']:.3g}"
    low, high = max(0.0, kept.iou.low), min(1.0, kept.iou.high)
    return (
        f"of {made.held_out} frames held out: IoU {kept.iou.value:.3f} ({low:.3f} to {high:.3f}), "
        f"{kept.gain.value:+.3f} ({kept.gain.low:+.3f} to {kept.gain.high:+.3f}) on the mean mask, at logit "
        f"{facts['threshold']:.3g} · {1e3 * kept.trial.cost.cpu_s:.3g} CPU-ms a frame"
    )


def _show_candidates(made: FittedSegmenter, options: SegmentOptions) -> None:
    from lightmeter.library.segmenting import shortest
    from lightmeter.report.text import table

    frontier = made.frontier(options.price)
    rows = [
        {
            "encoder": shortest(each.segmenter.encoder), "head": shortest(each.segmenter.head),
            "IoU": each.trial.quality,
            "CPU-ms a frame": 1e3 * each.trial.cost.cpu_s, "MACs": each.trial.cost.macs,
            "bytes": each.trial.cost.size_bytes, "fit CPU-s": each.fit_cost.cpu_s,
            "frontier": "yes" if frontier is not None and each.trial in frontier else "",
            "kept": "yes" if each is made.chosen else "",
        }
        for each in made.candidates if each.trial is not None
    ]  # fmt: skip
    click.echo(table(rows, width=44))


def _row(candidate: Candidate, on_frontier: bool) -> dict[str, Any]:
    """A candidate as JSON."""
    made: dict[str, Any] = {
        "encoder": candidate.segmenter.encoder.spec, "head": candidate.segmenter.head.spec,
        "training": candidate.segmenter.about.get("training"), "fit_cost": candidate.fit_cost.as_json(),
    }  # fmt: skip
    if candidate.trial is not None and candidate.iou is not None and candidate.gain is not None:
        made |= {
            "iou": candidate.iou.value, "iou_low": candidate.iou.low, "iou_high": candidate.iou.high,
            "over_mean_mask": candidate.gain.value, "over_mean_mask_low": candidate.gain.low,
            "over_mean_mask_high": candidate.gain.high, "frontier": on_frontier,
            "cost_a_frame": candidate.trial.cost.as_json(),
        }  # fmt: skip
    return made
