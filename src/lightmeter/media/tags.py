"""Titles and keywords that a file carries inside: EXIF, IPTC, XMP, PNG text, container metadata."""

from __future__ import annotations

import html
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmeter.media.containers import open_container
from lightmeter.media.door import at_the_door, name_of, read_bytes
from lightmeter.media.images import exif_of, open_picture
from lightmeter.media.limits import MediaLimits
from lightmeter.media.sniff import sniff

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile as Picture

Tags = tuple[list[str], list[str]]  # titles, keywords

_EXIF_TITLES, _EXIF_UTF16_TITLES, _EXIF_KEYWORDS = (0x010E,), (0x9C9B, 0x9C9C, 0x9C9F), 0x9C9E
_IPTC_TITLES, _IPTC_KEYWORDS = ((2, 5), (2, 105), (2, 120)), (2, 25)
_INFO_TITLES = ("Title", "Description", "Comment", "comment", "Caption", "title", "description")
_INFO_KEYWORDS = ("Keywords", "keywords", "Subject")
_CONTAINER_TITLES, _CONTAINER_KEYWORDS = (
    ("title", "description", "comment", "synopsis"),
    ("keywords", "genre", "subject"),
)
_BORING = re.compile(
    r"\s*(olympus digital camera|sony dsc|digital camera|dcim|minolta.*camera|kodak.*camera|created with (the )?gimp.*|"
    r"file source:.*|cof|oznor.*|default|untitled|lavf.*|cmp3\..*|handler.*|converted by.*|nero ai.*|"
    r"(software|optimized|compressed) .*)\s*",
    re.IGNORECASE,
)  # fmt: skip


def read_tags(path: Path, limits: MediaLimits) -> Tags:
    """Titles and keywords written into a file; what a camera or program writes by itself is left out."""
    found = sniff(path)
    if found is None:
        return [], []
    titles, keywords = _picture_tags(path, limits) if found.kind == "image" else _container_tags(path, limits)
    return [each for each in titles if not _BORING.fullmatch(each)], keywords


def _container_tags(path: Path, limits: MediaLimits) -> Tags:
    with open_container(path, limits) as opened:
        known = {str(name).lower(): str(value) for name, value in opened.container.metadata.items()}
    keywords = [key for name in _CONTAINER_KEYWORDS for key in _split(known.get(name, ""))]
    return [known[name] for name in _CONTAINER_TITLES if name in known], keywords


def _picture_tags(path: Path, limits: MediaLimits) -> Tags:
    with at_the_door(name_of(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_picture(read_bytes(path, limits.picture_bytes), limits) as picture:
            titles, keywords = _exif(picture)
            for more_titles, more_keywords in (_iptc(picture), _xmp(picture), _info(picture)):
                titles += more_titles
                keywords += more_keywords
            return titles, keywords


def _exif(picture: Picture) -> Tags:
    exif = exif_of(picture)
    titles = [_text(exif.get(tag)) for tag in _EXIF_TITLES]
    titles += [_utf16(exif.get(tag)) for tag in _EXIF_UTF16_TITLES]
    comment = exif.get_ifd(0x8769).get(0x9286)
    if isinstance(comment, bytes) and comment[:5] == b"ASCII":
        titles.append(_text(comment[8:]))
    elif isinstance(comment, bytes) and comment[:7] == b"UNICODE":
        titles.append(_utf16(comment[8:]))
    return [each for each in titles if each], _split(_utf16(exif.get(_EXIF_KEYWORDS)))


def _iptc(picture: Picture) -> Tags:
    from PIL import IptcImagePlugin

    known: dict[Any, Any] = IptcImagePlugin.getiptcinfo(picture) or {}
    return [text for tag in _IPTC_TITLES for text in _texts(known.get(tag))], _texts(known.get(_IPTC_KEYWORDS))


_XMP_FIELD = re.compile(r"<dc:(title|description|subject)\b[^>]*>(.{0,20000}?)</dc:\1>", re.DOTALL)
_XMP_ITEM = re.compile(r"<rdf:li\b[^>]*>([^<]*)</rdf:li>")


def _xmp(picture: Picture) -> Tags:
    """By pattern, not by an XML parser: nothing in it can expand or refer elsewhere."""
    raw = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    tags: Tags = ([], [])
    for name, body in _XMP_FIELD.findall(_text(raw)[:500_000]):
        tags[name == "subject"].extend(html.unescape(item) for item in _XMP_ITEM.findall(body))
    return tags


def _info(picture: Picture) -> Tags:
    titles = [_text(picture.info.get(name)) for name in _INFO_TITLES]
    return [each for each in titles if each], [
        key for name in _INFO_KEYWORDS for key in _split(_text(picture.info.get(name)))
    ]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    return str(value).strip("\0 ") if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [text for each in (value if isinstance(value, list) else [value]) if (text := _text(each))]


def _utf16(value: Any) -> str:
    if isinstance(value, tuple):
        value = bytes(each for each in value if isinstance(each, int) and 0 <= each < 256)
    return value.decode("utf-16-le", "replace").split("\0")[0] if isinstance(value, bytes) else _text(value)


def _split(text: str) -> list[str]:
    return [key for key in re.split(r"[,;|]", text) if key.strip()] if text else []
