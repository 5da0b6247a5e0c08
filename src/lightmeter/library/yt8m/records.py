"""Records of YouTube-8M: video-level Examples, frame-level and segment-level SequenceExamples ↔ dataclasses.

Features by name: `id` (since May 2018) or `video_id`, `labels`, `mean_rgb` and `mean_audio` (floats, of a video), `rgb`
and `audio` (one string of bytes a second), and of the segments of 2019 `segment_labels`, `segment_start_times`,
`segment_end_times`, `segment_scores`.  Source: google/youtube-8m, `readers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.tf_example import (
    Features,
    Value,
    encode_example,
    encode_frames,
    encode_varint,
    entries,
    feature,
    feature_list,
    features_of,
    fields,
    parse_example,
    varint,
)  # fmt: skip
from lightmeter.types import Array

Level = Literal["video", "frame", "segment"]
IdKey = Literal["id", "video_id"]
VISUAL_DIM, AUDIO_DIM = 1024, 128
SEGMENT_S = 5
MOST_SECONDS = 100_000
MOST_ID_BYTES = 100
MOST_SEGMENT_ROWS = 10_000
MOST_SEGMENTS, MOST_SEGMENT_S = 1000, 60
"""Segments of a video, and seconds of each where there are several: they may overlap, and each becomes an item."""
_IDS = ("id", "video_id")
_OF_VIDEOS = {*_IDS, "labels", "mean_rgb", "mean_audio"}
_OF_FRAMES = {*_IDS, "labels", "segment_labels", "segment_start_times", "segment_end_times", "segment_scores"}


@dataclass(frozen=True, slots=True)
class Schema:
    """What records must be like. classes: 3862 since 2018, 4716 before; visual, audio: numbers a feature."""

    classes: int = 3862
    visual: int = VISUAL_DIM
    audio: int = AUDIO_DIM

    def __post_init__(self) -> None:
        if min(self.classes, self.visual, self.audio) < 1 or max(self.visual, self.audio) > 1 << 20:
            raise InvalidValueError(f"classes and widths must be 1 or more, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class VideoRecord:
    """A video. labels: rising, each once · visual float32 [1024], audio float32 [128]; None where it is absent."""

    id: str
    labels: tuple[int, ...]
    visual: Array | None
    audio: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """What people said about pieces of a video: row by row a class, its segment, and whether it is seen there.

    labels, starts, ends: int64 [S], seconds, half-open · scores: float32 [S], 0 or 1
    """

    labels: Array
    starts: Array
    ends: Array
    scores: Array


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """A video second by second.

    visual: uint8 [T, 1024] · audio: uint8 [T, 128]; None where it is absent · segments: None where nobody rated any
    The arrays may be views into the record's bytes.
    """

    id: str
    labels: tuple[int, ...]
    visual: Array | None
    audio: Array | None
    segments: Segments | None = None

    @property
    def length(self) -> int:
        """Frames."""
        found = self.visual if self.visual is not None else self.audio
        return 0 if found is None else len(found)


# -- reading --------------------------------------------------------------------------------------------------------


def level_of(data: bytes) -> Level:
    """What kind of record this is, by what it holds.  Raises RejectedFileError (`broken-record`)."""
    level: Level = "video"
    for number, wire, start, stop in fields(data, 0, len(data)):
        if wire == 2 and number == 2:
            level = "frame"
        elif (wire, number) == (2, 1) and any(key == "segment_labels" for key, _ in entries(data, start, stop)):
            return "segment"
    return level


class VideoReader:
    """Reads video-level records; those laid out as TensorFlow writes them without a walk through their fields.

    A float list of known length has one spelling of its tags and lengths: where these bytes stand, the numbers follow.
    Everything else takes the general way, with the same outcome.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        self.schema = schema or Schema()
        self._blocks = (
            (_float_head("mean_rgb", self.schema.visual), "visual", self.schema.visual),
            (_float_head("mean_audio", self.schema.audio), "audio", self.schema.audio),
        )

    def parse(self, data: bytes) -> VideoRecord:
        """Raises RejectedFileError: `broken-record`, `no-id`, `bad-id`, `label-range`, `wrong-width`, `no-features`.

        The arrays are views into `data`, read-only.
        """
        return self._known(data) or self._general(data)

    def _known(self, data: bytes) -> VideoRecord | None:
        """The same for the usual layout, None for any other."""
        name: bytes | None = None
        labels, found = b"", {}
        at = 2 if len(data) < 130 else 3 if len(data) < 16_387 else 4  # where the features begin
        if len(data) < at or not data.startswith(b"\x0a" + encode_varint(len(data) - at)):
            return None
        while at < len(data):
            for head, block, size in self._blocks:
                if data.startswith(head, at):
                    if at + len(head) + 4 * size > len(data) or block in found:
                        return None
                    found[block] = np.frombuffer(data, "<f4", size, at + len(head))
                    at += len(head) + 4 * size
                    break
            else:
                end, key, payload = _short_entry(data, at)
                if key == b"labels" and not labels:
                    labels = payload
                elif key in (b"id", b"video_id") and name is None:
                    name = payload
                else:
                    return None
                at = end
        numbers = _short_labels(labels)
        if name is None or not found or numbers is None:
            return None
        return VideoRecord(_name(name), _held(numbers, self.schema), found.get("visual"), found.get("audio"))

    def _general(self, data: bytes) -> VideoRecord:
        found = parse_example(data, _OF_VIDEOS)
        name, labels = _name_of(found), _labels_of(found, "labels", self.schema)
        visual = _floats(found, "mean_rgb", self.schema.visual)
        audio = _floats(found, "mean_audio", self.schema.audio)
        if visual is None and audio is None:
            raise RejectedFileError("no-features", "a video must have mean_rgb or mean_audio")
        return VideoRecord(name, labels, visual, audio)


