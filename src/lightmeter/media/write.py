"""Clips to MP4, pictures to PNG or JPEG; a file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, Clip, Image


def write_video(
    clip: Clip, path: Path | str, *, fps: float, crf: int = 18, metadata: Mapping[str, str] | None = None
) -> None:
    """H.264 in MP4, yuv420p, BT.709 marked, index at the front; odd sizes lose their last row or column.

    fps: exact (29.97 is taken as 30000/1001); the clip's own times are not used · crf: 0 (lossless) .. 51
    metadata: title, comment … as containers name them
    """
    if not len(clip.frames) or min(clip.frames.shape[1:3]) < 2:
        raise InvalidValueError(f"a video needs a frame of at least 2 x 2 pixels, got {list(clip.frames.shape)}")
    write_frames(clip.frames, path, fps=fps, crf=crf, metadata=metadata)


def write_frames(
    frames: Iterable[Array], path: Path | str, *, fps: float, crf: int = 18, metadata: Mapping[str, str] | None = None
) -> int:
    """As `write_video`, of frames uint8 [H, W, 3] that come one by one, for videos larger than the memory: their count.

    Raises InvalidValueError for no frame at all, for a frame of another size; what `frames` raises leaves no file.
    """
    import av

    rate = exact_rate(fps)
    coming = iter(frames)
    first = next(coming, None)
    if first is None or min(first.shape[:2]) < 2:
        got = "none" if first is None else list(first.shape)
        raise InvalidValueError(f"a video needs a frame of at least 2 x 2 pixels, got {got}")
    height, width = (side // 2 * 2 for side in first.shape[:2])
    with (
        whole_file(path) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart+use_metadata_tags"}) as container,
    ):
        container.metadata.update(metadata or {})
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        number = -1
        for number, pixels in enumerate(chain([first], coming)):
            if pixels.shape != first.shape:
                raise InvalidValueError(
                    f"frames must all be {list(first.shape)}, got {list(pixels.shape)}: resize them"
                )
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return number + 1


def write_image(image: Image, path: Path | str, *, quality: int = 92) -> None:
    """PNG or JPEG, by the path's ending; quality: of a JPEG, 1..95."""
    from PIL import Image as pillow  # noqa: N813

    forms = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    form = forms.get(Path(path).suffix.lower())
    if form is None:
        raise InvalidValueError(f"a picture's name must end in {', '.join(forms)}, got {Path(path).name!r}: rename it")
    with whole_file(path) as unfinished:
        options = {"quality": quality} if form == "JPEG" else {}
        pillow.fromarray(image.pixels).save(unfinished, format=form, **options)


def exact_rate(fps: float) -> Fraction:
    """A frame rate as a fraction; 23.976, 29.97, 59.94 and their kin are multiples of 1/1001.

    >>> exact_rate(29.97), exact_rate(12.5)
    (Fraction(30000, 1001), Fraction(25, 2))
    """
    if not 0.001 <= fps <= 1000:
        raise InvalidValueError(f"fps must be between 0.001 and 1000, got {fps}")
    nearest = Fraction(round(fps * 1.001) * 1000, 1001)
    if nearest and abs(float(nearest) - fps) < 0.004 and abs(fps - round(fps)) > 0.004:
        return nearest
    return Fraction(fps).limit_denominator(1000)
