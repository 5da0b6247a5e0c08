"""`lightmeter segment sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, json_option, quiet_option, refuse_here, say, seed_option

if TYPE_CHECKING:
    from lightmeter.encoders.pretraining.sampling import Sampler
    from lightmeter.types import Array

_ROWS = 8


@click.command(
    epilog="Examples: `lightmeter segment sample MODEL picture.png --out strip.png` · "
    "`lightmeter segment sample MODEL picture.png --out clip.mp4 --seed 3` · "
    "scored beside a frozen frame: `lightmeter segment sample MODEL CLIPS --out strip.png --count 64`"
)
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="strip.png or clip.mp4.")
@click.option("--count", default=4, show_default=True, type=click.IntRange(1, 4096), help="How many clips are drawn.")
@click.option("--temperature", default=1.0, show_default=True, type=Finite(min=0), help="Of draws; 0: the likeliest.")
@click.option("--passes", default=8, show_default=True, type=click.IntRange(1), help="Of a future that is guessed.")
@click.option("--fps", default=5.0, show_default=True, type=Finite(min=0.1, max=240), help="Frames a second of an mp4.")
@click.option("--features", metavar="SPEC", help="Dense encoder by whose maps clips of SOURCE are compared.")
@seed_option
@json_option
@quiet_option
def sample(model: Path, source: Path, out: Path, **asked: Any) -> None:
    """Draw what comes after a picture, by a prior or a predictor that `segment pretrain` left in MODEL.

    SOURCE is a picture, of which the middle is taken, or a folder of clips: then clips are drawn from the first frames
    of these, shown below the true ones, and scored by PSNR and a Fréchet distance beside the frozen first frame and
    beside what the codes could have shown.
    """
    from lightmeter.encoders.pretraining.sample_scores import score_samples
    from lightmeter.encoders.pretraining.sampling import load_sampler
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    if out.suffix.lower() not in (".png", ".mp4"):
        raise click.BadParameter(f"must end in .png or .mp4, got {out.name!r}", param_hint="--out")
    if source.is_file():
        refuse_here(("features",), "is for a folder of clips: a picture has no clip to be compared with")
    sampler = load_sampler(model, temperature=asked["temperature"], steps=asked["passes"])
    truth = None if source.is_file() else _windows(sampler, source, asked["count"])
    first = _picture(sampler, source, asked["count"]) if truth is None else truth[:, 0]
    with measure() as meter, Progress("sample", 100, quiet=asked["quiet"]) as line:
        told = [0]

        def tell(done: int, _of: int) -> None:
            line.advance(ok=done - told[0])
            told[0] = done

        drawn = sampler.clips(first, seed=asked["seed"], tell=tell)
    scores: dict[str, Any] = {}
    if truth is not None:
        made = {"predicted": drawn, "recoded": sampler.tokens.recoded(truth)}
        scores = score_samples(truth, made, features=asked["features"] or "")
    _write(out, drawn, truth, asked["fps"])
    if asked["as_json"]:
        row = {"path": out, "model": model, "seed": asked["seed"], "clips": len(drawn), "frames": drawn.shape[1]}
        emit([{**row, "scores": scores, "cost": meter.cost.as_json()}], "segment.sample/1")
        return
    say(f"{out}: {len(drawn)} clips of {drawn.shape[1]} frames · {meter.cost.text()}", quiet=asked["quiet"])
    for line_text in scores_lines(scores):
        say(line_text, quiet=asked["quiet"])


def _windows(sampler: Sampler, source: Path, count: int) -> Array:
    from lightmeter.encoders.pretraining.sample_scores import first_windows
    from lightmeter.errors import InvalidValueError
    from lightmeter.media.clip_set import open_clips

    clips = open_clips(source).frames
    if clips.shape[2:4] != sampler.tokens.size:
        raise InvalidValueError(
            f"clips must be {sampler.tokens.size} pixels high and wide for this model, got {clips.shape[2:4]}"
        )
    return first_windows(sampler.tokens.cut, clips, count)


def _picture(sampler: Sampler, source: Path, count: int) -> Array:
    import numpy as np

    from lightmeter.encoders.pretraining.sample_scores import fitted
    from lightmeter.media.images import read_image

    frame = fitted(read_image(source, short_side=min(sampler.tokens.size)).value.pixels, sampler.tokens.size)
    return np.repeat(frame[None], count, 0)


def _write(out: Path, drawn: Array, truth: Array | None, fps: float) -> None:
    """As a strip, a row a clip, or as a film, clips side by side; true ones above."""
    import numpy as np

    from lightmeter.encoders.pretraining.sample_scores import write_strip
    from lightmeter.media.write import write_video
    from lightmeter.types import Clip

    shown = min(len(drawn), _ROWS)
    if out.suffix.lower() == ".png":
        rows = {}
        for at in range(shown):
            if truth is not None:
                rows[f"true {at + 1}"] = truth[at]
            rows[f"drawn {at + 1}"] = drawn[at]
        write_strip(out, rows)
        return
    wall = np.concatenate(list(drawn[:shown]), axis=2)
    if truth is not None:
        wall = np.concatenate([np.concatenate(list(truth[:shown]), axis=2), wall], axis=1)
    write_video(Clip(wall, np.arange(len(wall)) / fps), out, fps=fps)


def scores_lines(scores: Any) -> list[str]:
    """A sentence each on PSNR and on the Fréchet distance; none where nothing was scored."""
    if not scores:
        return []
    psnr = ", ".join(f"{name} {_mean(each):.4g} dB" for name, each in scores["psnr_db"].items())
    lines = [f"{scores['clips']} clips, mean PSNR of frames after the first: {psnr}"]
    if "frechet" in scores:
        far = {name: each for name, each in scores["frechet"].items() if name != "features"}
        told = ", ".join(f"{name} {each:.4g}" for name, each in far.items())
        lines.append(f"Fréchet distance ({scores['frechet']['features']}): {told}")
    return lines


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