def _short_entry(data: bytes, at: int) -> tuple[int, bytes, bytes]:
    """(end, key, payload) of a map's entry with all lengths below 128; the key is empty where it is laid out otherwise.

    0a LENGTH · 0a LENGTH key · 12 LENGTH · (0a or 1a) LENGTH · 0a LENGTH · payload
    """
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 10 or head[2] != 10 or head[1] > 127 or head[3] > 127:
        return at, b"", b""
    end, value = at + 2 + head[1], at + 4 + head[3]
    rest = data[value : value + 6]
    left = end - value
    key = data[at + 4 : value]
    kind = 26 if key == b"labels" else 10
    if end > len(data) or left < 6 or (rest[0], rest[2], rest[4]) != (18, kind, 10):
        return at, b"", b""
    if (rest[1], rest[3], rest[5]) != (left - 2, left - 4, left - 6):
        return at, b"", b""
    return end, key, data[value + 6 : end]


def _short_labels(raw: bytes) -> set[int] | None:
    """Packed numbers of up to four bytes; None where there is another one."""
    made, value, shift = set(), 0, 0
    for byte in raw:
        value |= (byte & 127) << shift
        if byte < 128:
            made.add(value)
            value = shift = 0
        else:
            shift += 7
            if shift > 28:
                return None
    return None if shift else made


def _float_head(key: str, size: int) -> bytes:
    """The bytes that stand before the numbers of a packed float list in a map's entry."""
    raw, made = 4 * size, b""
    for tag in (b"\x0a", b"\x12", b"\x12"):  # value in FloatList, float_list in Feature, value in the entry
        made = tag + encode_varint(raw + len(made)) + made
    made = b"\x0a" + encode_varint(len(key)) + key.encode() + made
    return b"\x0a" + encode_varint(raw + len(made)) + made


def parse_frames(data: bytes, schema: Schema | None = None) -> FrameRecord:
    """A frame-level or segment-level record.

    The frames are views where all of them are laid out alike, else copies. Raises RejectedFileError: `broken-record`,
    `no-id`, `bad-id`, `label-range`, `wrong-width`, `length-mismatch`, `no-frames`, `too-many-frames`,
    `broken-segments`.
    """
    schema = schema or Schema()
    known = _known_frames(data, schema)
    if known is not None:
        name, labels, blocks, segments = known
    else:
        name, labels, blocks, segments = _general_frames(data, schema)
    lengths = {len(each) for each in blocks.values()}
    if len(lengths) > 1:
        both = " and ".join(f"{len(each)} of {key}" for key, each in blocks.items())
        raise RejectedFileError("length-mismatch", f"a video must have as many frames of each kind, got {both}")
    if not lengths or lengths == {0}:
        raise RejectedFileError("no-frames", "a video must have frames, got none")
    if max(lengths) > MOST_SECONDS:
        raise RejectedFileError("too-many-frames", f"a video must have at most {MOST_SECONDS} frames, got {lengths}")
    return FrameRecord(name, labels, blocks.get("rgb"), blocks.get("audio"), segments)


_Parsed: TypeAlias = tuple[str, tuple[int, ...], dict[str, Array], Segments | None]


