"""Files to frames, sound and words, and back; every file may be hostile."""

from lightmeter.media.images import read_image
from lightmeter.media.limits import MediaLimits
from lightmeter.media.probe import Probe, probe
from lightmeter.media.reading import Reading
from lightmeter.media.sniff import Format, is_media_name, sniff
from lightmeter.media.sound import SoundReader, log_mel, read_sound
from lightmeter.media.video import FrameReader, frame_at, frames, read_clip
from lightmeter.media.words import find_words, read_words
from lightmeter.media.write import write_image, write_video

__all__ = [
    "Format",
    "FrameReader",
    "MediaLimits",
    "Probe",
    "Reading",
    "SoundReader",
    "find_words",
    "frame_at",
    "frames",
    "is_media_name",
    "log_mel",
    "probe",
    "read_clip",
    "read_image",
    "read_sound",
    "read_words",
    "sniff",
    "write_image",
    "write_video",
]
