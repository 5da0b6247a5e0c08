"""Titles and keywords of videos from JSON lines: dumps of the YouTube API, and plain tables."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from lightmeter.errors import RejectedFileError
from lightmeter.media.words import MOST_KEYWORDS

MOST_LINE_BYTES = 8 << 20
_IDS = ("id", "video_id", "videoId", "VideoId")
_TAGS = ("tags", "keywords")
_PLACEHOLDERS = frozenset(("Deleted video", "Private video"))
"""What the API writes in the place of a title that is gone."""
_GONE = frozenset(("deleted", "failed", "rejected"))


@dataclass(frozen=True, slots=True)
class VideoText:
    """What people wrote about one video.

    gone: the video is deleted, private or an error · embeddable: may be shown on other sites
    """

    id: str
    title: str = ""
    keywords: tuple[str, ...] = ()
    gone: bool = False
    embeddable: bool = True


@dataclass(slots=True)
class TextFiles:
    """The videos of some files of JSON lines, read as they are asked for; a second pass reads again.

    A line is one video or one answer of the API (`{"items": [video, …]}`). Of a video these keys are read, from its own
    object or from `snippet` and `status` in it: `id` (or `video_id`, `videoId`, `{"videoId": …}`), `title`, `tags` or
    `keywords` (a list, or text with commas), `embeddable`, `uploadStatus`, `privacyStatus`, `error`.
    `.gz` is unpacked on the way. The first 200 keywords of a video count.
    counts: of the last pass: `videos`, `broken` (no JSON, or of another shape), `no id`, `too long` (above 8 MB)
    """

    paths: Sequence[Path | str]
    counts: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[VideoText]:
        self.counts.clear()
        for path in map(Path, self.paths):
            if not path.is_file():
                raise RejectedFileError("not-a-file", f"texts must be a file of JSON lines, got {path}")
            with cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
                try:
                    yield from self._of(file)
                except (EOFError, gzip.BadGzipFile) as error:
                    raise RejectedFileError("broken-archive", f"{path.name} breaks off: {str(error)[:100]}") from error

    def _of(self, file: BinaryIO) -> Iterator[VideoText]:
        for line in _lines(file):
            if line is None:
                self.counts["too long"] += 1
                continue
            if not line.strip():
                continue
            for each in _videos(line):
                made = video_text(each) if isinstance(each, dict) else None
                if made is None:
                    self.counts["no id" if isinstance(each, dict) else "broken"] += 1
                else:
                    self.counts["videos"] += 1
                    yield made


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines; None for one that is too long, which is passed over."""
    while line := file.readline(MOST_LINE_BYTES):
        if len(line) < MOST_LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MOST_LINE_BYTES)
        yield None


def _videos(line: bytes) -> Iterable[Any]:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return [None]
    if isinstance(read, dict) and isinstance(read.get("items"), list):
        items: list[Any] = read["items"]
        return items
    return [read]


def video_text(read: Mapping[str, Any]) -> VideoText | None:
    """One video as JSON gave it; None where it has no id.

    >>> video_text({"id": "x", "snippet": {"title": "A cat", "tags": ["cat"]}, "status": {"embeddable": False}})
    VideoText(id='x', title='A cat', keywords=('cat',), gone=False, embeddable=False)
    >>> video_text({"video_id": "x", "title": "A cat", "keywords": "cat, cute"})
    VideoText(id='x', title='A cat', keywords=('cat, cute',), gone=False, embeddable=True)
    """
    name = next((read[key] for key in _IDS if key in read), None)
    if isinstance(name, dict):
        name = name.get("videoId")
    if not isinstance(name, str) or not name:
        return None
    snippet, status = (_inner(read, key) for key in ("snippet", "status"))
    title = snippet.get("title", read.get("title"))
    tags = next((each[key] for each in (snippet, read) for key in _TAGS if each.get(key)), ())
    gone = bool(read.get("error")) or status.get("uploadStatus") in _GONE or status.get("privacyStatus") == "private"
    embeddable = status.get("embeddable", read.get("embeddable", True)) is not False
    title = title if isinstance(title, str) else ""
    return VideoText(name, title, _texts(tags), gone or title in _PLACEHOLDERS, embeddable)


def _inner(read: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = read.get(key)
    return inner if isinstance(inner, dict) else {}


def _texts(tags: Any) -> tuple[str, ...]:
    if isinstance(tags, str):
        return (tags,)
    return tuple(each for each in tags if isinstance(each, str))[:MOST_KEYWORDS] if isinstance(tags, list) else ()
