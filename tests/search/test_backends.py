"""One contract for every index there is: what its abilities promise works, and what they do not is refused."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import brute_reference as reference
import galleries
import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build
from lightmeter.search.backends.brute import Brute
from lightmeter.search.backends.faiss import Faiss
from lightmeter.search.backends.kd_forest import KdForest
from lightmeter.search.backends.rerank import measured, nearest_of_each
from lightmeter.search.backends.trees import Trees
from lightmeter.search.backends.usearch import Usearch
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.table import INDEXES

SPECS = {
    "granular": ["granular"],
    "three-way": ["three-way"],
    "pivots": ["pivots/check=0.5,false_accept=none", "pivots/check=1,false_accept=none"],
    "permutation": ["permutation/check=0.5", "permutation/check=1"],
    "hyperplanes": ["hyperplanes"],
    "one-bit": ["one-bit", "one-bit/threads=2"],
    "brute": ["brute", "brute/threads=2"],
    "faiss": [f"faiss/kind={kind}" for kind in ("flat", "ivf", "hnsw", "pca-refine", "sq8", "one-bit")],
    "hnswlib": ["hnswlib"],
    "usearch": ["usearch", "usearch/stored=bf16,scan=true"],
    "trees": ["trees", "trees/kind=ball,leaf=5"],
    "kd-forest": ["kd-forest"],
}
"""Each index in the ways that differ; a name of the table that is not here is tried as it comes."""


STOPS_EARLY = {"three-way"}
"""It answers with the rows that were left when it stopped, and their distances over the components that it read."""


def missing():
    """hnswlib needs a compiler to be installed, and is in no extra that tests need."""
    return {name for name in ("hnswlib",) if importlib.util.find_spec(name) is None}


def there():
    found = []
    for name, place in INDEXES.items():
        module = place.partition(":")[0]
        if importlib.util.find_spec(module) is not None and name not in missing():
            found += SPECS.get(name, [name])
    return found


def made(spec, metric):
    """The recipe with that metric; skips where it knows one only, and that is another."""
    recipe = build(spec, "index")
    if hasattr(recipe, "metric"):
        return replace(recipe, metric=metric)
    if metric != "l2":
        pytest.skip("it has one metric")
    return recipe


def clustered(rows=700, dim=24, seed=0):
    """A gallery and 20 queries of its kind, none of them a row."""
    both = galleries.mixture(np.random.default_rng(seed), rows + 20, dim).astype(np.float32)
    return both[:rows], both[rows:]


def check_answers(found, x, queries, metric, k, may=None, own=False):
    """Distances are those of the rows, rising, equals by id, none twice, and −1 only at the end."""
    may = np.arange(len(x)) if may is None else may
    assert found.ids.shape == found.distances.shape == (len(queries), k)
    assert (found.ids.dtype, found.distances.dtype) == (np.int64, np.float64)
    for query, ids, distances in zip(queries, found.ids, found.distances, strict=True):
        count = int((ids >= 0).sum())
        assert (ids[count:] == -1).all()
        assert np.isinf(distances[count:]).all()
        assert len(set(ids[:count].tolist())) == count
        assert np.isin(ids[:count], may).all()
        if not own:
            ours = reference.distances(x[ids[:count]], query, metric)
            np.testing.assert_allclose(distances[:count], ours, rtol=1e-6, atol=1e-9)
        assert (np.diff(distances[:count]) >= 0).all()
        assert (np.diff(ids[:count])[np.diff(distances[:count]) == 0] > 0).all()


def recall(found, x, queries, metric, k):
    hits = [
        np.intersect1d(ids, reference.nearest(x, query, k, metric)[0]).size
        for query, ids in zip(queries, found.ids, strict=True)
    ]
    return sum(hits) / (k * len(queries))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("spec", there())
def test_it_finds_the_neighbours(spec, metric):
    recipe = made(spec, metric)
    assert build(recipe.spec) == recipe
    x, queries = clustered()
    index = recipe.fit(x)
    found = index.search(queries, 5)
    check_answers(found, x, queries, metric, 5, own=spec in STOPS_EARLY)
    first = replace(found, ids=found.ids[:, :1])
    assert recall(first, x, queries, metric, 1) >= (1 if index.abilities.exact else 0.8)
    if spec not in STOPS_EARLY:
        assert recall(found, x, queries, metric, 5) >= (1 if index.abilities.exact else 0.8)
    assert len(index) == len(x)
    assert index.size_bytes > 0


@pytest.mark.parametrize("spec", there())
def test_a_row_finds_itself_and_an_answer_does_not_depend_on_its_batch(spec):
    x, queries = clustered()
    index = build(spec, "index").fit(x)
    own = index.search(x[:30], 1)
    assert (own.ids[:, 0] == np.arange(30)).mean() >= 0.95
    assert (own.distances[own.ids == np.arange(30)[:, None]] < 1e-9).all()
    together = index.search(queries, 3)
    alone = index.search(queries[7:8], 3)
    assert together.ids[7].tolist() == alone.ids[0].tolist()
    again = build(spec, "index").fit(x).search(queries, 3)
    assert again.ids.tolist() == together.ids.tolist()
    assert index.search(queries[:0], 3).ids.shape == (0, 3)


@pytest.mark.parametrize("spec", there())
def test_few_rows_fill_up_with_none(spec):
    x, queries = clustered(rows=3)
    found = build(spec, "index").fit(x).search(queries[:2], 5)
    check_answers(found, x, queries[:2], "l2", 5, own=spec in STOPS_EARLY)
    assert (found.ids[:, 3:] == -1).all()


@pytest.mark.parametrize("spec", there())
def test_it_chooses_among_rows_or_says_that_it_cannot(spec):
    x, queries = clustered()
    index = build(spec, "index").fit(x)
    for may in (np.arange(0, 700, 3), np.array([5, 17])):
        if not index.abilities.among:
            with pytest.raises(InvalidValueError, match="cannot .* among some"):
                index.search(queries, 4, among=may)
            continue
        found = index.search(queries, 4, among=may)
        check_answers(found, x, queries, "l2", 4, may)
        assert (found.ids[:, : min(4, len(may))] >= 0).mean() > 0.9
    if index.abilities.among:
        with pytest.raises(InvalidValueError, match="ids must be"):
            index.search(queries, among=np.array([700]))
        assert (index.search(queries, 2, among=np.empty(0, int)).ids == -1).all()


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("spec", there())
def test_it_grows_and_shrinks_or_says_that_it_cannot(spec, metric):
    x, queries = clustered()
    index = made(spec, metric).fit(x[:600])
    able = index.abilities
    if not able.add:
        with pytest.raises(InvalidValueError, match="cannot add"):
            index.add(x[600:])
    else:
        assert index.add(x[600:650]).tolist() == list(range(600, 650))
        assert index.add(x[650:]).tolist() == list(range(650, 700))
        assert len(index) == 700
        assert (index.search(x[600:], 1).ids[:, 0] == np.arange(600, 700)).mean() >= 0.95
    gone = index.search(queries, 1).ids[:, 0]
    if not able.remove:
        with pytest.raises(InvalidValueError, match="cannot remove"):
            index.remove(gone[:1])
        return
    before = len(index)
    index.remove(np.unique(gone))
    assert len(index) == before - len(np.unique(gone))
    found = index.search(queries, 3)
    check_answers(found, x, queries, metric, 3, np.setdiff1d(np.arange(700), gone), own=spec in STOPS_EARLY)
    assert (found.ids[:, 0] >= 0).all()
    with pytest.raises(InvalidValueError, match="ids must be"):
        index.remove(gone[:1])


@pytest.mark.parametrize("spec", there())
def test_it_is_kept_or_says_that_it_cannot_be(spec, tmp_path):
    x, queries = clustered()
    index = build(spec, "index").fit(x)
    if not index.abilities.save:
        with pytest.raises(InvalidValueError, match="cannot be"):
            index.save(tmp_path)
        return
    if index.abilities.remove:
        index.remove(index.search(queries, 1).ids[:5, 0])
    index.save(tmp_path)
    loaded = type(index).load(tmp_path)
    assert loaded.abilities == index.abilities
    assert len(loaded) == len(index)
    mine, theirs = index.search(queries, 5), loaded.search(queries, 5)
    np.testing.assert_array_equal(mine.ids, theirs.ids)
    np.testing.assert_array_equal(mine.distances, theirs.distances)
    if index.abilities.add:
        assert loaded.add(x[:2]).tolist() == [700, 701]
    if index.abilities.remove:
        loaded.remove(np.array([699]))
    arrays = tmp_path / "model.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(RejectedFileError, match="must be of one saving"):
        type(index).load(tmp_path)


@pytest.mark.parametrize("spec", there())
def test_what_is_no_vector_is_refused(spec):
    x, queries = clustered(rows=100)
    recipe = build(spec, "index")
    for bad in (np.full((3, 4), np.nan), np.zeros(4), np.zeros((0, 4)), np.array([["a"]])):
        with pytest.raises(InvalidValueError, match="vectors must be"):
            recipe.fit(bad)
    index = recipe.fit(x)
    for bad in (np.full((1, 24), np.inf), np.zeros((1, 23))):
        with pytest.raises(InvalidValueError, match="queries must be"):
            index.search(bad)
    with pytest.raises(InvalidValueError, match="k must be"):
        index.search(queries, 0)
    wide = index.search(queries.astype(np.float64)[:2], 2)
    assert wide.ids.tolist() == index.search(queries[:2], 2).ids.tolist()


@pytest.mark.parametrize("spec", there())
def test_zero_vectors_are_two_from_everything_by_cosine(spec):
    x, queries = clustered(rows=200)
    x[::9] = 0
    queries[1] = 0
    index = made(spec, "cosine").fit(x)
    found = index.search(queries, 3)
    check_answers(found, x, queries, "cosine", 3)
    assert found.distances[1].tolist() == [2, 2, 2]
    if index.abilities.exact:
        assert found.ids[1].tolist() == [0, 1, 2]


EXACT = [Brute(), Brute(threads=2), Trees(), Trees(kind="ball", leaf=3)]


@pytest.mark.parametrize("kind", galleries.KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("recipe", EXACT, ids=lambda recipe: recipe.spec)
def test_exact_ones_answer_as_the_blackboard_does(recipe, kind):
    for metric in ("l2", "cosine"):
        for seed in range(3):
            x, queries = galleries.drawn(kind, seed, most_rows=150, most_dim=60)
            check_exact(replace(recipe, metric=metric), x, queries.astype(np.float32), 4)


def check_exact(recipe, x, queries, k):
    found = recipe.fit(x).search(queries, k)
    for at, query in enumerate(queries):
        ids, distances = reference.nearest(x, query, k, recipe.metric)
        # the last bits of a sum depend on its order: what they decide may be decided either way
        np.testing.assert_allclose(
            found.distances[at, : len(ids)], distances, rtol=1e-9, atol=1e-12 * (recipe.metric == "cosine")
        )
        if found.ids[at, : len(ids)].tolist() != ids.tolist():
            np.testing.assert_allclose(
                reference.distances(x[found.ids[at, : len(ids)]], query, recipe.metric),
                distances,
                rtol=1e-12,
                atol=1e-12,
            )


@pytest.mark.slow
@pytest.mark.parametrize("kind", galleries.KINDS, ids=lambda kind: kind.__name__)
def test_brute_answers_as_the_blackboard_does_a_thousand_times(kind):
    for seed in range(100, 185):
        for metric in ("l2", "cosine"):
            x, queries = galleries.drawn(kind, seed)
            check_exact(Brute(metric=metric), x, queries.astype(np.float32), 1 + seed % 7)


def test_equal_rows_answer_by_the_lowest_id():
    x = np.tile(np.random.default_rng(0).standard_normal((1, 33)).astype(np.float32), (200, 1))
    for recipe in EXACT:
        for metric in ("l2", "cosine"):
            found = replace(recipe, metric=metric).fit(x).search(x[:1], 5)
            assert found.ids.tolist() == [[0, 1, 2, 3, 4]]


def test_brute_is_right_where_float32_is_lost():
    """Rows differ in the 7th digit: the product in float32 cannot tell them apart."""
    rng = np.random.default_rng(0)
    x = (1000 + 0.01 * rng.standard_normal((500, 40))).astype(np.float32)
    products = x[:40] @ x.T
    plain = ((x * x).sum(axis=1) - 2 * products).argmin(axis=1)
    true = [int(reference.nearest(x, query, 1, "l2")[0][0]) for query in x[:40] + np.float32(0.001)]
    assert Brute().fit(x).search(x[:40] + np.float32(0.001)).ids[:, 0].tolist() == true
    assert plain.tolist() != true


def test_numbers_at_the_ends_of_float32_do_not_overflow():
    x = np.array([[3e38, 0], [-3e38, 0], [0, 1e-38]], np.float32)
    found = Brute().fit(x).search(np.array([[3e38, 0], [0, 1e-38], [1e-44, 0]], np.float32), 3)
    assert found.ids.tolist() == [[0, 2, 1], [2, 0, 1], [2, 0, 1]]
    assert np.isfinite(found.distances).all()


def test_the_page_says_what_they_can_do():
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == 12
    x, _ = clustered(rows=100)
    for recipe, *flags, _ in rows:
        if recipe.strip("`") in missing():
            continue
        able = build(recipe.strip("`"), "index").fit(x).abilities
        said = [{"yes": True, "no": False}[flag] for flag in flags]
        assert said == [able.exact, able.add, able.remove, able.among, able.save], recipe


def test_measured_by_hand():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], np.float32)
    assert measured("l2", np.array([3.0, 0.0]), rows).tolist() == [16, 9, 73]
    np.testing.assert_allclose(measured("cosine", np.array([3.0, 0.0]), rows), [0.8, 2, 0.8], rtol=1e-15)


def test_faiss_puts_its_threads_back():
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(2)
    x, queries = clustered(rows=100)
    Faiss(threads=1).fit(x).search(queries)
    assert faiss.omp_get_max_threads() == 2
    faiss.omp_set_num_threads(1)


def test_options_out_of_range_are_refused():
    for make in (lambda: Faiss(probes=0), lambda: Brute(threads=0), lambda: KdForest(trees=0), lambda: Trees(leaf=0)):
        with pytest.raises(InvalidValueError, match="must be at least 1, got 0"):
            make()
    with pytest.raises(InvalidValueError, match="take metric=cosine"):
        Usearch(stored="i8")


@pytest.mark.parametrize("spec", there())
def test_k_may_be_an_integer_of_numpy(spec):
    x, queries = clustered(rows=100)
    index = build(spec, "index").fit(x)
    assert index.search(queries[:1], np.int64(3)).ids.tolist() == index.search(queries[:1], 3).ids.tolist()


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("count", [1, 7])
def test_what_was_proposed_is_sorted_once_each_and_filled_up(metric, count):
    """Whatever a library proposes: in any order, twice, with gaps, fewer or more than k; ties to the lowest id."""
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (50, 3)).astype(np.float32)  # many equal, some zero
    queries = rng.integers(-1, 2, (count, 3)).astype(np.float32)
    gallery = Gallery.of(dissimilarity(metric), x)
    for most in (1, 2, 5, 40):
        for k in (1, 3, 8):
            proposed = rng.integers(-1, 50, (count, most))
            ids, distances = nearest_of_each(gallery, queries, proposed, k)
            for at in range(count):
                own = np.unique(proposed[at][proposed[at] >= 0])
                far = measured(metric, queries[at], x[own])
                best = np.lexsort((own, far))[:k]
                none = k - len(best)
                assert ids[at].tolist() == own[best].tolist() + [-1] * none
                assert distances[at].tolist() == far[best].tolist() + [np.inf] * none


def test_a_gallery_counts_its_rows_as_they_leave():
    gallery = Gallery.of(dissimilarity("l2"), np.eye(4))
    assert (len(gallery), gallery.whole) == (4, True)
    gallery.remove(np.array([1, 1]))
    gallery.add(np.eye(4, dtype=np.float32)[:2])
    assert (len(gallery), gallery.whole) == (5, False)
    again = Gallery.kept(gallery.measure, gallery.arrays())
    assert (len(again), again.whole) == (5, False)
