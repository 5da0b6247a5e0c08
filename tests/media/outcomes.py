"""Read a file as an index would: its words, then its picture, frames or sound; and name how that ended."""

from __future__ import annotations

import sys
from pathlib import Path

from lightmeter.errors import RejectedFileError
from lightmeter.media import FrameReader, find_words, log_mel, probe, read_image, read_sound


def outcome_of(path: Path) -> str:
    """`ok`, `damaged` or the code of the refusal; any other exception goes through."""
    find_words(path)
    try:
        found = probe(path)
        if found.kind == "image":
            return read_image(path, short_side=64).state
        if found.kind == "sound":
            reading = read_sound(path)
            log_mel(reading.value)
            return reading.state
        reader = FrameReader(path, fps=2.0, short_side=64)
        for _ in reader:
            pass
        state = reader.state
        if found.has_sound and read_sound(path).state == "damaged":
            state = "damaged"
        return state
    except RejectedFileError as error:
        return error.code


def main() -> None:
    """Outcome of each named file, one a line, as it is known."""
    import time

    for name in sys.stdin.buffer.read().split(b"\0"):
        start_s = time.process_time()
        outcome = outcome_of(Path(name.decode("utf-8", "surrogateescape")))
        sys.stdout.write(f"{outcome}\t{time.process_time() - start_s:.3f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
