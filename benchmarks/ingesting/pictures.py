"""How many pictures a CPU-second: the naive loop, stronger peers, our decode + encode, and the whole indexing stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from lightmeter.assets.finding import find
from lightmeter.engines.stage import Task
from lightmeter.library.indexing import DEFAULT_ENCODERS, DEFAULT_WORDS
from lightmeter.library.stage import IndexStage
from lightmeter.library.store import open_library
from lightmeter.media.images import read_image
from lightmeter.meter.record import hash_of
from lightmeter.meter.trials import Trial, run_trials
from lightmeter.nets.lite_plan import CROP_FRACTION
from lightmeter.parts import build

SIDE, RESIZED = 224, 256


def naive(path: Path) -> np.ndarray:
    """What one writes first: Pillow, everything decoded, torch eager, one picture at a time. float32 [1000]"""
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(_normed(_pillow(path, draft=False)))
        return _torch_net()(pixels.permute(2, 0, 1)[None])[0].numpy()


def pillow_full(path: Path) -> np.ndarray:
    """The same with onnxruntime instead of torch."""
    return _onnx(_pillow(path, draft=False))


def pillow_draft(path: Path) -> np.ndarray:
    """Pillow's scaled decode, onnxruntime: what an expert writes."""
    return _onnx(_pillow(path, draft=True))


def opencv_reduced(path: Path) -> np.ndarray:
    """OpenCV's half-size decode, onnxruntime; no gate against hostile files, EXIF by OpenCV, no colour profile."""
    import cv2

    pixels = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)[:, :, ::-1]
    high, wide = pixels.shape[:2]
    side = int(CROP_FRACTION * min(high, wide))
    top, left = (high - side) // 2, (wide - side) // 2
    crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return _onnx(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def ours(path: Path) -> np.ndarray:
    """read_image + EfficientNetLite.encode + its head."""
    encoder = _encoder()
    return encoder.scores(encoder.encode([read_image(path, short_side=encoder.short_side).value]))[0]


def _pillow(path: Path, *, draft: bool) -> np.ndarray:
    with Pillow.open(path) as opened:
        if draft:
            opened.draft("RGB", (RESIZED, RESIZED))
        picture = opened.convert("RGB")
    scale = RESIZED / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Pillow.Resampling.BICUBIC)
    left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
    return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))


def _normed(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) - 127) / 128


def _onnx(pixels: np.ndarray) -> np.ndarray:
    encoder = _encoder()
    return encoder.scores(encoder._session().run(None, {"pixels": pixels[None]})[0])[0]


@cache
def _torch_net() -> Any:
    import torch

    from lightmeter.nets.efficientnet_lite import load_efficientnet_lite

    torch.set_num_threads(1)
    return load_efficientnet_lite(find("efficientnet-lite0"))


@cache
def _encoder() -> Any:
    encoder = build("efficientnet-lite", "encoder")
    encoder.load()
    return encoder


CANDIDATES: dict[str, Callable[[Path], np.ndarray]] = {
    "naive: Pillow full + torch eager": naive,
    "Pillow full + onnxruntime": pillow_full,
    "Pillow draft + onnxruntime": pillow_draft,
    "OpenCV reduced + onnxruntime": opencv_reduced,
    "lightmeter: read_image + encode": ours,
}


def compare(files: Sequence[Path], folder: Path, repeats: int) -> list[dict[str, Any]]:
    """One row a candidate: pictures a CPU-second, times the naive loop, agreement with its top-1."""
    stage = opened_stage(folder)
    calls: dict[str, Callable[[], Any]] = {
        name: (lambda call=call: [call(path) for path in files]) for name, call in CANDIDATES.items()
    }
    calls["lightmeter: whole indexing stage"] = lambda: whole(stage, files)
    reference = np.array([naive(path) for path in files]).argmax(axis=1)
    trials = run_trials(
        calls, {"same top-1 as naive": lambda rows: agreement(np.asarray(rows), reference)}, repeats=repeats
    )
    rows = [{**trial.as_json(), **speed(trial, trials[0], len(files))} for trial in trials]
    return [{"part": "pictures", "files": len(files), "data_hash": hash_of([*files]), **row} for row in rows]


