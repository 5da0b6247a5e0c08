"""Public corpora of broken media, fetched from where this machine gets its packages, never kept in the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PILLOW = "pillow==12.3.0"


def pillow_images(folder: Path) -> int:
    """Pillow's test images, fuzz samples among them, from its source package. Returns how many files."""
    where = folder / "download"
    where.mkdir()
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-binary",
        ":all:",
        "--no-deps",
        PILLOW,
        "-d",
        str(where),
        "-q",
    ]
    _fetch(command, where)
    return _unpack(next(where.glob("*.tar.gz")), "Tests/images/", folder / "pillow")


def exiv2_data(folder: Path) -> int:
    """exiv2's test data from its Debian source package, out of the archive that apt is set up for."""
    apt = shutil.which("apt-get")
    if apt is None:
        pytest.skip("exiv2's test data come through apt-get, which is not here")
    here = folder / "apt"
    for each in ("lists/partial", "cache/archives/partial", "source"):
        (here / each).mkdir(parents=True)
    sources = _source_lists(here)
    options = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State::lists": here / "lists",
        "Dir::Cache": here / "cache", "APT::Sandbox::User": "root",
    }  # fmt: skip
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _fetch([apt, *given, "-q", "update"], here)
    _fetch([apt, *given, "-q", "source", "--download-only", "exiv2"], here / "source")
    return _unpack(next((here / "source").glob("exiv2_*.orig.tar.*")), "test/data/", folder / "exiv2")


def _source_lists(here: Path) -> Path:
    """The machine's own archives, asked for sources instead of binaries."""
    found = sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))
    old = [
        path
        for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list"))
        if path.exists()
    ]
    if found:
        text = "\n\n".join(path.read_text().replace("Types: deb\n", "Types: deb-src\n") for path in found)
        place = here / "own.sources"
    elif old:
        lines = [line for path in old for line in path.read_text().splitlines() if line.startswith("deb ")]
        text = "\n".join("deb-src" + line[3:] for line in lines) + "\n"
        place = here / "own.list"
    else:
        pytest.skip("apt knows of no archive here")
    place.write_text(text)
    return place


def _fetch(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} took over ten minutes")
    if done.returncode:
        pytest.skip(f"cannot be had here: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def _unpack(archive: Path, part: str, target: Path) -> int:
    """Plain files below one folder of an archive, with their folders."""
    count = 0
    with tarfile.open(archive) as members:
        for member in members:
            _, _, inner = member.name.partition("/")
            if not member.isreg() or not inner.startswith(part) or ".." in inner.split("/"):
                continue
            place = target / inner.removeprefix(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            content = members.extractfile(member)
            assert content is not None
            with place.open("wb") as file:
                shutil.copyfileobj(content, file)
            os.utime(place, (member.mtime, member.mtime))
            count += 1
    return count
