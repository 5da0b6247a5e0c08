"""Answers for segments as in 2019: read, scored over rated pairs, equal to the scores that they are the order of."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.yt8m.kaggle import write_segments
from lightmeter.library.yt8m.segment_answers import is_of_segments, read_segments, score_segments
from lightmeter.metrics.segments import SegmentScores
from lightmeter.types import Labels

HEAD = "Class,Segments\n"


def a_set(folder, ids, labels, rated, classes):
    rows = ShardRows(
        ids, {"v": np.zeros((len(ids), 1), np.float32)}, Labels.of(labels, classes),
        rated=None if rated is None else Labels.of(rated, classes),
    )  # fmt: skip
    write_set(folder, [Block("v", "features", 1)], [f"c{at}" for at in range(classes)], [rows])
    return open_set(folder)


def test_by_hand(tmp_path):
    data = a_set(tmp_path / "s", ["a:0", "b:5", "c:0", "d:0"], [[], [0], [1], [0]], [[], [0, 1], [1], [0]], 2)
    (tmp_path / "a.csv").write_text(HEAD + "0,x:9 a:0 b:5 c:0 d:0\n1,b:5 c:0 b:5\n")
    got = score_segments(tmp_path / "a.csv", data)
    assert got.quality.per_class.tolist() == [1.0, 0.5]
    assert (got.quality.map, got.quality.segments, got.quality.rated, got.quality.labels) == (0.75, 4, 4, 3)
    assert (got.missing, got.unknown, got.problems) == (0, 1, ())
    (tmp_path / "b.csv").write_text(HEAD + "0,d:0\n")
    short = score_segments(tmp_path / "b.csv", data)
    assert short.quality.per_class.tolist() == [0.5, 0.0]  # what is not listed is missed
    assert short.missing == 1


def test_it_is_the_order_of_scores(tmp_path):
    rng = np.random.default_rng(0)
    rated = rng.random((60, 5)) < 0.5
    truth = rated & (rng.random(rated.shape) < 0.4)
    lists = [[np.flatnonzero(row).tolist() for row in mask] for mask in (truth, rated)]
    ids = [f"v{at}:{5 * at}" for at in range(60)]
    data = a_set(tmp_path / "s", ids, *lists, 5)
    scores = rng.permutation(300).reshape(60, 5).astype(np.float32) / 300
    write_segments(
        tmp_path / "a.csv", {each: [ids[at] for at in np.argsort(-scores[:, each])] for each in range(5)}
    )  # fmt: skip
    wanted = SegmentScores(5).update(scores, data.labels, data.rated).result()
    np.testing.assert_allclose(score_segments(tmp_path / "a.csv", data).quality.per_class, wanted.per_class)


def test_lines_that_cannot_be_read_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEAD + '0,"a:0 b:0"\nx,a:0\n7\n-1,a:0\n2,a:0\n0,c:0\n1,\n' + f"9,{'a:0 ' * 100_001}\n")
    problems = []
    assert list(read_segments(path, 10, problems)) == [(0, ["a:0", "b:0"]), (2, ["a:0"]), (1, [])]
    assert [(each.offset, each.code) for each in problems] == [
        (3, "pairs"), (4, "pairs"), (5, "pairs"), (7, "twice"), (9, "too-long"),
    ]  # fmt: skip
    problems.clear()
    assert len(list(read_segments(path, 2, problems))) == 2
    assert "label-range" in [each.code for each in problems]


def test_what_is_no_such_file_or_set_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("VideoId,LabelConfidencePairs\n")
    assert not is_of_segments(tmp_path / "a.csv")
    with pytest.raises(InvalidValueError, match="must begin with Class,Segments"):
        list(read_segments(tmp_path / "a.csv", 2, []))
    (tmp_path / "b.csv").write_text(HEAD)
    with pytest.raises(InvalidValueError, match="--level segment"):
        score_segments(tmp_path / "b.csv", a_set(tmp_path / "s", ["a"], [[0]], None, 2))


def test_the_verb(tmp_path):
    from click.testing import CliRunner

    from lightmeter.cli.main import cli

    a_set(tmp_path / "s", ["a:0", "b:0"], [[0], []], [[0], [0]], 2)
    (tmp_path / "a.csv").write_text(HEAD + "0,b:0 a:0\n")
    done = CliRunner().invoke(cli, ["yt8m", "evaluate", str(tmp_path / "a.csv"), str(tmp_path / "s")])
    assert (done.exit_code, "MAP 0.50000 · segments 2, rated pairs 2, right 1" in done.stdout) == (0, True)
    done = CliRunner().invoke(cli, ["yt8m", "evaluate", str(tmp_path / "a.csv"), str(tmp_path / "s"), "--top", "3"])
    assert done.exit_code == 2
