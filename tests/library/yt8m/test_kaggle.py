"""Answers as CSV: out and in, lines that cannot be read, and scores that know what a short list leaves open."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.yt8m.kaggle import (
    listed_scores,
    ranked_segments,
    read_answers,
    score_answers,
    write_answers,
    write_segments,
)
from lightmeter.metrics.ranking import VideoScores
from lightmeter.metrics.top import top_scores
from lightmeter.types import Labels

HEAD = "VideoId,LabelConfidencePairs\n"


def answers(path, classes=5, **how):
    problems = []
    found = list(read_answers(path, classes, problems, **how))
    return found, problems


def write(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    return path


def test_bytes_are_those_of_the_starter_code(tmp_path):
    values = np.array([[0.5, 0.1234567], [1.0, 0.0]], np.float32)
    classes = np.array([[3, 0], [4, -1]])
    assert write_answers(tmp_path / "a.csv", [(["ab", "c,d"], values, classes)]) == 2
    assert (tmp_path / "a.csv").read_bytes() == b'VideoId,LabelConfidencePairs\nab,3 0.5 0 0.123457\n"c,d",4 1\n'
    (found,), problems = answers(tmp_path / "a.csv", top=2)
    assert problems == []
    assert found.ids == ("ab", "c,d")
    assert found.classes.tolist() == classes.tolist()
    np.testing.assert_allclose(found.values, [[0.5, 0.123457], [1, 0]], rtol=1e-6)


def test_long_lists_keep_the_surest_and_equal_ones_the_lowest_class(tmp_path):
    (found,), _ = answers(write(tmp_path, HEAD + "a,4 0.2 3 0.9 1 0.2 0 0.2\n"), top=3)
    assert found.classes.tolist() == [[3, 0, 1]]


def test_batches(tmp_path):
    found, _ = answers(write(tmp_path, HEAD + "".join(f"v{at},0 0.5\n" for at in range(7))), batch=3)
    assert [len(each.ids) for each in found] == [3, 3, 1]
    assert answers(write(tmp_path, HEAD))[0] == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("a", "pairs"),
        (",0 0.5", "pairs"),
        ("a,0", "pairs"),
        ("a,0 x", "pairs"),
        ("a,1.5 0.5", "pairs"),
        ("a,5 0.5", "label-range"),
        ("a,-1 0.5", "label-range"),
        ("a,0 nan", "confidence"),
        ("a,0 1.5", "confidence"),
        ("a,0 0.5 0 0.6", "twice"),
        ("a,0 0.5,1", "pairs"),
    ],
)
def test_lines_that_cannot_be_read_are_told(tmp_path, line, code):
    found, problems = answers(write(tmp_path, f"{HEAD}ok,1 0.5\n{line}\nlast,2 0.5\n"))
    assert [each.ids for each in found] == [("ok", "last")]
    assert [(each.code, each.offset) for each in problems] == [(code, 3)]


@pytest.mark.parametrize(
    "text", ["", "VideoId\n", "a,0 0.5\n", HEAD + 'a,"0 0.5', HEAD + "a," + "0 " * (1 << 20), "\xff"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidValueError):
        answers(path)


def test_full_lists_score_as_the_scores_they_came_from():
    rng = np.random.default_rng(0)
    scores = rng.random((50, 30)).astype(np.float32)
    labels = Labels.of([rng.integers(0, 30, 3).tolist() for _ in range(50)], 30)
    values, classes = top_scores(scores, 20)
    assert listed_scores(values, classes, labels).result().as_json() == {
        **VideoScores(30).update(scores, labels).result().as_json(),
        "tied_cuts": 0,
    }


def test_what_a_short_list_leaves_out_is_unknown_and_not_0():
    """Two videos, labels {0, 1} and {2}; the first list names class 1 alone, the second is empty."""
    labels = Labels.of([[0, 1], [2]], 4)
    values = np.array([[0.5, 0], [0, 0]], np.float32)
    classes = np.array([[1, -1], [-1, -1]], np.int32)
    found = listed_scores(values, classes, labels).result()
    assert found.gap == found.gap_best == found.gap_worst == pytest.approx(1 / 3)  # one answer, right, of three labels
    assert found.hit_at_1 == 0.5
    assert found.perr == pytest.approx((1 / 2 + 0) / 2)
    assert found.map == pytest.approx((0 + 1 + 0) / 3)
    as_zeros = np.array([[0, 0.5, 0, 0], [0, 0, 0, 0]], np.float32)
    assert VideoScores(4).update(as_zeros, labels).result().gap > found.gap, "as zeros they would be guesses"


def test_an_answer_of_confidence_0_is_an_answer():
    labels = Labels.of([[0], [1]], 4)
    values = np.array([[0.5, 0], [0, 0]], np.float32)
    classes = np.array([[2, 0], [-1, -1]], np.int32)
    found = listed_scores(values, classes, labels).result()
    assert found.gap == found.gap_worst == pytest.approx(1 / 2 / 2)  # second of the pool, nothing ties with it


def test_a_video_with_all_labels_needs_a_full_list():
    labels = Labels.of([[0, 1]], 2)
    full = np.array([[0.5, 0.25]], np.float32), np.array([[0, 1]], np.int32)
    assert listed_scores(*full, labels).result().gap == 1
    with pytest.raises(InvalidValueError, match="full list"):
        listed_scores(full[0], np.array([[0, -1]], np.int32), labels)


@pytest.fixture
def examples(tmp_path):
    labels = Labels.of([[0], [1], [2, 3]], 5)
    rows = ShardRows(["a", "b", "c"], {"x": np.zeros((3, 1))}, labels)
    return write_set(tmp_path / "set", [Block("x", "features", 1)], list("ABCDE"), [rows])


def test_a_csv_against_a_set(tmp_path, examples):
    path = write(tmp_path, HEAD + "c,2 0.9 3 0.8\nzz,0 0.5\na,1 0.7 0 0.6\nbad\na,0 1\n")
    scored = score_answers(path, examples, top=2)
    assert (scored.missing, scored.unknown, scored.short) == (1, 1, 0)
    assert [each.code for each in scored.problems] == ["pairs", "twice"]
    assert scored.quality.videos == 3
    assert scored.quality.gap == pytest.approx((1 + 1 + 3 / 4) / 4)  # c's two, a's wrong one, a's right one; 4 labels
    assert scored.quality.hit_at_1 == pytest.approx(1 / 3)


def test_a_set_without_labels_cannot_be_scored_against(tmp_path):
    made = write_set(tmp_path / "t", [Block("x", "features", 1)], ["A"], [ShardRows(["a"], {"x": np.zeros((1, 1))})])
    with pytest.raises(InvalidValueError, match="labels"):
        score_answers(write(tmp_path, HEAD), made)


def test_segments(tmp_path):
    names = [f"v{at}:5" for at in range(100_001)]
    assert write_segments(tmp_path / "s.csv", {7: ["a:5", "b:0"], 2: names}) == 2
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "Class,Segments"
    assert lines[1].startswith("2,v0:5 v1:5")
    assert lines[1].endswith(" v99999:5")
    assert lines[2] == "7,a:5 b:0"


def test_segments_are_ranked_class_by_class_a_batch_at_a_time(monkeypatch):
    monkeypatch.setattr("lightmeter.library.yt8m.kaggle.MOST_SEGMENTS", 3)
    monkeypatch.setattr("lightmeter.library.yt8m.kaggle._SETTLED_ROWS", 2)
    scores = np.random.default_rng(0).integers(0, 4, (11, 2)).astype(np.float32) / 4
    names = [f"v:{at}" for at in range(11)]
    made = ranked_segments(((names[at : at + 3], scores[at : at + 3]) for at in range(0, 11, 3)), 2)
    order = np.argsort(-scores, axis=0, kind="stable")[:3]
    assert made == {each: [names[row] for row in order[:, each]] for each in range(2)}
