"""Sets made as another set was: labels that it does not know, sound that nobody has, one table of labels everywhere."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from media_makers import make_video

from lightmeter.cli.yt8m_extract import extract as command
from lightmeter.encoders.color_histogram import ColorHistogram
from lightmeter.engines.inline import Inline
from lightmeter.engines.limits import Limits
from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import view_of
from lightmeter.library import labelled
from lightmeter.library.example_set import open_set
from lightmeter.library.indexing import IndexOptions, index
from lightmeter.library.labelled import open_examples
from lightmeter.library.room import room_bytes
from lightmeter.library.scoring import labels_turned
from lightmeter.library.yt8m import extract as extracting
from lightmeter.library.yt8m.extract import ExtractOptions, extract
from lightmeter.library.yt8m.extract_set import SetOptions
from lightmeter.library.yt8m.records import Schema, parse_frames
from lightmeter.media.tfrecord import read_records

QUICK = ExtractOptions(encoder="color-histogram", engine=Inline())
LIKE = ExtractOptions(engine=Inline())


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """`loud` and `mute`, each with two videos in two folders; the second of `mute` is of another kind."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("loud/cats/tom.mp4", "loud/toys/ball.mp4", "mute/cats/sue.mp4", "mute/owls/uhu.mp4"):
        (folder / name).parent.mkdir(parents=True)
        make_video(folder / name, 40, sound="mono" if name.startswith("loud") else None)
    return folder


