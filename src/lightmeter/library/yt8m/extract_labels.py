"""Labels of the user's own videos: from the folders that they lie in, or from a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmeter.errors import InvalidValueError
from lightmeter.types import Labels

FOLDERS = "folders"
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of some videos.

    names: of the classes · labels: in the order of the videos · notes: sentences on what did not fit
    """

    names: tuple[str, ...]
    labels: Labels
    notes: tuple[str, ...]


def label_videos(videos: Sequence[str], how: str, *, names: Sequence[str] | None = None) -> Labelled:
    """Labels of videos, given by their paths below the folder that was extracted.

    how: `folders`, every folder on the way to a video is a label of it; else a CSV file of `path,label;label` lines,
    its first line may be `path,labels` · names: the classes to keep to (those of a set for training), None: all that
    are found, sorted
    Raises InvalidValueError where the table cannot be read or where no video has a label.
    """
    notes: list[str] = []
    if how == FOLDERS:
        by_video = {video: video.split("/")[:-1] for video in videos}
    else:
        by_video = read_label_table(Path(how))
        strangers = len(by_video.keys() - set(videos))
        if strangers:
            notes.append(f"{strangers} paths of {how} are not among the videos")
    found = {label for video in videos for label in by_video.get(video, ())}
    if not found:
        raise InvalidValueError(
            f"--labels {how} must label a video, got none: "
            + ("put videos into folders" if how == FOLDERS else "write paths as they stand below FOLDER")
        )
    kept = tuple(sorted(found)) if names is None else tuple(names)
    number = {name: at for at, name in enumerate(kept)}
    unknown = found - number.keys()
    if unknown:
        notes.append(f"{len(unknown)} labels are not among those of the other set, as {min(unknown)!r}: left out")
    bare = sum(not by_video.get(video) for video in videos)
    if bare:
        notes.append(f"{bare} videos have no label")
    lists = [[number[label] for label in by_video.get(video, ()) if label in number] for video in videos]
    return Labelled(kept, Labels.of(lists, len(kept)), tuple(notes))


def read_label_table(path: Path) -> dict[str, list[str]]:
    """Path → labels, of a CSV file in UTF-8; a path that comes twice has the labels of both lines."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidValueError(f"--labels must be a table of at most {_MOST_BYTES >> 20} MiB, got {path}")
        text = path.read_text("utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidValueError(f"--labels must be `{FOLDERS}` or a CSV file in UTF-8, got {path}: {error}") from error
    if rows and [each.strip().lower() for each in rows[0]] in (["path", "labels"], ["path", "label"]):
        rows = rows[1:]
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise InvalidValueError(f"line {number} of {path} must be path,label;label, got {len(row)} columns")
        name = row[0].strip().removeprefix("./")
        found.setdefault(name, []).extend(label for each in row[1].split(";") if (label := each.strip()))
    return found
