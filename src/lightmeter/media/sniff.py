"""What a file is, by its first bytes and never by its name; playlists and scripts in disguise are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightmeter.errors import RejectedFileError
from lightmeter.media.door import at_the_door, name_of, open_file
from lightmeter.types import Kind

HEAD_BYTES = 4096

IMAGE_NAMES = frozenset("jpg jpeg jpe jfif png apng webp gif tif tiff bmp dib avif heic heif".split())
VIDEO_NAMES = frozenset("mp4 m4v mov qt mkv webm avi mpg mpeg mpe vob ts mts m2ts flv ogv wmv asf 3gp 3g2".split())
SOUND_NAMES = frozenset("wav mp3 flac ogg oga opus m4a m4b aac aif aiff wma mka".split())


@dataclass(frozen=True, slots=True)
class Format:
    """A file format of the allow-list.

    kind: what it usually holds (a container without pictures turns out as sound in `probe`)
    name: ours · decoder: Pillow's format or FFmpeg's demuxer, the only one that will be let near the file
    """

    kind: Kind
    name: str
    decoder: str


JPEG, PNG, WEBP = Format("image", "jpeg", "JPEG"), Format("image", "png", "PNG"), Format("image", "webp", "WEBP")
GIF, TIFF, BMP = Format("image", "gif", "GIF"), Format("image", "tiff", "TIFF"), Format("image", "bmp", "BMP")
AVIF, HEIF = Format("image", "avif", "AVIF"), Format("image", "heif", "HEIF")
MP4, M4A = Format("video", "mp4", "mov"), Format("sound", "m4a", "mov")
MATROSKA, AVI, FLV = (
    Format("video", "matroska", "matroska"),
    Format("video", "avi", "avi"),
    Format("video", "flv", "flv"),
)
MPEG_PS, MPEG_TS = Format("video", "mpeg-ps", "mpeg"), Format("video", "mpeg-ts", "mpegts")
MPEG_ES, ASF = Format("video", "mpeg-es", "mpegvideo"), Format("video", "asf", "asf")
OGG_VIDEO, OGG = Format("video", "ogv", "ogg"), Format("sound", "ogg", "ogg")
WAV, FLAC, AIFF = Format("sound", "wav", "wav"), Format("sound", "flac", "flac"), Format("sound", "aiff", "aiff")
MP3, AAC = Format("sound", "mp3", "mp3"), Format("sound", "aac", "aac")

_PLAIN = (
    (b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG), (b"GIF87a", GIF), (b"GIF89a", GIF),
    (b"II*\0", TIFF), (b"MM\0*", TIFF),
    (b"\x1aE\xdf\xa3", MATROSKA), (b"FLV\x01", FLV), (b"\0\0\x01\xba", MPEG_PS), (b"\0\0\x01\xb3", MPEG_ES),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ASF), (b"fLaC", FLAC),
)  # fmt: skip

_DISGUISES = (
    (b"ffconcat", "an ffconcat script"), (b"#extm3u", "an HLS playlist"), (b"#ext-x-", "an HLS playlist"),
    (b"v=0", "an SDP description"), (b"[playlist]", "a PLS playlist"), (b"[reference]", "an ASX reference"),
    (b"rtsptext", "an RTSP reference"), (b"smjpeg", "a stream script"), (b"%!ps", "a PostScript program"),
    (b"%pdf", "a PDF document"), (b"#!", "a script"), (b";ffmetadata", "an FFmpeg metadata script"),
    (b"id;", "a script"), (b"<", "an XML or HTML document (SVG, DASH, ASX, SMIL …)"), (b"{", "a JSON document"),
    (b"http://", "a list of addresses"), (b"https://", "a list of addresses"), (b"file ", "an FFmpeg file list"),
    (b"file:", "a list of addresses"), (b"mvg", "an ImageMagick script"),
    (b"push graphic-context", "an ImageMagick script"),
)  # fmt: skip


def is_media_name(path: Path | str) -> bool:
    """Whether the name's ending claims that the file is a picture, video or sound."""
    suffix = Path(path).suffix.lower().lstrip(".")
    return suffix in IMAGE_NAMES or suffix in VIDEO_NAMES or suffix in SOUND_NAMES


def sniff(path: Path | str) -> Format | None:
    """The format of a file, or None where it is of another kind and its name claims nothing else.

    Raises RejectedFileError: `empty`, `disguise` (a playlist, manifest or script under a media name),
    `unknown-format` (a media name on something that is none), `missing`, `not-a-file`, `unreadable`.
    Cost: reads the first 4 KiB.
    """
    with at_the_door(name_of(path)), open_file(path) as file:
        head = file.read(HEAD_BYTES)
    return sniff_bytes(head, claims_media=is_media_name(path))


def must_sniff(head: bytes) -> Format:
    """The format of a file that is about to be read: other kinds are refused, whatever the name."""
    found = sniff_bytes(head, claims_media=True)
    assert found is not None
    return found


def sniff_bytes(head: bytes, *, claims_media: bool) -> Format | None:
    """The same on the first bytes of a file."""
    found = _match(head)
    if found is not None or not claims_media:
        return found
    if not head:
        raise RejectedFileError("empty", "the file has no bytes")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    for start, what in _DISGUISES:
        if text.startswith(start):
            raise RejectedFileError("disguise", f"this is {what}, not a picture, video or sound: it is not opened")
    raise RejectedFileError("unknown-format", "the first bytes belong to no format that is read here")


def _match(head: bytes) -> Format | None:
    for magic, found in _PLAIN:
        if head.startswith(magic):
            return found
    for look in (_riff, _iso, _ogg, _bmp, _transport_stream, _mpeg_audio, _aiff):
        match = look(head)
        if match is not None:
            return match
    return None


def _riff(head: bytes) -> Format | None:
    if head[:4] not in (b"RIFF", b"RF64"):
        return None
    return {b"WEBP": WEBP, b"AVI ": AVI, b"WAVE": WAV}.get(head[8:12])


def _iso(head: bytes) -> Format | None:
    box = head[4:8]
    if box == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return AVIF
        if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
            return AVIF if b"avif" in head[16 : int.from_bytes(head[:4], "big")] else HEIF
        return M4A if brand in (b"M4A ", b"M4B ") else MP4
    if box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return MP4
    return None


def _ogg(head: bytes) -> Format | None:
    if not head.startswith(b"OggS"):
        return None
    return OGG_VIDEO if b"\x80theora" in head or b"BBCD\0" in head or b"OVP80" in head else OGG


def _bmp(head: bytes) -> Format | None:
    sizes = (12, 16, 40, 52, 56, 64, 108, 124)
    return BMP if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in sizes else None


def _transport_stream(head: bytes) -> Format | None:
    for start, step in ((0, 188), (4, 192)):
        marks = range(start, len(head), step)
        if len(marks) >= 3 and all(head[mark] == 0x47 for mark in marks):
            return MPEG_TS
    return None


def _mpeg_audio(head: bytes) -> Format | None:
    """MP3 and ADTS start with 11 or 12 set bits; the other fields must make sense too."""
    if head.startswith(b"ID3") and len(head) >= 10 and head[3] in (2, 3, 4) and all(byte < 0x80 for byte in head[6:10]):
        return MP3
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return AAC if (head[2] >> 2) & 15 < 13 else None
    layer, bitrate, rate = (head[1] >> 1) & 3, head[2] >> 4, (head[2] >> 2) & 3
    return MP3 if layer in (1, 2) and (head[1] >> 3) & 3 != 1 and bitrate not in (0, 15) and rate != 3 else None


def _aiff(head: bytes) -> Format | None:
    return AIFF if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC") else None
