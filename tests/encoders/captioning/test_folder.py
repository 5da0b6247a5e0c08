"""A folder through the executor: what is written, what fails, and that a killed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from lightmeter.encoders.captioning.attributes import Attributes, FittedAttributes
from lightmeter.encoders.captioning.folder import CaptionOptions, caption_folder, limits_of
from lightmeter.encoders.captioning.metadata import read_metadata
from lightmeter.encoders.captioning.sidecar import Sidecar
from lightmeter.engines.inline import Inline
from lightmeter.engines.limits import Limits
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.parts import build

HERE = CaptionOptions(engine=Inline())


def test_every_picture_has_a_line(gallery, tmp_path, made):
    folder = gallery()
    ended = caption_folder(folder, Attributes(), tmp_path / "work", HERE)
    assert (ended.done, ended.unchanged, ended.empty, ended.failed, ended.stopped) == (6, 0, 0, {}, False)
    assert ended.metadata == tmp_path / "work" / "metadata.jsonl"
    told = read_metadata(tmp_path / "work")
    names = [f"{name}/{at}.png" for name in ("dog", "my_cat") for at in range(3)]
    assert sorted(told) == names
    pictures = [made((100 if name.startswith("dog") else 0) + int(name[-5])) for name in names]
    assert [told[name] for name in names] == Attributes().caption(pictures, ["dog"] * 3 + ["my cat"] * 3, names), (
        "as they are captioned in memory"
    )
    assert isinstance(ended.captioner, FittedAttributes)
    assert ended.captioner == Attributes().fit(pictures)
    assert not (folder / "metadata.jsonl").exists(), "the user's folder is left alone"


def test_it_goes_on_with_what_is_new(gallery, tmp_path):
    folder, work = gallery(each=2), tmp_path / "work"
    caption_folder(folder, Attributes(), work, HERE)
    before = read_metadata(work)
    assert caption_folder(folder, Attributes(), work, HERE).done == 0
    assert read_metadata(work) == before
    gallery(classes=("fox",), each=1)
    (folder / "dog" / "0.png").rename(folder / "dog" / "9.png")
    ended = caption_folder(folder, Attributes(), work, HERE)
    assert (ended.done, ended.unchanged) == (2, 3)
    assert sorted(read_metadata(work)) == ["dog/1.png", "dog/9.png", "fox/0.png", "my_cat/0.png", "my_cat/1.png"]


def test_another_class_text_is_another_caption(gallery, tmp_path):
    folder, work = gallery(each=1), tmp_path / "work"
    named = CaptionOptions(engine=Inline(), class_names={"my_cat": "Felis catus"})
    caption_folder(folder, Attributes(), work, named)
    told = read_metadata(work)
    assert told["my_cat/0.png"].startswith("The Felis catus in the image")
    assert told["dog/0.png"].startswith("The dog in the image")


def test_odd_files_fail_alone_and_are_named(gallery, tmp_path):
    from PIL import Image as Pillow

    folder, work = gallery(each=1), tmp_path / "work"
    (folder / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    (folder / "dog" / "notes.txt").write_text("not a picture")
    (folder / "dog" / ".hidden.png").write_bytes(b"")
    (folder / "dog" / "link.png").symlink_to(folder / "my_cat" / "0.png")
    (folder / "top.png").write_bytes((folder / "dog" / "0.png").read_bytes())
    Pillow.new("CMYK", (9, 9), (0, 200, 200, 0)).save(folder / "dog" / "cmyk.jpg")
    Pillow.new("L", (1, 1)).save(folder / "dog" / "tiny.png")
    os.makedirs(os.fsencode(folder) + b"/b\xff")
    with open(os.fsencode(folder) + b"/b\xff/1.png", "wb") as file:
        file.write((folder / "dog" / "0.png").read_bytes())
    ended = caption_folder(folder, Attributes(), work, HERE)
    reasons = {name: reason.partition(":")[0] for name, reason in ended.failed.items()}
    assert reasons == {
        "dog/broken.png": "unreadable", "dog/empty.jpg": "empty", "dog/link.png": "not-a-file", "b\\xff/1.png": "name",
    }  # fmt: skip
    told = read_metadata(work)
    assert sorted(told) == ["dog/0.png", "dog/cmyk.jpg", "dog/tiny.png", "my_cat/0.png", "top.png"]
    assert told["top.png"].startswith("The object in the image")
    again = caption_folder(folder, Attributes(), work, HERE)
    assert {**again.failed} == {**ended.failed}, "they are still said"
    assert again.done == 0
    gallery(classes=("dog",), each=1)
    assert caption_folder(folder, Attributes(), work, CaptionOptions(engine=Inline(), retry=True)).failed.keys() == (
        ended.failed.keys()
    )


def test_captions_beside_are_gathered_and_missing_ones_counted(gallery, tmp_path):
    folder = gallery(each=2)
    (folder / "dog" / "0.txt").write_text("a dog")
    ended = caption_folder(folder, Sidecar(folder), tmp_path / "work", HERE)
    assert (ended.done, ended.empty) == (4, 3)
    assert read_metadata(tmp_path / "work")["dog/0.png"] == "a dog"
    (folder / "dog" / "1.txt").write_text("another")
    assert caption_folder(folder, Sidecar(folder), tmp_path / "work", HERE).empty == 2


def test_a_model_through_the_executor(gallery, tmp_path, model_folder):
    folder, work = gallery(each=2), tmp_path / "work"
    captioner = build(f"vlm/folder='{model_folder('vlm')}',max_tokens=4", "captioner")
    seen = []

    def events(event, to_do):
        seen.append((event.kind, event.counts.done, to_do))

    ended = caption_folder(folder, captioner, work, HERE, events=events, stop=lambda: len(seen) > 2)
    assert ended.stopped
    assert ended.metadata is None, "half a table is none"
    done = ended.done
    assert 0 < done < 4
    assert seen[0] == ("start", 0, 4)
    ended = caption_folder(folder, captioner, work, HERE)
    assert (ended.done, ended.unchanged) == (4 - done, done)
    told = read_metadata(work)
    from lightmeter.media.images import read_image

    picture = read_image(folder / "dog" / "1.png").value.pixels
    assert captioner.caption([picture], ["dog"], ["dog/1.png"]) == [told["dog/1.png"]]


@pytest.mark.slow
def test_a_model_in_a_worker(gallery, tmp_path, model_folder):
    folder = gallery(each=2)
    captioner = build(f"llava/folder='{model_folder('llava')}',max_tokens=4,published=true", "captioner")
    ended = caption_folder(folder, captioner, tmp_path / "work")
    assert (ended.done, ended.failed) == (4, {})
    caption_folder(folder, captioner, tmp_path / "here", HERE)
    assert read_metadata(tmp_path / "work") == read_metadata(tmp_path / "here")


KILLED = """
import os, signal, sys
from pathlib import Path
from lightmeter.encoders.captioning.attributes import Attributes
from lightmeter.encoders.captioning.folder import CaptionOptions, caption_folder
from lightmeter.engines.inline import Inline

