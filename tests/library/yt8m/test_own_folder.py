"""Nobody's files are lost: a command writes into a new folder, an empty one or its own; refused, it leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from media_makers import make_video

from lightmeter.engines.inline import Inline
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import PLAN, SetWriter, ShardRows, alone
from lightmeter.library.own_folder import check_own
from lightmeter.library.yt8m.convert import Conversion, convert
from lightmeter.library.yt8m.exporting import write_tfrecords
from lightmeter.library.yt8m.extract import ExtractOptions, extract
from lightmeter.library.yt8m.extract_set import SetOptions
from lightmeter.library.yt8m.generate import Wanted, generate
from lightmeter.library.yt8m.records import Schema
from lightmeter.library.yt8m.world import Statistics

QUICK = ExtractOptions(encoder="color-histogram", sound="", engine=Inline())
FEW = Wanted(6, Statistics(5))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One video."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "red").mkdir()
    make_video(folder / "red" / "a.mp4", 50)
    return folder


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refuse(out):
    assert (out / ".lock").is_file()
    raise InvalidValueError("no")


class TestCheck:
    def test_takes_what_is_new_or_empty_and_asks_of_the_rest(self, tmp_path):
        asked = []
        for out in (tmp_path / "a" / "b", tmp_path):
            check_own(out, lambda out: asked.append(out) or "x", "a toy")
        assert asked == []
        (tmp_path / "x").write_text("x")
        check_own(tmp_path, lambda out: "", "a toy")
        with pytest.raises(
            InvalidValueError, match="OUT must be new, empty or hold a toy, got .* as 'x': take another"
        ):
            check_own(tmp_path, lambda out: "x", "a toy")
        with pytest.raises(InvalidValueError, match="must be a folder, got .*/x/y, where .*/x is a file"):
            check_own(tmp_path / "x" / "y", lambda out: "", "a toy")


class TestExtract:
    @pytest.mark.parametrize("name", ["notes.txt", ".git/config", "train/set.json", "reduction/mine.txt", "1.npy"])
    def test_replaces_no_folder_that_holds_something_else(self, clips, tmp_path, name):
        out = tmp_path / "set"
        extract(clips, out, QUICK)
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        with pytest.raises(InvalidValueError, match="--out must be new, empty or hold what this command made"):
            extract(clips, out, replace(QUICK, labels="folders", writing=SetOptions(level="video")))
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
        if name not in ("notes.txt", "reduction/mine.txt", "1.npy"):
            (out / name).parent.rmdir()
        assert extract(clips, out, replace(QUICK, form="tfrecord", labels="folders")).written
        assert extract(clips, out, replace(QUICK, writing=SetOptions(level="video"))).written, "all of it is its own"

    def test_looks_again_before_it_replaces(self, clips, tmp_path):
        out = tmp_path / "set"
        extract(clips, out, QUICK)

        def put(event, count):
            (out / "notes.txt").write_text("mine")

        with pytest.raises(InvalidValueError, match="'notes.txt'"):
            extract(clips, out, replace(QUICK, max_seconds=1), events=put)
        assert (out / "notes.txt").read_text() == "mine"

    def test_keeps_nothing_in_a_folder_of_others(self, clips, tmp_path):
        (tmp_path / "set.work" / "old").mkdir(parents=True)
        (tmp_path / "set.work" / "old" / "photo.txt").write_text("mine")
        with pytest.raises(InvalidValueError, match="the folder beside --out must be new, empty or hold"):
            extract(clips, tmp_path / "set", QUICK)
        assert files_of(tmp_path) == {"set.work", "set.work/old", "set.work/old/photo.txt"}

    def test_of_no_video_leaves_no_trace(self, tmp_path):
        (tmp_path / "labels.csv").write_text("a.mp4,red\n")
        with pytest.raises(InvalidValueError, match="FOLDER must hold a video that can be read, got .* with none"):
            extract(tmp_path / "labels.csv", tmp_path / "x2", QUICK)
        assert files_of(tmp_path) == {"labels.csv"}

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ("gone.csv", "no file"),
            ("red", "a folder"),
            ("three.csv", "must be path,label"),
            ("other.csv", "got none in"),
        ],
    )
    def test_reads_the_labels_before_the_videos(self, clips, tmp_path, table, said):
        (tmp_path / "three.csv").write_text("a,b,c\n")
        (tmp_path / "other.csv").write_text("b.mp4,red\n")
        (tmp_path / "red").mkdir()
        with pytest.raises(InvalidValueError, match=said):
            extract(
                clips,
                tmp_path / "set",
                replace(QUICK, labels=str(tmp_path / table)),
                events=lambda *_: pytest.fail("a video is read"),
            )
        assert not (tmp_path / "set.work").exists()


class TestRange:
    def test_that_cuts_off_much_is_told(self, clips, tmp_path):
        narrow, wide = (replace(QUICK, writing=SetOptions(span=span)) for span in (1e-7, 2.0))
        [note] = extract(clips, tmp_path / "narrow", narrow).notes
        values = np.unique(open_set(tmp_path / "narrow").frames(0, "visual"))
        assert set(values.tolist()) <= {127, 255}
        share = float(note.split("cut off ")[1].split(" %")[0])
        assert note.startswith("warning: 8 bits from -1e-07 to 1e-07 cut off")
        rows = open_set(tmp_path / "narrow").frames(0, "visual")
        assert share == pytest.approx(100 * (rows == 255).mean(), abs=0.1)
        assert extract(clips, tmp_path / "wide", wide).notes == ("8 bits from -2 to 2 cut off 0 % of visual's numbers",)
        assert extract(clips, tmp_path / "usual", QUICK).notes == ()

    def test_is_refused_where_nothing_has_8_bits(self, clips, tmp_path):
        with pytest.raises(InvalidValueError, match="--span is for 8 bits"):
            extract(clips, tmp_path / "set", replace(QUICK, writing=SetOptions(level="video", span=2.0)))


class TestGenerate:
    @pytest.mark.parametrize("name", ["notes.txt", "set.json", "train/notes.txt", "test/notes.txt"])
    @pytest.mark.parametrize("form", ["set", "tfrecord"])
    def test_refuses_a_folder_that_holds_something_else(self, tmp_path, name, form):
        (tmp_path / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "out" / name).write_text("mine")
        before = files_of(tmp_path)
        with pytest.raises(InvalidValueError, match="OUT must be new, empty or hold train and test"):
            generate(tmp_path / "out", FEW, form=form)
        assert files_of(tmp_path) == before

    def test_never_writes_into_a_set(self, clips, tmp_path):
        extract(clips, tmp_path / "set", QUICK)
        before = files_of(tmp_path)
        with pytest.raises(InvalidValueError, match="with other things in it"):
            generate(tmp_path / "set", FEW)
        assert files_of(tmp_path) == before


class TestRecords:
    def test_are_written_beside_nothing_else(self, tmp_path):
        parts = generate(tmp_path / "data", FEW)
        train, test = (open_set(each.folder) for each in parts.values())
        write_tfrecords(train, tmp_path / "raw")
        written = {path: path.read_bytes() for path in (tmp_path / "raw").iterdir()}
        write_tfrecords(train, tmp_path / "raw")
        assert {path: path.read_bytes() for path in (tmp_path / "raw").iterdir()} == written
        for examples, folder, more in ((test, "raw", {}), (train, "raw", {"packed": True}), (test, "data/train", {})):
            with pytest.raises(InvalidValueError, match="OUT must be new, empty or hold records of this very set"):
                write_tfrecords(examples, tmp_path / folder, **more)
        assert {path: path.read_bytes() for path in (tmp_path / "raw").iterdir()} == written
        assert list(open_set(tmp_path / "data" / "train").ids) == list(train.ids)


class TestSets:
    def test_end_without_touching_others(self, tmp_path):
        writer = SetWriter.begin(tmp_path, [Block("visual", "features", 2)], ["a"])
        kept = ["2024.json", "20240101.json", "99999.notes.jsonl"]
        for name in kept:
            (tmp_path / name).write_text("{}")
        writer.add(ShardRows(["x"], {"visual": np.zeros((1, 2), np.float32)}, beside={"words": [{"id": "x"}]}))
        writer.finish(labelled=False)
        assert {*kept, "set.json", "words.jsonl"} <= files_of(tmp_path)
        assert "00000.json" not in files_of(tmp_path)

    def test_that_are_refused_leave_no_trace(self, tmp_path):
        for out in (tmp_path / "new", tmp_path / "there"):
            (tmp_path / "there").mkdir(exist_ok=True)
            with pytest.raises(InvalidValueError, match="no"), alone(out):
                refuse(out)
        assert files_of(tmp_path) == {"there"}
        (tmp_path / "begun").mkdir()
        (tmp_path / "begun" / PLAN).write_text("{}")
        with pytest.raises(InvalidValueError, match="no"), alone(tmp_path / "begun"):
            refuse(tmp_path / "begun")
        assert files_of(tmp_path / "begun") == {PLAN, ".lock"}

    def test_of_records_that_cannot_be_used_are_none(self, tmp_path):
        train = generate(tmp_path / "gt", FEW, form="tfrecord")["train"].folder
        how = Conversion("frame", Schema(5))
        said = f"SOURCE must hold records that can be used, got {FEW.count('train')} that cannot, as no-frames"
        with pytest.raises(InvalidValueError, match=said):
            convert([train], tmp_path / "set", how)
        assert not (tmp_path / "set").exists()
        assert len(convert([train], tmp_path / "set", replace(how, level="video")).examples) == FEW.count("train")
