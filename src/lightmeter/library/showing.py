"""What a library holds, as pictures: contact sheets and strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightmeter.errors import InvalidValueError
from lightmeter.library.looking import strip, thumbnails
from lightmeter.library.searching import Hit
from lightmeter.library.store import Library
from lightmeter.report.sheet import contact_sheet, frame_strip

TILE = 220


def sheet_of_hits(hits: Sequence[Hit], out: Path, *, columns: int = 5, title: str = "") -> int:
    """Draw what a search found, videos at the moment that matched, with names and scores. Returns how many."""
    pictures = thumbnails([(hit.path, hit.time_s) for hit in hits], short_side=TILE)
    tiles = [(picture, _caption(hit)) for picture, hit in zip(pictures, hits, strict=True)]
    contact_sheet(tiles, out, columns=columns, tile=TILE, title=title or "nothing found")
    return len(tiles)


def _caption(hit: Hit) -> str:
    score = "" if hit.score is None else f" · {hit.score:.2f}"
    return Path(hit.path).name + score + ("" if hit.time_s is None else f" · {hit.time_s:.0f} s")


def sheet_of(library: Library, keys: Sequence[int], out: Path, *, columns: int = 5, title: str = "") -> int:
    """Draw items of a library, by their keys, with names and labels. Returns how many.

    Raises InvalidValueError for none.
    """
    shown: list[str | None] = []
    captions = []
    for item, key in zip(library.items_of(keys), keys, strict=True):
        paths = library.paths_of(key)
        here = [path for path in paths if not path.missing] or paths
        tags = [tag.tag for tag in library.tags_of([here[0].key]).get(here[0].key, ())][:2] if here else []
        name = Path(here[0].path).name if here else item.id[:12]
        shown.append(here[0].path if here else None)
        captions.append(" · ".join([name, *tags]))
    if not shown:
        raise InvalidValueError("a sheet needs at least one item, got none: loosen the filters")
    pictures = iter(thumbnails([(path, None) for path in shown if path], short_side=TILE))
    tiles = [(next(pictures) if path else "no path", caption) for path, caption in zip(shown, captions, strict=True)]
    contact_sheet(tiles, out, columns=columns, tile=TILE, title=title)
    return len(tiles)


def sheet_of_files(paths: Sequence[Path], out: Path, *, columns: int = 5) -> int:
    """Draw files, whether or not a library knows them. Returns how many.

    Raises InvalidValueError for a file that is not there.
    """
    for path in paths:
        if not path.is_file():
            raise InvalidValueError(f"FILE must exist, got {str(path)!r}: check the spelling")
    pictures = thumbnails([(path, None) for path in paths], short_side=TILE)
    tiles = [(picture, path.name) for picture, path in zip(pictures, paths, strict=True)]
    contact_sheet(tiles, out, columns=columns, tile=TILE)
    return len(paths)


def strip_of(path: Path, out: Path, *, count: int = 8) -> int:
    """Draw `count` frames of a video, spread evenly over it, in a row. Returns how many there are.

    Raises RejectedFileError where it holds no pictures or cannot be read.  Cost: what those frames need, in a worker.
    """
    clip = strip(path, count=count, short_side=160)
    frame_strip(clip, out, count=len(clip.times_s))
    return len(clip.times_s)
