"""From storages and strided views to arrays: every range is checked before a byte is touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lightmeter.assets.inert import BFLOAT16, STORAGES, StorageRef, Symbol, TensorRef
from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.types import Array

MOST_TENSORS = 100_000
MOST_VISITS = 8_000_000
MOST_CONTAINERS = 500_000
MOST_WAITING = 1_000_000
DEEPEST = 50
LONGEST_NAME = 1_000
SPARE_COPY_BYTES = 64 << 20


_TANGLED = (
    f"a checkpoint must nest at most {DEEPEST} deep, not in circles, and hold at most {MOST_CONTAINERS:,} containers "
    f"and {MOST_VISITS:,} values: refused"
)


def named_tensors(tree: Any) -> dict[str, TensorRef]:
    """The tensors in nested containers, named by their path: `{"model": {"w": …}}` gives `model.w`.

    A bare tensor is called `tensor`. Everything that is no tensor (epochs, options) is left out.
    """
    if isinstance(tree, TensorRef):
        return {"tensor": tree}
    if not isinstance(tree, dict | list | tuple):
        raise RejectedFileError("not-a-checkpoint", f"a checkpoint must hold tensors, got a {type(tree).__name__}")
    found: dict[str, TensorRef] = {}
    for name, tensor in _walk(tree):
        if name in found:
            raise RejectedFileError("ambiguous", f"two tensors are called {name!r}")
        if len(found) >= MOST_TENSORS:
            raise UnsafeFileError(f"a checkpoint must hold at most {MOST_TENSORS:,} tensors, got more")
        found[name] = tensor
    return found


_Path = tuple["_Path | None", Any]
"""Where a value stands: its container's path and its key there; joined only for tensors."""


def _walk(tree: Any) -> Iterator[tuple[str, TensorRef]]:
    waiting: list[tuple[_Path | None, Any, int]] = [(None, tree, 0)]
    visits = containers = 0
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, TensorRef):
            yield _joined(path), value
        else:
            visits, containers = visits + len(value), containers + 1
            too_many = visits > MOST_VISITS or containers > MOST_CONTAINERS
            inside = [] if too_many else _containers(value)
            if depth >= DEEPEST or too_many or len(waiting) + len(inside) > MOST_WAITING:
                raise UnsafeFileError(_TANGLED)
            waiting += [((path, key), each, depth + 1) for key, each in inside]


def _containers(value: Any) -> list[tuple[Any, Any]]:
    """What may hold tensors in a dict, list or tuple; last first, for a stack."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [(key, each) for key, each in items if isinstance(each, dict | list | tuple | TensorRef)][::-1]


def _joined(path: _Path | None) -> str:
    keys: list[str] = []
    while path is not None:
        path, key = path
        keys.append(str(key))
    if sum(map(len, keys)) > LONGEST_NAME:
        raise UnsafeFileError(f"a tensor's name must have at most {LONGEST_NAME} letters, got more")
    return ".".join(reversed(keys))


def arrays_of(
    tensors: dict[str, TensorRef], raw: Callable[[StorageRef], bytes], *, file_bytes: int
) -> dict[str, Array]:
    """Read-only arrays, bfloat16 widened to float32; views of one storage share its memory where they are contiguous.

    raw: the bytes of a storage, exactly as many as it says · file_bytes: what the copies may cost is bounded by it
    Raises UnsafeFileError for a view that leaves its storage or that would blow up a small file.
    """
    bases: dict[str, Array] = {}
    budget_bytes = 4 * file_bytes + SPARE_COPY_BYTES
    made: dict[str, Array] = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        _check_ranges(name, tensor)
        if storage.key not in bases:
            bases[storage.key] = np.frombuffer(raw(storage), storage.raw_dtype)
        if not is_contiguous(tensor) or storage.dtype == BFLOAT16:
            budget_bytes -= math.prod(tensor.size) * max(4, storage.raw_dtype.itemsize)
            if budget_bytes < 0:
                raise UnsafeFileError(f"tensor {name!r} makes much memory out of a small file: refused")
        made[name] = _array(tensor, bases[storage.key])
    return made


def _check_ranges(name: str, tensor: TensorRef) -> None:
    nonzero = math.prod(length for length in tensor.size if length)
    if nonzero > 1 << 48:
        raise UnsafeFileError(f"tensor {name!r} must have fewer than 2**48 items, got {list(tensor.size)!s:.200}")
    if 0 in tensor.size:
        return
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if last >= tensor.storage.count:
        raise UnsafeFileError(f"tensor {name!r} reaches item {last} of a storage of {tensor.storage.count}: refused")


def is_contiguous(tensor: TensorRef) -> bool:
    """Whether the view is one run of its storage, in row-major order."""
    expected = 1
    for length, step in zip(reversed(tensor.size), reversed(tensor.stride), strict=True):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True


def _array(tensor: TensorRef, base: Array) -> Array:
    if 0 in tensor.size:
        view = np.empty(tensor.size, base.dtype)
    elif is_contiguous(tensor):
        view = base[tensor.offset : tensor.offset + math.prod(tensor.size)].reshape(tensor.size)
    else:
        strides = [step * base.itemsize for step in tensor.stride]
        view = np.lib.stride_tricks.as_strided(base[tensor.offset :], tensor.size, strides, writeable=False).copy()
    if tensor.storage.dtype == BFLOAT16:
        view = widened(view)
    view = view.astype(view.dtype.newbyteorder("="), copy=False)
    view.flags.writeable = False
    return view


def widened(halves: Array) -> Array:
    """bfloat16 bits, uint16 [...], as float32 [...]: exact, the other 16 bits are 0."""
    widened_bits: Array = halves.astype(np.uint32) << np.uint32(16)
    return widened_bits.view(np.float32)


def storage_ref(persistent_id: Any, *, longest: int) -> StorageRef:
    """('storage', torch.FloatStorage, key, device, items) as torch writes it; `longest` is its greatest length."""
    fits = isinstance(persistent_id, tuple) and 5 <= len(persistent_id) <= longest and persistent_id[0] == "storage"
    if not fits:
        raise UnsafeFileError("a persistent id must be a storage's: refused (whole modules are not read, save weights)")
    _, kind, key, _, count = persistent_id[:5]
    known = isinstance(kind, Symbol) and kind.name.startswith("torch.")
    if not known or not isinstance(key, str) or not isinstance(count, int) or not 0 <= count < 1 << 48:
        raise UnsafeFileError("a storage must have a known type, a key and a length: refused")
    if len(persistent_id) == 6 and persistent_id[5] is not None:
        raise UnsafeFileError("a storage that is a view of another one (torch 0.3): save the weights again")
    dtype = STORAGES.get(kind.name.removeprefix("torch."))
    if dtype is None:
        raise UnsafeFileError(f"a storage must have a known type, got {kind.name}: refused")
    return StorageRef(key, dtype, count)
