"""onnxruntime, kept on a short lead: explicit threads, no spinning, one session a model a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from lightmeter.errors import InvalidValueError

_state: dict[str, int] = {}
_sessions: dict[tuple[str, int], Any] = {}
_lock = threading.Lock()


def set_threads(count: int) -> None:
    """Threads a model may use in this process, for all encoders from now on; rows can differ in their last bits."""
    _state["threads"] = _checked(count, "threads")


def threads() -> int:
    """Threads a model may use: `set_threads`, else LIGHTMETER_THREADS, else 1."""
    if "threads" not in _state:
        told = os.environ.get("LIGHTMETER_THREADS", "1")
        _state["threads"] = _checked(int(told) if told.isdigit() else told, "LIGHTMETER_THREADS")
    return _state["threads"]


def _checked(count: Any, name: str) -> int:
    if type(count) is not int or count < 1:
        raise InvalidValueError(f"{name} must be a whole number of 1 or more, got {count!r}")
    return count


def session(key: str, model: Callable[[], bytes | str]) -> Any:
    """The process's InferenceSession for `key`, made from what `model` returns (ONNX bytes or a path) on first use."""
    with _lock:
        place = (key, threads())
        if place not in _sessions:
            _sessions[place] = _open(model(), place[1])
        return _sessions[place]


def _open(model: bytes | str, count: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = count
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
