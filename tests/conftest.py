"""Fixtures for every part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("lightmeter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lightmeter")  # no test is timed: machines are noisy


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """`data_folder("tuxpaint-stamps")`: where that asset lies, or a skip that says how to get it."""
    from lightmeter.assets.finding import find_or_none
    from lightmeter.assets.table import asset_called

    def folder(name: str) -> Path:
        path = find_or_none(name)
        if path is None:
            pytest.skip(f"asset {name} is not here: `{asset_called(name).command}`")
        return path

    return folder


SLOW: dict[str, dict[str, float]] = {}
"""Slow test → how many of its cases passed, failed and were skipped, and their seconds by the clock."""


def pytest_runtest_logreport(report):
    if "slow" in report.keywords and (report.when == "call" or report.outcome != "passed"):
        row = SLOW.setdefault(report.nodeid.partition("[")[0], {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0})
        row[report.outcome] += 1
        row["seconds"] = round(row["seconds"] + report.duration, 2)


def pytest_sessionfinish(session):
    """`make check-slow` leaves its outcome in docs/results/check-slow.json; tests that were not run keep their row."""
    if not SLOW or session.config.option.markexpr != "slow":
        return
    from lightmeter.meter.record import Record, read_results, today, write_results

    path = Path(__file__).parents[1] / "docs" / "results" / "check-slow.json"
    rows = {row["test"]: row for row in (read_results(path).rows if path.exists() else [])}
    rows |= {test: {"test": test, **row, "date": today()} for test, row in SLOW.items()}
    question = "Do the long proofs hold?"
    write_results(path, Record("check-slow", question, [rows[test] for test in sorted(rows)], seed=0))
