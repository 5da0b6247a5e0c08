"""The examples run as their first lines say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightmeter.studies.sources import package_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def pictures(tmp_path):
    place = package_folder("skimage")
    if place is None:
        pytest.skip("scikit-image's pictures are not installed: pip install 'lightmeter[demo]'")
    (tmp_path / "pictures").mkdir()
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "brick.png"):
        shutil.copy(place / "data" / name, tmp_path / "pictures")
    return tmp_path / "pictures"


def run(name, *args, cwd):
    command = [sys.executable, EXAMPLES / name, *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_find_pictures(pictures, tmp_path):
    assert "chelsea.png (picture)" in run("find_pictures.py", pictures, "a cat", cwd=tmp_path)


def test_cheapest_encoder(pictures, tmp_path):
    assert "cheapest within 0.05" in run("cheapest_encoder.py", pictures, cwd=tmp_path)
    assert (tmp_path / "frontier.png").stat().st_size > 5000


def test_filters(pictures, tmp_path):
    said = run("filters.py", pictures / "coffee.png", cwd=tmp_path)
    assert "sobel/axis=x: 6 MAC a pixel" in said
    assert (tmp_path / "filters.png").stat().st_size > 50_000


@pytest.mark.parametrize("args", [(), ("a.png", "b.png")])
def test_filters_says_how_it_is_called(tmp_path, args):
    command = [sys.executable, EXAMPLES / "filters.py", *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == "usage: python examples/filters.py PICTURE (it writes filters.png into the folder you are in)\n"
    )


def test_recognise(tmp_path):
    said = run("recognise.py", cwd=tmp_path)
    assert "exact: True" in said
    assert "cheapest here: " in said
    assert "of 597 answered" in said


def test_classify(tmp_path):
    pytest.importorskip("torch")
    told = run("classify.py", cwd=tmp_path)
    assert told.count("GAP") == 4
    assert "on the frontier:" in told


@pytest.mark.parametrize(
    ("args", "said"), [(("--help",), "usage: "), (("none",), "not-a-set: "), (("a", "b"), "usage: ")]
)
def test_classify_says_what_is_wrong(tmp_path, args, said):
    command = [sys.executable, EXAMPLES / "classify.py", *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_segment(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    told = run("segment.py", cwd=tmp_path)
    assert told.count("CPU-ms a frame") == 3
    assert "cheapest with IoU" in told
    assert (tmp_path / "segment.png").stat().st_size > 50_000


@pytest.mark.parametrize(("args", "said"), [(("--help",), "usage: "), (("a",), "usage: "), (("a", "b"), "missing: ")])
def test_segment_says_what_is_wrong(tmp_path, args, said):
    command = [sys.executable, EXAMPLES / "segment.py", *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_condense(tmp_path):
    pytest.importorskip("torch")
    told = run("condense.py", cwd=tmp_path)
    assert told.count("CPU-s") >= 3
    assert "on the frontier:" in told
    assert len(list((tmp_path / "digits-small").glob("[0-4]/*.png"))) == 5


@pytest.mark.parametrize(("args", "said"), [(("a",), "usage: "), (("a", "b"), "FOLDER must be a folder")])
def test_condense_says_what_is_wrong(tmp_path, args, said):
    command = [sys.executable, EXAMPLES / "condense.py", *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
