"""What people wrote about a file: beside it, in a table of its folder, inside it, or in its name."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightmeter.errors import RejectedFileError
from lightmeter.media.door import name_of, read_bytes
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.reading import Reading
from lightmeter.media.tags import read_tags
from lightmeter.media.word_tables import TABLES, row_of
from lightmeter.types import Words

TITLES = ("title", "caption", "text", "description", "prompt", "headline")
KEYWORDS = ("keywords", "tags", "labels", "label", "class", "category", "categories", "subject")
MOST_TITLE = 2000
MOST_KEYWORDS, MOST_KEYWORD = 200, 100


def read_words(
    path: Path | str, root: Path | None = None, *, limits: MediaLimits = DEFAULT_LIMITS
) -> tuple[Words, ...]:
    """All words found for a file, best source first; see find_words for what could not be read."""
    return find_words(path, root, limits=limits).value


def find_words(
    path: Path | str, root: Path | None = None, *, limits: MediaLimits = DEFAULT_LIMITS,
    beat: Callable[[], None] | None = None,
) -> Reading[tuple[Words, ...]]:  # fmt: skip
    """Words of a file, each with its source, and notes on words that could not be read.

    `sidecar`:  photo.txt or photo.jpg.txt (a caption; of Tux Paint's translations the first, English line),
                photo.json or photo.jpg.json (title, caption, text, description; keywords, tags, labels),
                film.info.json, as yt-dlp writes it (title; tags, categories)
    `metadata`: metadata.csv or metadata.jsonl in the file's folder or one above it up to `root`, with the column
                file_name relative to the table, and columns as in JSON (the imagefolder convention)
    `embedded`: EXIF, IPTC, XMP, PNG text, comments; title, comment, description of a video or sound
    `name`:     the file's own name without numbers and camera prefixes; left out when nothing remains
    beat: called while a table is read, which may take seconds
    Bytes that are not UTF-8 become U+FFFD and are noted; links beside the file are not followed.
    """
    path = Path(path)
    notes: list[str] = []
    found = [*_sidecars(path, limits, notes), *_from_tables(path, root, limits, notes, beat)]
    try:
        found.append(words(*read_tags(path, limits), source="embedded"))
    except RejectedFileError as error:
        notes.append(f"its own tags cannot be read: {error.detail}")
    found.append(Words(title=words_of_name(path), source="name"))
    return Reading(tuple(each for each in found if each.text), "damaged" if notes else "ok", tuple(notes))


def words(titles: Iterable[str], keywords: Iterable[str], *, source: str) -> Words:
    """Clean texts as Words: control characters out, duplicates out, lengths bounded."""
    lines = list(dict.fromkeys(filter(None, map(_clean, titles))))
    keys = dict.fromkeys(key[:MOST_KEYWORD] for key in map(_clean, keywords) if key)
    return Words(". ".join(lines)[:MOST_TITLE], tuple(keys)[:MOST_KEYWORDS], source)


def _clean(text: str) -> str:
    kept = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    return " ".join(kept.split())


# -- the name ---------------------------------------------------------------------------------------------------------

_CAMERA = frozenset(
    "img image dsc dscn dscf dscp pxl vid video mvi mov gopr gopro gp gx gh sam cimg pict picture photo p wp pano "
    "burst screenshot snapchat whatsapp telegram fb copy edited final new untitled wa jpg jpeg png scan hdr".split()
)
_PIECES = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words_of_name(path: Path | str) -> str:
    """What a file's name says, camera names and numbers left out.

    >>> words_of_name("IMG_20240506_red-fox.JPG"), words_of_name("DSC00042.jpg"), words_of_name("myFirstBoat2.png")
    ('red fox', '', 'my First Boat')
    """
    stem = unicodedata.normalize("NFC", name_of(path)).rsplit(".", 1)[0].replace("\ufffd", " ")
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)
    pieces = [
        each
        for each in _PIECES.findall(parted)
        if each.lower() not in _CAMERA and (len(each) > 1 or not each.isascii())
    ]
    hexadecimal = re.fullmatch(r"[0-9a-fA-F-]{16,}", stem)
    return "" if hexadecimal else " ".join(pieces)[:MOST_TITLE]


# -- beside the file --------------------------------------------------------------------------------------------------


def _sidecars(path: Path, limits: MediaLimits, notes: list[str]) -> Iterator[Words]:
    for ending, parse in ((".txt", _caption), (".json", _json_words), (".info.json", _info_words)):
        for beside in (path.with_suffix(ending), path.with_name(path.name + ending)):
            if beside == path:
                continue
            text = _text(beside, limits.words_bytes, notes)
            if text is not None:
                try:
                    yield parse(text)
                except (ValueError, RecursionError) as error:
                    notes.append(f"{name_of(beside)} cannot be read: {str(error)[:100]}")
                break


_TRANSLATION = re.compile(r"[a-z]{2,3}(_[A-Za-z]+)?(@\w+)?(\.utf-?8)?=", re.IGNORECASE)


def _caption(text: str) -> Words:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(_TRANSLATION.match(line) for line in lines[1:]):
        lines = lines[:1]
    return words([" ".join(lines)], (), source="sidecar")


def _json_words(text: str) -> Words:
    return _record_words(json.loads(text), "sidecar")


_INFO = ("title", "tags", "categories")


def _info_words(text: str) -> Words:
    """Of all that yt-dlp tells of a video only what names it: a description is mostly links."""
    record = json.loads(text)
    told = {name: record.get(name) for name in _INFO} if isinstance(record, Mapping) else record
    return _record_words(told, "sidecar")


def _record_words(record: Any, source: str) -> Words:
    """Words of a JSON object or a table's row; names of columns are matched without regard to case."""
    if isinstance(record, str):
        return words([record], (), source=source)
    if not isinstance(record, Mapping):
        raise ValueError("it must hold an object with title and keywords")
    by_name = {str(name).lower(): value for name, value in record.items() if name is not None}
    titles = [value for name in TITLES for value in _texts(by_name.get(name))]
    keys = [key for name in KEYWORDS for value in _texts(by_name.get(name)) for key in re.split(r"[,;|]", value)]
    return words(titles, (key for key in keys if not _is_number(key)), source=source)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str)]
    if isinstance(value, Mapping):
        return [str(key) for key in value]
    return []


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d+(\.\d*)?\s*", text) is not None


def _text(path: Path, limit_bytes: int, notes: list[str]) -> str | None:
    """A text file's content, None where there is none."""
    try:
        data = read_bytes(path, limit_bytes, follow=False)
    except RejectedFileError as error:
        if error.code not in ("missing", "not-a-file"):
            notes.append(f"{name_of(path)} cannot be read: {error.detail}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.append(f"{name_of(path)} holds bytes that are not UTF-8")
        return data.decode("utf-8", "replace")


# -- tables of a folder -----------------------------------------------------------------------------------------------


def _from_tables(
    path: Path, root: Path | None, limits: MediaLimits, notes: list[str], beat: Callable[[], None] | None
) -> Iterator[Words]:
    folder = path.parent
    while True:
        for name in TABLES:
            row, problems = row_of(folder / name, path.relative_to(folder).as_posix(), limits.table_bytes, beat)
            notes += problems
            if row is not None:
                yield _record_words(row, "metadata")
        if root is None or folder == root or root not in folder.parents:
            return
        folder = folder.parent
