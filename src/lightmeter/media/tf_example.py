"""The wire format of protocol buffers, as much of it as tf.train.Example and SequenceExample need.

Example { Features features = 1 } · Features { map<string, Feature> feature = 1 } · Feature { oneof: BytesList = 1,
FloatList = 2, Int64List = 3 }, each list { repeated value = 1 } · FeatureList { repeated Feature feature = 1 } ·
FeatureLists { map<string, FeatureList> = 1 } · SequenceExample { Features context = 1; FeatureLists lists = 2 }.

Numbers are read packed and unpacked, and written packed, as TensorFlow does. Unknown fields are skipped; a list that
comes again goes on, another kind of list takes its place, a key that comes again wins.
Source: protobuf.dev, "Encoding"; tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.types import Array

Value: TypeAlias = list[bytes] | Array | None
"""A feature: bytes as a list, numbers as float32 or int64 [n], None where it is not set."""
Features: TypeAlias = dict[str, Value]

MOST_FIELDS = 1 << 18
"""Fields that one message may have: a record of a few MB must not become a list of millions."""
MOST_INTS = 100_000
"""Whole numbers that one feature may have: 15 MB of them would take seconds."""
_DEEPEST = 32
_VARINT, _FIXED64, _LENGTH, _OPEN, _CLOSE, _FIXED32 = range(6)


def broken(why: str) -> RejectedFileError:
    """What is raised for bytes that are no message."""
    return RejectedFileError("broken-record", why)


# -- reading --------------------------------------------------------------------------------------------------------


def parse_example(data: bytes, keys: Collection[str] | None = None) -> Features:
    """The features of an Example, of these names only (None: all).  Raises RejectedFileError (`broken-record`)."""
    return features_of(data, [each[2:] for each in fields(data, 0, len(data)) if each[:2] == (1, _LENGTH)], keys)


def features_of(data: bytes, spans: Sequence[tuple[int, int]], keys: Collection[str] | None = None) -> Features:
    """The features of a Features message in parts.  What is not asked for, or comes again later, is not decoded."""
    found: dict[str, list[tuple[int, int]]] = {}
    for span in spans:
        found |= {key: parts for key, parts in entries(data, *span) if keys is None or key in keys}
    return {key: feature(data, parts) for key, parts in found.items()}


def parse_sequence(data: bytes) -> tuple[Features, dict[str, list[Value]]]:
    """Context and feature lists of a SequenceExample.  Raises RejectedFileError (`broken-record`)."""
    context: list[tuple[int, int]] = []
    lists: dict[str, list[Value]] = {}
    for number, wire, start, stop in fields(data, 0, len(data)):
        if number == 1 and wire == _LENGTH:
            context.append((start, stop))
        elif number == 2 and wire == _LENGTH:
            for key, values in entries(data, start, stop):
                lists[key] = [feature(data, [spot]) for span in values for spot in feature_list(data, *span)]
    return features_of(data, context), lists


def entries(data: bytes, start: int, stop: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Keys of a map (field 1 of a message), and where the bytes of each value lie: several parts are one value."""
    for number, wire, begin, end in fields(data, start, stop):
        if number != 1 or wire != _LENGTH:
            continue
        key, spans = "", []
        for inner, kind, at, until in fields(data, begin, end):
            if inner == 1 and kind == _LENGTH:
                key = _text(data[at:until])
            elif inner == 2 and kind == _LENGTH:
                spans.append((at, until))
        yield key, spans


