"""Records: results as JSON with all that is needed to believe or repeat them."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lightmeter
from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.meter.machine import machine, usable_cores

SCHEMA = "lightmeter.record/1"
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "av", "torch")
_THREAD_SETTINGS = ("LIGHTMETER_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Python, Lightmeter and those of the packages that are installed."""
    from importlib.metadata import PackageNotFoundError, version  # dear, and `measure` needs none of it

    found = {"python": platform.python_version(), "lightmeter": lightmeter.__version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def threads() -> dict[str, Any]:
    """Usable cores, and the settings of the environment that say how many of them libraries may take."""
    return {"cores": usable_cores(), **{name: os.environ[name] for name in _THREAD_SETTINGS if name in os.environ}}


def commit() -> str | None:
    """The commit this code was run from, with `+changes` when files differ; None when it is not run from a checkout."""
    folder = Path(lightmeter.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head, changed = (
        _git(folder, "rev-parse", "HEAD"),
        _git(folder, "status", "--porcelain", "--untracked-files=no", "."),
    )
    return f"{head}+changes" if head and changed else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def today() -> str:
    """Now, in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Record:
    """One set of results.

    id, question: what was asked · rows: one object a candidate, as `Trial.as_json` · data_hash: of what it ran on
    seed, notes: as given · machine, versions, threads, date, commit: filled in here.
    """

    id: str
    question: str
    rows: Sequence[Mapping[str, Any]]
    data_hash: str | None = None
    seed: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)
    threads: Mapping[str, Any] = field(default_factory=threads)
    date: str = field(default_factory=today)
    commit: str | None = field(default_factory=commit)

    def as_json(self) -> dict[str, Any]:
        """All of it, `schema` first."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `as_json`."""
        if values.get("schema") != SCHEMA:
            raise InvalidValueError(
                f"schema must be {SCHEMA}, got {values.get('schema')!r}: use the version that wrote it"
            )
        try:
            return cls(**{name: value for name, value in values.items() if name != "schema"})
        except TypeError as error:
            raise InvalidValueError(f"a record must have the fields of {SCHEMA}: {error}") from error


def write_results(path: Path | str, record: Record) -> Path:
    """Write a record as JSON: sorted as declared, one final line end, whole or not at all; NaN is refused."""
    try:
        text = json.dumps(record.as_json(), indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise InvalidValueError(f"record {record.id} must hold finite numbers only: {error}") from error
    return write_whole(path, text + "\n")


def read_results(path: Path | str) -> Record:
    """A record from the file that `write_results` wrote."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidValueError(f"{path} must hold one JSON object, got {type(values).__name__}")
    return Record.from_json(values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.name  # where a file lay on this machine says nothing elsewhere
    raise InvalidValueError(f"a record must hold plain values, got {type(value).__name__}: convert it first")


def hash_of(data: Any) -> str:
    """sha256 of data, hex: arrays (type, shape, values), bytes, text, numbers, files by their content (Path), and lists
    and mappings of these. The order of a mapping does not matter, that of a list does."""
    digest = hashlib.sha256()
    _feed(digest, data)
    return digest.hexdigest()


def _feed(digest: Any, data: Any) -> None:
    if isinstance(data, np.ndarray) and data.dtype != object:
        digest.update(f"array {data.dtype.str} {data.shape} ".encode())
        digest.update(np.ascontiguousarray(data).tobytes())
    elif isinstance(data, Path):
        with data.open("rb") as file:
            digest.update(b"file " + hashlib.file_digest(file, "sha256").digest())
    elif isinstance(data, bytes):
        digest.update(f"bytes {len(data)} ".encode() + data)
    elif data is None or isinstance(data, bool | int | float | str | np.generic):
        text = f"{type(data).__name__} {data!r}".encode("utf-8", "surrogatepass")
        digest.update(f"{len(text)} ".encode() + text)
    elif isinstance(data, Mapping):
        digest.update(f"map {len(data)} ".encode())
        for name in sorted(data, key=repr):
            _feed(digest, name)
            _feed(digest, data[name])
    elif isinstance(data, list | tuple):
        digest.update(f"list {len(data)} ".encode())
        for each in data:
            _feed(digest, each)
    else:
        raise InvalidValueError(
            f"data must be arrays, bytes, text, numbers, paths or lists of them, got {type(data).__name__}"
        )
