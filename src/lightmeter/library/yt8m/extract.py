"""A folder of videos → features in YouTube-8M's schema: `lightmeter yt8m extract`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightmeter.encoders.protocol import Encoder
from lightmeter.engines.events import Event
from lightmeter.engines.ledger import LEDGER_FILE, Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Failure, Task
from lightmeter.errors import InvalidValueError, LightmeterError, MissingAssetError, RejectedFileError
from lightmeter.library.own_folder import check_own
from lightmeter.library.room import naming_the_limit, room_bytes
from lightmeter.library.scan import Found, scan
from lightmeter.library.sink import path_key
from lightmeter.library.yt8m.extract_labels import ABOUT_FOLDER, Labelled, check_labels, label_videos
from lightmeter.library.yt8m.extract_records import write_extracted_records
from lightmeter.library.yt8m.extract_set import SetOptions, cut_off, reductions_of, write_extracted
from lightmeter.library.yt8m.extract_store import ExtractStore, Kept
from lightmeter.library.yt8m.extracting import MOST_SECONDS, ExtractStage, encoders_of
from lightmeter.library.yt8m.reduction import FOLDER, Reduction, load_reductions
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.sniff import VIDEO_NAMES, sniff
from lightmeter.meter.record import hash_of

DEFAULT_ENCODER = "efficientnet-lite/size=0"
DEFAULT_SOUND = "log-mel"
TOTAL_S = 600.0
"""What one video may take."""
Format = Literal["set", "tfrecord"]
MOST_CUT_OFF = 0.01
"""Share of the numbers beyond what 8 bits cover that is worth a warning."""
_OWN = re.compile(
    r"\.lock|(set|plan|records)\.json|vocabulary\.csv|(words|quarantine)\.jsonl|[0-9]{5,9}\.[a-z][a-z0-9_-]*\.npy"
    rf"|(frame|video)-[0-9]{{5,}}\.tfrecord|{FOLDER}(/model\.(json|safetensors))?"
)  # all that we write into OUT


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """How to extract.

    encoder, sound: specs, None: those of `writing.like`, else the defaults; sound "" for none
    max_seconds: of a video · labels: see `label_videos`, None for none · form: what is written
    retry: try videos again that failed before · exclude: patterns of names or paths that are passed over
    limits: of one video, since each is a batch of its own; None for the default, with the memory that the encoders'
    weights need (`room.room_bytes`)
    """

    encoder: str | None = None
    sound: str | None = None
    max_seconds: int = MOST_SECONDS
    labels: str | None = None
    form: Format = "set"
    writing: SetOptions = field(default_factory=SetOptions)
    retry: bool = False
    exclude: tuple[str, ...] = ()
    engine: Any = field(default_factory=Local)
    limits: Limits | None = None
    media: MediaLimits = DEFAULT_LIMITS

    def made(self) -> list[Encoder]:
        """The encoders of sight and, where there is one, of sound."""
        resolved = _resolved(self)
        return [each for each in encoders_of(resolved.encoder or "", resolved.sound or "") if each is not None]


@dataclass(frozen=True, slots=True)
class Extracted:
    """How a run ended.

    done: videos read in this run · unchanged: read before · skipped: files of other kinds · videos: in the set
    seconds: rows of sight in it · failed: path → reason · damaged: path → what was wrong, used all the same
    notes: sentences on what did not fit · written: whether OUT was written, else it was up to date (or the run stopped)
    """

    done: int
    unchanged: int
    skipped: int
    videos: int
    seconds: int
    failed: dict[str, str]
    damaged: dict[str, str]
    notes: tuple[str, ...] = ()
    written: bool = False
    stopped: bool = False
    restarts: int = 0


def extract(
    folder: Path, out: Path, options: ExtractOptions | None = None,
    *, events: Callable[[Event, int], None] | None = None,
) -> Extracted:  # fmt: skip
    """Read the videos below a folder and write a set of examples, or TFRecords, to `out`.

    What was read is kept in the folder `OUT.work`, so that the same call goes on after a stop, reads new videos only,
    and needs no video to write another level, reduction or format. OUT is replaced whole, when all is done.
    events: called with each engine event and the number of videos to read
    Raises InvalidValueError where OUT holds something else, a file of the user's among what we made too, where labels
    are of no video (before any is read), or where no video could be read.
    Cost: about 20 CPU-ms a second of video with the default encoders.
    """
    options = _resolved(options or ExtractOptions())
    out = Path(os.path.abspath(out))  # noqa: PTH100  resolve() would follow links
    _check_out(out)
    visual, audio = encoders_of(options.encoder or "", options.sound or "")
    stage = ExtractStage(visual.spec, audio.spec if audio else "", options.max_seconds, options.media)
    if options.labels is not None:
        check_labels(options.labels)
    found, failed, skipped = _videos(folder, out, options.exclude)
    if not found:
        raise _no_video(folder, failed)
    _labelled([name_of(each) for each in found], folder, options)
    with Ledger.open(_work(out)) as ledger:
        job = _Job(folder, out, options, ledger, ExtractStore(ledger.connection, stage.fingerprint))
        return job.work(stage, _made_by(visual, audio), found, failed, skipped, events)


def _work(out: Path) -> Path:
    return out.with_name(f"{out.name}.work")


def _made_by(visual: Encoder, audio: Encoder | None) -> dict[str, tuple[str, int]]:
    made = {"visual": (visual.spec, visual.dim)}
    return made if audio is None else made | {"audio": (audio.spec, audio.dim)}


def _resolved(options: ExtractOptions) -> ExtractOptions:
    """What was not said comes from the other set, else from the defaults."""
    like = options.writing.like
    if like is None:
        if options.writing.span is not None and (options.writing.level, options.form) == ("video", "set"):
            raise InvalidValueError("--span is for 8 bits, got it for means of whole videos, kept in 16: leave it out")
        encoder, sound = options.encoder or DEFAULT_ENCODER, options.sound
        return replace(options, encoder=encoder, sound=DEFAULT_SOUND if sound is None else sound)
    if options.writing.pca or options.writing.pca_sound or options.writing.span:
        raise InvalidValueError("--like brings its own reduction, got --pca, --pca-sound or --span too: leave them out")
    reductions, about = _reductions_of(like)
    specs = {each.name: each.made_by for each in reductions}
    return replace(
        options,
        encoder=options.encoder or specs.get("visual"),
        sound=specs.get("audio", "") if options.sound is None else options.sound,
        writing=replace(options.writing, level=about.get("level", options.writing.level)),
    )


def _reductions_of(like: Path) -> tuple[tuple[Reduction, ...], dict[str, Any]]:
    try:
        return load_reductions(like)
    except MissingAssetError as error:
        raise InvalidValueError(
            f"--like must be a set that `lightmeter yt8m extract` made, got {like}: name the set itself, not a model"
        ) from error


def _check_out(out: Path) -> None:
    """OUT may be replaced where we made all that is in it, and nowhere else; so may what OUT.work keeps of it."""
    check_own(out, _stranger, "what this command made, all of which it replaces", called="--out")
    check_own(_work(out), _stranger_to_work, "what this command keeps", called="the folder beside --out")


def _stranger(out: Path) -> str:
    """The first of any depth that we did not write, since OUT goes as a whole."""
    if not (out / FOLDER / "model.json").is_file():
        return min((each.name for each in out.iterdir()), key=lambda name: (name.startswith("."), name))
    names = (path.relative_to(out).as_posix() for path in out.rglob("*"))
    return next((name for name in names if not _OWN.fullmatch(name)), "")


def _stranger_to_work(work: Path) -> str:
    names = {each.name for each in work.iterdir()}
    return "" if LEDGER_FILE in names else min(names - {"ledger.lock"}, default="")


def _no_video(folder: Path, failed: dict[str, str]) -> InvalidValueError:
    got = f"{len(failed)} that cannot: {next(iter(failed.values()))}" if failed else "none"
    return InvalidValueError(f"FOLDER must hold a video that can be read, got {folder} with {got}")


def _videos(folder: Path, out: Path, exclude: Sequence[str]) -> tuple[list[Found], dict[str, str], int]:
    """Files that are videos by name or by their first bytes; what was refused; how many are of other kinds."""
    listed = scan([folder], leave_out=out, exclude=exclude)
    work = _work(out)
    own = sum(each.is_file() for each in work.rglob("*")) if _below(work, folder) else 0
    found = [each for each in listed.found if not _below(Path(each.path), work)]
    videos = [each for each in found if _is_video(each.path)]
    failed = {each.path: str(error) for each, error in listed.refused}
    return videos, failed, listed.skipped + len(listed.found) - own - len(videos)


def _below(path: Path, folder: Path) -> bool:
    return os.fspath(path).startswith(os.path.join(os.path.abspath(folder), ""))  # noqa: PTH100, PTH118


def _is_video(path: str) -> bool:
    if path.rpartition(".")[2].lower() in VIDEO_NAMES:
        return True
    try:
        kind = sniff(path)
    except RejectedFileError:
        return False
    return kind is not None and kind.kind == "video"


def name_of(found: Found) -> str:
    """A video's path below the folder, `/` between its parts, in text that every file can hold."""
    inside = os.path.relpath(found.path, found.root) if found.path != found.root else Path(found.path).name
    return os.fsencode(inside).decode("utf-8", "backslashreplace")


