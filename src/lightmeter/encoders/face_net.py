"""Face networks from a file that the user names: what `light-cnn`, `vggface` and `vggface2` have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.encoders.by_path import PIN_DIGITS, check_digits, content_sha256, settle, settle_digits
from lightmeter.encoders.protocol import Takes, checked, checked_image, stacked
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError, UnsafeFileError
from lightmeter.nets import face_plans
from lightmeter.parts import need
from lightmeter.types import Array, Image

Weights = dict[str, Array]
VIEWS = ("whole", "face")

_nets: dict[str, tuple[tuple[int, ...], Any]] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class NetFile:
    """Which file holds which network.

    file: absolute; PyTorch (zip or legacy) or safetensors · sha256: first digits that its hash must have, "" for any
    encoder: name of the encoder, with the options that choose the network · published: what the file is and whose
    head: names of the layer of classes, which is left out · prepared: names and values as the network has them
    """

    file: Path
    sha256: str
    encoder: str
    published: str
    head: tuple[str, ...]
    prepared: Callable[[Weights], Weights] = dict


class FaceNet:
    """Mixin: what encoders by a network of faces share; each has its options, `dim`, layers, pixels and file."""

    file: Path
    view: str
    sha256: str
    side: ClassVar[int]
    """Pixels on a side of the square that the network sees."""

    @property
    def dim(self) -> int:
        """Features a row."""
        raise NotImplementedError

    def _layers(self) -> tuple[face_plans.Layer, ...]:
        """The plan of the network (`face_plans`)."""
        raise NotImplementedError

    def _file(self) -> NetFile:
        raise NotImplementedError

    def _net(self) -> Any:
        """The network, read where it was not."""
        raise NotImplementedError

    def _pixels(self, image: Image) -> Array:
        """A picture as the network sees it: float32 [C, side, side]."""
        raise NotImplementedError

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "picture"

    @property
    def macs(self) -> int:
        """The network's; finding a face is no matrix product."""
        return face_plans.macs_of(self._layers())

    @property
    def size_bytes(self) -> int:
        """The weights that are used; the file holds the classes as well."""
        return face_plans.bytes_of(self._layers())

    @property
    def short_side(self) -> int | None:
        """Smallest decode that is enough."""
        return short_side(self.side, self.view)

    def pinned(self) -> Self:
        """The same, held to the file as it is now: the first digits of its hash stand in the spec."""
        return self if self.sha256 else replace(self, sha256=digits_of(self._file()))  # type: ignore[type-var]

    def load(self) -> None:
        """Read the weights."""
        self._net()
        load_view(self.view)

    def encode(self, items: Sequence[Image]) -> Array:
        """N pictures of any size -> float32 [N, dim]; one run a picture."""
        name = self._file().encoder.partition("/")[0]
        images = checked(items, Image, name)
        net = self._net()
        return stacked([row_of(net, self._pixels(checked_image(each, name))) for each in images], self.dim)


def settle_options(encoder: Any) -> None:
    """Make `file` absolute and `sha256` lower case, or raise InvalidValueError for a view or a hash that cannot be."""
    if encoder.view not in VIEWS:
        raise InvalidValueError(f"view must be whole or face, got {encoder.view!r}")
    settle_digits(encoder)
    settle(encoder, "file")


def digits_of(which: NetFile) -> str:
    """The first digits of the hash of the file as it is now; raises MissingAssetError, InvalidValueError."""
    _stamp(which.file, which)
    return content_sha256(which.file)[:PIN_DIGITS]


def net_of(which: NetFile, make: Callable[[], Any]) -> Any:
    """The network with the file's weights, kept once a process and read again when the file has become another.

    make: a torch module, called with the meta device, so that no weights are drawn
    Raises MissingAssetError (no such file, or one of another hash), InvalidValueError (another network, no checkpoint),
    UnsafeFileError.  Cost: once, the reading of the file; memory: the file and the weights, without the classes.
    """
    torch = need("torch", "torch")
    torch.set_num_threads(threads())
    path = which.file
    key = f"{which.encoder} {which.sha256} {path}"
    with _lock:
        stamp = _stamp(path, which)
        if key not in _nets or _nets[key][0] != stamp:
            _nets.pop(key, None)  # the memory of the old one, before the new one is read
            _nets[key] = stamp, loaded(which, make)
        return _nets[key][1]


def loaded(which: NetFile, make: Callable[[], Any]) -> Any:
    """As `net_of`, read now and not kept; in eval mode."""
    torch = need("torch", "torch")
    path = which.file
    _stamp(path, which)
    check_digits(which.sha256, [path])
    with torch.device("meta"):
        net = make()
    weights = fitting(bare(_read(path)), which, {name: tuple(each.shape) for name, each in net.state_dict().items()})
    state = {name: torch.from_numpy(weights.pop(name)) for name in list(weights)}  # one by one: they are large
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(requires_grad=False)


