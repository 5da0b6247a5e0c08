"""A small set as a folder a class of PNG files, with where each picture comes from; all of it at once or nothing."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lightmeter
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.near_copies import Neighbours
from lightmeter.condense.protocol import Condensed
from lightmeter.encoders.captioning.metadata import METADATA, is_inside, write_metadata
from lightmeter.errors import InvalidValueError
from lightmeter.library.own_folder import check_own
from lightmeter.meter.record import today
from lightmeter.types import Array

SCHEMA = "lightmeter.condense.provenance/1"
PROVENANCE, CLASSES, SOFT = "provenance.json", "classes.json", "soft_labels.npy"
_MOST_HEAD_BYTES = 4096


def check_condensed_out(out: Path, *, anew: bool = False) -> None:
    """Whether a small set may be written to a folder; to be asked before the work.

    anew: one that this command wrote may be replaced.  Raises InvalidValueError, which says what lies there.
    """
    check_own(out, _stranger, "a set that `lightmeter condense` wrote")
    if out.is_dir() and any(out.iterdir()) and not anew:
        raise InvalidValueError(
            f"OUT must be new or empty, got {out}, which holds a condensed set: take another, or replace it with --anew"
        )


def _stranger(out: Path) -> str:
    """The name of something in a folder that is not ours, "" where it all is."""
    try:
        with (out / PROVENANCE).open("rb") as file:
            if SCHEMA.encode() in file.read(_MOST_HEAD_BYTES):
                return ""
    except OSError:
        pass
    return min(each.name for each in out.iterdir())


def write_folder(out: Path, fill: Callable[[Path], None], *, anew: bool = False) -> Path:
    """Make a folder under another name beside OUT, and move it there when `fill` ended well.

    A kill before leaves OUT as it was, and a hidden folder that the next call removes. Where an old set is replaced
    (`anew`) there is a moment between two renames in which OUT is not there.
    """
    check_condensed_out(out, anew=anew)
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{_escaped(out.name)}.????????.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    made = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        made.mkdir()
        fill(made)
        if out.is_dir() and any(out.iterdir()):
            old = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
            out.rename(old)
            made.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        else:
            made.rename(out)  # onto an empty folder or onto nothing
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return out


def _escaped(name: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


@dataclass(frozen=True, slots=True, eq=False)
class Provenance:
    """What is said of a small set besides its pictures.

    source: the set that it was made of · neighbours: the nearest real pictures · captions: one a picture of the source,
    for pictures that are kept; () for none · head: method, scores, models and licences, as JSON can hold them
    """

    source: ImageSet
    neighbours: Neighbours
    head: Mapping[str, Any] = field(default_factory=dict)
    captions: tuple[str, ...] = ()


def fill_folder(folder: Path, small: Condensed, about: Provenance) -> None:
    """Write CLASS/*.png, metadata.jsonl, classes.json, provenance.json and, where there are some, soft labels.

    metadata.jsonl is what Hugging Face's `imagefolder` reads: `file_name`, `text`, `label`.
    Raises InvalidValueError for a class whose name is no folder's name.
    """
    from PIL import Image as pillow  # noqa: N813

    classes = about.source.classes
    files = _names(small.labels, classes)
    for label in np.unique(small.labels).tolist():
        (folder / folder_name(classes[label])).mkdir()
    for pixels, name in zip(small.images, files, strict=True):
        grey = pixels.shape[-1] == 1
        pillow.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels)).save(folder / name, format="PNG")
    rows = list(_rows(files, small, about))
    write_metadata(folder, ({"file_name": row["file"], "text": row["text"], "label": row["label"]} for row in rows))
    (folder / CLASSES).write_text(json.dumps(list(classes), indent=1) + "\n", "ascii")
    if small.soft is not None:
        np.save(folder / SOFT, small.soft.astype(np.float32), allow_pickle=False)
    head = {
        "schema": SCHEMA, "made_by": f"lightmeter {lightmeter.__version__}", "date": today(), **about.head,
        "label_file": CLASSES, "soft_label_file": None if small.soft is None else SOFT, "formation": small.formation,
        "near_copy_limit": about.neighbours.limit, "near_copy_rate": about.neighbours.rate, "notes": list(small.notes),
    }  # fmt: skip
    (folder / PROVENANCE).write_text(json.dumps({**head, "images": rows}, indent=1) + "\n", "ascii")


def folder_name(name: str) -> str:
    """The name of a class, held to be that of a folder in OUT and of no other place.

    Raises InvalidValueError for anything else, and for bytes that are no UTF-8.
    """
    if not is_inside(name) or name == "." or "/" in name or len(name.encode()) > 255:
        raise InvalidValueError(f"a class must have a name that a folder can have, got {name!r:.80}: rename it")
    if name in (PROVENANCE, METADATA, CLASSES, SOFT):
        raise InvalidValueError(f"no class may be called {name}, which is a file of the set's own: rename it")
    return name


def _names(labels: Array, classes: tuple[str, ...]) -> list[str]:
    """`CLASS/00000.png`, counted in each class."""
    counted: dict[int, int] = {}
    names = []
    for label in labels.tolist():
        number = counted.get(label, 0)
        counted[label] = number + 1
        names.append(f"{folder_name(classes[label])}/{number:05d}.png")
    return names


def _rows(files: list[str], small: Condensed, about: Provenance) -> Iterator[dict[str, Any]]:
    """What is said of each picture."""
    near, source = about.neighbours, about.source
    for at, file in enumerate(files):
        row = None if small.rows is None else int(small.rows[at])
        told = small.texts[at] if small.texts else about.captions[row] if row is not None and about.captions else ""
        nearest = int(near.rows[at])
        yield {
            "file": file,
            "label": source.classes[int(small.labels[at])],
            "text": told,
            "source": None if row is None else source.names[row],
            "members": [source.names[each] for each in small.members[at].tolist()] if small.members else [],
            "nearest": None if nearest < 0 else source.names[nearest],
            "distance": None if nearest < 0 else round(float(near.distances[at]), 6),
            "near_copy": None if row is not None else bool(near.near[at]),
        }
