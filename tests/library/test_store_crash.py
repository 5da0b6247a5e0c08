"""A library after the worst: writers killed, files torn, disks full, two writers, folders that cannot be written."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import LibraryBusyError, LibraryDamagedError, LightmeterError
from lightmeter.library.connect import connect_to_read, file_system
from lightmeter.library.exchange import import_
from lightmeter.library.fsck import fsck
from lightmeter.library.store import open_library

WRITER = Path(__file__).with_name("crash_writer.py")


def load_writer():
    import importlib.util

    spec = importlib.util.spec_from_file_location("crash_writer", WRITER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer = load_writer()


def start(folder, first=0, count=1000, *more):
    command = [sys.executable, str(WRITER), str(folder), str(first), str(count), *map(str, more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def acknowledged(process):
    """Batches and removals whose commit the writer has told of."""
    told = [line.split() for line in process.stdout.read().decode().splitlines() if line.count(" ") == 1]
    return {int(n) for word, n in told if word == "done"}, {int(n) for word, n in told if word == "gone"}


def check_whole(folder, batches, gone):
    """Everything told of is there, nothing twice, every number right. Returns the batches that are there."""
    with open_library(folder, write=True) as library:
        found = library.features("toy") if library.all_series() else None
        size = {each.id: each for each in library.items()}
        there = {number // writer.BATCH for number in (item.size_bytes for item in size.values())}
        assert batches <= there
        expected = {batch * writer.BATCH + i for batch in there for i in range(writer.BATCH)}
        numbers = {item.size_bytes for item in size.values()}
        unsaid = {n for n in expected - numbers - gone if n % (5 * writer.BATCH) != 4 * writer.BATCH}
        assert not unsaid, "a batch is there in part"
        assert not numbers & gone
        rows = 0
        for key, item in zip(library.items().keys.tolist(), size.values(), strict=True):
            mine = found.vectors[found.owners == key]
            np.testing.assert_array_equal(mine, writer.vectors_of(item.size_bytes))
            rows += len(mine)
        assert rows == len(found or ()), "rows without an item, or twice"
    health = fsck(folder)
    assert health.problems == ()
    assert health.orphans == 0
    return there


def kill_once(folder, seed, *, export=False):
    more = ["export", folder.parent / "exports"] if export else []
    process = start(folder, 0, 1000, *more)
    process.stdout.readline()  # open: the moments that count begin here
    time.sleep(random.Random(seed).uniform(0, 0.25))
    process.send_signal(signal.SIGKILL)
    batches, gone = acknowledged(process)
    process.stdout.close()
    process.wait()
    there = check_whole(folder, batches, gone)
    assert len(there) <= len(batches) + 1
    for whole in (folder.parent / "exports").glob("out-*") if export else ():
        with open_library(folder.parent / "copy", create=True) as copy:
            assert import_(copy, whole).items > 0
        shutil.rmtree(folder.parent / "copy")


@pytest.mark.parametrize("seed", range(8))
def test_killed_writer_loses_nothing_it_told_of(tmp_path, seed):
    kill_once(tmp_path / "library", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_killed_writer_loses_nothing_200_times(tmp_path, seed):
    kill_once(tmp_path / "library", seed, export=seed % 2 == 1)


def test_killed_again_and_again_goes_on(tmp_path):
    folder, done, gone = tmp_path / "library", set(), set()
    for seed in range(3):
        process = start(folder, max(done, default=-1) + 1, 1000)
        process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.05, 0.15))
        process.kill()
        more, less = acknowledged(process)
        process.stdout.close()
        process.wait()
        gone |= less
        done |= check_whole(folder, done | more, gone)
    assert done == set(range(max(done) + 1))


# -- torn files -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unclosed(tmp_path_factory):
    """A library whose writer was killed after eight batches: its log is beside it."""
    folder = tmp_path_factory.mktemp("torn") / "library"
    process = start(folder, 0, 4)  # closed well: these are in the catalogue itself
    process.wait()
    process.stdout.close()
    with open_library(folder, write=True) as library:
        for batch in range(10, 14):
            writer.write_batch(library, batch)
        copy = folder.parent / "copy"
        shutil.copytree(folder, copy)  # as the disk looks while the writer lives
    return copy


def tear(folder, seed):
    """Cut or zero the end of one file, as a disk that lies does. Returns the file."""
    dice = random.Random(seed)
    files = {
        "log": folder / "library.sqlite-wal",
        "shard": dice.choice(sorted(folder.glob("shards/*/*.shard"))),
        "catalogue": folder / "library.sqlite",
    }
    path = files[["log", "log", "shard", "catalogue"][seed % 4]]
    data = path.read_bytes()
    size = dice.randrange(1, len(data)) if seed % 4 < 2 else dice.randrange(1, min(len(data), 9000))
    with path.open("r+b") as file:
        if dice.random() < 0.5:
            file.truncate(len(data) - size)
        else:
            file.seek(len(data) - size)
            file.write(b"\0" * size)
    return path


def torn_once(unclosed, folder, seed):
    shutil.copytree(unclosed, folder)
    path = tear(folder, seed)
    try:
        with open_library(folder, write=True) as library:
            there = {item.size_bytes // writer.BATCH for item in library.items()}
            found = library.features("toy")
            for key in library.items().keys.tolist():
                number = library.items_of([key])[0].size_bytes
                if path.suffix != ".shard":  # its bytes are re-hashed by fsck, not by every reader
                    np.testing.assert_array_equal(found.vectors[found.owners == key], writer.vectors_of(number))
        if path.name.endswith("-wal"):
            assert there == {0, 1, 2, 3, *range(10, 10 + len(there) - 4)}, "not a prefix"
    except LibraryDamagedError as error:
        assert not path.name.endswith("-wal")
        assert "lightmeter fsck --repair" in str(error)  # noqa: PT017
    health = fsck(folder, repair=True)
    assert health.repaired
    after = fsck(folder)
    assert after.problems == ()
    with open_library(folder, write=True) as library:
        found = library.features("toy")
        lost = set(library.missing("toy").tolist())
        for key, item in zip(library.items().keys.tolist(), library.items(), strict=True):
            wanted = writer.vectors_of(item.size_bytes)[: 0 if key in lost else None]
            np.testing.assert_array_equal(found.vectors[found.owners == key], wanted)


@pytest.mark.parametrize("seed", range(20))
def test_torn_library_opens_to_a_prefix_or_names_the_repair(unclosed, tmp_path, seed):
    torn_once(unclosed, tmp_path / "library", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 520))
def test_torn_library_500_times(unclosed, tmp_path, seed):
    torn_once(unclosed, tmp_path / "library", seed)


# -- others at work -------------------------------------------------------------------------------------------------


def test_second_writer_is_told_or_waits(tmp_path):
    with open_library(tmp_path, create=True):
        process = subprocess.Popen([sys.executable, str(WRITER), str(tmp_path), "0", "2"], stdout=subprocess.PIPE)
        with pytest.raises(LibraryBusyError, match=rf"number {os.getpid()}"):
            open_library(tmp_path, write=True)
        told = []
        with pytest.raises(LibraryBusyError):
            open_library(tmp_path, write=True, wait_s=0.15, waiting=told.append)
        assert len(told) == 1
        assert process.poll() is None  # the other waits for us
    batches, gone = acknowledged(process)
    process.stdout.close()
    assert process.wait() == 0
    assert batches == {0, 1}
    check_whole(tmp_path, batches, gone)


def test_reader_sees_whole_batches_while_a_writer_works(tmp_path):
    process = start(tmp_path, 0, 14)
    process.stdout.readline()
    looks = 0
    while process.poll() is None:
        with open_library(tmp_path) as library:
            if not library.all_series():
                continue
            try:
                with library.catalogue.snapshot():
                    found, keys = library.features("toy"), library.items().keys
            except LibraryBusyError:
                continue  # the snapshot was older than a gc that has deleted its files: said, and a new one works
            assert set(found.owners.tolist()) == set(keys.tolist())
            looks += 1
    process.stdout.close()
    assert process.returncode == 0
    assert looks > 3


def test_library_that_cannot_be_written_is_read(unclosed, tmp_path, monkeypatch):
    """Root may write anywhere, so the refusal of the system is put in by hand; the fall-back is the real one."""
    shutil.copytree(unclosed, tmp_path / "library")
    import lightmeter.library.connect as connect

    real = connect._opened

    def refuse(path, how):
        if how == "mode=ro":
            raise connect.sqlite3.OperationalError("unable to open database file")
        return real(path, how)

    monkeypatch.setattr(connect, "_opened", refuse)
    before = sorted(path.name for path in (tmp_path / "library").iterdir())
    with open_library(tmp_path / "library") as library:
        assert {item.size_bytes // writer.BATCH for item in library.items()} == {0, 1, 2, 3, 10, 11, 12, 13}
        assert len(library.features("toy")) > 0
    assert sorted(path.name for path in (tmp_path / "library").iterdir()) == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become nobody")
def test_library_of_another_user_is_read(unclosed, tmp_path):
    folder = tmp_path / "library"
    shutil.copytree(unclosed, folder)
    code = (
        "import os, sys; from lightmeter.library.store import open_library; os.setgid(65534); os.setuid(65534)\n"
        "with open_library(sys.argv[1]) as library: print(len(library.items()), len(library.features('toy')) > 0)"
    )
    for parent in (tmp_path, *list(tmp_path.parents)[:-1]):
        if parent.stat().st_mode & 0o005 != 0o005 and parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    answer = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert answer.stdout == "48 True\n", answer.stderr


def test_snapshot_that_outlived_its_files_is_told_to_look_again(tmp_path):
    with open_library(tmp_path, create=True) as library:
        writer.write_batch(library, 0), writer.write_batch(library, 1)
        with open_library(tmp_path) as reader:
            with reader.catalogue.snapshot():
                assert len(reader.items()) == 2 * writer.BATCH
                library.compact()
                with pytest.raises(LibraryBusyError, match="try again"):
                    reader.features("toy")
            assert len(set(reader.features("toy").owners.tolist())) == 2 * writer.BATCH


def test_network_file_system_gets_no_log(tmp_path, monkeypatch):
    mounts = f"disk / ext4 rw 0 0\nserver:/x {tmp_path}/net nfs4 rw 0 0\nother {tmp_path}/netto ext4 rw 0 0\n"
    assert file_system(tmp_path / "net" / "deep", mounts) == "nfs4"
    assert file_system(tmp_path / "netto", mounts) == "ext4"
    monkeypatch.setattr("lightmeter.library.connect.file_system", lambda folder: "nfs4")
    with open_library(tmp_path / "net", create=True) as library:
        assert "nfs4: no write-ahead log" in library.note
        assert library.connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        writer.write_batch(library, 0)
    with open_library(tmp_path / "net") as library:
        assert len(library.items()) == writer.BATCH
        assert "nfs4: no write-ahead log" in library.note, "readers are told too"


def test_file_that_is_no_catalogue_names_the_repair(tmp_path):
    (tmp_path / "library.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(LibraryDamagedError, match="fsck --repair"):
        connect_to_read(tmp_path / "library.sqlite")
    with pytest.raises(LibraryDamagedError, match="fsck --repair"):
        open_library(tmp_path, write=True)


# -- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no small tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_full_disk_is_said_and_the_library_stays_whole(small_disk):
    folder, ballast = small_disk / "library", small_disk / "ballast"
    said = 0
    for offset in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        with open_library(folder, create=True) as library:
            writer.write_batch(library, 0)
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(b"x" * max(0, free - 4096 * offset))
        done = {0}
        try:
            with open_library(folder, write=True) as library:
                for batch in range(1, 60):
                    writer.write_batch(library, batch)
                    done.add(batch)
        except (LightmeterError, OSError) as error:
            assert isinstance(error, LightmeterError), repr(error)  # noqa: PT017
            assert "free some space" in str(error), (offset, error)  # noqa: PT017
            said += 1
        ballast.unlink()
        check_whole(folder, done, set())
        with open_library(folder, write=True) as library:
            writer.write_batch(library, 70)
    assert said >= 40


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_shard_is_durable_before_its_transaction_commits(tmp_path):
    log = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64,write,openat"
    command = ["strace", "-y", "-o", log, "-e", calls, sys.executable, WRITER, tmp_path / "library", "0", "2"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    lines = log.read_text().splitlines()
    told = [i for i, line in enumerate(lines) if "write(1" in line and "done" in line]
    start_at = next(i for i, line in enumerate(lines) if "write(1" in line and "open" in line)
    for begin, end in zip([start_at, *told], told, strict=False):
        part = lines[begin:end]
        file = next(i for i, line in enumerate(part) if "fsync(" in line and ".shard.tmp" in line)
        named = next(i for i, line in enumerate(part) if line.startswith("rename") and ".shard.tmp" in line)
        folder = next(i for i, line in enumerate(part) if i > named and "fsync(" in line and "/shards/1>" in line)
        commit = max(i for i, line in enumerate(part) if "sync(" in line and "library.sqlite-wal" in line)
        logged = min(i for i, line in enumerate(part) if i > named and "pwrite64(" in line and "sqlite-wal" in line)
        assert file < named < folder < logged < commit
