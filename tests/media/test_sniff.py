"""A file is known by its first bytes; names only decide whether something else is worth a word."""

import pytest
from hostile import picture, sound, video

from lightmeter.errors import RejectedFileError
from lightmeter.media import is_media_name, probe, sniff
from lightmeter.media.sniff import sniff_bytes


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_pictures(form):
    found = sniff_bytes(picture(form), claims_media=False)
    assert (found.kind, found.decoder) == ("image", form)


CONTAINERS = (
    ("mp4", "libx264", "mov"), ("mov", "libx264", "mov"),
    ("mkv", "libx264", "matroska"), ("webm", "libvpx", "matroska"),
    ("avi", "mpeg4", "avi"), ("mpg", "mpeg2video", "mpeg"), ("ts", "libx264", "mpegts"), ("flv", "libx264", "flv"),
    ("m2v", "mpeg2video", "mpegvideo"),
)  # fmt: skip


@pytest.mark.parametrize(("form", "codec", "demuxer"), CONTAINERS)
def test_videos(form, codec, demuxer):
    found = sniff_bytes(video(form, codec=codec, options=(), count=15)[:4096], claims_media=False)
    assert (found.kind, found.decoder) == ("video", demuxer)


@pytest.mark.parametrize(
    ("form", "codec", "demuxer"),
    [
        ("wav", "pcm_s16le", "wav"),
        ("flac", "flac", "flac"),
        ("mp3", "mp3", "mp3"),
        ("ogg", "libopus", "ogg"),
        ("aac", "aac", "aac"),
    ],
)
def test_sounds(form, codec, demuxer):
    found = sniff_bytes(sound(form, codec)[:4096], claims_media=False)
    assert (found.kind, found.decoder) == ("sound", demuxer)


def test_other_kinds_are_none_unless_their_name_claims_more(tmp_path):
    for name, data in (
        ("a.txt", b"hello"),
        ("b.m3u8", b"#EXTM3U\n"),
        ("c.svg", b"<svg/>"),
        ("d", b""),
        ("e.pdf", b"%PDF-1.4"),
    ):
        (tmp_path / name).write_bytes(data)
        assert sniff(tmp_path / name) is None
        with pytest.raises(RejectedFileError):
            probe(tmp_path / name)
    (tmp_path / "f.jpg").write_bytes(b"hello")
    with pytest.raises(RejectedFileError) as caught:
        sniff(tmp_path / "f.jpg")
    assert caught.value.code == "unknown-format"


def test_names():
    assert is_media_name("a/B.JPEG")
    assert is_media_name("x.mkv")
    assert not is_media_name("x.txt")
    assert not is_media_name("jpg")


def test_text_is_never_taken_for_sound_or_streams():
    for text in (
        b"ID3 is a tag",
        b"GGGG" * 50,
        b"\xff\xfe" + "text".encode("utf-16-le"),
        b"BM is a brand",
        b"RIFF raff",
    ):
        assert sniff_bytes(text, claims_media=False) is None
