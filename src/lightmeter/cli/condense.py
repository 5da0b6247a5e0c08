"""`lightmeter condense`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import (
    Finite,
    dry_run_option,
    emit,
    json_option,
    quiet_option,
    refuse_here,
    say,
    seed_option,
    shown_path,
)

if TYPE_CHECKING:
    from lightmeter.condense.answering import CondenseOptions
    from lightmeter.condense.condensing import Produced, Running
    from lightmeter.engines.events import Event
    from lightmeter.report.progress import Progress

_PER_CLASS = 10
EXPORTS = ("npz", "dd-ranking")


@click.command(
    epilog="Examples: `lightmeter condense pictures --per-class 10 --out small` · `lightmeter condense pictures "
    "--method herding --per-class 5 --out small --export npz` · `lightmeter condense pictures --at-least 0.9-of-full "
    "--out small` · `lightmeter condense pictures --plan --out small`"
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the small set.")
@click.option(
    "--per-class", type=click.IntRange(1), metavar="N",
    help=f"Pictures of each class that are kept; with --at-least the most that are tried.  [default: {_PER_CLASS}]",
)  # fmt: skip
@click.option(
    "--method", default="auto", show_default=True, metavar="SPEC",
    help="Spec of a condenser, as herding or vlcp; auto tries several and keeps the best.",
)  # fmt: skip
@click.option(
    "--at-least", metavar="ACCURACY",
    help="Keep the fewest pictures that reach it, as 0.85, or 0.9-of-full: of what all pictures give.",
)  # fmt: skip
@click.option(
    "--within", type=Finite(min=0, min_open=True), metavar="CPU-S",
    help="CPU-seconds that making the set may cost, all that is learnt for it included.",
)  # fmt: skip
@click.option(
    "--curve", multiple=True, type=click.IntRange(1), metavar="N",
    help="Also try so many a class, for the report (repeatable).  [default: 1 with --method auto]",
)  # fmt: skip
@click.option(
    "--protocol", metavar="SPEC", default="",
    help="How students learn.  [default: quick; of one method without --at-least quick/steps=50]",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), metavar="N",
              help="Students of each set.  [default: 3; of one method without --at-least 1]")  # fmt: skip
@click.option(
    "--student", "students", multiple=True, metavar="SPEC",
    help="Also score the kept set with this network, as resnet-ap/depth=10 (repeatable).",
)  # fmt: skip
@click.option(
    "--valid", default=0.2, show_default=True, type=Finite(min=0, max=1, min_open=True, max_open=True), metavar="SHARE",
    help="Share of each class that is held out to score on; at most 5,000 pictures in all.",
)  # fmt: skip
@click.option("--size", type=click.IntRange(8, 512), metavar="N",
              help="Side of the pictures.  [default: their median short side, at most 64]")  # fmt: skip
@click.option(
    "--captions", default="attributes", show_default=True, metavar="SPEC",
    help="What captions the pictures, for methods that read captions.",
)  # fmt: skip
@click.option(
    "--generator", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Folder of a diffusion model, as Stable Diffusion 1.5.  [default: a small one learns the pictures]",
)  # fmt: skip
@click.option("--export", "exports", multiple=True, type=click.Choice(EXPORTS), help="Also write it so (repeatable).")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder that keeps what is made once, for later runs.  [default: a hidden one beside OUT, gone at the end]",
)  # fmt: skip
@click.option("--engine", metavar="SPEC", help="Engine that reads the files, as inline or local/workers=4.")
@click.option("--plan", "plan", is_flag=True, help="Say what time, memory and disk it would take; make nothing.")
@click.option("--anew", is_flag=True, help="Begin again, and replace the set in --out.")
@dry_run_option
@seed_option
@json_option
@quiet_option
def condense(folder: Path, out: Path, **asked: Any) -> None:
    """Shrink FOLDER, a folder of pictures a class, to N pictures a class, and say which accuracy is kept.

    OUT gets CLASS/*.png, metadata.jsonl, provenance.json and report.html, at once or not at all. A share of FOLDER is
    held out from everything; every method is scored on it by students that learn the small set alone, beside a random
    one. Made pictures are kept only where they clearly beat the best selection. A stopped run goes on when the same
    command is given again. Exit code 3: some files could not be read; they are named in findings.jsonl.
    """
    from lightmeter.condense.condensing import condense as condensed
    from lightmeter.condense.writing import check_condensed_out
    from lightmeter.meter.cost import measure

    check_condensed_out(out, anew=asked["anew"])
    options = _options(asked)
    if asked["plan"] or asked["dry_run"]:
        refuse_here(("plan",) if asked["dry_run"] else (), "is more than --dry-run says: give one of them")
        _say_plan(folder, out, options, asked)
        return
    with _Lines(quiet=asked["quiet"]) as lines, measure() as meter:
        produced = condensed(folder, out, options, _running(asked, lines))
    _show(produced, meter.cost, asked)
    if produced.opened.failed:
        click.get_current_context().exit(3)


def _options(asked: dict[str, Any]) -> CondenseOptions:
    from lightmeter.condense.answering import Bar, CondenseOptions

    bar = None if asked["at_least"] is None else Bar.of(asked["at_least"])
    per_class = asked["per_class"] or (_PER_CLASS if bar is None else None)
    if bar is not None:
        refuse_here(("curve",), "is for one budget: --at-least goes through several")
    return CondenseOptions(
        per_class, asked["method"], asked["curve"], bar, asked["within"], asked["protocol"], asked["seeds"] or 0,
        asked["seed"], asked["valid"], asked["captions"], asked["generator"],
        students=asked["students"],
    )  # fmt: skip


def _running(asked: dict[str, Any], lines: _Lines) -> Running:
    from lightmeter.condense.answering import Listener
    from lightmeter.condense.condensing import Running
    from lightmeter.parts import build

    engine = build(asked["engine"], "engine") if asked["engine"] else None
    listener = Listener(lines.tell, lines.trial, lines.step)
    return Running(asked["size"], asked["work"], engine, asked["exports"], asked["anew"], listener, lines.read)


class _Lines:
    """One line of progress at a time: of files that are read, then of trials."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.line: Progress | None = None
        self.seen, self.name = (0, 0), ""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line."""
        if self.line is not None:
            self.line.close()
        self.line = None

    def _opened(self, label: str, total: int) -> Progress:
        from lightmeter.report.progress import Progress

        if self.line is None:
            self.line = Progress(label, total, quiet=self.quiet)
        self.line.label = label
        return self.line

    def read(self, event: Event, total: int) -> None:
        """An event of the executor."""
        line = self._opened("read", total)
        if event.kind in ("batch", "done"):
            line.advance(ok=event.counts.done - self.seen[0], failed=event.counts.failed - self.seen[1])
            self.seen = event.counts.done, event.counts.failed
        if event.kind == "done":
            self.close()
        elif event.kind == "restart":
            line.note(f"a worker was restarted: {event.reason}")

    def trial(self, number: int, total: int, name: str) -> None:
        """The start of a trial."""
        self.name = name
        line = self._opened(f"trials ({name})", total)
        line.advance(ok=number - line.done)

    def step(self, text: str) -> None:
        """Where a trial is."""
        if self.line is not None:
            self.line.label = f"trials ({self.name}: {text})"
            self.line.advance()

    def tell(self, text: str) -> None:
        """A line of its own."""
        if self.line is not None:
            self.line.note(text)
        else:
            say(text, quiet=self.quiet)


def _say_plan(folder: Path, out: Path, options: CondenseOptions, asked: dict[str, Any]) -> None:
    from lightmeter.condense.answering import shown
    from lightmeter.condense.condensing import planned

    look, methods, plan = planned(folder, options, size=asked["size"], timed=asked["plan"])
    budgets = options.budgets(look.largest)
    if asked["as_json"]:
        told = {} if plan is None else {"plan": plan.as_json()}
        emit(
            [{
                "path": out, "files": look.files, "classes": look.classes, "side": look.side or None,
                "budgets": budgets, "methods": methods.specs, "not_run": methods.not_run,
                "protocol": options.protocol, "seeds": options.seeds, **told,
            }],
            "condense.plan/1",
        )  # fmt: skip
        return
    side = f" at {look.side} × {look.side}" if look.side else ""
    click.echo(f"would read {look.files:,} files of {look.classes:,} classes{side}")
    names = ", ".join(shown(each) for each in methods.specs)
    click.echo(f"would try {names} at {', '.join(map(str, budgets))} pictures a class")
    for method, why in methods.not_run.items():
        click.echo(f"would not run {shown(method)}: {why}")
    click.echo(f"would score with {options.protocol}, {options.seeds} seeds, and write {shown_path(str(out))}")
    if plan is not None:
        click.echo(plan.text())


def _show(produced: Produced, cost: Any, asked: dict[str, Any]) -> None:
    from lightmeter.condense.answering import shown
    from lightmeter.condense.condensing import FOUND, REPORT
    from lightmeter.condense.report import across_of, headline, how_scored, rows_of
    from lightmeter.report.text import table

    answer, found = produced.answer, produced.opened.counts()
    if asked["as_json"]:
        emit([{"path": produced.out, **produced.as_json(), "cost": cost.as_json()}], "condense/1")
        return
    say(how_scored(answer), quiet=asked["quiet"])
    click.echo(table(rows_of(answer), width=32))
    if answer.across:
        click.echo(table(across_of(answer), width=48))
    for note in answer.notes:
        click.echo(note)
    for method, why in answer.not_run.items():
        click.echo(f"{shown(method)}: not run, {why}")
    if found:
        said = ", ".join(f"{count} {what}" for what, count in found.items())
        click.echo(f"files with something to be said: {said} (see {FOUND})")
    click.echo(headline(answer))
    click.echo(f"{shown_path(str(produced.out))}: {len(answer.kept.small)} pictures, {REPORT} · {cost.text()}")
