"""One-bit codes: bit counts by hand, estimates that are unbiased and as sure as they say, rows read one by one."""

from __future__ import annotations

import brute_reference as reference
import galleries
import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.search import bits as bits_module
from lightmeter.search import one_bit as one_bit_module
from lightmeter.search.bits import bits_that_differ, coder_of, may_be_near, query_bits
from lightmeter.search.one_bit import FittedOneBit, OneBit


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 128 rows, so that a few hundred rows are many blocks."""
    monkeypatch.setattr(bits_module, "BLOCK", 128)
    monkeypatch.setattr(one_bit_module, "BLOCK", 128)


class Told:
    """Vectors on the far side of something slow: tells how many rows were read at once and in all."""

    def __init__(self, vectors):
        self.vectors, self.shape, self.dtype, self.size = vectors, vectors.shape, vectors.dtype, vectors.size
        self.read, self.most = 0, 0

    def __len__(self):
        return len(self.vectors)

    def __getitem__(self, rows):
        return self._told(self.vectors[rows])

    def take(self, ids, axis):
        return self._told(self.vectors.take(ids, axis=axis))

    def _told(self, rows):
        self.read, self.most = self.read + len(rows), max(self.most, len(rows))
        return rows


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def truth(x, queries, k, metric="l2"):
    return [reference.nearest(x, query, k, metric)[0] for query in queries]


def recall(found, true):
    hits = [np.intersect1d(ids, each).size for each, ids in zip(true, found.ids, strict=True)]
    return sum(hits) / sum(map(len, true))


# -- codes -----------------------------------------------------------------------------------------------------------


def test_bits_that_differ_are_those_of_python():
    rng = np.random.default_rng(0)
    for words in (1, 3, 4, 8, 20):
        signs = rng.integers(0, 2**63, (words, 50)).astype(np.uint64) * np.uint64(2) + np.uint64(1)
        plane = rng.integers(0, 2**63, words).astype(np.uint64)
        expected = [
            sum((int(a) ^ int(b)).bit_count() for a, b in zip(column, plane, strict=True)) for column in signs.T
        ]
        assert bits_that_differ(signs, plane).tolist() == expected
    all_ones = np.full((20, 1), 2**64 - 1, np.uint64)
    assert bits_that_differ(all_ones, np.zeros(20, np.uint64)).tolist() == [1280]


def test_a_code_is_the_signs_of_the_rotated_row():
    x = normal(5, 70)
    coder = coder_of(x, cosine=False, seed=3)
    assert coder.bits == 128
    np.testing.assert_allclose(coder.rotation.T @ coder.rotation, np.eye(70), atol=1e-5)
    block = coder.encode(x)
    seen = (x / coder.unit - coder.mean) @ coder.rotation.T
    for row in range(5):
        signs = [int(block.signs[bit // 64, row]) >> bit % 64 & 1 for bit in range(128)]
        assert signs == (seen[row] > 0).astype(int).tolist()
    np.testing.assert_allclose(
        block.lengths, np.linalg.norm(x / coder.unit - x.mean(0) / coder.unit, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(block.factors, np.sqrt(128) * block.lengths / np.abs(seen).sum(axis=1), rtol=1e-5)


def test_planes_and_weights_are_the_query():
    x = normal(50, 64)
    coder = coder_of(x, cosine=False, seed=0)
    asked = query_bits(coder, x[0], 4)
    there = x[0] / coder.unit - coder.mean
    seen = coder.rotation @ (there / np.linalg.norm(there))
    signs = np.array([[int(plane[0]) >> bit & 1 for bit in range(64)] for plane in asked.planes]) * 2 - 1
    rebuilt = np.array(asked.weights) @ signs
    assert asked.reach == pytest.approx(np.linalg.norm(there), rel=1e-6)
    assert asked.rounding == pytest.approx(np.linalg.norm(rebuilt - seen), rel=1e-4)
    assert asked.rounding < 0.15
    assert (signs[-1] == np.where(seen >= 0, 1, -1)).all()


def test_estimates_are_unbiased_and_as_sure_as_they_say():
    """Over 60 rotations: the mean error is near 0, and its spread is the one that rules rows out."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal(128).astype(np.float32)
    x = (query * np.linspace(0, 2, 40)[:, None] + rng.standard_normal((40, 128))).astype(np.float32)
    true = ((x.astype(float) - query) ** 2).sum(axis=1)
    by_signs, by_digits, said = [], [], []
    for seed in range(60):
        coder = coder_of(x, cosine=False, seed=seed)
        asked, block = query_bits(coder, query, 4), coder.encode(x)
        differ, rough = block.distances_by_signs(asked)
        fine = block.distances_by_digits(asked, np.arange(40), differ)
        scale = 2 * block.lengths * asked.reach  # of ρ
        needed = (true / coder.unit**2 - asked.reach**2) - block.lengths**2
        by_signs.append((rough - block.lengths**2 - needed) / scale)
        by_digits.append((fine - block.lengths**2 - needed) / scale)
        rho = -needed / scale
        per, rest = asked.noise_by_digits(block.factors)
        said.append([asked.noise_by_signs[0] * (1 - rho**2), per * (1 - rho**2) + rest])
    said = np.sqrt(np.mean(said, axis=0))
    for errors, deviation in ((np.array(by_signs), said[0]), (np.array(by_digits), said[1])):
        assert np.abs(errors.mean()) < 0.1 * deviation.mean()
        spread = errors.std(axis=0) / deviation
        assert 0.85 < np.median(spread) < 1.15
        assert spread.max() < 1.5
    assert said[1].mean() < 0.75 * said[0].mean()


