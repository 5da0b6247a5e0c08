"""One-bit codes as files beside the shards: a folder a series, in it one saving a shard, each whole or not at all.

    indexes/codes-SERIES-TOKEN/coder/                 rotation and mean, the same for all shards of the series
    indexes/codes-SERIES-TOKEN/NAME OF THE SHARD/     signs, lengths and factors of its rows, in its order

A shard never changes once it is written, so neither do its codes; a shard that `gc` or `compact` replaced leaves codes
that no manifest names, and these are swept. The catalogue names a folder only after it was written.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import ABOUT, ARRAYS, load_model, save_model
from lightmeter.errors import LightmeterError, RejectedFileError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.store import CODES
from lightmeter.search.bits import CodeBlock, Coder
from lightmeter.types import Array

CODER = "coder"
_FOLDER = re.compile(r"codes-([0-9]+)-[0-9a-f]{8}")
_SHARD = re.compile(r"[0-9a-f]+\.shard")


def new_folder(series: int) -> str:
    """A name that no folder of codes has yet."""
    return f"codes-{series}-{secrets.token_hex(4)}"


def codes_place(library: Path, folder: object, part: str) -> Path:
    """Where the codes of a shard (its file's name), or the coder, stand.

    Raises RejectedFileError for a name that is no such place, and where a link stands on the way: a library may come
    from a stranger.
    """
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder) or not (part == CODER or _SHARD.fullmatch(part)):
        raise RejectedFileError("unsafe-name", f"{str(folder)[:80]!r} and {part[:80]!r} are no folder of codes")
    place = library / "indexes" / folder / part.removesuffix(".shard")
    for each in (place.parent.parent, place.parent, place, place / ABOUT, place / ARRAYS):
        if each.is_symlink():
            raise RejectedFileError("link", f"{each} is a link: remove it")
    return place


def write_coder(library: Path, folder: str, coder: Coder) -> None:
    """Keep what turns vectors into codes."""
    about = {"unit": coder.unit, "cosine": coder.cosine}
    save_model(codes_place(library, folder, CODER), {"rotation": coder.rotation, "mean": coder.mean}, about)


def read_coder(library: Path, folder: object, *, dim: int) -> Coder:
    """What `write_coder` wrote.  Raises MissingAssetError, and RejectedFileError where it is of another series."""
    arrays, about = load_model(codes_place(library, folder, CODER))
    bits = 64 * -(-dim // 64)
    _check(arrays, {"rotation": ("float32", (bits, dim)), "mean": ("float32", (dim,))}, folder)
    unit = about.get("unit")
    if not isinstance(unit, int | float) or not unit > 0 or about.get("cosine") is not True:
        raise RejectedFileError("damaged", f"the coder of {folder} must compare by cosine: index again")
    return Coder(arrays["rotation"], arrays["mean"], float(unit), True)


def write_codes(library: Path, folder: str, shard: str, codes: CodeBlock) -> None:
    """Keep the codes of a shard; an earlier saving stays whole until this one is."""
    arrays = {"signs": codes.signs.view(np.int64), "lengths": codes.lengths, "factors": codes.factors}
    save_model(codes_place(library, folder, shard), arrays, {"folder": folder, "shard": shard})


def read_codes(library: Path, folder: object, shard: str, *, rows: int, bits: int) -> CodeBlock | None:
    """What `write_codes` wrote, None where there is none, or a kill left half of it.

    Raises RejectedFileError where the files are damaged or of another shard.  Cost: two reads, one of them to check.
    """
    place = codes_place(library, folder, shard)
    if not (place / ABOUT).is_file():  # it is written last
        return None
    arrays, about = load_model(place)
    if (about.get("folder"), about.get("shard")) != (folder, shard):
        raise RejectedFileError("damaged", f"the codes in {place} are of another shard: index again")
    one = ("float32", (rows,))
    _check(arrays, {"signs": ("int64", (bits // 64, rows)), "lengths": one, "factors": one}, folder)
    return CodeBlock(arrays["signs"].view(np.uint64), arrays["lengths"], arrays["factors"])


def _check(arrays: dict[str, Array], wanted: dict[str, tuple[str, tuple[int, ...]]], folder: object) -> None:
    got = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    if got != wanted or not all(np.isfinite(each).all() for each in arrays.values() if each.dtype.kind == "f"):
        raise RejectedFileError("damaged", f"the codes in {folder} must be finite {wanted}, got {got}: index again")


# -- upkeep ----------------------------------------------------------------------------------------------------------


def codes_bytes(library: Path, folder: str) -> int:
    """Bytes of a folder of codes."""
    return sum(path.stat().st_size for path in (library / "indexes" / folder).rglob("*") if path.is_file())


def _folders(library: Path) -> list[Path]:
    """Folders of codes; what stands behind a link is not the library's."""
    top = library / "indexes"
    if top.is_symlink() or not top.is_dir():
        return []
    return sorted(path for path in top.iterdir() if _FOLDER.fullmatch(path.name) and not path.is_symlink())


def _named(catalogue: Catalogue) -> set[str]:
    sql = "SELECT series, value FROM calibrations WHERE name = ?"
    found = {(series, str(_folder_in(value))) for series, value in catalogue.rows(sql, (CODES,))}
    return {folder for series, folder in found if folder.startswith(f"codes-{series}-")}


def _folder_in(value: str) -> Any:
    said = json.loads(value)
    return said.get("folder") if isinstance(said, dict) else None


def _strays(catalogue: Catalogue) -> Iterator[Path]:
    """Folders that the catalogue does not name, codes of shards that are gone, and what a killed writer left."""
    named = _named(catalogue)
    shards = {str(name).removesuffix(".shard") for (name,) in catalogue.rows("SELECT name FROM shards")}
    for folder in _folders(catalogue.folder):
        if folder.name not in named:
            yield folder
            continue
        for place in _entries(folder):
            if place.name != CODER and place.name not in shards:
                yield place
            elif place.is_dir() and not place.is_symlink():
                yield from (file for file in _entries(place) if file.name not in (ABOUT, ARRAYS))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # a writer beside us swept it
        return []


def count_strays(catalogue: Catalogue) -> int:
    """How many `sweep_codes` would delete."""
    return sum(1 for _ in _strays(catalogue))


def sweep_codes(catalogue: Catalogue) -> None:
    """Delete codes that nobody needs.  Only for the writer, outside transactions."""
    remove(list(_strays(catalogue)))


def remove(places: Sequence[Path]) -> None:
    """Delete files and folders; of a link, the link."""
    for place in places:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def damaged_codes(catalogue: Catalogue) -> list[tuple[Path, str]]:
    """Codes that the catalogue names and that cannot be used, each with the reason.  Cost: two reads of all codes."""
    found: list[tuple[Path, str]] = []
    sql = "SELECT s.id, dim, value FROM calibrations c JOIN series s ON s.id = c.series WHERE c.name = ?"
    for series, dim, value in catalogue.rows(sql, (CODES,)):
        folder = _folder_in(value)
        if folder is None:
            continue
        top = catalogue.folder / "indexes" / str(folder)
        try:
            bits = read_coder(catalogue.folder, folder, dim=dim).bits
        except LightmeterError as error:
            found.append((top, str(error)))
            continue
        for name, rows in catalogue.rows("SELECT name, rows FROM shards WHERE series = ?", (series,)):
            try:
                read_codes(catalogue.folder, folder, str(name), rows=rows, bits=bits)
            except LightmeterError as error:
                found.append((top / str(name).removesuffix(".shard"), str(error)))
    return found


def repair_codes(catalogue: Catalogue) -> None:
    """Delete codes that cannot be used, and the choice that needs them; the next `index` makes them again."""
    damaged = damaged_codes(catalogue)
    broken = {place.name for place, _ in damaged}
    with catalogue.transaction():
        for series, value in catalogue.rows("SELECT series, value FROM calibrations WHERE name = ?", (CODES,)):
            if Path(str(_folder_in(value))).name in broken:
                sql = "DELETE FROM calibrations WHERE series = ? AND name = ?"
                catalogue.execute(sql, (series, CODES))
    top = catalogue.folder / "indexes"
    if not top.is_symlink():
        remove([place for place, _ in damaged if place.parent in (top, *_folders(catalogue.folder))])
    sweep_codes(catalogue)
