"""How long until the first answer: `lightmeter --help`, and a search of 100,000 items, from a cold start."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingesting.pool import spread
from lightmeter.library.calibrating import calibrate
from lightmeter.library.indexing import DEFAULT_ENCODERS, DEFAULT_WORDS
from lightmeter.library.store import open_library
from lightmeter.parts import build
from lightmeter.types import Item, Words

ITEMS, STEP = 100_000, 10_000
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LIGHTMETER_THREADS")
SUBJECTS = "cat dog car tree house beach mountain boat bird flower street bridge train cake lamp chair".split()


def library(folder: Path, items: int = ITEMS) -> Path:
    """A library of made-up pictures: a path, a title, and rows of every default encoder each; calibrated."""
    rng = np.random.default_rng(0)
    encoders = [build(spec, "encoder") for spec in DEFAULT_ENCODERS if spec != "log-mel"]
    text = build(DEFAULT_WORDS, "encoder")
    subjects = text.encode([Words(title=f"a photo of a {name}") for name in SUBJECTS])
    classes = encoders[1].encode_words(SUBJECTS)
    with open_library(folder, create=True) as made:
        for start in range(0, items, STEP):
            which = rng.integers(0, len(SUBJECTS), STEP)
            rows = {
                encoders[0].spec: np.abs(rng.standard_normal((STEP, encoders[0].dim), np.float32)),
                encoders[1].spec: classes[which] + 0.04 * rng.standard_normal((STEP, encoders[1].dim), np.float32),
            }
            told = subjects[which] + 0.02 * rng.standard_normal((STEP, text.dim), np.float32)
            with made.transaction():
                keys, paths = _items(made, start, which)
                for spec, vectors in rows.items():
                    made.append(made.series(spec, "item", vectors.shape[1]), keys, vectors)
                made.append(made.series(text.spec, "path", text.dim), paths, told)
        made.compact()
        calibrate(made)
    return folder


def _items(made: Any, start: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    names = [hashlib.sha256(b"%d" % (start + at)).hexdigest() for at in range(STEP)]
    keys = made.add_contents([Item(name, "image", 1000, width=1280, height=854) for name in names])
    paths = []
    for at, key in enumerate(keys.tolist()):
        subject = SUBJECTS[which[at]]
        paths.append(made.add_path(f"/photos/{subject}-{start + at}.jpg", key, size_bytes=1000, mtime_ns=at))
        made.set_words(paths[-1], [Words(title=subject, source="name")])
    return keys, np.array(paths)


def compare(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """CPU and wall seconds of fresh processes: nothing in memory but the page cache."""
    bare = [sys.executable, "-c", "import click, numpy, sqlite3"]
    ours = [str(Path(sys.executable).with_name("lightmeter"))]
    photo = sorted(folder.parent.glob("pictures/*.jpg"))[0]
    commands = {
        "python -c 'import click, numpy, sqlite3'": bare,
        "lightmeter --help": [*ours, "--help"],
        "lightmeter search 'a cat'": [*ours, "search", "a cat", "--library", str(folder)],
        "lightmeter search PICTURE": [*ours, "search", str(photo), "--library", str(folder)],
        "lightmeter search --kind image": [*ours, "search", "--kind", "image", "--library", str(folder)],
    }
    took: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats + 1):
        for name, command in commands.items():
            took.setdefault(name, []).append(spent(command, folder.parent / "compiled"))
    return [
        {
            "part": "start", "candidate": name, "items": ITEMS if "search" in name else None,
            "cpu_s": spread([value[0] for value in values[1:]]), "wall_s": spread([value[1] for value in values[1:]]),
        }
        for name, values in took.items()
    ]  # fmt: skip


def spent(command: Sequence[str], compiled: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process, which must not fail. compiled: where byte code is kept."""
    unset = {*THREADS, "PYTHONDONTWRITEBYTECODE"}  # as a person's shell has it
    told = {name: value for name, value in os.environ.items() if name not in unset}
    told["PYTHONPYCACHEPREFIX"] = str(compiled)
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=told)
    said = process.stderr.read() if process.stderr else b""
    process.wait()
    wall_s = time.perf_counter() - start_s
    if process.returncode:
        raise RuntimeError(f"{command} failed: {said.decode()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, wall_s


def single_threaded() -> dict[str, str]:
    """The environment with one thread for everything that asks it."""
    return {**os.environ, **dict.fromkeys(THREADS, "1")}
