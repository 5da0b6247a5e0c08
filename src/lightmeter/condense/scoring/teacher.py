"""A teacher: a student of the whole set, kept on disk by what it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Tell
from lightmeter.condense.scoring.augment import flipped, shifted
from lightmeter.condense.scoring.learning import best_device, in_parts, said_of
from lightmeter.condense.scoring.pixels import floats, standardised
from lightmeter.condense.scoring.students import Student
from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.order import Order
from lightmeter.engines.steps import take_steps
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError
from lightmeter.parts import build, need
from lightmeter.types import Array, check_axes

STUDENT = "conv-net/depth=3,width=32,norm=instance"
_CHANCE = 0x7EAC
_TOLD_EVERY = 100
_LR, _DECAY, _BATCH = 2e-3, 0.01, 64


@dataclass(frozen=True, slots=True, eq=False)
class FittedTeacher:
    """A network that learnt a set; implements `condense.protocol.Teacher`.

    about: what it is: student, classes, channels, size, steps, seed, and the fingerprint of what it learnt from
    """

    module: Any
    about: Mapping[str, Any]

    def logits(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] of the size that it learnt -> float32 [M, classes]."""
        return self._said(images, "forward")

    def features(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] -> what its last layer reads, float32 [M, D]."""
        return self._said(images, "features")

    def net(self) -> Any:
        """The torch module itself, in eval mode; what it reads is as `pixels.normalised` gives it."""
        return self.module.eval()

    def _said(self, images: Array, what: str) -> Array:
        height, width = self.about["size"]
        check_axes("images", images, f"M {height} {width} {self.about['channels']}", "uint8")
        return said_of(self.module, images, what)

    def save(self, folder: Path | str) -> Path:
        """Write it into a folder, as safetensors and JSON."""
        arrays = {name: each.detach().cpu().numpy() for name, each in self.module.state_dict().items()}
        return save_model(folder, arrays, {"kind": "teacher", **self.about})

    @classmethod
    def load(cls, folder: Path | str) -> FittedTeacher:
        """What `save` wrote.  Raises MissingAssetError, RejectedFileError."""
        torch = need("torch", "torch")
        arrays, about = load_model(folder)
        if about.pop("kind", None) != "teacher":
            raise RejectedFileError("damaged", f"{folder} must hold a teacher, got another model: name its folder")
        try:
            height, width = about["size"]
            student: Student = build(about["student"], "student")
            net = student.net(about["channels"], about["classes"], (height, width), seed=0)
        except (KeyError, TypeError, ValueError, LightmeterError) as error:
            raise RejectedFileError("damaged", f"{folder} must say what its net is: {str(error)[:200]}") from error
        state = {
            name: torch.from_numpy(expect(arrays, name, str(own.dtype).removeprefix("torch."), *own.shape).copy())
            for name, own in net.state_dict().items()
        }
        net.load_state_dict(state)
        return cls(net.to(best_device()).eval(), about)


def fit_teacher(
    images: ImageSet, *, seed: int, folder: Path | None = None, tell: Tell = lambda _: None, student: str = STUDENT,
    steps: int = 1200, flip: bool = True,
) -> FittedTeacher:  # fmt: skip
    """A teacher of a set: read from `folder` where one of the same set and options lies there, else learnt.

    AdamW at 0.002, falling as a cosine to 0, batches of 64, pictures moved by up to an eighth of their side and, with
    `flip`, half of them mirrored. Stopped or killed, it goes on where it was: checkpoints stand in `folder` until it
    ends. Same set, same seed: the same bits.
    Cost: 3 · steps · 64 · MACs of the student: at 32 px about 60 CPU-s with the defaults.
    Raises InvalidValueError for pictures that are too small for the student.
    """
    made: Student = build(student, "student")
    about = {
        "student": made.spec, "classes": len(images.classes), "channels": int(images.images.shape[3]),
        "size": list(images.size), "steps": steps, "flip": flip, "seed": seed, "set": images.fingerprint,
    }  # fmt: skip
    if not len(images) or steps < 1 or len(images.classes) < 2:
        raise InvalidValueError(
            f"a teacher needs pictures of two classes and a step, got {len(images)}, {len(images.classes)}, {steps}"
        )
    kept = _kept(folder, about)
    if kept is not None:
        return kept
    net = made.net(int(images.images.shape[3]), len(images.classes), images.size, seed=seed).to(best_device())
    learner = _Fitting(net, images, steps, seed, flip)
    checkpoints = None if folder is None else Checkpoints(folder / "steps", about)

    def told(done: int, start: int) -> None:
        if done % _TOLD_EVERY == 0 or done == steps:
            tell(f"teacher {made.spec}: {done} of {steps} steps, loss {learner.loss:.3f}")

    with Stop() as stop:
        take_steps(learner, steps, stop, checkpoints=checkpoints, tell=told)
    fitted = FittedTeacher(net.eval(), about)
    if folder is not None and checkpoints is not None:
        fitted.save(folder)
        checkpoints.clear()
    return fitted


def _kept(folder: Path | None, about: Mapping[str, Any]) -> FittedTeacher | None:
    """The teacher in a folder, if it is the one that is asked for."""
    if folder is None:
        return None
    try:
        found = FittedTeacher.load(folder)
    except (FileNotFoundError, RejectedFileError):
        return None
    return found if dict(found.about) == dict(about) else None


class _Fitting:
    """A teacher that learns; an `engines.steps.Learner`."""

    def __init__(self, net: Any, images: ImageSet, steps: int, seed: int, flip: bool) -> None:
        torch = need("torch", "torch")
        from lightmeter.nets.descent import Descent, DescentPlan

        torch.set_num_threads(threads())
        self.net, self.images, self.steps, self.seed, self.flip, self.loss = net, images, steps, seed, flip, 0.0
        self.batch = min(_BATCH, len(images))
        self.order = Order(len(images), self.batch, -(-steps * self.batch // len(images)), seed)
        self.descent = Descent(net, DescentPlan("adamw", _DECAY, 0.0), seed=seed)

    def step(self, number: int) -> None:
        """Learn from one batch."""
        import torch
        from torch.nn import functional

        from lightmeter.nets.descent import rate_at

        rows = self.order.rows(number)
        rng = np.random.default_rng([_CHANCE, self.seed, number])
        device = str(next(self.net.parameters()).device)
        x = floats(self.images.images[np.sort(rows)], device)
        x = shifted(x, *(self._moves(side, len(rows), rng) for side in x.shape[2:]))
        x = standardised(flipped(x, rng.random(len(rows)) < 0.5) if self.flip else x)
        labels = torch.from_numpy(self.images.labels[np.sort(rows)]).to(device)
        self.net.train()

        def summed(part: slice) -> Any:
            return functional.cross_entropy(self.net(x[part]), labels[part], reduction="sum")

        rate = rate_at(number, self.steps, lr=_LR, warm_up=0.02)
        self.loss = self.descent.step(number, rate, lambda: in_parts(self.net, len(rows), summed))

    @staticmethod
    def _moves(side: int, count: int, rng: np.random.Generator) -> Array:
        most = max(1, round(side / 8))
        return rng.integers(-most, most + 1, count)

    def state(self) -> Mapping[str, Array]:
        """Weights and moments."""
        return self.descent.state()

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from a checkpoint."""
        self.descent.restore(arrays, steps)
