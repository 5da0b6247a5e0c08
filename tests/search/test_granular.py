from __future__ import annotations

import numpy as np
import pytest
from brute_reference import nearest
from galleries import KINDS, drawn, gaussian, mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build
from lightmeter.search import granular as module
from lightmeter.search.granular import FittedGranular, Granular
from lightmeter.search.kernels import compiled


@pytest.fixture(params=["compiled", "twin"])
def either(request, monkeypatch):
    """The kernels, and their twin."""
    if request.param == "twin":
        monkeypatch.setattr(module, "compiled", lambda: None)
    elif compiled() is None:
        pytest.skip("the kernels were not compiled here: there was no C compiler at installation")
    return request.param


def assert_true(fitted, x, queries, k, metric, alive=None):
    """Every answer is a true one: its distances are the smallest, and among exact ties the ids are the lowest."""
    answer = fitted.search(queries, k)
    alive = np.arange(len(x)) if alive is None else alive
    for query, ids, found, certificate in zip(queries, answer.ids, answer.distances, answer.certificates, strict=True):
        wanted, smallest = nearest(x[alive], query, k + 1, metric)
        most = np.abs(smallest).max(initial=0)
        near = 1e-12 * most + (1e-15 * np.sqrt(most) + 1e-28 if metric == "cosine" else 0)
        gaps = np.diff(smallest, prepend=-np.inf, append=np.inf) > near
        clear = (gaps[1:] & gaps[:-1])[:k]
        wanted, smallest = alive[wanted[:k]], smallest[:k]
        np.testing.assert_allclose(found[: len(wanted)], smallest, rtol=1e-12, atol=near)
        assert (ids[len(wanted) :] == -1).all()
        assert np.isinf(found[len(wanted) :]).all()
        assert (ids[: len(wanted)][clear] == wanted[clear]).all()
        assert certificate.exact
        assert certificate.gap >= 0
        assert len(set(ids[: len(wanted)].tolist())) == len(wanted)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_exact_on_every_kind_of_gallery(kind, metric, either):
    for seed in range(6):
        x, queries = drawn(kind, seed)
        fitted = Granular(metric=metric, granules=(16, 32), few=2).fit(x)
        assert_true(fitted, x, queries, 1 + 3 * (seed % 2), metric)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31), k=st.sampled_from([1, 1, 2, 5, 1000]),
    metric=st.sampled_from(["l2", "cosine"]), few=st.integers(0, 40),
    widths=st.lists(st.sampled_from([16, 32, 64]), min_size=1, max_size=4),
)  # fmt: skip
def test_exact_whatever_the_options(kind, seed, k, metric, few, widths):
    x, queries = drawn(kind, seed)
    assert_true(Granular(metric=metric, granules=tuple(widths), few=few).fit(x), x, queries, k, metric)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exact_on_thousands_of_galleries(kind):
    rng = np.random.default_rng(7)
    for seed in range(400):
        x, queries = drawn(kind, seed, most_rows=1500, most_dim=400)
        metric, k = rng.choice(["l2", "cosine"]), int(rng.choice([1, 3, 20]))
        widths = tuple(rng.choice([16, 48, 64, 128], size=rng.integers(1, 4)).tolist())
        fitted = Granular(metric=str(metric), granules=widths, few=int(rng.integers(0, 30)), seed=seed).fit(x)
        assert_true(fitted, x, queries, k, str(metric))


