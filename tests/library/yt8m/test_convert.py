"""Conversion: what goes in comes out, what cannot is told, and a kill loses one shard at most."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from convert_killer import HOW
from record_bytes import framed, videos

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_set import open_set
from lightmeter.library.yt8m import convert as converting
from lightmeter.library.yt8m.convert import Conversion, convert, read_label_names, source_files, vocabulary_beside
from lightmeter.library.yt8m.exporting import write_tfrecords
from lightmeter.library.yt8m.quantise import dequantise
from lightmeter.library.yt8m.records import (
    FrameRecord,
    Schema,
    Segments,
    VideoReader,
    encode_frame_record,
    encode_video,
)  # fmt: skip
from lightmeter.media.tf_example import encode_example
from lightmeter.media.tfrecord import read_records, write_records

CLASSES = Conversion(schema=Schema(20))
KILLER = Path(__file__).parents[1] / "convert_killer.py"


def told(folder):
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


def test_videos(tmp_path):
    records = videos(10)
    write_records(tmp_path / "in" / "b.tfrecord", map(encode_video, records[6:]))
    write_records(tmp_path / "in" / "a.tfrecord.gz", map(encode_video, records[:6]), packed=True)
    (tmp_path / "in" / "readme.txt").write_text("not a record")
    done = convert([tmp_path / "in"], tmp_path / "out", CLASSES)
    assert list(done.examples.ids) == [each.id for each in records]
    batch = done.examples.batch(np.arange(10))
    np.testing.assert_allclose(batch.values["visual"], [each.visual for each in records], atol=1e-3)
    np.testing.assert_allclose(batch.values["audio"], [each.audio for each in records], atol=1e-3)
    assert [tuple(np.flatnonzero(row)) for row in batch.labels.dense()] == [each.labels for each in records]
    assert done.left_out == {}
    assert told(tmp_path / "out") == []
    assert done.examples.manifest.about["quantised_by"] == "round"


@pytest.mark.parametrize(("storage", "most"), [("float32", 0), ("uint8", 0.0079)])
def test_storage(tmp_path, storage, most):
    write_records(tmp_path / "a.tfrecord", map(encode_video, videos(3)))
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out", replace(CLASSES, storage=storage))
    error = done.examples.batch(np.arange(3)).values["visual"] - np.stack([each.visual for each in videos(3)])
    assert np.abs(error).max() <= most


def test_frames_stay_8_bits(tmp_path):
    records = framed(5)
    write_records(tmp_path / "a.tfrecord", map(encode_frame_record, records))
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out", CLASSES)
    batch = done.examples.batch(np.array([3, 1]))
    for at, row in enumerate((3, 1)):
        assert np.array_equal(done.examples.frames(row, "visual"), records[row].visual)
        length = batch.lengths[at]
        np.testing.assert_allclose(batch.values["audio"][at, :length], dequantise(records[row].audio), atol=1e-6)
        assert not batch.values["audio"][at, length:].any(), "padding is 0 after dequantising"
    short = convert([tmp_path / "a.tfrecord"], tmp_path / "short", replace(CLASSES, most_frames=4))
    assert short.examples.lengths.tolist() == [4] * 5


def test_segments_are_items_with_rated_classes(tmp_path):
    records = framed(2, segments=True, longest=10)
    write_records(tmp_path / "a.tfrecord", map(encode_frame_record, records))
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out", CLASSES)
    first = records[0]
    assert list(done.examples.ids)[:2] == [f"{first.id}:0", f"{first.id}:5"]
    assert np.array_equal(done.examples.frames(1, "visual"), first.visual[5:10])
    batch = done.examples.batch(np.arange(2))
    assert set(np.flatnonzero(batch.rated.dense()[0])) == set(first.segments.labels[:2])
    assert set(np.flatnonzero(batch.labels.dense()[0])) == {first.segments.labels[0]}
    assert set(np.flatnonzero(batch.labels.dense()[1])) == {first.segments.labels[2]}
    back = write_tfrecords(done.examples, tmp_path / "back")
    again = convert(back, tmp_path / "again", CLASSES)
    assert list(again.examples.ids)[:2] == [f"{first.id}:0:0", f"{first.id}:5:0"]
    assert again.examples.rated.classes.tolist() == done.examples.rated.classes.tolist()


def test_what_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path):
    good = videos(12)
    raw = [encode_video(each) for each in good]
    raw[1] = b"\x0a\xff\xff"  # no message
    raw[2] = encode_video(replace(good[2], labels=(20,)))
    raw[3] = encode_video(replace(good[3], visual=good[3].visual[:-1]))
    raw[4] = encode_video(replace(good[4], visual=np.full(1024, np.nan, np.float32)))
    raw[5] = encode_video(replace(good[5], audio=np.full(128, 1e9, np.float32)))
    raw[6] = encode_video(good[0])  # a duplicate
    raw[7] = encode_video(replace(good[7], audio=None))
    write_records(tmp_path / "in" / "a.tfrecord", raw[:9])
    write_records(tmp_path / "in" / "b.tfrecord", raw[9:])
    bad = bytearray((tmp_path / "in" / "b.tfrecord").read_bytes())
    bad[40] ^= 1
    (tmp_path / "in" / "b.tfrecord").write_bytes(bad[:-3])
    done = convert([tmp_path / "in"], tmp_path / "out", CLASSES)
    assert list(done.examples.ids) == [good[at].id for at in (0, 7, 8, 10)]
    assert done.examples.batch(np.array([1])).present.tolist() == [[True, False]]
    codes = [
        "broken-record",
        "label-range",
        "wrong-width",
        "not-numbers",
        "not-numbers",
        "duplicate",
        "data-crc",
        "truncated",
    ]
    assert sorted(each["code"] for each in told(tmp_path / "out")) == sorted(codes)
    assert sum(done.left_out.values()) == len(codes)
    spoilt = next(each for each in told(tmp_path / "out") if each["code"] == "duplicate")
    assert (spoilt["id"], spoilt["file"]) == (good[0].id, str(tmp_path / "in" / "a.tfrecord"))
    offsets = [offset for offset, _, _ in read_records(tmp_path / "in" / "a.tfrecord", print)]
    assert spoilt["offset"] == offsets[6]


def test_frame_records_that_cannot_be_used(tmp_path):
    good = framed(6)
    raw = [encode_frame_record(each) for each in good]
    raw[1] = encode_frame_record(replace(good[1], audio=good[1].audio[:-1]))
    raw[2] = encode_frame_record(replace(good[2], audio=None))
    raw[3] = encode_frame_record(replace(good[3], visual=good[3].visual[:0], audio=good[3].audio[:0]))
    raw[4] = encode_video(videos(1)[0])
    write_records(tmp_path / "a.tfrecord", raw)
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out", CLASSES)
    assert list(done.examples.ids) == [good[at].id for at in (0, 2, 5)]
    assert done.left_out == {"length-mismatch": 1, "no-frames": 2}
    batch = done.examples.batch(np.array([1]))
    assert batch.present.tolist() == [[True, False]]
    assert not batch.values["audio"].any()


def test_a_test_set_has_no_labels(tmp_path):
    write_records(tmp_path / "a.tfrecord", [encode_video(replace(each, labels=())) for each in videos(3)])
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out")
    assert done.examples.labels is None
    assert done.examples.batch(np.arange(3)).labels is None


def inputs(folder):
    """Files with all kinds of damage, 30 records in all."""
    raw = [encode_video(each) for each in videos(30)]
    raw[5], raw[11], raw[20] = b"\xff", raw[0], encode_video(replace(videos(30)[20], labels=(99,)))
    for at in range(3):
        write_records(folder / f"{at}.tfrecord", raw[at * 10 : at * 10 + 10])
    cut = (folder / "1.tfrecord").read_bytes()
    (folder / "1.tfrecord").write_bytes(cut[:-1])


@pytest.mark.parametrize("shards", [1, 3])
def test_a_kill_loses_one_shard_at_most(tmp_path, shards):
    inputs(tmp_path / "in")
    whole = convert([tmp_path / "in"], tmp_path / "whole", HOW)
    command = [sys.executable, str(KILLER), str(tmp_path / "in"), str(tmp_path / "killed"), str(shards)]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    standing = sorted((tmp_path / "killed").glob("0*.json"))
    assert len(standing) == shards
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("00000.*")}
    again = convert([tmp_path / "in"], tmp_path / "killed", HOW)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path.suffix == ".npy")
    assert again.examples.fingerprint == whole.examples.fingerprint
    assert again.left_out == whole.left_out
    assert told(tmp_path / "killed") == told(tmp_path / "whole")
    assert convert([tmp_path / "in"], tmp_path / "killed", HOW).examples.fingerprint == whole.examples.fingerprint


def test_other_wishes_need_another_folder(tmp_path):
    inputs(tmp_path / "in")
    convert([tmp_path / "in"], tmp_path / "out", HOW)
    with pytest.raises(InvalidValueError, match="otherwise"):
        convert([tmp_path / "in"], tmp_path / "out", replace(HOW, storage="float32"))


def test_many_bad_records_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SHARD_PROBLEMS", 5)
    raw = [encode_video(videos(1)[0])] + [b"\xff"] * 23
    write_records(tmp_path / "a.tfrecord", raw)
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "out", CLASSES)
    assert done.left_out == {"broken-record": 23}
    assert len(done.examples) == 1
    assert len(done.examples.manifest.shards) == 5


def test_a_shard_ends_by_bytes_within_a_record_too(tmp_path, monkeypatch):
    starts = np.arange(30)
    rated = Segments(starts % 20, starts, starts + 5, np.ones(30, np.float32))
    sight, sound = np.arange(40 * 1152, dtype=np.uint32).astype(np.uint8).reshape(40, 1152), None
    records = [FrameRecord(name, (1,), sight[:, :1024], sound, rated) for name in "ab"]
    write_records(tmp_path / "a.tfrecord", map(encode_frame_record, records))
    whole = convert([tmp_path / "a.tfrecord"], tmp_path / "whole", CLASSES).examples
    monkeypatch.setattr(converting, "SHARD_BYTES", 60_000)
    parts = convert([tmp_path / "a.tfrecord"], tmp_path / "parts", CLASSES).examples
    assert (len(whole.manifest.shards), len(parts.manifest.shards)) == (1, 6)
    assert [each.cursor.get("item") for each in parts.manifest.shards] == [11, 22, 3, 14, 25, None]
    assert list(parts.ids) == list(whole.ids)
    assert all(np.array_equal(parts.frames(row, "visual"), whole.frames(row, "visual")) for row in range(60))

    def stop(items, left_out):
        raise KeyboardInterrupt

    for _ in range(7):  # stopped after every shard: it goes on within the record
        with suppress(KeyboardInterrupt):
            convert([tmp_path / "a.tfrecord"], tmp_path / "stopped", CLASSES, progress=_after_new(tmp_path, stop))
    assert open_set(tmp_path / "stopped").fingerprint == parts.fingerprint


def _after_new(folder, stop):
    stood = len(list((folder / "stopped").glob("0*.json")))
    calls = []

    def told_of(items, left_out):
        calls.append(items)
        if len(calls) > stood:
            stop(items, left_out)

    return told_of


def test_items_do_not_keep_their_records(tmp_path):
    reader = converting._Reader([], CLASSES, "video", converting._Seen())
    features = {"id": [b"v"], "mean_rgb": np.zeros(1024, np.float32), "junk": [bytes(1 << 20)]}
    write_records(tmp_path / "a.tfrecord", [encode_example(features)])
    assert list(reader._records(tmp_path / "a.tfrecord", 0, 0))
    assert all(each is None or each.base is None for each in reader._items[0].values)
    assert reader._bytes < 10_000


def test_what_we_quantise_has_no_bias_whoever_quantised_the_frames(tmp_path):
    records = videos(50)
    write_records(tmp_path / "a.tfrecord", map(encode_video, records))
    for rounding in ("round", "floor"):
        how = replace(CLASSES, storage="uint8", rounding=rounding)
        made = convert([tmp_path / "a.tfrecord"], tmp_path / rounding, how).examples
        error = made.batch(np.arange(50)).values["visual"] - np.stack([each.visual for each in records])
        assert abs(error.mean()) < 2e-4
        assert made.manifest.about["quantised_by"] == "floor"


def test_sources(tmp_path):
    with pytest.raises(InvalidValueError, match="there is none"):
        source_files([tmp_path / "nowhere"])
    with pytest.raises(InvalidValueError, match="got none"):
        source_files([tmp_path])
    (tmp_path / "a.tfrecord").write_bytes(b"junk")
    with pytest.raises(InvalidValueError, match="must hold a record that can be read"):
        convert([tmp_path / "a.tfrecord"], tmp_path / "out")


@pytest.mark.parametrize("header", ["Index,TrainVideoCount,KnowledgeGraphId,Name", "label_id,x,y,label_name"])
def test_label_names(tmp_path, header):
    path = tmp_path / "vocabulary.csv"
    path.write_text(f'{header}\n0,1,/m/1,Game\n2,1,/m/2,"Vehicle, old"\n9,1,/m/3,Beyond\n')
    assert read_label_names(path, 4) == ("Game", "1", "Vehicle, old", "3")


def test_label_names_say_how_many_classes_there_are(tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_text("Index,Name\n0,Game\n2,Car\n100000,Beyond what any set has\n")
    assert read_label_names(path) == ("Game", "1", "Car")


def test_the_vocabulary_beside_the_records_is_found(tmp_path):
    for part, name in (("a", "Game"), ("b", "Game"), ("c", "Car")):
        write_records(tmp_path / part / "x.tfrecord", [b"x"])
        (tmp_path / part / "vocabulary.csv").write_text(f"Index,Name\n0,{name}\n")
    write_records(tmp_path / "d" / "x.tfrecord", [b"x"])
    assert vocabulary_beside([tmp_path / "a"]) == tmp_path / "a" / "vocabulary.csv"
    assert (
        vocabulary_beside([tmp_path / "d" / "x.tfrecord", tmp_path / "b" / "x.tfrecord", tmp_path / "a"]).parent.name
        == "b"
    )
    assert vocabulary_beside([tmp_path / "d"]) is None
    with pytest.raises(InvalidValueError, match="must have one vocabulary, got .*which differ: say which"):
        vocabulary_beside([tmp_path])


def test_words_beside_the_records_come_along(tmp_path):
    for part, some in (("a", videos(9)[:5]), ("b", videos(9)[5:])):
        write_records(tmp_path / "in" / part / "x.tfrecord", map(encode_video, some))
        lines = [json.dumps({"id": each.id, "title": f"film {each.id}"}) for each in some]
        (tmp_path / "in" / part / "words.jsonl").write_text("\n".join(lines))  # the last one has no end
    done = convert([tmp_path / "in"], tmp_path / "out", CLASSES)
    told = [json.loads(line) for line in (tmp_path / "out" / "words.jsonl").read_text().splitlines()]
    assert [each["id"] for each in told] == list(done.examples.ids)
    write_tfrecords(done.examples, tmp_path / "back")
    assert (tmp_path / "back" / "words.jsonl").read_bytes() == (tmp_path / "out" / "words.jsonl").read_bytes()
    (tmp_path / "in" / "b" / "words.jsonl").write_text("")
    with pytest.raises(InvalidValueError, match="otherwise"):
        convert([tmp_path / "in"], tmp_path / "out", CLASSES)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "Index,Name\nx,y\n", "Index,Name\n\xff"])
def test_label_names_of_other_files(tmp_path, text):
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidValueError):
        read_label_names(path, 4)


def test_what_cannot_be_converted_to():
    for values in ({"storage": "int32"}, {"most_frames": 0}, {"label_names": ("a",)}, {"shard_items": 0}):
        with pytest.raises(InvalidValueError):
            Conversion(**values)


def test_sets_go_back_to_records(tmp_path):
    records = videos(9)
    records[4] = replace(records[4], audio=None)
    write_records(tmp_path / "a.tfrecord", map(encode_video, records))
    done = convert([tmp_path / "a.tfrecord"], tmp_path / "set", replace(CLASSES, storage="float32", shard_items=4))
    reader = VideoReader(Schema(20))
    for packed, key in ((False, "id"), (True, "video_id")):
        paths = write_tfrecords(done.examples, tmp_path / key, packed=packed, id_key=key)
        assert len(paths) == 3
        back = [reader.parse(data) for path in paths for _, data, _ in read_records(path, print)]
        assert [each.id for each in back] == [each.id for each in records]
        assert [each.labels for each in back] == [each.labels for each in records]
        assert [each.audio is None for each in back] == [each.audio is None for each in records]
        assert all(np.array_equal(a.visual, b.visual) for a, b in zip(back, records, strict=True))
        assert f"{key}".encode() in next(iter(read_records(paths[0], print)))[1]


def test_sets_of_other_blocks_cannot_be_records(tmp_path):
    from lightmeter.heads.examples import Block
    from lightmeter.library.example_writing import ShardRows, write_set

    made = write_set(
        tmp_path / "set", [Block("title", "tokens", 2)], ["a"], [ShardRows(["x"], {"title": np.ones((1, 2), int)})]
    )
    with pytest.raises(InvalidValueError, match="visual and audio"):
        write_tfrecords(open_set(made.folder), tmp_path / "out")
