"""What every encoder promises, held to all of them alike."""

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from lightmeter.assets.finding import find_or_none
from lightmeter.encoders.table import ENCODERS
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.types import Labels

SPECS = {
    "efficientnet-lite": None,
    "efficientnet-lite/size=1,view=whole": None,
    "efficientnet-lite/size=2": None,
    "color-histogram/bins=3": None,
    "bge-small": None,
    "centred": None,
    "minilm": "minilm",
    "glove-mean": "glove",
    "word-histogram": "words",
    "tokens": "words",
    "log-mel": None,
    "aisfx": "aisfx",
    "conse": None,
    "dlib-face/view=whole": "dlib-face",
    "clip": "clip",
    "siglip": "siglip",
    "light-cnn/layers=9": "light-cnn-9",
    "vggface": "vggface",
    "vggface2/blocks=senet": "vggface2-senet",
    "learnt": "learnt",
}
BY_FILE = ("light-cnn-9", "vggface", "vggface2-senet")


@pytest.fixture(scope="module", params=SPECS)
def encoder(request):
    needs = SPECS[request.param]
    if needs in ("clip", "siglip"):
        return build(f"clip/folder='{request.getfixturevalue(f'{needs}_folder')}'")
    if needs in BY_FILE:
        request.getfixturevalue("let_go")
        request.getfixturevalue("narrow_vggface")
        name, _, options = request.param.partition("/")
        return build(f"{name}/file='{request.getfixturevalue('face_file')(needs)}'{options and f',{options}'}")
    if needs == "learnt":
        return build(f"learnt/model='{request.getfixturevalue('learnt_folder')}'")
    if needs == "words":
        return build(f"{request.param}/{request.getfixturevalue('word_folders')[request.param]}")
    if needs and find_or_none(needs) is None:
        pytest.skip(f"`lightmeter assets add {needs}` brings what this encoder needs")
    if request.param == "glove-mean":
        pytest.importorskip("pyarrow")
    if needs == "dlib-face":
        pytest.importorskip("dlib")
        if find_or_none("dlib-landmarks") is None:
            pytest.skip("`lightmeter assets add dlib-landmarks` brings what this encoder needs")
    return build(request.param)


@pytest.fixture(scope="module")
def learnt_folder(tmp_path_factory):
    """A keyword-mlp that has learnt a little from histograms of colours."""
    pytest.importorskip("torch")
    from lightmeter.heads.examples import ArrayExamples, Block
    from lightmeter.heads.net_head import net_head
    from lightmeter.heads.training import Adam, fit_net

    rows = np.random.default_rng(0).random((8, 8), np.float32)
    block = Block("visual", "features", 8, build("color-histogram/bins=2").spec)
    labels = Labels.of([[at % 2] for at in range(8)], 2)
    examples = ArrayExamples((block,), {"visual": rows}, list("abcdefgh"), ("x", "y"), labels)
    folder = tmp_path_factory.mktemp("learnt") / "model"
    fit_net(net_head("keyword-mlp/widths=[6,4]"), examples, training=Adam(epochs=1, batch=8)).save(folder)
    return folder


def test_every_name_is_under_test():
    assert {spec.partition("/")[0] for spec in SPECS} - {"siglip"} == set(ENCODERS)


class TestEveryEncoder:
    def test_is_rebuilt_by_its_spec(self, encoder):
        assert build(encoder.spec) == encoder

    def test_gives_one_row_an_item(self, encoder, items):
        rows = encoder.encode(items[encoder.takes][0])
        assert rows.shape == (3, encoder.dim)
        assert rows.dtype == (np.int32 if encoder.spec.startswith("tokens/") else np.float32)  # numbers of words
        assert not np.allclose(rows[0], rows[1])

    def test_gives_no_row_for_no_item(self, encoder):
        assert encoder.encode([]).shape == (0, encoder.dim)

    def test_is_blind_to_its_batch(self, encoder, items):
        batch = items[encoder.takes][0]
        np.testing.assert_array_equal(encoder.encode(batch)[1], encoder.encode([batch[1]])[0])

    def test_is_finite_on_odd_items(self, encoder, items):
        odd = items[encoder.takes][1]
        odd = odd if encoder.takes != "words" or encoder.dim == 50 else odd[:2] + odd[3:]  # 512 tokens: in test_text
        assert np.isfinite(encoder.encode(odd)).all()

    def test_refuses_items_of_another_kind(self, encoder, items):
        wrong = items[encoder.takes][2]
        with pytest.raises(InvalidValueError, match=r"encodes \w+, got \w+ at 0"):
            encoder.encode([wrong])
        with pytest.raises(InvalidValueError, match="put it in a list"):
            encoder.encode(wrong)

    def test_travels_to_a_worker(self, encoder, items):
        twin = pickle.loads(pickle.dumps(encoder))
        assert twin == encoder
        item = items[encoder.takes][0][:1]
        np.testing.assert_array_equal(twin.encode(item), encoder.encode(item))

    def test_states_its_price(self, encoder):
        assert encoder.macs >= 0
        assert encoder.size_bytes >= 0
        assert encoder.unit in ("picture", "second of sound", "text of 16 tokens")
        if encoder.takes == "image":
            assert encoder.short_side is None or encoder.short_side > 0


JOINT = ("conse", "clip", "siglip")


@pytest.mark.parametrize("encoder", JOINT, indirect=True)
class TestEveryJointEncoder:
    def test_rows_are_unit_vectors(self, encoder, items):
        pictures = encoder.encode(items["image"][0])
        words = encoder.encode_words(["a cat", "a red ship"])
        assert words.shape == (2, encoder.dim)
        assert words.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(np.vstack([pictures, words]), axis=1), 1, rtol=1e-5)

    def test_words_are_blind_to_their_batch(self, encoder):
        np.testing.assert_array_equal(
            encoder.encode_words(["a cat", "a photo of the dog"])[0], encoder.encode_words(["a cat"])[0]
        )
        assert encoder.encode_words([]).shape == (0, encoder.dim)
        with pytest.raises(InvalidValueError, match="put it in a list"):
            encoder.encode_words("a cat")

    def test_derives_what_it_encodes(self, encoder, items):
        pictures = items["image"][0]
        if encoder.base is None:
            with pytest.raises(InvalidValueError, match="no base encoder"):
                encoder.derive(np.zeros((1, 3), np.float32))
        else:
            features = build(encoder.base).encode(pictures)
            np.testing.assert_array_equal(encoder.derive(features), encoder.encode(pictures))


HASHES = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from conftest import ITEMS
from lightmeter.parts import build
from lightmeter.types import Labels
for spec in sys.argv[2:]:
    made = build(spec)
    print(hashlib.sha256(made.encode(ITEMS[made.takes]()).tobytes()).hexdigest())
assert "torch" not in sys.modules
"""


def test_rows_do_not_depend_on_the_process(request, items):
    specs = ["efficientnet-lite", "color-histogram", "bge-small", "log-mel", "conse"]
    here = [hashlib.sha256(build(s).encode(items[build(s).takes][0]).tobytes()).hexdigest() for s in specs]
    there = subprocess.run(
        [sys.executable, "-c", HASHES, str(request.path.parent), *specs],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert there.stdout.split() == here
