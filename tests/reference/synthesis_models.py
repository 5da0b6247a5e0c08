"""A tiny model of Stable Diffusion's kind that learnt a tiny set, and a workbench's stand-in around it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.synthesis.autoencoder import SmallVae
from lightmeter.condense.synthesis.denoiser import SmallDenoiser
from lightmeter.condense.synthesis.small import SmallDiffusion

CLASSES = ("tall_bar", "wide bar")


def bars(count=40, size=(8, 8), channels=1, seed=0):
    """Bright bars on dark, upright ones and lying ones in turn, each at a place of its own."""
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 30, (count, *size, channels)).astype(np.uint8)
    for row in range(count):
        at = int(chance.integers(1, min(size) - 2))
        if row % 2:
            images[row, at : at + 2] = 220
        else:
            images[row, :, at : at + 2] = 220
    return ImageSet.of(images, np.arange(count) % 2, CLASSES)


def captions_of(images):
    """What is seen: its class, the side it stands at, and the number of its row or column."""
    told = []
    for picture, label in zip(images.images[..., 0].astype(float), images.labels.tolist(), strict=True):
        place = int(picture.mean(axis=label).argmax())
        side = (("left", "right"), ("top", "bottom"))[label][place * 2 >= picture.shape[1 - label]]
        told.append(f"The {CLASSES[label].replace('_', ' ')} stands {side} number {place}")
    return tuple(told)


def tiny_recipe(**changes):
    """A few thousand weights."""
    vae = SmallVae(channels=(4, 8), groups=4, steps=6, batch=8)
    denoiser = SmallDenoiser(channels=(4, 8), groups=4, heads=2, text=8, steps=6, batch=8)
    return replace(SmallDiffusion(vae, denoiser, pixels=16, words=64), **changes)


@dataclass(eq=False)
class BrightTeacher:
    """Knows upright bars from lying ones by their sums; its features are the two sums and the mean."""

    calls: list = field(default_factory=list)

    def logits(self, images):
        return self.features(images)[:, :2] * np.array([1, 1], np.float32)

    def features(self, images):
        self.calls.append(len(images))
        rows = images.reshape(*images.shape[:3], -1).mean(-1).astype(np.float32) / 255
        upright, lying = rows.mean(1).std(1), rows.mean(2).std(1)
        return np.stack([upright, lying, rows.mean((1, 2))], 1).astype(np.float32)


@dataclass(eq=False)
class Stub:
    """`Material` by hand."""

    images: ImageSet
    made: object
    folder: Path | None = None
    told: list = field(default_factory=list)
    judge: BrightTeacher = field(default_factory=BrightTeacher)

    def tell(self, line):
        self.told.append(line)

    def features(self, of):
        assert of == "latents"
        return self.made.encode(self.images.images).reshape(len(self.images), -1)

    def captions(self):
        return captions_of(self.images)

    def teacher(self):
        return self.judge

    def generator(self):
        return self.made


class StopAfter:
    """Asks a run to stop when it has been asked so often."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self):
        self.left -= 1
        return self.left < 0


def weights(folder):
    """Bytes of all weights, by file."""
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*.safetensors")}
