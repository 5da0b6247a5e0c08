"""A folder of labelled pictures in, a small one out: read, try, keep the best, write it with its page."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightmeter.assets.files import locked, write_whole
from lightmeter.condense.answering import TRIALS, Answer, CondenseOptions, Listener, Methods, answer, methods_of
from lightmeter.condense.exporting import FORMS, export
from lightmeter.condense.near_copies import Neighbours, nearest_real
from lightmeter.condense.planning import Plan, SetFacts, measured_speed, plan_of, prices_of
from lightmeter.condense.reading import Look, OpenedFolder, look_at_folder, open_image_folder
from lightmeter.condense.report import Told, across_of, facts_of, headline, how_scored, report_page
from lightmeter.condense.writing import Provenance, check_condensed_out, fill_folder, write_folder
from lightmeter.engines.crew import Engine
from lightmeter.engines.events import Event
from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.library.own_folder import check_own
from lightmeter.meter.record import versions
from lightmeter.parts import build, need

REPORT, FOUND = "report.html", "findings.jsonl"
_MARK = "condense-work.json"
_LOCK = ".lock"
_ASKED = 256


@dataclass(frozen=True, slots=True)
class Running:
    """How it is run.

    size: side of the pictures, None: chosen from the set · work: folder for all that is made once, kept after the end;
    None: a hidden one beside OUT, which goes when all is written · exports: of FORMS · anew: begin again, and replace
    what this command wrote to OUT before · heard: gets the executor's events while pictures are read
    """

    size: int | None = None
    work: Path | None = None
    engine: Engine | None = None
    exports: tuple[str, ...] = ()
    anew: bool = False
    listener: Listener = field(default_factory=Listener)
    heard: Callable[[Event, int], None] | None = None

    def __post_init__(self) -> None:
        unknown = [each for each in self.exports if each not in FORMS]
        if unknown:
            raise InvalidValueError(f"exports must be of {', '.join(FORMS)}, got {', '.join(unknown)}")


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """A small set that was written.

    took_s: phase → seconds by the clock · exported: files besides the folder of pictures
    """

    out: Path
    answer: Answer
    opened: OpenedFolder
    near: Neighbours
    plan: Plan
    took_s: dict[str, float]
    exported: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs: what provenance says of the whole, and what was planned and taken."""
        return {
            **head_of(self.answer, self.opened), "pictures": len(self.answer.kept.small),
            "near_copy_rate": self.near.rate, "planned": self.plan.as_json(), "took_s": self.took_s,
            "exported": [str(each) for each in self.exported],
        }  # fmt: skip


def condense(
    folder: Path | str, out: Path | str, options: CondenseOptions | None = None, running: Running | None = None
) -> Produced:
    """Condense FOLDER/CLASS/*.png … into OUT/CLASS/*.png, with metadata.jsonl, provenance.json and report.html.

    Whatever was finished is kept, so the same call goes on where a stopped one ended.
    Raises InvalidValueError for an OUT that holds other things, a FOLDER that is no labelled set, and a bar that no
    method reaches.
    """
    folder, out = Path(folder), Path(out)
    options, running = replace(options or CondenseOptions(), source=folder), running or Running()
    check_condensed_out(out, anew=running.anew)
    if out.resolve().is_relative_to(folder.resolve()):
        raise InvalidValueError(f"OUT must lie outside of FOLDER, got {out}: it would be a class the next time")
    _check_parts(options)
    with _work_folder(out, running) as work:
        watch = _Watch()
        with watch.phase("read"):
            opened = open_image_folder(
                folder, size=running.size, work=work, engine=running.engine, tell=running.listener.tell,
                heard=running.heard,
            )  # fmt: skip
        with watch.phase("plan"):
            methods, plan = planned_methods(set_facts(opened, folder), options)
        made = answer(opened.images, work, options, methods, listener=running.listener)
        watch.took_s |= made.took_s
        produced = _written(out, made, opened, plan, running, watch)
    return produced


def _check_parts(options: CondenseOptions) -> None:
    """What is misspelt or not installed is said before anything is read."""
    methods_of(options)
    build(options.protocol, "protocol")
    build(options.captions, "captioner")
    for student in options.students:
        build(student, "student")
    if find_spec("torch") is None:
        need("torch", "torch")


