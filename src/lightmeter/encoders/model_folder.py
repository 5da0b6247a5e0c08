"""Folders of checkpoints as `save_pretrained` writes them: what must lie there, read without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError, LightmeterError, MissingAssetError, UnsafeFileError

_CONFIG_BYTES = 64 << 20
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MOST_NUMBER = 1e6
LEAST_SPREAD = 1e-6
"""A standard deviation in a config is at least this."""


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


def config_count(config: Mapping[str, Any], name: str, default: int | None = None, *, most: int = 1024) -> int:
    """A whole number from 1 on in a config, `default` where it is not there; else InvalidValueError."""
    count = config.get(name, default)
    if type(count) is not int or not 1 <= count <= most:
        raise InvalidValueError(f"{name} in config.json must be a whole number from 1 to {most}, got {count!r:.80}")
    return count


def config_numbers(config: Mapping[str, Any], name: str, count: int, least: float = -_MOST_NUMBER) -> tuple[float, ...]:
    """So many finite numbers in a config, each at least `least`; else InvalidValueError."""
    told = config.get(name)
    numbers = told if isinstance(told, list | tuple) and all(type(each) in (int, float) for each in told) else []
    if len(numbers) != count or not all(least <= each <= _MOST_NUMBER for each in numbers):
        raise InvalidValueError(
            f"{name} must be {count} numbers from {least:g} to {_MOST_NUMBER:g}, got {told!s:.80}: mend the file"
        )
    return tuple(float(each) for each in numbers)


@contextmanager
def made_of(folder: Path) -> Iterator[None]:
    """Around what other people's code makes of a folder: whatever it raises is one InvalidValueError with its name."""
    try:
        yield
    except InvalidValueError as error:
        raise InvalidValueError(f"{folder} does not fit: {error}") from error
    except (LightmeterError, MemoryError):
        raise
    except Exception as error:  # their checks of a config have no common base
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InvalidValueError(f"{folder} must hold a model as save_pretrained writes it, got {why}") from error


def check_whole(folder: Path, network: Any, told: Mapping[str, Any], spare: tuple[str, ...] = ()) -> None:
    """Raise InvalidValueError unless all weights of a network came from its folder, and are finite.

    Loaders draw what is missing at random and go on: features would be noise under the fingerprint of the folder.
    told: what `from_pretrained(…, output_loading_info=True)` gives beside the network
    spare: how the names of weights begin that never run here · Cost: a look at every number.
    """
    for what in ("missing", "mismatched"):
        names = _names(told[f"{what}_keys"], spare)
        if names:
            raise InvalidValueError(
                f"{folder} must hold all weights of its network, {', '.join(names[:3])} "
                f"{'is' if len(names) == 1 else 'are'} {what} ({len(names)} in all): save the whole model again"
            )
    for name, each in network.state_dict().items():
        if not name.startswith(spare) and each.is_floating_point() and not each.isfinite().all():
            raise InvalidValueError(f"{folder} must hold finite weights, got NaN or infinity in {name}: save it again")


def _names(keys: Iterable[Any], spare: tuple[str, ...]) -> list[str]:
    names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)  # mismatches come with their shapes
    return [name for name in names if not name.startswith(spare)]
