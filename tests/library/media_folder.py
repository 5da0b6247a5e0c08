"""Folders of small real files, made on the spot, for tests of indexing and searching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from lightmeter.engines.inline import Inline
from lightmeter.library.indexing import IndexOptions, index
from lightmeter.media.write import write_video
from lightmeter.report.pictures import wav_bytes
from lightmeter.types import Clip, Sound

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}
QUICK = IndexOptions(encoders=("color-histogram",), words="", engine=Inline())


def picture(path: Path, colour: str, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    """A picture of one colour under a little noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path, quality=95) if path.suffix == ".jpg" else Pillow.fromarray(pixels).save(path)
    return path


def video(path: Path, colours: list[str], fps: int = 5) -> Path:
    """A second of each colour."""
    frames = np.concatenate([np.full((fps, 32, 48, 3), COLOURS[c], np.uint8) for c in colours])
    write_video(Clip(frames, np.arange(len(frames)) / fps), path, fps=fps)
    return path


def sound(path: Path, pitch_hz: float, seconds: float = 1.0) -> Path:
    """A steady tone."""
    t = np.arange(int(8000 * seconds)) / 8000
    samples = (0.4 * np.sin(2 * np.pi * pitch_hz * t)).astype(np.float32)
    path.write_bytes(wav_bytes(Sound(samples, 8000), longest_s=60))
    return path


def gallery(folder: Path, per_colour: int = 3) -> Path:
    """A few pictures of each colour."""
    for colour in COLOURS:
        for at in range(per_colour):
            picture(folder / f"{colour}-{at}.png", colour, seed=at)
    return folder


def indexed(folder: Path, library: Path, options: IndexOptions = QUICK):
    """Index a folder quickly."""
    return index([folder], library, options)