def _written(out: Path, made: Answer, opened: OpenedFolder, plan: Plan, running: Running, watch: _Watch) -> Produced:
    with watch.phase("near copies"):
        near = nearest_real(made.kept.small, made.split.learn, seed=made.options.seed)
    exported: list[str] = []

    def fill(place: Path) -> None:
        with watch.phase("write"):
            captions = made.bench.captions() if "captions" in made.bench.costs() else ()
            fill_folder(place, made.kept.small, Provenance(made.split.learn, near, head_of(made, opened), captions))
            for form in running.exports:
                exported.extend(
                    str(each.relative_to(place)) for each in export(form, place, made.kept.small, made.split.learn)
                )
            (place / FOUND).write_text("".join(f"{json.dumps(asdict(each))}\n" for each in opened.findings), "ascii")
        with watch.phase("report"):
            page = report_page(made, Told(opened.findings, near, plan, watch.took_s))
            page.write(place / REPORT)

    write_folder(out, fill, anew=running.anew)
    return Produced(out, made, opened, near, plan, watch.took_s, tuple(out / each for each in exported))


def head_of(made: Answer, opened: OpenedFolder) -> dict[str, Any]:
    """What provenance says of the whole set."""
    kept, options = made.kept, made.options
    own, less = made.intervals(kept)
    return {
        "headline": headline(made), "method": kept.method, "makes_pictures": kept.makes, "per_class": kept.per_class,
        "seed": options.seed, "protocol": options.protocol, "seeds": options.seeds, "scored": how_scored(made),
        "accuracy": [own.value, own.low, own.high],
        "to_random": None if less is None else [less.value, less.low, less.high], "full": made.full,
        "price": kept.price.as_json(), "trials": [facts_of(made, each) for each in made.attempts],
        "across": across_of(made), "not_run": made.not_run, "choice": list(made.notes),
        "source": {
            "fingerprint": opened.images.fingerprint, "pictures": len(opened.images), "side": opened.images.size[0],
            "classes": len(opened.images.classes), "learnt_from": len(made.split.learn),
            "held_out": len(made.split.held),
            "findings": opened.counts(), "notes": list(opened.notes),
            "licence": "that of the pictures in FOLDER, which this program does not know",
        },
        "models": made.bench.models(generator=kept.makes), "versions": versions(),
    }  # fmt: skip


def set_facts(opened: OpenedFolder, folder: Path) -> SetFacts:
    """What a plan goes by."""
    images = opened.images
    size_bytes = (
        sum((folder / name).stat().st_size for name in images.names[:_ASKED]) * len(images) // min(_ASKED, len(images))
    )
    return SetFacts(
        len(images), len(images.classes), int(images.counts().max()), images.size[0], int(images.images.shape[-1]),
        size_bytes,
    )  # fmt: skip


def planned_methods(facts: SetFacts, options: CondenseOptions) -> tuple[Methods, Plan]:
    """What will be tried, and what is expected of it."""
    methods, speed = methods_of(options), measured_speed(facts, options)
    methods = methods.within(prices_of(facts, options, methods.specs, speed), options)
    return methods, plan_of(facts, options, methods.specs, speed)


def planned(
    folder: Path | str, options: CondenseOptions, *, size: int | None = None, timed: bool = True
) -> tuple[Look, Methods, Plan | None]:
    """What `condense` would do, and with `timed` what it would take; nothing is kept.

    Without `timed` no file is opened: the side of the pictures is 0 where it would be chosen.
    """
    with tempfile.TemporaryDirectory(prefix="lightmeter-plan-") as work:
        look = look_at_folder(folder, Path(work), size=size if timed else size or 0)
    if not timed:
        return look, methods_of(options), None
    facts = SetFacts(look.files, look.classes, look.largest, look.side, 3, look.size_bytes)
    return look, *planned_methods(facts, options)


class _Watch:
    """Seconds by the clock, by phase."""

    def __init__(self) -> None:
        self.took_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.took_s[name] = self.took_s.get(name, 0.0) + time.perf_counter() - start_s


# -- the work folder --------------------------------------------------------------------------------------------------


@contextmanager
def _work_folder(out: Path, running: Running) -> Iterator[Path]:
    """Ours alone while it is used; one that the user did not name goes at a good end."""
    work = running.work or out.absolute().with_name(f".{out.name}.work")
    check_own(work, _stranger, "what `lightmeter condense` keeps for itself", called="WORK")
    if running.anew and running.work is None:
        shutil.rmtree(work, ignore_errors=True)
    fresh = not work.exists()
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / _LOCK), _clean_after_refusal(work, fresh=fresh and running.work is None):
        if not (work / _MARK).is_file():
            write_whole(work / _MARK, json.dumps({"schema": "lightmeter.condense.work/1"}) + "\n")
        yield work
        if running.work is None:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _clean_after_refusal(work: Path, *, fresh: bool) -> Iterator[None]:
    """A folder that could not be used leaves nothing behind; finished trials stay, whatever came after them."""
    try:
        yield
    except LightmeterError:
        if fresh and not (work / TRIALS).exists():
            shutil.rmtree(work, ignore_errors=True)
        raise


def _stranger(work: Path) -> str:
    if (work / _MARK).is_file():
        return ""
    return min((each.name for each in work.iterdir() if each.name != _LOCK), default="")
