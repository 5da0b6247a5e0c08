"""Seeded mutants of good files over 12 formats: none crashes, hangs, eats memory or ends in an unnamed way.

Each batch runs in a process of its own, limited in memory, that is killed when it is silent for ten seconds.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import CASES, make, picture, secret, sound, video

HERE = Path(__file__).parent
SILENT_S = 10.0
MEMORY_BYTES = 1 << 30


def seeds() -> dict[str, bytes]:
    """A good file of each format."""
    pictures = {form.lower(): picture(form) for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}
    videos = {form: video(form, count=20) for form in ("mp4", "mkv", "ts")} | {
        "avi": video("avi", codec="mpeg4", count=20)
    }
    return pictures | videos | {"mp3": sound("mp3", "mp3"), "flac": sound("flac", "flac")}


def mutant(data: bytes, seed: int) -> bytes:
    """One of four ways to break a file: flipped bytes, a cut, a block moved, a length made huge."""
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    way = seed % 4
    if way == 0:
        for at in rng.integers(0, len(out), 1 + int(rng.integers(1, 40))):
            out[at] = int(rng.integers(256))
    elif way == 1:
        del out[int(rng.integers(4, len(out))) :]
    elif way == 2:
        start, to, size = (int(n) for n in rng.integers(0, len(out), 3))
        block = out[start : start + size % 200]
        out[to : to + len(block)] = block
    else:
        at = int(rng.integers(0, min(len(out), 600)))
        out[at : at + 4] = bytes(rng.choice([0, 255, 127, 128], 4).astype(np.uint8))
    return bytes(out)


def outcomes(paths: list[Path]) -> Iterator[tuple[str, float]]:
    """Each file's outcome and CPU seconds, from a process that may be killed; `killed` ends the list."""
    names = b"\0".join(map(os.fsencode, paths))

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SILENT_S * (2 + len(paths) / 20)),) * 2)

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, str(HERE / "outcomes.py")], input=names, capture_output=True, preexec_fn=confine,
        env=environment, timeout=SILENT_S * (2 + len(paths) / 10), check=False,
    )  # fmt: skip
    assert not done.stderr or done.returncode, done.stderr[-500:]  # decoders must not talk either
    for line in done.stdout.decode().splitlines():
        outcome, seconds = line.split("\t")
        yield outcome, float(seconds)
    if done.returncode:
        yield f"killed {done.returncode}: {done.stderr.decode()[-500:]}", 0.0


def run_mutants(folder: Path, count: int, first_seed: int = 0) -> dict[str, int]:
    """Outcomes counted, over `count` mutants in turn of each format."""
    good = seeds()
    paths = []
    for seed in range(first_seed, first_seed + count):
        form = list(good)[seed // 4 % len(good)]
        paths.append(folder / f"{seed}.{form}")
        paths[-1].write_bytes(mutant(good[form], seed))
    counted: dict[str, int] = {}
    found = list(outcomes(paths))
    assert len(found) == count, (found[-1], paths[len(found) - 1])
    for (outcome, seconds), path in zip(found, paths, strict=True):
        assert seconds < SILENT_S, path
        counted[outcome] = counted.get(outcome, 0) + 1
    return counted


CODES = {
    "ok", "damaged", "unreadable", "too-large", "unknown-format", "truncated", "no-streams", "no-video", "no-sound",
    "disguise", "empty",
}  # fmt: skip


def test_a_hundred_mutants(tmp_path):
    counted = run_mutants(tmp_path, 100)
    assert set(counted) <= CODES
    assert counted["ok"] + counted["damaged"] > 20
    assert counted["unreadable"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_mutants(part, tmp_path):
    assert set(run_mutants(tmp_path, 100, 1000 + 100 * part)) <= CODES


def test_every_hostile_file_in_a_confined_process(tmp_path):
    paths = [make(case, tmp_path) for case in CASES]
    found = list(outcomes(paths))
    assert len(found) == len(CASES), found[-1]
    assert max(seconds for _, seconds in found) < SILENT_S


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_nothing_else_is_opened_and_no_socket(tmp_path):
    """By the system's own account, since an audit hook is blind to C code."""
    media = tmp_path / "media"
    media.mkdir()
    paths = [make(case, media) for case in CASES]
    secret(media / "x")
    log = tmp_path / "log"
    names = b"\0".join([os.fsencode(paths[0]), *map(os.fsencode, paths)])
    command = [
        "strace",
        "-f",
        "-qq",
        "-s",
        "400",
        "-xx",
        "-e",
        "trace=network,open,openat,openat2,creat",
        "-o",
        str(log),
    ]
    subprocess.run([*command, sys.executable, str(HERE / "outcomes.py")], input=names, capture_output=True, check=True)
    calls = log.read_text().splitlines()
    assert not [call for call in calls if "socket(" in call or "connect(" in call]
    opened = {bytes.fromhex(call.split('"')[1].replace("\\x", "")) for call in calls if "open" in call and '"' in call}
    assert os.fsencode(paths[0]) in opened
    assert not [name for name in opened if b"secret.mp4" in name or b"hostname" in name or b"://" in name]
    strange = {name for name in opened if name.startswith(os.fsencode(media))} - {os.fsencode(path) for path in paths}
    beside = (b".txt", b".json", b"metadata.csv", b"metadata.jsonl")
    assert not [name for name in strange if not name.endswith(beside)]
