"""Students by their spelling, so that a score across architectures is a list of specs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need

Norm = Literal["instance", "batch"]
Stem = Literal["auto", "small", "mid", "large"]


class Student(Protocol):
    """A network to be learnt, a frozen dataclass of its options; kind "student"."""

    @property
    def spec(self) -> str:
        """Its spelling with all options."""
        ...

    def net(self, channels: int, classes: int, size: tuple[int, int], *, seed: int) -> Any:
        """A torch module of fresh weights: float [B, C, H, W] -> logits; `features`, `norm`, `macs`, `widest_bytes`.

        Raises InvalidValueError for pictures that are too small for it.
        """
        ...


@dataclass(frozen=True)
class ConvNetStudent(Spelled):
    """ConvNet-D: see `nets.student_conv.ConvNet`. Published: depth 3 at 32 px, 6 at 224 px, width 128."""

    depth: int = 3
    width: int = 128
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 8 or self.width < 1:
            raise InvalidValueError(f"depth must be 1 to 8 and width 1 or more, got {self.depth} and {self.width}")

    def net(self, channels: int, classes: int, size: tuple[int, int], *, seed: int) -> Any:
        """See `Student.net`."""
        from lightmeter.nets.student_conv import ConvNet

        with seeded(seed):
            return ConvNet(channels, classes, size, depth=self.depth, width=self.width, norm=self.norm)


@dataclass(frozen=True)
class ResNetStudent(Spelled):
    """ResNet-18 (or -10): see `nets.student_resnet.ResNet`. stem `auto`: to 64 px the "modified" one, 3 x 3."""

    depth: int = 18
    width: int = 64
    norm: Norm = "batch"
    stem: Stem = "auto"

    def __post_init__(self) -> None:
        _check_resnet(self.depth, self.width)

    def net(self, channels: int, classes: int, size: tuple[int, int], *, seed: int) -> Any:
        """See `Student.net`."""
        return _resnet(self, channels, classes, size, seed)


@dataclass(frozen=True)
class ResNetApStudent(Spelled):
    """ResNetAP-10 (or -18): averages where ResNets stride; see `nets.student_resnet.ResNet`."""

    depth: int = 10
    width: int = 64
    norm: Norm = "instance"
    stem: Stem = "auto"

    def __post_init__(self) -> None:
        _check_resnet(self.depth, self.width)

    def net(self, channels: int, classes: int, size: tuple[int, int], *, seed: int) -> Any:
        """See `Student.net`."""
        return _resnet(self, channels, classes, size, seed)


def _check_resnet(depth: int, width: int) -> None:
    if depth not in (10, 18) or width < 1:
        raise InvalidValueError(f"depth must be 10 or 18 and width 1 or more, got {depth} and {width}")


def _resnet(of: ResNetStudent | ResNetApStudent, channels: int, classes: int, size: tuple[int, int], seed: int) -> Any:
    from lightmeter.nets.student_resnet import ResNet, ResNetPlan

    plan = ResNetPlan(of.depth, of.width, of.norm, isinstance(of, ResNetApStudent), of.stem)
    with seeded(seed):
        return ResNet(channels, classes, size, plan)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's chance on the CPU set to a seed within a block, as it was behind it."""
    torch = need("torch", "torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
