"""Records, hashes and benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import lightmeter
from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.record import Record, commit, hash_of, read_results, versions, write_results


class TestRecord:
    def test_comes_back_from_its_file(self, tmp_path):
        record = Record("x", "Is it?", [{"a": 1}], data_hash="00", seed=3, notes={"n": np.float32(0.5)})
        path = write_results(tmp_path / "deep" / "x.json", record)
        back = read_results(path)
        assert back == Record(**{**vars(record), "notes": {"n": 0.5}})
        assert {"schema", "machine", "versions", "threads", "date", "commit"} <= set(json.loads(path.read_text()))
        assert back.versions["lightmeter"] == lightmeter.__version__
        assert back.date.endswith("Z")

    def test_refuses_what_json_cannot_hold(self, tmp_path):
        with pytest.raises(InvalidValueError, match="finite numbers"):
            write_results(tmp_path / "x.json", Record("x", "Is it?", [{"a": float("nan")}]))
        with pytest.raises(InvalidValueError, match="plain values"):
            write_results(tmp_path / "x.json", Record("x", "Is it?", [{"a": object()}]))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other/1"}', '{"schema": "lightmeter.record/1", "x": 1}'])
    def test_refuses_foreign_files(self, tmp_path, text):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InvalidValueError):
            read_results(tmp_path / "x.json")

    def test_paths_of_this_machine_stay_here(self, tmp_path):
        path = write_results(tmp_path / "x.json", Record("x", "Is it?", [{"file": tmp_path / "cat.jpg"}]))
        assert str(tmp_path) not in path.read_text()

    def test_versions_name_what_is_installed_only(self):
        assert set(versions(["numpy", "surely-not-installed"])) == {"python", "lightmeter", "numpy"}

    def test_commit_only_of_a_checkout_that_holds_us(self, tmp_path, monkeypatch):
        package = tmp_path / "site" / "lightmeter"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        monkeypatch.setattr(lightmeter, "__file__", str(package / "__init__.py"))
        assert commit() is None
        git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "someone else's"], check=True)
        assert commit() is None  # installed inside a foreign checkout
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
        head = commit()
        assert head
        assert len(head) == 40
        (package / "__init__.py").write_text("x = 1")
        assert commit() == f"{head}+changes"


class TestHash:
    def test_differs_where_data_differ(self, tmp_path):
        (tmp_path / "f").write_bytes(b"abc")
        zeros = np.zeros((2, 3), np.float32)
        data = [
            zeros, zeros.T, zeros.astype(np.float64), zeros + 1, b"abc", "abc", tmp_path / "f", 1, 1.0, True, None,
            ["a", "bc"], ["ab", "c"], [["a"], "bc"], {"a": 1}, {"a": 2}, [], {}, "\ud800",
        ]  # fmt: skip
        assert len({hash_of(each) for each in data}) == len(data)

    def test_is_the_same_where_data_are(self, tmp_path):
        assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
        grid = np.arange(12).reshape(3, 4)
        assert hash_of(grid[:, ::2]) == hash_of(grid[:, ::2].copy())
        (tmp_path / "a").write_bytes(b"abc")
        (tmp_path / "b").write_bytes(b"abc")
        assert hash_of(tmp_path / "a") == hash_of(tmp_path / "b")

    def test_refuses_what_it_cannot_see_through(self):
        with pytest.raises(InvalidValueError, match="got object"):
            hash_of([object()])
        with pytest.raises(InvalidValueError, match="got ndarray"):
            hash_of(np.array([object()]))


BENCH = Bench(
    id="sorts",
    question="Is sorting in numpy cheaper than in Python?",
    data=lambda: np.random.default_rng(0).random(2000),
    variants={"python": sorted, "numpy": np.sort},
    quality={"sorted": lambda answer, data: float(np.all(np.diff(answer) >= 0) and len(answer) == len(data))},
    seed=0,
)


class TestBench:
    def test_answers_with_quality_and_cost(self, tmp_path):
        record = run_bench(BENCH, repeats=3, least_s=0.005)
        first, second = record.rows
        assert (first["candidate"], second["candidate"]) == ("python", "numpy")
        assert first["quality"] == second["quality"] == {"sorted": 1.0}
        assert first["times"]["wall_s"] == 1.0
        assert second["times"]["wall_s"] > 1
        assert second["spreads"]["wall_s"]["n"] == 3
        assert record.data_hash == hash_of(BENCH.data())
        back = read_results(write_results(tmp_path / "sorts.json", record))
        flat = bench_rows(back)
        assert [row["variant"] for row in flat] == ["python", "numpy"]
        assert flat[1]["times_cpu"] == second["times"]["cpu_s"]
        assert flat[1]["wall_s"] == second["cost"]["wall_s"]

    def test_must_ask_and_must_score(self):
        with pytest.raises(InvalidValueError, match=r"must end in '\?'"):
            Bench("x", "Sorting", BENCH.data, BENCH.variants, BENCH.quality)
        with pytest.raises(InvalidValueError, match="variant and a quality"):
            Bench("x", "Is it?", BENCH.data, BENCH.variants, {})


class TestWriteWhole:
    def test_leaves_the_old_file_when_the_new_one_fails(self, tmp_path):
        path = write_whole(tmp_path / "x", "old")
        with pytest.raises(TypeError):
            write_whole(path, 3)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_takes_the_longest_names(self, tmp_path):
        assert write_whole(tmp_path / ("ü" * 127), b"x").read_bytes() == b"x"


def test_the_meter_imports_nothing_heavy():
    heavy = ["torch", "onnx", "onnxruntime", "matplotlib", "PIL", "cv2", "av"]
    code = f"import sys, lightmeter.meter, lightmeter.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
