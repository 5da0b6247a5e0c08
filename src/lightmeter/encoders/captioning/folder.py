"""Captions of a folder of pictures, through the executor: streaming, in workers, going on where it was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lightmeter.encoders.captioning.class_text import class_texts
from lightmeter.encoders.captioning.folder_stage import CaptionStage, Measuring
from lightmeter.encoders.captioning.folder_store import CaptionStore, measures_of
from lightmeter.encoders.captioning.metadata import METADATA, write_metadata
from lightmeter.encoders.captioning.protocol import Captioner
from lightmeter.engines.events import Event, Report
from lightmeter.engines.ledger import LEDGER_FILE, Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local, cores
from lightmeter.engines.run import run
from lightmeter.engines.stage import Task
from lightmeter.errors import InvalidValueError
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.sniff import IMAGE_NAMES

_BESIDE_BYTES = 2_000_000_000
_CUDA_BYTES = 32_000_000_000
_BATCH = 64
_ROWS = 500


@dataclass(frozen=True, slots=True)
class CaptionOptions:
    """How to caption a folder.

    class_names: folder's name → what its class is called; None: names made readable
    engine: None for workers on all cores, or, of a model, for one worker with all of them
    limits: None for the defaults, with the memory that the model's weights need and time for long captions
    retry: try pictures again that failed before
    """

    class_names: Mapping[str, str] | None = None
    engine: Any = None
    limits: Limits | None = None
    retry: bool = False
    media: MediaLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Captioned:
    """How a run ended.

    done: pictures captioned in this run · unchanged: before · empty: how many of both have no caption
    failed: name → reason · damaged: name → what was wrong, captioned all the same
    captioner: as it described them, fitted · metadata: the file that was written, None where the run was stopped
    """

    done: int
    unchanged: int
    empty: int
    failed: dict[str, str]
    damaged: dict[str, str]
    captioner: Captioner
    metadata: Path | None
    stopped: bool = False
    wall_s: float = 0.0
    cost_s: float = 0.0


def caption_folder(
    folder: Path | str, captioner: Captioner, work: Path | str, options: CaptionOptions | None = None,
    *, events: Callable[[Event, int], None] | None = None, stop: Callable[[], bool] | None = None,
) -> Captioned:  # fmt: skip
    """Caption every picture below a folder and write `work/metadata.jsonl`, whole, once all are done.

    The class of a picture is the folder that it lies in, as in an imagefolder; one at the top has none. What is done
    is kept in `work`: the same call goes on after a stop or a kill, and looks at new and changed pictures only.
    `attributes` measures each picture once, and chooses its words when all are measured.
    events: called with each engine event and the number of pictures to caption · stop: asked often; True ends the run
    Copy metadata.jsonl into the folder, where `datasets` looks for it. Links are not followed.
    Raises InvalidValueError where the folder holds no picture, or `work` somebody else's metadata.jsonl; what the
    captioner raises where it cannot be loaded.
    """
    options = options or CaptionOptions()
    place, work = Path(os.path.abspath(folder)), Path(os.path.abspath(work))  # noqa: PTH100  resolve() follows links
    _check_places(place, work)
    with Ledger.open(work) as ledger:
        stage = CaptionStage(captioner, options.media)
        job = _Job(place, work, options, ledger, CaptionStore(ledger.connection, stage.fingerprint), stop)
        return job.work_on(stage, events)


def _check_places(folder: Path, work: Path) -> None:
    if not folder.is_dir():
        raise InvalidValueError(f"FOLDER must be a folder with pictures, got {folder}: name one")
    strange = work == folder or ((work / METADATA).exists() and not (work / LEDGER_FILE).exists())
    if strange:
        raise InvalidValueError(
            f"work must be a folder of its own, got {work}, where {METADATA} is or will be a user's"
        )


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture of the folder. name: its path below it, `/` between the parts."""

    name: str
    class_name: str
    key: str


