"""Any of Pillow's colour modes to sRGB bytes: profiles, CMYK, 16 bits, floats, palettes, transparency on white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_TRANSPARENT = ("LA", "La", "PA", "RGBa", "RGBA")
_PROFILED = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


def to_srgb(picture: Picture) -> tuple[Array, list[str]]:
    """uint8 [H, W, 3] and notes on what could not be honoured."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_numbers(picture)
    profile = picture.info.get("icc_profile")
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode in _TRANSPARENT or ("transparency" in picture.info and picture.mode in ("1", "L", "RGB")):
        picture = picture.convert("RGBA")
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    opaque = picture.convert("RGB") if alpha is not None or picture.mode not in _PROFILED else picture
    managed, notes = _managed(opaque, profile)
    rgb = managed if managed.mode == "RGB" else managed.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        from PIL import Image

        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return np.array(rgb), notes


def _managed(picture: Picture, profile: object) -> tuple[Picture, list[str]]:
    """The picture's colours in sRGB, where it carries another profile that fits its mode."""
    if not isinstance(profile, bytes) or not profile or (picture.mode == "RGB" and says_srgb(profile)):
        return picture, []
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILED[picture.mode]:
            return picture, ["its colour profile is for other colours: ignored"]
        out = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture, ["its colour profile cannot be used: ignored"]
    return (picture, []) if out is None else (out, [])


def says_srgb(icc: bytes) -> bool:
    """A cheap test: the profile's description names sRGB."""
    return b"sRGB" in icc or "sRGB".encode("utf-16-be") in icc


def _from_numbers(picture: Picture) -> tuple[Array, list[str]]:
    """16-bit, 32-bit and float grey: 0..65535 and 0..1 are whole ranges, anything else is stretched and noted."""
    values = np.asarray(picture).astype(np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    notes: list[str] = []
    if picture.mode == "F" and low >= 0 and high <= 1:
        bottom, top = 0.0, 1.0
    elif low >= 0 and high <= 255 and not picture.mode.startswith("I;16"):
        bottom, top = 0.0, 255.0
    elif low >= 0 and high <= 65535 and picture.mode != "F":
        bottom, top = 0.0, 65535.0
    else:
        bottom, top = low, high if high > low else low + 1
        notes.append(f"its values {low:g}..{high:g} were stretched to 0..255")
    grey = np.clip((values - bottom) * (255.0 / (top - bottom)) + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), notes
