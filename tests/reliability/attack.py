"""The command line in processes of its own, watched, killed and starved; and what a library holds, as plain values."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from lightmeter.engines.inline import Inline
from lightmeter.engines.ledger import Ledger
from lightmeter.errors import LibraryNotFoundError
from lightmeter.library.indexing import IndexOptions, index
from lightmeter.library.store import open_library
from lightmeter.meter.machine import machine

TOY = ("--encoder", "color-histogram", "--words", "")
BATCH, WORKERS = 32, 2
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "reliability.json"
_MAIN = "from lightmeter.cli.main import main; main()"


# -- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def said(self) -> str:
        """The last line of stderr."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


def command(*args: Any) -> list[str]:
    """The command line as the installed script runs it."""
    return [sys.executable, "-P", "-c", _MAIN, *map(os.fspath, map(_text, args))]


def _text(arg: Any) -> Any:
    return arg if isinstance(arg, str | os.PathLike) else str(arg)


def start(*args: Any, before: Sequence[str] = (), **more: Any) -> subprocess.Popen:
    """Start a command; `before` goes in front of it (strace, a shell with limits)."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*before, *command(*args)], text=True, errors="surrogateescape", **(streams | more))


def finish(process: subprocess.Popen, timeout_s: float = 300) -> Ran:
    """Wait for a command; nothing that the command line says may be a traceback."""
    out, err = process.communicate(timeout=timeout_s)
    assert "Traceback" not in err, err
    return Ran(process.returncode, out, err)


def lightmeter(*args: Any, **more: Any) -> Ran:
    """Run a command to its end."""
    return finish(start(*args, **more))


def index_args(folder: Path, library: Path, *more: Any, workers: int = WORKERS) -> tuple[Any, ...]:
    """`index` with the toy encoder."""
    return ("index", folder, "--library", library, *TOY, "--engine", f"local/workers={workers}", "-q", *more)


def index_here(folder: Path, library: Path) -> None:
    """The same in this process, for tests that begin with a library and attack something else."""
    done = index([folder], library, IndexOptions(encoders=("color-histogram",), words="", engine=Inline()))
    assert done.failed == {}


def pictures(folder: Path, count: int, *, seed: int = 0, side: int = 24) -> list[Path]:
    """Small pictures, each of another content."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    made = []
    for at in range(count):
        made.append(folder / f"p{at:05d}.png")
        Pillow.fromarray(draw.integers(0, 255, (side, side, 3), np.uint8)).save(made[-1])
    return made


# -- watching and killing ---------------------------------------------------------------------------------------------


def workers_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def below(pid: int) -> set[int]:
    """Workers of a command, also where strace or a shell stands before it; without what stands between."""
    found, level = set(), set(workers_of(pid))
    while level:
        deeper = {child for each in level for child in workers_of(each)}
        found |= level if not deeper else set()
        level = deeper
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


class Watch(threading.Thread):
    """Looks at the workers of a command twenty times a second; remembers the most memory that one of them held.

    While a command has no worker yet, it is itself what is looked at when something stands before it.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_bytes, self.seen = pid, 0, set()
        self.start()

    def run(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            for worker in below(self.pid):
                self.seen.add(worker)
                self.peak_bytes = max(self.peak_bytes, _peak_bytes(worker))
            time.sleep(0.05)


def _peak_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    return 0


def kill_supervisor(process: subprocess.Popen) -> bool:
    """Kill -9 a command; whether it was still at work."""
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def kill_a_worker(process: subprocess.Popen, draw: random.Random) -> bool:
    """Kill -9 one of a command's workers, if it has one now."""
    found = workers_of(process.pid)
    if not found or process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(draw.choice(sorted(found)), signal.SIGKILL)
    return True


def wait_until(what: Callable[[], Any], process: subprocess.Popen, timeout_s: float = 60) -> None:
    """Until something is so or the process has ended."""
    deadline = time.monotonic() + timeout_s
    while not what() and process.poll() is None:
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


