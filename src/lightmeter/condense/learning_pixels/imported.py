"""Small sets that were made elsewhere (MTT, DATM, …), read as data: tensors with their labels, or a folder a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.condense.exporting import Normal, normal_of
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.learning_pixels.pixels import shares
from lightmeter.condense.picture_stage import squared
from lightmeter.condense.protocol import Condensed, Material
from lightmeter.encoders.by_path import content_sha256
from lightmeter.errors import InvalidValueError, RejectedFileError, nearest
from lightmeter.library.scan import scan
from lightmeter.media.images import read_image
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.parts import Spelled
from lightmeter.types import Array

Values = Literal["unit", "normalised", "bytes"]
_ENDINGS = (".pt", ".pth", ".safetensors")
_LABELS = ("hard_labels", "labels", "soft_labels")
_SURE = 0.25
"""Of the way from chance to certainty: a teacher that gets less far hardly knows the pictures."""


@dataclass(frozen=True)
class Imported(Spelled):
    """A small set from a path; nothing in its files is executed.

    path: a folder with `images.pt` and `labels.pt`, `hard_labels.pt` or `soft_labels.pt` (DD-Ranking's; .pth and
    .safetensors too), one such file with both tensors (as IDC's and DM's programs save them), or a folder with a folder
    of pictures a class, called as the classes of the set are
    values: what numbers of tensors mean: `unit` 0..1; `bytes` 0..255; `normalised` by mean and deviation of each
    channel (0..1 each), those of the set where `mean` and `std` are not given

    images: [M, C, H, W]; labels: whole numbers [M], which count the set's classes in their order, or [M, classes]:
    shares that add up to 1, or else logits, of which the softmax is kept
    Pictures that were whitened (ZCA) cannot be turned back, and rates that were learnt (`lr.pt`) are not used.
    Raises RejectedFileError or UnsafeFileError for what is broken or would run code, InvalidValueError for a set of
    another shape, of other classes or of another number of pictures a class than is asked for.
    """

    path: Path
    values: Values = "unit"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.values not in get_args(Values):
            raise InvalidValueError(f"values must be one of {', '.join(get_args(Values))}, got {self.values!r}")
        if len(self.mean) != len(self.std) or (self.mean and self.values != "normalised"):
            raise InvalidValueError("mean and std must come together, with values=normalised: give a number a channel")

    @property
    def makes(self) -> bool:
        """Pictures may be made; where they come from is not known."""
        return True

    @property
    def content(self) -> str:
        """sha256 of what lies at the path, "" for nothing: the spec stays the same where the files change."""
        return content_sha256(self.path) if self.path.exists() else ""

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """What lies at the path, class after class; the seed changes nothing."""
        images = material.images
        tensors = _tensors(self.path)
        small = _from_folder(self.path, images) if tensors is None else self._from_tensors(tensors, images)
        _check_counts(small, images, per_class)
        hits = float((material.teacher().logits(small.images).argmax(axis=1) == small.labels).mean())
        chance = 1 / len(images.classes)
        if hits < chance + _SURE * (1 - chance):
            doubt = (
                f"the network that learnt the whole set gives {hits:.0%} of these pictures the class that they are to "
                "be of: see whether labels count the classes in this set's order, and what the values mean"
            )
            small = Condensed(small.images, small.labels, soft=small.soft, notes=(*small.notes, doubt))
        return small

    def _from_tensors(self, tensors: Mapping[str, Array], images: ImageSet) -> Condensed:
        made, notes = tensors["images"], []
        if made.ndim != 4 or made.shape[1] not in (1, 3):
            raise InvalidValueError(f"images must be [M, C, H, W] with C 1 or 3, got {list(made.shape)}")
        unit = self._unit(made.astype(np.float32).transpose(0, 2, 3, 1), images)
        if not np.isfinite(unit).all():
            raise RejectedFileError("damaged", "images must be finite, got NaN or infinity: save them again")
        beyond = float(((unit < -1 / 510) | (unit > 1 + 1 / 510)).mean())
        if beyond and self.values != "normalised":
            raise InvalidValueError(
                f"images must be {'0 to 255' if self.values == 'bytes' else '0 to 1'}, got {made.min():.4g} to "
                f"{made.max():.4g}: say values=normalised, and mean=[…],std=[…] where they are not the set's"
            )
        if beyond:
            notes.append(f"{beyond:.1%} of the values lie beyond what a picture can hold and were cut")
        pixels = np.rint(unit.clip(0, 1) * 255).astype(np.uint8)
        fitted = np.stack([_fitted(each, images) for each in pixels])
        if pixels.shape[1:3] != images.size:
            notes.append(f"pictures of {pixels.shape[1]} × {pixels.shape[2]} were resized")
        labels, soft = _labels(tensors, len(made), len(images.classes))
        order = np.argsort(labels, kind="stable")
        return Condensed(fitted[order], labels[order], soft=None if soft is None else soft[order], notes=tuple(notes))

    def _unit(self, values: Array, images: ImageSet) -> Array:
        """float32 [M, H, W, C] as 0..1 a picture's range."""
        if self.values == "unit":
            return values
        if self.values == "bytes":
            return values / 255
        normal = Normal(self.mean, self.std) if self.mean else normal_of(images.images)
        if len(normal.mean) not in (1, values.shape[-1]):
            raise InvalidValueError(
                f"mean and std must have a number for each of {values.shape[-1]} channels, got {len(normal.mean)}"
            )
        made: Array = values * np.array(normal.std, np.float32) + np.array(normal.mean, np.float32)
        return made


