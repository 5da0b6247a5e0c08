"""Keep a library up to date with its folders by looking again and again: no daemon, works on any file system."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lightmeter.errors import InvalidValueError
from lightmeter.library.indexing import IndexOptions, dry_run


def watch(
    folders: Sequence[Path],
    folder: Path,
    options: IndexOptions,
    *,
    every_s: float,
    run: Callable[[], int],
    looks: int | None = None,
) -> None:
    """Call `run` whenever something changed, until Ctrl-C (or after `looks` looks).

    A file that is still growing is read again at the next look.  Cost: one stat a file a look.
    """
    if every_s <= 0:
        raise InvalidValueError(f"--every must be above 0 seconds, got {every_s}")
    run()
    seen = 0
    while looks is None or seen < looks:
        time.sleep(every_s)
        seen += 1
        plan = dry_run(folders, folder, options)
        if plan.fresh or plan.gone or plan.healed:
            run()
