"""The files made by hand, through the command line: each ends with a reason, its neighbours are indexed."""

import json
import os
from pathlib import Path

import attack
import pytest
from hostile import ANY_REFUSAL, CASES, make_all

GOOD = 12
SOUND = ("--encoder", "log-mel")  # so that sounds are decoded too
UNREAD = {"link-loop.jpg": "skipped", "fifo.mp4": "skipped", "folder.jpg": "skipped", "link-out.jpg": "link-outside"}
"""What the scan itself decides: entries that are no files are of another kind, links out of the folder are refused."""


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """(folder, library, how the run ended, most memory of a worker)"""
    folder = tmp_path_factory.mktemp("hostile") / "media"
    attack.pictures(folder, GOOD)
    for _ in make_all(folder):
        pass
    library = folder.parent / "library"
    process = attack.start(*attack.index_args(folder, library, "--json", *SOUND))
    watch = attack.Watch(process.pid)
    ran = attack.finish(process)
    watch.join()
    return folder, library, ran, watch


def test_run_goes_to_its_end_within_its_memory(hostile_run):
    _, _, ran, watch = hostile_run
    assert ran.code == 3, ran
    assert len(watch.seen) == attack.WORKERS  # none died on the way
    assert 0 < watch.peak_bytes < 1 << 30


def test_every_file_ends_as_it_should(hostile_run):
    folder, library, ran, _ = hostile_run
    ends = attack.outcomes(library, folder)
    wrong = {}
    for case in CASES:
        name = os.fsdecode(case.name)
        end = ends.pop(name, "skipped")
        right = {UNREAD[name]} if name in UNREAD else case.right
        if end not in right and not (ANY_REFUSAL in right and end not in ("ok", "damaged", "skipped")):
            wrong[name] = (end, sorted(right))
    assert wrong == {}
    assert ends == dict.fromkeys([f"p{at:05d}.png" for at in range(GOOD)] + ["secret.mp4"], "ok")  # good neighbours
    assert ran.rows[0]["items"] == len({item[0] for item in attack.contents(library, folder)["items"]})


def test_status_names_every_refusal_and_its_reason(hostile_run):
    folder, library, ran, _ = hostile_run
    status = attack.lightmeter("status", "--library", library, "--json")
    assert status.code == 0
    told = {os.path.relpath(row["path"], folder): row for row in status.rows[1:]}
    assert all(row["code"] and row["detail"] and " at 0x" not in row["detail"] for row in told.values())
    failed = {row["path"] for row in ran.rows[1:] if row["state"] == "failed"}
    assert {row["path"] for row in status.rows[1:]} == failed
    assert sum(status.rows[0]["errors"].values()) == len(failed)
    assert sum(status.rows[0]["states"].values()) == status.rows[0]["items"]
    assert status.rows[0]["states"]["damaged"] == sum(row["state"] == "damaged" for row in ran.rows[1:])


def test_second_run_reads_nothing_and_says_the_same(hostile_run):
    folder, library, ran, _ = hostile_run
    before = attack.contents(library, folder)
    again = attack.lightmeter(*attack.index_args(folder, library, "--json", *SOUND))
    assert (again.code, again.rows[0]["read"]) == (3, 0)
    reasons = [
        {row["path"]: row["reason"] for row in each.rows[1:] if row["state"] == "failed"} for each in (ran, again)
    ]
    assert reasons[0] == reasons[1]
    assert attack.contents(library, folder) == before
    attack.assert_sound(library)


def test_what_people_are_shown_is_one_line_a_file_and_printable(hostile_run):
    folder, library, _, _ = hostile_run
    ran = attack.lightmeter("index", folder, "--library", library, *attack.TOY, *SOUND, "-v")
    assert all(char.isprintable() for line in ran.err.splitlines() for char in line), ran.err
    assert json.loads(json.dumps(ran.err.encode("utf-8", "strict").decode()))
    status = attack.lightmeter("status", "--library", library, "-v")
    assert "new\nline" not in status.out
    assert str(Path(folder).name) in status.out