@contextlib.contextmanager
def few_files(count: int) -> Iterator[None]:
    """This process may open `count` more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    while fillers[-1] <= most:  # the gaps below count too
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for each in fillers:
            os.close(each)


# -- what a library holds ---------------------------------------------------------------------------------------------


def contents(folder: Path, root: Path) -> dict[str, Any]:
    """All that a user can see of a library, without what differs from run to run (keys, dates, order)."""
    with open_library(folder) as library:
        items = dict(zip(library.items().keys.tolist(), library.items(), strict=True))
        paths = {}
        for known in library.known_paths():
            name = os.path.relpath(known.path, root)
            item = items.get(known.item)
            words = [w.text for w in library.words_of([known.key]).get(known.key, ())]
            paths[name] = (item.id if item else None, known.size_bytes, known.mtime_ns, known.missing, words)
        errors = {os.path.relpath(e.path, root): (e.code, e.detail) for e in library.errors()}
        features = {series.spec: _rows(library, series, items) for series in library.all_series()}
        nulls = {series.spec: library.calibration(series, "null") for series in library.all_series()}
        return {
            "items": sorted((i.id, i.kind, i.state, i.reason, i.width, i.height) for i in items.values()),
            "paths": paths,
            "errors": errors,
            "features": features,
            "nulls": {spec: _rounded(found[0]["null"]) if found else None for spec, found in nulls.items()},
        }


def _rows(library: Any, series: Any, items: dict[int, Any]) -> dict[str, list[bytes]]:
    found = library.features(series)
    rows: dict[str, list[bytes]] = {}
    for owner, vector in zip(found.owners.tolist(), found.vectors, strict=True):
        rows.setdefault(items[owner].id, []).append(vector.tobytes())
    return rows


def _rounded(null: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in null.items()}


def in_flight(folder: Path) -> list[int]:
    """How many items each lease holds that a dead run left behind."""
    with open_library(folder) as library:
        return [len(lease.keys) for lease in Ledger(library.connection).leases()]


def count_paths(folder: Path) -> int:
    """How many paths are kept; 0 where there is no library yet."""
    if not is_made(folder):
        return 0
    with open_library(folder) as library:
        return library.counts().paths


def is_made(folder: Path) -> bool:
    """Whether the library's tables were ever committed: a writer killed before that leaves an empty file at most."""
    try:
        with open_library(folder):
            return True
    except LibraryNotFoundError:
        return False


def acknowledged(events: Path) -> int:
    """Files that a run has said to be done, over all runs that wrote to this file."""
    if not events.exists():
        return 0
    total = last = 0
    for line in events.read_text().splitlines():
        with contextlib.suppress(ValueError):  # the last line of a killed run
            event = json.loads(line)
            if event["event"] == "start":
                total, last = total + last, 0
            last = max(last, event["done"])
    return total + last


def assert_sound(folder: Path) -> None:
    """`lightmeter fsck` finds nothing."""
    ran = lightmeter("fsck", "--library", folder, "--json")
    assert ran.code == 0, ran
    assert ran.rows[-1]["problems"] == 0


def outcomes(folder: Path, root: Path) -> dict[str, str]:
    """Name below root → `ok`, `damaged` or the code of its refusal, as `status` and `info` know it."""
    held = contents(folder, root)
    state = {item[0]: item[2] for item in held["items"]}
    ends = {name: state[facts[0]] for name, facts in held["paths"].items() if facts[0] in state}
    return ends | {name: code for name, (code, _) in held["errors"].items()}


# -- figures ----------------------------------------------------------------------------------------------------------


def keep_figures(name: str, *, seed: int | None = None, **figures: Any) -> None:
    """Put the figures of one proof into docs/results/reliability.json, beside the others; seed: None where none is."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    proofs = {**found.get("proofs", {}), name: {"date": today, "seed": seed, **figures}}
    seeds = {each: proof.get("seed") for each, proof in proofs.items()}
    about = {"schema": "lightmeter.reliability/1", "date": today, "machine": machine(), "seed": seeds}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**about, "proofs": proofs}, indent=2, sort_keys=True) + "\n")