@dataclass
class _Job:
    folder: Path
    work: Path
    options: CaptionOptions
    ledger: Ledger
    store: CaptionStore
    stop: Callable[[], bool] | None
    failed: dict[str, str] = field(default_factory=dict)

    def work_on(self, stage: CaptionStage, events: Callable[[Event, int], None] | None) -> Captioned:
        """Caption what is not yet, then write all."""
        pictures = self._pictures()
        names = {each.key: each.name for each in pictures}
        self._take_failures(stage, names)
        before = sum(1 for _ in self.store.read(list(names)))
        to_do = len(names) - before - sum(name in self.failed for name in names.values())

        def heard(event: Event) -> None:
            if event.kind == "failure":
                self.failed[names[event.key]] = f"{event.reason.removeprefix('rejected:')}: {event.detail}"
            if events:
                events(event, to_do)

        report = self._run(stage, pictures, heard)
        damaged = {names[key]: told.note for key, told in self.store.read(list(names)) if told.note}
        return self._ended(stage, pictures, before, damaged, report)

    def _run(self, stage: CaptionStage, pictures: Sequence[_Picture], heard: Callable[[Event], None]) -> Report:
        captioner = stage.captioner
        of_model = captioner.size_bytes > 0
        engine = self.options.engine or (Local(1, threads=cores()) if of_model else Local())
        size = max(1, getattr(captioner, "batch", 1)) if of_model else _BATCH
        tasks = (Task(each.key, self._payload(each)) for each in pictures)
        limits = self.options.limits or limits_of(captioner)
        return run(
            stage, tasks, self.store, ledger=self.ledger, engine=engine, limits=limits, batch_size=size, events=heard,
            stop=self.stop,
        )  # fmt: skip

    def _payload(self, picture: _Picture) -> dict[str, Any]:
        path = os.fspath(self.folder / picture.name)
        return {"path": path, "root": os.fspath(self.folder), "name": picture.name, "class_name": picture.class_name}

    def _take_failures(self, stage: CaptionStage, names: Mapping[str, str]) -> None:
        before = self.ledger.failed(stage.fingerprint)
        if self.options.retry:
            self.ledger.forget(before, stage.fingerprint)
            return
        for key, each in before.items():
            if key in names:
                self.failed[names[key]] = f"{each.reason.removeprefix('rejected:')}: {each.detail}"

    def _ended(
        self, stage: CaptionStage, pictures: Sequence[_Picture], before: int, damaged: dict[str, str], report: Report
    ) -> Captioned:
        captioner: Any = stage.captioner
        empty, written = 0, None
        if not report.stopped:
            keys = [each.key for each in pictures]
            measuring = isinstance(captioner, Measuring)
            if measuring:
                rows = measures_of(told for _, told in self.store.read(keys))
                captioner = captioner.fit_measures(rows) if len(rows) else captioner
            counter = _Counting(self._rows(pictures, captioner, measuring=measuring))
            written = write_metadata(self.work, counter)
            empty = counter.empty
        return Captioned(
            report.done, before, empty, self.failed, damaged, captioner, written, report.stopped, report.wall_s,
            report.cost_s,
        )  # fmt: skip

    def _rows(self, pictures: Sequence[_Picture], captioner: Any, *, measuring: bool) -> Iterator[dict[str, str]]:
        """Rows of metadata.jsonl, a few hundred in memory at a time."""
        for start in range(0, len(pictures), _ROWS):
            by_key = {each.key: each for each in pictures[start : start + _ROWS]}
            told = [(by_key[key], each) for key, each in self.store.read(list(by_key))]
            if measuring and told:
                rows = measures_of([each for _, each in told])
                texts = captioner.describe(rows, [picture.class_name for picture, _ in told])
            else:
                texts = [each.text for _, each in told]
            for (picture, _), text in zip(told, texts, strict=True):
                yield {"file_name": picture.name, "text": text}

    def _pictures(self) -> list[_Picture]:
        """Every picture below the folder, by name; one whose name UTF-8 cannot hold has failed."""
        found: list[tuple[str, str, str]] = []
        for path in _files(self.folder, self.work):
            name = path.relative_to(self.folder).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                shown = os.fsencode(name).decode("utf-8", "backslashreplace")
                self.failed[shown] = f"name: {METADATA} cannot hold it: rename the file"
                continue
            status = path.lstat()
            inside = path.parent.name if path.parent != self.folder else ""
            found.append((name, inside, f"{status.st_size} {status.st_mtime_ns}"))
        if not found:
            raise InvalidValueError(f"FOLDER must hold pictures, got {self.folder} without any: look at the path")
        called = class_texts(sorted({inside for _, inside, _ in found if inside}), self.options.class_names) | {"": ""}
        return [
            _Picture(name, called[inside], _key(name, stamp, called[inside])) for name, inside, stamp in sorted(found)
        ]


def _files(folder: Path, work: Path) -> Iterator[Path]:
    """Files and links with the name of a picture, hidden folders and the work folder left out."""
    for base, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".") and Path(base) / each != work]
        for name in files:
            if not name.startswith(".") and name.rpartition(".")[2].lower() in IMAGE_NAMES:
                yield Path(base) / name


def _key(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


class _Counting:
    """Rows as they pass, and how many of them have no text."""

    def __init__(self, rows: Iterator[dict[str, str]]) -> None:
        self._rows, self.empty = rows, 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        for row in self._rows:
            self.empty += not row["text"]
            yield row


def limits_of(captioner: Captioner) -> Limits:
    """What a worker with this captioner may take: the engines' default, or memory and time of a model.

    Memory: twice the weights, 2 GB for all else, and 32 GB of addresses that CUDA reserves where it is used.
    """
    if not captioner.size_bytes:
        return Limits()
    cuda = _CUDA_BYTES if getattr(captioner, "device", "cpu") == "cuda" else 0
    return Limits(
        silent_s=3600.0,
        total_s=24 * 3600.0,
        open_s=3600.0,
        memory_bytes=2 * captioner.size_bytes + _BESIDE_BYTES + cuda,
    )