def test_what_lies_within_the_edge_is_never_ruled_out_by_a_true_estimate():
    x = normal(300, 64)
    coder = coder_of(x, cosine=False, seed=0)
    asked, block = query_bits(coder, normal(1, 64, seed=5)[0], 4), coder.encode(x)
    true = ((x.astype(float) - normal(1, 64, seed=5)) ** 2).sum(axis=1) / coder.unit**2
    for edge in np.quantile(true, [0.01, 0.3, 0.9]):
        estimated = (true - asked.reach**2).astype(np.float32)
        sure = may_be_near(asked, block.lengths, estimated, float(edge), 0.0, (0.1, 0.0))
        assert sure[true <= edge].all()
        assert not sure[true > edge * 1.01].any()
        unsure = may_be_near(asked, block.lengths, estimated, float(edge), 2.0, (0.01, 0.0))
        assert unsure.sum() > sure.sum() or sure.all()


# -- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_worst_case_is_found_all_the_same(metric):
    x, queries = normal(4000, 128), normal(30, 128, seed=1)
    index = OneBit(metric=metric).fit(x)
    found = index.search(queries, 10)
    assert recall(found, truth(x, queries, 10, metric)) >= 0.97
    for each in found.certificates:
        assert each.refined < 3500
        assert each.levels == 2
        assert each.survivors[0] >= each.survivors[1]


def test_doubt_buys_recall():
    x, queries = normal(3000, 128), normal(20, 128, seed=1)
    true = truth(x, queries, 10)
    results = [OneBit(doubt=doubt).fit(x).search(queries, 10) for doubt in (0.0, 1.0, 2.5, 6.0)]
    found = [recall(each, true) for each in results]
    measured = [sum(told.refined for told in each.certificates) for each in results]
    assert found == sorted(found)
    assert measured == sorted(measured)
    assert found[0] < 0.95 < found[2]
    assert found[3] == 1


@pytest.mark.parametrize("kind", galleries.KINDS, ids=lambda kind: kind.__name__)
def test_other_galleries(kind, small_blocks):
    rng = np.random.default_rng(7)
    both = kind(rng, 1010, 40).astype(np.float32)
    x, queries = both[:1000], both[1000:]
    for metric in ("l2", "cosine"):
        found = OneBit(metric=metric).fit(x).search(queries, 4)
        near = np.array([reference.nearest(x, query, 4, metric)[1] for query in queries])
        atol = 1e-12 if metric == "cosine" else 0.0
        assert np.isclose(found.distances, near, rtol=1e-6, atol=atol).mean() >= 0.95


