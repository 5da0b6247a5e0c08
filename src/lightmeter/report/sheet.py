"""Contact sheets and frame strips: many pictures in one PNG, each with its caption."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.report.pictures import pillow_of
from lightmeter.report.text import clean
from lightmeter.types import Array, Clip, Image

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL import ImageDraw

Tile = tuple[Image | Array | str | None, str]
"""A picture and its caption; a str in place of the picture is the reason why there is none."""

_PAPER, _MOUNT, _INK, _FAINT, _AMBER = "#f6f3ec", "#e9e4d8", "#26241f", "#7a7466", "#b8791a"
_MARGIN = 20
_LINES = 2
_LARGEST_PIXELS = 200_000_000


def contact_sheet(
    pictures: Sequence[Tile], path: Path | str, *, columns: int = 5, tile: int = 220, title: str = ""
) -> Path:
    """Write a PNG with every picture in a square of `tile` pixels, uncropped, its caption below.

    A tile without a picture, or with an array that is no picture, says so in its place. Captions may be any text; they
    are cut to two lines. Script coverage is DejaVu Sans: Latin, Greek, Cyrillic, Hebrew, Arabic; others show boxes.
    Cost: about 3 ms and 4 * tile**2 bytes a tile; at most 200 million pixels in all.
    """
    if columns < 1 or tile < 32:
        raise InvalidValueError(f"columns must be 1 or more and tile 32 or more, got {columns} and {tile}")
    from PIL import Image as Pillow
    from PIL import ImageDraw

    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    pen = _Pen(tile)
    head = pen.large_height + _MARGIN if title else 0
    cell_height = tile + pen.caption_height
    size = (_MARGIN + columns * (tile + _MARGIN), _MARGIN + head + rows * (cell_height + _MARGIN))
    if size[0] * size[1] > _LARGEST_PIXELS:
        raise InvalidValueError(
            f"a sheet must have at most {_LARGEST_PIXELS:,} pixels, got {size[0]}×{size[1]}: show fewer"
        )
    sheet = Pillow.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN), pen.fit(clean(title), size[0] - 2 * _MARGIN, large=True), _INK, font=pen.large)
    for index, (picture, caption) in enumerate(pictures):
        row, column = divmod(index, columns)
        place = (_MARGIN + column * (tile + _MARGIN), _MARGIN + head + row * (cell_height + _MARGIN))
        _put(sheet, draw, place, picture=picture, pen=pen)
        pen.write(draw, (place[0], place[1] + tile + pen.gap), caption)
    return _save(sheet, path)


def frame_strip(clip: Clip, path: Path | str, *, count: int = 8, height: int = 160) -> Path:
    """Write a PNG with `count` frames of a clip, evenly spaced over its frames, in a row, each with its time."""
    if count < 1 or height < 16:
        raise InvalidValueError(f"count must be 1 or more and height 16 or more, got {count} and {height}")
    if not len(clip.frames):
        raise InvalidValueError("a strip must have at least one frame, got an empty clip: check how it was read")
    from PIL import Image as Pillow
    from PIL import ImageDraw

    chosen = spread_out(len(clip.frames), count)
    pen = _Pen(height)
    frames = [pillow_of(clip.frames[index]) for index in chosen]
    width = max(1, round(frames[0].width * height / frames[0].height))
    sheet = Pillow.new("RGB", (len(frames) * (width + 4) + 4, height + 8 + pen.line_height + pen.gap), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for position, (index, frame) in enumerate(zip(chosen, frames, strict=True)):
        left = 4 + position * (width + 4)
        sheet.paste(frame.resize((width, height)), (left, 4))
        label = pen.fit(f"{clip.times_s[index]:.2f} s", width)
        draw.text((left + 2, height + 4 + pen.gap), label, _FAINT, font=pen.small)
    return _save(sheet, path)


def spread_out(total: int, count: int) -> list[int]:
    """`count` positions in 0..total-1, evenly, first and last included; all of them when there are fewer.

    >>> spread_out(10, 4), spread_out(3, 8), spread_out(9, 1)
    ([0, 3, 6, 9], [0, 1, 2], [4])
    """
    if total <= count:
        return list(range(total))
    if count == 1:
        return [(total - 1) // 2]
    return [round(step * (total - 1) / (count - 1)) for step in range(count)]


class _Pen:
    """Fonts of a sheet and what fits where."""

    def __init__(self, tile: int) -> None:
        self.tile = tile
        self.small, self.large = _font(max(11, tile // 17)), _font(max(14, tile // 10))
        self.line_height = round(1.3 * max(11, tile // 17))
        self.large_height = round(1.4 * max(14, tile // 10))
        self.gap = 6
        self.caption_height = self.gap + _LINES * self.line_height

    def fit(self, text: str, width: float, *, large: bool = False) -> str:
        """As much of the text as fits in `width` pixels, found by halving."""
        font = self.large if large else self.small
        text = text[:500]
        if font.getlength(text) <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if font.getlength(text[:middle] + "…") <= width else (low, middle - 1)
        return text[:low] + "…" if low else ""

    def lines(self, text: str, count: int, width: float) -> list[str]:
        """At most `count` lines: broken at line ends and at spaces; what does not fit is cut with an ellipsis."""
        out: list[str] = []
        for paragraph in clean(text, lines=True).split("\n"):
            current = ""
            for word in paragraph.split():
                longer = f"{current} {word}".strip()
                if current and self.small.getlength(longer[:500]) > width:
                    out.append(current)
                    longer = word
                current = longer
            out.append(current)
        if len(out) > count:
            out = [*out[: count - 1], " ".join(out[count - 1 :])]
        return [self.fit(line, width) for line in out]

    def write(self, draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> None:
        for index, line in enumerate(self.lines(text, _LINES, self.tile)):
            draw.text((place[0], place[1] + index * self.line_height), line, _FAINT if index else _INK, font=self.small)


def _font(size: int) -> Any:
    """DejaVu Sans as matplotlib carries it, else the font inside Pillow (Latin only)."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    if spec and spec.origin:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def _put(
    sheet: Pillow.Image,
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    *,
    picture: Image | Array | str | None,
    pen: _Pen,
) -> None:
    """One tile: the picture, whole and centred on its mount, or the reason why there is none."""
    left, top = place
    draw.rectangle((left, top, left + pen.tile - 1, top + pen.tile - 1), fill=_MOUNT)
    made = _thumbnail(picture, pen.tile)
    if not isinstance(made, str):
        sheet.paste(made, (left + (pen.tile - made.width) // 2, top + (pen.tile - made.height) // 2))
        return
    middle = left + pen.tile / 2
    draw.line((left + pen.tile * 0.4, top + pen.tile * 0.3, left + pen.tile * 0.6, top + pen.tile * 0.3), _AMBER, 2)
    for index, line in enumerate(pen.lines(made, 5, 0.86 * pen.tile)):
        half = pen.small.getlength(line) / 2
        draw.text((middle - half, top + pen.tile * 0.36 + index * pen.line_height), line, _FAINT, font=pen.small)


def _thumbnail(picture: Image | Array | str | None, side: int) -> Pillow.Image | str:
    if picture is None or isinstance(picture, str):
        return picture or "no picture"
    try:
        made = pillow_of(picture)
    except InvalidValueError as error:
        return f"no picture: {error}"
    scale = min(side / made.width, side / made.height)
    return made.resize((max(1, round(made.width * scale)), max(1, round(made.height * scale))), reducing_gap=2.0)


def _save(sheet: Pillow.Image, path: Path | str) -> Path:
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return write_whole(path, out.getvalue())
