"""Records: golden bytes in TensorFlow's spelling, the fast ways against the general one, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bytes import equal, framed, same_video, videos
from tensorflow_messages import messages

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.yt8m import records
from lightmeter.library.yt8m.records import (
    FrameRecord,
    Schema,
    Segments,
    VideoReader,
    encode_frame_record,
    encode_video,
    level_of,
    parse_frames,
)
from lightmeter.media import tf_example as wire

EXAMPLE, SEQUENCE = messages()
TINY = Schema(classes=400, visual=2, audio=1)

# an Example as TensorFlow writes it: id ab, labels 1, 300, 1, 1, a mean_rgb of 0.5 and -1, a mean_audio of 2
VIDEO = (
    b"\x0a\x55"
    b"\x0a\x0c\x0a\x02id\x12\x06\x0a\x04\x0a\x02ab"
    b"\x0a\x13\x0a\x06labels\x12\x09\x1a\x07\x0a\x05\x01\xac\x02\x01\x01"
    b"\x0a\x18\x0a\x08mean_rgb\x12\x0c\x12\x0a\x0a\x08\x00\x00\x00\x3f\x00\x00\x80\xbf"
    b"\x0a\x16\x0a\x0amean_audio\x12\x08\x12\x06\x0a\x04\x00\x00\x00\x40"
)
# a SequenceExample: id ab, label 300, two frames of rgb, AB and CD, and of audio, x and y
FRAMES = (
    b"\x0a\x20"
    b"\x0a\x0c\x0a\x02id\x12\x06\x0a\x04\x0a\x02ab"
    b"\x0a\x10\x0a\x06labels\x12\x06\x1a\x04\x0a\x02\xac\x02"
    b"\x12\x32"
    b"\x0a\x17\x0a\x03rgb\x12\x10"
    b"\x0a\x06\x0a\x04\x0a\x02AB"
    b"\x0a\x06\x0a\x04\x0a\x02CD"
    b"\x0a\x17\x0a\x05audio\x12\x0e"
    b"\x0a\x05\x0a\x03\x0a\x01x"
    b"\x0a\x05\x0a\x03\x0a\x01y"
)


def error_of(call):
    with pytest.raises(RejectedFileError) as error:
        call()
    return error.value.code


def outcome(call):
    """(what it gave, "") or (None, code of the error)."""
    try:
        return call(), ""
    except RejectedFileError as error:
        return None, error.code


class TestVideos:
    def test_golden_bytes(self):
        found = VideoReader(TINY).parse(VIDEO)
        assert (found.id, found.labels) == ("ab", (1, 300))
        assert found.visual.tolist() == [0.5, -1]
        assert found.audio.tolist() == [2]
        assert VideoReader(TINY)._known(VIDEO) is not None, "the fast way takes it"

    def test_go_round_by_both_ways_and_as_protobuf_reads_them(self):
        reader = VideoReader(Schema(20))
        for record in videos(20):
            for key in ("id", "video_id"):
                data = encode_video(record, id_key=key)
                assert same_video(reader._known(data), record)
                assert same_video(reader._general(data), record)
                theirs = EXAMPLE.FromString(data).features.feature
                assert theirs[key].bytes_list.value[0] == record.id.encode()
                assert tuple(theirs["labels"].int64_list.value) == record.labels
                assert equal(np.array(theirs["mean_rgb"].float_list.value, np.float32), record.visual)

    @pytest.mark.parametrize("classes", [3862, 4716])
    def test_both_vocabularies(self, classes):
        record = replace(videos(1)[0], labels=(0, classes - 1))
        assert VideoReader(Schema(classes)).parse(encode_video(record)).labels == (0, classes - 1)
        over = replace(record, labels=(classes,))
        assert error_of(lambda: VideoReader(Schema(classes)).parse(encode_video(over))) == "label-range"

    def test_what_is_absent_is_none(self):
        record = replace(videos(1)[0], audio=None)
        assert same_video(VideoReader(Schema(20)).parse(encode_video(record)), record)
        neither = replace(record, visual=None)
        assert error_of(lambda: VideoReader(Schema(20)).parse(encode_video(neither))) == "no-features"

    def test_unlabelled_records_of_a_test_set(self):
        record = replace(videos(1)[0], labels=())
        assert VideoReader().parse(encode_video(record)).labels == ()

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"id": None}, "no-id"),
            ({"id": [b"a", b"b"]}, "no-id"),
            ({"id": [b""]}, "bad-id"),
            ({"id": [b"\xff"]}, "bad-id"),
            ({"id": [b"a\0"]}, "bad-id"),
            ({"id": [b"x" * 101]}, "bad-id"),
            ({"labels": np.array([-1])}, "label-range"),
            ({"labels": np.array([2**62])}, "label-range"),
            ({"labels": np.array([0.5], np.float32)}, "label-range"),
            ({"mean_rgb": np.zeros(3, np.float32)}, "wrong-width"),
            ({"mean_rgb": np.array([1, 2])}, "wrong-width"),
            ({"mean_audio": [b"xx"]}, "wrong-width"),
        ],
    )
    def test_refused_with_a_reason(self, change, code):
        features = wire.parse_example(VIDEO) | change
        data = wire.encode_example({key: value for key, value in features.items() if value is not None})
        assert error_of(lambda: VideoReader(TINY).parse(data)) == code

    @settings(max_examples=100)
    @given(st.data())
    def test_both_ways_agree_on_mutants(self, data):
        raw = bytearray(VIDEO)
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
        reader = VideoReader(TINY)
        slow, code = outcome(lambda: reader._general(bytes(raw)))
        fast, fast_code = outcome(lambda: reader.parse(bytes(raw)))
        assert fast_code == code
        if slow is None:
            return
        assert (fast.id, fast.labels) == (slow.id, slow.labels)
        for a, b in ((fast.visual, slow.visual), (fast.audio, slow.audio)):
            assert (a is None) == (b is None)
            assert a is None or a.tobytes() == b.tobytes()


class TestFrames:
    def test_golden_bytes(self):
        found = parse_frames(FRAMES, TINY)
        assert (found.id, found.labels) == ("ab", (300,))
        assert found.visual.tobytes() == b"ABCD"
        assert found.audio.tobytes() == b"xy"
        assert encode_frame_record(found) == FRAMES
        theirs = SEQUENCE.FromString(FRAMES).feature_lists.feature_list["rgb"].feature
        assert [each.bytes_list.value[0] for each in theirs] == [b"AB", b"CD"]

    def test_go_round_by_both_ways_and_as_protobuf_reads_them(self):
        for record in framed(5):
            for key in ("id", "video_id"):
                data = encode_frame_record(record, id_key=key)
                found = parse_frames(data, Schema(20))
                assert (found.id, found.labels, found.segments) == (record.id, record.labels, None)
                assert equal(found.visual, record.visual)
                assert equal(found.audio, record.audio)
                assert not found.visual.flags.owndata, "a view"
                name, labels, blocks, _ = records._general_frames(data, Schema(20))
                assert (name, labels) == (record.id, record.labels)
                assert equal(blocks["rgb"], record.visual)
                theirs = SEQUENCE.FromString(data)
                shown = [each.bytes_list.value[0] for each in theirs.feature_lists.feature_list["rgb"].feature]
                assert b"".join(shown) == record.visual.tobytes()

    def test_protobufs_own_spelling_is_read(self):
        record = framed(1)[0]
        theirs = SEQUENCE()
        theirs.context.feature["id"].bytes_list.value.append(record.id.encode())
        theirs.context.feature["labels"].int64_list.value.extend(record.labels)
        for key, frames in (("rgb", record.visual), ("audio", record.audio)):
            for each in frames:
                theirs.feature_lists.feature_list[key].feature.add().bytes_list.value.append(each.tobytes())
        found = parse_frames(theirs.SerializeToString(), Schema(20))
        assert equal(found.visual, record.visual)
        assert equal(found.audio, record.audio)
        assert not found.visual.flags.owndata

    def test_the_general_way_gives_the_same_frames(self):
        record = framed(1)[0]
        rows = [[each.tobytes()] for each in record.visual]
        odd = b"".join(wire._sized(1, wire._feature(row) + b"\x38\x01") for row in rows)  # an unknown field in each
        found = records.frames_of(odd, [(0, len(odd))], 1024)
        assert found.flags.owndata
        assert equal(found, record.visual)
        plain = wire.frame_list(record.visual)
        parts = [(0, 1033 * 2), (1033 * 2, len(plain))]  # the list in two parts
        assert equal(records.frames_of(plain, parts, 1024), record.visual)

    @pytest.mark.parametrize("dim", [1, 2, 5, 127, 128, 16_384])
    def test_any_width(self, dim):
        frames = np.random.default_rng(0).integers(0, 256, (4, dim), dtype=np.uint8)
        raw = wire.frame_list(frames)
        assert equal(records.frames_of(raw, [(0, len(raw))], dim), frames)

    def test_one_odd_frame_among_many_is_seen(self):
        raw = bytearray(wire.frame_list(np.zeros((9, 1024), np.uint8)))
        raw[4 * 1033 + 6] = 0x12  # the tag of the bytes of the fifth frame
        assert records._strided(bytes(raw), 0, len(raw), 1024) is None
        with pytest.raises(RejectedFileError):
            records.frames_of(bytes(raw), [(0, len(raw))], 1024)

    def test_segments(self):
        record = framed(1, segments=True)[0]
        data = encode_frame_record(record)
        assert level_of(data) == "segment"
        found = parse_frames(data, Schema(20)).segments
        for name in ("labels", "starts", "ends"):
            assert getattr(found, name).tolist() == getattr(record.segments, name).tolist()
        assert found.scores.tolist() == [1, 0, 1]

    def test_levels(self):
        assert level_of(encode_video(videos(1)[0])) == "video"
        assert level_of(encode_frame_record(framed(1)[0])) == "frame"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"audio": None, "visual": None}, "no-frames"),
            ({"audio": np.zeros((3, 128), np.uint8)}, "length-mismatch"),
            ({"visual": np.zeros((8, 1023), np.uint8)}, "wrong-width"),
            ({"labels": (20,)}, "label-range"),
        ],
    )
    def test_refused_with_a_reason(self, change, code):
        record = replace(framed(1)[0], **change)
        assert error_of(lambda: parse_frames(encode_frame_record(record), Schema(20))) == code

    def test_zero_frames(self):
        empty = FrameRecord("a", (), np.zeros((0, 1024), np.uint8), np.zeros((0, 128), np.uint8))
        assert error_of(lambda: parse_frames(encode_frame_record(empty))) == "no-frames"

    def test_missing_sound(self):
        record = replace(framed(1)[0], audio=None)
        found = parse_frames(encode_frame_record(record), Schema(20))
        assert found.audio is None
        assert found.length == len(record.visual)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("starts", np.array([0, 0, -5])),
            ("starts", np.array([0, 0])),
            ("ends", np.array([5, 5, 5])),
            ("ends", np.array([5, 5, 2**62])),
        ],
    )
    def test_broken_segments(self, name, value):
        record = framed(1, segments=True)[0]
        broken = replace(record, segments=replace(record.segments, **{name: value}))
        assert error_of(lambda: parse_frames(encode_frame_record(broken), Schema(20))) == "broken-segments"

    @pytest.mark.parametrize(
        ("count", "seconds", "fine"), [(1000, 60, True), (1001, 5, False), (2, 61, False), (1, 500, True)]
    )
    def test_segments_are_bounded(self, count, seconds, fine):
        starts = np.arange(count)
        rated = Segments(np.zeros(count, np.int64), starts, starts + seconds, np.ones(count, np.float32))
        data = encode_frame_record(replace(framed(1)[0], segments=rated))
        if fine:
            assert len(parse_frames(data, Schema(20)).segments.starts) == count
        else:
            assert error_of(lambda: parse_frames(data, Schema(20))) == "broken-segments"

    @settings(max_examples=100)
    @given(st.data())
    def test_both_ways_agree_on_mutants(self, data):
        schema = Schema(classes=400, visual=128, audio=130)
        record = FrameRecord("ab", (1, 300), np.zeros((3, 128), np.uint8), np.ones((3, 130), np.uint8))
        raw = bytearray(encode_frame_record(record))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(raw) - 1)))
            raw[place] = data.draw(st.integers(0, 255))
        raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
        slow, code = outcome(lambda: records._general_frames(bytes(raw), schema))
        fast, fast_code = outcome(lambda: records._known_frames(bytes(raw), schema))
        assert fast_code in ("", code)
        if fast is not None:
            assert slow is not None
            assert fast[:2] == slow[:2]
            assert set(fast[2]) == set(slow[2])
            assert all(equal(fast[2][key], slow[2][key]) for key in fast[2])


def test_widths_must_be_some():
    with pytest.raises(InvalidValueError):
        Schema(classes=0)
