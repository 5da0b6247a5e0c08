"""Training files of PyTorch Lightning without Lightning: weights and options, nothing executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.inert import CHECKPOINT, Dialect, Record, TensorRef
from lightmeter.errors import RejectedFileError
from lightmeter.types import Array

_NAMESPACE = "argparse.Namespace"
_DEEPEST = 8
_MOST_VALUES = 10_000

LIGHTNING = Dialect(
    "training file",
    CHECKPOINT.calls,
    CHECKPOINT.names,
    classes={
        _NAMESPACE: lambda: Record(_NAMESPACE),
        "pytorch_lightning.utilities.parsing.AttributeDict": dict,
    },
    words=("pytorch_lightning.",),
)
"""What PyTorch writes, and what Lightning 1.x adds: options as a Namespace, callbacks' states by their classes.

Lightning's own names are read as text, such as a callback's class that stands as a key: nothing can be called by them.
"""


def read_lightning(path: Path | str) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors under `state_dict`, by name, and the options under `hyper_parameters` as plain dicts and values.

    The optimiser's state is not read. A file without `state_dict`, and a safetensors file, is all weights and no
    options. What in the options is no number, text, list or dict is None.
    Raises UnsafeFileError, which names what was refused, and RejectedFileError, as `read_checkpoint` does.
    Cost: as `read_checkpoint`.  Source: Lightning 1.3.3, trainer/connectors/checkpoint_connector.py, dump_checkpoint.
    """
    options: dict[str, Any] = {}

    def pick(tree: Any) -> Any:
        if not isinstance(tree, dict) or "state_dict" not in tree:
            return tree
        given = _Plain().of(tree.get("hyper_parameters"))
        options.update(given if isinstance(given, dict) else {})
        if not isinstance(tree["state_dict"], dict):
            raise RejectedFileError("not-a-checkpoint", "state_dict must hold tensors by name: save the weights again")
        return tree["state_dict"]

    return read_checkpoint(path, dialect=LIGHTNING, pick=pick), options


class _Plain:
    """Inert values as plain ones, so many and so deep at most."""

    def __init__(self) -> None:
        self.left = _MOST_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            raise RejectedFileError(
                "tangled", f"options must be at most {_MOST_VALUES:,} values, {_DEEPEST} deep, got more"
            )
        if isinstance(value, Record) and value.name == _NAMESPACE:
            value = value.state
        if isinstance(value, dict):
            return {key: self.of(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple) and not isinstance(value, TensorRef):
            return [self.of(each, depth + 1) for each in value]
        return value if isinstance(value, str | int | float | bool) else None