def row_of(net: Any, pixels: Array) -> Array:
    """One picture float32 [C, H, W] through a network: float32 [D]. One a run, so that no batch can change a row."""
    torch = need("torch", "torch")
    with torch.inference_mode():
        row: Array = net(torch.from_numpy(np.ascontiguousarray(pixels)[None]))[0].numpy()
    return row


def _stamp(path: Path, which: NetFile) -> tuple[int, ...]:
    """What changes when a file is written again or another one is moved onto it."""
    if path.is_dir():
        raise InvalidValueError(f"file of {which.encoder} must be a file of weights, got the folder {path}: "
                                f"name the file in it, such as {which.published}")  # fmt: skip
    if not path.is_file():
        raise MissingAssetError(f"{path} is not there: put {which.published} there, or name where it is")
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


_WAY_OUT = ": save its state_dict with torch.save (docs/faces.md)"


def _read(path: Path) -> Weights:
    try:
        return read_checkpoint(path)
    except RejectedFileError as error:  # it is the weights that are broken, not the picture: no picture is to blame
        raise InvalidValueError(f"{path} must be a checkpoint of PyTorch or safetensors, got {error}") from error
    except UnsafeFileError as error:
        way_out = " (docs/faces.md)" if "state_dict" in str(error) else _WAY_OUT
        raise UnsafeFileError(f"{error}{way_out}") from error


# -- names ----------------------------------------------------------------------------------------------------------

_CONTAINERS = ("state_dict.", "model_state_dict.", "model.")


def bare(weights: Mapping[str, Array]) -> Weights:
    """The network's own names: out of a training checkpoint's `state_dict`, without DataParallel's `module.`.

    >>> list(bare({"state_dict.module.fc.weight": np.zeros(1), "optimizer.state.0.momentum": np.zeros(1)}))
    ['fc.weight']
    """
    found = dict(weights)
    for prefix in _CONTAINERS:
        inside = {name.removeprefix(prefix): each for name, each in found.items() if name.startswith(prefix)}
        found = inside or found
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): each for name, each in found.items()}
    return found


def fitting(weights: Weights, which: NetFile, wanted: Mapping[str, tuple[int, ...]]) -> Weights:
    """What the network needs, writable float32, or InvalidValueError with the names or shapes that do not fit.

    weights: taken out one by one · wanted: name -> shape; counts of seen batches may be absent, they say nothing
    """
    weights = {name: each for name, each in weights.items() if name.partition(".")[0] not in which.head}
    seen = seems(weights)
    weights = which.prepared(weights)
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    odd = [name for name in weights if name not in wanted]
    if missing or odd:
        problems = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(odd)} beyond it"] * bool(odd)
        raise InvalidValueError(f"{which.file} must hold {which.encoder}, but {' and '.join(problems)}{seen}")
    made: Weights = {}
    for name, shape in wanted.items():
        array = weights.pop(name, np.zeros((), np.int64))
        if array.shape != shape:
            raise InvalidValueError(f"{which.file} must hold {which.encoder}, whose {name} is {list(shape)}, "
                                    f"got {list(array.shape)}: it is another size of it")  # fmt: skip
        if not shape:  # a count of batches
            made[name] = np.array(array, np.int64)
            continue
        if array.dtype.kind != "f":
            raise InvalidValueError(f"{which.file} must hold float weights, got {array.dtype} as {name}: save it as "
                                    "float32")  # fmt: skip
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as such
            made[name] = np.array(array, np.float32, order="C")
        if not np.isfinite(made[name].sum(dtype=np.float64)):  # no sum of finite float32 leaves float64
            raise InvalidValueError(f"{which.file} must hold finite weights, got NaN or infinity in {name}: "
                                    "get the file again")  # fmt: skip
    return made


def _some(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


_SIGNS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    # names that are there, names that are not, what it is
    (("features.0.filter.weight",), (), "Light CNN of 9 layers: say light-cnn/layers=9"),
    (("group1.conv.filter.weight", "fc.filter.weight"), (), "Light CNN of 29 layers: say light-cnn/layers=29"),
    (("group1.conv.filter.weight",), (), "29 layers v2: say light-cnn/layers=29,version=2"),
    (("block1.0.conv1.filter.weight", "conv5.filter.weight"), (), "Light CNN v4, which is not supported"),
    (("conv5_3.weight", "fc7.weight"), (), "VGG-16: say vggface"),
    (("feat_extract.weight",), (), "VGGFace2 with a short last layer, which is not supported: take the 2,048 numbers"),
    (("conv2_1_1x1_down.weight",), (), "VGGFace2's SENet: say vggface2/blocks=senet"),
    (("conv2_1_1x1_reduce.weight",), (), "VGGFace2's ResNet: say vggface2/blocks=resnet"),
    (("layer1.0.conv5.weight",), (), "VGGFace2's SENet: say vggface2/blocks=senet"),
    (("layer1.0.conv3.weight", "layer3.5.conv3.weight"), ("layer3.6.conv3.weight",), "a ResNet of 50 layers: say "
     "vggface2/blocks=resnet if VGGFace2 it is"),
)  # fmt: skip


