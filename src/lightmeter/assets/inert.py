"""An interpreter of pickles that runs nothing: it knows the few names of a dialect and builds plain containers.

Python's own Unpickler calls what a file names and sets attributes on what it finds; even with an allow-listing
`find_class` a BUILD can write into the allowed functions. This one never imports, calls or looks up anything. Each
opcode is a method below, each allowed name a function that checks its arguments, all else is refused by name.
Memory and time are bounded by the limits at the top. Format: CPython's Lib/pickletools.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightmeter.errors import RejectedFileError, UnsafeFileError

MOST_OPCODES = 2_500_000
MOST_PICKLE_BYTES = 64 << 20
MOST_INT_BITS = 128
MOST_DIMENSIONS = 32
MOST_HELD = 100_000
"""Values and marks on the stack: picklers put 1,000 items at a time into what holds them."""

BFLOAT16 = "bfloat16"
"""numpy has no such type: the 16 bits are kept until they are widened to float32."""

STORAGES: dict[str, str] = {
    "BFloat16Storage": BFLOAT16,
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}
"""Classes of module `torch` that only say how a storage's bytes are to be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A name in a pickle: never resolved."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A value that is no tensor and that nobody needs, such as a numpy scalar."""


@dataclass(slots=True, eq=False)
class Record:
    """An object that a pickle describes: a name, the arguments that it was called with and the state that it was given.

    Neither is acted upon: whoever asked for it reads what it needs, checked.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class StorageRef:
    """Bytes elsewhere in the file: their key, how to read them (a numpy type's name or bfloat16), how many items."""

    key: str
    dtype: str
    count: int

    @property
    def raw_dtype(self) -> np.dtype[Any]:
        """The little-endian type of the items in the file."""
        return np.dtype("uint16" if self.dtype == BFLOAT16 else self.dtype).newbyteorder("<")


@dataclass(frozen=True, slots=True, eq=False)
class TensorRef:
    """A strided view of a storage, in items; its ranges are not checked yet."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names that pickles of one kind need; whatever else a pickle names is refused.

    what: the kind, for the refusal · calls: name → what a call of it makes of its arguments
    names: those that may only be mentioned · classes: name → what stands for a new object of it, which may be given
    a state; without any, the opcodes that make objects are refused too
    words: beginnings of names that are read as their own text
    """

    what: str
    calls: Mapping[str, Callable[[tuple[Any, ...]], Any]]
    names: frozenset[str] = frozenset()
    classes: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    words: tuple[str, ...] = ()


class BoundedStream:
    """A file from which one pickle reads, never more than is left and never more than the limit."""

    def __init__(self, file: Any, left_bytes: int, *, limit_bytes: int = MOST_PICKLE_BYTES) -> None:
        self.file, self.limit_bytes = file, limit_bytes
        self.left_bytes, self.limited = min(left_bytes, limit_bytes), left_bytes > limit_bytes

    def read(self, count: int) -> bytes:
        """At most `count` bytes; short at the end."""
        return self._spend(self.file.read(max(0, min(count, self.left_bytes))), short=count > self.left_bytes)

    def readline(self) -> bytes:
        """One line, cut at the end of what may be read."""
        return self._spend(self.file.readline(self.left_bytes), short=False)

    def _spend(self, data: bytes, *, short: bool) -> bytes:
        self.left_bytes -= len(data)
        if self.limited and (short or self.left_bytes == 0):
            raise UnsafeFileError(
                f"a pickle must be at most {self.limit_bytes:,} bytes, got more: save the arrays only"
            )
        return data


def load(
    stream: BoundedStream, persistent: Callable[[Any], Any], dialect: Dialect | None = None, *, most: int | None = None
) -> Any:
    """Read one pickle into dicts, lists, tuples, scalars, TensorRefs, Records and Leaves; stops right after its STOP.

    persistent: turns a persistent id (a tuple that names a storage) into a StorageRef
    dialect: which names are known, those of PyTorch's checkpoints without one · most: opcodes, MOST_OPCODES without
    Raises UnsafeFileError for anything but the allowed names and opcodes, RejectedFileError for a broken pickle.
    Cost: O(opcodes), about 2 µs each.
    """
    dialect, most = dialect or CHECKPOINT, most or MOST_OPCODES
    machine = _Machine(persistent, dialect)
    known = _KNOWN | _OBJECTS.keys() if dialect.classes else _KNOWN
    try:
        for _ in range(most):
            opcode = _OPCODES.get(stream.read(1))
            if opcode is None:
                raise RejectedFileError("broken-pickle", "it ends early or holds an unknown opcode")
            if opcode.name not in known:  # before its argument is read
                raise UnsafeFileError(
                    f"the pickle uses {opcode.name}, which no {dialect.what} needs: refused, nothing was run"
                )
            argument = _argument(opcode, stream)
            machine.step(opcode.name, argument)
            if len(machine.stack) + len(machine.marks) > MOST_HELD:
                raise UnsafeFileError(f"a pickle must hold at most {MOST_HELD:,} unfinished values: refused")
            if opcode.name == "STOP":
                return machine.result()
    except (UnsafeFileError, RejectedFileError):
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
        raise RejectedFileError("broken-pickle", f"{type(error).__name__}: {str(error)[:200]}") from error
    raise UnsafeFileError(f"a pickle must have at most {most:,} steps, got more: save the arrays only")


def _argument(opcode: pickletools.OpcodeInfo, stream: BoundedStream) -> Any:
    if opcode.name != "GLOBAL":
        return opcode.arg.reader(stream) if opcode.arg else None  # type: ignore[arg-type]
    lines = [stream.readline() for _ in range(2)]  # pickletools would unescape them, and warn
    if not all(line.endswith(b"\n") for line in lines):
        raise ValueError("a name without an end")
    return " ".join(line[:-1].decode("utf-8") for line in lines)


class _Machine:
    """The pickle stack machine over inert values."""

    def __init__(self, persistent: Callable[[Any], Any], dialect: Dialect) -> None:
        self.persistent, self.dialect = persistent, dialect
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(_checked_scalar(argument))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name in _OBJECTS:
            _OBJECTS[name](self, argument)

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise RejectedFileError("broken-pickle", "it does not end with one value")
        return self.stack[0]

    # -- the stack

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError("pop from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, kind: type | tuple[type, ...]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise TypeError("an item is added to something that is no container")
        return self.stack[-1]

    # -- opcodes

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def drop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def drop_to_mark(self, _: Any) -> None:
        self.pop_to_mark()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def empty_list(self, _: Any) -> None:
        self.stack.append([])

    def empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def list_of(self, _: Any) -> None:
        self.stack.append(self.pop_to_mark())

    def tuple_of(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def dict_of(self, _: Any) -> None:
        self.stack.append(_paired({}, self.pop_to_mark()))

    def tuple_1(self, _: Any) -> None:
        self.stack.append((self.pop(),))

    def tuple_2(self, _: Any) -> None:
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def tuple_3(self, _: Any) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def append(self, _: Any) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self, _: Any) -> None:
        items = self.pop_to_mark()
        self.top(list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        _paired(self.top(dict), [key, value])

    def set_items(self, _: Any) -> None:
        items = self.pop_to_mark()
        _paired(self.top(dict), items)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def name_inline(self, argument: str) -> None:
        self.stack.append(self.symbol(*argument.split(" ", 1)))

    def name_from_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.symbol(module, name))

    def symbol(self, module: Any, name: Any) -> Symbol | str:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnsafeFileError(f"a name must be text, got {_shown(module)} and {_shown(name)}: refused")
        whole, known = f"{module}.{name}", self.dialect
        if whole in known.calls or whole in known.names or whole in known.classes:
            return Symbol(whole)
        if whole.startswith(known.words):
            return whole
        raise UnsafeFileError(
            f"the pickle names {whole[:200]!r}, which no {known.what} needs: refused, nothing was run"
        )

    def call(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        calls = self.dialect.calls
        if not isinstance(function, Symbol) or function.name not in calls or not isinstance(arguments, tuple):
            raise UnsafeFileError(f"the pickle calls {_shown(function)}: refused, nothing was run")
        self.stack.append(calls[function.name](arguments))

    def build(self, _: Any) -> None:
        """State of a Record: kept, once. Of an OrderedDict (its `_metadata`) or of a Leaf: dropped."""
        state = self.pop()
        made = self.stack[-1] if self.stack else None
        if isinstance(made, Record) and made.state is None:
            made.state = state
        elif not isinstance(made, dict | Leaf):
            raise UnsafeFileError(f"the pickle sets attributes of {_shown(made)}: refused, nothing was run")

    def new_object(self, _: Any) -> None:
        arguments, made = self.pop(), self.pop()
        if not isinstance(made, Symbol) or made.name not in self.dialect.classes or arguments != ():
            raise UnsafeFileError(f"the pickle makes a new {_shown(made)}: refused, nothing was run")
        self.stack.append(self.dialect.classes[made.name]())

    def frozen_set(self, _: Any) -> None:
        """Nobody needs it, and no item is hashed."""
        self.pop_to_mark()
        self.stack.append(Leaf())

    def persistent_id(self, _: Any) -> None:
        self.stack.append(self.persistent(self.pop()))


def _checked_scalar(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MOST_INT_BITS:
        raise UnsafeFileError(f"a number must have at most {MOST_INT_BITS} bits, got {value.bit_length()}")
    return value


def _paired(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Add [key, value, key, value …]; keys are words and small numbers, whose hashes cost nothing."""
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (isinstance(key, str | None) or (isinstance(key, int) and key.bit_length() <= 60)):
            raise UnsafeFileError(f"a key must be a word or a number, got {_shown(key)}: refused")
        target[key] = value
    return target


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Symbol) else f"a {type(value).__name__}"


# -- the allowed names ----------------------------------------------------------------------------------------------


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    pairs = arguments[0]
    if len(arguments) != 1 or not isinstance(pairs, list | tuple):
        raise UnsafeFileError("OrderedDict must be called with nothing or a list of pairs: refused")
    made: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UnsafeFileError("OrderedDict must be called with nothing or a list of pairs: refused")
        _paired(made, list(pair))
    return made


def _tensor(arguments: tuple[Any, ...]) -> TensorRef:
    """Source: torch/_utils.py, `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`."""
    if not 4 <= len(arguments) <= 7 or not isinstance(arguments[0], StorageRef):
        raise UnsafeFileError("_rebuild_tensor_v2 must be called with a storage and its ranges: refused")
    storage, offset, size, stride = arguments[:4]
    if len(arguments) == 7 and arguments[6]:
        raise UnsafeFileError("a tensor with metadata (conjugate or negated view): resolve it before saving")
    if not _is_count(offset) or not _are_counts(size) or not _are_counts(stride) or len(size) != len(stride):
        raise UnsafeFileError("a tensor's offset, size and stride must be whole numbers from 0 on: refused")
    return TensorRef(storage, offset, size, stride)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= MOST_DIMENSIONS and all(map(_is_count, values))


def _parameter(arguments: tuple[Any, ...]) -> TensorRef:
    """Source: torch/_utils.py, `_rebuild_parameter(data, requires_grad, hooks)`."""
    if not 1 <= len(arguments) <= 3 or not isinstance(arguments[0], TensorRef):
        raise UnsafeFileError("_rebuild_parameter must be called with a tensor: refused")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    if len(arguments) != 1 or not _are_counts(arguments[0]):
        raise UnsafeFileError("torch.Size must be called with whole numbers from 0 on: refused")
    sizes: tuple[int, ...] = arguments[0]
    return sizes


def leaf(_: tuple[Any, ...] = ()) -> Leaf:
    """What stands for a value that nobody needs."""
    return Leaf()


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": leaf,
    "numpy.core.multiarray.scalar": leaf,
    "numpy._core.multiarray.scalar": leaf,
    "numpy.dtype": leaf,
    "_codecs.encode": leaf,
}
CHECKPOINT = Dialect("checkpoint", _CALLS, frozenset(f"torch.{name}" for name in STORAGES))
"""What PyTorch writes."""

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SILENT = {"PROTO", "FRAME", "STOP"}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.duplicate,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_DICT": _Machine.empty_dict,
    "LIST": _Machine.list_of,
    "TUPLE": _Machine.tuple_of,
    "DICT": _Machine.dict_of,
    "TUPLE1": _Machine.tuple_1,
    "TUPLE2": _Machine.tuple_2,
    "TUPLE3": _Machine.tuple_3,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name_inline,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}
_OBJECTS: dict[str, Callable[[_Machine, Any], None]] = {
    "NEWOBJ": _Machine.new_object,
    "FROZENSET": _Machine.frozen_set,
}
_KNOWN = _CONSTANTS.keys() | _SILENT | _LITERALS | _STEPS.keys()
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
