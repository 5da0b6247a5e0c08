"""`lightmeter ensemble`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, refuse_here, say

if TYPE_CHECKING:
    from lightmeter.heads.answering import Answering
    from lightmeter.heads.ensemble import EnsembleClassifier, ForestVotes, Max, Mean


@click.command(
    epilog="Examples: `lightmeter ensemble VISUAL TITLE --out BOTH` · `lightmeter ensemble A B C --by max --out MOST` "
    "· `lightmeter ensemble A B C --by forest-votes/vote=proba --data SET/dev --out FOREST`"
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the model.")
@click.option("--by", default="mean", show_default=True, help="Spec of how they are combined: mean, max, forest-votes.")
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), metavar="DEV",
    help="What forest-votes learns from: labelled, and new to the MODELS.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV",
    help="Lines of path,label;label (of a set: id,label;label).  [default: labels of the set, tags set by hand]",
)  # fmt: skip
@click.option("--anew", is_flag=True, help="Replace what stands in --out.")
@json_option
@quiet_option
def ensemble(models: tuple[Path, ...], out: Path, **asked: Any) -> None:
    """Combine MODELS that `fit` made into one that `predict`, `evaluate` and `fit --teacher` take.

    They must know the same labels; the new one reads all that any of them reads. The MODELS are copied into it.
    """
    from lightmeter.heads.answering import load_answering
    from lightmeter.heads.ensemble import combining
    from lightmeter.library.scoring import facts
    from lightmeter.meter.cost import measure
    from lightmeter.meter.units import bytes_text, count_text

    recipe = combining(asked["by"])
    _check_free(out, models, anew=asked["anew"])
    with measure() as meter:
        made, left_out = _combined([load_answering(each) for each in models], recipe, asked)
        if asked["anew"]:
            for old in ("members", "by"):
                shutil.rmtree(out / old, ignore_errors=True)
        made.save(out)
    said = facts(made)
    if asked["as_json"]:
        emit([{"path": out, **said, **left_out, "cost": meter.cost.as_json()}], "ensemble/1")
        return
    click.echo(
        f"{out}: {said['head']}, reads {', '.join(said['blocks'])} → {said['classes']} classes · "
        f"{bytes_text(said['size_bytes'])} · {count_text(said['macs'])}MAC an item · {meter.cost.text()}"
    )


def _check_free(out: Path, models: tuple[Path, ...], *, anew: bool) -> None:
    """Nothing is overwritten unasked, and no model by an ensemble of itself."""
    from lightmeter.library.fitting import check_out

    inside = [each for each in models if out.resolve() in (each.resolve(), *each.resolve().parents)]
    if inside:
        raise click.UsageError(f"--out must be another folder than those of MODELS, got {out}, which holds {inside[0]}")
    if (out / "model.json").is_file() and not anew:
        raise click.UsageError(f"--out must be free, got {out} with a model: take another, or replace it with --anew")
    check_out(out)


def _combined(
    members: list[Answering], recipe: Mean | Max | ForestVotes, asked: dict[str, Any]
) -> tuple[EnsembleClassifier, dict[str, int]]:  # fmt: skip
    """And how much of the data was left out: none, where there are none."""
    from lightmeter.heads.ensemble import ForestVotes, fit_ensemble
    from lightmeter.heads.examples import is_rated
    from lightmeter.library.labelled import Relabelled, open_examples
    from lightmeter.library.scoring import matched
    from lightmeter.report.progress import Progress

    if not isinstance(recipe, ForestVotes):
        refuse_here(("data", "labels"), f"does not go with {recipe.spec}, which learns nothing: leave it out")
        return fit_ensemble(members, recipe), {"lines_left_out": 0, "items_left_out": 0}
    if asked["data"] is None:
        raise click.UsageError("forest-votes learns from labelled examples: give some that are new to MODELS by --data")
    opened = open_examples(asked["data"], labels=asked["labels"])
    for note in opened.notes:
        say(note, quiet=asked["quiet"])
    examples, names = opened.examples, members[0].label_names
    assert examples.labels is not None, "they are labelled"
    if is_rated(examples):
        raise click.UsageError("--data must say all labels of every item, got segments of which people rated some")
    turned = matched(names, examples.label_names, examples.labels)(examples.labels)
    with Progress("ensemble", len(examples), quiet=asked["quiet"]) as line:
        known = Relabelled(examples, names, turned)
        made = fit_ensemble(members, recipe, known, tell=lambda count: line.advance(ok=count))
    return made, opened.left_out
