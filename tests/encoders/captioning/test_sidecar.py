"""Captions that lie beside the pictures: which is taken, and what is missing."""

from __future__ import annotations

import json

import pytest

from lightmeter.encoders.captioning.protocol import Captioner
from lightmeter.encoders.captioning.sidecar import Sidecar
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.parts import build


@pytest.fixture
def beside(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    (tmp_path / "metadata.jsonl").write_text(
        json.dumps({"file_name": "cat/1.png", "text": "from the top"})
        + "\n"
        + json.dumps({"file_name": "cat/2.png", "text": " ", "caption": "two\n lines"})
    )
    (tmp_path / "dog" / "metadata.csv").write_text('file_name,Text\n1.png,"a dog, near"\n')
    (tmp_path / "cat" / "1.txt").write_text("from the side")
    (tmp_path / "cat" / "3.txt").write_text("\ufeffa  cat\nasleep\n", "utf-8")
    (tmp_path / "cat" / "4.png.txt").write_bytes(b"caf\xc3\xa9 \xff")
    return tmp_path


def told(folder, *names, **options):
    return Sidecar(folder, **options).caption(None, [""] * len(names), names)


def test_tables_come_first_then_texts(beside):
    names = ["cat/1.png", "cat/2.png", "cat/3.png", "cat/4.png", "dog/1.png", "dog/2.png", "fox/1.png"]
    assert told(beside, *names) == ["from the top", "two lines", "a cat asleep", "café �", "a dog, near", "", ""]


def test_a_column_can_be_named(beside):
    assert told(beside, "cat/1.png", "cat/2.png", column="Caption") == ["from the side", "two lines"]


def test_names_stay_in_the_folder(beside):
    for name in ("../x.png", "/etc/passwd", ""):
        with pytest.raises(InvalidValueError, match="must be paths below the folder"):
            told(beside, name)


def test_links_are_not_followed(beside, tmp_path_factory):
    secret = tmp_path_factory.mktemp("other") / "secret.txt"
    secret.write_text("secret")
    (beside / "cat" / "9.txt").symlink_to(secret)
    assert told(beside, "cat/9.png") == [""]


def test_is_a_captioner(beside):
    made = Sidecar(beside)
    assert isinstance(made, Captioner)
    assert build(made.spec, "captioner") == made
    assert made.short_side == 0, "it looks at no picture"
    made.load()
    before = made.fingerprint
    (beside / "cat" / "3.txt").write_text("another cat")
    assert made.fingerprint != before
    with pytest.raises(InvalidValueError, match="class_names must be 1"):
        made.caption(None, [], ["cat/1.png"])


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingAssetError, match="no folder at .*/none"):
        Sidecar(tmp_path / "none").load()
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(MissingAssetError, match=r"must hold metadata.csv or metadata.jsonl, or a .txt beside"):
        Sidecar(tmp_path).load()
