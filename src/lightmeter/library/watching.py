"""Keep a library up to date with its folders by looking again and again: no daemon, works on any file system."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lightmeter.errors import InvalidValueError
from lightmeter.library.indexing import IndexOptions, dry_run

STOPPED = 130


def watch(
    folders: Sequence[Path],
    folder: Path,
    options: IndexOptions,
    *,
    every_s: float,
    run: Callable[[], int],
    looks: int | None = None,
) -> int:
    """Call `run` whenever something changed, until Ctrl-C (or after `looks` looks). Returns the last code of `run`.

    A `run` that gives 130 was stopped by Ctrl-C: that ends the watch too.
    A file that is still growing is read again at the next look.  Cost: one stat a file a look.
    """
    if not 0 < every_s < math.inf:
        raise InvalidValueError(f"--every must be above 0 seconds, got {every_s}")
    code = run()
    seen = 0
    while code != STOPPED and (looks is None or seen < looks):
        time.sleep(every_s)
        seen += 1
        plan = dry_run(folders, folder, options)
        if plan.fresh or plan.gone or plan.healed:
            code = run()
    return code
