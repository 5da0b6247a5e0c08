"""metadata.jsonl: what is written is what is read, whole or not at all; classes by name and by table."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.encoders.captioning.class_text import class_text, class_texts, read_class_names
from lightmeter.encoders.captioning.metadata import read_metadata, write_metadata
from lightmeter.errors import InvalidValueError, RejectedFileError


class TestMetadata:
    def test_a_line_a_picture(self, tmp_path):
        rows = [
            {"file_name": "tench/n01 1.JPEG", "text": 'a "fish", été — 魚\n'},
            {"text": "", "file_name": "b/2.png"},
        ]
        path = write_metadata(tmp_path, rows)
        assert path == tmp_path / "metadata.jsonl"
        text = path.read_text("utf-8")
        assert text == (
            '{"file_name": "tench/n01 1.JPEG", "text": "a \\"fish\\", été — 魚\\n"}\n'
            '{"file_name": "b/2.png", "text": ""}\n'
        )
        assert read_metadata(tmp_path) == {"tench/n01 1.JPEG": 'a "fish", été — 魚', "b/2.png": ""}
        assert read_metadata(path, column="none") == {"tench/n01 1.JPEG": "", "b/2.png": ""}

    @settings(max_examples=25)
    @given(st.dictionaries(st.from_regex(r"[a-z]{1,6}/[a-z0-9]{1,6}\.png", fullmatch=True), st.text(max_size=30)))
    def test_comes_back(self, tmp_path_factory, told):
        folder = tmp_path_factory.mktemp("metadata")
        write_metadata(folder, ({"file_name": name, "text": text} for name, text in told.items()))
        assert read_metadata(folder) == {name: " ".join(text.split()) for name, text in told.items()}

    def test_is_whole_or_as_it_was(self, tmp_path):
        write_metadata(tmp_path, [{"file_name": "a.png", "text": "old"}])

        def broken():
            yield {"file_name": "a.png", "text": "new"}
            raise RuntimeError

        with pytest.raises(RuntimeError):
            write_metadata(tmp_path, broken())
        assert read_metadata(tmp_path) == {"a.png": "old"}
        assert [each.name for each in tmp_path.iterdir()] == ["metadata.jsonl"]

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([{"file_name": "../a.png"}], "must be a path below the folder"),
            ([{"file_name": "/a.png"}], "must be a path below the folder"),
            ([{"file_name": "\udcff.png"}], "must be a path below the folder"),
            ([{"text": "a"}], "must be a path below the folder, as class/file.png, got None"),
            ([{"file_name": "a.png"}, {"file_name": "a.png"}], "must come once, got 'a.png' again"),
            ([{"file_name": "a.png", "text": ""}, {"file_name": "b.png"}], "must have the columns file_name, text"),
        ],
    )
    def test_what_nobody_could_read_is_refused(self, tmp_path, rows, said):
        with pytest.raises(InvalidValueError, match=said):
            write_metadata(tmp_path, rows)
        assert not (tmp_path / "metadata.jsonl").exists()

    def test_columns_of_others(self, tmp_path):
        lines = [
            '\ufeff{"file_name": "./a.png", "caption": "a  cat", "label": 3}', "",
            '{"file_name": "b.png", "caption": "x", "text": "y"}', '{"file_name": "c.png", "prompt": ["no"]}',
            '{"file_name": "b.png", "text": "the last one counts"}',
        ]  # fmt: skip
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines), "utf-8")
        assert read_metadata(tmp_path) == {"a.png": "a cat", "b.png": "the last one counts", "c.png": ""}

    @pytest.mark.parametrize("line", ["[1]", "{", '{"text": "a"}', '{"file_name": 3}', b"\xff{}", "[" * 100_000])
    def test_a_line_that_is_none_is_named(self, tmp_path, line):
        raw = line if isinstance(line, bytes) else line.encode()
        (tmp_path / "metadata.jsonl").write_bytes(b'{"file_name": "a.png"}\n' + raw)
        with pytest.raises(RejectedFileError, match=r"unreadable: line 2 of metadata.jsonl must be"):
            read_metadata(tmp_path)

    def test_limits(self, tmp_path):
        with pytest.raises(RejectedFileError, match="missing"):
            read_metadata(tmp_path)
        write_metadata(tmp_path, [{"file_name": f"{at}.png", "text": "x" * 50} for at in range(9)])
        with pytest.raises(RejectedFileError, match="too-large"):
            read_metadata(tmp_path, limit_bytes=200)


class TestClasses:
    @pytest.mark.parametrize(
        ("folder", "text"),
        [("tench", "tench"), ("golden_retriever", "golden retriever"), ("n02102040", "n02102040"), ("0", "0"),
         ("003-cats", "cats"), ("12.Black_Tern", "Black Tern"), ("t-shirt", "t-shirt"), ("_", "_"),
         ("3d_print", "3d print"),
         ("n02086240_Shih-Tzu", "Shih-Tzu"), ("AnkleBoot", "Ankle Boot"), ("été", "été"), ("2024_05", "2024 05")],
    )  # fmt: skip
    def test_names_by_hand(self, folder, text):
        assert class_text(folder) == text

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("names.json", '{"n01440764": "tench, Tinca tinca", "n02102040": "English_springer"}'),
            ("index.json", '{"0": ["n01440764", "tench, Tinca tinca"], "1": ["n02102040", "English_springer"]}'),
            ("names.csv", 'wnid,text\nn01440764,"tench, Tinca tinca"\n\nn02102040,English springer\n'),
            ("names.csv", '\ufeffn01440764,"tench, Tinca tinca"\nn02102040,English springer,more\n'),
            ("names.tsv", "class\tname\nn01440764\ttench, Tinca tinca\nn02102040\tEnglish springer"),
            ("words.txt", "n01440764 tench, Tinca tinca\nn02102040 English_springer\n"),
        ],
    )
    def test_tables(self, tmp_path, name, content):
        (tmp_path / name).write_text(content, "utf-8")
        assert read_class_names(tmp_path / name) == {
            "n01440764": "tench, Tinca tinca", "n02102040": "English springer",
        }  # fmt: skip

    def test_a_list_counts_its_classes(self, tmp_path):
        (tmp_path / "names.json").write_text(json.dumps(["cat", "dog"]))
        assert read_class_names(tmp_path / "names.json") == {"0": "cat", "1": "dog"}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.json", "3"),
            ("a.json", '{"a": 3}'),
            ("a.json", "{"),
            ("a.csv", "only one column\n"),
            ("a.csv", b"\xff,a"),
        ],
    )
    def test_what_is_no_table_is_refused(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RejectedFileError, match="is no table of classes"):
            read_class_names(tmp_path / name)

    def test_other_files_are_refused(self, tmp_path):
        (tmp_path / "a.yaml").write_text("a: b")
        with pytest.raises(InvalidValueError, match="must end in .json, .csv"):
            read_class_names(tmp_path / "a.yaml")
        (tmp_path / "a.csv").write_text("folder,text\n")
        with pytest.raises(InvalidValueError, match="must have rows"):
            read_class_names(tmp_path / "a.csv")
        with pytest.raises(RejectedFileError, match="missing"):
            read_class_names(tmp_path / "none.csv")

    def test_a_table_of_other_classes_is_refused(self):
        assert class_texts(["a_b", "c"], {"c": "sea", "d": "x"}) == {"a_b": "a b", "c": "sea"}
        with pytest.raises(InvalidValueError, match="must name the folders, got none of 'a_b', 'c'"):
            class_texts(["a_b", "c"], {"x": "y"})
