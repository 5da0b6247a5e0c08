"""The sets of the study `distill`: digits that scikit-learn carries, Fashion-MNIST, and the user's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import asset_called
from lightmeter.condense.image_set import ImageSet, split_classes
from lightmeter.condense.reading import open_image_folder
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.studies.features import Tell
from lightmeter.studies.idx import read_idx
from lightmeter.studies.real_galleries import CLOTHES
from lightmeter.types import Array

DIGITS_SIZE = 16
CLOTHES_SIZE = 32


@dataclass(frozen=True, eq=False)
class DistillSet:
    """learn: what is condensed · test: what students are scored on, seen by nothing else · folder: of `learn`."""

    name: str
    learn: ImageSet
    test: ImageSet
    source: str
    licence: str
    folder: Path | None = None

    @property
    def data_hash(self) -> str:
        """Of all pictures and labels."""
        return hash_of([self.learn.fingerprint, self.test.fingerprint])

    @property
    def said(self) -> str:
        """One line about it."""
        height, width = self.learn.size
        return (
            f"{self.name}: {len(self.learn):,} pictures of {len(self.learn.classes)} classes to condense, "
            f"{len(self.test):,} to score on, {height} × {width} × {self.learn.images.shape[3]} · {self.source}"
        )


def digits(seed: int) -> DistillSet:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 enlarged to 16 × 16; 500 of them are scored on."""
    from PIL import Image as Pillow
    from sklearn.datasets import load_digits

    whole = load_digits()
    small = np.round(whole.images * (255 / 16)).astype(np.uint8)
    side = (DIGITS_SIZE, DIGITS_SIZE)
    pixels = np.stack([np.asarray(Pillow.fromarray(each).resize(side, Pillow.Resampling.BICUBIC)) for each in small])
    images = ImageSet.of(pixels[..., None], whole.target, [str(each) for each in range(10)])
    learn, test = split_classes(images.labels, 500 / len(images), seed)
    source = "scikit-learn, load_digits, enlarged"
    return DistillSet("digits", images.take(learn), images.take(test), source, "CC BY 4.0 (UCI)")


def clothes(most: int, most_tested: int, seed: int) -> DistillSet:
    """Fashion-MNIST padded to 32 × 32: so many of its 60,000 training and 10,000 test pictures, all classes alike.

    Raises MissingAssetError with the command that brings it.
    """
    folder = find("fashion-mnist", check=True)
    learn = _some(_clothes(folder, "train"), most, seed)
    test = _some(_clothes(folder, "t10k"), most_tested, seed)
    asset = asset_called("fashion-mnist")
    return DistillSet("fashion-mnist", learn, test, f"{asset.name}: train → t10k, padded to 32 px", asset.licence)


def _clothes(folder: Path, which: str) -> ImageSet:
    pictures = read_idx(folder / f"{which}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{which}-labels-idx1-ubyte.gz").astype(np.int64)
    return ImageSet.of(padded(pictures, CLOTHES_SIZE)[..., None], labels, CLOTHES)


def _some(images: ImageSet, most: int, seed: int) -> ImageSet:
    if most >= len(images):
        return images
    rows, _ = split_classes(images.labels, 1 - most / len(images), seed)
    return images.take(rows)


def padded(pictures: Array, size: int) -> Array:
    """Pictures uint8 [N, H, W] in the middle of black ones of `size` × `size`."""
    more = [(size - side) // 2 for side in pictures.shape[1:]]
    rest = [size - side - half for side, half in zip(pictures.shape[1:], more, strict=True)]
    return np.pad(pictures, ((0, 0), (more[0], rest[0]), (more[1], rest[1])))


def user_set(folder: Path, work: Path, *, size: int, classes: int, tell: Tell) -> DistillSet:
    """`folder/train/CLASS/*.jpg` and `folder/val/CLASS/*.jpg`, brought to `size`.

    classes: how many there must be, so that a published number is never put beside another set
    Raises InvalidValueError for other classes, and what the reader raises.
    """
    parts = []
    for name in ("train", "val"):
        if not (folder / name).is_dir():
            raise InvalidValueError(f"--data must hold train and val, each with a folder a class, got none at {name}")
        parts.append(open_image_folder(folder / name, size=size, work=work / name, tell=tell).images)
    learn, test = parts
    if learn.classes != test.classes or len(learn.classes) != classes:
        raise InvalidValueError(
            f"train and val must have the same {classes} classes, got {len(learn.classes)} and {len(test.classes)}"
        )
    return DistillSet(folder.name, learn, test, f"your {folder.name}", "as its owner says", folder / "train")
