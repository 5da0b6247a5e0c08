"""Folders → library: scan, read what changed, keep it, calibrate. The one long job of the core."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmeter.encoders.by_path import pinned
from lightmeter.encoders.protocol import Encoder
from lightmeter.engines.events import Event
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Task
from lightmeter.errors import InvalidValueError, LibraryNotFoundError
from lightmeter.library.calibrating import calibrate
from lightmeter.library.connect import known
from lightmeter.library.coverage import complete_paths
from lightmeter.library.room import naming_the_limit, room_bytes
from lightmeter.library.scan import Found, Scan, scan
from lightmeter.library.sink import IndexSink, path_key
from lightmeter.library.stage import IndexStage
from lightmeter.library.store import Library, open_library
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.parts import build

DEFAULT_ENCODERS = ("efficientnet-lite", "conse", "log-mel")
DEFAULT_WORDS = "centred"
TWINS = 24
BATCH = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index run would do.

    fresh: files to read, new or changed or lacking features · unchanged: files that need nothing
    known_bad: failed before and unchanged since · gone: keys of paths below the folders that are no longer there
    healed: paths with an error that are no longer there
    """

    scan: Scan
    fresh: list[Found]
    unchanged: int
    known_bad: list[Found]
    gone: list[int]
    healed: list[str]


