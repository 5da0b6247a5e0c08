"""One hash of files, one lock of files."""

import hashlib
import os

import pytest

from lightmeter.assets.files import FileLock, file_sha256, locked
from lightmeter.errors import LibraryBusyError


def test_hash_is_that_of_the_bytes_and_shows_that_it_is_alive(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    beats = []
    assert file_sha256(tmp_path / "a", lambda: beats.append(1)) == hashlib.sha256(data).hexdigest()
    assert len(beats) == 3
    with (tmp_path / "a").open("rb") as file:
        file.read(7)
        assert file_sha256(file) == hashlib.sha256(data[7:]).hexdigest()


def test_second_holder_is_told_once_and_then_refused(tmp_path):
    told = []
    with locked(tmp_path / "lock"):
        with pytest.raises(LibraryBusyError, match=f"number {os.getpid()}"):
            FileLock(tmp_path / "lock").take(0.12, waiting=told.append)
        assert len(told) == 1
    lock = FileLock(tmp_path / "lock")
    lock.take(0)
    lock.release()
    lock.release()


def test_lock_is_let_go_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock"):
        pass
