"""A reduction whitens, keeps what there is, fits 8 bits, and is after saving as it was; a forged one is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.yt8m.reduction import Reduction, load_reductions, save_reductions


class TestReduction:
    def test_whitens(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(4000, 6)) * [9, 4, 2, 1, 0.5, 1e-4] + 3
        made = Reduction.fit("visual", "x", rows, 6, seed=0)
        scale = made.apply(rows).std(axis=0)
        np.testing.assert_allclose(scale[:4], 1, atol=0.01)
        assert scale[-1] < 0.01, "noise is not blown up"
        assert made.low == -made.high
        assert 3 < made.high < 5
        bytes_ = made.bytes_of(made.apply(rows)).astype(float)
        stored = made.stored("frame")
        error = bytes_ * stored.scale + stored.offset - made.apply(rows)
        assert abs(error.mean()) < 0.02 * stored.scale

    def test_keeps_at_most_what_there_is(self):
        rows = np.random.default_rng(0).normal(size=(50, 8))
        assert Reduction.fit("visual", "x", rows, 1024, seed=0).kept == 8
        with pytest.raises(InvalidValueError, match="visual must vary to be reduced, got equal rows only"):
            Reduction.fit("visual", "x", np.ones((9, 4)), 2, seed=0)

    def test_with_a_span_of_2_has_the_scale_of_youtube_8m(self):
        stored = Reduction.fit("visual", "x", np.ones((3, 2)), None, seed=0, span=2.0).stored("frame")
        assert (stored.scale, stored.offset) == (4 / 255, 4 / 512 - 2)

    def test_is_as_it_was_after_saving(self, tmp_path):
        rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
        made = [Reduction.fit("visual", "x", rows, 4, seed=0), Reduction.fit("audio", "y", rows, None, seed=0)]
        save_reductions(tmp_path, made, {"level": "frame"})
        loaded, about = load_reductions(tmp_path)
        assert about == {"level": "frame"}
        for before, after in zip(made, loaded, strict=True):
            assert (before.name, before.low, before.high) == (after.name, after.low, after.high)
            np.testing.assert_array_equal(before.apply(rows), after.apply(rows))

    @pytest.mark.parametrize(
        "forged", [{"dim": 7}, {"dim": "8"}, {"low": 3.0, "high": 2.0}, {"high": None}, {"name": 1}, {"dim": -1}]
    )
    def test_a_forged_one_is_refused(self, tmp_path, forged):
        made = Reduction.fit("visual", "x", np.random.default_rng(0).normal(size=(50, 8)), 4, seed=0)
        save_reductions(tmp_path, [made], {})
        path = tmp_path / "reduction" / "model.json"
        said = json.loads(path.read_text())
        said["blocks"][0] |= forged
        path.write_text(json.dumps(said))
        with pytest.raises(RejectedFileError):
            load_reductions(tmp_path)
