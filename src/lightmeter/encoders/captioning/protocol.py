"""What every captioner is: pictures in, a sentence each out, the same again for the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


@runtime_checkable
class Captioner(Protocol):
    """A frozen dataclass of its options, kind "captioner": cheap to make, to compare, to pickle.

    Same picture, class and name: same caption, whatever else is in the batch, except where a captioner says otherwise
    (`attributes` before it is fitted; models with `batch` above 1).
    """

    @property
    def spec(self) -> str:
        """Its spelling with all options."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names all that changes captions: the spec, its version, what its files hold."""
        ...

    @property
    def short_side(self) -> int | None:
        """Pixels on the short side of the smallest decode that is enough; 0: it looks at none, None: at every one."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of weights that are read, 0 for none."""
        ...

    def load(self) -> None:
        """Read what it reads now, so that what is missing is said before the first picture."""
        ...

    def caption(self, images: Sequence[Array], class_names: Sequence[str], names: Sequence[str]) -> list[str]:
        """A caption a picture, "" where there is none.

        images: each uint8 [H, W, 3] or, grey, [H, W, 1], of any sizes, or one array [N, H, W, C], perhaps memory-mapped
        class_names: what each shows, "" where nobody knows · names: of the files, as `class/file.png`
        """
        ...


def fitted(captioner: Captioner, images: Sequence[Array]) -> Captioner:
    """A captioner that has seen the set where it must (`fit`); any other as it is.

    Cost: of `attributes`, 25 µs a picture of 32 x 32.
    """
    fit = getattr(captioner, "fit", None)
    made: Captioner = captioner if fit is None else fit(images)
    return made


def spoken(class_name: str) -> str:
    """A class as a sentence names it.

    >>> spoken("ankle boot"), spoken("  ")
    ('ankle boot', 'object')
    """
    return " ".join(class_name.split()) or "object"


def check_batch(images: Sequence[Any] | None, class_names: Sequence[str], names: Sequence[str]) -> None:
    """Hold a batch to one class and one name a picture; images None: they are not looked at."""
    counts = {"class_names": len(class_names), "names": len(names)}
    wanted = len(names) if images is None else len(images)
    for what, count in counts.items():
        if count != wanted:
            raise InvalidValueError(f"{what} must be {wanted}, one a picture, got {count}")


def as_rgb(image: Array) -> Array:
    """A picture as uint8 [H, W, 3], grey repeated; raises InvalidValueError for another shape, or one without pixels.

    >>> as_rgb(np.zeros((2, 5, 1), np.uint8)).shape
    (2, 5, 3)
    """
    grey = getattr(image, "ndim", 0) == 3 and image.shape[-1] == 1
    check_axes("image", image, "H W 1" if grey else "H W 3", "uint8")
    if 0 in image.shape:
        raise InvalidValueError(f"image must have at least 1 x 1 pixels, got {list(image.shape)}")
    return np.repeat(image, 3, axis=-1) if grey else image
