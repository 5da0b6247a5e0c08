"""Options that say which frames and masks `segment fit` and `segment probe` learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lightmeter.cli.options import ABOVE_ZERO, refuse_here

if TYPE_CHECKING:
    from lightmeter.media.clip_set import LabelledFrames
    from lightmeter.media.labelled_clips import ClipOptions
    from lightmeter.media.reading import Reading

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULT_SIZE = 128
_GROUP_S = 5.0
DATA = (
    "size", "context", "partial", "group_by", "wanted", "not_judged", "categories", "most", "per_clip", "clip_frames",
    "group_s",
)  # fmt: skip


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`N` or `HxW`, as (height, width)."""
    if value is None:
        return None
    sides = [each for each in value.lower().split("x") if each.isdecimal()]
    if (
        len(sides) != len(value.lower().split("x"))
        or len(sides) > 2
        or not all(1 <= int(each) <= 8192 for each in sides)
    ):
        raise click.BadParameter(f"must be pixels, as 128, or height and width, as 96x128, got {value!r}")
    return int(sides[0]), int(sides[-1])


def numbers_of(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers with commas."""
    words = [each.strip() for each in (value or "").split(",") if each.strip()]
    if not all(each.isdecimal() for each in words):
        raise click.BadParameter(f"must be whole numbers with commas, as 1,3, got {value!r}")
    return tuple(int(each) for each in words)


def data_options(function: F) -> F:
    """How FRAMES and MASKS are read; `opened` reads them."""
    for option in reversed(
        [
            click.option(
                "--size", callback=size_of, metavar="N|HxW",
                help=f"Size of the work in pixels.  [default: {_DEFAULT_SIZE}; clips keep their own]",
            ),
            click.option("--context", default=1, show_default=True, type=click.IntRange(1), metavar="T",
                         help="Frames that go with each labelled one, for encoders that look at several."),
            click.option("--partial", is_flag=True, help="Frames without a mask are no error."),
            click.option("--group-by", default="folder", show_default=True, type=click.Choice(["folder", "stem"]),
                         help="Pictures that never part: of one sub-folder, or whose names differ in the last number."),
            click.option("--wanted", callback=numbers_of, metavar="VALUES",
                         help="Values of mask pictures that are foreground, as 3,7.  [default: the lighter of two]"),
            click.option("--not-judged", type=click.IntRange(0, 65535), metavar="VALUE",
                         help="Value of mask pictures that neither teaches nor counts."),
            click.option("--category", "categories", multiple=True, metavar="NAME",
                         help="Of COCO's JSON, what is foreground (repeatable).  [default: all]"),
            click.option("--per-clip", default=1, show_default=True, type=click.IntRange(1), metavar="N",
                         help="Of clips, labelled frames of each."),
            click.option("--most", type=click.IntRange(1), metavar="N",
                         help="Of clips, take so many, drawn by the seed."),
            click.option("--clip-frames", type=click.IntRange(1), metavar="T",
                         help="Of videos that are cut into clips, the frames of each."),
            click.option("--group-s", type=ABOVE_ZERO, metavar="SECONDS",
                         help=f"Of `motion` in one video, so much of it is a group.  [default: {_GROUP_S:g}]"),
        ]
    ):  # fmt: skip
        function = option(function)
    return function


def opened(frames: Path, masks: str, asked: dict[str, Any]) -> Reading[LabelledFrames]:
    """The labelled frames of FRAMES and MASKS; an option that would do nothing is a usage error."""
    from dataclasses import replace

    from lightmeter.media.labelled_clips import Labels, open_labelled
    from lightmeter.media.labelling import LabelOptions, is_video
    from lightmeter.media.mask_pixels import MaskValues
    from lightmeter.media.motion_masks import MotionOptions

    made = is_word(masks)
    _check(made, masks, is_video(frames))
    size = asked["size"] or (None if made and not is_video(frames) else (_DEFAULT_SIZE, _DEFAULT_SIZE))
    files = LabelOptions(
        size=size, context=asked["context"], values=MaskValues(asked["wanted"], asked["not_judged"]),
        group_by=asked["group_by"], partial=asked["partial"], categories=asked["categories"],
    )  # fmt: skip
    how = Labels(
        files, replace(MotionOptions(), group_s=asked["group_s"] or _GROUP_S), clip_options(asked),
        asked["most"], asked["per_clip"], asked["seed"],
    )  # fmt: skip
    return open_labelled(frames, masks, how=how)


def clip_options(asked: dict[str, Any]) -> ClipOptions:
    """How sets of clips are opened."""
    from lightmeter.media.labelled_clips import ClipOptions

    return ClipOptions(frames=asked["clip_frames"], size=asked["size"])


def is_word(masks: str) -> bool:
    """Whether masks are made, not read."""
    from typing import get_args

    from lightmeter.media.clip_set import What
    from lightmeter.media.labelled_clips import MOTION

    return masks == MOTION or masks in get_args(What)


def _check(made: bool, masks: str, video: bool) -> None:
    of_files = ("partial", "group_by", "wanted", "not_judged", "categories")
    of_clips = ("most", "per_clip", "clip_frames")
    if made:
        refuse_here(of_files, f"is for masks in files: leave it out with {masks}")
    if not made or video:
        refuse_here(of_clips, "is for sets of clips: leave it out")
    if made and not video:
        refuse_here(("context",), "is for pictures and videos: clips are seen whole")
    if not (masks == "motion" and video):
        refuse_here(("group_s",), "is for `motion` in one video: leave it out")