@pytest.fixture(scope="module")
def loud(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("loud") / "set"
    extract(clips / "loud", out, replace(QUICK, labels="folders"))
    return out


@pytest.fixture(scope="module")
def mute(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("mute") / "set"
    return extract(clips / "mute", out, replace(QUICK, labels="folders")), out


class TestLabels:
    def test_that_the_other_set_lacks_are_never_scored_as_none(self, clips, loud, tmp_path):
        done = extract(
            clips / "mute", tmp_path / "set", replace(LIKE, labels="folders", writing=SetOptions(like=loud))
        )  # fmt: skip
        found = open_set(tmp_path / "set")
        assert found.label_names == ("cats", "toys", "owls")
        assert found.labels.dense().astype(int).tolist() == [[1, 0, 0], [0, 0, 1]]
        assert any("does not know: 1, as 'owls'; videos that have one: 1." in note for note in done.notes)
        with pytest.raises(InvalidValueError, match="labels of the data must be known to the model, got 'owls'"):
            labels_turned(open_set(loud).label_names, found)

    def test_like_a_model_is_refused(self, clips, tmp_path):
        with pytest.raises(InvalidValueError, match="--like must be a set that `lightmeter yt8m extract` made, got"):
            extract(clips / "mute", tmp_path / "set", replace(LIKE, writing=SetOptions(like=tmp_path)))


def test_a_level_is_that_of_the_other_set(clips, loud, tmp_path):
    args = [str(clips / "mute"), "--out", str(tmp_path / "set"), "--like", str(loud), "--level", "video"]
    done = CliRunner().invoke(command, args)
    assert (done.exit_code, "--level comes from --like: leave it out" in done.output) == (2, True)


class TestSoundThatNobodyHas:
    def test_is_a_block_that_is_absent(self, loud, mute):
        done, out = mute
        found = open_set(out)
        assert done.notes == ("no video has sound: the block `audio` is absent from all of them",)
        assert found.present.tolist() == [[True, False]] * 2
        assert not found.batch(np.arange(2)).values["audio"].any()
        assert len(view_of(open_set(loud).blocks, found)) == 2, "a model that hears takes it"

    def test_of_whole_videos_and_of_records(self, clips, tmp_path):
        video = replace(QUICK, writing=SetOptions(level="video"))
        extract(clips / "mute", tmp_path / "video", video)
        assert open_set(tmp_path / "video").present.tolist() == [[True, False]] * 2
        extract(clips / "mute", tmp_path / "records", replace(QUICK, form="tfrecord"))
        [path] = (tmp_path / "records").glob("*.tfrecord")
        schema = Schema(classes=1, visual=64, audio=384)
        for _, data, _ in read_records(path, pytest.fail):
            assert not (parse_frames(data, schema).audio - np.uint8(127)).any(), "what stands nearest to 0"

    def test_stays_away_from_sets_like_it(self, clips, mute, tmp_path):
        like = replace(LIKE, writing=SetOptions(like=mute[1]))
        done = extract(clips / "loud", tmp_path / "set", like)
        assert done.notes == ("the set of --like was made of videos without sound: sound is left out here too",)
        assert open_set(tmp_path / "set").present.tolist() == [[True, False]] * 2
        assert open_set(tmp_path / "set").blocks == open_set(mute[1]).blocks

    def test_has_nothing_to_be_reduced(self, clips, tmp_path):
        extract(clips / "mute", tmp_path / "set", replace(QUICK, writing=SetOptions(pca_sound=3)))
        assert [block.dim for block in open_set(tmp_path / "set").blocks] == [64, 384]


FORMS = ("{below}", "./{below}", "../clips/{below}", "{folder}/{below}")


@pytest.mark.parametrize("form", FORMS)
def test_one_table_serves_folders_sets_and_libraries(tmp_path, monkeypatch, form):
    """Written from where the table lies, from the folder, or absolutely."""
    for name in ("clips/a", "tables", "here"):
        (tmp_path / name).mkdir(parents=True)
    names = ("a/one.mp4", "two.mp4")
    for name in names:
        make_video(tmp_path / "clips" / name, 20 + len(name))
    table = tmp_path / "tables" / "labels.csv"
    lines = [f"{form.format(below=name, folder=tmp_path / 'clips')},{name[0]}" for name in names]
    table.write_text("\n".join(["path,labels", *lines]))
    monkeypatch.chdir(tmp_path)
    index([Path("clips")], tmp_path / "l", IndexOptions(("color-histogram",), "", engine=Inline()))
    monkeypatch.chdir(tmp_path / "here")
    extract(tmp_path / "clips", tmp_path / "set", replace(QUICK, labels=str(table)))
    monkeypatch.setattr(labelled, "_labelled", lambda opened, data, labels: opened)
    made = [open_set(tmp_path / "set"), *(open_examples(tmp_path / at, labels=table).examples for at in ("set", "l"))]
    for each in made:
        assert sorted(os.path.basename(name) for name in each.ids) == ["one.mp4", "two.mp4"]
        assert each.label_names == ("a", "t")
        want = [[True, False], [False, True]]
        order = np.argsort([os.path.basename(name) for name in each.ids])
        assert each.labels.dense()[order].tolist() == want


def test_words_of_a_downloader_are_read_and_read_again(tmp_path):
    (tmp_path / "clips").mkdir()
    make_video(tmp_path / "clips" / "A fox [x1].mp4", 20)
    info = tmp_path / "clips" / "A fox [x1].info.json"
    told = {
        "id": "x1", "title": "A fox in snow", "tags": ["fox", "winter"], "categories": ["Pets & Animals"],
        "description": "Buy now", "formats": [{"url": "x"}],
    }  # fmt: skip
    info.write_text(json.dumps(told))
    extract(tmp_path / "clips", tmp_path / "set", QUICK)
    [line] = map(json.loads, (tmp_path / "set" / "words.jsonl").read_text().splitlines())
    assert (line["title"], line["title_from"]) == ("A fox in snow", "sidecar")
    assert line["keywords"] == ["fox", "winter", "Pets & Animals"]
    info.write_text(json.dumps({**told, "title": "Two foxes"}))
    os.utime(info, ns=(2**62, 2**62))
    assert extract(tmp_path / "clips", tmp_path / "set", QUICK).done == 1
    assert json.loads((tmp_path / "set" / "words.jsonl").read_text())["title"] == "Two foxes"


class TestRoom:
    """A worker may take what the weights of its encoders need, as in `index`."""

    @pytest.fixture
    def seen(self, monkeypatch):
        """Limits that runs were begun with."""
        found = []

        def run(*args, limits, **more):
            found.append(limits)
            raise InvalidValueError("stop here")

        monkeypatch.setattr(extracting, "run", run)
        monkeypatch.setattr(ColorHistogram, "size_bytes", 3_000_000_000)
        return found

    def test_where_nobody_said(self, clips, tmp_path, seen):
        with pytest.raises(InvalidValueError, match="stop here"):
            extract(clips / "mute", tmp_path / "a", QUICK)
        args = [str(clips / "mute"), "--encoder", "color-histogram", "--engine", "inline"]
        CliRunner().invoke(command, [*args, "--out", str(tmp_path / "b"), "--timeout", "7"])
        assert [each.memory_bytes for each in seen] == [room_bytes(QUICK.made())] * 2
        assert seen[0].memory_bytes > 2 * 3_000_000_000
        assert [each.total_s for each in seen] == [600, 7]

    def test_where_somebody_said(self, clips, tmp_path, seen):
        args = [str(clips / "mute"), "--encoder", "color-histogram", "--engine", "inline", "--out", str(tmp_path / "b")]
        CliRunner().invoke(command, [*args, "--memory-limit", "2GB"])
        assert seen[0].memory_bytes == 2_000_000_000
        with pytest.raises(InvalidValueError, match="stop here"):
            extract(clips / "mute", tmp_path / "a", replace(QUICK, limits=Limits(memory_bytes=5)))
        assert seen[1].memory_bytes == 5


def test_a_damaged_video_is_named_in_words(tmp_path):
    (tmp_path / "clips").mkdir()
    make_video(tmp_path / "clips" / "good.mp4", 20)
    whole = (tmp_path / "clips" / "good.mp4").read_bytes()
    (tmp_path / "clips" / "half.mp4").write_bytes(whole[: len(whole) // 2])
    done = extract(tmp_path / "clips", tmp_path / "set", QUICK)
    assert list(done.failed.values()) == ["unreadable: half.mp4: damaged, or not what its first bytes say"]