def _tensors(path: Path) -> dict[str, Array] | None:
    """`images` and what is known of `labels`, `hard_labels`, `soft_labels`; None for a folder without images.pt."""
    if path.is_dir():
        files = {name: _file(path, name) for name in ("images", *_LABELS)}
        if files["images"] is None:
            return None
        return {name: _only(read_checkpoint(file), file) for name, file in files.items() if file is not None}
    if not path.is_file():
        raise InvalidValueError(f"path must be a folder or a file of tensors, got {path}: check the spelling")
    found = read_checkpoint(path)
    pictures = [name for name, each in found.items() if each.ndim == 4]
    labels = [name for name, each in found.items() if each.ndim in (1, 2)]
    if len(pictures) != 1 or len(labels) != 1:
        raise InvalidValueError(
            f"{path.name} must hold pictures [M, C, H, W] once and labels once, got {len(pictures)} and {len(labels)}: "
            "save one result as images.pt and labels.pt"
        )
    return {"images": found[pictures[0]], "labels": found[labels[0]]}


def _file(folder: Path, stem: str) -> Path | None:
    return next((folder / f"{stem}{each}" for each in _ENDINGS if (folder / f"{stem}{each}").is_file()), None)


def _only(tensors: dict[str, Array], path: Path) -> Array:
    if len(tensors) != 1:
        raise InvalidValueError(f"{path.name} must hold one tensor, got {len(tensors)}: save it by itself")
    return next(iter(tensors.values()))


def _labels(tensors: Mapping[str, Array], count: int, classes: int) -> tuple[Array, Array | None]:
    """Labels int64 [M], and shares float32 [M, classes] where there are soft ones."""
    given = [tensors[name] for name in _LABELS if name in tensors]
    hard = next((each.reshape(len(each)) for each in given if each.ndim == 1 or each.shape[1:] == (1,)), None)
    soft = next((each for each in given if each.ndim == 2 and each.shape[1] == classes and classes > 1), None)
    if hard is None and soft is None:
        raise InvalidValueError(f"labels must be [M] or [M, {classes}], got {[list(each.shape) for each in given]}")
    shares = None if soft is None else _shares(soft.astype(np.float32))
    labels = hard if hard is not None else np.asarray(shares).argmax(axis=1)
    if any(len(each) != count for each in (labels, shares) if each is not None):
        raise InvalidValueError(f"labels must be {count}, one a picture, got {len(labels)}")
    whole = labels.astype(np.int64)
    if (whole != labels).any() or not 0 <= int(whole.min()) <= int(whole.max()) < classes:
        raise InvalidValueError(
            f"labels must be whole numbers of 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return whole, shares


def _shares(rows: Array) -> Array:
    """Rows that add up to 1 as they are, others as logits: float32 [M, classes].

    >>> _shares(np.float32([[0.25, 0.75]])).tolist(), _shares(np.float32([[0, np.log(3)]])).round(2).tolist()
    ([[0.25, 0.75]], [[0.25, 0.75]])
    """
    if not np.isfinite(rows).all():
        raise RejectedFileError("damaged", "soft labels must be finite, got NaN or infinity: save them again")
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        return rows
    return shares(rows)


def _fitted(pixels: Array, images: ImageSet) -> Array:
    """A picture uint8 [h, w, c] at the size and with the channels of the set."""
    colours = pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)
    sized = resized_frame(colours, images.size)
    if images.images.shape[-1] == 3:
        return sized
    if not (sized == sized[..., :1]).all():
        raise InvalidValueError("pictures must be grey as those of the set are, got colours: is it of this set?")
    return sized[..., :1]


def _from_folder(folder: Path, images: ImageSet) -> Condensed:
    """A folder of pictures a class, in the order of their names."""
    numbers = {name: label for label, name in enumerate(images.classes)}
    found = scan([folder])
    if found.refused:
        first, error = found.refused[0]
        raise RejectedFileError(error.code, f"{first.path}: {error.detail}")
    pictures, labels = [], []
    for path in sorted(Path(each.path) for each in found.found):
        name = path.relative_to(folder.absolute()).parts[0]
        if name not in numbers:
            raise InvalidValueError(
                f"folders must be called as the classes of the set are, got {name!r}{nearest(name, numbers)}"
            )
        pictures.append(_picture(path, images))
        labels.append(numbers[name])
    if not pictures:
        raise InvalidValueError(f"path must hold images.pt or a folder of pictures a class, got neither at {folder}")
    order = np.argsort(labels, kind="stable")
    return Condensed(np.stack(pictures)[order], np.array(labels, np.int64)[order])


def _picture(path: Path, images: ImageSet) -> Array:
    pixels = read_image(path).value.pixels
    square = images.size[0] == images.size[1]
    return _fitted(squared(pixels, images.size[0]) if square else pixels, images)


def _check_counts(small: Condensed, images: ImageSet, per_class: int) -> None:
    there = np.bincount(small.labels, minlength=len(images.classes))
    wrong = np.flatnonzero((there != per_class) & (images.counts() > 0))
    if len(wrong):
        at = int(wrong[0])
        raise InvalidValueError(
            f"a set from elsewhere must hold the {per_class} pictures a class that are asked for, got {there[at]} of "
            f"{images.classes[at]}: ask for as many as it holds"
        )
