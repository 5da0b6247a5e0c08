"""Reading YouTube-8M: our records beside protobuf, and rows of a set: `python benchmarks/multimodaling/records.py`.

`pip install 'lightmeter[dev]'` brings protobuf (through onnx). Both sides get the same bytes and give the same arrays;
records lie in memory, as they do just after they were read from a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from lightmeter.library.example_set import ExampleSet, open_set
from lightmeter.library.yt8m.generate import Wanted, generate
from lightmeter.library.yt8m.records import (
    FrameRecord,
    Schema,
    VideoReader,
    VideoRecord,
    encode_frame_record,
    encode_video,
    parse_frames,
)
from lightmeter.library.yt8m.world import Statistics
from lightmeter.media.tfrecord import read_records, write_records
from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.record import write_results
from lightmeter.report.text import table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
FRAME_VIDEOS, VIDEOS, SET_VIDEOS, ROUNDS, BATCH = 16, 1000, 20_000, 16, 1024
SCHEMA = Schema()
SCRATCH = tempfile.TemporaryDirectory()
sys.path.insert(0, str(ROOT / "tests" / "reference"))


def peer() -> tuple:
    """Example and SequenceExample as protobuf classes; its fast implementation, or the comparison would be unfair."""
    from google.protobuf.internal import api_implementation
    from tensorflow_messages import messages

    assert api_implementation.Type() == "upb", api_implementation.Type()
    return messages()


# -- frames ---------------------------------------------------------------------------------------------------------


def frame_records() -> list[bytes]:
    """Videos of 230 seconds, some 265 kB each."""
    rng = np.random.default_rng(0)
    made = []
    for at in range(FRAME_VIDEOS):
        frames = [rng.integers(0, 256, (230, dim), dtype=np.uint8) for dim in (1024, 128)]
        made.append(encode_frame_record(FrameRecord(f"v{at}", (1, 300, 3861), *frames)))
    return made


def frames_by_protobuf(raw: list[bytes]) -> list[tuple]:
    made = []
    for data in raw * ROUNDS:
        record = SEQUENCE.FromString(data)
        features = record.context.feature
        found = record.feature_lists.feature_list
        frames = []
        for key, dim in (("rgb", 1024), ("audio", 128)):
            joined = b"".join(each.bytes_list.value[0] for each in found[key].feature)
            frames.append(np.frombuffer(joined, np.uint8).reshape(-1, dim))
        labels = tuple(features["labels"].int64_list.value)
        made.append((features["id"].bytes_list.value[0].decode(), labels, *frames))
    return made


def frames_by_us(raw: list[bytes]) -> list[tuple]:
    found = [parse_frames(data, SCHEMA) for data in raw * ROUNDS]
    return [(each.id, each.labels, each.visual, each.audio) for each in found]


def frames_by_us_in_general(raw: list[bytes]) -> list[tuple]:
    from lightmeter.library.yt8m.records import _general_frames

    found = [_general_frames(data, SCHEMA) for data in raw * ROUNDS]
    return [(name, labels, blocks["rgb"], blocks["audio"]) for name, labels, blocks, _ in found]


# -- videos ---------------------------------------------------------------------------------------------------------


def video_records() -> list[bytes]:
    rng = np.random.default_rng(0)
    made = []
    for at in range(VIDEOS):
        features = [rng.standard_normal(dim, dtype=np.float32) for dim in (1024, 128)]
        labels = tuple(sorted(set(rng.integers(0, 3862, 3).tolist())))
        made.append(encode_video(VideoRecord(f"v{at}", labels, *features)))
    return made


def videos_by_protobuf(raw: list[bytes]) -> np.ndarray:
    made = np.empty((len(raw), 1152), np.float32)
    for at, data in enumerate(raw):
        found = EXAMPLE.FromString(data).features.feature
        found["id"].bytes_list.value[0].decode(), tuple(found["labels"].int64_list.value)
        made[at, :1024] = found["mean_rgb"].float_list.value
        made[at, 1024:] = found["mean_audio"].float_list.value
    return made


def videos_by_us(raw: list[bytes]) -> np.ndarray:
    made = np.empty((len(raw), 1152), np.float32)
    reader = VideoReader(SCHEMA)
    for at, data in enumerate(raw):
        found = reader.parse(data)
        made[at, :1024], made[at, 1024:] = found.visual, found.audio
    return made


# -- whole files ----------------------------------------------------------------------------------------------------


def frame_file() -> Path:
    path = Path(SCRATCH.name) / "frames.tfrecord"
    write_records(path, frame_records() * 4)
    return path


def file_by_protobuf(path: Path) -> int:
    return sum(len(frames_by_protobuf_once(data)[2]) for _, data, _ in read_records(path, print))


def frames_by_protobuf_once(data: bytes) -> tuple:
    record = SEQUENCE.FromString(data)
    found = record.feature_lists.feature_list
    joined = [b"".join(each.bytes_list.value[0] for each in found[key].feature) for key in ("rgb", "audio")]
    labels = tuple(record.context.feature["labels"].int64_list.value)
    return (
        record.context.feature["id"].bytes_list.value[0],
        labels,
        np.frombuffer(joined[0], np.uint8).reshape(-1, 1024),
    )


def file_by_us(path: Path, *, check: bool = True) -> int:
    return sum(parse_frames(data, SCHEMA).length for _, data, _ in read_records(path, print, check=check))


# -- sets -----------------------------------------------------------------------------------------------------------


def example_set() -> ExampleSet:
    folder = Path(SCRATCH.name)
    generate(folder, Wanted(SET_VIDEOS, Statistics(), test_share=0.0001))
    return open_set(folder / "train")


def rows_at_random(examples: ExampleSet) -> int:
    order = np.random.default_rng(0).permutation(len(examples))
    return sum(len(examples.batch(order[at : at + BATCH])) for at in range(0, len(order), BATCH))


def rows_in_order(examples: ExampleSet) -> int:
    order = np.arange(len(examples))
    return sum(len(examples.batch(order[at : at + BATCH])) for at in range(0, len(order), BATCH))


def same_frames(found: list[tuple], raw: list[bytes]) -> float:
    """Share of the records that come out as protobuf gives them."""
    wanted = frames_by_protobuf(raw)
    same = [
        a[:2] == b[:2] and all(np.array_equal(*pair) for pair in zip(a[2:], b[2:], strict=True))
        for a, b in zip(found, wanted, strict=True)
    ]
    return float(np.mean(same))


EXAMPLE, SEQUENCE = peer()
BENCHES = (
    Bench(
        id="multimodal-frame-records",
        question="How many times faster than with protobuf are the frames of a record had as arrays?",
        data=frame_records,
        variants={"protobuf": frames_by_protobuf, "ours": frames_by_us, "ours-general-way": frames_by_us_in_general},
        quality={"same": same_frames},
        seed=0,
    ),
    Bench(
        id="multimodal-video-records",
        question="How many times faster than with protobuf are the features of whole videos had as rows of a matrix?",
        data=video_records,
        variants={"protobuf": videos_by_protobuf, "ours": videos_by_us},
        quality={"same": lambda found, raw: float(np.array_equal(found, videos_by_protobuf(raw)))},
        seed=0,
    ),
    Bench(
        id="multimodal-frame-files",
        question="And with reading, framing and checking the file, which is the same work for both?",
        data=frame_file,
        variants={
            "protobuf": file_by_protobuf,
            "ours": file_by_us,
            "ours-unchecked": lambda path: file_by_us(path, check=False),
        },
        quality={"frames": lambda found, path: float(found)},
        seed=0,
    ),
    Bench(
        id="multimodal-set-rows",
        question=f"How long does a set of {SET_VIDEOS} videos of 1,152 features take, {BATCH} rows at a time?",
        data=example_set,
        variants={"at-random": rows_at_random, "in-order": rows_in_order},
        quality={"rows": lambda found, examples: float(found)},
        seed=0,
    ),
)

if __name__ == "__main__":
    for bench in BENCHES:
        record = run_bench(bench, repeats=7, hash_data=bench.id != "multimodal-set-rows")
        if "--dry" not in sys.argv:
            write_results(RESULTS / f"{bench.id}.json", record)
        print(bench.question)
        print(table(bench_rows(record)))