def seems(weights: Collection[str]) -> str:
    """The tail of an error: what a file of these names seems to be, "" where no network here has such names.

    >>> seems(["block1.0.conv1.filter.weight", "group1.conv.filter.weight", "fc.weight"])
    ': it holds 29 layers v2: say light-cnn/layers=29,version=2'
    """
    for there, absent, what in _SIGNS:
        if all(name in weights for name in there) and not any(name in weights for name in absent):
            return f": it holds {what}"
    return ": it is none of the networks in docs/faces.md"


# -- pixels ---------------------------------------------------------------------------------------------------------


def resized(image: Image, side: int) -> Array:
    """The whole picture squeezed into a square: uint8 [side, side, 3], bilinearly by Pillow."""
    height, width = image.pixels.shape[:2]
    return boxed(image, (0.0, 0.0, float(width), float(height)), side)


def middle(image: Image, side: int) -> Array:
    """The middle square of a picture resized to uint8 [side, side, 3], bilinearly by Pillow.

    As resizing the short side and cutting whole pixels off the long one, but for a fraction of a pixel.
    """
    height, width = image.pixels.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    return boxed(image, (left, top, left + short, top + short), side)


def boxed(image: Image, box: tuple[float, float, float, float], side: int) -> Array:
    """A box inside of a picture, resized to uint8 [side, side, 3]."""
    from PIL import Image as pillow  # noqa: N813

    whole = pillow.fromarray(np.ascontiguousarray(image.pixels))
    return np.asarray(whole.resize((side, side), pillow.Resampling.BILINEAR, box=box))


def grown(box: tuple[float, float, float, float], share: float) -> tuple[float, float, float, float]:
    """A square about the middle of a box, `1 + share` times as long as its longer side."""
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (1 + share) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def cut_face(image: Image, share: float, side: int) -> Array:
    """The largest face of a picture in a square, `1 + share` times as long as its box: uint8 [side, side, 3].

    Raises RejectedFileError (`no-face`) where none is found, MissingExtraError without dlib.
    """
    from lightmeter.encoders.face_finding import cut, largest_face

    return cut(image, grown(largest_face(image).box, share), side)


def load_view(view: str) -> None:
    """Read what `view` needs beside the network."""
    if view == "face":
        from lightmeter.encoders import face_finding

        face_finding.load()


def short_side(side: int, view: str) -> int:
    """Pixels on the short side of the smallest decode that is enough for a network that sees `side` of them."""
    if view == "whole":
        return side * 5 // 4
    from lightmeter.encoders.face_finding import SEARCH_SIDE

    return 2 * SEARCH_SIDE


def upright(image: Image, eyes: Array, places: Array, side: int) -> Array:
    """A picture turned, scaled and moved so that two eyes lie at two places: uint8 [side, side, 3].

    eyes, places: float64 [2, 2], (x, y) in pixels of the picture and of the result, the picture's left one first.
    Bilinear; what is more than twice too large is averaged first; what lies outside repeats the picture's edge.
    Raises InvalidValueError for eyes at one place.  Cost: O(pixels).
    """
    from PIL import Image as pillow  # noqa: N813

    span, wanted = (complex(*(pair[1] - pair[0])) for pair in (eyes, places))
    if not span:
        raise InvalidValueError(f"eyes must lie at two places, got {eyes.tolist()}")
    turn = span / wanted  # a step in the result as a step in the picture
    shrink = max(1, int(abs(turn)))
    small = np.asarray(pillow.fromarray(np.ascontiguousarray(image.pixels)).reduce(shrink), np.float64)
    across, down = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    steps = (across - places[0, 0]) + 1j * (down - places[0, 1])
    source = (complex(*eyes[0]) + steps * turn) / shrink - (0.5 + 0.5j)
    return np.rint(_bilinear(small, source.real, source.imag)).astype(np.uint8)


def _bilinear(pixels: Array, x: Array, y: Array) -> Array:
    """Numbers between pixels, [H, W, 3] at [S, S] places -> [S, S, 3]; beyond the edge stands the edge."""
    height, width = pixels.shape[:2]
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (x - left)[..., None], (y - top)[..., None]
    above = pixels[top, left] * (1 - a) + pixels[top, right] * a
    below = pixels[bottom, left] * (1 - a) + pixels[bottom, right] * a
    made: Array = above * (1 - b) + below * b
    return made
