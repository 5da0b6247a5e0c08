"""Where the outcomes of indexing become rows: one transaction a batch, features durable before it commits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lightmeter.engines.stage import Failure, Result
from lightmeter.library.calibrating import keep_twins
from lightmeter.library.store import Library
from lightmeter.types import Array, Item, Words


class IndexSink:
    """Writes what `IndexStage` found.

    series: spec → numbers a row of each encoder of items · words: (spec, numbers a row) of the text encoder, or None
    path_of: key of a task → its path · stage: fingerprint under which errors are kept
    damaged: filled with (path, what is wrong) of files that are kept all the same
    """

    def __init__(
        self, library: Library, series: Mapping[str, int], words: tuple[str, int] | None,
        *, path_of: Callable[[str], str], stage: str,
    ) -> None:  # fmt: skip
        self.library, self.path_of, self.stage = library, path_of, stage
        self.dims = dict(series)
        self.words = words
        self.damaged: list[tuple[str, str]] = []

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Keep one batch; called inside the engine's transaction."""
        rows = _Rows()
        written = _Rows()
        for result in results:
            self._keep(result.value, rows, written)
        for spec, dim in self.dims.items():
            rows.append_to(self.library, spec, owner="item", dim=dim)
        if self.words:
            spec, dim = self.words
            written.append_to(self.library, spec, owner="path", dim=dim)
        for failure in failures:
            code = failure.reason.removeprefix("rejected:")
            self._refuse(failure, code)
        keep_twins(self.library, twins_of(results))

    def _refuse(self, failure: Failure, code: str) -> None:
        """Name what cannot be used; the content that stood there before is no longer there."""
        path = self.path_of(failure.key)
        self.library.set_error(path, stage=self.stage, code=code, detail=failure.detail)
        before = self.library.known_path(path)
        if before and path_key(path, before.size_bytes, before.mtime_ns) != failure.key:
            self.library.mark_missing([before.key])

    def _keep(self, value: Mapping[str, Any], rows: _Rows, written: _Rows) -> None:
        notes = "; ".join(value["notes"])
        item = Item(
            id=value["id"], kind=value["kind"], size_bytes=value["size_bytes"], state=value["state"], reason=notes,
            duration_s=value["duration_s"], width=value["width"], height=value["height"],
        )  # fmt: skip
        key = self.library.add_content(item, taken_at=value["taken_at"])
        path = self.library.add_path(value["path"], key, size_bytes=value["size_bytes"], mtime_ns=value["stamp_ns"])
        self._follow(key, path)
        self.library.clear_errors(value["path"])
        self.library.set_words(
            path, [Words(title, tuple(keywords), source) for source, title, keywords in value["words"]]
        )
        for spec, (vectors, times_s) in value["features"].items():
            rows.add(spec, key, vectors, times_s)
        if self.words:
            vectors = value["words_features"]
            written.add(
                self.words[0], path, np.empty((0, self.words[1]), np.float32) if vectors is None else vectors, None
            )
        if value["state"] == "damaged":
            self.damaged.append((value["path"], notes))

    def _follow(self, item: int, path: int) -> None:
        """A content that is seen at a new place: places where it no longer stands are marked, their labels move on."""
        others = [each for each in self.library.paths_of(item) if each.key != path]
        lost = [each for each in others if not each.missing and not os.path.lexists(each.path)]
        self.library.mark_missing([each.key for each in lost])
        if others and all(each.missing or each in lost for each in others):
            tags = self.library.tags_of([each.key for each in others])
            moved = [replace(tag, path=path) for each in tags.values() for tag in each]
            self.library.set_tags(moved)


class _Rows:
    """Feature rows of one batch, by series, an owner once."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[int, tuple[Array, Array | None]]] = {}

    def add(self, spec: str, owner: int, vectors: Array, times_s: Array | None) -> None:
        self.parts.setdefault(spec, {})[owner] = (vectors, times_s)

    def append_to(self, library: Library, spec: str, *, owner: str, dim: int) -> None:
        """Append all rows of one series that the library does not have yet."""
        parts = self.parts.get(spec, {})
        if not parts:
            return
        series = library.series(spec, owner=owner, dim=dim)
        known = set() if owner == "path" else library.having(series, list(parts))
        fresh = {key: rows for key, rows in parts.items() if key not in known}
        empty = [key for key, (vectors, _) in fresh.items() if not len(vectors)]
        full = {key: rows for key, rows in fresh.items() if len(rows[0])}
        if owner == "path":
            library.forget_features(series, list(parts))
        if full:
            owners = np.concatenate([np.full(len(vectors), key, np.int64) for key, (vectors, _) in full.items()])
            vectors = np.concatenate([vectors for vectors, _ in full.values()])
            times_s = np.concatenate([np.full(len(v), np.nan) if t is None else t for v, t in full.values()])
            library.append(series, owners, vectors, times_s)
        library.mark_empty(series, empty)


def twins_of(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Spec → id of a content → cosine with a changed copy of itself, of the files of one batch that measured it."""
    found: dict[str, dict[str, float]] = {}
    for result in results:
        for spec, cosine in result.value["twins"].items():
            found.setdefault(spec, {})[result.value["id"]] = cosine
    return found


def path_key(path: str, size_bytes: int, stamp_ns: int) -> str:
    r"""The name of a task, in plain text: the same file unchanged has the same key, so a failure is not tried again.

    Two paths never share one: a byte that is not UTF-8 becomes `\xhh`, a backslash becomes two.

    >>> print(path_key("caf\udce9", 1, 2), path_key(r"caf\xe9", 1, 2))
    caf\xe9|1|2 caf\\xe9|1|2
    """
    plain = os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return f"{plain}|{size_bytes}|{stamp_ns}"
