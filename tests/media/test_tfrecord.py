"""TFRecord framing: golden bytes, gzip by its bytes, and what is told of files that are damaged."""

import gzip
import struct

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media import tfrecord
from lightmeter.media.tfrecord import read_records, record_heads, write_records

# one record, hello: length 5, its masked CRC-32C, the data, theirs
GOLDEN = bytes.fromhex("0500000000000000" "ea b2 04 3e" "68656c6c6f" "bb 1f 1c 19")  # fmt: skip


def masked(data):
    """The definition, in Python: Castagnoli's polynomial bit by bit, turned and moved."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data):
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked(head)) + data + struct.pack("<I", masked(data))


def read(path, **how):
    told = []
    records = [(offset, data, end) for offset, data, end in read_records(path, told.append, **how)]
    return records, told


def test_the_checksum_is_castagnolis():
    assert google_crc32c.value(b"123456789") == 0xE3069283  # RFC 3720, B.4
    assert tfrecord._masked(google_crc32c.value(b"123456789")) == masked(b"123456789")


def test_bytes_are_those_of_the_definition(tmp_path):
    assert write_records(tmp_path / "a", [b"hello", b"", b"x" * 300]) == 3
    assert (tmp_path / "a").read_bytes() == GOLDEN + framed(b"") + framed(b"x" * 300)
    assert framed(b"hello") == GOLDEN


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_records_go_round_plain_and_packed(tmp_path, records, packed):
    write_records(tmp_path / "a", records, packed=packed)
    found, told = read(tmp_path / "a")
    assert [data for _, data, _ in found] == records
    assert told == []


def test_any_record_can_be_started_from(tmp_path):
    for packed in (False, True):
        write_records(tmp_path / "a", [b"one", b"twotwo", b"three"], packed=packed)
        found, _ = read(tmp_path / "a")
        for at, (offset, _, end) in enumerate(found):
            assert read(tmp_path / "a", start=offset)[0] == found[at:]
            assert read(tmp_path / "a", start=end)[0] == found[at + 1 :]


def test_packed_files_are_the_same_each_time(tmp_path):
    write_records(tmp_path / "a", [b"one"], packed=True)
    write_records(tmp_path / "b", [b"one"], packed=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("cut", range(1, 16 + 5))
def test_a_cut_last_record_is_told(tmp_path, cut):
    whole = framed(b"first") + framed(b"again")
    (tmp_path / "a").write_bytes(whole[: len(whole) - cut])
    found, told = read(tmp_path / "a")
    assert [data for _, data, _ in found] == [b"first"]
    assert [(each.code, each.offset) for each in told] == [("truncated", 21)]


def test_a_cut_between_records_is_no_loss(tmp_path):
    (tmp_path / "a").write_bytes(framed(b"first"))
    assert read(tmp_path / "a")[1] == []


def test_bad_data_cost_one_record(tmp_path):
    raw = bytearray(framed(b"first") + framed(b"again") + framed(b"third"))
    raw[21 + 13] ^= 1
    (tmp_path / "a").write_bytes(raw)
    found, told = read(tmp_path / "a")
    assert [data for _, data, _ in found] == [b"first", b"third"]
    assert [(each.code, each.offset, each.file) for each in told] == [("data-crc", 21, str(tmp_path / "a"))]
    found, told = read(tmp_path / "a", check=False)
    assert len(found) == 3
    assert told == []


@pytest.mark.parametrize("place", [21, 28, 30])
def test_after_a_bad_length_nothing_can_be_framed(tmp_path, place):
    raw = bytearray(framed(b"first") + framed(b"again") + framed(b"third"))
    raw[place] ^= 0x80
    (tmp_path / "a").write_bytes(raw)
    found, told = read(tmp_path / "a")
    assert [data for _, data, _ in found] == [b"first"]
    assert [(each.code, each.offset) for each in told] == [("length-crc", 21)]


def test_long_records_are_passed_over(tmp_path):
    (tmp_path / "a").write_bytes(framed(b"first") + framed(b"x" * 100) + framed(b"third"))
    found, told = read(tmp_path / "a", most_bytes=99)
    assert [data for _, data, _ in found] == [b"first", b"third"]
    assert [each.code for each in told] == ["too-large"]


def test_a_length_of_an_exabyte_takes_no_memory(tmp_path):
    head = struct.pack("<Q", 1 << 60)
    (tmp_path / "a").write_bytes(framed(b"first") + head + struct.pack("<I", masked(head)) + b"abc")
    found, told = read(tmp_path / "a")
    assert len(found) == 1
    assert [each.code for each in told] == ["too-large", "truncated"]


def test_broken_gzip_is_told(tmp_path):
    write_records(tmp_path / "a", [bytes([at]) * 100_000 for at in range(9)], packed=True)
    raw = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(raw[:-200])
    _, told = read(tmp_path / "a")
    assert [each.code for each in told] == ["broken-gzip"]
    (tmp_path / "a").write_bytes(raw[:20] + b"\xff" * 9 + raw[29:])
    assert [each.code for each in read(tmp_path / "a")[1]] in (["broken-gzip"], ["length-crc"])


def test_a_length_that_looks_like_gzip_is_a_length(tmp_path):
    record = b"y" * 0x088B1F
    head = struct.pack("<Q", len(record))
    assert head[:3] == b"\x1f\x8b\x08"
    write_records(tmp_path / "a", [record])
    found, told = read(tmp_path / "a")
    assert [data for _, data, _ in found] == [record]
    assert told == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_is_fatal(tmp_path, data):
    raw = bytearray(framed(b"first") + framed(b"again" * 9) + framed(b"third"))
    if data.draw(st.booleans()):
        raw = bytearray(gzip.compress(bytes(raw), mtime=0))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    found, _ = read(tmp_path / "a")
    assert len(found) <= 3


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RejectedFileError):
        read(tmp_path)
    with pytest.raises(InvalidValueError):
        write_records(tmp_path / "a", [b"x" * (tfrecord.MOST_RECORD_BYTES + 1)])
    assert not (tmp_path / "a").exists()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_heads_are_found_without_the_data(tmp_path, records, packed):
    write_records(tmp_path / "a", records, packed=packed)
    heads = list(record_heads(tmp_path / "a", pytest.fail))
    found, _ = read(tmp_path / "a")
    assert [offset for offset, _, _ in heads] == [offset for offset, _, _ in found]
    assert [length for _, length, _ in heads] == [len(each) for each in records]
    assert [checksum for _, _, checksum in heads] == [masked(each) for each in records]


@pytest.mark.parametrize(("damage", "code"), [((21, 0x80), "length-crc"), ((-3, None), "truncated")])
def test_heads_of_damaged_files(tmp_path, damage, code):
    raw, (place, bits) = bytearray(framed(b"first") + framed(b"again")), damage
    if bits is None:
        raw = raw[:place]
    else:
        raw[place] ^= bits
    (tmp_path / "a").write_bytes(raw)
    told = []
    assert [offset for offset, _, _ in record_heads(tmp_path / "a", told.append)] == [0]
    assert [(each.code, each.offset) for each in told] == [(code, 21)]


def test_heads_of_a_cut_gzip_and_of_no_file(tmp_path):
    write_records(tmp_path / "a", [bytes([at]) * 100_000 for at in range(9)], packed=True)
    raw = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(raw[:-200])
    told = []
    list(record_heads(tmp_path / "a", told.append))
    assert [each.code for each in told] == ["broken-gzip"]
    with pytest.raises(RejectedFileError):
        list(record_heads(tmp_path, told.append))
