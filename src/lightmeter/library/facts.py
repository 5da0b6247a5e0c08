"""What a library knows of itself and of a file, as plain values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError
from lightmeter.library.calibrating import null_of, unusable, usable
from lightmeter.library.filters import Where
from lightmeter.library.store import Library


def library_facts(library: Library) -> dict[str, Any]:
    """How much of what, by which encoders, what a score means, and which large series are searched by codes."""
    from lightmeter.library.coding import kept_codes  # facts of one file need none of it

    counts = library.counts()
    nulls = {series.spec: null_of(library, series, encoder)[0] for series, encoder in usable(library)}
    return {
        "library": str(library.folder),
        "items": counts.items,
        "kinds": dict(counts.kinds),
        "paths": counts.paths,
        "size_bytes": counts.size_bytes,
        "encoders": dict(counts.series),
        "thresholds": {spec: round(null.threshold, 4) for spec, null in nulls.items() if null},
        "searched_by": kept_codes(library),
        "unusable": unusable(library),
        "tags": library.tag_counts(),
        "note": library.note,
    }


def status_facts(library: Library) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Counts by state and reason, and every file that could not be used, oldest first."""
    counts = library.counts()
    runs = library.runs()
    facts = {
        "items": counts.items,
        "states": dict(counts.states),
        "damage": dict(counts.reasons),
        "errors": dict(counts.errors),
        "missing_paths": counts.missing_paths,
        "removed": counts.removed,
        "unfinished_runs": sum(run["ended_at"] is None for run in runs[:1]),
        "note": library.note,
    }
    return facts, [{"path": e.path, "code": e.code, "detail": e.detail} for e in library.errors()]


def facts_of(library: Library, path: Path) -> dict[str, Any]:
    """All that is known of a file. Raises InvalidValueError where that is nothing."""
    known = library.known_path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links
    if known is None:
        for error in library.errors():
            if error.path == os.path.abspath(path):  # noqa: PTH100
                return {"path": error.path, "state": "rejected", "reason": f"{error.code}: {error.detail}"}
        raise InvalidValueError(f"PATH must be in the library, got {os.fspath(path)!r}: index it first")
    item = library.items_of([known.item])[0]
    words = library.words_of([known.key]).get(known.key, ())
    tags = library.tags_of([known.key]).get(known.key, ())
    return {
        "path": known.path,
        "id": item.id,
        "kind": item.kind,
        "state": item.state,
        "reason": item.reason,
        "size_bytes": item.size_bytes,
        "width": item.width,
        "height": item.height,
        "duration_s": item.duration_s,
        "also_at": [other for other in item.paths if other != known.path],
        "words": [f"{each.source}: {each.text}" for each in words],
        "tags": [f"{tag.tag} ({'by hand' if tag.score is None else f'{tag.score:.2f} {tag.source}'})" for tag in tags],
        "missing": known.missing,
    }


def chosen_paths(
    library: Library, paths: Sequence[Path], where: Where | None, *, missing: bool = False
) -> dict[int, str]:  # fmt: skip
    """Paths that fit all that is given, key → path: these ones, let through by the filter, gone from their place.

    Nothing given chooses nothing. Other paths of the same content are not chosen with them.
    Raises InvalidValueError for a path that the library does not know.
    """
    named: list[int] = []
    for path in paths:
        known = library.known_path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links
        if known is None or known.removed:
            raise InvalidValueError(f"PATH must be in the library, got {os.fspath(path)!r}: check the spelling")
        named.append(known.key)
    if not paths and where is None and not missing:
        return {}
    chosen = set(named) if paths else None
    if where is not None:
        fitting = set(library.owners("path", where).tolist())
        chosen = fitting if chosen is None else chosen & fitting
    return {
        path.key: path.path
        for path in library.known_paths()
        if (chosen is None or path.key in chosen) and not path.removed and (path.missing or not missing)
    }
