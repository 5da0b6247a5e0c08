"""`lightmeter yt8m`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, refuse_here, say, seed_option
from lightmeter.cli.yt8m_extract import extract
from lightmeter.cli.yt8m_words import words

if TYPE_CHECKING:
    from lightmeter.library.yt8m.convert import Conversion
    from lightmeter.media.tfrecord import Problem


@click.group(
    epilog="Examples: `lightmeter yt8m convert train*.tfrecord SET` · `lightmeter yt8m generate OUT --videos 20000` · "
    "`lightmeter yt8m evaluate submission.csv SET`"
)
def yt8m() -> None:
    """Read, write, generate and score data in the manner of YouTube-8M.

    A set is a folder that `fit`, `predict` and `evaluate` read; no TensorFlow is needed.
    """


@yt8m.command(
    epilog="Examples: `lightmeter yt8m generate OUT --videos 20000` · "
    "`lightmeter yt8m generate small --videos 500 --level frame --max-frames 20 --classes 50`"
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--videos", default=20_000, show_default=True, type=click.IntRange(2), help="Train and test together.")
@click.option("--classes", default=3862, show_default=True, type=click.IntRange(2, 100_000), help="Classes.")
@click.option(
    "--labels-per-video",
    type=click.FloatRange(1),
    help="Mean number of labels.  [default: 3.0; 3.4 of 4716 classes; 1 + (classes - 1) / 4 of fewer than 9]",
)
@click.option(
    "--top-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of all labels that the ten commonest classes have.  [default: 0.4; of fewer than 100 classes what "
    "Zipf's law gives]",
)
@click.option(
    "--level", type=click.Choice(["video", "frame"]), default="video", show_default=True,
    help="Mean features of a video, or features once a second.",
)  # fmt: skip
@click.option("--max-frames", default=300, show_default=True, type=click.IntRange(1, 3600), help="Of --level frame.")
@click.option(
    "--test-share", default=0.2, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the videos that go to OUT/test.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["set", "tfrecord"]), default="set", show_default=True,
    help="A set, or TFRecords as YouTube-8M has them.",
)  # fmt: skip
@seed_option
@json_option
@quiet_option
def generate(out: Path, as_json: bool, quiet: bool, **asked: Any) -> None:
    """Make OUT/train and OUT/test with the statistics of YouTube-8M, from a seed.

    For load and regression tests only: quality on made-up data says nothing about real videos. Beside the features lie
    titles and keywords (words.jsonl). A stopped run goes on when the same command is run again.
    """
    from lightmeter.library.yt8m.generate import NOTE, Wanted
    from lightmeter.library.yt8m.generate import generate as run
    from lightmeter.library.yt8m.world import Statistics
    from lightmeter.report.progress import Progress

    statistics = Statistics(asked["classes"], asked["labels_per_video"], asked["top_share"])
    wanted = Wanted(
        asked["videos"], statistics, asked["level"],
        test_share=asked["test_share"], most_frames=asked["max_frames"], seed=asked["seed"],
    )  # fmt: skip
    with Progress("generate", wanted.videos, quiet=quiet) as line:
        made = run(out, wanted, form=asked["form"], progress=lambda count: line.advance(ok=count))
    say(f"{out}: {NOTE}", quiet=quiet)
    if as_json:
        emit(
            ({"part": part, "form": asked["form"], **each.as_json()} for part, each in made.items()), "yt8m.generate/1"
        )
    else:
        for each in made.values():
            seen = each.statistics
            say(
                f"{each.folder}: videos {each.videos}, labels a video {seen['labels_per_video']:.2f}, the ten "
                f"commonest of all classes seen ({seen['classes_seen']}) have {100 * seen['top_share']:.1f} %",
                quiet=quiet,
            )


@yt8m.command(
    epilog="Examples: `lightmeter yt8m convert train/*.tfrecord SET --vocabulary names/vocabulary.csv` · "
    "`lightmeter yt8m convert SET OUT --to tfrecord` · `lightmeter yt8m convert SET set.parquet --to parquet`"
)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="SOURCE…")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to", "form", type=click.Choice(["set", "tfrecord", "parquet"]), default="set", show_default=True,
    help="What to write.",
)  # fmt: skip
@click.option(
    "--level", type=click.Choice(["auto", "video", "frame", "segment"]), default="auto", show_default=True,
    help="Of TFRecords; segment: one item for each segment that people rated.",
)  # fmt: skip
@click.option(
    "--classes", type=click.IntRange(1, 100_000),
    help="4716 until 2017.  [default: as many as the vocabulary names, else 3862]",
)  # fmt: skip
@click.option(
    "--vocabulary", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Names of the classes, as label_names.csv of 2017.  [default: vocabulary.csv beside the records]",
)  # fmt: skip
@click.option(
    "--store", type=click.Choice(["float16", "float32", "uint8"]), default="float16", show_default=True,
    help="How features of whole videos are kept.",
)  # fmt: skip
@click.option(
    "--quantised-by", type=click.Choice(["round", "floor"]), default="round", show_default=True,
    help="How 8-bit features were made: YouTube-8M's by round, ours by floor.",
)  # fmt: skip
@click.option("--max-frames", type=click.IntRange(1), help="Frames of a video at most.  [default: all]")
@click.option(
    "--id-key", type=click.Choice(["id", "video_id"]), default="id", show_default=True,
    help="Name of the id in TFRecords that are written; video_id until May 2018.",
)  # fmt: skip
@click.option("--gzip", "packed", is_flag=True, help="Pack the TFRecords that are written.")
@json_option
@quiet_option
def convert(sources: tuple[Path, ...], out: Path, **asked: Any) -> None:
    """Convert TFRecords, sets and Parquet files into one another.

    A SOURCE is a TFRecord file, a folder of them, a set, or a Parquet file that was made of a set. A record that cannot
    be used is left out and told in OUT/quarantine.jsonl. Titles and keywords in words.jsonl beside the records come
    along, for `yt8m words`. Run the same command again after a stop: it goes on. Ends with code 3 when some records
    were left out.
    """
    raise SystemExit(_write_out(sources[0], out, asked) if _is_set(sources, asked) else _read_in(sources, out, asked))


_OF_RECORDS = ("level", "classes", "vocabulary", "store", "quantised_by", "max_frames")


def _is_set(sources: tuple[Path, ...], asked: dict[str, Any]) -> bool:
    if len(sources) == 1 and (sources[0] / "set.json").is_file():
        refuse_here(_OF_RECORDS, "is for TFRecords: the set is what it is")
        return True
    if asked["form"] != "set":
        raise click.UsageError(f"--to {asked['form']} is for one set: convert SOURCE into a set first")
    refuse_here(("id_key", "packed"), "is for --to tfrecord")
    return False


def _write_out(source: Path, out: Path, asked: dict[str, Any]) -> int:
    """A set → TFRecords or Parquet."""
    from lightmeter.library.example_set import open_set
    from lightmeter.library.yt8m.exporting import WORDS
    from lightmeter.report.progress import Progress

    if asked["form"] == "set":
        raise click.UsageError(f"{source} is a set already: say what to write, with --to tfrecord or --to parquet")
    examples = open_set(source)
    with Progress("convert", len(examples), quiet=asked["quiet"]) as line:
        if asked["form"] == "parquet":
            refuse_here(("id_key", "packed"), "is for --to tfrecord")
            from lightmeter.library.yt8m.parquet import write_parquet

            write_parquet(examples, out, progress=lambda count: line.advance(ok=count))
            if (source / WORDS).is_file():
                say(
                    f"titles and keywords do not fit into the table: they stay in {source / WORDS}",
                    quiet=asked["quiet"],
                )
        else:
            from lightmeter.library.yt8m.exporting import write_tfrecords

            write_tfrecords(
                examples, out, id_key=asked["id_key"], packed=asked["packed"],
                progress=lambda count: line.advance(ok=count),
            )  # fmt: skip
    if asked["as_json"]:
        emit([{"path": out, "form": asked["form"], "items": len(examples), "left_out": {}}], "yt8m.convert/1")
    return 0


def _read_in(sources: tuple[Path, ...], out: Path, asked: dict[str, Any]) -> int:
    """TFRecords or Parquet → a set."""
    from lightmeter.report.progress import Progress

    left_out: dict[str, int] = {}
    with Progress("convert", quiet=asked["quiet"]) as line:
        if len(sources) == 1 and sources[0].suffix == ".parquet":
            refuse_here(_OF_RECORDS, "is for TFRecords: the table says what it holds")
            from lightmeter.library.yt8m.parquet import read_parquet

            examples = read_parquet(sources[0], out, progress=lambda count: line.advance(ok=count))
        else:
            from lightmeter.library.yt8m.convert import convert as run

            how = _conversion(sources, asked)
            done = run(sources, out, how, progress=lambda ok, failed: line.advance(ok=ok, failed=failed))
            examples, left_out = done.examples, dict(done.left_out)
    if asked["as_json"]:
        emit([{"path": out, "form": "set", "items": len(examples), "left_out": left_out}], "yt8m.convert/1")
    else:
        told = ", ".join(f"{count} {code}" for code, count in sorted(left_out.items()))
        say(f"{out}: items {len(examples)}" + (f"; left out: {told}" if told else ""), quiet=asked["quiet"])
        if told:
            say(f"each with its reason: {out / 'quarantine.jsonl'}", quiet=asked["quiet"])
    _say_words(out, quiet=asked["quiet"])
    return 3 if left_out else 0


def _say_words(out: Path, *, quiet: bool) -> None:
    from lightmeter.library.yt8m.exporting import WORDS

    if (out / WORDS).is_file():
        say(
            f"titles and keywords came along: `lightmeter yt8m words {out} --out SET2` makes blocks of them",
            quiet=quiet,
        )


def _conversion(sources: tuple[Path, ...], asked: dict[str, Any]) -> Conversion:
    from lightmeter.library.yt8m.convert import (
        MADE_BY,
        Conversion,
        blocks_beside,
        read_label_names,
        vocabulary_beside,
    )
    from lightmeter.library.yt8m.records import AUDIO_DIM, VISUAL_DIM, Schema

    path, classes = asked["vocabulary"] or vocabulary_beside(sources), asked["classes"]
    names = read_label_names(path, classes) if path else ()
    if path:
        say(f"classes {len(names)}, named by {path}", quiet=asked["quiet"])
    usual, where, told = {"visual": (VISUAL_DIM, MADE_BY[0]), "audio": (AUDIO_DIM, MADE_BY[1])}, *blocks_beside(sources)
    if told:
        say(f"{', '.join(f'{name} of {dim}' for name, (dim, _) in told.items())}, says {where}", quiet=asked["quiet"])
    (visual, seen_by), (audio, heard_by) = (usual | told).values()
    schema = Schema(classes or len(names), visual, audio) if classes or names else Schema(visual=visual, audio=audio)
    return Conversion(
        asked["level"], schema, names, storage=asked["store"], rounding=asked["quantised_by"],
        made_by=(seen_by, heard_by), most_frames=asked["max_frames"],
    )  # fmt: skip


@yt8m.command(epilog="Example: `lightmeter yt8m evaluate submission.csv SET`")
@click.argument("answers", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CSV")
@click.argument("examples", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="SET")
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Answers of a video that count.")
@json_option
@quiet_option
def evaluate(answers: Path, examples: Path, top: int, as_json: bool, quiet: bool) -> None:
    """Score a CSV of answers, as on Kaggle, against the labels of a set.

    The CSV is VideoId,LabelConfidencePairs, or of segments (2019) Class,Segments. Of classes that a line does not list
    nothing is known: they are no answers of confidence 0. Videos without a line count, with no answers. Of segments the
    pairs that people rated count. Ends with code 3 when lines were left out.
    """
    from lightmeter.library.yt8m.segment_answers import is_of_segments

    if is_of_segments(answers):
        refuse_here(("top",), "is for VideoId,LabelConfidencePairs: a list of segments counts as a whole")
        raise SystemExit(_evaluate_segments(answers, examples, as_json, quiet))
    raise SystemExit(_evaluate_videos(answers, examples, top, as_json, quiet))


def _evaluate_segments(answers: Path, examples: Path, as_json: bool, quiet: bool) -> int:
    from lightmeter.library.example_set import open_set
    from lightmeter.library.yt8m.segment_answers import score_segments
    from lightmeter.meter.cost import measure

    with measure() as meter:
        scored = score_segments(answers, open_set(examples))
    quality = scored.quality
    if as_json:
        counts = {"missing": scored.missing, "unknown": scored.unknown, "cost": meter.cost.as_json()}
        emit([{**quality.as_json(), **counts}], "yt8m.evaluate.segments/1")
        emit((each.as_json() for each in scored.problems), "yt8m.evaluate.line/1")
    else:
        click.echo(
            f"MAP {quality.map:.5f} · segments {quality.segments}, rated pairs {quality.rated}, right {quality.labels}"
        )
        say(
            f"classes with labels but no line {scored.missing}, listed segments that are not in the set (nobody rated "
            f"them) {scored.unknown}, lines that cannot be read {len(scored.problems)}; {meter.cost.text()}",
            quiet=quiet,
        )
        _say_problems(scored.problems, quiet)
    return 3 if scored.problems else 0


def _say_problems(problems: tuple[Problem, ...], quiet: bool) -> None:
    for each in problems[:10]:
        place = f"line {each.offset}" if each.offset else each.id
        say(f"left out: {place}: {each.code}: {each.reason}", quiet=quiet)


def _evaluate_videos(answers: Path, examples: Path, top: int, as_json: bool, quiet: bool) -> int:
    from lightmeter.library.example_set import open_set
    from lightmeter.library.yt8m.kaggle import score_answers
    from lightmeter.meter.cost import measure

    with measure() as meter:
        scored = score_answers(answers, open_set(examples), top=top)
    counts = {"missing": scored.missing, "unknown": scored.unknown, "short": scored.short}
    if as_json:
        emit([{**scored.quality.as_json(), **counts, "top": top, "cost": meter.cost.as_json()}], "yt8m.evaluate/1")
        emit((each.as_json() for each in scored.problems), "yt8m.evaluate.line/1")
    else:
        quality = scored.quality
        click.echo(
            f"GAP@{top} {quality.gap:.5f} (equal scores: {quality.gap_worst:.5f} to {quality.gap_best:.5f}) · "
            f"Hit@1 {quality.hit_at_1:.5f} · PERR {quality.perr:.5f} · mAP {quality.map:.5f} · "
            f"videos {quality.videos}, labels {quality.labels}"
        )
        say(
            f"videos without a line {scored.missing}, with fewer answers than {top} {scored.short}; lines of videos "
            f"that the set has not {scored.unknown}, that cannot be read {len(scored.problems)}; {meter.cost.text()}",
            quiet=quiet,
        )
        _say_problems(scored.problems, quiet)
    return 3 if scored.problems or scored.unknown else 0


yt8m.add_command(extract)
yt8m.add_command(words)
