"""Features are encoded once, kept block by block, and those of the encoder as it is; what is rejected has a reason."""

from __future__ import annotations

import dataclasses
import gc
import sys
import types
import weakref
from pathlib import Path

import numpy as np
import pytest

from lightmeter.encoders.table import ENCODERS
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.parts import Spelled, build
from lightmeter.studies import features
from lightmeter.studies.features import features_of, features_where_possible
from lightmeter.types import Image

pytestmark = pytest.mark.usefixtures("own_cache")
COLOURS = "color-histogram"


@dataclasses.dataclass(frozen=True)
class Weighed(Spelled):
    """Brightness times what a file says: a plug-in whose weights are the user's."""

    file: Path
    dim, takes, unit, macs, size_bytes, short_side = 1, "image", "picture", 0, 0, None

    def load(self):
        """Read at every encode."""

    def encode(self, items):
        return np.array([[each.pixels.mean() * float(self.file.read_text())] for each in items], np.float32)


@pytest.fixture
def weighed(monkeypatch):
    monkeypatch.setattr(Weighed, "__module__", "weighed_encoder")
    monkeypatch.setitem(sys.modules, "weighed_encoder", types.SimpleNamespace(Weighed=Weighed, Path=Path))
    monkeypatch.setitem(ENCODERS, "weighed", "weighed_encoder:Weighed")


class TestFeatures:
    def pictures(self, count):
        made = [Image(np.full((8, 8, 3), value % 256, np.uint8)) for value in range(count)]
        return made, [lambda each=each: each for each in made], [str(value) for value in range(count)]

    def test_are_encoded_once(self, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 4)
        _, makes, keys = self.pictures(10)
        told = []
        rows = features_of(makes, keys, source="s", encoder=COLOURS, tell=told.append)
        assert told == ["encoded 4 of 10 pictures", "encoded 8 of 10 pictures", "encoded 10 of 10 pictures"]

        def never():
            raise AssertionError("this block is kept")

        np.testing.assert_array_equal(features_of([never] * 10, keys, source="s", encoder=COLOURS), rows)
        for other in ({"source": "t", "encoder": COLOURS}, {"source": "s", "encoder": f"{COLOURS}/bins=2"}):
            with pytest.raises(AssertionError):
                features_of([never] * 10, keys, **other)

    def test_are_those_of_the_weights_as_they_are_now(self, weighed, tmp_path):
        _, makes, keys = self.pictures(3)
        encoder = f"weighed/file='{tmp_path / 'w.txt'}'"
        for weight in ("2", "3", "2"):
            (tmp_path / "w.txt").write_text(weight)
            made = features_of(makes, keys, source="s", encoder=encoder)
            assert made[:, 0].tolist() == [0, int(weight), 2 * int(weight)], "other weights at the same place"
        (tmp_path / "w.txt").unlink()
        with pytest.raises(MissingAssetError, match=r"w\.txt is not there"):
            features_of(makes, keys, source="s", encoder=encoder)

    def test_are_those_of_the_encoder(self):
        made, makes, keys = self.pictures(3)
        rows = features_of(makes, keys, source="s", encoder=COLOURS)
        np.testing.assert_array_equal(rows, build(COLOURS).encode(made))

    def test_a_stopped_run_loses_one_block(self, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 4)
        _, makes, keys = self.pictures(8)
        with pytest.raises(KeyboardInterrupt):
            features_of([*makes[:6], self.stop, makes[7]], keys, source="s", encoder=COLOURS)
        calls = []
        counted = [lambda make=make, at=at: calls.append(at) or make() for at, make in enumerate(makes)]
        features_of(counted, keys, source="s", encoder=COLOURS)
        assert calls == [4, 5, 6, 7]

    @staticmethod
    def stop():
        raise KeyboardInterrupt

    def test_what_is_rejected_has_a_reason_also_from_the_cache(self, bright, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 2)
        made, makes, keys = self.pictures(5)

        def unreadable():
            raise RejectedFileError("empty", "there is nothing")

        def never():
            raise AssertionError("this block is kept")

        expected = {1: "too-dark: of brightness 1", 4: "empty: there is nothing"}
        asked = [makes[0], makes[1], lambda: made[3], lambda: made[4], unreadable]
        for each in (asked, [never] * 5):
            rows, left_out = features_where_possible(each, keys, source="s", encoder="toy-bright/least=2")
            assert left_out == {0: "too-dark: of brightness 0"} | expected
            assert np.isnan(rows).all(axis=1).tolist() == [True, True, False, False, True]
            np.testing.assert_array_equal(rows[2:4, 0], [3, 4])
        with pytest.raises(RejectedFileError, match="left-out: 0 has no features by toy-bright/least=2: too-dark"):
            features_of([never] * 5, keys, source="s", encoder="toy-bright/least=2")

    def test_pictures_do_not_pile_up(self, bright):
        """A block of 500 large pictures would fill the memory: each goes before the next comes."""
        alive, most = [], []

        def make():
            alive[:] = [each for each in alive if each() is not None]
            most.append(len(alive))
            image = Image(np.full((8, 8, 3), 200, np.uint8))
            alive.append(weakref.ref(image.pixels))
            return image

        gc.collect()
        features_of([make] * 20, [str(at) for at in range(20)], source="s", encoder="toy-bright")
        assert max(most) <= 1

    def test_refuses_other_encoders_and_uneven_lists(self):
        _, makes, keys = self.pictures(2)
        with pytest.raises(InvalidValueError, match="must encode pictures"):
            features_of(makes, keys, source="s", encoder="log-mel")
        with pytest.raises(InvalidValueError, match="one key"):
            features_of(makes, keys[:1], source="s", encoder=COLOURS)
