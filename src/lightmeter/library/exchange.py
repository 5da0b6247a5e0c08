"""Libraries to and from other formats; an export stands whole under its name or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from lightmeter.assets.files import try_lock
from lightmeter.errors import InvalidValueError, MissingAssetError, MissingExtraError, nearest
from lightmeter.library.filters import Where
from lightmeter.library.shards import sync_folder
from lightmeter.library.store import Library

Form = Literal["parquet", "lance", "webdataset", "imagefolder"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What went out or came in. skipped: why something did not, one line each."""

    items: int = 0
    paths: int = 0
    rows: int = 0
    skipped: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """Counts an exchange while it goes on."""

    items: int = 0
    paths: int = 0
    rows: int = 0
    skipped: list[str] = field(default_factory=list)

    def done(self) -> Exchanged:
        """The same, for good."""
        return Exchanged(self.items, self.paths, self.rows, tuple(self.skipped))


def export(
    library: Library, target: Path, form: str = "parquet", *, where: Where | None = None, link: bool = False
) -> Exchanged:
    """Write the items that fit, with their words and labels, as a new folder.

    parquet, lance: one table of item-paths and one of features a series; media stay where they are.
    webdataset, imagefolder: media with their words and labels, no features; link: hard links instead of copies
    (imagefolder only, same disk only). Cost: one pass; memory of one batch.
    """
    if form not in FORMS:
        raise InvalidValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}{nearest(form, FORMS)}")
    if link and form != "imagefolder":
        raise InvalidValueError(f"link must be off for {form}, got on: only an imagefolder can hold hard links")
    with new_folder(target) as partial, library.catalogue.snapshot():
        if form in ("parquet", "lance"):
            from lightmeter.library.tables import write_tables

            return write_tables(library, partial, form, where)
        from lightmeter.library.mediasets import write_imagefolder, write_webdataset

        return (
            write_webdataset(library, partial, where)
            if form == "webdataset"
            else write_imagefolder(library, partial, where, link=link)
        )


def import_(library: Library, source: Path, form: str = "parquet", *, into: Path | None = None) -> Exchanged:
    """Read what `export` wrote into a library; what is there already is left as it is, so a killed import is run again.

    At its end it is measured what scores mean on the library now, as after indexing.
    into: where the media of a webdataset are unpacked to (needed there, and only there)
    """
    if form not in FORMS:
        raise InvalidValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}{nearest(form, FORMS)}")
    if (into is not None) != (form == "webdataset"):
        raise InvalidValueError(f"into must be {'a folder' if form == 'webdataset' else 'None'} for {form}, got {into}")
    done = _read(library, source, form, into)
    from lightmeter.library.calibrating import calibrate

    try:
        calibrate(library)
    except (MissingAssetError, MissingExtraError) as error:
        return replace(done, skipped=(*done.skipped, f"what scores mean could not be measured: {error}"))
    return done


def _read(library: Library, source: Path, form: str, into: Path | None) -> Exchanged:
    if form in ("parquet", "lance"):
        from lightmeter.library.tables import read_tables

        return read_tables(library, source, form)
    from lightmeter.library.mediasets import read_imagefolder, read_webdataset

    return read_webdataset(library, source, into) if into is not None else read_imagefolder(library, source)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name when everything in it is durable; what a killed export left is deleted.

    Of two exports to one name the first to end gets it; each holds the lock of its own folder until then.
    """
    target = target.absolute()
    if target.exists():
        raise _exists(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{_escaped(target.name)}.*.partial"):
        _delete_left(old)
    partial, descriptor = _locked_folder(target)
    try:
        yield partial
        _sync_tree(partial)
        _name(partial, target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _exists(target: Path) -> InvalidValueError:
    return InvalidValueError(f"target must be a new folder, got {target}, which exists: choose another or delete it")


def _name(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _exists(target) from error
        raise


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new folder beside the target and the descriptor that holds its lock."""
    while True:
        partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
        partial.mkdir()
        try:
            descriptor = _open_folder(partial)
            if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                return partial, descriptor
        except FileNotFoundError:
            continue  # another export took it for a leftover before it was locked
        os.close(descriptor)


def _delete_left(old: Path) -> None:
    """Delete what a killed export left, not what a live one is writing to."""
    try:
        descriptor = _open_folder(old)
    except (FileNotFoundError, NotADirectoryError):
        return  # gone in the meantime, or nothing of ours
    try:
        if try_lock(descriptor):
            shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
