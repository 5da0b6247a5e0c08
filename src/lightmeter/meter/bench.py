"""Benchmarks: a question, its data, the variants that answer it, and how good each answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import Record, hash_of
from lightmeter.meter.trials import Trial, run_trials


@dataclass(frozen=True)
class Bench:
    """A benchmark is a question with data.

    id: name of the result file · question: one sentence with a question mark · data: makes the data, from a seed where
    it takes chance (called once) · variants: name → call on the data; the first is what the others are compared with ·
    quality: name → score of (answer, data), higher is better; there is at least one, for speed without it says nothing
    """

    id: str
    question: str
    data: Callable[[], Any]
    variants: Mapping[str, Callable[[Any], Any]]
    quality: Mapping[str, Callable[[Any, Any], float]]
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.variants or not self.quality:
            raise InvalidValueError(f"bench {self.id} must have a variant and a quality, got none of one")
        if not self.question.strip().endswith("?"):
            raise InvalidValueError(f"the question of bench {self.id} must end in '?', got {self.question!r}")


def run_bench(
    bench: Bench, *, repeats: int = 5, warm_up: int = 1, least_s: float = 0.02, hash_data: bool = True
) -> Record:
    """Run a benchmark: warm-up, then interleaved repeats; medians and IQR, CPU, threads, versions, machine, commit.

    Each row has `times`, how many times cheaper (wall, CPU) than the first variant it is: below 1 it lost.
    hash_data: False for data that `hash_of` does not take; the record then has no hash.
    """
    data = bench.data()
    trials = run_trials(
        {name: _bound(call, data) for name, call in bench.variants.items()},
        {name: _scorer(score, data) for name, score in bench.quality.items()},
        repeats=repeats,
        warm_up=warm_up,
        least_s=least_s,
    )
    rows = [{**trial.as_json(), "times": _times(trials[0], trial)} for trial in trials]
    notes = {"repeats": repeats, "warm_up": warm_up, "least_s": least_s}
    data_hash = hash_of(data) if hash_data else None
    return Record(bench.id, bench.question, rows, data_hash=data_hash, seed=bench.seed, notes=notes)


def bench_rows(record: Record) -> list[dict[str, Any]]:
    """The rows of a bench's record made flat for a text table: quality, median seconds, IQR, and times the first."""
    return [
        {
            "variant": row["candidate"],
            **row["quality"],
            "wall_s": row["cost"]["wall_s"],
            "wall_iqr_s": row["spreads"]["wall_s"]["iqr"],
            "cpu_s": row["cost"]["cpu_s"],
            "cpu_iqr_s": row["spreads"]["cpu_s"]["iqr"],
            "peak_mb": round(row["cost"]["peak_bytes"] / 1e6, 1),
            "times_wall": row["times"].get("wall_s"),
            "times_cpu": row["times"].get("cpu_s"),
        }
        for row in record.rows
    ]


def _bound(call: Callable[[Any], Any], data: Any) -> Callable[[], Any]:
    return lambda: call(data)


def _scorer(score: Callable[[Any, Any], float], data: Any) -> Callable[[Any], float]:
    return lambda answer: score(answer, data)


def _times(first: Trial, trial: Trial) -> dict[str, float]:
    pairs = {name: (getattr(first.cost, name), getattr(trial.cost, name)) for name in ("wall_s", "cpu_s")}
    return {name: base / own for name, (base, own) in pairs.items() if own > 0}
