"""Others at work on the same library: a second writer, a reader, and a person at the keyboard."""

import json
import os
import signal
import time

import attack
import numpy as np
import pytest

from lightmeter.library.store import open_library


@pytest.fixture
def busy(tmp_path):
    """An index run that has told of its first batch and is held there: (process, folder, library, events)."""
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    attack.pictures(folder, 320)
    process = attack.start(*attack.index_args(folder, library, "--json", "--events", events, workers=1))
    attack.wait_until(lambda: attack.acknowledged(events) > 0, process)
    process.send_signal(signal.SIGSTOP)
    yield process, folder, library, events
    process.kill()
    process.communicate()


def look(library):
    """Read what is there; whatever is seen is whole. Returns how many items."""
    with open_library(library) as opened:
        found = opened.features(opened.all_series()[0])
        owners = found.owners.tolist()
        assert len(owners) == len(set(owners))
        assert set(owners) <= set(opened.items().keys.tolist())
        np.testing.assert_allclose(found.vectors.sum(axis=1), 1, rtol=1e-5)  # of a histogram: rows are whole
        return len(owners)


def test_second_writer_waits_and_readers_see_what_is_whole(busy, tmp_path):
    process, folder, library, _ = busy
    with (tmp_path / "talk").open("w") as talk:
        second = attack.start(
            "index", folder, "--library", library, *attack.TOY, "--engine", "local/workers=1", "--json", stderr=talk
        )
        told = f"waiting for another process (number {process.pid})"
        attack.wait_until(lambda: told in (tmp_path / "talk").read_text(), second)
    assert look(library) == attack.BATCH
    process.send_signal(signal.SIGCONT)
    while process.poll() is None:
        assert look(library) >= attack.BATCH
        time.sleep(0.05)
    first, then = attack.finish(process), second.communicate(timeout=60)[0]
    assert told in (tmp_path / "talk").read_text()
    assert (first.code, first.rows[0]["read"]) == (0, 320)
    assert second.returncode == 0
    assert (json.loads(then)["read"], json.loads(then)["unchanged"]) == (0, 320)


def test_writer_that_waits_in_vain_is_told_who_writes(tmp_path):
    with open_library(tmp_path / "library", create=True):
        ran = attack.lightmeter("gc", "--library", tmp_path / "library")
    assert ran.code == 1
    assert f"another process (number {os.getpid()}) writes to" in ran.said
    assert "wait for it or stop it" in ran.said


def test_reader_asks_during_an_index(busy):
    process, folder, library, _ = busy
    ran = attack.lightmeter("status", "--library", library, "--json")
    assert ran.code == 0
    assert ran.rows[0]["items"] == attack.BATCH
    assert ran.rows[0]["unfinished_runs"] == 1


def test_ctrl_c_once_keeps_what_is_in_flight(busy):
    process, folder, library, events = busy
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    ran = attack.finish(process)
    assert ran.code == 130
    kept = attack.count_paths(library)
    assert ran.rows[0]["stopped"]
    assert ran.rows[0]["read"] == attack.acknowledged(events) == kept
    assert attack.in_flight(library) == []
    then = attack.lightmeter(*attack.index_args(folder, library, "--json", workers=1))
    assert (then.code, then.rows[0]["read"]) == (0, 320 - kept)
    attack.assert_sound(library)


def test_ctrl_c_twice_stops_now(busy):
    process, folder, library, _ = busy
    workers = attack.workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    ran = attack.finish(process, timeout_s=20)
    assert ran.code == 130
    assert not [pid for pid in workers if attack.is_alive(pid)]
    kept = attack.count_paths(library)
    then = attack.lightmeter(*attack.index_args(folder, library, "--json", workers=1))
    assert (then.code, then.rows[0]["read"]) == (0, 320 - kept)


def test_ctrl_c_before_the_work_begins(tmp_path):
    """While it starts there is nothing to finish; it says that it stopped, without a traceback."""
    attack.pictures(tmp_path / "media", 400)  # so many that it cannot be done before a late signal
    process = attack.start(*attack.index_args(tmp_path / "media", tmp_path / "library", workers=1))
    attack.wait_until(lambda: (tmp_path / "library" / "library.lock").exists(), process)
    process.send_signal(signal.SIGINT)
    ran = attack.finish(process)
    assert ran.code == 130
    assert attack.lightmeter(*attack.index_args(tmp_path / "media", tmp_path / "library", workers=1)).code == 0