def _general_frames(data: bytes, schema: Schema) -> _Parsed:
    parts: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    for number, wire, start, stop in fields(data, 0, len(data)):
        if wire == 2 and number in parts:
            parts[number].append((start, stop))
    context = features_of(data, parts[1], _OF_FRAMES)
    widths = {"rgb": schema.visual, "audio": schema.audio}
    lists = {key: spans for part in parts[2] for key, spans in entries(data, *part) if key in widths}
    blocks = {key: frames_of(data, spans, widths[key]) for key, spans in lists.items()}
    labels = _labels_of(context, "labels", schema)
    return _name_of(context), labels, blocks, _segments_of(context, schema)


def _known_frames(data: bytes, schema: Schema) -> _Parsed | None:
    """The same for the usual layout of a record without segments, None for any other."""
    context, stop = _span(data, 0, len(data), 10)
    at, end = _span(data, stop, len(data), 18)
    if end != len(data):
        return None
    found: dict[bytes, bytes] = {}
    while 0 < context < stop:
        context, key, payload = _short_entry(data, context)
        if key in found:
            return None
        found[key] = payload
    name = found.pop(b"id") if b"id" in found else found.pop(b"video_id", b"")
    labels = _short_labels(found.pop(b"labels", b""))
    if found or not name or labels is None:
        return None
    widths = {b"rgb": schema.visual, b"audio": schema.audio}
    blocks: dict[str, Array] = {}
    while at < end:
        inner, at = _span(data, at, end, 10)
        begin, until = _span(data, inner, at, 10)
        key = data[begin:until]
        begin, until = _span(data, until, at, 18)
        view = _strided(data, begin, until, widths[key]) if key in widths and 0 < until == at else None
        if view is None or key.decode() in blocks:
            return None
        blocks[key.decode()] = view
    return _name(name), _held(labels, schema), blocks, None


def _span(data: bytes, at: int, stop: int, tag: int) -> tuple[int, int]:
    """Where the field that begins here lies, if it has this tag and fits; else (stop, -1), which ends any search."""
    if at < 0 or at + 2 > stop or data[at] != tag:
        return stop, -1
    length, at = varint(data, at + 1, stop)
    return (at, at + length) if length <= stop - at else (stop, -1)


def frames_of(data: bytes, spans: list[tuple[int, int]], dim: int) -> Array:
    """uint8 [T, dim] of a FeatureList: a view with a fixed stride where every frame has the same head, else a copy.

    Raises RejectedFileError (`wrong-width`, `too-many-frames`).  Cost: of the view a comparison of 9 bytes a frame.
    """
    if len(spans) == 1:
        view = _strided(data, *spans[0], dim)
        if view is not None:
            return view
    spots = [each for span in spans for each in islice(feature_list(data, *span), MOST_SECONDS + 1)]
    if len(spots) > MOST_SECONDS:
        raise RejectedFileError("too-many-frames", f"a video must have at most {MOST_SECONDS} frames")
    made = np.empty((len(spots), dim), np.uint8)
    for at, spot in enumerate(spots):
        row = feature(data, [spot])
        if not isinstance(row, list) or len(row) != 1 or len(row[0]) != dim:
            got = f"{[len(each) for each in row[:3]]}" if isinstance(row, list) else "no bytes"
            raise RejectedFileError("wrong-width", f"a frame must be one string of {dim} bytes, got {got}")
        made[at] = np.frombuffer(row[0], np.uint8)
    return made


def _strided(data: bytes, start: int, stop: int, dim: int) -> Array | None:
    head, numbers = _frame_head(dim)
    stride = len(head) + dim
    count, rest = divmod(stop - start, stride)
    if rest or not count or numbers is None:
        return None
    here = np.ndarray((2, count), "<u8", data, start, (len(head) - 8, stride))
    if np.count_nonzero(here != numbers):
        return None
    return np.ndarray((count, dim), np.uint8, data, start + len(head), (stride, 1))


@lru_cache(64)
def _frame_head(dim: int) -> tuple[bytes, Array | None]:
    """What stands before each frame, and the same as two numbers of 8 bytes that overlap: None if not of 8 to 16."""
    head = b""
    for _ in range(3):  # value in BytesList in Feature in FeatureList
        head = b"\x0a" + encode_varint(dim + len(head)) + head
    if not 8 <= len(head) <= 16:
        return head, None
    return head, np.array([[int.from_bytes(each, "little")] for each in (head[:8], head[-8:])], np.uint64)