def test_ties_go_to_the_lowest_id(either):
    x = np.array([[0, 1], [1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    answer = Granular().fit(x).search(np.array([[1.0, 0.0], [0.5, 0.5]]), 3)
    assert answer.ids.tolist() == [[1, 2, 4], [0, 1, 2]]
    assert answer.distances.tolist() == [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_a_zero_vector_has_no_direction(either):
    x = np.array([[0, 0], [-1, 0], [3, 0]], np.float32)
    answer = Granular(metric="cosine").fit(x).search(np.array([[2.0, 0.0], [0.0, 0.0]]), 3)
    assert answer.ids.tolist() == [[2, 0, 1], [0, 1, 2]]
    assert answer.distances.tolist() == [[0, 2, 4], [2, 2, 2]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_types_are_taken(dtype, either):
    x = (8 * gaussian(np.random.default_rng(0), 40, 20)).astype(dtype)
    assert Granular().fit(x).search(x, 1).ids[:, 0].tolist() == list(range(40))
    assert Granular().fit(x).search(x[:1], 1).ids[0, 0] == 0


@pytest.mark.parametrize("dim", [4096, 20_000])
def test_no_sum_leaves_its_integers(dim, either):
    """Every number of a query as large as every other, along a component whose numbers are all alike."""
    rng = np.random.default_rng(0)
    x = (np.arange(-20, 20)[:, None] * np.ones(dim) + 0.01 * rng.standard_normal((40, dim))).astype(np.float32)
    queries = np.concatenate([x[::9] + np.float32(0.3), np.sign(rng.standard_normal((3, dim)))]).astype(np.float32)
    assert_true(Granular(few=0).fit(x), x, queries, 1, "l2")


def test_many_queries_side_by_side_are_answered_as_one_by_one():
    """Also where some of them cannot be bounded, and where some stop earlier than others."""
    rng = np.random.default_rng(0)
    x = mixture(rng, 700, 90).astype(np.float32)
    queries = np.concatenate([mixture(rng, 21, 90), 1e25 * gaussian(rng, 3, 90), x[:5]]).astype(np.float32)
    queries = queries[rng.permutation(len(queries))]
    fitted = Granular(granules=(16, 16, 32), few=3).fit(x)
    many = fitted.search(queries, 2)
    for at in range(len(queries)):
        one = fitted.search(queries[at : at + 1], 2)
        assert one.ids.tolist() == many.ids[at : at + 1].tolist()
        assert one.certificates[0] == many.certificates[at]


def test_twin_and_kernels_agree_on_the_price(monkeypatch):
    if compiled() is None:
        pytest.skip("the kernels were not compiled here")
    rng = np.random.default_rng(0)
    x, queries = mixture(rng, 900, 300).astype(np.float32), mixture(rng, 20, 300).astype(np.float32)
    fast = Granular(granules=(32, 64), few=4).fit(x).search(queries, 3)
    monkeypatch.setattr(module, "compiled", lambda: None)
    slow = Granular(granules=(32, 64), few=4).fit(x).search(queries, 3)
    assert (fast.ids == slow.ids).all()
    for a, b in zip(fast.certificates, slow.certificates, strict=True):
        assert a.levels == b.levels or abs(a.survivors[0] - b.survivors[0]) <= 3
        assert abs(a.survivors[0] - b.survivors[0]) <= 0.1 * b.survivors[0] + 3


def test_one_query_is_answered_as_among_many():
    rng = np.random.default_rng(0)
    x, queries = mixture(rng, 500, 100), mixture(rng, 9, 100)
    fitted = Granular().fit(x)
    many = fitted.search(queries, 4)
    for at in range(9):
        one = fitted.search(queries[at : at + 1], 4)
        assert one.ids[0].tolist() == many.ids[at].tolist()
        assert one.distances[0].tolist() == many.distances[at].tolist()


def test_answers_are_kept_when_the_next_query_comes():
    x = np.eye(30, dtype=np.float32)
    fitted = Granular().fit(x)
    first = fitted.search(x[3:4])
    fitted.search(x[9:10])
    assert first.ids[0, 0] == 3


def test_the_certificate_counts_what_was_read():
    rng = np.random.default_rng(0)
    x = mixture(rng, 2000, 256).astype(np.float32)
    certificate = Granular(granules=(64, 64)).fit(x).search(x[5:6] + 0.01).certificates[0]
    assert certificate.exact
    assert certificate.refined >= 1
    assert certificate.bytes_read >= 2000 * 76 + 64 * 256
    assert certificate.bytes_read < x.nbytes / 3, "far fewer bytes than a scan"


# -- κ and its calibration ------------------------------------------------------------------------------------------


def test_kappa_of_one_is_exact_and_less_reads_less():
    rng = np.random.default_rng(1)
    x, queries = mixture(rng, 3000, 200), mixture(rng, 40, 200)
    exact, half = Granular().fit(x), Granular(kappa=0.5).fit(x)
    read = [
        np.mean([c.refined + sum(c.survivors) for c in each.search(queries).certificates]) for each in (exact, half)
    ]
    assert read[1] < read[0]
    assert exact.abilities.exact
    assert not half.abilities.exact


def test_a_certificate_never_lies():
    """With κ = 0 there are misses; whatever is certified is true all the same, and what is missed is not certified."""
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, queries = mixture(rng, 400, 120).astype(np.float32), mixture(rng, 30, 120).astype(np.float32)
        answer = Granular(granules=(16,), kappa=0.0).fit(x).search(queries, 2)
        for query, ids, certificate in zip(queries, answer.ids, answer.certificates, strict=True):
            true = nearest(x, query, 2, "l2")[0].tolist() == ids.tolist()
            wrong += not true
            assert true or not certificate.exact
    assert wrong > 10, "κ = 0 must miss, or this proves nothing"


def test_calibration_needs_enough_queries():
    rng = np.random.default_rng(0)
    x = mixture(rng, 500, 64)
    few = Granular().fit(x).calibrated(mixture(rng, 50, 64), alpha=0.01)
    assert few.calibration.exact
    assert "too few" in few.calibration.said()


def misses_of(seed, *, alpha, rows=1500, dim=512, fresh=1500):
    """One gallery, one calibration, fresh queries: missed, and bytes beside those of the exact mode."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.3
    both = rng.standard_normal((rows, dim)) * spectrum

    def queries(count):
        return both[rng.integers(rows, size=count)] + 0.9 * rng.standard_normal((count, dim)) * spectrum

    exact = Granular(granules=(32, 96)).fit(both)
    loose = exact.calibrated(queries(600), alpha=alpha)
    asked = queries(fresh)
    true, found = exact.search(asked), loose.search(asked)
    read = [sum(c.bytes_read for c in each.certificates) for each in (found, true)]
    return int((true.ids != found.ids).any(axis=1).sum()), read[0] / read[1]


def test_calibrated_misses_stay_below_alpha():
    from scipy.stats import binom

    missed, ratio = misses_of(3, alpha=0.05, fresh=600)
    assert binom.sf(missed - 1, 600, 0.05) > 1e-3
    assert ratio < 0.5


@pytest.mark.slow
def test_calibrated_miss_rate_over_twenty_seeds():
    """The promise: in 95 of 100 calibrations the true miss rate is at most alpha. Tested: too many above it."""
    from scipy.stats import binom

    alpha, fresh = 0.02, 1500
    found = [misses_of(seed, alpha=alpha, rows=5000, dim=1280, fresh=fresh) for seed in range(20)]
    surely_above = sum(binom.sf(missed - 1, fresh, alpha) < 0.01 for missed, _ in found)
    assert binom.sf(surely_above - 1, 20, 0.06) > 1e-3
    assert np.mean([ratio for _, ratio in found]) < 0.5


def test_a_promise_is_void_when_rows_come_or_go():
    """κ was learnt on other rows: a calibrated index searches exactly until it is calibrated again."""
    rng = np.random.default_rng(0)
    x, queries = mixture(rng, 2000, 200).astype(np.float32), mixture(rng, 700, 200).astype(np.float32)
    loose = Granular(granules=(32, 96)).fit(x).calibrated(queries, alpha=0.05)
    assert not loose.calibration.exact
    strange = (20 * gaussian(rng, 300, 200)).astype(np.float32)
    loose.add(strange)
    assert "calibrate again" in loose.calibration.said()
    asked = strange[:100] + gaussian(rng, 100, 200).astype(np.float32)
    assert_true(loose, np.concatenate([x, strange]), asked, 1, "l2")
    again = loose.calibrated(queries, alpha=0.05)
    assert not again.calibration.stale
    named = Granular(kappa=0.3).fit(x)
    named.remove(np.array([0]))
    assert named.calibration.kappas == (0.3, 0.3), "a κ that the user named promises nothing"


def test_more_neighbours_than_were_promised_are_searched_exactly():
    rng = np.random.default_rng(0)
    x, queries = mixture(rng, 1500, 100).astype(np.float32), mixture(rng, 650, 100).astype(np.float32)
    loose = Granular(granules=(16, 32)).fit(x).calibrated(queries[:600], alpha=0.05)
    assert not loose.calibration.exact
    assert_true(loose, x, queries[600:], 8, "l2")
    wide = Granular(granules=(16, 32)).fit(x).calibrated(queries[:600], alpha=0.05, k=8)
    assert "k up to 8" in wide.calibration.said()
    missed = wide.search(queries[600:], 8).distances > loose.search(queries[600:], 8).distances
    assert missed.any(axis=1).mean() < 0.2


@pytest.mark.parametrize("kappa", [np.nan, -5, 2])
def test_kappa_is_a_share(kappa):
    with pytest.raises(InvalidValueError, match="kappa must be 0 to 1"):
        Granular().fit(np.eye(4)).with_kappa(kappa)


# -- changing, keeping ----------------------------------------------------------------------------------------------


def test_added_rows_answer_and_removed_rows_do_not(either):
    rng = np.random.default_rng(0)
    x, more = mixture(rng, 200, 40).astype(np.float32), (5 + 20 * gaussian(rng, 60, 40)).astype(np.float32)
    fitted = Granular(granules=(16, 16), few=2).fit(x)
    assert [fitted.add(more[at : at + 20]).tolist()[0] for at in (0, 20, 40)] == [200, 220, 240]
    fitted.remove(np.array([0, 5, 201]))
    everything = np.concatenate([x, more])
    alive = np.setdiff1d(np.arange(260), [0, 5, 201])
    assert len(fitted) == 257
    assert_true(fitted, everything, everything[::7], 3, "l2", alive)
    with pytest.raises(InvalidValueError, match="got 5: it was never given or removed"):
        fitted.remove(np.array([5]))


def test_a_copy_with_another_calibration_changes_alone():
    x = np.eye(20, dtype=np.float32)
    first = Granular().fit(x)
    first.add(np.ones((1, 20)))
    second = first.with_kappa(1.0)
    first.add(np.full((1, 20), 2.0))
    second.add(np.full((1, 20), 3.0))
    first.remove(np.array([0]))
    assert first.search(np.full((1, 20), 2.0)).distances[0, 0] == 0
    assert second.search(np.full((1, 20), 3.0)).distances[0, 0] == 0
    assert second.search(x[:1]).ids[0, 0] == 0
    assert (len(first), len(second)) == (21, 22)
    assert (x == np.eye(20)).all(), "the caller's rows are never written"


def test_only_those_asked_among_answer(either):
    x = np.arange(40, dtype=np.float32)[:, None]
    fitted = Granular().fit(x)
    answer = fitted.search(np.array([[7.2], [0.0]]), 2, among=np.array([3, 9, 20]))
    assert answer.ids.tolist() == [[9, 3], [3, 9]]
    assert fitted.search(np.array([[7.2]]), 2, among=np.empty(0, np.int64)).ids.tolist() == [[-1, -1]]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_saved_and_loaded_it_answers_alike(metric, tmp_path):
    rng = np.random.default_rng(0)
    x = mixture(rng, 500, 70)
    fitted = Granular(metric=metric, kappa=0.6).fit(x)
    fitted.remove(np.array([3]))
    fitted.save(tmp_path / "index")
    again = FittedGranular.load(tmp_path / "index")
    ours, theirs = fitted.search(x[:9], 5), again.search(x[:9], 5)
    assert (ours.ids == theirs.ids).all()
    assert (ours.distances == theirs.distances).all()
    assert (again.recipe, again.calibration, len(again)) == (fitted.recipe, fitted.calibration, 499)
    again.add(x[:2])
    again.remove(np.array([7]))
    assert len(again) == 500


def test_a_damaged_folder_is_refused(tmp_path):
    Granular().fit(np.eye(9)).save(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    with pytest.raises(RejectedFileError, match="must be of one saving"):
        FittedGranular.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("vectors", np.zeros((4, 40))), ("lens.basis", np.zeros((32, 8), np.int8)),
        ("lens.mix", np.zeros((32, 31), np.float32)), ("lens.mix", 2 * np.eye(32, dtype=np.float32)),
        ("removed", np.zeros(8, bool)), ("removed", np.zeros(9, np.int8)), ("lens.mean", np.zeros(39, np.float32)),
        ("lens.basis_step", np.full(32, np.nan, np.float32)),
    ],
)  # fmt: skip
def test_a_forged_folder_is_refused_before_the_kernels_read_it(name, forged, tmp_path):
    Granular(granules=(16, 16)).fit(gaussian(np.random.default_rng(0), 9, 40)).save(tmp_path)
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, {**arrays, name: forged}, about)
    with pytest.raises(RejectedFileError, match=name.replace(".", r"\.")):
        FittedGranular.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": "brute"}, {"spec": "granular/granules=[64,192]"},
        {"steps": [1.0]}, {"scale": 0.0}, {"scale": "1"}, {"calibration": {}}, {"calibration": None},
    ],
)  # fmt: skip
def test_a_forged_description_is_refused(change, tmp_path):
    Granular(granules=(16, 16)).fit(gaussian(np.random.default_rng(0), 9, 40)).save(tmp_path)
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, arrays, {**about, **change})
    with pytest.raises(RejectedFileError):
        FittedGranular.load(tmp_path)


def test_memory_stays_near_that_of_the_vectors():
    x = np.random.default_rng(0).standard_normal((5000, 1280)).astype(np.float32)
    fitted = Granular().fit(x)
    assert fitted.vectors is x
    assert fitted.size_bytes + x.nbytes <= 1.25 * x.nbytes


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 0), (2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InvalidValueError, match=r"must be \[N, D\]"):
        Granular().fit(np.zeros(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad, either):
    x = np.eye(8, dtype=np.float32)
    fitted = Granular().fit(x)
    query = x[:2].copy()
    query[1, 3] = bad
    for asked in (query, query[1:]):
        with pytest.raises(InvalidValueError, match="queries must be finite"):
            fitted.search(asked)
    with pytest.raises(InvalidValueError, match="vectors must be finite"):
        Granular().fit(query)
    with pytest.raises(InvalidValueError, match="vectors must be finite"):
        fitted.add(query)


def test_wrong_queries_are_refused():
    fitted = Granular().fit(np.eye(8))
    with pytest.raises(InvalidValueError, match=r"queries must be \[N, 8\], got \[1, 7\]"):
        fitted.search(np.zeros((1, 7)))
    with pytest.raises(InvalidValueError, match="k must be at least 1, got 0"):
        fitted.search(np.zeros((1, 8)), 0)
    with pytest.raises(InvalidValueError, match="ids must be of rows that are there, got 8"):
        fitted.search(np.zeros((1, 8)), among=np.array([8]))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("granular/granules=[60]", "multiples of 16"), ("granular/granules=[]", "1 to 4"),
        ("granular/kappa=1.5", "kappa must be 0 to 1"), ("granular/alpha=0", "between 0 and 1"),
        ("granular/alpha=0.1,kappa=0.5", "give kappa or alpha"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec, said):
    with pytest.raises(InvalidValueError, match=said):
        build(spec)


def test_it_is_rebuilt_by_its_spec():
    recipe = Granular(metric="cosine", granules=(32, 64), alpha=0.05)
    assert build(recipe.spec) == recipe
    assert build("granular/kappa=0.7").kappa == 0.7