def test_equal_rows_answer_by_the_lowest_id():
    x = np.tile(normal(1, 20), (3000, 1))
    assert OneBit().fit(x).search(x[:1], 4).ids.tolist() == [[0, 1, 2, 3]]
    assert OneBit(most=300).fit(x).search(x[:1], 4).ids.tolist() == [[0, 1, 2, 3]]
    asked = OneBit(metric="cosine").fit(x).search(np.zeros((1, 20)), 3)
    assert (asked.ids.tolist(), asked.distances.tolist()) == ([[0, 1, 2]], [[2, 2, 2]])


def test_most_is_held():
    x, queries = normal(6000, 64), normal(5, 64, seed=1)
    for each in OneBit(most=300, doubt=6).fit(x).search(queries, 10).certificates:
        assert each.refined <= 300 + 2 * 256


def test_threads_and_blocks_change_nothing(small_blocks):
    x, queries = normal(1500, 70), normal(10, 70, seed=1)
    one, two = OneBit().fit(x).search(queries, 5), OneBit(threads=2).fit(x).search(queries, 5)
    assert one.ids.tolist() == two.ids.tolist()
    assert [each.refined for each in one.certificates] == [each.refined for each in two.certificates]


def test_rows_are_read_in_blocks_when_fitting_and_one_by_one_when_asked():
    x = normal(70_000, 16)
    told = Told(x)
    index = OneBit().fit(told)
    assert told.most <= 1 << 16
    assert told.read == 2 * len(x)
    told.read = 0
    found = index.search(normal(1, 16, seed=1), 5)
    assert told.read == found.certificates[0].refined < len(x)
    assert index.size_bytes < 70_000 * 17 + 5000


def test_a_file_is_searched_where_it_lies(tmp_path):
    x, queries = normal(3000, 48), normal(5, 48, seed=1)
    np.save(tmp_path / "rows.npy", x)
    index = OneBit().fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert index.search(queries, 3).ids.tolist() == OneBit().fit(x).search(queries, 3).ids.tolist()


# -- changing and keeping --------------------------------------------------------------------------------------------


def test_rows_that_were_added_are_coded_as_the_first_ones(small_blocks):
    x, queries = normal(900, 40), normal(10, 40, seed=1)
    index = OneBit(doubt=8).fit(x[:300])
    for start, stop in ((300, 301), (301, 340), (340, 340), (340, 700), (700, 900)):
        assert index.add(x[start:stop]).tolist() == list(range(start, stop))
    assert [len(block) for block in index.blocks] == [128] * 7 + [4]
    assert len(index.shards) < 5
    assert recall(index.search(queries, 5), truth(x, queries, 5)) == 1
    whole = index.coder.encode(x)
    np.testing.assert_array_equal(np.concatenate([block.signs for block in index.blocks], axis=1), whole.signs)
    np.testing.assert_array_equal(index.rows(np.array([0, 299, 300, 899])), x[[0, 299, 300, 899]])


def test_it_is_kept_with_its_vectors_on_disk(tmp_path, small_blocks):
    x, queries = normal(500, 40), normal(10, 40, seed=1)
    index = OneBit(metric="cosine").fit(x[:450])
    index.add(x[450:])
    index.remove(np.array([3, 499]))
    index.save(tmp_path)
    loaded = FittedOneBit.load(tmp_path)
    assert isinstance(loaded.shards[0], np.memmap)
    assert loaded.recipe == index.recipe
    assert loaded.search(queries, 5).ids.tolist() == index.search(queries, 5).ids.tolist()
    assert loaded.add(x[:200]).tolist() == list(range(500, 700))
    loaded.remove(np.array([0]))
    file = tmp_path / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RejectedFileError, match="one saving with its codes"):
        FittedOneBit.load(tmp_path)


def test_bad_options_and_rows_are_refused():
    for make, said in (
        (lambda: OneBit(doubt=-1), "doubt must be 0 or more"),
        (lambda: OneBit(digits=1), "digits must be 2 to 8"),
        (lambda: OneBit(most=0), "most must be at least 1"),
        (lambda: OneBit().fit(np.full((3, 2), np.nan, np.float32)), "must be finite"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            make()
