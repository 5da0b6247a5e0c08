"""Example sets: what goes in comes out, in any order; what a stranger changed is refused."""

import itertools
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError, LibraryBusyError, RejectedFileError
from lightmeter.heads.examples import ArrayExamples, Block, Chosen
from lightmeter.library import example_set
from lightmeter.library.example_layout import YT8M_OFFSET, YT8M_SCALE, Stored
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import SetWriter, ShardRows, alone, write_set
from lightmeter.types import Labels

SIGHT, SOUND, WORDS = Block("visual", "frames", 3), Block("sound", "features", 2), Block("title", "tokens", 4)
NAMES = ("a", "b", "c")


def rows(count, seed, **change):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, count)
    present = rng.random((count, 3)) < 0.7
    made = ShardRows(
        [f"item {seed}.{at} é" for at in range(count)],
        {
            "visual": rng.integers(0, 256, (lengths.sum(), 3), dtype=np.uint8),
            "sound": rng.standard_normal((count, 2)).astype(np.float16),
            "title": rng.integers(1, 99, (count, 4)),
        },
        Labels.of([rng.integers(0, 3, int(rng.integers(0, 3))).tolist() for _ in range(count)], 3),
        present,
        lengths,
    )
    return replace(made, **change)


@pytest.fixture(scope="module")
def shards():
    return [rows(5, 0), rows(0, 1), rows(7, 2), rows(1, 3)]


@pytest.fixture
def made(tmp_path, shards):
    return write_set(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES, shards, about={"seed": 1})


def in_memory(shards):
    frames = []
    for each in shards:
        ends = np.cumsum([0, *each.lengths])
        for start, end in itertools.pairwise(ends):
            frames.append((each.values["visual"][start:end] * np.float32(YT8M_SCALE)) + np.float32(YT8M_OFFSET))
    labels = [each.labels.dense() for each in shards]
    return ArrayExamples(
        (SIGHT, SOUND, WORDS),
        {
            "visual": frames,
            "sound": np.concatenate([each.values["sound"].astype(np.float32) for each in shards]),
            "title": np.concatenate([each.values["title"].astype(np.int32) for each in shards]),
        },
        [name for each in shards for name in each.ids],
        NAMES,
        Labels.of([np.flatnonzero(row).tolist() for row in np.concatenate(labels)], 3),
        np.concatenate([each.present for each in shards]),
    )


def same_batch(a, b):
    assert set(a.values) == set(b.values)
    for name in a.values:
        assert a.values[name].dtype == b.values[name].dtype
        np.testing.assert_allclose(a.values[name], b.values[name], atol=1e-6)
    assert np.array_equal(a.present, b.present)
    assert np.array_equal(a.lengths, b.lengths)
    assert np.array_equal(a.labels.dense(), b.labels.dense())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(wanted=st.lists(st.integers(0, 12), max_size=20))
def test_any_rows_are_those_that_went_in(made, shards, wanted):
    same_batch(made.batch(np.array(wanted, np.int64)), in_memory(shards).batch(np.array(wanted, np.int64)))


def test_the_rest_of_a_set(made, shards):
    memory = in_memory(shards)
    assert len(made) == 13
    assert made.blocks == memory.blocks
    assert list(made.ids) == list(memory.ids)
    assert (made.ids[-1], made.ids[4:6]) == (memory.ids[-1], memory.ids[4:6])
    assert made.label_names == NAMES
    assert np.array_equal(made.labels.dense(), memory.labels.dense())
    assert made.rated is None
    assert made.verify() == []
    with pytest.raises(IndexError):
        made.ids[13]
    for wrong in ([13], [-1], [[0]]):
        with pytest.raises(InvalidValueError):
            made.batch(np.array(wrong))
    chosen = Chosen.of(made, blocks=["sound"], rows=np.array([3, 11]))
    assert np.array_equal(chosen.batch(np.array([1])).values["sound"], made.batch(np.array([11])).values["sound"])


