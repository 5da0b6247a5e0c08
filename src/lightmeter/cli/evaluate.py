"""`lightmeter evaluate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, say


@click.command(
    epilog="Examples: `lightmeter evaluate MODEL SET/test` · `lightmeter evaluate MODEL .lightmeter --labels held.csv "
    "--json` · `lightmeter evaluate MODEL SET/test --without title,keywords`"
)
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--labels", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV",
    help="Lines of path,label;label (of a set: id,label;label).  [default: labels of the set, tags set by hand]",
)  # fmt: skip
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Answers an item that count.")
@click.option("--without", metavar="NAMES", help="Blocks to answer without, as title,keywords.")
@json_option
@quiet_option
def evaluate(model: Path, data: Path, labels: Path | None, **asked: Any) -> None:
    """Score a MODEL that `fit` made on the labels of DATA: GAP, Hit@1, PERR and mAP, with their price.

    GAP is the mean over all orders of equal scores; the least and the most stand beside it. mAP is YouTube-8M's: over
    the answers that count. The price holds reading, answering and scoring.
    """
    from lightmeter.cli.fit import quality_text
    from lightmeter.cli.predict import names_of
    from lightmeter.heads.answering import load_answering
    from lightmeter.library.fitting import evaluate as run
    from lightmeter.library.fitting import facts
    from lightmeter.library.labelled import open_examples
    from lightmeter.meter.cost import measure
    from lightmeter.meter.units import bytes_text, count_text
    from lightmeter.report.progress import Progress

    with measure() as meter:
        classifier = load_answering(model)
        opened = open_examples(data, labels=labels)
        for note in opened.notes:
            say(note, quiet=asked["quiet"])
        examples = classifier.view(opened.examples, without=names_of(asked["without"]))
        with Progress("evaluate", len(examples), quiet=asked["quiet"]) as line:
            said, start_s = facts(classifier), time.monotonic()  # torch is loaded by then
            scores = run(classifier, examples, top=asked["top"], tell=lambda count: line.advance(ok=count))
            rate = len(scores) / (time.monotonic() - start_s)
        quality = scores.result()
    if asked["as_json"]:
        more = {"top": asked["top"], "cost": meter.cost.as_json(), "examples_per_s": rate}
        emit([{"path": model, **quality.as_json(), **more, "model": said}], "evaluate/1")
        return
    click.echo(f"{quality_text(quality)} · {quality.videos} items, {quality.labels} labels")
    click.echo(
        f"{said['head']}: {bytes_text(said['size_bytes'])} · {count_text(said['macs'])}MAC an item · "
        f"{rate:,.0f} items/s · {meter.cost.text()}"
    )
    if quality.tied_cuts:
        say(f"{quality.tied_cuts} items have equal scores where their answers are cut off", quiet=asked["quiet"])
