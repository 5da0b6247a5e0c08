"""VideoGPT's frame conditioner: a ResNet-34 of 3D convolutions, and its exact collapse to 2D for a single frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class FrameResNetPlan:
    """Sizes of a frame conditioner; the defaults are the public code's, 33.9 M weights, 11.4 M once collapsed.

    stride: pixels a cell, 1, 2, 4 or 8; time is never strided · dim: channels of the last group
    layers: blocks of each of the four groups · base: channels of the first; the next have twice and four times as many
    """

    stride: int = 4
    dim: int = 240
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    base: int = 64

    def __post_init__(self) -> None:
        if self.stride not in (1, 2, 4, 8):
            raise InvalidValueError(f"stride must be 1, 2, 4 or 8, got {self.stride}")
        if len(self.layers) != 4 or min(*self.layers, self.dim, self.base) < 1:
            raise InvalidValueError(f"layers must be four counts from 1 on, dim and base 1 or more, got {self}")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four groups."""
        return self.base, 2 * self.base, 4 * self.base, self.dim

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Pixels a cell after each group: halvings come as early as they can."""
        return 1, min(2, self.stride), min(4, self.stride), self.stride

    def macs(self, height: int, width: int, frames: int = 1, *, flat: bool = False) -> int:
        """Multiply-accumulates of one clip; flat: of the collapsed net."""
        taps, pixels = (9 if flat else 27), frames * height * width
        total, before = pixels * taps * 3 * self.base, self.base
        for width_now, blocks, stride in zip(self.widths, self.layers, self.strides, strict=True):
            cells = pixels // stride**2
            total += cells * width_now * (before * (taps + 1) + width_now * taps * (2 * blocks - 1))
            before = width_now
        return total


class NormReLU(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Layer norm over the channels of each place, then relu where wanted: [B, C, ...] -> the same shape."""

    def __init__(self, channels: int, *, relu: bool = True) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({"norm": nn.LayerNorm(channels)})  # two levels: the published names
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, ...] -> the same shape"""
        x = self.norm["norm"](x.movedim(1, -1)).movedim(-1, 1)
        x = x.contiguous()  # oneDNN writes past its arrays in the gradient of channels-last 2D ones below 8 channels
        return functional.relu(x) if self.relu else x


class ResidualBlock(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Two 3³ (or 3²) convolutions, each normed, and the input beside them: [B, I, T, H, W] -> [B, O, T, H / s, W / s].

    conv: nn.Conv3d or nn.Conv2d · stride: spatial · projects: the input goes through a normed 1³ convolution
    """

    def __init__(self, inputs: int, outputs: int, *, conv: type[nn.Module], stride: int, projects: bool) -> None:
        super().__init__()
        steps = (stride, stride) if conv is nn.Conv2d else (1, stride, stride)
        self.projects = projects
        if projects:
            self.proj_conv = conv(inputs, outputs, 1, steps, bias=False)
            self.proj_bnr = NormReLU(outputs, relu=False)
        self.conv1 = conv(inputs, outputs, 3, steps, 1, bias=False)
        self.bnr1 = NormReLU(outputs)
        self.conv2 = conv(outputs, outputs, 3, 1, 1, bias=False)
        self.bnr2 = NormReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, I, T, H, W] -> float [B, O, T, H / s, W / s], all >= 0; without T in 2D"""
        beside = self.proj_bnr(self.proj_conv(x)) if self.projects else x
        return functional.relu(self.bnr2(self.conv2(self.bnr1(self.conv1(x)))) + beside)


class BlockGroup(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Blocks of one width; the first projects and strides."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, stride: int, conv: type[nn.Module]) -> None:
        super().__init__()
        self.start_block = ResidualBlock(inputs, outputs, conv=conv, stride=stride, projects=True)
        more = [ResidualBlock(outputs, outputs, conv=conv, stride=1, projects=False) for _ in range(1, blocks)]
        self.blocks = nn.Sequential(*more)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, I, T, H, W] -> float [B, O, T, H / s, W / s]; without T in 2D"""
        return self.blocks(self.start_block(x))


class FrameResNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Frames [B, 3, T, H, W] in -0.5..0.5 -> float [B, T, H / s, W / s, dim], all >= 0; published names.

    H and W must be multiples of the stride. flat: made of 2D convolutions, for T = 1 only; see `collapsed`.
    Cost: `plan.macs`.  Source: Yan et al. 2021, arXiv:2104.10157, and VideoGPT's public code, videogpt/resnet.py
    (resnet34 with the stem of CIFAR nets); He et al. 2016, arXiv:1512.03385.
    """

    def __init__(self, plan: FrameResNetPlan, *, flat: bool = False) -> None:
        super().__init__()
        self.plan, self.flat = plan, flat
        conv = nn.Conv2d if flat else nn.Conv3d
        self.stem = nn.Sequential(conv(3, plan.base, 3, padding=1, bias=False), NormReLU(plan.base))
        before, stride_before = plan.base, 1
        for at, (width, blocks, stride) in enumerate(zip(plan.widths, plan.layers, plan.strides, strict=True), start=1):
            group = BlockGroup(before, width, blocks=blocks, stride=stride // stride_before, conv=conv)
            setattr(self, f"group{at}", group)
            before, stride_before = width, stride

    def stages(self, frames: Tensor) -> tuple[Tensor, ...]:
        """What the four groups give: float [B, C, T, H / s, W / s], C and s as in `plan.widths` and `plan.strides`."""
        self._check(frames)
        x = self.stem(frames[:, :, 0] if self.flat else frames)
        made: list[Tensor] = []
        for group in (self.group1, self.group2, self.group3, self.group4):
            x = group(x)
            made.append(x[:, :, None] if self.flat else x)
        return tuple(made)

    def forward(self, frames: Tensor) -> Tensor:
        """float [B, 3, T, H, W] -> float [B, T, H / s, W / s, dim]"""
        return self.stages(frames)[-1].movedim(1, -1)

    def collapsed(self) -> FrameResNet:
        """The 2D net that gives the same for T = 1, exactly: a third of the weights, of the work about a third.

        With one frame a 3D convolution of kernel 3 and padding 1 sees zeros before and after it: only its middle slice
        along time acts. A net that is flat already is copied. Modes and gradients' flags are not carried over.
        """
        like = next(self.parameters())
        flat = FrameResNet(self.plan, flat=True)
        flat.to(device=like.device, dtype=like.dtype)
        state = {
            name: (each[:, :, each.shape[2] // 2] if each.ndim == 5 else each).clone()
            for name, each in self.state_dict().items()
        }
        flat.load_state_dict(state)
        return flat

    def _check(self, frames: Tensor) -> None:
        if frames.ndim != 5 or frames.shape[1] != 3:
            raise InvalidValueError(f"frames must be [B, 3, T, H, W], got {list(frames.shape)}")
        if self.flat and frames.shape[2] != 1:
            raise InvalidValueError(f"a collapsed conditioner takes 1 frame, got {frames.shape[2]}: use the 3D one")
        stride = self.plan.stride
        if frames.shape[3] % stride or frames.shape[4] % stride:
            raise InvalidValueError(f"height and width must be multiples of {stride}, got {list(frames.shape[3:])}")
