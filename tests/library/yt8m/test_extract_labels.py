"""Labels of extracted videos, from folders or from a table; what is no table is refused."""

from __future__ import annotations

import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.library.yt8m.extract_labels import id_of, label_videos, place_labels


class TestLabels:
    def test_of_a_table(self, tmp_path):
        table = tmp_path / "labels.csv"
        table.write_text('path,labels\na/x.mp4,red; round\n./b.mp4,red\n"c,d.mp4",\ngone.mp4,blue\n')
        found = label_videos(["a/x.mp4", "b.mp4", "c,d.mp4"], str(table))
        assert found.names == ("red", "round")
        assert found.labels.dense().astype(int).tolist() == [[1, 1], [1, 0], [0, 0]]
        assert found.notes == (
            f"lines of {table} that are of nothing here, left out: 1, as 'gone.mp4'", "videos without a label: 1 of 3",
        )  # fmt: skip

    def test_that_another_set_does_not_know_get_classes_after_its_own(self, tmp_path):
        table = tmp_path / "labels.csv"
        table.write_text("a/x.mp4,red;round\nb.mp4,red\nc.mp4,blue\n")
        kept = label_videos(["a/x.mp4", "b.mp4", "c.mp4"], str(table), names=["square", "red"])
        assert kept.names == ("square", "red", "blue", "round")
        assert kept.labels.dense().astype(int).tolist() == [[0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]
        assert any(note.startswith("labels that the set of --like does not know: 2, as 'blue'") for note in kept.notes)
        assert any("videos that have one: 2." in note for note in kept.notes)
        same = label_videos(["b.mp4"], str(table), names=["square", "red"])
        assert same.names == ("square", "red")
        assert not any("--like" in note for note in same.notes)

    @pytest.mark.parametrize("text", ["a,b,c\n", 'a,"b\n', "\xff"])
    def test_that_are_no_table_are_refused(self, tmp_path, text):
        (tmp_path / "l.csv").write_text(text, "latin-1")
        with pytest.raises(InvalidValueError, match="path,label;label|must be a CSV file in UTF-8"):
            label_videos(["a"], str(tmp_path / "l.csv"))

    def test_must_label_something(self, tmp_path):
        with pytest.raises(InvalidValueError, match="--labels folders must label a video, got none: put videos into"):
            label_videos(["a.mp4"], "folders")
        with pytest.raises(InvalidValueError, match="--labels must be `folders` or a CSV file, got .* no file"):
            label_videos(["a.mp4"], str(tmp_path / "missing.csv"))


LONG = "d/" + "x" * 200 + ".mp4"


class TestPlaces:
    """A table lies in `there/tables`, the videos in `there/clips`, and we are in `there/here`."""

    @pytest.fixture
    def there(self, tmp_path, monkeypatch):
        for name in ("tables", "clips/a", "here"):
            (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "here")
        return tmp_path

    FORMS = (
        "a/x.mp4", "./a/x.mp4", "a//x.mp4", "a/../a/x.mp4", "../clips/a/x.mp4", "{there}/clips/a/x.mp4",
        "{there}/here/../clips/./a/x.mp4",
    )  # fmt: skip

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("kind", ["ids", "paths"])
    def test_are_found_whatever_they_are_called_by(self, there, form, kind):
        table = there / "tables" / "l.csv"
        table.write_text(f"id,labels\n{form.format(there=there)},red\n")
        clips = there / "clips"
        known = {"ids": {"a/x.mp4": 7}, "paths": {f"{clips}/a/x.mp4": 7}}
        placed = place_labels(table, **{kind: known[kind]}, folders=(str(clips),))
        assert (placed.labels, placed.strangers, placed.notes) == ({7: ["red"]}, (), ())

    def test_that_are_long_are_found_by_the_id_that_stands_for_them(self, there):
        table = there / "tables" / "l.csv"
        for form in (LONG, f"../clips/{LONG}", id_of(LONG)):
            table.write_text(f"{form},red\n")
            assert place_labels(table, ids={id_of(LONG): 0}, folders=(f"{there}/clips",)).labels == {0: ["red"]}

    def test_as_seen_from_the_table_come_first(self, there):
        table = there / "clips" / "a" / "l.csv"
        table.write_text("x.mp4,inner\n")
        for known in (
            {"ids": {"x.mp4": 0, "a/x.mp4": 1}},
            {"paths": {f"{there}/clips/{at}x.mp4": n for n, at in enumerate(("", "a/"))}},
        ):
            assert place_labels(table, **known, folders=(f"{there}/clips",)).labels == {1: ["inner"]}

    def test_lines_of_one_thing_are_joined(self, there):
        table = there / "tables" / "l.csv"
        table.write_text(f"a/x.mp4,red\n{there}/clips/a/x.mp4,round\nnobody,blue\n")
        placed = place_labels(table, ids={"a/x.mp4": 0}, folders=(f"{there}/clips",))
        assert (placed.labels, placed.strangers) == ({0: ["red", "round"]}, ("nobody",))

    def test_ids_need_no_folder(self, there):
        table = there / "tables" / "l.csv"
        table.write_text("vid1,red\n./vid2,blue\n")
        assert place_labels(table, ids={"vid1": 0, "vid2": 1}).labels == {0: ["red"], 1: ["blue"]}

    def test_none_of_which_is_here_are_refused(self, there):
        table = there / "tables" / "l.csv"
        table.write_text("elsewhere/x.mp4,red\n")
        with pytest.raises(
            InvalidValueError, match=r"--labels must name what is there, .*, as 'elsewhere/x.mp4': write"
        ):
            place_labels(table, ids={"a/x.mp4": 0}, folders=(f"{there}/clips",))
