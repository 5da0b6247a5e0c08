"""What a class is called in a sentence: the name of its folder made readable, or what the user's table says."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.door import name_of, read_bytes
from lightmeter.media.limits import DEFAULT_LIMITS

_HEADS = {"folder", "class", "id", "wnid", "synset", "label", "index", "key", "name", "class_name", "text", "classname"}
_WORDNET = re.compile(r"n[0-9]{8}")


def class_text(folder_name: str) -> str:
    """A folder's name as words: marks become spaces, numbers in front go, so does a WordNet id before words.

    What is nothing but a number or an id stays: only a table knows what it means.

    >>> [class_text(each) for each in ("English_springer", "001.Black_footed_Albatross", "n02102040", "n02086240-Shih")]
    ['English springer', 'Black footed Albatross', 'n02102040', 'Shih']
    >>> class_text("t-shirt"), class_text("ankleBoot"), class_text("7")
    ('t-shirt', 'ankle Boot', '7')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder_name)
    words = re.sub(r"[\s_.,+/]+", " ", parted).strip()
    bare = re.sub(rf"^(?:{_WORDNET.pattern}|[0-9]+)(?:[\s-]+)(?=\S*[^\W\d_])", "", words)
    return bare or folder_name


def class_texts(folders: Iterable[str], table: Mapping[str, str] | None = None) -> dict[str, str]:
    """Folder → what its class is called: as the table says, else its own name made readable.

    Raises InvalidValueError for a table that names none of the folders: it is of other classes.

    >>> class_texts(["n01440764", "my_cat"], {"n01440764": "tench, Tinca tinca"})
    {'n01440764': 'tench, Tinca tinca', 'my_cat': 'my cat'}
    """
    names = list(folders)
    known = table or {}
    if table is not None and names and not any(each in known for each in names):
        raise InvalidValueError(
            f"the table of classes must name the folders, got none of {', '.join(map(repr, names[:3]))}: its first "
            f"column or its keys are their names, as {', '.join(map(repr, list(known)[:3]))} are now"
        )
    return {each: known.get(each) or class_text(each) for each in names}


def read_class_names(path: Path | str) -> dict[str, str]:
    """A table of classes: folder → text, as it stands there.

    .json: an object {"n01440764": "tench, Tinca tinca"}; one of numbers {"0": ["n01440764", "tench"]}, the folder
    first; or a list, whose numbers are the folders ("0", "1" …)
    .csv, .tsv: the folder, then the text, a line of titles allowed · .txt: a folder, a space, the text
    Raises RejectedFileError for a file that is missing, too large or of another form, InvalidValueError for another
    ending or a table without rows.
    """
    path = Path(path)
    readers = {".json": _from_json, ".csv": _from_csv, ".tsv": _from_csv, ".txt": _from_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidValueError(f"a table of classes must end in {', '.join(readers)}, got {path.name}")
    try:
        text = read_bytes(path, DEFAULT_LIMITS.words_bytes).decode("utf-8-sig")
        found = reader(text)
    except RejectedFileError:
        raise
    except (ValueError, RecursionError, csv.Error) as error:
        raise RejectedFileError("unreadable", f"{name_of(path)} is no table of classes: {str(error)[:150]}") from error
    if not found:
        raise InvalidValueError(f"a table of classes must have rows, got none in {path}")
    return found


def _from_json(text: str) -> dict[str, str]:
    read = json.loads(text)
    if isinstance(read, list):
        read = {str(number): each for number, each in enumerate(read)}
    if not isinstance(read, dict):
        raise ValueError("it must hold an object or a list")
    return dict(_json_pair(key, value) for key, value in read.items())


def _json_pair(key: str, value: Any) -> tuple[str, str]:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):
        return value[0], _readable(value[1])
    if isinstance(value, str):
        return key, _readable(value)
    raise ValueError(f"{key!r:.60} must be a text or [folder, text]")


def _from_csv(text: str) -> dict[str, str]:
    first = text.partition("\n")[0]
    rows = [row for row in csv.reader(io.StringIO(text), delimiter="\t" if "\t" in first else ",") if row]
    if rows and {each.strip().lower() for each in rows[0][:2]} <= _HEADS:
        rows = rows[1:]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise ValueError(f"the row {short!r:.80} must have a folder and a text")
    return {row[0].strip(): _readable(row[1]) for row in rows}


def _from_lines(text: str) -> dict[str, str]:
    pairs = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    return {folder: _readable(told) for folder, _, told in pairs}


def _readable(text: str) -> str:
    return " ".join(text.replace("_", " ").split())
