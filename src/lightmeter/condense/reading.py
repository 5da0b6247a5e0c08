"""A folder with a folder a class → an `ImageSet` on disk, and a list of what was found wrong with which file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import write_whole
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.picture_sink import PictureSink, Seen
from lightmeter.condense.picture_stage import VERSION, PictureStage
from lightmeter.condense.protocol import Tell
from lightmeter.condense.writing import folder_name
from lightmeter.engines.crew import Engine
from lightmeter.engines.events import Event
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Failure, Task
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.scan import Found, Scan, scan
from lightmeter.report.sheet import spread_out

MOST_DEFAULT_SIDE = 64
SIDES = (8, 512)
"""The smallest and the largest side that may be asked for."""
_LOOKED_AT = 256
_BATCH = 64
_ROWS_AT_ONCE = 2048
_IMAGES, _SET = "images.npy", "set.json"

What = str
"""`broken` (cannot be read), `other-kind`, `outside` (in no class folder), `link`, `duplicate` (of one of its class),
`twin` (the same picture in two classes), `tiny`: left out. `damaged`, `enlarged`, `cmyk`, `animated`, `grey` (among
coloured ones): used."""
FAILURES = ("broken", "link")
"""What makes a run end with exit code 3."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said of one file.

    name: `class/file` · what: one word (`What`) · detail: a sentence or part of one · used: whether it is in the set
    """

    name: str
    what: What
    detail: str
    used: bool


@dataclass(frozen=True, slots=True, eq=False)
class OpenedFolder:
    """A set that was read from a folder.

    images: memory-mapped, uint8 [N, S, S, C]; C is 1 where every picture is grey
    findings: what is to be said of single files, in the order of their names · notes: sentences about the whole
    """

    images: ImageSet
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> int:
        """Files that could not be read."""
        return sum(each.what in FAILURES for each in self.findings)

    def counts(self) -> dict[str, int]:
        """How many files by what is said of them."""
        return dict(sorted(Counter(each.what for each in self.findings).items()))


def open_image_folder(
    folder: Path | str,
    *,
    size: int | None = None,
    work: Path,
    engine: Engine | None = None,
    tell: Tell = lambda _: None,
    heard: Callable[[Event, int], None] | None = None,
) -> OpenedFolder:
    """Read FOLDER/CLASS/*.png, .jpg … into squares of `size`; a class's own sub-folders belong to it.

    size: None takes the median short side of up to 256 pictures, at most 64, rounded up to a multiple of 8
    work: folder that keeps the pixels; the same files, sizes and dates are not read twice, and a stopped run goes on
    heard: gets each event of the executor and the number of files

    Pictures are upright sRGB, the middle square, transparency on white, the first frame of several. The same picture
    twice in a class counts once; the same one in two classes is left out of both, for one of its labels is wrong.
    Raises InvalidValueError where fewer than two classes have a picture that can be used; KeyboardInterrupt when it was
    stopped.  Memory: names and labels; pictures stay on disk.
    """
    folder = Path(folder)
    listed, found = _listed(folder, work)
    classes = sorted({name.partition("/")[0] for name, _ in found})
    if len(classes) < 2:
        raise InvalidValueError(_no_set(folder, len(classes)))
    for each in classes:
        folder_name(each)
    if size is not None and not SIDES[0] <= size <= SIDES[1]:
        raise InvalidValueError(f"size must be {SIDES[0]} to {SIDES[1]} pixels, got {size}")
    place = work / f"pictures-{_key(folder, found, size)}"
    if not (place / _SET).is_file():
        for old in work.glob("pictures-*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)  # of the folder as it was before
        _Reading(folder, place, found, size, engine or Local(), heard).make(listed)
    opened = _opened(place)
    for note in opened.notes:
        tell(note)
    return opened


@dataclass(frozen=True, slots=True)
class Look:
    """What a folder seems to hold, before it is read.

    files: that may be pictures · classes: with at least one of them · largest: files of the largest class
    size_bytes: of all files · side: of the squares that would be made, 0: not asked
    """

    files: int
    classes: int
    largest: int
    size_bytes: int
    side: int


def look_at_folder(folder: Path | str, work: Path, *, size: int | None, engine: Engine | None = None) -> Look:
    """List a folder, and find the size that its pictures would have by up to 256 headers.

    size: 0: do not look for it · work: folder for what this needs; remove it afterwards
    Raises InvalidValueError as `open_image_folder`.
    """
    folder = Path(folder)
    _, found = _listed(folder, work)
    counts = Counter(name.partition("/")[0] for name, _ in found)
    if len(counts) < 2:
        raise InvalidValueError(_no_set(folder, len(counts)))
    side = size
    if side is None:
        work.mkdir(parents=True, exist_ok=True)
        with Ledger.open(work) as ledger:
            side = _Reading(folder, work, found, None, engine or Local(workers=1), None).size(ledger)[0]
    return Look(len(found), len(counts), max(counts.values()), sum(each.size_bytes for _, each in found), side)


# -- what lies there --------------------------------------------------------------------------------------------------


def _listed(folder: Path, work: Path) -> tuple[list[Finding], list[tuple[str, Found]]]:
    """What is left out unread, and what is to be read: name and file."""
    if not folder.is_dir():
        raise InvalidValueError(f"FOLDER must be a folder, got {folder}: name one with a folder of pictures a class")
    seen: Scan = scan([folder], leave_out=work)
    root = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118  resolve() would follow links
    findings = [
        Finding(each.path.removeprefix(root), "link" if "link" in error.code else "broken", error.detail, used=False)
        for each, error in seen.refused
    ]
    files = []
    for each in seen.found:
        name = each.path.removeprefix(root)
        if "/" in name:
            files.append((name, each))
        else:
            findings.append(Finding(name, "outside", "it lies in no folder of a class", used=False))
    if seen.skipped:
        findings.append(Finding("", "other-kind", f"{seen.skipped} files that are no pictures", used=False))
    return findings, files


def _no_set(folder: Path, classes: int) -> str:
    return (
        f"FOLDER must hold two folders of pictures or more, one a class, got {classes} at {folder}: make "
        "FOLDER/CLASS/picture.png"
    )


def _key(folder: Path, found: Sequence[tuple[str, Found]], size: int | None) -> str:
    digest = hashlib.sha256(f"{VERSION} {size}".encode() + os.fsencode(os.path.abspath(folder)))  # noqa: PTH100
    for name, each in found:
        digest.update(os.fsencode(name) + f"\0{each.size_bytes} {each.stamp_ns}\n".encode())
    return digest.hexdigest()[:16]


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Reading:
    """One reading of a folder into a place of its own."""

    folder: Path
    place: Path
    found: list[tuple[str, Found]]
    asked: int | None
    engine: Engine
    heard: Callable[[Event, int], None] | None

    def make(self, listed: list[Finding]) -> None:
        """Read what is not read yet, judge it all, and keep the set."""
        self.place.mkdir(parents=True, exist_ok=True)
        with Ledger.open(self.place, wait_s=10.0) as ledger:
            size, said = self.size(ledger)
            stage = PictureStage(size)
            raw = self.place / f"raw-{size}.u8"
            with PictureSink.open(ledger.connection, raw, rows=len(self.found), size=size) as sink:
                self._run(stage, range(len(self.found)), sink, ledger, told=True)
                judged = _judge(self.found, sink.seen(), ledger.failed(stage.fingerprint), size)
                self._keep(sink, judged, listed, size, said)
        raw.unlink()

    def size(self, ledger: Ledger) -> tuple[int, str]:
        """The side of the squares, and how it came about."""
        if self.asked is not None:
            return self.asked, f"pictures are made {self.asked} × {self.asked}, as asked"
        stage, rows = PictureStage(0), spread_out(len(self.found), _LOOKED_AT)
        with PictureSink.open(ledger.connection, None, rows=len(self.found), size=0) as sink:
            self._run(stage, rows, sink, ledger, told=False)
            sides = sink.sides()
        if not sides:
            reasons = Counter(each.detail for each in ledger.failed(stage.fingerprint).values())
            raise InvalidValueError(
                f"FOLDER must hold pictures that can be read, got {len(rows)} tried and none: "
                f"{reasons.most_common(1)[0][0] if reasons else 'they are of other kinds'}"
            )
        size, median = default_side(sides), int(np.median(sides))
        return size, (
            f"pictures are made {size} × {size}: half of them have a short side of {median} or more; --size asks for "
            "another"
        )

    def _run(self, stage: PictureStage, rows: Sequence[int], sink: PictureSink, ledger: Ledger, *, told: bool) -> None:
        tasks = (
            Task(_task_key(self.found[row]), {"path": self.found[row][1].path, "root": str(self.folder), "row": row})
            for row in rows
        )
        heard = self.heard
        events = None if heard is None or not told else lambda event: heard(event, len(rows))
        report = run(stage, tasks, sink, ledger=ledger, engine=self.engine, batch_size=_BATCH, events=events)
        if report.stopped:
            raise KeyboardInterrupt

    def _keep(self, sink: PictureSink, judged: _Judged, listed: list[Finding], size: int, said: str) -> None:
        names = [self.found[row][0] for row in judged.rows]
        classes = sorted({name.partition("/")[0] for name in names})
        gone = sorted({name.partition("/")[0] for name, _ in self.found} - set(classes))
        if len(classes) < 2:
            raise InvalidValueError(
                f"FOLDER must hold two classes with pictures that can be used, got {len(classes)} of "
                f"{len(classes) + len(gone)} at {self.folder}: {_most_said(judged.findings)}"
            )
        channels = 1 if judged.grey else 3
        made = self.place / f".{_IMAGES}.tmp"
        shape = (len(names), size, size, channels)
        kept = np.lib.format.open_memmap(made, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(names), _ROWS_AT_ONCE):
            rows = judged.rows[start : start + _ROWS_AT_ONCE]
            kept[start : start + len(rows)] = sink.pixels(rows)[..., :channels]
        kept.flush()
        del kept
        made.replace(self.place / _IMAGES)
        labels = _numbers(names)
        fingerprint = ImageSet.of(
            read_array(self.place / _IMAGES, mapped=True), np.array(labels, np.int64), classes, names
        ).fingerprint
        notes = [said, *(f"{name} is left out: no picture of it can be used" for name in gone)]
        if judged.grey:
            notes.append("every picture is grey: one channel is kept")
        told = sorted([*listed, *judged.findings], key=lambda each: os.fsencode(each.name))
        kept_as = {
            "classes": classes, "names": names, "labels": labels, "fingerprint": fingerprint, "notes": notes,
            "findings": [asdict(each) for each in told],
        }  # fmt: skip
        write_whole(self.place / _SET, json.dumps(kept_as))


def default_side(short_sides: Sequence[int]) -> int:
    """Median short side, at most 64, rounded up to a multiple of 8.

    >>> default_side([28, 28, 30]), default_side([480, 640, 7]), default_side([5])
    (32, 64, 8)
    """
    return -(-min(MOST_DEFAULT_SIDE, int(np.median(short_sides))) // 8) * 8 or 8


def _numbers(names: Sequence[str]) -> list[int]:
    places = {name: at for at, name in enumerate(sorted({each.partition("/")[0] for each in names}))}
    return [places[each.partition("/")[0]] for each in names]


def _task_key(found: tuple[str, Found]) -> str:
    name, each = found
    return hashlib.sha256(os.fsencode(name) + f"\0{each.size_bytes} {each.stamp_ns}".encode()).hexdigest()[:32]


def _opened(place: Path) -> OpenedFolder:
    try:
        told = json.loads((place / _SET).read_text("utf-8"))
        images = ImageSet(
            read_array(place / _IMAGES, mapped=True), np.array(told["labels"], np.int64), tuple(told["classes"]),
            tuple(told["names"]), told["fingerprint"],
        )  # fmt: skip
        return OpenedFolder(images, tuple(Finding(**each) for each in told["findings"]), tuple(told["notes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedFileError(
            "damaged", f"{place} must be as it was written, got {error}: delete it and run again"
        ) from error


# -- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rows that are kept, rising; what is to be said; whether all of them are grey."""

    rows: list[int]
    findings: list[Finding]
    grey: bool


def _judge(found: Sequence[tuple[str, Found]], seen: dict[int, Seen], failed: dict[str, Failure], size: int) -> _Judged:
    """Which pictures are used, and what is to be said of the others and of these."""
    findings: list[Finding] = []
    usable: list[int] = []
    for row, each in enumerate(found):
        one = seen.get(row)
        if one is None:
            findings.append(_failure(each[0], failed.get(_task_key(each))))
        elif 4 * one.short_side < size:
            findings.append(
                Finding(each[0], "tiny", f"its short side of {one.short_side} is under a quarter of {size}", used=False)
            )
        else:
            usable.append(row)
    kept, doubles = _without_doubles(found, seen, usable)
    grey = all(seen[row].grey for row in kept)
    findings += doubles
    for row in kept:
        findings += _remarks(found[row][0], seen[row], size, among_colours=not grey)
    return _Judged(kept, findings, grey)


def _failure(name: str, failure: Failure | None) -> Finding:
    if failure is None:  # gone between listing and reading, or left behind by a stop
        return Finding(name, "broken", "it was not read", used=False)
    if failure.reason == "rejected:not-a-picture":
        return Finding(name, "other-kind", failure.detail, used=False)
    reason = failure.reason.removeprefix("rejected:")
    return Finding(name, "broken", f"{reason}: {failure.detail}"[:300], used=False)


def _without_doubles(
    found: Sequence[tuple[str, Found]], seen: dict[int, Seen], rows: Sequence[int]
) -> tuple[list[int], list[Finding]]:
    """Of the same picture the first one of a class; none of those that stand in two classes."""
    first: dict[bytes, int] = {}
    classes: dict[bytes, set[str]] = {}
    for row in rows:
        digest = seen[row].digest
        first.setdefault(digest, row)
        classes.setdefault(digest, set()).add(found[row][0].partition("/")[0])
    kept, findings = [], []
    for row in rows:
        digest, name = seen[row].digest, found[row][0]
        if len(classes[digest]) > 1:
            among = ", ".join(sorted(classes[digest])[:5])
            findings.append(Finding(name, "twin", f"the same picture stands in {among}", used=False))
        elif first[digest] != row:
            findings.append(Finding(name, "duplicate", f"the same picture as {found[first[digest]][0]}", used=False))
        else:
            kept.append(row)
    return kept, findings


def _remarks(name: str, seen: Seen, size: int, *, among_colours: bool) -> Iterator[Finding]:
    if seen.damaged:
        yield Finding(name, "damaged", seen.notes, used=True)
    if seen.short_side < size:
        yield Finding(name, "enlarged", f"its short side is {seen.short_side}", used=True)
    if seen.cmyk:
        yield Finding(name, "cmyk", "its printing colours were turned into sRGB", used=True)
    if seen.animated:
        yield Finding(name, "animated", "its first frame was taken", used=True)
    if seen.grey and among_colours:
        yield Finding(name, "grey", "it is grey among coloured pictures", used=True)


def _most_said(findings: Sequence[Finding]) -> str:
    counts: Any = Counter(each.what for each in findings if not each.used)
    return ", ".join(f"{count} {what}" for what, count in counts.most_common(3)) or "all lie in one class"