def feature_list(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the features of a FeatureList lie."""
    return (each[2:] for each in fields(data, start, stop) if each[:2] == (1, _LENGTH))


def feature(data: bytes, spans: Sequence[tuple[int, int]]) -> Value:
    """One Feature from the parts that its bytes came in."""
    kind, parts = 0, list[tuple[int, int]]()
    for start, stop in spans:
        for number, wire, begin, end in fields(data, start, stop):
            if number in (1, 2, 3) and wire == _LENGTH:
                if number != kind:
                    kind, parts = number, []
                parts.append((begin, end))
                if len(parts) > MOST_FIELDS:
                    raise broken(f"a feature must come in at most {MOST_FIELDS} parts")
    if kind == 1:
        return [data[at:end] for span in parts for n, w, at, end in fields(data, *span) if n == 1 and w == _LENGTH]
    if kind == 2:
        return _floats(data, parts)
    return _ints(data, parts) if kind == 3 else None


def _floats(data: bytes, spans: Sequence[tuple[int, int]]) -> Array:
    found: list[Array] = []
    for span in spans:
        for number, wire, start, stop in fields(data, *span):
            if number == 1 and wire in (_LENGTH, _FIXED32):
                if len(found) == MOST_FIELDS:
                    raise broken(f"floats must come in at most {MOST_FIELDS} parts")
                if (stop - start) % 4:
                    raise broken(f"packed floats must be a multiple of 4 bytes, got {stop - start}")
                found.append(np.frombuffer(data, "<f4", (stop - start) // 4, start))
    if len(found) == 1:
        return found[0]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _ints(data: bytes, spans: Sequence[tuple[int, int]]) -> Array:
    found: list[int] = []
    for span in spans:
        for number, wire, start, stop in fields(data, *span):
            if number == 1 and wire == _VARINT:
                found.append(varint(data, start, stop)[0])
            elif number == 1 and wire == _LENGTH:
                if stop - start > 10 * MOST_INTS:  # of at most 10 bytes each: too many, or none
                    raise broken(f"a feature must have at most {MOST_INTS} whole numbers")
                while start < stop and len(found) <= MOST_INTS:
                    value, start = varint(data, start, stop)
                    found.append(value)
            if len(found) > MOST_INTS:
                raise broken(f"a feature must have at most {MOST_INTS} whole numbers")
    return np.array(found, np.uint64).view(np.int64)


def fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, start, stop) of each field of a message that lies from `at` to `stop`.

    Groups, which no message here has, are passed over. Raises RejectedFileError for whatever leads out of the message.
    """
    count = 0
    while at < stop:
        tag, at = varint(data, at, stop)
        count += 1
        if not 8 <= tag < 1 << 32 or count > MOST_FIELDS:
            raise broken(f"a field's number must be 1 or more, of at most {MOST_FIELDS} fields, got tag {tag}")
        wire = tag & 7
        if wire == _LENGTH:
            length, at = varint(data, at, stop)
            if length > stop - at:
                raise broken(f"a field of {length} bytes must fit into its message, got {stop - at} left")
            end = at + length
        elif wire == _OPEN:
            at = _past_group(data, at, stop, tag >> 3)
            continue
        else:
            end = _past_number(data, at, stop, wire)
        yield tag >> 3, wire, at, end
        at = end


def _past_number(data: bytes, at: int, stop: int, wire: int) -> int:
    if wire == _VARINT:
        return varint(data, at, stop)[1]
    if wire not in (_FIXED32, _FIXED64):
        raise broken(f"a wire type must be 0 to 3 or 5 here, got {wire}")
    end = at + (4 if wire == _FIXED32 else 8)
    if end > stop:
        raise broken("a number must fit into its message")
    return end


def _past_group(data: bytes, at: int, stop: int, number: int) -> int:
    """Where a group ends; groups may lie in groups."""
    opened = [number]
    while at < stop:
        tag, at = varint(data, at, stop)
        wire = tag & 7
        if not 8 <= tag < 1 << 32 or len(opened) > _DEEPEST:
            raise broken("a group must hold fields, at most 32 deep")
        if wire == _OPEN:
            opened.append(tag >> 3)
        elif wire == _CLOSE:
            if opened.pop() != tag >> 3:
                break
            if not opened:
                return at
        elif wire == _LENGTH:
            length, at = varint(data, at, stop)
            if length > stop - at:
                break
            at += length
        else:
            at = _past_number(data, at, stop, wire)
    raise broken("a group must end where it began, within its message")


def varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends; what is above 64 bits is cut off, as protobuf does."""
    if at >= stop:
        raise broken("a number must end within its message")
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    for place in range(at + 1, min(stop, at + 10)):
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place + 1
        shift += 7
    raise broken("a number must end within its message, after 10 bytes at most")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken("a feature's name must be UTF-8") from error


# -- writing --------------------------------------------------------------------------------------------------------


def encode_example(features: Mapping[str, Value]) -> bytes:
    """An Example, in the order of the mapping; floats and ints packed."""
    return _sized(1, _features(features))


def encode_sequence(context: Mapping[str, Value], lists: Mapping[str, Sequence[Value]]) -> bytes:
    """A SequenceExample."""
    made = [_entry(key, b"".join(_sized(1, _feature(each)) for each in values)) for key, values in lists.items()]
    return _sized(1, _features(context)) + _sized(2, b"".join(made))


def frame_list(frames: Array) -> bytes:
    """A FeatureList with one bytes feature a frame, from uint8 [T, dim].  Cost: one copy, no loop over frames."""
    head = b""
    size = frames.shape[1]
    for _ in range(3):  # value in BytesList in Feature in FeatureList
        head = b"\x0a" + encode_varint(size + len(head)) + head
    made = np.empty((len(frames), len(head) + size), np.uint8)
    made[:, : len(head)] = np.frombuffer(head, np.uint8)
    made[:, len(head) :] = frames
    return made.tobytes()


def encode_frames(context: Mapping[str, Value], lists: Mapping[str, Array]) -> bytes:
    """A SequenceExample whose lists are uint8 [T, dim], one bytes feature a frame."""
    made = [_entry(key, frame_list(frames)) for key, frames in lists.items()]
    return _sized(1, _features(context)) + _sized(2, b"".join(made))


def _features(features: Mapping[str, Value]) -> bytes:
    return b"".join(_entry(key, _feature(value)) for key, value in features.items())


def _entry(key: str, value: bytes) -> bytes:
    return _sized(1, _sized(1, key.encode()) + _sized(2, value))


def _feature(value: Value) -> bytes:
    if value is None:
        return b""
    if isinstance(value, list):
        return _sized(1, b"".join(_sized(1, each) for each in value))
    if value.dtype.kind == "f":
        raw = np.ascontiguousarray(value, "<f4").tobytes()
        return _sized(2, _sized(1, raw) if raw else b"")
    raw = b"".join(encode_varint(each) for each in np.asarray(value, np.int64).view(np.uint64).tolist())
    return _sized(3, _sized(1, raw) if raw else b"")


def _sized(number: int, raw: bytes) -> bytes:
    return struct.pack("B", number << 3 | _LENGTH) + encode_varint(len(raw)) + raw


def encode_varint(value: int) -> bytes:
    """7 bits a byte, the lowest first; value: 0 to 2**64 - 1."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
