"""Labels of the user's own videos: from the folders that they lie in, or from a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_writing import MOST_ID_BYTES
from lightmeter.types import Labels

FOLDERS = "folders"
ABOUT_FOLDER = "folder"
"""What a set's manifest calls the folder that its videos lay in."""
_MOST_BYTES = 256 << 20
_HEADS = [[name, labels] for name in ("path", "id") for labels in ("label", "labels")]


def id_of(name: str) -> str:
    """A video's name in a set: its path below the folder, the end of a long one replaced by a hash.

    >>> id_of("birds/owl.mp4"), len(id_of("x" * 500).encode())
    ('birds/owl.mp4', 128)
    """
    raw = name.encode("utf-8", "backslashreplace").replace(b"\0", b"?")
    if len(raw) <= MOST_ID_BYTES:
        return raw.decode()
    tail = "~" + blake2b(raw, digest_size=8).hexdigest()
    return raw[: MOST_ID_BYTES - len(tail)].decode("utf-8", "ignore") + tail


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of some videos.

    names: of the classes · labels: in the order of the videos · notes: sentences on what did not fit
    """

    names: tuple[str, ...]
    labels: Labels
    notes: tuple[str, ...]


def check_labels(how: str) -> None:
    """Whether `how` of `label_videos` can be read; to be asked before hours of work.  Raises InvalidValueError."""
    if how != FOLDERS:
        read_label_table(_table_of(how))


def _table_of(how: str) -> Path:
    path = Path(how)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no file"
        raise InvalidValueError(f"--labels must be `{FOLDERS}` or a CSV file, got {how}, which is {got}")
    return path


def label_videos(
    videos: Sequence[str], how: str, *, names: Sequence[str] | None = None, folder: Path | None = None
) -> Labelled:
    """Labels of videos, given by their paths below the folder that was extracted.

    how: `folders`, every folder on the way to a video is a label of it; else a CSV file (see `place_labels`)
    names: the classes of another set (that of training), which keep their numbers; labels that are not among them get
    classes of their own after these, so that nobody takes their videos for videos without a label. None: all that are
    found, sorted · folder: where the videos lie
    Raises InvalidValueError where the table cannot be read or where no video has a label.
    """
    notes: tuple[str, ...] = ()
    if how == FOLDERS:
        lists = [video.split("/")[:-1] for video in videos]
    else:
        ids = {id_of(video): at for at, video in enumerate(videos)}
        placed = place_labels(_table_of(how), ids=ids, folders=() if folder is None else (os.path.abspath(folder),))  # noqa: PTH100
        lists, notes = [placed.labels.get(at, []) for at in range(len(videos))], placed.notes
    found = {label for each in lists for label in each}
    if not found:
        raise InvalidValueError(
            f"--labels {how} must label a video, got none: "
            + ("put videos into folders" if how == FOLDERS else "write a label behind a path")
        )
    known = () if names is None else tuple(names)
    fresh = tuple(sorted(found - set(known)))
    if fresh and names is not None:
        notes = (*notes, _on_fresh(fresh, lists))
    bare = sum(not each for each in lists)
    if bare:
        notes = (*notes, f"videos without a label: {bare} of {len(videos)}")
    number = {name: at for at, name in enumerate((*known, *fresh))}
    return Labelled(
        (*known, *fresh), Labels.of([[number[label] for label in each] for each in lists], len(number)), notes
    )


def _on_fresh(fresh: Sequence[str], lists: Sequence[Sequence[str]]) -> str:
    some = set(fresh)
    videos = sum(not some.isdisjoint(each) for each in lists)
    return (
        f"labels that the set of --like does not know: {len(fresh)}, as {fresh[0]!r:.80}; videos that have one: "
        f"{videos}. "
        "They are kept as classes after its own: a model that was fitted on it cannot be scored on these videos, leave "
        "them out with --exclude, or out of a table for `evaluate --labels`"
    )


# -- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """What the lines of a table are of.

    labels: what was asked for → its labels · strangers: names of lines that are of nothing here
    notes: a sentence on these
    """

    labels: dict[int, list[str]]
    strangers: tuple[str, ...]
    notes: tuple[str, ...]


def place_labels(
    table: Path, *, ids: Mapping[str, int] | None = None, paths: Mapping[str, int] | None = None,
    folders: Sequence[str] = (),
) -> Placed:  # fmt: skip
    """Whose labels the lines of a table are, the same for folders, libraries and sets.

    A line's first column is an absolute path, a path as seen from where the table lies, from here or from one of the
    folders, in this order, or an id. Lines of the same thing are joined.
    ids: names in a set, paths below a folder among them · paths: absolute ones · folders: absolute
    Raises InvalidValueError where the table cannot be read, or where none of its lines is of anything here.
    """
    ids, paths = ids or {}, paths or {}
    found: dict[int, list[str]] = {}
    strangers = []
    lines = read_label_table(table)
    for name, labels in lines.items():
        seen = (ids.get(each, paths.get(each)) for each in _spellings(name, table, folders))
        at = next((each for each in seen if each is not None), None)
        if at is None:
            strangers.append(name)
        else:
            found.setdefault(at, []).extend(labels)
    if strangers and not found:
        raise InvalidValueError(
            f"--labels must name what is there, got none in {table} (lines {len(lines)}), as {strangers[0]!r:.200}: "
            "write ids of the set, or paths as seen from where the table lies, from here or from the folder"
        )
    some = f", as {strangers[0]!r:.200}" if strangers else ""
    notes = (f"lines of {table} that are of nothing here, left out: {len(strangers)}{some}",) if strangers else ()
    return Placed(found, tuple(strangers), notes)


def _spellings(name: str, table: Path, folders: Sequence[str]) -> Iterator[str]:
    """Absolute paths that a name may stand for, each followed by what it is called below the folders; then itself."""
    for base in (str(table.parent), ".", *folders):
        path = os.path.abspath(os.path.join(base, name))  # noqa: PTH100, PTH118  names are text, not files
        yield path
        for folder in folders:
            below = os.path.join(folder, "")  # noqa: PTH118
            if path.startswith(below):
                yield id_of(path.removeprefix(below))
    yield name
    yield id_of(os.path.normpath(name))


def read_label_table(path: Path) -> dict[str, list[str]]:
    """First column → labels, of a CSV file of `path,label;label` lines in UTF-8; a path that comes twice has both.

    The first line may be `path,labels`, or `id,labels`.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidValueError(f"--labels must be a table of at most {_MOST_BYTES >> 20} MiB, got {path}")
        text = path.read_text("utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidValueError(
            f"--labels must be a CSV file in UTF-8 of path,label lines, got {path}: {error}"
        ) from error
    if rows and [each.strip().lower() for each in rows[0]] in _HEADS:
        rows = rows[1:]
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise InvalidValueError(f"line {number} of {path} must be path,label;label, got {len(row)} column(s)")
        name = row[0].strip()
        found.setdefault(name, []).extend(label for each in row[1].split(";") if (label := each.strip()))
    return found