def test_files_of_blocks_that_are_not_asked_for_are_not_opened(made):
    wanted = made.batch(np.arange(6))
    for path in made.folder.glob("*.visual.npy"):
        path.unlink()
    fresh = type(made)(made.folder, made.manifest)
    for some in (fresh.batch(np.arange(6), ["title"]), Chosen.of(fresh, blocks=["title"]).batch(np.arange(6))):
        assert np.array_equal(some.values["title"], wanted.values["title"])
        assert np.array_equal(some.present, wanted.present[:, 2:])
        assert some.lengths is None
    with pytest.raises(RejectedFileError):
        fresh.batch(np.arange(6), ["visual"])


def test_frames_as_they_lie(made, shards):
    assert np.array_equal(made.frames(0, "visual"), shards[0].values["visual"][: shards[0].lengths[0]])
    assert sum(len(made.frames(at, "visual")) for at in range(13)) == sum(each.lengths.sum() for each in shards)


def test_a_fingerprint_is_of_all_content(tmp_path, made, shards):
    again = write_set(tmp_path / "again", [SIGHT, SOUND, WORDS], NAMES, shards, about={"seed": 2})
    assert again.fingerprint == made.fingerprint, "where it comes from is no content"
    other = write_set(tmp_path / "other", [SIGHT, SOUND, WORDS], NAMES, [rows(13, 5)])
    assert other.fingerprint != made.fingerprint


def test_it_travels_to_another_process(made):
    there = pickle.loads(pickle.dumps(made))
    assert np.array_equal(there.batch(np.arange(13)).values["visual"], made.batch(np.arange(13)).values["visual"])


def test_few_files_are_mapped_at_once(made, monkeypatch):
    monkeypatch.setattr(example_set, "MOST_MAPS", 2)
    before = made.batch(np.arange(13))
    assert len(made._maps) <= 2
    same_batch(made.batch(np.arange(13)), before)


def test_features_as_8_bits_and_as_float32(tmp_path):
    blocks = [Stored(SOUND, "uint8", 0.5, -1.0), Stored(Block("x", "features", 1), "float32")]
    values = {"sound": np.array([[0, 255]], np.uint8), "x": np.array([[1e30]])}
    made = write_set(tmp_path / "set", blocks, NAMES, [ShardRows(["a"], values)])
    batch = made.batch(np.array([0]))
    assert batch.values["sound"].tolist() == [[-1.0, 126.5]]
    assert batch.values["x"].tolist() == [[np.float32(1e30)]]
    assert batch.labels is None
    assert made.labels is None
    assert batch.lengths is None


