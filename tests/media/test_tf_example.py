"""The wire codec: bytes spelled by hand, and the same as protobuf for whatever bytes there are."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_messages import messages

from lightmeter.errors import RejectedFileError
from lightmeter.media import tf_example as wire

EXAMPLE, SEQUENCE = messages()


def sized(number, raw, wire_type=2):
    return wire.encode_varint(number << 3 | wire_type) + wire.encode_varint(len(raw)) + raw


def value_of(feature):
    """A protobuf Feature as ours."""
    kind = feature.WhichOneof("kind")
    if kind is None:
        return None
    values = getattr(feature, kind).value
    if kind == "bytes_list":
        return list(values)
    return np.array(values, np.float32 if kind == "float_list" else np.int64)


def same(ours, theirs):
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
    return ours == theirs


def test_spelled_by_hand():
    # id: ["ab"], labels: [1, 300], x: [0.5]
    data = b"".join([
        b"\x0a\x2f",
        b"\x0a\x0c", b"\x0a\x02id", b"\x12\x06", b"\x0a\x04", b"\x0a\x02ab",
        b"\x0a\x11", b"\x0a\x06labels", b"\x12\x07", b"\x1a\x05", b"\x0a\x03\x01\xac\x02",
        b"\x0a\x0c", b"\x0a\x01x", b"\x12\x07", b"\x12\x05", b"\x0d\x00\x00\x00\x3f",
    ])  # fmt: skip
    found = wire.parse_example(data)
    assert found["id"] == [b"ab"]
    assert found["labels"].tolist() == [1, 300]
    assert found["x"].tolist() == [0.5], "an unpacked float"
    packed = {**found, "x": np.array([0.5], np.float32)}
    assert wire.encode_example(packed) == data.replace(
        b"\x0a\x0c\x0a\x01x\x12\x07\x12\x05\x0d", b"\x0a\x0d\x0a\x01x\x12\x08\x12\x06\x0a\x04"
    ).replace(b"\x0a\x2f", b"\x0a\x30")


KEYS = st.text(max_size=5)
VALUES = st.one_of(
    st.none(),
    st.lists(st.binary(max_size=6), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), max_size=5).map(lambda v: np.array(v, np.float32)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda v: np.array(v, np.int64)),
)


@settings(max_examples=50)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_is_what_protobuf_reads(features):
    data = wire.encode_example(features)
    theirs = EXAMPLE.FromString(data).features.feature
    assert set(theirs) == set(features)
    assert all(same(value, value_of(theirs[key])) for key, value in features.items())
    ours = wire.parse_example(data)
    assert list(ours) == list(features)
    assert all(same(ours[key], value) for key, value in features.items())


@settings(max_examples=50)
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, st.lists(VALUES, max_size=3), max_size=3))
def test_sequences_too(context, lists):
    data = wire.encode_sequence(context, lists)
    theirs = SEQUENCE.FromString(data)
    assert all(same(value, value_of(theirs.context.feature[key])) for key, value in context.items())
    for key, values in lists.items():
        found = theirs.feature_lists.feature_list[key].feature
        assert len(found) == len(values)
        assert all(same(a, value_of(b)) for a, b in zip(values, found, strict=True))
    ours_context, ours_lists = wire.parse_sequence(data)
    assert set(ours_context) == set(context)
    assert set(ours_lists) == set(lists)
    assert all(len(ours_lists[key]) == len(values) for key, values in lists.items())
    assert all(same(a, b) for key in lists for a, b in zip(ours_lists[key], lists[key], strict=True))


@st.composite
def odd_features(draw):
    """Features in spellings that no writer uses and every reader must take: parts, repeats, unpacked, unknown."""
    raw = b""
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(1, 3))
        inner = b""
        for _ in range(draw(st.integers(0, 3))):
            number = draw(st.sampled_from([1, 1, 1, 7]))
            inner += draw(
                st.sampled_from([
                    sized(number, b"\x01\x02\x03\x04"),
                    sized(number, b""),
                    wire.encode_varint(number << 3) + b"\x85\x03",
                    wire.encode_varint(number << 3 | 5) + b"\x00\x00\x80\x3f",
                    wire.encode_varint(number << 3 | 1) + b"\x00\x00\x80\x3f\x00\x00\x80\x3f",
                    wire.encode_varint(9 << 3 | 3) + b"\x08\x01" + wire.encode_varint(9 << 3 | 4),
                ])
            )  # fmt: skip
        raw += sized(kind, inner)
    return raw


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), odd_features(), odd_features()), max_size=4))
def test_odd_spellings_mean_what_protobuf_says(entries):
    made = b"".join(
        sized(1, sized(2, first) + sized(1, key.encode()) + sized(2, second)) for key, first, second in entries
    )
    data = sized(1, made[: len(made)]) + sized(5, b"unknown")
    theirs = EXAMPLE.FromString(data).features.feature
    ours = wire.parse_example(data)
    assert set(ours) == set(theirs)
    for key in ours:
        assert same(ours[key], value_of(theirs[key]))


@st.composite
def mutants(draw):
    """An Example with some of its bytes changed, or cut off."""
    raw = bytearray(wire.encode_example(draw(st.dictionaries(KEYS, VALUES, max_size=3))))
    for _ in range(draw(st.integers(1, 3))):
        if raw:
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))]) if draw(st.booleans()) else bytes(raw)


def has_odd_entries(data):
    """Whether an entry of the map has other fields than a key and a value."""
    spots = [(0, len(data))]
    for _ in range(2):
        spots = [each[2:] for spot in spots for each in wire.fields(data, *spot) if each[:2] == (1, 2)]
    return any(each[:2] not in ((1, 2), (2, 2)) for spot in spots for each in wire.fields(data, *spot))


@settings(max_examples=50)
@given(st.one_of(st.binary(max_size=40), mutants()))
def test_what_protobuf_takes_we_take_alike_and_nothing_crashes(data):
    try:
        ours = wire.parse_example(data)
    except RejectedFileError:
        ours = None
    try:
        theirs = EXAMPLE.FromString(data).features.feature
    except DecodeError:  # of fields that are passed over we do not look inside, protobuf does
        return
    assert ours is not None
    if has_odd_entries(
        data
    ):  # a map's entry with a third field: protobuf's Python drops it whole, we take what is known
        return
    assert set(ours) == set(theirs)
    assert all(same(ours[key], value_of(theirs[key])) for key in ours)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of 2**64 - 1
        b"\x0a\x05\x0a",  # a length beyond the end
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",  # a number that does not end
        b"\x02\x00",  # field 0
        b"\x0c",  # the end of a group that never began
        b"\x0b\x08\x01",  # a group without an end
        b"\x0b" * 100,  # groups in groups
        b"\x09\x00",  # half a number
        b"\x0e",  # a wire type that does not exist
        b"\x0a\x04\x0a\x02\x0a\xff",  # within an entry
        b"\x0a\x05\x0a\x03\x0a\x01\xff",  # a key that is no text
        b"\x0a\x0d\x0a\x0b\x0a\x01x\x12\x06\x12\x04\x0a\x02\x00\x00",  # half a float
    ],
)
def test_hostile_bytes_are_refused(data):
    with pytest.raises(RejectedFileError) as error:
        wire.parse_example(data)
    assert error.value.code == "broken-record"


def test_a_record_of_millions_of_fields_is_refused():
    with pytest.raises(RejectedFileError, match="fields"):
        wire.parse_example(b"\x12\x00" * (wire.MOST_FIELDS + 1))


@settings(max_examples=50)
@given(st.integers(0, 2**64 - 1))
def test_numbers_go_round(value):
    raw = wire.encode_varint(value)
    assert wire.varint(raw, 0, len(raw)) == (value, len(raw))


@pytest.mark.parametrize("raw", [b"\x80\x08" * (5 << 20), b"\x01" * (wire.MOST_INTS + 1)])
def test_millions_of_numbers_are_refused_before_they_are_decoded(raw):
    data = sized(1, sized(1, sized(1, b"labels") + sized(2, sized(3, sized(1, raw)))))
    with pytest.raises(RejectedFileError, match="whole numbers"):
        wire.parse_example(data)
    assert wire.parse_example(data, {"id"}) == {}, "what nobody asks for is not decoded"


def test_as_many_numbers_as_allowed_are_read():
    assert len(wire.parse_example(wire.encode_example({"x": np.ones(wire.MOST_INTS, np.int64)}))["x"]) == wire.MOST_INTS
