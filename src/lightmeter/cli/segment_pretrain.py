"""`lightmeter segment pretrain`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, json_option, quiet_option, refuse_here, say, seed_option
from lightmeter.cli.segment_sample import scores_lines

if TYPE_CHECKING:
    from lightmeter.encoders.pretraining.running import Pretrained, Told
    from lightmeter.encoders.pretraining.windows import Footage
    from lightmeter.media.clip_set import ClipSet
    from lightmeter.report.progress import Progress

_SHOWN = ("loss", "moving_psnr_db", "moving_nats")
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(
    epilog="Examples: `lightmeter segment pretrain CLIPS --out TOKENS --net vqvae/of=changes,steps=2000` · "
    "`lightmeter segment pretrain CLIPS --out MODEL --net future/motion=4 --tokens TOKENS --steps 4000` · "
    "on from there: `lightmeter segment pretrain CLIPS --out MODEL2 --net future --tokens TOKENS --from MODEL`"
)
@click.argument("clips", type=_FOLDER)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the net.")
@click.option("--net", required=True, metavar="SPEC", help="Spec of what is trained, and how: vqvae, future or prior.")
@click.option("--tokens", type=_FOLDER, metavar="FOLDER", help="A pretrained vqvae, whose codes are predicted.")
@click.option("--steps", type=click.IntRange(1), help="The same as the option steps of the spec.")
@click.option("--from", "start", type=_FOLDER, metavar="FOLDER", help="A net of the same sizes to start from.")
@click.option("--held-out", type=_FOLDER, metavar="CLIPS", help="Clips of other scenes that are only scored on.")
@click.option(
    "--dev", default=0.05, show_default=True, type=Finite(min=0, max=1, max_open=True),
    help="Share of the scenes of CLIPS that is held out, the same in every run, without --held-out; 0: none.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Where it runs.")
@click.option("--anew", is_flag=True, help="Begin again, and replace the net that stands in --out.")
@seed_option
@json_option
@quiet_option
def pretrain(clips: Path, out: Path, **asked: Any) -> None:
    """Train a tokenizer of clips, or a predictor of what comes next whose frame encoder is then used.

    CLIPS is a folder made by `segment simulate`. A run that was stopped or killed goes on when the same command is
    given again, and ends as if nothing had happened. OUT gets the net, curve.jsonl, curve.png and strip.png: frames of
    a clip that is held out, and what the net makes of it. At the end it is told how codes are used, how many directions
    features have, how much the frame tells a predictor, and how near drawn clips come (all of it with --json).
    """
    from lightmeter.assets.saving import load_model
    from lightmeter.encoders.pretraining.running import PretrainRun, check_outside
    from lightmeter.encoders.pretraining.running import pretrain as run
    from lightmeter.encoders.pretraining.tokenizer import Tokenizer
    from lightmeter.meter.cost import measure
    from lightmeter.parts import build

    recipe = build(asked["net"], "pretraining")
    recipe = recipe if asked["steps"] is None else dataclasses.replace(recipe, steps=asked["steps"])
    footage = _footage(clips, asked)
    tokens = None
    if asked["tokens"] is not None:
        check_outside("--tokens", asked["tokens"], out)
        footage.check_unseen(load_model(asked["tokens"])[1].get("data"), f"the tokens in {asked['tokens']}")
        tokens = Tokenizer.load(asked["tokens"])
    with measure() as meter, _Line(quiet=asked["quiet"]) as line:
        made = run(
            recipe, footage, out,
            PretrainRun(tokens, asked["start"], asked["seed"], asked["device"], asked["anew"], line),
        )  # fmt: skip
    _show(made, recipe, footage, line.rate, meter.cost, asked)


def _footage(path: Path, asked: dict[str, Any]) -> Footage:
    from lightmeter.encoders.pretraining.windows import Footage
    from lightmeter.media.clip_set import open_clips

    def opened(folder: Path) -> ClipSet:
        return open_clips(folder, tell=lambda text: say(text, quiet=asked["quiet"]))

    if asked["held_out"] is not None:
        refuse_here(("dev",), "does not go with --held-out: give one of them")
        return Footage.of(opened(path), held_out=opened(asked["held_out"]))
    return Footage.of(opened(path), share=asked["dev"])


class _Line:
    """Hears how it goes, and puts it on a line of progress."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet, self.done, self.taken = quiet, 0, 0
        self.line: Progress | None = None
        self.began_s = time.monotonic()
        self.ended_s = self.began_s

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.line is not None:
            self.line.close()

    def __call__(self, told: Told) -> None:
        """Once or twice a second."""
        from lightmeter.report.progress import Progress

        if self.line is None:
            self.line = Progress("pretrain", told.steps, quiet=self.quiet)
            self.line.advance(skipped=told.began)
            self.done = told.began
        self.line.label = f"pretrain ({_short(told.figures)})"
        self.line.advance(ok=told.step - self.done)
        self.taken += told.step - self.done
        self.done, self.ended_s = told.step, time.monotonic()

    @property
    def rate(self) -> float | None:
        """Steps a second; None where none was taken."""
        return self.taken / (self.ended_s - self.began_s) if self.taken else None


