"""Natural media made on the spot: pictures of every mode, videos of every structure, sounds of every layout."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def package_folder(name: str) -> str:
    """Where an installed package lies, without importing it; the test is skipped where it is absent."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{name} is not installed")
    return found.submodule_search_locations[0]


def numbered_frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A moving pattern whose top row of blocks spells the frame's number in binary: uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    ball = ((x - (7 * number) % width) ** 2 + (y - height * 0.7) ** 2) < (height / 6) ** 2
    frame = np.stack([(x + 3 * number) % 256, (2 * y + number) % 256, np.where(ball, 230, 60)], axis=2).astype(np.uint8)
    block = width // 12
    for bit in range(12):
        frame[: height // 4, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 20
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that a numbered frame shows."""
    height, width = frame.shape[:2]
    middles = (np.arange(12) * 2 + 1) * (width // 12) // 2
    return sum(1 << bit for bit, x in enumerate(middles) if frame[height // 8, x].mean() > 127)


def make_video(
    path: Path,
    count: int = 60,
    *,
    codec: str = "libx264",
    rate: int | Fraction = 25,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    stamps: list[int] | None = None,
    sound: str | None = None,
    sound_from_s: float = 0.0,
    sound_s: float | None = None,
    form: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Numbered frames in any container; stamps: in 1/1000 s, for variable rates; sound: layout of a tone beside it."""
    with av.open(str(path), "w", format=form) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options or {}) if count else None
        if stream:
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        if stream and stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        track = container.add_stream("aac", rate=44100, layout=sound) if sound else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24").reformat(format=pix_fmt)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = 1 / Fraction(rate) if stamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if stream:
            container.mux(stream.encode(None))
        if track is not None:
            seconds = sound_s or (count / rate if stamps is None else stamps[-1] / 1000)
            _mux_tone(container, track, float(seconds), sound, sound_from_s)
    return path


def _mux_tone(container, track, seconds: float, layout: str, from_s: float) -> None:
    samples = tone(seconds, 44100)
    planes = av.AudioLayout(layout).nb_channels
    for start in range(0, len(samples), 1024):
        piece = np.tile(samples[None, start : start + 1024], (planes, 1))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = 44100, Fraction(1, 44100)
        frame.pts = start + round(from_s * 44100)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))


def tone(seconds: float, rate_hz: int, pitch_hz: float = 440.0, loudness: float = 0.5) -> np.ndarray:
    """float32 [S]"""
    return (loudness * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def make_sound(path: Path, codec: str, *, layout: str = "mono", seconds: float = 1.0, rate_hz: int = 44100) -> Path:
    """A 440 Hz tone of loudness 0.5 on every channel."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate_hz, layout=layout)
        resampler = av.AudioResampler(format=track.codec_context.format, layout=layout, rate=rate_hz)
        planes = av.AudioLayout(layout).nb_channels
        samples = np.ascontiguousarray(np.tile(tone(seconds, rate_hz)[None], (planes, 1)))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        size = track.codec_context.frame_size or 1024
        fifo = av.AudioFifo()
        for piece in resampler.resample(frame):
            fifo.write(piece)
        while (piece := fifo.read(size, partial=True)) is not None:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return path


def turn_mp4(path: Path, degrees: int) -> Path:
    """Write a rotation into an MP4's video track header (tkhd matrix), as telephones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: matrix after 40 bytes
    one = 1 << 16
    turns = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}
    a, b, c, d = turns[degrees]
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[at + offset : at + offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)
    return path
