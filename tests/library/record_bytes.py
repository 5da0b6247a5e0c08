"""Records for the tests: made up, and spelled as TensorFlow spells them."""

import numpy as np

from lightmeter.library.yt8m.records import FrameRecord, Segments, VideoRecord


def videos(count, *, classes=20, seed=0, visual=1024, audio=128):
    rng = np.random.default_rng(seed)
    return [
        VideoRecord(
            f"v{seed}-{at:04d}",
            tuple(sorted(set(rng.integers(0, classes, 3).tolist()))),
            rng.uniform(-1, 1, visual).astype(np.float32),
            rng.uniform(-1, 1, audio).astype(np.float32),
        )
        for at in range(count)
    ]


def framed(count, *, classes=20, seed=0, longest=12, visual=1024, audio=128, segments=False):
    rng = np.random.default_rng(seed)
    made = []
    for at in range(count):
        length = int(rng.integers(6, longest + 1))
        rated = None
        if segments:
            labels = rng.integers(0, classes, 3)
            starts = np.array([0, 0, 5])
            rated = Segments(labels, starts, starts + 5, np.array([1, 0, 1], np.float32))
        made.append(
            FrameRecord(
                f"f{seed}-{at:04d}",
                tuple(sorted(set(rng.integers(0, classes, 2).tolist()))),
                rng.integers(0, 256, (length, visual), dtype=np.uint8),
                rng.integers(0, 256, (length, audio), dtype=np.uint8),
                rated,
            )
        )
    return made


def same_video(a, b):
    return (a.id, a.labels) == (b.id, b.labels) and equal(a.visual, b.visual) and equal(a.audio, b.audio)


def equal(a, b):
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)