def _short(figures: Any) -> str:
    """`loss 1.23; held out: moving psnr 20.1 dB`"""
    shown = {
        kind: figures_text({name: value for name, value in each.items() if name in _SHOWN})
        for kind, each in figures.items()
    }
    return f"{shown['learnt']}; held out: {shown['held_out']}" if shown["held_out"] else shown["learnt"]


def figures_text(figures: Any) -> str:
    """`loss 1.23, psnr 25.1 dB, …`"""
    shown = {name: value for name, value in figures.items() if name != "step"}
    return ", ".join(
        f"{name.removesuffix('_db').replace('_', ' ')} {value:.4g}{' dB' if name.endswith('_db') else ''}"
        for name, value in shown.items()
    )


def _show(
    made: Pretrained, recipe: Any, footage: Footage, rate: float | None, cost: Any, asked: dict[str, Any]
) -> None:  # fmt: skip
    from lightmeter.assets.saving import ARRAYS
    from lightmeter.meter.units import bytes_text, count_text

    size_bytes = (made.folder / ARRAYS).stat().st_size
    held_out = 0 if footage.held_out is None else len(footage.held_out)
    learnt, scored = (rows[-1] if rows else {} for rows in (made.curve.learnt, made.curve.scored))
    if asked["as_json"]:
        row = {
            "path": made.folder, "pretraining": recipe.spec, "seed": asked["seed"], "again": made.again,
            "clips": len(footage.learn), "held_out_clips": held_out, "learnt": learnt, "held_out": scored,
            "diagnostics": made.about.get("diagnostics", {}), "samples": made.about.get("samples", {}),
            "steps_per_s": rate, "size_bytes": size_bytes, "macs": made.task.macs, "cost": cost.as_json(),
        }  # fmt: skip
        emit([row], "segment.pretrain/1")
        return
    speed = "" if rate is None else f" · {rate:.3g} steps/s"
    say(
        f"{made.folder}: {recipe.spec.partition('/')[0]} learnt from {len(footage.learn)} clips"
        f"{' before' if made.again else ''} ({figures_text(learnt)}) · {bytes_text(size_bytes)} · "
        f"{count_text(made.task.macs)}MAC a window{speed} · {cost.text()}",
        quiet=asked["quiet"],
    )
    if scored:
        say(f"{held_out} clips held out: {figures_text(scored)}", quiet=asked["quiet"])
    for line in [*_diagnosed(made.about.get("diagnostics", {})), *scores_lines(made.about.get("samples", {}))]:
        say(line, quiet=asked["quiet"])


def _diagnosed(found: Any) -> list[str]:
    """A sentence on each diagnostic."""
    lines = []
    if "codes" in found:
        lines.append(f"codes: {figures_text(found['codes'])}")
    if "effective_rank" in found:
        lines.append(f"effective rank: {figures_text(found['effective_rank'])}")
    if "conditioning" in found:
        lines.append(f"by the frame: {figures_text(found['conditioning'])}")
    return lines