def die(event, to_do):
    if event.kind == "batch":
        os.kill(os.getpid(), signal.SIGKILL)

caption_folder(Path(sys.argv[1]), Attributes(), Path(sys.argv[2]), CaptionOptions(engine=Inline()), events=die)
"""


def test_a_killed_run_goes_on(gallery, tmp_path):
    """Killed after its first batch of 64: those are kept, the rest is done, and the end is as without the kill."""
    folder, work = gallery(each=40), tmp_path / "work"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(work)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (work / "metadata.jsonl").exists()
    ended = caption_folder(folder, Attributes(), work, HERE)
    assert (ended.done, ended.unchanged) == (16, 64)
    caption_folder(folder, Attributes(), tmp_path / "other", HERE)
    assert (work / "metadata.jsonl").read_bytes() == (tmp_path / "other" / "metadata.jsonl").read_bytes()


def test_in_workers_it_is_the_same(gallery, tmp_path):
    folder = gallery(each=3)
    caption_folder(folder, Attributes(), tmp_path / "here", HERE)
    ended = caption_folder(folder, Attributes(), tmp_path / "work", CaptionOptions(engine=build("local/workers=1")))
    assert ended.done == 6
    assert (tmp_path / "work" / "metadata.jsonl").read_bytes() == (tmp_path / "here" / "metadata.jsonl").read_bytes()


class TestPlaces:
    def test_a_folder_without_pictures_is_refused(self, tmp_path):
        with pytest.raises(InvalidValueError, match="must be a folder with pictures"):
            caption_folder(tmp_path / "none", Attributes(), tmp_path / "work", HERE)
        with pytest.raises(InvalidValueError, match="must hold pictures"):
            caption_folder(tmp_path, Attributes(), tmp_path / "work", HERE)

    def test_nobodys_table_is_overwritten(self, gallery, tmp_path):
        folder = gallery(each=1)
        with pytest.raises(InvalidValueError, match="work must be a folder of its own"):
            caption_folder(folder, Attributes(), folder, HERE)
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "metadata.jsonl").write_text("mine")
        with pytest.raises(InvalidValueError, match="work must be a folder of its own"):
            caption_folder(folder, Attributes(), tmp_path / "work", HERE)
        assert (tmp_path / "work" / "metadata.jsonl").read_text() == "mine"

    def test_a_work_folder_inside_is_left_out(self, gallery):
        folder = gallery(each=1)
        caption_folder(folder, Attributes(), folder / "work", HERE)
        assert len(read_metadata(folder / "work")) == 2

    def test_a_missing_model_is_named_before_any_picture(self, gallery, tmp_path):
        missing = build(f"blip/folder='{tmp_path / 'none'}'", "captioner")
        with pytest.raises(MissingAssetError, match=r"lacks config.json, tokenizer.json"):
            caption_folder(gallery(each=1), missing, tmp_path / "work", HERE)

    def test_limits(self, model_folder):
        assert limits_of(Attributes()) == Limits()
        small = build(f"vlm/folder='{model_folder('vlm')}'", "captioner")
        on_gpu = build(f"vlm/folder='{model_folder('vlm')}',device=cuda", "captioner")
        assert limits_of(small).memory_bytes > 2_000_000_000
        assert limits_of(on_gpu).memory_bytes - limits_of(small).memory_bytes == 32_000_000_000
        assert limits_of(small).silent_s > Limits().silent_s


def test_measures_fill_no_memory_by_themselves(gallery, tmp_path):
    """What is kept of a picture is 44 bytes of measures, not pixels."""
    import sqlite3

    caption_folder(gallery(each=1), Attributes(), tmp_path / "work", HERE)
    with sqlite3.connect(tmp_path / "work" / "ledger.sqlite") as connection:
        kept = connection.execute("SELECT measures, text FROM captions").fetchall()
    connection.close()
    assert [(len(measures), text) for measures, text in kept] == [(44, ""), (44, "")]
    assert np.isfinite(np.frombuffer(kept[0][0], "<f4")).all()