@dataclass
class _Job:
    """One call of `extract`."""

    folder: Path
    out: Path
    options: ExtractOptions
    ledger: Ledger
    store: ExtractStore

    def work(
        self, stage: ExtractStage, made_by: dict[str, tuple[str, int]], found: Sequence[Found],
        failed: dict[str, str], skipped: int, events: Callable[[Event, int], None] | None,
    ) -> Extracted:  # fmt: skip
        keys = {_key(each): each for each in found}
        before = self.ledger.failed(stage.fingerprint)
        if self.options.retry:
            self.ledger.forget(before, stage.fingerprint)
            before = {}
        failed |= {keys[key].path: _reason(each) for key, each in before.items() if key in keys}
        to_do = len(keys) - len(self.store.kept(list(keys))) - sum(key in keys for key in before)

        def heard(event: Event) -> None:
            if event.kind == "failure":
                failed[keys[event.key].path] = f"{event.reason.removeprefix('rejected:')}: {event.detail}"
            if events:
                events(event, to_do)

        encoders = self.options.made()
        limits = self.options.limits or Limits(total_s=TOTAL_S, memory_bytes=room_bytes(encoders))
        with naming_the_limit(encoders, limits):
            report = run(
                stage, _tasks(keys), self.store, ledger=self.ledger, engine=self.options.engine, limits=limits,
                batch_size=1, events=heard,
            )  # fmt: skip
        videos = self.store.kept(list(keys))
        ended = Extracted(
            report.done, len(videos) - report.done, skipped, len(videos), sum(each.seconds for each in videos), failed,
            {keys[each.key].path: each.notes for each in videos if each.notes},
            stopped=report.stopped, restarts=report.restarts,
        )  # fmt: skip
        if report.stopped:
            return ended
        if not videos:
            raise _no_video(self.folder, failed)
        written, notes = self._write(stage, videos, made_by)
        return replace(ended, written=written, notes=notes)

    def _write(
        self, stage: ExtractStage, videos: Sequence[Kept], made_by: dict[str, tuple[str, int]]
    ) -> tuple[bool, tuple[str, ...]]:
        """Replace OUT unless it holds just this."""
        options = self.options
        labelled = _labelled([each.name for each in videos], self.folder, options)
        notes = labelled.notes if labelled is not None else ()
        reductions = reductions_of(self.store, videos, made_by, options.writing)
        about = {
            "made_by": "lightmeter yt8m extract", "stage": stage.fingerprint, "format": options.form,
            "level": options.writing.level, "seed": options.writing.seed, ABOUT_FOLDER: os.path.abspath(self.folder),  # noqa: PTH100
            "plan": _plan(stage, videos, reductions, labelled, options),
        }  # fmt: skip
        notes = (*notes, *_on_sound(videos, reductions), *self._on_range(videos, reductions))
        if _stands(self.out, about):
            return False, notes
        with _replaced(self.out) as folder:
            write = write_extracted if options.form == "set" else write_extracted_records
            write(
                folder, self.store, videos, reductions, level=options.writing.level, labelled=labelled, about=about
            )  # fmt: skip
        return True, notes

    def _on_range(self, videos: Sequence[Kept], reductions: Sequence[Reduction]) -> Iterator[str]:
        """What 8 bits cut off, where their range was told or is that of another set, and so may not fit."""
        writing = self.options.writing
        if writing.level != "frame" or (writing.span is None and writing.like is None):
            return
        for each in reductions:
            share = cut_off(self.store, videos, each, seed=writing.seed)
            if share is not None:
                told = f"8 bits from {each.low:g} to {each.high:g} cut off {100 * share:.3g} % of {each.name}'s numbers"
                way_out = "make --span larger, or leave it out" if writing.like is None else "extract without --like"
                if share > MOST_CUT_OFF:
                    yield f"warning: {told}: {way_out}"
                elif writing.span is not None:
                    yield told


