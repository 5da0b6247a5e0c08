"""One attempt at a batch, the same in every engine: run the stage, hold it to its contract, name what went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightmeter.engines.plan import Blow
from lightmeter.engines.stage import Beat, Failure, Result, Stage, Task
from lightmeter.errors import InvalidValueError, RejectedFileError

DETAIL_CHARS = 2000


def attempt(stage: Stage, tasks: Sequence[Task], beat: Beat) -> list[Result | Failure] | Blow:
    """Outcomes of a batch, or why there are none. Whatever the stage raises is a result, `sys.exit` too."""
    try:
        outcomes = list(stage.run(tasks, beat))
        check_outcomes(tasks, outcomes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - errors are results: a batch must not end the run
        return blow_of(error)
    return outcomes


def blow_of(error: BaseException) -> Blow:
    """Name an exception: its reason, and one line with the place that raised it."""
    if isinstance(error, RejectedFileError):
        return Blow(f"rejected:{error.code}", error.detail[:DETAIL_CHARS])
    reason = "memory" if isinstance(error, MemoryError) else "exception"
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return Blow(reason, text[:DETAIL_CHARS] + place)


def check_outcomes(tasks: Sequence[Task], outcomes: Sequence[Any]) -> None:
    """Hold a stage to its contract: one Result or Failure a task, in order, with plain values."""
    for outcome in outcomes:
        if not isinstance(outcome, Result | Failure):
            raise InvalidValueError(f"run must return Result or Failure, got {type(outcome).__name__}: wrap it")
    wanted, got = [task.key for task in tasks], [outcome.key for outcome in outcomes]
    if wanted != got:
        raise InvalidValueError(
            f"run must return one outcome a task, in order, got {len(got)} for {len(wanted)}"
            f"{'' if len(got) != len(wanted) else ' with other keys'}: return a Failure for a task without a result"
        )
    for outcome in outcomes:
        if isinstance(outcome, Result):
            check_value(outcome.key, outcome.value)


_PLAIN = (type(None), bool, int, float, str, bytes)


def check_value(name: str, value: Any) -> None:
    """Hold a value to what Arrow can carry; the name in the error shows where the wrong one sits."""
    if isinstance(value, dict):
        for key, each in value.items():
            check_value(f"{name}.{key}", each)
    elif isinstance(value, list | tuple):
        for each in value:
            check_value(name, each)
    elif type(value) not in _PLAIN and not _is_plain_array(value):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise InvalidValueError(
            f"{name} must be a number, text, bytes, None, an array, or a list or dict of these, got {kind}: convert it"
        )


def _is_plain_array(value: Any) -> bool:
    """An array or scalar of numpy without objects; numpy is not imported for this: without it there is none."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic) and not value.dtype.hasobject