def opened_stage(folder: Path) -> IndexStage:
    """The stage that `lightmeter index` runs by default, on an empty library."""
    open_library(folder, create=True).close()
    stage = IndexStage(DEFAULT_ENCODERS, DEFAULT_WORDS, folder)
    stage.open()
    return stage


def whole(stage: IndexStage, files: Sequence[Path]) -> np.ndarray:
    """All that indexing does with a file short of writing it down: hash, facts, words, three encoders, a beat."""
    tasks = [
        Task(str(path), {"path": str(path), "root": str(path.parent), "size_bytes": 0, "stamp_ns": 0}) for path in files
    ]
    outcomes = stage.run(tasks, lambda: None)
    spec = _encoder().spec
    return _encoder().scores(np.concatenate([outcome.value["features"][spec][0] for outcome in outcomes]))


def agreement(scores: np.ndarray, reference: np.ndarray) -> float:
    """Share of rows whose best class is the reference's."""
    return float(np.mean(scores.argmax(axis=1) == reference))


def speed(trial: Trial, first: Trial, count: int) -> dict[str, float]:
    """Pictures a CPU-second, and how many times the first candidate's that is."""
    return {
        "per_cpu_s": round(count / trial.cost.cpu_s, 2),
        "times": round(first.cost.cpu_s / trial.cost.cpu_s, 3),
    }


def quality(found: dict[str, list[Path]], folder: Path) -> list[dict[str, Any]]:
    """Natural photographs: does our short way see what the full decode sees? One row a source, and one for all.

    Each photograph as it lies, and three seeded crops of it (50 to 100 % of its sides, JPEG of quality 95).
    """
    counted: dict[str, list[tuple[bool, bool]]] = {}
    differ = []
    for source, paths in found.items():
        crops = [each for path in paths for each in crops_of(path, folder / source.replace("/", "-"))]
        for title, files in ((source, paths), (f"{source}, crops", crops)):
            marks = counted.setdefault(title, [])
            for path in files:
                full, mine = naive(path), ours(path)
                best = int(full.argmax())
                marks.append((best == mine.argmax(), best in np.argsort(-mine)[:5]))
                if not marks[-1][0]:
                    gap = float(np.diff(np.sort(full)[-2:])[0])
                    differ.append({"photo": crop_name(path), "lead_of_the_full_decodes_class": round(gap, 3)})
    kinds = {"as they lie": lambda name: "crops" not in name, "crops": lambda name: "crops" in name, "all": bool}
    for kind, chosen in kinds.items():
        counted[kind] = [
            mark for name, marks in counted.items() if name not in kinds and chosen(name) for mark in marks
        ]
    rows: list[dict[str, Any]] = [{"part": "top-1", "source": name, **shares(marks)} for name, marks in counted.items()]
    rows[-1]["differ"] = differ
    return rows


def shares(marks: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """Counts and shares of (same best class, within the first five)."""
    same, near = (int(sum(column)) for column in zip(*marks, strict=True))
    return {
        "photos": len(marks), "same_top1": same, "top1_in_top5": near,
        "share_same": round(same / len(marks), 4), "share_in_top5": round(near / len(marks), 4),
    }  # fmt: skip


def crops_of(path: Path, folder: Path, count: int = 3) -> list[Path]:
    """Real pixels, nothing resized: seeded by the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(crop_name(path).encode()))
    with Pillow.open(path) as opened:
        picture = opened.convert("RGB")
    made = []
    for number in range(count):
        share = rng.uniform(0.5, 1.0)
        wide, high = int(picture.width * share), int(picture.height * share)
        left, top = rng.integers(0, picture.width - wide + 1), rng.integers(0, picture.height - high + 1)
        made.append(folder / f"{crop_name(path).partition('.')[0]}-{number}.jpg")
        picture.crop((left, top, left + wide, top + high)).save(made[-1], quality=95)
    return made


def crop_name(path: Path) -> str:
    """The file's name; of Plasma's wallpapers, which are all called alike, the folder's."""
    return path.parents[2].name if path.name == "2560x1600.jpg" else path.name
