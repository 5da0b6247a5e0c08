"""What one frame a second costs, beside reading every frame with OpenCV; and whether it is the right frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from lightmeter.media.limits import DEFAULT_LIMITS
from lightmeter.media.pixels import Converter
from lightmeter.media.video import FrameReader
from lightmeter.meter.record import hash_of
from lightmeter.meter.trials import run_trials

SHORT_SIDE = 256
Frames = list[tuple[float, np.ndarray]]
FIRST = "OpenCV, every frame read"


def opencv(path: Path, *, grab: bool) -> Frames:
    """The frame on screen at each second, resized; grab: decode every frame, convert only those (fewer do that)."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    kept: Frames = []
    index = 0
    while True:
        due = index == int(len(kept) * rate + 1e-6)  # these clips have a constant rate
        if grab and not due:
            good, frame = capture.grab(), None
        else:
            good, frame = capture.read()
        if not good:
            break
        if due and frame is not None:
            scale = SHORT_SIDE / min(frame.shape[:2])
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            kept.append((float(len(kept)), small[:, :, ::-1]))
        index += 1
    capture.release()
    return kept


def ours(path: Path) -> Frames:
    """FrameReader at 1 fps."""
    return list(FrameReader(path, fps=1.0, short_side=SHORT_SIDE))


def reference(path: Path) -> Frames:
    """The slow and sure way: PyAV decodes every frame in order; the last one that is not after each second is kept."""
    convert = Converter(SHORT_SIDE, DEFAULT_LIMITS)
    kept: Frames = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        start_s, last, end_s = None, None, 0.0
        for frame in container.decode(video=0):
            time_s = float(frame.pts * frame.time_base)
            start_s = time_s if start_s is None else start_s
            while last is not None and len(kept) + 1e-9 < time_s - start_s:
                kept.append((float(len(kept)), convert(last)))
            last, end_s = frame, time_s - start_s + float((frame.duration or 1) * frame.time_base)
        while len(kept) < end_s - 1e-9:
            kept.append((float(len(kept)), convert(last)))
    return kept


def compare(clips: dict[str, Path], repeats: int) -> list[dict[str, Any]]:
    """Three rows a clip."""
    cv2.setNumThreads(1)
    rows = []
    for name, path in clips.items():
        truth = reference(path)
        calls: dict[str, Callable[[], Frames]] = {
            FIRST: partial(opencv, path, grab=False),
            "OpenCV, grab, retrieve what is kept": partial(opencv, path, grab=True),
            "lightmeter FrameReader": partial(ours, path),
        }
        trials = run_trials(
            calls, {"right frames": partial(right, truth), "equal to the bit": partial(equal, truth)},
            repeats=repeats, least_s=0.3,
        )  # fmt: skip
        facts = {"part": "videos", "clip": name, "seconds": len(truth), "data_hash": hash_of(path)}
        rows += [
            {**facts, **trial.as_json(), "times": round(trials[0].cost.cpu_s / trial.cost.cpu_s, 3)} for trial in trials
        ]
    return rows


def right(truth: Frames, found: Frames) -> float:
    """Share of moments with the reference's frame: equal times, and nearer to it than to its neighbours in time."""
    if [round(t, 6) for t, _ in truth] != [round(t, 6) for t, _ in found]:
        return 0.0
    small = [
        [cv2.resize(f, (64, 36), interpolation=cv2.INTER_AREA).astype(float) for _, f in fs] for fs in (truth, found)
    ]
    hits = 0
    for at, frame in enumerate(small[1]):
        near = range(max(0, at - 1), min(len(truth), at + 2))
        hits += min(near, key=lambda k: float(np.abs(small[0][k] - frame).mean())) == at
    return hits / len(truth)


def equal(truth: Frames, found: Frames) -> float:
    """Share of moments whose frame equals the reference's in every pixel (OpenCV converts otherwise: 0 for it)."""
    pairs = zip(truth, found, strict=False)
    return sum(np.array_equal(a[1], b[1]) for a, b in pairs) / max(len(truth), len(found))
