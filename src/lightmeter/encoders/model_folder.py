"""Folders of checkpoints as `save_pretrained` writes them: what must lie there, read without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError, MissingAssetError, UnsafeFileError

_CONFIG_BYTES = 64 << 20
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def model_config(folder: Path, stem: str, *beside: str) -> dict[str, Any]:
    """The config.json of a folder that holds all it needs: safetensors weights, whole or in shards, and other files.

    stem: name of the weights without `.safetensors` · beside: further files that must be there
    Raises MissingAssetError with the names of what is missing, UnsafeFileError where the weights are a pickle only,
    InvalidValueError for a config that is no JSON object.  Cost: reads the small files only.
    """
    files = weight_files(folder, stem)
    missing = [each.name for each in (folder / "config.json", *(folder / name for name in beside), *files)
               if not each.is_file()]  # fmt: skip
    pickles = sorted(each.name for each in folder.glob("*") if each.suffix in _PICKLES) if folder.is_dir() else []
    if pickles and files[0].name in missing:
        raise UnsafeFileError(f"{folder} holds {pickles[0]}, a pickle, which is never read: save it as {files[0].name}")
    if missing:
        raise MissingAssetError(
            f"{folder} lacks {', '.join(missing)}: put there what save_pretrained writes for the model"
        )
    return read_json(folder / "config.json")


def weight_files(folder: Path, stem: str) -> list[Path]:
    """Where the weights lie: one file, or the shards that an index names, all in the folder itself."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return [folder / f"{stem}.safetensors"]
    return [folder / Path(str(name)).name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file; raises UnsafeFileError for a large one, InvalidValueError for anything else."""
    if path.stat().st_size > _CONFIG_BYTES:
        raise UnsafeFileError(f"{path.name} must be at most {_CONFIG_BYTES} bytes, got {path.stat().st_size}")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(read, dict):
        raise InvalidValueError(f"{path} must hold a JSON object, got {type(read).__name__}")
    return read