def test_rated_classes(tmp_path):
    rated = Labels.of([[0, 2], [1]], 3)
    values = {"sound": np.zeros((2, 2), np.float32)}
    shard = ShardRows(["a", "b"], values, Labels.of([[2], []], 3), rated=rated)
    made = write_set(tmp_path / "set", [SOUND], NAMES, [shard, replace(shard, ids=["c", "d"])])
    assert made.batch(np.array([3, 0])).rated.dense().tolist() == [[False, True, False], [True, False, True]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": ["a"] * 4}, "must be"),
        ({"ids": ["x" * 129, *"bcde"]}, "ids must be"),
        ({"ids": ["a\0", *"bcde"]}, "ids must be"),
        ({"lengths": None}, "lengths must be"),
        ({"lengths": np.array([0, 0, 0, 0, -1])}, "lengths must be"),
        ({"labels": Labels.of([[0]] * 5, 4)}, "label must be"),
        ({"labels": Labels.of([[0]] * 4, 3)}, "label must be"),
        ({"present": np.ones((5, 2), bool)}, "present must be"),
        ({"values": {}}, "values must be of"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, change, said):
    with pytest.raises(InvalidValueError, match=said):
        write_set(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES, [rows(5, 0, **change)])
    with pytest.raises(RejectedFileError):
        open_set(tmp_path / "set")


@pytest.mark.parametrize("values", [np.full((1, 2), np.nan), np.full((1, 2), 1e6), np.zeros((1, 3))])
def test_numbers_that_float16_cannot_hold_are_refused(tmp_path, values):
    with pytest.raises(InvalidValueError):
        write_set(tmp_path / "set", [SOUND], NAMES, [ShardRows(["a"], {"sound": values})])


def test_real_numbers_are_not_taken_for_codes(tmp_path):
    with pytest.raises(InvalidValueError, match="quantise"):
        write_set(
            tmp_path / "set", [Stored(SOUND, "uint8", 1.0, 0.0)], NAMES, [ShardRows(["a"], {"sound": np.zeros((1, 2))})]
        )


@pytest.mark.parametrize("name", ["ids", "Visual", "a/b", "..", "", "a" * 42])
def test_names_of_blocks_are_plain(name):
    with pytest.raises(InvalidValueError):
        Stored.of(Block(name, "features", 1))


class TestGoingOn:
    def test_finished_shards_are_kept(self, tmp_path, shards, made):
        folder = tmp_path / "half"
        for count in range(len(shards)):
            writer = SetWriter.begin(folder, [SIGHT, SOUND, WORDS], NAMES, about={"seed": 1})
            assert len(writer.shards) == count
            with pytest.raises(RejectedFileError) as error:
                open_set(folder)
            assert error.value.code == ("unfinished" if count else "not-a-set")
            writer.add(replace(shards[count], cursor={"at": count}, beside={"words": [{"n": count}]}))
            (folder / f"{count + 1:05d}.visual.npy").write_bytes(b"what a kill left")
            (folder / f".{count + 1:05d}.sound.npy.abcd.tmp").write_bytes(b"what a kill left")
        done = SetWriter.begin(folder, [SIGHT, SOUND, WORDS], NAMES, about={"seed": 1})
        assert [each.cursor for each in done.shards] == [{"at": at} for at in range(4)]
        assert done.finish().fingerprint == made.fingerprint
        assert [json.loads(line)["n"] for line in (folder / "words.jsonl").read_text().splitlines()] == [0, 1, 2, 3]
        assert not list(folder.glob("0*.json*")) + list(folder.glob(".*.tmp"))
        assert SetWriter.begin(folder, [SIGHT, SOUND, WORDS], NAMES, about={"seed": 1}).finished

    def test_a_torn_shard_is_written_again(self, tmp_path, shards):
        writer = SetWriter.begin(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES)
        for each in shards[:2]:
            writer.add(each)
        (tmp_path / "set" / "00001.json").write_text("{")
        assert len(SetWriter.begin(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES).shards) == 1
        (tmp_path / "set" / "00000.sound.npy").write_bytes(b"")
        assert len(SetWriter.begin(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES).shards) == 0

    def test_another_plan_is_refused(self, tmp_path, shards):
        SetWriter.begin(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES)
        for blocks, names, about in (([SOUND], NAMES, {}), ([SIGHT, SOUND, WORDS], NAMES, {"a": 1})):
            with pytest.raises(InvalidValueError, match="otherwise"):
                SetWriter.begin(tmp_path / "set", blocks, names, about=about)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter.txt").write_text("dear")
        with pytest.raises(InvalidValueError, match="empty"):
            write_set(tmp_path / "mine", [SIGHT, SOUND, WORDS], NAMES, shards)

    def test_a_set_is_not_written_twice(self, tmp_path, shards, made):
        with pytest.raises(InvalidValueError, match="no set yet"):
            write_set(tmp_path / "set", [SIGHT, SOUND, WORDS], NAMES, shards, about={"seed": 1})

    def test_one_writer_at_a_time(self, tmp_path):
        script = f"from lightmeter.library.example_writing import alone\nwith alone({str(tmp_path)!r}): print('in')"
        with alone(tmp_path), pytest.raises(LibraryBusyError), alone(tmp_path):
            pass
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "in\n"


def change_manifest(folder, change):
    path = folder / "set.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(schema="other/1"),
        lambda said: said.update(blocks=[]),
        lambda said: said.update(items=99),
        lambda said: said.update(labelled="yes"),
        lambda said: said.update(label_names=[1]),
        lambda said: said.update(shards={}),
        lambda said: said.pop("shards"),
        lambda said: said["blocks"][0].update(dim=10**9),
        lambda said: said["blocks"][0].update(dim=2.5),
        lambda said: said["blocks"][0].update(name="../../etc"),
        lambda said: said["blocks"][0].update(storage="object"),
        lambda said: said["blocks"][0].update(scale=float("nan")),
        lambda said: said["blocks"][1].update(name="visual"),
        lambda said: said["shards"][0].update(name="../00000"),
        lambda said: said["shards"][1].update(name="00000"),
        lambda said: said["shards"][0].update(items=-1),
        lambda said: said["shards"][0].update(frames=True),
        lambda said: said["shards"][0].update(files=[]),
        lambda said: said["shards"][0]["files"].pop("labels"),
        lambda said: said["shards"][0]["files"]["labels"].update(size_bytes=3),
        lambda said: said["shards"][0]["files"].update({"../x": {"size_bytes": 1, "sha256": ""}}),
    ],
)
def test_a_hostile_manifest_is_refused(made, change):
    change_manifest(made.folder, change)
    with pytest.raises(RejectedFileError):
        open_set(made.folder)


