"""Public corpora of broken media through the command line, under the system's own account of what was opened."""

import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import attack
import corpora
import pytest

CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<args>.*)")
NAMED = re.compile(r'"((?:[^"\\]|\\.)*)"')
OWN_SIGNS = {
    "exception",
    "timeout",
    "memory",
    "signal",
    "exit",
}  # of a worker that failed, not of a file that was refused


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(
    ("name", "gather", "least"), [("pillow", corpora.pillow_images, 345), ("exiv2", corpora.exiv2_data, 100)]
)
def test_corpus(tmp_path, name, gather, least):
    count = gather(tmp_path)
    assert count >= least
    folder, library, log = tmp_path / name, tmp_path / "library", tmp_path / "strace.log"
    strace = [
        "strace",
        "-f",
        "-qq",
        "-s",
        "600",
        "--seccomp-bpf",
        "-e",
        "trace=network,open,openat,openat2,creat",
        "-o",
        str(log),
    ]
    events = tmp_path / "events"
    args = attack.index_args(folder, library, "--encoder", "log-mel", "--json", "--events", events)
    process = attack.start(*args, before=strace)
    watch = attack.Watch(process.pid)
    ran = attack.finish(process, timeout_s=1800)
    watch.join()
    assert ran.code == 3, ran
    ends = attack.outcomes(library, folder)
    counted = Counter(ends.values())
    assert not OWN_SIGNS & set(counted), {file: end for file, end in ends.items() if end in OWN_SIGNS}
    assert len(ends) + ran.rows[0]["other_kinds"] == count
    assert '"restart"' not in events.read_text()  # no crash, no hang over 10 s, none over 1 GB
    assert watch.peak_bytes < 1 << 30
    sockets, foreign = judged(log, (folder, library, events))
    assert sockets == []
    assert foreign == []
    attack.assert_sound(library)
    attack.keep_figures(
        f"corpus-{name}", files=count, other_kinds=ran.rows[0]["other_kinds"], outcomes=dict(sorted(counted.items())),
        sockets=0, foreign_files_opened=0, worker_restarts=0, peak_worker_mb=round(watch.peak_bytes / 1e6),
        cpu_s=round(ran.rows[0]["cost"]["cpu_s"], 1),
    )  # fmt: skip


def judged(log: Path, own: tuple[Path, ...]) -> tuple[list[str], list[str]]:
    """Calls that touch the network, and names outside of what the program may open, tried or opened."""
    sockets, foreign = [], []
    for line in log.read_text(errors="surrogateescape").splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        if not call["name"].startswith(("open", "creat")):
            sockets.append(line)
        elif (found := NAMED.search(call["args"])) and not is_ours(found[1], own):
            foreign.append(line)
    return sockets, foreign


SYSTEM = (
    "/proc/", "/sys/", "/usr/lib", "/usr/local/lib", "/usr/share/", "/lib", "/dev/null", "/dev/urandom", "/etc/ld.so",
    "/etc/localtime", "/etc/ssl/", "/var/tmp/etilqs_",  # the last is SQLite's scratch, which it unlinks at once
)  # fmt: skip


def is_ours(name: str, own: tuple[Path, ...]) -> bool:
    """Whether the program may open this: its folder and library, Python and packages, what the system offers all."""
    if not name.startswith("/") or name.startswith(SYSTEM):
        return True  # relative to a folder that was opened, and so judged, before
    source = Path(attack.__file__).parents[2] / "src"
    prefixes = {sys.prefix, sys.base_prefix}
    places = [str(place) for place in (*own, source, *prefixes, *map(os.path.realpath, prefixes))]
    beside = str(own[1].parent)  # opened to make the library's name durable
    return name == beside or name in places or name.startswith(tuple(f"{place}/" for place in places))


def test_the_judge_knows_a_stranger(tmp_path):
    """So that a log that nobody reads does not pass."""
    own = (tmp_path / "media", tmp_path / "library", tmp_path / "events")
    log = tmp_path / "log"
    log.write_text(
        '7 openat(AT_FDCWD, "/etc/hostname", O_RDONLY) = 3\n'
        f'7 openat(AT_FDCWD, "{own[0]}/a.jpg", O_RDONLY) = 3\n'
        f'7 openat(AT_FDCWD, "{own[0]}-secret/a.jpg", O_RDONLY) = -1 ENOENT\n'
        "7 socket(AF_INET, SOCK_STREAM, 0) = 4\n"
    )
    sockets, foreign = judged(log, own)
    assert len(sockets) == 1
    assert [NAMED.search(line)[1] for line in foreign] == ["/etc/hostname", f"{own[0]}-secret/a.jpg"]
