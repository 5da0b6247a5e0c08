"""Small sets for other programs: one .npz, and the files that DD-Ranking scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.condense.attempts import as_learnt
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condensed
from lightmeter.parts import need
from lightmeter.types import Array

_ROWS = 4096
FORMS = ("npz", "dd-ranking")
"""What `export` writes beside the folder of pictures, which is an imagefolder already."""


def export(form: str, folder: Path, small: Condensed, source: ImageSet) -> list[Path]:
    """Write a form into a folder: the files that were written."""
    return _WRITERS[form](folder, small, source)


def write_npz(folder: Path, small: Condensed, source: ImageSet) -> list[Path]:
    """condensed.npz: images uint8 [M, H, W, C], labels int64 [M], classes, and soft_labels and formation where set.

    No array of it holds objects: `numpy.load(path)` reads it as it is.
    """
    path = folder / "condensed.npz"
    arrays = {"images": small.images, "labels": small.labels, "classes": np.array(source.classes, np.str_)}
    if small.soft is not None:
        arrays["soft_labels"] = small.soft.astype(np.float32)
    if small.formation > 1:
        arrays["formation"] = np.array(small.formation)
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return [path]


@dataclass(frozen=True, slots=True)
class Normal:
    """Mean and standard deviation of each channel of a set, 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normal_of(images: Array) -> Normal:
    """Of uint8 [N, H, W, C], a block at a time; a channel that never changes has deviation 1."""
    sums = np.zeros((2, images.shape[-1]))
    for start in range(0, len(images), _ROWS):
        block = images[start : start + _ROWS].reshape(-1, images.shape[-1]).astype(np.float64) / 255
        sums += np.stack([block.sum(axis=0), (block**2).sum(axis=0)])
    mean, square = sums / (images.size / images.shape[-1])
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return Normal(tuple(mean.tolist()), tuple(np.where(deviation > 1e-6, deviation, 1.0).tolist()))


def write_dd_ranking(folder: Path, small: Condensed, source: ImageSet) -> list[Path]:
    """dd-ranking/: images.pt, hard_labels.pt, soft_labels.pt where there are some, and config.yaml.

    images: float32 [M, 3, H, W], class after class, normalised by mean and deviation of the whole set, as DD-Ranking's
    real pictures are; grey is repeated, for its networks take three channels · labels: int64 [M], float32 [M, classes]
    The files hold one tensor each, which `torch.load(path, weights_only=True)` reads.
    Source: DD-Ranking 0.2.0, configs/ and `metrics` (formats alone).
    """
    torch, small = need("torch", "torch"), as_learnt(small)
    place = folder / "dd-ranking"
    place.mkdir()
    normal = normal_of(source.images)
    order = np.argsort(small.labels, kind="stable")
    pixels = (small.images[order] / 255 - np.array(normal.mean)) / np.array(normal.std)
    channels = np.repeat(pixels, 3 // pixels.shape[-1], axis=-1).transpose(0, 3, 1, 2)
    tensors = {"images": channels.astype(np.float32), "hard_labels": small.labels[order]}
    if small.soft is not None:
        tensors["soft_labels"] = small.soft[order].astype(np.float32)
    for name, array in tensors.items():
        torch.save(torch.from_numpy(np.ascontiguousarray(array)), place / f"{name}.pt")
    (place / "config.yaml").write_text(_config(small, source, normal), "utf-8")
    return [*(place / f"{name}.pt" for name in tensors), place / "config.yaml"]


_ASKED = {
    "dataset": "name of DD-Ranking's own reader of the real data",
    "real_data_path": "where that reader finds it",
}
"""Settings that only the user knows."""


def _config(small: Condensed, source: ImageSet, normal: Normal) -> str:
    """DD-Ranking's settings of a hard-label score; what only the user knows is marked."""
    settings: dict[str, Any] = {
        "dataset": "CHANGE-ME", "real_data_path": "./dataset/", "ipc": int(np.bincount(small.labels).max()),
        "im_size": list(source.size), "model_name": "ConvNet-3", "use_torchvision": False, "data_aug_func": "dsa",
        "aug_params": {
            "flip": 0.5, "rotate": 15.0, "saturation": 2.0, "brightness": 1.0, "contrast": 0.5, "scale": 1.2,
            "crop": 0.125, "cutout": 0.5,
        },
        "use_zca": False, "custom_train_trans": None, "optimizer": "sgd", "lr_scheduler": "step", "step_size": 500,
        "weight_decay": 0.0005, "momentum": 0.9, "num_eval": 5, "num_epochs": 1000, "syn_batch_size": 128,
        "real_batch_size": 256, "default_lr": 0.01, "num_workers": 4, "device": "cuda", "dist": False,
        "random_data_path": "./random_data.pt", "random_data_format": "tensor", "save_path": "./hard_label_scores.csv",
    }  # fmt: skip
    mean, std = ([round(each, 6) for each in _three(values)] for values in (normal.mean, normal.std))
    head = f"# {len(small)} pictures of {len(source.classes)} classes, by `lightmeter condense --export dd-ranking`.\n"
    lines = (
        f"{name}: {json.dumps(value)}{f'  # {_ASKED[name]}' if name in _ASKED else ''}\n"
        for name, value in settings.items()
    )
    return (
        f"{head}{''.join(lines)}custom_val_trans:  # images.pt is normalised by the same numbers\n"
        f"  - {{name: ToTensor}}\n  - {{name: Normalize, args: {{mean: {mean}, std: {std}}}}}\n"
    )


def _three(values: Sequence[float]) -> Sequence[float]:
    return values if len(values) == 3 else (*values, *values, *values)


_WRITERS: dict[str, Callable[[Path, Condensed, ImageSet], list[Path]]] = {
    "npz": write_npz,
    "dd-ranking": write_dd_ranking,
}