@pytest.mark.parametrize("text", ["", "[]", "nul", "[" * 100_000, '{"schema": 1}'])
def test_a_manifest_that_is_none_is_refused(made, text):
    (made.folder / "set.json").write_text(text)
    with pytest.raises(RejectedFileError):
        open_set(made.folder)


def forged(made, column, array):
    """A file of another content, whose size the manifest has been told."""
    path = made.folder / f"00000.{column}.npy"
    np.save(path, array)
    size = path.stat().st_size
    change_manifest(made.folder, lambda said: said["shards"][0]["files"][column].update(size_bytes=size))
    return open_set(made.folder)


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("sound", np.zeros((5, 2), np.float32)),
        ("sound", np.zeros((4, 2), np.float16)),
        ("sound", np.zeros((2, 5), np.float16).T),
        ("visual", np.zeros((1, 3), np.uint8)),
        ("lengths", np.full(5, -1, "<i4")),
        ("lengths", np.full(5, 99, "<i4")),
        ("labels", np.full(1, 7, "<i4")),
        ("label-ends", np.array([3, 1, 0, 2, 5], "<i8")),
        ("label-ends", np.full(5, 1 << 40, "<i8")),
        ("present", np.ones((5, 2), bool)),
        ("ids", np.arange(5)),
    ],
)
def test_columns_that_are_not_those_of_the_manifest_are_refused(made, column, array):
    opened = forged(made, column, array)

    def read_all():
        opened.batch(np.arange(13))
        list(opened.ids)

    with pytest.raises(RejectedFileError):
        read_all()


def test_pickles_are_refused(made):
    path = made.folder / "00000.sound.npy"
    np.save(path, np.array([{}, {}], object), allow_pickle=True)
    size = path.stat().st_size
    change_manifest(made.folder, lambda said: said["shards"][0]["files"]["sound"].update(size_bytes=size))
    with pytest.raises(RejectedFileError):
        open_set(made.folder).batch(np.arange(2))


def test_verify_finds_a_changed_byte(made):
    path = made.folder / "00002.sound.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert open_set(made.folder).verify() == ["00002.sound.npy"]


def test_a_batch_that_eats_the_memory_is_refused(tmp_path):
    block = Block("visual", "frames", 1 << 12)
    values = {"visual": np.zeros((300, 1 << 12), np.uint8)}
    made = write_set(tmp_path / "set", [block], NAMES, [ShardRows(["a"], values, lengths=np.array([300]))])
    with pytest.raises(InvalidValueError, match="memory"):
        made.batch(np.zeros(10_000, np.int64))
