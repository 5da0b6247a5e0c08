"""BAIR's files: records spelled by hand, what is written is what protobuf reads, damage is counted and left out."""

import struct

import google_crc32c
import numpy as np
import pytest
from tensorflow_messages import messages

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.bair import BairOptions, bair_files, decode_trajectory, open_bair, write_bair
from lightmeter.media.clip_set import ClipSet
from lightmeter.media.tf_example import encode_example
from lightmeter.media.tfrecord import read_records, write_records

EXAMPLE, _ = messages()


def some(count=5, steps=4, side=6, seed=0):
    rng = np.random.default_rng(seed)
    cameras = {name: rng.integers(0, 256, (count, steps, side, side, 3), np.uint8) for name in ("main", "aux1")}
    return cameras, rng.normal(0, 1, (count, steps, 4)).astype(np.float32)


def by_protobuf(cameras, actions, row):
    """A record as TensorFlow's own writer would make it."""
    example = EXAMPLE()
    for step in range(actions.shape[1]):
        for name, frames in cameras.items():
            key = f"{step}/image_{name}/encoded"
            example.features.feature[key].bytes_list.value.append(frames[row, step].tobytes())
        example.features.feature[f"{step}/action"].float_list.value.extend(actions[row, step].tolist())
        example.features.feature[f"{step}/endeffector_pos"].float_list.value.extend([0.1, 0.2, 0.3])
    return example.SerializeToString()


def framed(data):
    """TFRecord's frame, from its definition."""

    def masked(raw):
        crc = google_crc32c.value(raw)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(data))
    return head + masked(head) + data + masked(data)


def test_files_of_an_independent_writer_are_read(tmp_path):
    cameras, actions = some()
    folder = tmp_path / "softmotion30_44k" / "train"
    folder.mkdir(parents=True)
    for name, rows in (("traj_10_to_12.tfrecords", (3, 4)), ("traj_0_to_2.tfrecords", (0, 1, 2))):
        (folder / name).write_bytes(b"".join(framed(by_protobuf(cameras, actions, row)) for row in rows))
    for camera in ("main", "aux1"):
        found = open_bair(tmp_path, BairOptions(camera=camera))
        assert (found.state, found.notes) == ("ok", ())
        np.testing.assert_array_equal(np.asarray(found.value.frames), cameras[camera])
        np.testing.assert_array_equal(found.value.actions, actions)
        assert found.value.scenes.tolist() == [0, 1, 2, 10, 11], "numbers of trajectories, by the files' names"
    assert open_bair(tmp_path, BairOptions(clips_a_scene=4)).value.scenes.tolist() == [0, 0, 0, 2, 2]


def test_what_is_written_is_what_protobuf_reads(tmp_path):
    cameras, actions = some()
    positions = np.ones((5, 4, 3))
    files = write_bair(tmp_path, cameras, actions, positions=positions, split="test", file_clips=2)
    assert [file.name for file in files] == [f"traj_{a}_to_{b}.tfrecords" for a, b in ((0, 1), (2, 3), (4, 4))]
    row = 0
    for file in files:
        for _, data, _ in read_records(file, pytest.fail):
            theirs = EXAMPLE.FromString(data).features.feature
            assert len(theirs) == 4 * 4
            assert theirs["2/image_main/encoded"].bytes_list.value[0] == cameras["main"][row, 2].tobytes()
            np.testing.assert_array_equal(theirs["3/action"].float_list.value, actions[row, 3])
            assert list(theirs["0/endeffector_pos"].float_list.value) == [1, 1, 1]
            row += 1
    assert row == 5


@pytest.mark.parametrize("check", [True, False])
def test_rows_are_read_when_asked(tmp_path, check):
    cameras, actions = some(7)
    write_bair(tmp_path, cameras, actions, file_clips=3)
    clips = open_bair(tmp_path, BairOptions(check=check)).value
    truth = cameras["aux1"]
    assert clips.frames.shape == truth.shape
    rows, at = np.array([5, 0, 5]), np.array([3, 1, 0])
    np.testing.assert_array_equal(clips.frames[rows], truth[rows])
    np.testing.assert_array_equal(clips.frames[rows, at], truth[rows, at])
    np.testing.assert_array_equal(clips.frames[2:4], truth[2:4])
    np.testing.assert_array_equal(clips.frames[6], truth[6])
    np.testing.assert_array_equal(clips.frames[6, 1], truth[6, 1])
    np.testing.assert_array_equal(clips.frames[truth[:, 0, 0, 0, 0] > 99], truth[truth[:, 0, 0, 0, 0] > 99])
    assert clips.frames[np.zeros(0, np.int64), np.zeros(0, np.int64)].shape == (0, 6, 6, 3)
    np.testing.assert_array_equal(clips.actions[rows], actions[rows])
    part = clips.take(np.array([4, 2]))
    np.testing.assert_array_equal(part.frames, truth[[4, 2]])


def test_the_fingerprint_is_of_the_content(tmp_path):
    cameras, actions = some(7)
    for name, cut in (("a", 3), ("b", 256)):
        write_bair(tmp_path / name, cameras, actions, file_clips=cut)
    plain = ClipSet.of(cameras["aux1"], np.arange(7), actions=actions)
    assert open_bair(tmp_path / "a").value.fingerprint == plain.fingerprint
    assert open_bair(tmp_path / "b").value.fingerprint == plain.fingerprint
    quick = [open_bair(tmp_path / name, BairOptions(check=False)).value.fingerprint for name in ("a", "b")]
    assert quick[0] == quick[1] != plain.fingerprint
    cameras["aux1"][6, 3, 5, 5, 2] ^= 1
    write_bair(tmp_path / "b", cameras, actions)
    assert open_bair(tmp_path / "b", BairOptions(check=False)).value.fingerprint != quick[0]


