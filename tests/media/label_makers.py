"""Frames and masks for tests: things that cross a textured ground before a fixed camera, written as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lightmeter.media.write import write_video
from lightmeter.types import Clip


def street(count=40, height=48, width=64, *, seed=0, noise=3.0, pan=0.0):
    """Frames uint8 [T, H, W, 3] of two striped discs that cross a ground, and where they are: bool [T, H, W].

    pan: by how many pixels a frame the camera moves
    """
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.uniform(40, 210, (16, 20, 3)), np.ones((8, 8, 1))) + rng.normal(0, 6, (128, 160, 3))
    down, right = np.mgrid[:height, :width]
    discs = [(rng.uniform(0, 40, 2), rng.choice([-2.3, 1.7], 2), rng.uniform(6, 9), rng.uniform(0, 255, 3))] * 2
    discs[1] = (rng.uniform(0, 40, 2), rng.choice([-1.9, 2.6], 2), 7.0, rng.uniform(0, 255, 3))
    frames, truth = [], []
    for number in range(count):
        at = round(number * pan) % 40
        frame, inside = ground[at : at + height, at : at + width].copy(), np.zeros((height, width), bool)
        for start, speed, radius, colour in discs:
            y, x = (start + speed * number) % (np.array([height, width]) + 20) - 10
            here = np.hypot(down - y, right - x) < radius
            frame[here] = colour + 25 * np.sign(np.sin(right - x))[here][:, None]
            inside |= here
        frames.append(np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).round().astype(np.uint8))
        truth.append(inside)
    return np.stack(frames), np.stack(truth)


def save(path: Path, pixels: np.ndarray, mode: str = "") -> Path:
    """A picture by its ending; mode: `P`, `1` …, in which it is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def film(path: Path, frames: np.ndarray, fps: float = 10) -> Path:
    """Frames as an MP4 without much loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(Clip(frames, np.arange(len(frames)) / fps), path, fps=fps, crf=4)
    return path


def iou(masks: np.ndarray, truth: np.ndarray) -> float:
    """Of wanted pixels, where judged."""
    judged, wanted = masks != 255, masks == 1
    return float((wanted & truth & judged).sum() / ((wanted | truth) & judged).sum())