def _labelled(videos: Sequence[str], folder: Path, options: ExtractOptions) -> Labelled | None:
    """Labels of videos by their names below the folder; None where none were asked for."""
    if options.labels is None:
        return None
    names = None if options.writing.like is None else _label_names(options.writing.like)
    return label_videos(videos, options.labels, names=names, folder=folder)


def _on_sound(videos: Sequence[Kept], reductions: Sequence[Reduction]) -> tuple[str, ...]:
    """A sentence where nothing was heard of the videos."""
    if all(each.fitted for each in reductions):
        return ()
    if any(each.has_audio for each in videos):
        return ("the set of --like was made of videos without sound: sound is left out here too",)
    return ("no video has sound: the block `audio` is absent from all of them",)


def _label_names(like: Path) -> tuple[str, ...] | None:
    """Those of the other set; None where it is not labelled."""
    _, about = load_reductions(like)
    names = about.get("label_names") or []
    return tuple(map(str, names)) or None


def _plan(
    stage: ExtractStage, videos: Sequence[Kept], reductions: Sequence[Reduction], labelled: Labelled | None,
    options: ExtractOptions,
) -> str:  # fmt: skip
    """Hash of all that a set depends on."""
    reduced = [[each.block("frame").made_by, each.kept, each.low, each.high, each.fitted] for each in reductions]
    labels = None if labelled is None else [list(labelled.names), labelled.labels.offsets, labelled.labels.classes]
    keys = [each.key for each in videos]
    return hash_of([stage.fingerprint, keys, reduced, labels, options.form, options.writing.level])


