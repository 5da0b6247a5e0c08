"""A study says what it measured, what it did not run and why, and leaves what it touched as it was."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError, MissingExtraError, UnknownNameError
from lightmeter.meter.record import read_results
from lightmeter.metrics.shares import Share
from lightmeter.search.protocol import Certificate
from lightmeter.studies import comparison
from lightmeter.studies.caltech import CALTECH
from lightmeter.studies.candidates import class_means_row, lead, majority_row, told_by
from lightmeter.studies.comparison import Beside, Fitted, Row, Section, Study, Told, exact_labels, exact_rows, run_study
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.galleries import Gallery, mixture, mixture_tracks
from lightmeter.studies.published import published
from lightmeter.studies.results import json_rows, study_text, write_study


def toy():
    """Four queries on a line; the nearest rows are 0, 1, 2, 2 and the last of these is of the wrong class."""
    return Gallery(
        "toy", np.array([[0.0], [1], [2]], np.float32), np.array([0, 1, 2]),
        np.array([[0.1], [0.9], [2.1], [3]], np.float32), np.array([0, 1, 2, 0]), classes=("a", "b", "c"),
        licence="none", source="by hand", seed=0,
    )  # fmt: skip


def nearest(gallery):
    rows, y = gallery.x[:, 0], gallery.y
    return Fitted(lambda queries: y[np.abs(queries[:, :1] - rows).argmin(axis=1)], size_bytes=12)


def row(label, fit=nearest, **more):
    return Row(label, label, fit, "ours", **more)


def study(*rows, galleries=(toy,), beside=None, name="toy"):
    sections = [Section(f"section {at}", each, beside) for at, each in enumerate(galleries)]
    return Study(name, "Which toy is best?", rows, lambda asked: sections)


def only(result):
    [section] = result.sections
    return {each.row.label: each for each in section.outcomes}


def raiser(error):
    def fit(gallery):
        raise error

    return fit


def test_exact_rows_are_those_of_a_loop():
    chance = np.random.default_rng(0)
    x, queries = chance.normal(size=(40, 5)), chance.normal(size=(300, 5))
    x[[7, 39]] = x[3]  # a tie goes to the lowest row
    queries[0] = x[3]
    slow = [int(np.argmin([((q - row) ** 2).sum() for row in x])) for q in queries]
    assert exact_rows(x, queries).tolist() == slow
    assert slow[0] == 3


def test_shares_by_hand():
    found = only(run_study(study(row("nearest"), majority_row()), Asked()))
    assert found["nearest"].right == Share(3, 4)
    assert found["nearest"].agreement == Share(4, 4), "the exact neighbour is wrong once too"
    assert found["most frequent class"].right == Share(2, 4)
    assert found["most frequent class"].agreement == Share(1, 4)
    assert found["nearest"].trial.quality == 0.75
    assert found["nearest"].size_bytes == 12


def test_class_means_by_hand():
    gallery = dataclasses.replace(toy(), y=np.array([0, 1, 1]), classes=("a", "b"), truth=np.array([0, 1, 1, 1]))
    fitted = class_means_row().fit(gallery)
    assert fitted.labels(np.array([[0.7], [0.8]], np.float32)).tolist() == [0, 1], "means are 0 and 1.5"
    assert fitted.tell(None) == Told(bytes_read=16.0)


def test_a_row_that_cannot_run_says_why_and_the_rest_goes_on():
    extra = MissingExtraError("faiss is needed here: pip install 'lightmeter[faiss]'")
    result = run_study(
        study(
            row("first", raiser(extra)),
            row("second"),
            row("third", skip=lambda gallery, scale: f"too dear for {gallery.name} at {scale}"),
        ),
        Asked(),
    )
    found = only(result)
    assert [each.ran for each in found.values()] == [False, True, False]
    assert found["first"].why == str(extra)
    text = study_text(result)
    assert "not run: first: faiss is needed here: pip install 'lightmeter[faiss]'" in text
    assert "not run: third: too dear for toy at smoke" in text
    states = {each["row"]: (each["state"], each["why"]) for each in json_rows(result)}
    assert states["second"] == ("run", "")
    assert states["third"] == ("not run", "too dear for toy at smoke")


def test_our_own_bugs_are_not_excused():
    with pytest.raises(ZeroDivisionError):
        run_study(study(row("first", raiser(ZeroDivisionError()))), Asked())


def test_a_gallery_that_is_not_here_says_what_brings_it():
    missing = MissingAssetError("no asset 'x': run `lightmeter assets add x`")
    result = run_study(study(row("nearest"), galleries=(raiser_of_galleries(missing), toy)), Asked())
    assert [each.gallery is None for each in result.sections] == [True, False]
    assert "not run: no asset 'x': run `lightmeter assets add x`" in study_text(result)
    assert [each["state"] for each in json_rows(result)] == ["not run", "run"]


def raiser_of_galleries(error):
    def make():
        raise error

    return make


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


class TestTime:
    def slow(self, seconds):
        def fit(gallery):
            inner = nearest(gallery).labels

            def labels(queries):
                burn(seconds * len(queries))
                return inner(queries)

            return Fitted(labels)

        return fit

    def test_is_cpu_of_one_query(self):
        def sleeper(gallery):
            def labels(queries):
                time.sleep(0.002)
                return nearest(gallery).labels(queries)

            return Fitted(labels)

        found = only(run_study(study(row("burns", self.slow(0.002)), row("sleeps", sleeper)), Asked()))
        assert 0.0018 < found["burns"].trial.price() < 0.004
        assert found["sleeps"].trial.price() < 0.001, "waiting is no work"
        assert 200 < found["burns"].batch_per_s < 560

    def test_rows_take_turns(self, monkeypatch):
        monkeypatch.setattr(comparison, "BUDGET_S", {"smoke": 0.0})
        heard = []

        def listens(name):
            def fit(gallery):
                inner = nearest(gallery).labels
                return Fitted(lambda queries: heard.append(name) or inner(queries))

            return fit

        run_study(study(row("a", listens("a")), row("b", listens("b"))), Asked())
        turns = "".join(heard)
        assert "ababab" in turns

    def test_answers_that_depend_on_the_batch_are_told(self):
        def fickle(gallery):
            return Fitted(lambda queries: np.zeros(len(queries), np.int64) + (len(queries) > 1))

        result = run_study(study(row("fickle", fickle), row("steady")), Asked())
        assert only(result)["fickle"].differs == 4
        assert only(result)["steady"].differs == 0
        assert "fickle: 4 of the queries timed got another answer alone" in study_text(result)


def test_adding_and_removing_leaves_all_as_it_was():
    class Rows:
        def __init__(self):
            self.held, self.most, self.next = {}, 0, 0

        def add(self, vectors):
            self.held[self.next] = vectors
            self.next += 1
            self.most = max(self.most, len(self.held))
            return np.array([self.next - 1])

        def remove(self, ids):
            burn(0.001)
            for each in ids.tolist():
                del self.held[each]

    rows = Rows()
    found = only(
        run_study(study(row("rows", lambda gallery: dataclasses.replace(nearest(gallery), change=rows))), Asked())
    )
    assert (rows.held, rows.most, rows.next) == ({}, 1, comparison.CHANGES)
    assert found["rows"].remove_ms == pytest.approx(1, abs=0.5)
    assert found["rows"].add_ms < 0.5


def test_certificates_become_means():
    early = Certificate(exact=True, gap=1.0, levels=1, survivors=(4,), refined=4, bytes_read=100)
    late = Certificate(exact=False, gap=-1.0, levels=2, survivors=(10, 2), refined=2, bytes_read=300)
    assert told_by([early, late]) == Told(bytes_read=200.0, survivors=(7.0, 3.0), proven=0.5, measured=3.0)
    assert told_by([]) == Told()


def test_lead_by_hand():
    assert lead(np.array([[1.0, 5, 3], [2, 2, 0]])).tolist() == [2, 0]
    assert lead(np.array([[1.0]])).tolist() == [0]


class TestPublished:
    def test_cells_stand_beside_and_what_we_lack_is_shown(self):
        beside = Beside("caltech-101", "Inception v1, error", "Inception v1, time")
        result = run_study(study(row("mine", published="SVM"), row("new"), beside=beside), Asked())
        found = only(result)
        assert found["mine"].published_error.printed == "8.76"
        assert found["mine"].published_time.value == 3.89
        assert found["new"].published_error is None
        lacking = [label for label in published("caltech-101").rows if label != "SVM"]
        assert [label for label, each in found.items() if not each.ran] == lacking
        assert found["RF"].published_error.printed == "13.43"
        text = study_text(result)
        assert "published error %" in text
        assert "seed 004, Caltech-101" in text
        [mine] = [each for each in json_rows(result) if each["row"] == "mine"]
        assert mine["published"]["error"] == {
            "column": "Inception v1, error", "printed": "8.76", "unit": "%", "value": 8.76, "plus_minus": None
        }  # fmt: skip

    def test_accuracies_are_called_so(self):
        beside = Beside("ytf-lfw", "VGGFace, accuracy", "VGGFace, time", accuracy=True)
        result = run_study(study(row("mine", published="None; SVM"), beside=beside), Asked())
        assert "published accuracy %" in study_text(result)
        assert json_rows(result)[0]["published"]["accuracy"]["plus_minus"] == 0.6


def test_videos_are_asked_one_by_one():
    gallery = mixture_tracks("smoke", tracks=10)
    sizes = []

    def fit(gallery):
        def labels(videos):
            sizes.append([len(frames) for frames in videos])
            return np.array([gallery.y[(frames @ gallery.x.T).max(axis=0).argmax()] for frames in videos])

        return Fitted(labels)

    sections = [Section("videos", lambda: gallery, exact=lambda gallery: fit(gallery).labels(gallery.asked))]
    result = run_study(Study("videos", "Who?", (row("first", fit),), lambda asked: sections), Asked())
    assert only(result)["first"].agreement == Share(10, 10)
    assert sizes[0] == [20] * 10
    assert [20] in sizes


def test_declarations_are_checked():
    with pytest.raises(InvalidValueError, match="different labels"):
        study(row("a"), row("a"))
    with pytest.raises(InvalidValueError, match="end in '\\?'"):
        Study("toy", "No question.", (), lambda asked: [])
    with pytest.raises(InvalidValueError, match="--scale paper needs --data"):
        run_study(study(row("a")), Asked(scale="paper"))
    with pytest.raises(UnknownNameError, match="did you mean 'caltech'"):
        study_called("caltek")
    assert study_called("caltech") is CALTECH


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    def tells(gallery):
        return dataclasses.replace(
            nearest(gallery), tell=lambda _: Told(80.0, (3.0, 1.5), 1.0), confidence=lambda queries: -queries[:, 0]
        )

    result = run_study(
        study(row("tells", tells), row("plain"), row("absent", raiser(MissingExtraError("no")))), Asked()
    )
    out = tmp_path_factory.mktemp("out")
    return result, out, write_study(result, out)


class TestFiles:
    def test_are_a_table_a_record_and_pictures(self, written):
        _, out, files = written
        names = [path.name for path in files]
        assert names == [
            "study-toy-smoke.txt", "study-toy-smoke.json", "study-toy-smoke-section-0-frontier.png",
            "study-toy-smoke-section-0-risk.png", "study-toy-smoke-section-0-survivors.png",
        ]  # fmt: skip
        assert sorted(path.name for path in out.iterdir()) == sorted(names)
        for path in files[2:]:
            assert path.read_bytes().startswith(b"\x89PNG")

    def test_the_record_holds_all_that_is_needed(self, written):
        result, _, files = written
        record = read_results(files[1])
        assert (record.id, record.seed, record.question) == ("study-toy-smoke", 0, "Which toy is best?")
        assert record.notes["galleries"]["section 0"]["sha256"] == toy().data_hash
        assert record.notes["galleries"]["section 0"]["licence"] == "none"
        [tells, plain, absent] = record.rows
        assert tells["spec"] == "tells"
        assert tells["error"]["share"] == 0.25
        assert tells["error"]["low"] < 0.25 < tells["error"]["high"]
        assert (tells["bytes_read"], tells["survivors"], plain["bytes_read"]) == (80.0, [3.0, 1.5], None)
        assert [point["coverage"] for point in tells["coverage_risk"]] == [0.25, 0.5, 0.75, 1.0]
        assert [point["risk"] for point in tells["coverage_risk"]] == [0, 0, 0, 0.25]
        assert (absent["state"], absent["why"]) == ("not run", "no")
        assert set(tells["cost"]) >= {"cpu_s", "wall_s"}

    def test_the_table_is_the_text(self, written):
        result, _, files = written
        assert files[0].read_text() == study_text(result) + "\n"
        assert "25.00" in files[0].read_text()


@pytest.fixture(scope="module")
def smoke():
    return run_study(CALTECH, Asked())


class TestCaltech:
    def test_stands_for_every_published_row(self):
        ours = {each.published for each in CALTECH.rows if each.published}
        for name in ("caltech-101", "caltech-256"):
            assert ours == set(published(name).rows)

    def test_every_row_is_a_part_that_can_be_built(self):
        from lightmeter.parts import build

        for each in CALTECH.rows:
            if each.role != "baseline" or each.spec not in ("majority", "class-means"):
                assert build(each.spec).spec.startswith(each.spec.partition("/")[0])

    def test_smoke_is_small_and_quick(self, smoke):
        items = sum(len(each.gallery.x) + len(each.gallery.queries) for each in smoke.sections if each.gallery)
        assert items <= 300
        assert smoke.cost.cpu_s < 30, "the clock would count the neighbours' work too"

    def test_only_extras_are_missing(self, smoke):
        for section in smoke.sections:
            for each in section.outcomes:
                assert each.ran or "pip install" in each.why, (each.row.label, each.why)

    def test_what_is_exact_agrees(self, smoke):
        for section in smoke.sections:
            found = {each.row.label: each for each in section.outcomes if each.ran}
            for label in ("NN, all", "granular, exact"):
                assert found[label].agreement.value == 1, (section.section.title, label)
            assert found["most frequent class"].right.value < found["NN, all"].right.value

    def test_dear_fits_are_left_out_at_cpu_and_said(self):
        skips = {each.label: each.skip for each in CALTECH.rows}
        large = Gallery(
            "large", np.zeros((7680, 4096), np.float32), np.arange(7680) % 256, np.zeros((1, 4096), np.float32),
            np.array([0]), classes=tuple(map(str, range(256))), licence="none", source="by hand", seed=0,
        )  # fmt: skip
        for label in ("linear SVM", "random forest"):
            assert "7,680 x 4,096 in 256 classes" in skips[label](large, "cpu")
            assert skips[label](large, "paper") == ""
            assert skips[label](mixture("caltech-101"), "cpu") == ""

    def test_of_the_users_data_at_any_scale(self, tmp_path):
        gallery = mixture("smoke")
        np.savez(tmp_path / "gallery.npz", x=gallery.x, y=gallery.y)
        np.savez(tmp_path / "queries.npz", x=gallery.queries, y=gallery.truth)
        for scale in ("smoke", "paper"):
            [section] = CALTECH.sections(Asked(scale=scale, data=tmp_path))
            assert exact_labels(section.gallery()).tolist() == exact_labels(gallery).tolist()
            assert section.beside.table == "caltech-101"