def _segments_of(context: Mapping[str, Value], schema: Schema) -> Segments | None:
    labels, starts = context.get("segment_labels"), context.get("segment_start_times")
    if labels is None and starts is None:
        return None
    ends, scores = context.get("segment_end_times"), context.get("segment_scores")
    rows = [labels, starts, scores] if ends is None else [labels, starts, scores, ends]
    sizes = {len(each) if isinstance(each, np.ndarray) else -1 for each in rows}
    if len(sizes) != 1 or -1 in sizes:
        raise RejectedFileError("broken-segments", "segment_labels, _start_times and _scores must be equally many")
    if max(sizes) > MOST_SEGMENT_ROWS:
        raise RejectedFileError("broken-segments", f"a video must have at most {MOST_SEGMENT_ROWS} rated segments")
    made = [np.asarray(each) for each in rows]
    if made[0].dtype != np.int64 or made[1].dtype != np.int64 or made[2].dtype != np.float32:
        raise RejectedFileError("broken-segments", "segment labels and times must be whole numbers, scores floats")
    until = made[3] if ends is not None and made[3].dtype == np.int64 else made[1] + SEGMENT_S
    _held(set(made[0].tolist()), schema)
    if (made[1] < 0).any() or (until <= made[1]).any() or (until > MOST_SECONDS).any():
        raise RejectedFileError("broken-segments", f"segments must lie within 0 and {MOST_SECONDS} seconds")
    count = len(set(zip(made[1].tolist(), until.tolist(), strict=True)))
    if count > MOST_SEGMENTS or (count > 1 and (until - made[1]).max() > MOST_SEGMENT_S):
        wanted = f"at most {MOST_SEGMENTS} segments, of several each of at most {MOST_SEGMENT_S} seconds"
        raise RejectedFileError("broken-segments", f"a video must have {wanted}")
    return Segments(made[0], made[1], until, made[2])


def _name_of(found: Mapping[str, Value]) -> str:
    value = found.get("id", found.get("video_id"))
    if not isinstance(value, list) or len(value) != 1:
        raise RejectedFileError("no-id", "a record must have an id or a video_id, one string")
    return _name(value[0])


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    if not name or len(raw) > MOST_ID_BYTES or "\0" in name:
        raise RejectedFileError("bad-id", f"an id must be 1 to {MOST_ID_BYTES} bytes of text, got {raw[:40]!r}")
    return name


def _labels_of(found: Mapping[str, Value], key: str, schema: Schema) -> tuple[int, ...]:
    value = found.get(key)
    if value is None or (isinstance(value, list) and not value):
        return ()
    if not isinstance(value, np.ndarray) or value.dtype != np.int64:
        raise RejectedFileError("label-range", f"{key} must be whole numbers")
    return _held(set(value.tolist()), schema)


def _held(labels: set[int], schema: Schema) -> tuple[int, ...]:
    made = tuple(sorted(labels))
    if made and not 0 <= made[0] <= made[-1] < schema.classes:
        wrong = made[-1] if made[-1] >= schema.classes else made[0]
        raise RejectedFileError("label-range", f"labels must be 0 to {schema.classes - 1}, got {wrong}")
    return made


def _floats(found: Mapping[str, Value], key: str, dim: int) -> Array | None:
    value = found.get(key)
    if value is None or (not isinstance(value, list) and not len(value)):
        return None
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or len(value) != dim:
        got = f"{len(value)} of {value.dtype}" if isinstance(value, np.ndarray) else "bytes"
        raise RejectedFileError("wrong-width", f"{key} must be {dim} floats, got {got}")
    return value


# -- writing --------------------------------------------------------------------------------------------------------


def encode_video(record: VideoRecord, *, id_key: IdKey = "id") -> bytes:
    """A video-level Example, numbers packed, as TensorFlow writes it."""
    found: Features = {id_key: [record.id.encode()], "labels": np.array(record.labels, np.int64)}
    if record.visual is not None:
        found["mean_rgb"] = np.asarray(record.visual, np.float32)
    if record.audio is not None:
        found["mean_audio"] = np.asarray(record.audio, np.float32)
    return encode_example(found)


def encode_frame_record(record: FrameRecord, *, id_key: IdKey = "id") -> bytes:
    """A frame-level SequenceExample; segment-level where the record has segments."""
    context: Features = {id_key: [record.id.encode()], "labels": np.array(record.labels, np.int64)}
    if (rated := record.segments) is not None:
        context |= {"segment_labels": rated.labels, "segment_start_times": rated.starts}
        context |= {"segment_end_times": rated.ends, "segment_scores": rated.scores.astype(np.float32)}
    blocks = {"rgb": record.visual, "audio": record.audio}
    return encode_frames(context, {key: frames for key, frames in blocks.items() if frames is not None})