def _stands(out: Path, about: dict[str, Any]) -> bool:
    try:
        return bool(load_reductions(out)[1].get("plan") == about["plan"])
    except LightmeterError:
        return False


class _replaced:  # noqa: N801  (used as a verb)
    """A new folder beside OUT that takes its place when the block ends well.

    What a killed run left of it is removed first; a kill between the two renames leaves OUT missing, and the same
    command writes it again.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.fresh, self.old = out, _work(out) / "fresh", _work(out) / "old"

    def __enter__(self) -> Path:
        for each in (self.fresh, self.old):
            shutil.rmtree(each, ignore_errors=True)
        return self.fresh

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            if self.out.exists():
                _check_out(self.out)  # again: somebody may have put something in while videos were read
                self.out.rename(self.old)
            self.fresh.rename(self.out)
        for each in (self.fresh, self.old):
            shutil.rmtree(each, ignore_errors=True)


def _tasks(keys: dict[str, Found]) -> Iterator[Task]:
    for key, found in keys.items():
        yield Task(key, {"path": found.path, "root": found.root, "name": name_of(found)})


def _key(found: Found) -> str:
    return path_key(found.path, found.size_bytes, found.stamp_ns)


def _reason(failure: Failure) -> str:
    return f"{failure.reason.removeprefix('rejected:')}: {failure.detail}"
