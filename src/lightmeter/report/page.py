"""A page that is one file: no server, no script, no font or picture from anywhere else."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter import __version__
from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost, cpu_text
from lightmeter.report.pictures import picture_type, sound_type
from lightmeter.report.style import CSS, dial, scale
from lightmeter.report.text import bytes_text, clean, count_text, seconds_text, value_text

_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a gallery.

    picture: encoded bytes, or a str that says why there is none · alt: what a blind reader hears, default the caption
    score: 0..1, drawn as a mark on a rail; outside it is drawn at the end · sound: encoded bytes, played on request
    """

    picture: bytes | str
    caption: str
    alt: str = ""
    note: str = ""
    score: float | None = None
    sound: bytes | None = None


class Page:
    """A report in one HTML file; add to it from top to bottom, then `write`.

    Every text is escaped; pictures and sound are data URIs; a content policy in the page forbids scripts and all
    loading from elsewhere. Light and dark follow the reader's system. Aim at 1 MB or less: use `jpeg_bytes`.
    """

    def __init__(self, title: str, *, subtitle: str = "", lang: str = "en") -> None:
        if not lang.replace("-", "").isalnum():
            raise InvalidValueError(f"lang must be a language tag such as 'en' or 'de-CH', got {lang!r}")
        self.title, self.subtitle, self.lang = title, subtitle, lang
        self._body: list[str] = []
        self._in_section = False

    def heading(self, text: str, *, level: int = 2) -> Page:
        """A heading; level 2 begins a section, level 3 stands inside one."""
        if level not in (2, 3):
            raise InvalidValueError(f"level must be 2 or 3 (1 is the title), got {level}")
        if level == 2:
            self._body.append("</section><section>" if self._in_section else "<section>")
            self._in_section = True
        return self._add(f"<h{level}>{_escaped(text)}</h{level}>")

    def text(self, text: str, *, style: str = "plain") -> Page:
        """A paragraph; blank lines begin a new one. style: `plain`, `note` (small print), `empty` (nothing found)."""
        if style not in ("plain", "note", "empty"):
            raise InvalidValueError(f"style must be plain, note or empty, got {style!r}")
        kind = "" if style == "plain" else f' class="{style}"'
        for paragraph in text.replace("\r\n", "\n").split("\n\n"):
            if paragraph.strip():
                self._add(f"<p{kind}>{_escaped(paragraph, lines=True)}</p>")
        return self

    def table(
        self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, *, caption: str = ""
    ) -> Page:
        """Rows under a header, as `report.table` has them."""
        names = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
        kinds = [' class="n"' if _is_numeric(rows, name) else "" for name in names]
        head = "".join(f'<th scope="col"{kind}>{_escaped(name)}</th>' for name, kind in zip(names, kinds, strict=True))
        lines = [_table_row([row.get(name) for name in names], kinds) for row in rows]
        above = f"<caption>{_escaped(caption)}</caption>" if caption else ""
        label = _escaped(caption or "table")
        return self._add(
            f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{above}'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )

    def picture(self, data: bytes, caption: str = "", *, alt: str = "") -> Page:
        """One wide picture (JPEG, PNG, GIF or WebP bytes). Without caption and alt text it counts as decoration."""
        below = f"<figcaption>{_escaped(caption, lines=True)}</figcaption>" if caption else ""
        return self._add(f'<figure class="wide">{_img(data, alt or caption)}{below}</figure>')

    def gallery(self, shots: Sequence[Shot], *, floor: float | None = None) -> Page:
        """Pictures in a grid. floor: the score from which something counts as found, a thin mark on every rail."""
        items = "".join(f"<li>{_figure(shot, floor)}</li>" for shot in shots)
        return self._add(f'<ul class="gallery">{items}</ul>') if shots else self

    def sound(self, data: bytes, caption: str) -> Page:
        """A sound (WAV, MP3, Ogg or FLAC bytes) with its controls; nothing plays by itself."""
        caption_html = f"<figcaption>{_escaped(caption)}</figcaption>"
        return self._add(f"<figure>{_audio(data, caption)}{caption_html}</figure>")

    def price(self, cost: Cost) -> Page:
        """What it took, as a row of figures."""
        figures = {"by the clock": seconds_text(cost.wall_s), "of CPU": cpu_text(cost.cpu_s)}
        figures["of memory, at most"] = bytes_text(cost.peak_bytes)
        if cost.read_bytes is not None:
            figures["read"] = bytes_text(cost.read_bytes)
        if cost.size_bytes is not None:
            figures["of files"] = bytes_text(cost.size_bytes)
        if cost.macs is not None:
            figures["multiply-adds"] = count_text(cost.macs)
        if cost.gpu_s is not None:
            figures["of GPU"] = seconds_text(cost.gpu_s)
        if cost.gpu_peak_bytes is not None:
            figures["of GPU memory"] = bytes_text(cost.gpu_peak_bytes)
        if cost.joules is not None:
            figures["of energy"] = f"{cost.joules:.3g} J"
        cells = "".join(f"<div><dt>{name}</dt><dd>{_escaped(value)}</dd></div>" for name, value in figures.items())
        return self._add(f'<dl class="price">{cells}</dl>')

    def html(self) -> str:
        """The whole page."""
        subtitle = f'<p class="subtitle">{_escaped(self.subtitle, lines=True)}</p>' if self.subtitle else ""
        body = "".join(self._body) + ("</section>" if self._in_section else "")
        return (
            f'<!doctype html>\n<html lang="{self.lang}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_escaped(self.title)}</title><style>{CSS}</style></head><body>"
            f"<header>{dial()}<div><h1>{_escaped(self.title)}</h1>{subtitle}</div></header>"
            f"<main>{body}</main><footer><p>Made by Lightmeter {__version__}. This page is one file and loads nothing."
            "</p></footer></body></html>\n"
        )

    def write(self, path: Path | str) -> Path:
        """Write the page; readers see the old file or the new one."""
        return write_whole(path, self.html())

    def _add(self, markup: str) -> Page:
        self._body.append(markup)
        return self


def _escaped(text: object, *, lines: bool = False) -> str:
    escaped = html.escape(clean(text, lines=lines))
    return escaped.replace("\n", "<br>") if lines else escaped


def _is_numeric(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _table_row(values: Sequence[Any], kinds: Sequence[str]) -> str:
    cells = [f"<td{kind}>{_escaped(value_text(value))}</td>" for value, kind in zip(values, kinds, strict=True)]
    return f"<tr>{''.join(cells)}</tr>"


def _img(data: bytes, alt: str) -> str:
    return f'<img src="data:{picture_type(data)};base64,{base64.b64encode(data).decode()}" alt="{_escaped(alt)}">'


def _audio(data: bytes, label: str) -> str:
    source = f"data:{sound_type(data)};base64,{base64.b64encode(data).decode()}"
    return f'<audio controls preload="none" aria-label="{_escaped(label)}" src="{source}"></audio>'


def _figure(shot: Shot, floor: float | None) -> str:
    if isinstance(shot.picture, str):
        inside = f"<span>{_escaped(shot.picture or 'no picture')}</span>"
    else:
        inside = _img(shot.picture, shot.alt or shot.caption)
    parts = [f'<div class="frame">{inside}</div><figcaption>{_escaped(shot.caption, lines=True)}']
    if shot.note:
        parts.append(f"<small>{_escaped(shot.note, lines=True)}</small>")
    if shot.score is not None:
        shown = scale(shot.score, floor) if math.isfinite(shot.score) else ""
        parts.append(f'<div class="scale">{shown}<span>{shot.score:.2f}</span></div>')
    parts.append("</figcaption>")
    if shot.sound is not None:
        parts.append(_audio(shot.sound, shot.caption))
    return f"<figure>{''.join(parts)}</figure>"
