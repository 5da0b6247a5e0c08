"""A library asked: by words, picture, video or sound; and an honest "nothing is near enough"."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.encoders.protocol import understands
from lightmeter.errors import InvalidValueError, MissingAssetError, MissingExtraError, RejectedFileError
from lightmeter.library.calibrating import (
    answers_words,
    null_of,
    query_rows,
    thinned,
    unusable,
    usable,
)
from lightmeter.library.features import Series
from lightmeter.library.filters import Where, fold
from lightmeter.library.store import CODES, Library
from lightmeter.media.sniff import is_media_name, sniff
from lightmeter.search.exact import scan_mean, top
from lightmeter.search.null import Null
from lightmeter.types import Array, Item

if TYPE_CHECKING:
    from lightmeter.library.neighbours import Answered, Partial

QueryKind = Literal["words", "image", "video", "sound", "none"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One item that is near enough.

    score: cosine with the query, −1..1; None where the query's words stand there to the letter, and for bare filters
    surprise: how many spreads above unrelated queries, None with the score
    evidence: what matched: `picture`, `sound`, `words: …`, `exact: …` or `filter`
    time_s: where in a video or sound · path: where it stands, one that fits the filters · missing: it did, but is gone
    """

    item: Item
    key: int
    score: float | None
    surprise: float | None
    evidence: str
    time_s: float | None
    path: str
    missing: bool


@dataclass(frozen=True, slots=True)
class Source:
    """One series that was asked, and the null by which it was judged.

    nearest: best score of any item, None where there was none to look at
    fresh: whether the null was measured on the library as it is now
    answered: the codes that answered, and their price; None where all rows were scanned
    """

    evidence: str
    spec: str
    null: Null
    nearest: float | None
    fresh: bool
    answered: Answered | None = None

    def said(self) -> str:
        """How it was judged, for people."""
        nearest = "" if self.nearest is None else f", nearest {floor(self.nearest * 1000) / 1000:.3f}"
        stale = "" if self.fresh else "; measured before the last change, `lightmeter index` measures again"
        least = ceil(self.null.threshold * 1000) / 1000
        by = f" · {self.answered.said()}" if self.answered else ""
        return f"{self.evidence}: near enough from {least:.3f}{nearest} · {self.null.said()}{stale}{by}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and how they were judged.

    looked_at: items that the filters let through · notes: sentences on what could not be asked, and why
    """

    kind: QueryKind
    hits: list[Hit]
    sources: list[Source]
    looked_at: int
    notes: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Scores of one series: owners int64 [M], values float32 [M], times_s float64 [M]."""

    source: Source
    series: Series
    owners: Array
    values: Array
    times_s: Array


def kind_of_query(query: str) -> QueryKind:
    """What a query is: a file is asked by its content, everything else by its words.

    Raises InvalidValueError where it looks like a file and there is none.
    """
    if not query.strip():
        raise InvalidValueError("QUERY must be words or a file, got nothing: leave it out to list by filters alone")
    path = Path(query)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        found = sniff(path)
        if found is None:
            raise InvalidValueError(
                f"QUERY must be words or a picture, video or sound, got {query!r}: quote its words instead"
            )
        return found.kind
    if is_media_name(query) and not any(char.isspace() for char in query):
        raise InvalidValueError(f"QUERY must be words or a file that exists, got {query!r}: check the path")
    return "words"


def search(
    library: Library, query: str | None, *, k: int = 10, where: Where | None = None,
    by: Literal["auto", "picture", "sound"] = "auto", everything: bool = False,
) -> Answer:  # fmt: skip
    """The k items that are near enough to a query, best first.

    query: words, or the path of a picture, video or sound; None lists what the filters let through
    by: for a video, whether its pictures or its sound ask (auto: its pictures)
    everything: also what is not near enough, for looking at the scores
    Every series of the right kind is asked and judged by its own null; a video or sound asks with at most 16 rows.
    Raises InvalidValueError, RejectedFileError (a query file that cannot be read).
    A large series is answered by its one-bit codes where these were measured to be cheaper and to agree with a scan
    (`library.neighbours`); a query of several rows and `everything` scan.
    Cost: encoding the query, then one pass over the features of the series that are asked, or over their codes.
    """
    if k < 1:
        raise InvalidValueError(f"k must be at least 1, got {k}")
    asked = _Asked(
        library, where, k, everything, [f"not asked: {spec}, no such encoder here" for spec in unusable(library)]
    )
    if query is None:
        view = library.items(where)
        return asked.answer("none", [], [(int(key), _Match(None, None, "filter", None)) for key in view.keys[:k]])
    kind = kind_of_query(query)
    if kind == "words":
        return asked.answer(kind, _ask_words(asked, query), _to_the_letter(asked, query))
    return asked.answer(kind, _ask_file(asked, Path(query), _asked_by(kind, by)), [])


