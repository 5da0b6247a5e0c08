"""Files to frames, sound and words, and back; every file may be hostile."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightmeter.media.images import read_image as read_image
    from lightmeter.media.limits import MediaLimits as MediaLimits
    from lightmeter.media.probe import Probe as Probe
    from lightmeter.media.probe import probe as probe
    from lightmeter.media.reading import Reading as Reading
    from lightmeter.media.sniff import Format as Format
    from lightmeter.media.sniff import is_media_name as is_media_name
    from lightmeter.media.sniff import sniff as sniff
    from lightmeter.media.sound import SoundReader as SoundReader
    from lightmeter.media.sound import log_mel as log_mel
    from lightmeter.media.sound import read_sound as read_sound
    from lightmeter.media.video import FrameReader as FrameReader
    from lightmeter.media.video import frame_at as frame_at
    from lightmeter.media.video import frames as frames
    from lightmeter.media.video import read_clip as read_clip
    from lightmeter.media.words import find_words as find_words
    from lightmeter.media.words import read_words as read_words
    from lightmeter.media.write import write_image as write_image
    from lightmeter.media.write import write_video as write_video

_PLACES = {
    "images": ("read_image",),
    "limits": ("MediaLimits",),
    "probe": ("Probe", "probe"),
    "reading": ("Reading",),
    "sniff": ("Format", "is_media_name", "sniff"),
    "sound": ("SoundReader", "log_mel", "read_sound"),
    "video": ("FrameReader", "frame_at", "frames", "read_clip"),
    "words": ("find_words", "read_words"),
    "write": ("write_image", "write_video"),
}
__all__ = [  # noqa: RUF022  (in the order of a reading)
    "Format", "sniff", "is_media_name", "MediaLimits", "Reading", "Probe", "probe", "read_image", "FrameReader", "frames",
    "frame_at", "read_clip", "SoundReader", "read_sound", "log_mel", "find_words", "read_words", "write_image", "write_video",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"lightmeter.media.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
