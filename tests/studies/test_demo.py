"""The demo does its whole job on real media, and the doctor tells the truth."""

from __future__ import annotations

import os
import re

import pytest

from lightmeter.errors import InvalidValueError, MissingExtraError
from lightmeter.studies import sources
from lightmeter.studies.demo import run_demo
from lightmeter.studies.doctor import examine
from lightmeter.studies.sources import gather, package_folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if package_folder("skimage") is None:
        pytest.skip("the demo's media are not installed: pip install 'lightmeter[demo]'")
    return run_demo(tmp_path_factory.mktemp("demo") / "out")


def test_every_search_finds_and_nonsense_does_not(demo):
    assert demo.nothing
    found = {title: count for title, count in demo.answers.items() if title != "Nothing to find"}
    assert len(found) >= 4
    assert all(found.values()), found


def test_the_page_is_one_file_that_loads_nothing(demo):
    text = demo.page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "<script" not in text
    assert len(text) < 3_000_000
    for said in ("chelsea.png", "CPU", "Nothing here is near enough", "Labelled", "Duplicates"):
        assert said in text


def test_the_demo_says_its_price(demo):
    assert "CPU-s" in demo.summary
    assert demo.as_json()["cost"]["cpu_s"] > 0


def test_the_demo_deletes_nothing_of_others(tmp_path):
    dear = tmp_path / "media" / "wedding.jpg"
    dear.parent.mkdir()
    dear.write_bytes(b"dear")
    with pytest.raises(InvalidValueError, match="must be empty or the folder of an earlier demo"):
        run_demo(tmp_path)
    assert dear.read_bytes() == b"dear"
    assert os.listdir(tmp_path) == ["media"]


def test_the_demo_takes_its_own_folder_again(tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def gathers(folder, seed):
        assert not folder.exists(), "what the last demo left is gone"
        folder.mkdir()
        (folder / "old.png").touch()
        raise StopError

    monkeypatch.setattr("lightmeter.studies.demo.gather", gathers)
    for _ in range(2):
        with pytest.raises(StopError):
            run_demo(tmp_path / "new")


def test_links_lead_the_demo_nowhere(tmp_path, monkeypatch):
    dear = tmp_path / "dear"
    dear.mkdir()
    (dear / "wedding.jpg").write_bytes(b"dear")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lightmeter-demo").touch()
    (out / "media").symlink_to(dear)
    monkeypatch.setattr(sources, "package_folder", lambda name: None)
    monkeypatch.setattr(sources, "find_or_none", lambda name: None)
    with pytest.raises(MissingExtraError):
        run_demo(out)
    assert (os.listdir(dear), (out / "media").is_symlink()) == (["wedding.jpg"], False)
    (out / ".lightmeter-demo").unlink()
    (out / ".lightmeter-demo").symlink_to(dear / "wedding.jpg")
    with pytest.raises(InvalidValueError, match="must be empty"):
        run_demo(out)
    assert (dear / "wedding.jpg").read_bytes() == b"dear"


def test_without_packages_the_demo_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "package_folder", lambda name: None)
    monkeypatch.setattr(sources, "find_or_none", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lightmeter\[demo\]'"):
        gather(tmp_path / "media")


def test_stamps_come_with_their_words_and_sounds(tmp_path, data_folder):
    data_folder("tuxpaint-stamps")
    gathered = gather(tmp_path / "media")
    names = {file.suffix for file in (tmp_path / "media" / "stamps").iterdir()}
    assert {".png", ".txt"} <= names
    assert gathered.sources["tuxpaint-stamps"] >= 60


def test_the_doctor_tells_what_is_missing_and_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path))
    told = examine(roofline=False)
    missing = {row["asset"]: row["install"] for row in told.assets if row["state"] == "missing"}
    assert missing["aisfx"] == "lightmeter assets add aisfx"
    assert all(row["install"] for row in told.packages if row["version"] == "missing")
    assert "Decoders" in told.text()
    assert told.as_json()["roofline"] is None


def test_the_doctor_warns_of_what_breaks(monkeypatch):
    from lightmeter.studies import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "0.1" if name == "torchvision" else real(name))
    assert any("pip uninstall torchvision" in warning for warning in examine(roofline=False).warnings)
