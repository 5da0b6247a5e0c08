"""How much one file may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.errors import InvalidValueError, RejectedFileError


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bounds that hold for one file; what is above them is refused with the code `too-large`.

    pixels: of one picture, checked on its header before anything is decoded
    frame_pixels: of a video's frame (8K fits) · side: longest side, in pixels
    decode_bytes: estimated peak of one picture's decode, from its header; pixels held by read_clip
    picture_bytes: size of a picture's file, which is read whole
    words_bytes: of one sidecar · table_bytes: of a folder's metadata table
    duration_s: of a video or sound · frames: decoded from one video · streams: in one container
    sound_bytes: of decoded samples held at once
    """

    pixels: int = 100_000_000
    frame_pixels: int = 36_000_000
    side: int = 65_500
    decode_bytes: int = 800_000_000
    picture_bytes: int = 300_000_000
    words_bytes: int = 16_000_000
    table_bytes: int = 256_000_000
    duration_s: float = 24 * 3600.0
    frames: int = 10_000_000
    streams: int = 64
    sound_bytes: int = 800_000_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise InvalidValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def check_size(self, width: int, height: int, *, of_video: bool = False) -> None:
        """Refuse a picture or frame that is empty or has too many pixels."""
        most = self.frame_pixels if of_video else self.pixels
        if width <= 0 or height <= 0:
            raise RejectedFileError("unreadable", f"the header says {width} x {height} pixels")
        if max(width, height) > self.side or width * height > most:
            raise RejectedFileError(
                "too-large", f"{width} x {height} pixels: the limit is {most} pixels and {self.side} a side"
            )


DEFAULT_LIMITS = MediaLimits()