def _asked_by(kind: QueryKind, by: str) -> Literal["image", "sound"]:
    if by == "sound" and kind == "image":
        raise InvalidValueError("--by sound needs a video or sound, got a picture: leave it out")
    if by == "picture" and kind == "sound":
        raise InvalidValueError("--by picture needs a picture or video, got a sound: leave it out")
    return "sound" if kind == "sound" or by == "sound" else "image"


@dataclass(frozen=True, slots=True)
class _Match:
    score: float | None
    surprise: float | None
    evidence: str
    time_s: float | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One search: the library, what may answer, and how much of it is wanted."""

    library: Library
    where: Where | None
    k: int
    everything: bool
    notes: list[str]

    def answer(self, kind: QueryKind, found: Sequence[_Found], sure: Sequence[tuple[int, _Match]]) -> Answer:
        """Sure hits first, then those of each source by how far they stand above its null; an item once."""
        best: dict[int, _Match] = {}
        for each in found:
            surprise = each.source.null.surprise(each.values)
            for item, at in _best_items(self, each):
                before = best.get(item)
                if before is None or surprise[at] > (before.surprise or 0):
                    best[item] = _match(self.library, each, at, float(surprise[at]))
        ranked = sorted(best.items(), key=lambda pair: (-(pair[1].surprise or 0), pair[0]))
        merged = list((dict(sure) | {item: match for item, match in ranked if item not in dict(sure)}).items())[
            : self.k
        ]
        looked_at = len(self.library.items(self.where))
        if not found and not self.notes and kind != "none":
            self.notes.append(
                "the library is empty" if not looked_at else f"no encoder here takes {kind}: index with one"
            )
        return Answer(kind, self._hits(merged), [each.source for each in found], looked_at, self.notes)

    def _hits(self, matches: Sequence[tuple[int, _Match]]) -> list[Hit]:
        fitting = None if self.where is None else set(self.library.owners("path", self.where).tolist())
        hits = []
        for item, (key, match) in zip(self.library.items_of([key for key, _ in matches]), matches, strict=True):
            paths = sorted(self.library.paths_of(key), key=lambda path: path.missing)
            shown = [path for path in paths if fitting is None or path.key in fitting] or paths
            path, missing = (shown[0].path, shown[0].missing) if shown else ("", True)
            hits.append(Hit(item, key, match.score, match.surprise, match.evidence, match.time_s, path, missing))
        return hits


def _to_the_letter(asked: _Asked, text: str) -> list[tuple[int, _Match]]:
    """Items in whose words the query stands as a whole word or phrase, articles left out."""
    phrase = re.sub(r"^(an?|the)\s+", "", text.strip(), flags=re.IGNORECASE)
    if not fold(phrase).strip():
        return []
    where = asked.where or Where()
    paths = asked.library.owners("path", replace(where, words=(*where.words, phrase)))[: 16 * asked.k].tolist()
    sql = "SELECT key, item FROM paths WHERE key IN (SELECT value FROM json_each(?)) ORDER BY missing, key"
    found: dict[int, _Match] = {}
    for path, item in asked.library.catalogue.rows(sql, (json.dumps(paths),)):
        found.setdefault(item, _Match(None, None, f"exact: {_told(asked.library, path)}", None))
    return list(found.items())[: asked.k]


def _ask_words(asked: _Asked, text: str) -> list[_Found]:
    found = []
    for series, encoder in usable(asked.library):
        if not answers_words(encoder):
            continue
        evidence = "words" if encoder.takes == "words" else "picture"
        if not understands(encoder, text):
            asked.notes.append(f"{evidence}: not asked, its encoder does not know these words (it reads English)")
            continue
        try:
            rows = query_rows(encoder, [text])
        except (MissingAssetError, MissingExtraError) as error:
            asked.notes.append(f"{evidence}: not asked, {error}")
            continue
        found += _ask(asked, series, encoder, evidence, rows)
    return found


def _ask_file(asked: _Asked, path: Path, takes: Literal["image", "sound"]) -> list[_Found]:
    from lightmeter.library.looking import encode_file  # a search by words must not pay for it: 0.1 CPU-s

    found, failed, answered = [], [], False
    evidence = "picture" if takes == "image" else "sound"
    for series, encoder in usable(asked.library):
        if encoder.takes != takes or answers_words(encoder) or not null_of(asked.library, series, encoder)[0]:
            continue
        try:
            rows = thinned(encode_file(path, series.spec, takes))
        except (MissingAssetError, MissingExtraError, RejectedFileError) as error:
            failed.append(error)  # such as no face, or weights that are gone: others may answer
            asked.notes.append(f"{evidence}: {encoder.spec} not asked, {error}")
            continue
        answered = True
        found += _ask(asked, series, encoder, evidence, rows)
    if failed and not answered:
        raise failed[0]
    return found


def _ask(asked: _Asked, series: Series, encoder: Any, evidence: str, rows: Array) -> list[_Found]:
    null, fresh = null_of(asked.library, series, encoder)
    if null is None:
        return []
    features = asked.library.features(series, asked.where)
    found, answered = None, None
    if len(rows) == 1 and not asked.everything and asked.library.calibration(series, CODES):
        from lightmeter.library.neighbours import ask  # small libraries must not pay for it: 0.1 CPU-s

        enough = partial(_is_enough, asked, series, null.threshold)
        found, answered, notes = ask(asked.library, features, rows, asked.k, enough)
        asked.notes.extend(f"{evidence}: {note}" for note in notes)
    if found is None:
        owners, values, times_s = scan_mean(features.blocks(), rows)
    else:
        owners, values, times_s = found.owners, found.values, found.times_s
    nearest = float(values.max()) if len(values) else None
    return [_Found(Source(evidence, series.spec, null, nearest, fresh, answered), series, owners, values, times_s)]


def _is_enough(asked: _Asked, series: Series, threshold: float, found: Partial) -> bool:
    """Whether it holds all that is near enough, or the owners of the k best items."""
    if found.sure < threshold:
        return True
    sure = found.owners[found.values > found.sure]
    return len(sure) >= asked.k and len(set(_items_of(asked.library, series, sure))) >= asked.k


def _best_items(asked: _Asked, found: _Found) -> list[tuple[int, int]]:
    """The k best items of a source that are near enough, each with the place of its best owner, best first."""
    lowest = -np.inf if asked.everything else found.source.null.threshold
    enough, wanted = np.flatnonzero(found.values >= lowest), asked.k
    while True:  # an item may stand at many paths, each with its own words: look further until there are k items
        chosen = enough[top(found.values[enough], wanted)]
        items: dict[int, int] = {}
        for item, at in zip(_items_of(asked.library, found.series, found.owners[chosen]), chosen.tolist(), strict=True):
            items.setdefault(item, at)
        if len(items) >= asked.k or len(chosen) == len(enough):
            return list(items.items())[: asked.k]
        wanted *= 4


def _items_of(library: Library, series: Series, chosen: Array) -> list[int]:
    owners: list[int] = chosen.tolist()
    if series.owner == "item":
        return owners
    sql = "SELECT key, item FROM paths WHERE key IN (SELECT value FROM json_each(?))"
    items: dict[int, int] = dict(library.catalogue.rows(sql, (json.dumps(owners),)))
    return [items[owner] for owner in owners]


def _match(library: Library, found: _Found, at: int, surprise: float) -> _Match:
    evidence = found.source.evidence
    if evidence == "words":
        evidence = f"words: {_told(library, int(found.owners[at]))}"
    moment = float(found.times_s[at])
    return _Match(float(found.values[at]), surprise, evidence, moment if np.isfinite(moment) else None)


def _told(library: Library, path: int) -> str:
    return " | ".join(f"{each.source} {each.text!r}" for each in library.words_of([path]).get(path, ()) if each.text)
