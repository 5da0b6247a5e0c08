import logging

import pytest

from lightmeter.encoders import cache
from lightmeter.encoders.cache import cache_folder, kept


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_makes_once(folder):
    made = []

    def make():
        made.append(1)
        return b"dear"

    assert [kept("x", "1", make) for _ in range(3)] == [b"dear"] * 3
    assert len(made) == 1
    assert kept("x", "2", make) == b"dear"  # another stamp
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("body", [b"", b"short", b"0" * 100], ids=["empty", "torn", "changed"])
def test_a_broken_file_is_made_again(folder, body):
    kept("x", "1", lambda: b"good")
    (file,) = folder.iterdir()
    file.write_bytes(body)
    assert kept("x", "1", lambda: b"good") == b"good"
    assert kept("x", "1", lambda: b"never") == b"good"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, logger="lightmeter.encoders"):
        assert kept("x", "1", lambda: b"good") == b"good"
    assert "made again each time" in caplog.text


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720])
def test_a_folder_that_others_may_write_is_not_used(folder, caplog, mode):
    kept("x", "1", lambda: b"good")
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING, logger="lightmeter.encoders"):
        assert kept("x", "1", lambda: b"made") == b"made"
        assert kept("x", "2", lambda: b"made") == b"made"
    assert "may be written by others" in caplog.text
    assert len(list(folder.iterdir())) == 1, "nothing is put there either"
    folder.chmod(0o755)
    assert kept("x", "1", lambda: b"never") == b"good"


def test_a_folder_of_somebody_else_is_not_used(folder, caplog, monkeypatch):
    kept("x", "1", lambda: b"good")
    monkeypatch.setattr(cache.os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert kept("x", "1", lambda: b"made") == b"made"
    assert "belongs to somebody else" in caplog.text


def test_what_comes_with_the_package_is_not_made(folder):
    (shipped,) = cache._PACKAGED.iterdir()
    assert cache._read(shipped) is not None
    assert shipped.stat().st_size < 1_000_000


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("LIGHTMETER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lightmeter"
