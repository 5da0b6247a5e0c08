"""`lightmeter yt8m words`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, given_here, json_option, quiet_option, refuse_here, say, seed_option

if TYPE_CHECKING:
    from lightmeter.library.yt8m.words import WordsMade
    from lightmeter.library.yt8m.words_options import WordsOptions
    from lightmeter.report.progress import Progress

_HOW = (
    "profile", "english", "lexicon", "clusters", "metric", "codebook", "length", "keyword_tokens", "sentence",
    "embeddable_only", "without_labels", "seed",
)  # fmt: skip


@click.command(
    epilog="Examples: `lightmeter yt8m words TRAIN texts.jsonl --out TRAIN2 --vectors vectors.bin` · "
    "`lightmeter yt8m words TEST texts.jsonl --out TEST2 --like TRAIN2` · "
    "`lightmeter yt8m words TRAIN a.jsonl b.jsonl.gz --out TRAIN3 --profile paper --english published --metric l1`"
)
@click.argument("examples", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="SET")
@click.argument(
    "texts", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="[TEXTS.jsonl…]"
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the new set.")
@click.option(
    "--vectors", default="glove", show_default=True, metavar="WHERE",
    help="Word vectors: glove, a saved folder, word2vec's .bin or .txt.",
)  # fmt: skip
@click.option(
    "--profile", type=click.Choice(["paper", "code", "modern"]), default="modern", show_default=True,
    help="How titles and keywords are cleaned.",
)  # fmt: skip
@click.option(
    "--english", type=click.Choice(["published", "names", "none"]), default="names", show_default=True,
    help="Which words are kept as English.",
)  # fmt: skip
@click.option(
    "--lexicon", type=click.Path(exists=True, dir_okay=False),
    help="English words, one a line.  [default: american-english, for published]",
)  # fmt: skip
@click.option(
    "--clusters", default=1024, show_default=True, type=click.IntRange(0, 10_000),
    help="Clusters of words that the block keywords counts; 0 for no block.",
)  # fmt: skip
@click.option(
    "--metric", type=click.Choice(["l1", "l2"]), default="l2", show_default=True, help="How the nearest is found."
)
@click.option(
    "--codebook", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
    help="Clusters of another set.  [default: fitted on this set's keywords]",
)  # fmt: skip
@click.option(
    "--length", default=40, show_default=True, type=click.IntRange(0, 10_000),
    help="Words of a title in the block title; 0 for no block.",
)  # fmt: skip
@click.option(
    "--keyword-tokens", default=0, show_default=True, type=click.IntRange(0, 10_000), metavar="N",
    help="Keywords one by one in the block keyword-tokens; 0 for no block.",
)  # fmt: skip
@click.option("--sentence", default="", metavar="SPEC", help="Encoder of words for the block sentence, as bge-small.")
@click.option("--embeddable-only", is_flag=True, help="Leave out what may not be embedded, as the seed had to.")
@click.option(
    "--without-labels", type=click.Choice(["phrase", "all-words"]),
    help="Leave out words that name a label of their video.",
)  # fmt: skip
@click.option(
    "--like", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="SET",
    help="As the words of this set were made, with its codebook: for test sets.",
)  # fmt: skip
@seed_option
@json_option
@quiet_option
def words(examples: Path, texts: tuple[Path, ...], out: Path, **asked: Any) -> None:
    """Join titles and keywords to a set: another set, with blocks keywords, title, sentence.

    TEXTS are JSON lines, as the YouTube API dumps them or `id`, `title`, `keywords`; of a set that has a
    words.jsonl, as generate, extract and convert make it, that one unless told otherwise. Says what was lost and
    why; the report and plots of the commonest words lie in OUT. A stopped run goes on when the same command is run
    again. Ends with code 3 when lines could not be read.
    """
    from lightmeter.library.example_set import open_set
    from lightmeter.library.yt8m.words import add_words
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    options, own = _options(asked), examples / "words.jsonl"
    if not texts and not own.is_file():
        raise click.UsageError(f"{examples} has no words.jsonl: name files of JSON lines with titles and keywords")
    whole = open_set(examples)
    with measure() as meter, Progress("words", len(whole), quiet=asked["quiet"]) as line:
        made = add_words(whole, texts or (own,), out, options, told=_Told(line))
    if asked["as_json"]:
        said = {name: value for name, value in made.report.items() if name != "schema"}
        emit([{"path": out, "again": made.again, **said, "cost": meter.cost.as_json()}], "yt8m.words/1")
    else:
        _tell(made, out, meter.cost.text(), quiet=asked["quiet"])
    lines = made.report["lines"]
    raise SystemExit(3 if any(count for what, count in lines.items() if what != "videos") else 0)


def _options(asked: dict[str, Any]) -> WordsOptions:
    from lightmeter.library.yt8m.words_options import WordsOptions, options_like

    if asked["like"] is not None:
        refuse_here(_HOW, "comes from --like: leave it out")
        return options_like(asked["like"], vectors=asked["vectors"] if given_here(["vectors"]) else None)
    if asked["codebook"] is not None:
        refuse_here(("clusters", "seed"), "does not go with --codebook, which says how many there are")
    elif not asked["clusters"]:
        refuse_here(("metric", "seed"), "is for the block keywords, which --clusters 0 leaves out")
    return WordsOptions(vectors=asked["vectors"], **{name: asked[name] for name in _HOW})


class _Told:
    """Puts on the line of progress what was read and written."""

    def __init__(self, line: Progress) -> None:
        self._line, self._read = line, 0

    def __call__(self, what: str, count: int) -> None:
        """what: read or write."""
        if what == "read":
            self._read += count
            self._line.label = f"words ({self._read} texts)"
        self._line.advance(ok=count if what == "write" else 0)


def _losses(row: dict[str, Any]) -> dict[str, Any]:
    """A step of the report for people: what was lost at it, what is left after it."""
    shown = {"step": row["step"]}
    for name in ("titles", "keywords", "both"):
        if f"{name} lost" in row:
            shown[f"{name} lost"] = row[f"{name} lost"]
        share = row.get(f"{name} left, share", 1)
        shown[f"{name} left"] = f"{row[f'{name} left']} ({100 * share:.1f} %)"
    return shown


def _tell(made: WordsMade, out: Path, price: str, *, quiet: bool) -> None:
    from lightmeter.report.text import table

    report = made.report
    click.echo(
        f"{out}: videos {report['videos']}, with keywords {report['with_keywords']}, with a title "
        f"{report['with_title']}, with both {report['with_both']} · different keywords {report['unique_keywords']}, "
        f"{report['keywords_a_video']:.2f} a video that has any"
    )
    click.echo(table([_losses(row) for row in report["losses"]]))
    for name, found in report.get("label_words_before", {}).items():
        click.echo(
            f"{name}: {100 * found['words']:.1f} % of the words named a label of their video, "
            f"{100 * found['labels']:.1f} % of the labels were named, {100 * found['any']:.1f} % of {found['texts']} "
            "named one; such words were left out"
        )
    for name, count in report["cut"].items():
        if count:
            say(f"{name}: {count} longer than the block, their ends were cut", quiet=quiet)
    left = {what: count for what, count in report["lines"].items() if what != "videos"}
    if left:
        told = ", ".join(f"{count} {what}" for what, count in sorted(left.items()))
        say(f"lines that could not be used: {told}", quiet=quiet)
    blocks = ", ".join(f"{block.name} ({block.kind} of {block.dim})" for block in made.examples.blocks)
    say(f"{'up to date. ' if made.again else ''}{blocks} · {price}", quiet=quiet)
