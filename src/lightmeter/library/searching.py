"""A library asked: by words, picture, video or sound; and an honest "nothing is near enough"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.calibrating import null_of, query_rows
from lightmeter.library.features import Series
from lightmeter.library.filters import Where
from lightmeter.library.stage import SOUND_WINDOW_S
from lightmeter.library.store import Library
from lightmeter.media.sniff import is_media_name, sniff
from lightmeter.parts import build
from lightmeter.search.exact import Scores, scan, top
from lightmeter.search.null import Null
from lightmeter.types import Array, Image, Item

QueryKind = Literal["words", "image", "video", "sound", "none"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One item that is near enough.

    score: cosine with the query, −1..1 · surprise: how many spreads above unrelated queries
    evidence: what matched: `picture`, `sound`, or `words` with their text · time_s: where in a video or sound
    """

    item: Item
    key: int
    score: float
    surprise: float
    evidence: str
    time_s: float | None

    @property
    def path(self) -> str:
        """Where the item was last seen."""
        return self.item.paths[0] if self.item.paths else ""


@dataclass(frozen=True, slots=True)
class Source:
    """One series that was asked, and the null by which it was judged."""

    evidence: str
    spec: str
    null: Null


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and how they were judged. nearest: best score of each source, also where none was enough."""

    kind: QueryKind
    hits: list[Hit]
    sources: list[Source]
    nearest: dict[str, float]
    looked_at: int


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    source: Source
    series: Series
    scores: Scores
    values: Array


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
    Raises InvalidValueError, RejectedFileError (a query file that cannot be read).
    Cost: encoding the query, then one pass over the features of the series that are asked.
    """
    if k < 1:
        raise InvalidValueError(f"k must be at least 1, got {k}")
    if query is None:
        return _listed(library, where, k)
    kind = kind_of_query(query)
    if kind == "words":
        found = _ask_words(library, query, where)
    else:
        found = _ask_file(library, Path(query), _asked_by(kind, by), where)
    return _answer(library, kind, found, k, everything)


def _asked_by(kind: QueryKind, by: str) -> Literal["image", "sound"]:
    if by == "sound" and kind == "image":
        raise InvalidValueError("--by sound needs a video or sound, got a picture: leave it out")
    if by == "picture" and kind == "sound":
        raise InvalidValueError("--by picture needs a picture or video, got a sound: leave it out")
    return "sound" if kind == "sound" or by == "sound" else "image"


def _listed(library: Library, where: Where | None, k: int) -> Answer:
    view = library.items(where)
    hits = [Hit(item, int(key), 1.0, 0.0, "filter", None) for item, key in zip(view[:k], view.keys[:k], strict=True)]
    return Answer("none", hits, [], {}, len(view))


def _ask_words(library: Library, text: str, where: Where | None) -> list[_Found]:
    found = []
    for series in library.all_series():
        encoder = build(series.spec, "encoder")
        null = null_of(library, series)
        if null is None or not (hasattr(encoder, "encode_words") or encoder.takes == "words"):
            continue
        evidence = "picture" if hasattr(encoder, "encode_words") else "words"
        scores = scan(library.features(series, where).blocks(), query_rows(encoder, [text]))
        found.append(_Found(Source(evidence, series.spec, null), series, scores, scores.best[0]))
    return found


def _ask_file(library: Library, path: Path, takes: Literal["image", "sound"], where: Where | None) -> list[_Found]:
    for series in library.all_series():
        encoder = build(series.spec, "encoder")
        null = null_of(library, series)
        if null is not None and encoder.takes == takes and not hasattr(encoder, "encode_words"):
            rows = encoder.encode(_read_query(path, takes, encoder))
            scores = scan(library.features(series, where).blocks(), rows)
            evidence = "picture" if takes == "image" else "sound"
            return [_Found(Source(evidence, series.spec, null), series, scores, scores.best.mean(axis=0))]
    return []


def _read_query(path: Path, takes: Literal["image", "sound"], encoder: Any) -> Sequence[Any]:
    from lightmeter.media.images import read_image
    from lightmeter.media.sound import SoundReader
    from lightmeter.media.video import FrameReader

    if takes == "sound":
        return [sound for _, sound in SoundReader(path, block_s=SOUND_WINDOW_S)]
    found = sniff(path)
    if found is not None and found.kind == "image":
        return [read_image(path, short_side=encoder.short_side).value]
    return [Image(frame) for _, frame in FrameReader(path, fps=1.0, short_side=encoder.short_side)]


def _answer(library: Library, kind: QueryKind, found: Sequence[_Found], k: int, everything: bool) -> Answer:
    """Judge each source by its own null, put them on one scale, keep each item's best evidence."""
    best: dict[int, tuple[float, _Found, int, int]] = {}
    nearest: dict[str, float] = {}
    for each in found:
        if not len(each.values):
            continue
        nearest[each.source.evidence] = float(each.values.max())
        surprise = each.source.null.surprise(each.values)
        enough = (
            np.arange(len(each.values)) if everything else np.flatnonzero(each.values >= each.source.null.threshold)
        )
        chosen = enough[top(each.values[enough], k * 4)] if len(enough) else enough
        items = _items_of(library, each, chosen)
        for at, item in zip(chosen, items, strict=True):
            if item not in best or surprise[at] > best[item][0]:
                best[item] = (float(surprise[at]), each, int(at), int(each.scores.owners[at]))
    ranked = sorted(best.items(), key=lambda pair: (-pair[1][0], pair[0]))[:k]
    view = library.items_of([item for item, _ in ranked])
    hits = [_hit(library, item, key, entry) for item, (key, entry) in zip(view, ranked, strict=True)]
    return Answer(kind, hits, [each.source for each in found], nearest, max((len(f.values) for f in found), default=0))


def _items_of(library: Library, found: _Found, chosen: Array) -> list[int]:
    owners = found.scores.owners[chosen].tolist()
    if found.series.owner == "item":
        return list(owners)
    sql = f"SELECT key, item FROM paths WHERE key IN ({','.join('?' * len(owners))})"
    items: dict[int, int] = dict(library.catalogue.rows(sql, owners))
    return [items[owner] for owner in owners]


def _hit(library: Library, item: Item, key: int, entry: tuple[float, _Found, int, int]) -> Hit:
    surprise, found, at, owner = entry
    evidence = found.source.evidence
    if evidence == "words":
        told = library.words_of([owner]).get(owner, ())
        evidence = "words: " + " | ".join(f"{each.source} {each.text!r}" for each in told)
    moments = found.scores.times_s[:, at]
    time_s = float(moments[0]) if len(moments) and np.isfinite(moments[0]) else None
    return Hit(item, key, float(found.values[at]), surprise, evidence, time_s)
