"""`lightmeter predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, refuse_here, say, shown_path

if TYPE_CHECKING:
    from lightmeter.heads.answering import Answering
    from lightmeter.heads.examples import Examples
    from lightmeter.types import Array

    Answers = Iterator[tuple[list[str], Array, Array]]


@click.command(
    epilog="Examples: `lightmeter predict MODEL .lightmeter` · `lightmeter predict MODEL SET/test --csv answers.csv` · "
    "`lightmeter predict MODEL .lightmeter --top 3 --json` · `lightmeter predict MODEL SET/test --explain`"
)
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--top", type=click.IntRange(1), help="Labels an item, likeliest first.  [default: 20; 3 with --explain]")
@click.option(
    "--csv", "table", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT",
    help="Write VideoId,LabelConfidencePairs, of rated segments Class,Segments, as on Kaggle, the classes by number.",
)  # fmt: skip
@click.option("--without", metavar="NAMES", help="Blocks to answer without, as title,keywords.")
@click.option("--explain", is_flag=True, help="Say which blocks, seconds and words made each answer.")
@json_option
@quiet_option
def predict(model: Path, data: Path, top: int | None, **asked: Any) -> None:
    """Say which labels the items of DATA have, by a MODEL that `fit` made: a probability each.

    DATA is a set or a library; it needs no labels, but the blocks that the model reads. Reasons are by how
    much the logit of a label falls when a block, a second or a word is left out.
    """
    from lightmeter.heads.answering import load_answering
    from lightmeter.library.labelled import open_examples
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    if asked["explain"]:
        refuse_here(("table",), "holds no reasons: leave it or --explain out")
    if asked["table"] is not None and not asked["table"].parent.is_dir():
        raise click.UsageError(f"--csv must lie in a folder that is there, got {asked['table']}: make its folder first")
    with measure() as meter:
        classifier = load_answering(model)
        opened = open_examples(data, labelled=False)
        for note in opened.notes:
            say(note, quiet=asked["quiet"])
        examples = classifier.view(opened.examples, without=names_of(asked["without"]))
        with Progress("predict", len(examples), quiet=asked["quiet"]) as line:
            if asked["explain"]:
                _show_reasons(classifier, examples, top or 3, opened.paths, asked["as_json"], line.advance)
            else:
                _answer(classifier, examples, top, opened.paths, asked, line.advance)
    say(f"{len(examples)} items: {meter.cost.text()}", quiet=asked["quiet"])


def names_of(names: str | None) -> tuple[str, ...]:
    """A list with commas, as a tuple."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def _answer(
    classifier: Answering, examples: Examples, top: int | None, paths: bool, asked: dict[str, Any], advance: Any
) -> None:  # fmt: skip
    from lightmeter.heads.examples import is_rated
    from lightmeter.library.scoring import predictions

    if asked["table"] is not None and is_rated(examples):
        refuse_here(("top",), "is for videos: a table of segments lists those of each class")
        _write_segments(classifier, examples, asked, advance)
    else:
        _show(_counted(predictions(classifier, examples, top or 20), advance), classifier, paths, asked)


def _write_segments(classifier: Answering, examples: Examples, asked: dict[str, Any], advance: Any) -> None:
    from lightmeter.library.scoring import scored
    from lightmeter.library.yt8m.kaggle import ranked_segments, write_segments

    def batches() -> Iterator[tuple[list[str], Array]]:
        for rows, found, _ in scored(classifier, examples):
            yield [examples.ids[row] for row in rows.tolist()], found
            advance(ok=len(rows))

    count = write_segments(asked["table"], ranked_segments(batches(), classifier.classes))
    _say_table(asked, len(examples), f"{count} lines, one a class, of {len(examples)} segments")


def _say_table(asked: dict[str, Any], items: int, told: str) -> None:
    if asked["as_json"]:
        emit([{"path": asked["table"], "items": items}], "predict.csv/1")
    else:
        click.echo(f"{asked['table']}: {told}")


def _counted(answers: Answers, advance: Any) -> Answers:
    for ids, values, classes in answers:
        yield ids, values, classes
        advance(ok=len(ids))


def _show(answers: Answers, classifier: Answering, paths: bool, asked: dict[str, Any]) -> None:
    if asked["table"] is not None:
        from lightmeter.library.yt8m.kaggle import write_answers

        count = write_answers(asked["table"], answers)
        _say_table(asked, count, f"{count} lines")
        return
    names = classifier.label_names
    for ids, values, classes in answers:
        for name, scores, found in zip(ids, values.tolist(), classes.tolist(), strict=True):
            if asked["as_json"]:
                labels = [{"label": names[at], "score": score} for at, score in zip(found, scores, strict=True)]
                emit([{"path" if paths else "id": name, "labels": labels}], "predict/1")
            else:
                told = ", ".join(f"{names[at]} {score:.3f}" for at, score in zip(found, scores, strict=True))
                click.echo(f"{shown_path(name)}: {_clean(told)}")


def _show_reasons(
    classifier: Answering, examples: Examples, top: int, paths: bool, as_json: bool, advance: Any
) -> None:  # fmt: skip
    from lightmeter.library.explaining import explained

    for name, whys in explained(classifier, examples, top):
        if as_json:
            emit([{"path" if paths else "id": name, "labels": [each.as_json() for each in whys]}], "predict.explain/1")
        else:
            click.echo(f"{shown_path(name)}:")
            for each in whys:
                click.echo(f"  {_clean(each.text())}")
        advance(ok=1)


def _clean(text: str) -> str:
    from lightmeter.report.text import clean

    return clean(text)