def test_damaged_records_are_counted_and_left_out(tmp_path):
    cameras, actions = some(6)
    (file,) = write_bair(tmp_path, cameras, actions)
    raw = bytearray(file.read_bytes())
    size = len(raw) // 6
    raw[2 * size + 100] ^= 1  # of the third, the data
    file.write_bytes(raw[:-5])  # and the last is cut
    told = []
    found = open_bair(tmp_path, tell=told.append)
    assert told == [1, 2, 3, 4]
    assert found.state == "damaged"
    assert found.notes[0] == "2 damaged records are left out beside 4 whole ones: 1 x data-crc, 1 x truncated"
    assert f"traj_0_to_5.tfrecords at byte {2 * size}: " in found.notes[1]
    np.testing.assert_array_equal(np.asarray(found.value.frames), cameras["aux1"][[0, 1, 3, 4]])
    assert found.value.scenes.tolist() == [0, 1, 3, 4], "a trajectory keeps its number"

    quick = open_bair(tmp_path, BairOptions(check=False))
    assert len(quick.value) == 5, "only the frame of the records is looked at"
    assert "1 x truncated" in quick.notes[0]
    with pytest.raises(RejectedFileError, match=rf"data-crc: .*at byte {2 * size}: the data have another checksum"):
        quick.value.frames[2]
    np.testing.assert_array_equal(quick.value.frames[3], cameras["aux1"][3])


def test_a_bad_length_ends_its_file_only(tmp_path):
    cameras, actions = some(6)
    files = write_bair(tmp_path, cameras, actions, file_clips=3)
    raw = bytearray(files[0].read_bytes())
    raw[len(raw) // 3 + 1] ^= 0x40
    files[0].write_bytes(raw)
    for check in (True, False):
        found = open_bair(tmp_path, BairOptions(check=check))
        assert found.value.scenes.tolist() == [0, 3, 4, 5]
        assert "1 x length-crc" in found.notes[0]


def record(steps=3, **changes):
    found = {}
    for step in range(steps):
        found[f"{step}/image_aux1/encoded"] = [bytes(12)]
        found[f"{step}/action"] = np.zeros(4, np.float32)
    return encode_example(found | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"0/image_aux1/encoded": [b""]}, "square RGB"),
        ({"1/image_aux1/encoded": [bytes(27)]}, r"got \[12, 27\] bytes"),
        ({"1/image_aux1/encoded": [bytes(12), bytes(12)]}, "one string of bytes"),
        ({"1/image_aux1/encoded": np.zeros(12, np.float32)}, "one string of bytes"),
        ({"2/action": None}, "every step must have an action"),
        ({"2/action": np.zeros(3, np.float32)}, "equally many floats"),
        ({"2/action": np.zeros(4, np.int64)}, "equally many floats"),
    ],
)
def test_records_of_another_form_are_refused(changes, says):
    with pytest.raises(RejectedFileError, match=says):
        decode_trajectory(record(**changes), "aux1")
    with pytest.raises(RejectedFileError, match="pictures of main, got 0"):
        decode_trajectory(record(), "main")


def test_records_of_another_shape_are_left_out(tmp_path):
    write_records(tmp_path / "x.tfrecords", [record(3), record(2), record(3), b"\xff"])
    found = open_bair(tmp_path / "x.tfrecords")
    assert len(found.value) == 2
    assert "1 x broken-record, 1 x other-shape" in found.notes[0]
    quick = open_bair(tmp_path, BairOptions(check=False))
    with pytest.raises(RejectedFileError, match="other-shape"):
        quick.value.actions[1]


def test_sets_without_actions(tmp_path):
    write_records(tmp_path / "x.tfrecords", [encode_example({"0/image_aux1/encoded": [bytes(12)]})])
    assert open_bair(tmp_path).value.actions is None


def test_where_the_files_are(tmp_path):
    with pytest.raises(MissingAssetError, match="softmotion30_44k/train/traj_0_to_255.tfrecords"):
        open_bair(tmp_path)
    cameras, actions = some(12, 1, 2)
    write_bair(tmp_path, cameras, actions, split="train", file_clips=1)
    write_bair(tmp_path, cameras, actions, split="test")
    with pytest.raises(InvalidValueError, match="holds the splits test, train: name one"):
        open_bair(tmp_path)
    inner = tmp_path / "softmotion30_44k"
    for path in (tmp_path, inner, inner / "train"):
        files = bair_files(path, "train")
        assert [file.name.split("_")[1] for file in files] == [str(number) for number in range(12)], "by number"
    assert len(bair_files(inner / "test")) == 1
    assert len(open_bair(tmp_path, BairOptions(split="test")).value) == 12
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "traj_0_to_1.tfrecords").write_bytes(b"hello")
    with pytest.raises(RejectedFileError, match="whole trajectories, got none"):
        open_bair(tmp_path / "bad")


def test_options_are_checked(tmp_path):
    cameras, actions = some()
    with pytest.raises(InvalidValueError, match="camera"):
        BairOptions(camera="aux2")
    with pytest.raises(InvalidValueError, match="clips_a_scene"):
        BairOptions(clips_a_scene=0)
    with pytest.raises(InvalidValueError, match="cameras"):
        write_bair(tmp_path, {"left": cameras["main"]}, actions)
    with pytest.raises(InvalidValueError, match="actions"):
        write_bair(tmp_path, cameras, actions[:2])
