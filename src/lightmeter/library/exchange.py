"""Libraries to and from other formats; an export stands whole under its name or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lightmeter.errors import InvalidValueError, nearest
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

    into: where the media of a webdataset are unpacked to (needed there, and only there)
    """
    if form not in FORMS:
        raise InvalidValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}{nearest(form, FORMS)}")
    if (into is not None) != (form == "webdataset"):
        raise InvalidValueError(f"into must be {'a folder' if form == 'webdataset' else 'None'} for {form}, got {into}")
    if form in ("parquet", "lance"):
        from lightmeter.library.tables import read_tables

        return read_tables(library, source, form)
    from lightmeter.library.mediasets import read_imagefolder, read_webdataset

    return read_webdataset(library, source, into) if into is not None else read_imagefolder(library, source)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name when everything in it is durable; what a killed export left is deleted."""
    target = target.absolute()
    if target.exists():
        raise InvalidValueError(f"target must be a new folder, got {target}, which exists: choose another or delete it")
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{_escaped(target.name)}.*.partial"):
        shutil.rmtree(old)
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        yield partial
        _sync_tree(partial)
        partial.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
