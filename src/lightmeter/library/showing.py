"""What a library holds, as pictures: contact sheets and strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.store import Library
from lightmeter.media.sniff import sniff
from lightmeter.report.sheet import contact_sheet, frame_strip, spread_out
from lightmeter.types import Clip, Image

TILE = 220


def thumbnail(path: Path | str, *, short_side: int = TILE, time_s: float | None = None) -> Image | str:
    """A small picture of a file: itself, or a frame of it; a str says why there is none.  Cost: one scaled decode."""
    from lightmeter.media.images import read_image
    from lightmeter.media.video import frame_at

    try:
        found = sniff(path)
        if found is None:
            return "not media"
        if found.kind == "image":
            return read_image(path, short_side=short_side).value
        return frame_at(path, time_s or 0.0, short_side=short_side).value
    except RejectedFileError as error:
        return "sound" if error.code == "no-video" else error.code
    except OSError as error:
        return error.strerror or "unreadable"


def sheet_of(library: Library, keys: Sequence[int], out: Path, *, columns: int = 5, title: str = "") -> int:
    """Draw items of a library, by their keys, with names and labels. Returns how many.

    Raises InvalidValueError for none.
    """
    tiles = []
    for item, key in zip(library.items_of(keys), keys, strict=True):
        paths = library.paths_of(key)
        here = [path for path in paths if not path.missing] or paths
        tags = [tag.tag for tag in library.tags_of([here[0].key]).get(here[0].key, ())][:2] if here else []
        name = Path(here[0].path).name if here else item.id[:12]
        tiles.append((thumbnail(here[0].path) if here else "no path", " · ".join([name, *tags])))
    if not tiles:
        raise InvalidValueError("a sheet needs at least one item, got none: loosen the filters")
    contact_sheet(tiles, out, columns=columns, tile=TILE, title=title)
    return len(tiles)


def sheet_of_files(paths: Sequence[Path], out: Path, *, columns: int = 5) -> int:
    """Draw files, whether or not a library knows them. Returns how many."""
    contact_sheet([(thumbnail(path), path.name) for path in paths], out, columns=columns, tile=TILE)
    return len(paths)


def strip_of(path: Path, out: Path, *, count: int = 8) -> int:
    """Draw `count` frames of a video, spread evenly over it, in a row. Returns how many there are.

    Raises RejectedFileError where it holds no pictures.  Cost: one decode at a frame a second, more when short.
    """
    from lightmeter.media.probe import probe
    from lightmeter.media.video import FrameReader

    duration_s = probe(path).duration_s or 0.0
    fps = 1.0 if duration_s >= 2 * count else max(1.0, 2 * count / max(duration_s, 0.1))
    shown = list(FrameReader(path, fps=min(fps, 60.0), short_side=160))
    chosen = [shown[at] for at in spread_out(len(shown), count)]
    clip = Clip(np.stack([frame for _, frame in chosen]), np.array([time_s for time_s, _ in chosen]))
    frame_strip(clip, out, count=len(chosen))
    return len(chosen)
