"""Where an asset lies: inside an installed package, or in the asset folder; and whether it is the one we pinned."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightmeter.assets.files import file_sha256
from lightmeter.assets.table import ASSETS, Asset, asset_called
from lightmeter.errors import MissingAssetError, RejectedFileError


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """What is known of one asset on this machine.

    state: `found` (and, when checked, of the pinned hash), `missing` or `wrong hash`
    path: where it lies, None when missing · command: what installs it · checked: whether the hash was computed
    """

    asset: Asset
    state: Literal["found", "missing", "wrong hash"]
    path: Path | None
    command: str
    checked: bool

    def as_json(self) -> dict[str, str | int | bool | None]:
        """One flat object for `--json`."""
        asset = self.asset
        return {
            "name": asset.name,
            "state": self.state,
            "checked": self.checked,
            "path": None if self.path is None else str(self.path),
            "package": f"{asset.registry}:{asset.package}",
            "version": asset.version,
            "licence": asset.licence,
            "role": asset.role,
            "size_bytes": asset.size_bytes,
            "command": self.command,
        }


def asset_folder() -> Path:
    """The folder that `add` unpacks into: `LIGHTMETER_ASSETS`, else `lightmeter/assets` in the user's data folder."""
    named = os.environ.get("LIGHTMETER_ASSETS")
    if named:
        return Path(named).expanduser()
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "lightmeter" / "assets"


def find(name: str, *, check: bool = False) -> Path:
    """The file or folder of an asset; `check` also compares its hash (about 1 s for each GB).

    Looks in the installed package first (without importing it), then in the asset folder, then, for Debian packages,
    where the system keeps them. Raises MissingAssetError with the command that brings it, UnknownNameError for a name
    that no table holds, RejectedFileError when the hash is another one.
    """
    asset = asset_called(name)
    path = find_or_none(name)
    if path is None:
        raise MissingAssetError(f"no asset {name!r} on this machine ({asset.role}): run `{asset.command}`")
    if check and hash_of(path) != asset.sha256:
        raise RejectedFileError("wrong-hash", f"{path} is not {name!r} as pinned: run `{asset.repair}`")
    return path


def find_or_none(name: str) -> Path | None:
    """Like `find`, but None where the asset is missing: for choices and tests that can go on without it."""
    asset = asset_called(name)
    for path in _places(asset):
        if path.exists():
            return path
    return None


def _places(asset: Asset) -> list[Path]:
    unpacked = asset_folder() / asset.name / asset.file
    if asset.registry == "pypi":
        return [*_installed(asset.file), unpacked]
    return [unpacked, Path("/") / asset.file] if asset.registry == "debian" else [unpacked]


def _installed(file: str) -> list[Path]:
    """Where installed packages would hold the file; a top-level spec is located, its code is never run."""
    module, _, inside = file.partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    places = (spec.submodule_search_locations if spec else None) or []
    return [Path(place) / inside for place in places]


def verify(name: str) -> AssetStatus:
    """Compare an asset with its pinned hash.  Cost: reads every byte of it."""
    return _status(asset_called(name), check=True)


def status(*, check: bool = True) -> list[AssetStatus]:
    """Every asset of the table: found, missing or of the wrong hash, with the command that brings it."""
    return [_status(asset, check=check) for asset in ASSETS.values()]


def _status(asset: Asset, *, check: bool) -> AssetStatus:
    path = find_or_none(asset.name)
    if path is None:
        return AssetStatus(asset, "missing", None, asset.command, checked=False)
    if check and hash_of(path) != asset.sha256:
        return AssetStatus(asset, "wrong hash", path, asset.repair, checked=True)
    return AssetStatus(asset, "found", path, asset.command, checked=check)


def hash_of(path: Path) -> str:
    """sha256, hex, of a file's bytes; of a folder: of the sorted lines `hash  relative/path` of its regular files.

    Compiled Python (`__pycache__`) does not count: an import of the package may write it. Links are hashed as their
    target's text, so a swapped link is seen.
    """
    if not path.is_dir():
        return file_sha256(path)
    lines = []
    for each in path.rglob("*"):
        inside = each.relative_to(path)
        if "__pycache__" in inside.parts or (each.is_dir() and not each.is_symlink()):
            continue
        digest = f"-> {each.readlink()}" if each.is_symlink() else file_sha256(each)
        lines.append(f"{digest}  {inside.as_posix()}\n")
    lines.sort(key=lambda line: line.split("  ", 1)[1])
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
