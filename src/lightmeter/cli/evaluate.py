"""`lightmeter evaluate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, given_here, json_option, quiet_option, refuse_here, say, seed_option

if TYPE_CHECKING:
    from lightmeter.cli.evaluate_text import Told
    from lightmeter.heads.answering import Answering
    from lightmeter.library.labelled import Opened

_OF_ONE = "is of one MODEL: leave it out, or ask for one at a time"
_OF_CHOICE = ("at_least", "within", "price")


@click.command(
    epilog="Examples: `lightmeter evaluate MODEL SET/test` · `lightmeter evaluate MODEL .lightmeter --labels held.csv "
    "--json` · `lightmeter evaluate MODEL SET/test --deep --out report` · `lightmeter evaluate SMALL LARGE SET/test "
    "--at-least 0.8`"
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--labels", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV",
    help="Lines of path,label;label (of a set: id,label;label).  [default: labels of the set, tags set by hand]",
)  # fmt: skip
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Answers an item that count.")
@click.option("--without", metavar="NAMES", help="Blocks to answer without, as title,keywords.")
@click.option(
    "--deep", is_flag=True,
    help="Also without a cut, by class, by blocks that are there; calibration, thresholds, intervals.",
)  # fmt: skip
@click.option(
    "--precision", default=0.9, show_default=True, type=Finite(min=0, max=1), help="Of --deep: what thresholds reach."
)
@click.option(
    "--certainty", default=0.95, show_default=True, type=Finite(min=0, max=1, min_open=True, max_open=True),
    help="Of intervals, with --deep or several MODELS.",
)  # fmt: skip
@click.option("--at-least", type=Finite(), metavar="QUALITY", help="Name the cheapest model with this GAP.")
@click.option(
    "--within", type=Finite(min=0), metavar="COST", help="Name the best model whose --price is no more than this."
)
@click.option(
    "--price", default="cpu_s", show_default=True, type=click.Choice(["cpu_s", "wall_s", "macs", "size_bytes"]),
    help="What several MODELS are compared by: CPU-seconds, seconds or multiply-adds an item, or bytes.",
)  # fmt: skip
@click.option("--engine", metavar="SPEC", help="Who scores a set, as local/workers=2 or ray.  [default: this process]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write evaluate.json, and pictures of --deep and of several MODELS.",
)  # fmt: skip
@seed_option
@json_option
@quiet_option
def evaluate(models: tuple[Path, ...], data: Path, **asked: Any) -> None:
    """Score a MODEL that `fit` made on the labels of DATA: GAP, Hit@1, PERR and mAP, with their price.

    GAP is the mean over all orders of equal scores; the least and the most stand beside it. mAP is YouTube-8M's: over
    the answers that count. The price holds reading, answering and scoring. Of segments that people rated class by class
    only the rated pairs count: MAP. Several MODELS are compared with the first, on the same items.
    """
    from lightmeter.library.labelled import open_examples

    many = len(models) > 1 or bool(given_here(_OF_CHOICE))
    if many:
        refuse_here(("deep", "precision", "engine"), _OF_ONE)
        if len(set(models)) < len(models):
            raise click.UsageError("MODELS must be different folders, got one twice")
    _check_use(data, many, asked)
    opened = open_examples(data, labels=asked["labels"])
    for note in opened.notes:
        say(note, quiet=asked["quiet"])
    told = _compared(models, opened, asked) if many else _one(models[0], data, opened, asked)
    if asked["out"] is not None:
        _write(asked["out"], told, opened, models, asked)
    if asked["as_json"]:
        for schema, rows in told.rows.items():
            whole = {} if schema == "evaluate.class/1" else opened.left_out
            emit(({**row, **whole} for row in rows), schema)
    else:
        click.echo("\n".join(told.lines))
    for note in told.notes:
        say(note, quiet=asked["quiet"])
    if told.error is not None:
        raise told.error


def _check_use(data: Path, many: bool, asked: dict[str, Any]) -> None:
    """Nothing that was asked for is ignored."""
    if not asked["deep"]:
        refuse_here(("precision",), "is for --deep")
        refuse_here(("seed",), "is for --deep: nothing else is drawn")
        if not many:
            refuse_here(("certainty",), "is for --deep or several MODELS")
    if asked["engine"]:
        refuse_here(("labels", "deep", "out"), "does not go with --engine: leave one of them out")
        if not (data / "set.json").is_file():
            raise click.UsageError(f"--engine scores sets, got {data}: leave it out")


def _one(model: Path, data: Path, opened: Opened, asked: dict[str, Any]) -> Told:
    """One model, plainly, on an engine, or in depth."""
    from lightmeter.cli.evaluate_text import deep_told, one_told
    from lightmeter.heads.answering import load_answering
    from lightmeter.library.scoring import facts
    from lightmeter.meter.cost import measure

    with measure() as meter:
        classifier = load_answering(model)
        said, start_s = facts(classifier), time.monotonic()  # torch is loaded by then
        if asked["deep"]:
            deep = _deep(classifier, opened, asked)
            scores = deep.scores
        else:
            scores = _on_engine(model, data, asked) if asked["engine"] else _here(classifier, opened, asked)
        rate = len(opened.examples) / (time.monotonic() - start_s)
        quality = scores.result()
    more = {"cost": meter.cost.as_json(), "examples_per_s": rate, "model": dict(said)}
    told = one_told(model, quality, asked["top"], more, meter.cost)
    return deep_told(told, deep) if asked["deep"] else told


def _here(classifier: Answering, opened: Opened, asked: dict[str, Any]) -> Any:
    from lightmeter.heads.examples import is_rated
    from lightmeter.library.scoring import evaluate as run
    from lightmeter.report.progress import Progress

    examples = classifier.view(opened.examples, without=_names(asked))
    if is_rated(examples):
        refuse_here(("top",), "is for videos: of rated segments all rated pairs count")
    with Progress("evaluate", len(examples), quiet=asked["quiet"]) as line:
        return run(classifier, examples, top=asked["top"], tell=lambda count: line.advance(ok=count))


def _deep(classifier: Answering, opened: Opened, asked: dict[str, Any]) -> Any:
    from lightmeter.library.evaluating import Depth, evaluate_deep
    from lightmeter.report.progress import Progress

    examples = classifier.view(opened.examples, without=_names(asked))
    depth = Depth(asked["top"], asked["precision"], asked["certainty"], asked["seed"])
    with Progress("evaluate", len(examples), quiet=asked["quiet"]) as line:
        return evaluate_deep(classifier, examples, depth, tell=lambda count: line.advance(ok=count))


def _on_engine(model: Path, data: Path, asked: dict[str, Any]) -> Any:
    from tempfile import TemporaryDirectory

    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.sharding import ScoreRows, score_sharded
    from lightmeter.parts import build

    engine = build(asked["engine"], "engine")
    with TemporaryDirectory() as ledger, engine_progress("evaluate parts", quiet=asked["quiet"]) as heard:
        return score_sharded(
            ScoreRows(model, data, asked["top"], _names(asked)), Path(ledger), engine=engine, events=heard
        )


def _compared(models: tuple[Path, ...], opened: Opened, asked: dict[str, Any]) -> Told:
    """Several models: quality, price, differences, the frontier, the one to take."""
    from lightmeter.cli.evaluate_text import compared_told
    from lightmeter.heads.answering import load_answering
    from lightmeter.heads.examples import is_rated
    from lightmeter.library.comparing import Comparison, compare, rounds_worth
    from lightmeter.library.scoring import facts
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    if is_rated(opened.examples):
        refuse_here(("top", "certainty"), "is for videos: of rated segments all rated pairs count, without intervals")
    with measure() as meter:
        loaded = {str(each): load_answering(each) for each in models}
        views = [each.view(opened.examples, without=_names(asked)) for each in loaded.values()]
        rounds = rounds_worth(loaded, views)
        with Progress("evaluate", len(models) * rounds * len(views[0]), quiet=asked["quiet"]) as line:
            rows = compare(
                loaded, views, top=asked["top"], rounds=rounds, certainty=asked["certainty"],
                tell=lambda count: line.advance(ok=count),
            )  # fmt: skip
    found = Comparison(rows, asked["price"])
    said = [dict(facts(each)) for each in loaded.values()]
    return compared_told(found, said, len(views[0]), meter.cost, asked)


def _write(out: Path, told: Told, opened: Opened, models: tuple[Path, ...], asked: dict[str, Any]) -> None:
    """`evaluate.json` and pictures."""
    from lightmeter.meter.record import Record, write_results

    out.mkdir(parents=True, exist_ok=True)
    rows = [{"schema": f"lightmeter.{schema}", **row} for schema, some in told.rows.items() for row in some]
    notes = {
        name: asked[name] for name in ("top", "without", "precision", "certainty", "price", "at_least", "within")
    }  # fmt: skip
    question = f"What are the answers of {', '.join(each.name for each in models)} worth, and what do they cost?"
    record = Record("evaluate", question, rows, opened.examples.fingerprint, asked["seed"], notes)
    write_results(out / "evaluate.json", record)
    for draw in told.pictures:
        draw(out)
    say(f"{out}: {', '.join(sorted(each.name for each in out.iterdir()))}", quiet=asked["quiet"])


def _names(asked: dict[str, Any]) -> tuple[str, ...]:
    from lightmeter.cli.predict import names_of

    return names_of(asked["without"])
