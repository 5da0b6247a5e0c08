"""Too little of everything: disk, open files, permissions, memory; and media that change under the reader's hands."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attack
import pytest
from PIL import Image as Pillow

from lightmeter.errors import LibraryDamagedError
from lightmeter.library.fsck import fsck
from lightmeter.library.store import Library

WITHOUT_POWERS = (
    sys.executable, "-c",
    "import ctypes, os, sys\n"
    "for power in (1, 2): assert ctypes.CDLL(None).prctl(24, power) == 0\n"  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, …
    "os.execv(sys.argv[1], sys.argv[1:])",
) if os.getuid() == 0 else ()  # fmt: skip
"""Before a command: root may read and write everything, without these two powers it is held to permissions."""


EVERY_S = 0.5  # between two kills of a worker, on a run of seconds: for 10 s on one of minutes
STEP_BYTES = 40_960  # of free space, from one full disk to the next


def limited(what: str) -> list[str]:
    """A shell that sets a limit and becomes the command."""
    return ["bash", "-c", f'ulimit {what}; exec "$@"', "bash"]


# -- disk -------------------------------------------------------------------------------------------------------------


def check_after_full_disk(ran: attack.Ran, library: Path) -> None:
    """One clear line, and whatever was committed is whole."""
    assert ran.code == 1, ran
    assert ran.said.startswith("lightmeter: ")
    assert "free some space" in ran.said
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    if attack.is_made(library):
        assert fsck(library).problems == ()


def test_files_that_may_not_grow(tmp_path):
    """A quota on the size of a file stands for a full disk where none can be mounted."""
    folder, library = tmp_path / "media", tmp_path / "library"
    attack.pictures(folder, 100)
    args = attack.index_args(folder, library, workers=1)
    for blocks in (1, 120, 260):
        check_after_full_disk(attack.finish(attack.start(*args, before=limited(f"-f {blocks}"))), library)
    assert attack.lightmeter(*args).code == 0
    assert attack.count_paths(library) == 100
    assert fsck(library).problems == ()
    out = tmp_path / "out" / "export"
    export = ("export", out, "--format", "imagefolder", "--library", library)
    check_after_full_disk(attack.finish(attack.start(*export, before=limited("-f 1"))), library)
    assert list(out.parent.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_full_disk_at_fifty_offsets(small_disk, tmp_path):
    folder, library, ballast = tmp_path / "media", small_disk / "library", small_disk / "ballast"
    attack.pictures(folder, 150)
    args = attack.index_args(folder, library, workers=1)
    assert attack.lightmeter(*args).code == 0
    calm = attack.contents(library, folder)
    counted: Counter[str] = Counter()
    for offset in range(50):
        shutil.rmtree(library)
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(b"x" * max(0, free - STEP_BYTES * offset))
        ran = attack.lightmeter(*args)
        counted["failed with a clear line" if ran.code else "had room enough"] += 1
        if ran.code:
            check_after_full_disk(ran, library)
        reader = attack.lightmeter("status", "--library", library, "--json")
        assert reader.code == (0 if attack.is_made(library) else 1), reader
        ballast.unlink()
        assert attack.lightmeter(*args).code == 0
        assert attack.contents(library, folder) == calm
        assert fsck(library).problems == ()
    assert counted["failed with a clear line"] >= 25
    attack.keep_figures(
        "full-disk", offsets=50, step_bytes=STEP_BYTES, library_intact=50, finished_after_freeing=50, **counted
    )


# -- open files, permissions ------------------------------------------------------------------------------------------


def test_sixty_four_open_files_are_enough(tmp_path):
    """Also for a library of many small shards, as a stopped run leaves it."""
    folder, library = tmp_path / "media", tmp_path / "library"
    paths = attack.pictures(folder, 60)
    before = limited("-n 64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightmeter.library.indexing.BATCH", 1)
        patch.setattr(Library, "compact", lambda self: None)  # as if the run had been stopped before
        attack.index_here(folder, library)
    assert len(list((library / "shards").glob("*/*.shard"))) == 60
    found = attack.finish(attack.start("search", paths[0], "--library", library, "--json", before=before))
    assert found.code == 0, found
    assert found.rows[0]["path"] == str(paths[0])
    attack.pictures(folder / "more", 5, seed=1)
    ran = attack.finish(attack.start(*attack.index_args(folder, library, workers=1), before=before))
    assert ran.code == 0, ran
    assert attack.count_paths(library) == 65


def test_too_few_open_files_are_no_damage(tmp_path):
    """A library must not be called damaged, and so be repaired to pieces, because this process may open no more."""
    folder, library = tmp_path / "media", tmp_path / "library"
    paths = attack.pictures(folder, 10)
    attack.index_here(folder, library)
    for count in range(3, 12):
        with attack.few_files(count):
            try:
                health = fsck(library, repair=True)
            except OSError as error:
                assert not isinstance(error, LibraryDamagedError), count  # noqa: PT017
                continue
        assert health.problems == (), count
    found = attack.lightmeter("search", paths[3], "--library", library, "--json")
    assert found.rows[0]["path"] == str(paths[3])


def test_library_that_may_not_be_written_is_searched(tmp_path):
    folder, library = tmp_path / "media", tmp_path / "library"
    paths = attack.pictures(folder, 40)
    attack.index_here(folder, library)
    for path in (library, *library.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    asked = attack.finish(attack.start("search", paths[7], "--library", library, "--json", before=WITHOUT_POWERS))
    assert asked.code == 0, asked
    assert asked.rows[0]["path"] == str(paths[7])
    told = attack.finish(attack.start(*attack.index_args(folder, library, workers=1), before=WITHOUT_POWERS))
    assert told.code == 1
    assert "ermission denied" in told.said
    assert str(library) in told.said


def test_media_that_may_not_be_read_are_named(tmp_path):
    """Some from the start, some from the middle of the run on."""
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    paths = attack.pictures(folder, 130)
    attack.pictures(folder / "locked", 3)
    (folder / "locked").chmod(0)
    paths[5].chmod(0)
    args = attack.index_args(folder, library, "--events", events, "--json", workers=1)
    process = attack.start(*args, before=WITHOUT_POWERS)
    attack.wait_until(lambda: attack.acknowledged(events) > 0, process)
    paths[-1].chmod(0)
    ran = attack.finish(process)
    assert ran.code == 3, ran
    ends = attack.outcomes(library, folder)
    bad = {str(path.relative_to(folder)) for path in (paths[5], paths[-1])} | {"locked"}
    assert {name for name, end in ends.items() if end != "ok"} == bad
    assert {ends[name] for name in bad} == {"unreadable"}
    assert len(ends) == 130 + 1
    paths[5].chmod(0o644)
    again = attack.lightmeter(*args, "--retry")
    assert attack.outcomes(library, folder)["p00005.png"] == "ok"
    assert again.code == 0, again


# -- media that change ------------------------------------------------------------------------------------------------


def test_media_that_vanish_or_are_swapped_midway(tmp_path):
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    paths = attack.pictures(folder, 200)
    secret = tmp_path / "secret.png"
    Pillow.new("RGB", (9, 9), "red").save(secret)
    process = attack.start(*attack.index_args(folder, library, "--events", events, "--json", workers=1))
    attack.wait_until(lambda: attack.acknowledged(events) > 0, process)
    paths[-1].unlink()
    paths[-2].unlink()
    paths[-2].symlink_to(secret)  # a link that leaves the folder, put there after the scan had looked
    paths[-3].write_bytes(b"")
    ran = attack.finish(process)
    assert ran.code == 3, ran
    ends = attack.outcomes(library, folder)
    bad = {name: end for name, end in ends.items() if end != "ok"}
    assert bad == {paths[-1].name: "missing", paths[-2].name: "not-a-file", paths[-3].name: "empty"}
    assert '"restart"' not in events.read_text()
    paths[-2].unlink()
    Pillow.new("RGB", (24, 24), "blue").save(paths[-3])
    again = attack.lightmeter(*attack.index_args(folder, library, "--json"))
    assert again.code == 0, again  # what is no longer there is no longer an error
    assert set(attack.outcomes(library, folder).values()) == {"ok"}


# -- memory -----------------------------------------------------------------------------------------------------------


def bombs(folder: Path) -> None:
    """Small on disk, huge when they are read."""
    folder.mkdir()
    Pillow.new("L", (10_000, 10_000)).save(folder / "grey-100-million.png", compress_level=9)
    Pillow.new("RGBA", (9_900, 9_900)).save(folder / "alpha-98-million.png", compress_level=9)
    Pillow.new("CMYK", (9_999, 9_999)).save(folder / "cmyk-100-million.jpg")
    Pillow.new("RGB", (9_999, 9_999)).save(folder / "colour-100-million.webp", lossless=True)
    Pillow.new("RGB", (9_900, 9_900)).save(folder / "colour-98-million.tif", compression="tiff_lzw")
    Pillow.new("1", (16_000, 6_000)).save(folder / "one-bit.tif", compression="group4")
    for name in ("huge.mp4", "huge.jpg", "huge.wav"):
        with (folder / name).open("wb") as file:
            file.truncate(2 << 30)
    for name, start in (("nested.json", b"["), ("long.txt", b" "), ("deep.json", b'{"a":')):
        (folder / name).write_bytes(start * 3_000_000)
    for stem in ("nested", "long", "deep", "table"):
        attack.pictures(folder, 1)[0].rename(folder / f"{stem}.png")
    with (folder / "metadata.csv").open("wb") as file:
        file.write(b"file_name,title\n")
        file.truncate(3 << 30)


@pytest.mark.slow
def test_memory_bombs(tmp_path):
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    bombs(folder)
    attack.pictures(folder / "good", 60)
    process = attack.start(*attack.index_args(folder, library, "--encoder", "log-mel", "--json", "--events", events))
    watch = attack.Watch(process.pid)
    ran = attack.finish(process, timeout_s=900)
    watch.join()
    ends = attack.outcomes(library, folder)
    assert ran.code == 3
    assert watch.peak_bytes < 1 << 30
    assert all(ends[f"good/p{at:05d}.png"] == "ok" for at in range(60))
    assert {ends[name] for name in ("huge.mp4", "huge.jpg", "huge.wav")} <= {
        "unknown-format",
        "too-large",
        "unreadable",
    }
    assert len(ends) == 60 + 9 + 4
    attack.keep_figures(
        "memory-bombs", outcomes={name: end for name, end in sorted(ends.items()) if not name.startswith("good/")},
        good=60, good_done=60, peak_worker_mb=round(watch.peak_bytes / 1e6),
        restarts=events.read_text().count('"event": "restart"'), limit_mb=round((1 << 30) / 1e6),
    )  # fmt: skip


# -- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_corrupt_files_and_a_worker_killed_all_the_time(tmp_path):
    """Every good item is done and every bad one named, with its own reason and not with the killer's."""
    draw, count = random.Random(1), 2000
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    paths = attack.pictures(folder, count)
    bad = {path.name for path in draw.sample(paths, count // 100)}
    for name in bad:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    process = attack.start(*attack.index_args(folder, library, "--json", "--events", events))
    killed = 0
    while process.poll() is None:
        try:
            process.wait(timeout=EVERY_S)
        except subprocess.TimeoutExpired:
            killed += attack.kill_a_worker(process, draw)
    ran = attack.finish(process)
    assert ran.code == 3, ran
    assert killed >= 5
    ends = attack.outcomes(library, folder)
    assert {name for name, end in ends.items() if end == "ok"} == {path.name for path in paths} - bad
    assert {ends[name] for name in bad} == {"unreadable"}
    assert fsck(library).problems == ()
    report = [json.loads(line) for line in events.read_text().splitlines()]
    attack.keep_figures(
        "corrupt-and-killed", items=count, good_done=count - len(bad), bad_named=len(bad), workers_killed=killed,
        restarts=sum(event["event"] == "restart" for event in report), every_s=EVERY_S, seed=1,
    )  # fmt: skip