@dataclass(frozen=True, slots=True)
class Indexed:
    """How an index run ended.

    done: files read and kept · unchanged, skipped: needed nothing, were of other kinds · failed: path → reason
    damaged: path → what was wrong, kept all the same · stopped: the same command goes on
    """

    done: int
    unchanged: int
    skipped: int
    missing: int
    failed: dict[str, str]
    damaged: dict[str, str]
    items: int
    stopped: bool = False
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to index.

    encoders: specs for pictures, frames and sound · words: spec of the text encoder, "" for none
    fps: frames a second of video · retry: try files again that failed before · seed: which files get twins
    exclude: patterns of names or paths that are passed over
    limits: of a worker, None for the default, with the memory that the encoders' weights need (`room.room_bytes`)
    """

    encoders: tuple[str, ...] = DEFAULT_ENCODERS
    words: str = DEFAULT_WORDS
    fps: float = 1.0
    retry: bool = False
    seed: int = 0
    engine: Any = field(default_factory=Local)
    limits: Limits | None = None
    media: MediaLimits = DEFAULT_LIMITS
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000:
            raise InvalidValueError(f"fps must be above 0 and at most 1000, got {self.fps}")

    def made(self) -> list[Encoder]:
        """The encoders, those with a base last; what reads a file by path is held to the file as it is now."""
        made = [pinned(build(spec, "encoder")) for spec in self.encoders]
        for encoder in made:
            if encoder.takes not in ("image", "sound"):
                raise InvalidValueError(
                    f"--encoder must take pictures or sound, got {encoder.spec}: give it as --words"
                )
        return sorted(made, key=lambda encoder: getattr(encoder, "base", None) is not None)


def plan_index(
    folders: Sequence[Path], library: Library, stage: IndexStage, *, retry: bool = False, exclude: Sequence[str] = ()
) -> Plan:  # fmt: skip
    """Compare folders with a library, reading no file.  Cost: one stat a file, one pass over the library's paths.

    A folder that is gone, but below which the library knows files, counts as empty: its files are marked as missing.
    """
    kept = {path.path: path for path in library.known_paths()}
    here = [folder for folder in folders if os.path.lexists(folder) or not _knows_below(kept, folder)]
    listed = scan(here, leave_out=library.folder, exclude=exclude)
    bad = {} if retry else Ledger(library.connection, remember=False).failed(stage.fingerprint)
    complete = complete_paths(library.catalogue, stage.encoders, stage.words)
    fresh, known_bad, unchanged = [], [], 0
    for found in listed.found:
        row = kept.get(found.path)
        same = row is not None and (row.size_bytes, row.mtime_ns) == (found.size_bytes, found.stamp_ns)
        if row is not None and same and not row.removed and not row.missing and row.key in complete:
            unchanged += 1
        elif path_key(found.path, found.size_bytes, found.stamp_ns) in bad:
            known_bad.append(found)
        else:
            fresh.append(found)
    gone, healed = _gone(folders, listed, kept.values()), _healed(folders, listed, library)
    return Plan(listed, fresh, unchanged, known_bad, gone, healed)


def _knows_below(kept: Iterable[str], folder: Path) -> bool:
    base = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    return any(path.startswith(base) for path in kept)


def _gone(folders: Sequence[Path], listed: Scan, kept: Any) -> list[int]:
    here = {found.path for found in listed.found}
    roots = _roots(folders)
    return [row.key for row in kept if row.path not in here and not row.missing and row.path.startswith(roots)]


def _healed(folders: Sequence[Path], listed: Scan, library: Library) -> list[str]:
    """What could not be used at the last look and is not there any more."""
    here = {found.path for found in listed.found} | {found.path for found, _ in listed.refused}
    roots = _roots(folders)
    return [error.path for error in library.errors() if error.path not in here and error.path.startswith(roots)]


def _roots(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)  # noqa: PTH100, PTH118


def index(
    folders: Sequence[Path], folder: Path, options: IndexOptions | None = None,
    *, events: Callable[[Event, int], None] | None = None,
    wait_s: float = 10.0, waiting: Callable[[str], None] | None = None,
) -> Indexed:  # fmt: skip
    """Read folders into the library at `folder`, making it where there is none.

    Only files that changed are read; a content that is known under another path keeps its features. What fails is
    named and left out. Interrupted anywhere, the same call goes on.
    events: called with each engine event and the number of files to read · waiting: with a sentence on what takes long
    beside these: another writer, codes for searches in a large library.
    Cost: about 25 CPU-ms a picture with the default encoders, the same for each encoded frame of a video.
    """
    options = options or IndexOptions()
    encoders, words, stage = _parts(folder, options)
    with open_library(folder, create=True, write=True, wait_s=wait_s, waiting=waiting) as library:
        try:
            plan = plan_index(folders, library, stage, retry=options.retry, exclude=options.exclude)
            _prepare(library, plan, stage, encoders, words)
            if options.retry:
                Ledger(library.connection).forget([_key(found) for found in plan.fresh])
            named = [os.path.abspath(each) for each in folders]  # noqa: PTH100  resolve() would follow links
            number = library.begin_run("index", {"folders": named, "stage": stage.fingerprint})
            done = _run(library, plan, stage, _sink(library, plan, stage, encoders, words), options, events, waiting)
            if not done.stopped:
                library.end_run(number, {"items": done.items, "read": done.done, "failed": len(done.failed)})
            return done
        except sqlite3.DatabaseError as error:  # the ledger works on the library's connection and knows no library
            raise known(folder, error) from error
        finally:
            stage.close()  # opened here by the inline engine


def dry_run(folders: Sequence[Path], folder: Path, options: IndexOptions) -> Plan:
    """What `index` would do; changes nothing, and makes no library where there is none."""
    _, _, stage = _parts(folder, options)
    try:
        with open_library(folder) as library:
            return plan_index(folders, library, stage, retry=options.retry, exclude=options.exclude)
    except LibraryNotFoundError:
        listed = scan(folders, leave_out=folder, exclude=options.exclude)
        return Plan(listed, listed.found, 0, [], [], [])


def _parts(folder: Path, options: IndexOptions) -> tuple[list[Encoder], Any, IndexStage]:
    encoders = options.made()
    words = pinned(build(options.words, "encoder")) if options.words else None
    specs = tuple(encoder.spec for encoder in encoders)
    return encoders, words, IndexStage(specs, words.spec if words else "", folder, options.fps, options.media)


def _prepare(library: Library, plan: Plan, stage: IndexStage, encoders: Sequence[Encoder], words: Any) -> None:
    """Everything that is known without reading: series, missing paths, refused entries."""
    with library.transaction():
        for encoder in encoders:
            library.series(encoder.spec, owner="item", dim=encoder.dim)
        if words:
            library.series(words.spec, owner="path", dim=words.dim)
        library.mark_missing(plan.gone)
        for path in plan.healed:
            library.clear_errors(path)
        for found, error in plan.scan.refused:
            library.set_error(found.path, stage="scan", code=error.code, detail=error.detail)


def _sink(library: Library, plan: Plan, stage: IndexStage, encoders: Sequence[Encoder], words: Any) -> IndexSink:
    paths = {_key(found): found.path for found in plan.fresh}
    return IndexSink(
        library, {encoder.spec: encoder.dim for encoder in encoders}, (words.spec, words.dim) if words else None,
        path_of=paths.__getitem__, stage=stage.fingerprint,
    )  # fmt: skip


def _run(
    library: Library, plan: Plan, stage: IndexStage, sink: IndexSink, options: IndexOptions,
    events: Callable[[Event, int], None] | None, tell: Callable[[str], None] | None,
) -> Indexed:  # fmt: skip
    failed = {found.path: str(error) for found, error in plan.scan.refused}
    ledger = Ledger(library.connection, remember=False)
    bad = ledger.failed(stage.fingerprint)
    failed |= {found.path: _reason(bad[_key(found)]) for found in plan.known_bad if _key(found) in bad}

    def heard(event: Event) -> None:
        if event.kind == "failure":
            failed[sink.path_of(event.key)] = f"{event.reason.removeprefix('rejected:')}: {event.detail}"
        if events:
            events(event, len(plan.fresh))

    encoders = stage.made()
    limits = options.limits or Limits(memory_bytes=room_bytes(encoders))
    with naming_the_limit(encoders, limits):
        report = run(
            stage, _tasks(plan, options.seed), sink, ledger=ledger, engine=options.engine, limits=limits,
            batch_size=BATCH, events=heard,
        )  # fmt: skip
    if report.done:
        library.compact()
    if not report.stopped:
        calibrate(library, seed=options.seed, tell=tell)
    return Indexed(
        done=report.done,
        unchanged=plan.unchanged,
        skipped=plan.scan.skipped,
        missing=len(plan.gone),
        failed=failed,
        damaged=dict(sink.damaged),
        items=len(library.items()),
        stopped=report.stopped,
        restarts=report.restarts,
    )


def _reason(failure: Any) -> str:
    return f"{failure.reason.removeprefix('rejected:')}: {failure.detail}"


def _key(found: Found) -> str:
    return path_key(found.path, found.size_bytes, found.stamp_ns)


def _tasks(plan: Plan, seed: int) -> Iterator[Task]:
    """One task a file; a seeded handful of all files, read or not, also measures a changed copy of itself."""
    listed = plan.scan.found
    ordered = sorted(listed, key=lambda found: hashlib.sha256(f"{seed}{os.fsencode(found.path)!r}".encode()).digest())
    twins = {found.path for found in ordered[:TWINS]}
    for found in plan.fresh:
        payload = {
            "path": found.path, "root": found.root, "size_bytes": found.size_bytes, "stamp_ns": found.stamp_ns,
            "twin": found.path in twins,
        }  # fmt: skip
        yield Task(_key(found), payload)
