"""One spelling for every configurable thing: `name/option=value` builds a part, and the part spells itself back.

Grammar (whitespace around `=`, `,` and brackets is ignored):

    spec   := name [ "/" option "=" value { "," option "=" value } ]
    value  := number | true | false | none | bare-word | 'quoted text' | path | "(" spec ")"
            | "[" [ value { "," value } ] "]"

Quoted text escapes `'` and `\\` with a backslash. A path that starts with `/`, `./`, `../` or `~/` may stand bare on
input; it is printed quoted. `build(x.spec) == x` holds for every part.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Union, get_args, get_origin

from lightmeter.errors import MissingExtraError, SpecError, UnknownNameError, nearest

KINDS: dict[str, str] = {
    "encoder": "lightmeter.encoders.table:ENCODERS",
    "dense-encoder": "lightmeter.encoders.dense_table:DENSE_ENCODERS",
    "engine": "lightmeter.engines.table:ENGINES",
    "head": "lightmeter.heads.table:HEADS",
    "ensemble": "lightmeter.heads.ensemble:ENSEMBLES",
    "training": "lightmeter.heads.training:TRAININGS",
    "loss": "lightmeter.heads.losses:LOSSES",
    "index": "lightmeter.search.table:INDEXES",
    "fusion": "lightmeter.search.fusion:FUSIONS",
    "filter": "lightmeter.nets.kernels:FILTERS",
    "pretraining": "lightmeter.encoders.pretraining.table:PRETRAININGS",
    "mask-head": "lightmeter.heads.segmenting.table:MASK_HEADS",
    "mask-training": "lightmeter.heads.segmenting.table:MASK_TRAININGS",
    "mask-loss": "lightmeter.heads.segmenting.table:MASK_LOSSES",
    "captioner": "lightmeter.encoders.captioning.table:CAPTIONERS",
    "condenser": "lightmeter.condense.table:CONDENSERS",
    "protocol": "lightmeter.condense.table:PROTOCOLS",
    "student": "lightmeter.condense.table:STUDENTS",
}
"""Kind of part → the one table (name → "module:Class") where its parts are found. Names are unique over all kinds."""


class Part(Protocol):
    """A frozen dataclass found in a table; its fields are its options."""

    @property
    def spec(self) -> str:
        """The canonical spelling: every option, in the order of the fields."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A parsed spec before it is bound to a class: a name and its options."""

    name: str
    options: Mapping[str, Any]


SPELLED_IF_SET: Mapping[str, Any] = types.MappingProxyType({"spelled": "if set"})
"""Metadata of an option that came when specs without it were stored already: not set, it leaves them as they are."""


class Spelled:
    """Mixin that gives a dataclass its `spec`, from the name its table knows it by."""

    @property
    def spec(self) -> str:
        """The canonical spelling of this part; `build(part.spec) == part`."""
        return spell(self)


# -- building -------------------------------------------------------------------------------------------------------


def build(spec: str, kind: str | None = None) -> Any:
    """Make the part that a spec describes.

    Raises SpecError (does not parse, option missing, wrong type) or UnknownNameError (no such part or option), each
    with the nearest right spelling.
    """
    return bind(parse(spec), kind)


def bind(call: Call, kind: str | None = None) -> Any:
    """Find the class of a parsed spec and give it its options, converted to the types of its fields."""
    made = _locate(call.name, [kind] if kind else list(KINDS))
    hints = typing.get_type_hints(made)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(made) if field.init}
    for option in call.options:
        if option not in fields:
            raise UnknownNameError(f"{call.name} has no option {option!r}{nearest(option, fields)}")
    values = {option: _convert(call.name, option, value, fields[option]) for option, value in call.options.items()}
    try:
        return made(**values)
    except TypeError as error:
        missing = [f.name for f in dataclasses.fields(made) if f.init and _required(f) and f.name not in values]
        raise SpecError(
            f"{call.name} needs {', '.join(missing) or error}: write {call.name}/{'=…,'.join(missing)}=…"
        ) from error


def table(kind: str) -> dict[str, str]:
    """Names of one kind of part and where each lives; plug-ins join by the entry-point group `lightmeter.<kind>`."""
    own = _own(kind)
    return {**_plugins(kind), **own}


@cache
def _plugins(kind: str) -> dict[str, str]:
    """Read once a process: the metadata of every installed package is looked through."""
    from importlib.metadata import entry_points  # dear, and not needed for `--help`

    return {entry.name: entry.value for entry in entry_points(group=f"lightmeter.{kind}")}


def _own(kind: str) -> dict[str, str]:
    """The same without plug-ins, which come after our own: to find them, the metadata of every package is read."""
    if kind not in KINDS:
        raise UnknownNameError(f"no kind of part called {kind!r}{nearest(kind, KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    own: dict[str, str] = getattr(importlib.import_module(module), name)
    return own


def _locate(name: str, kinds: Sequence[str]) -> Any:
    """The class behind a name; tables are imported one by one until one holds it."""
    known: list[str] = []
    for kind in kinds:
        found = _own(kind)
        if name not in found:
            found = table(kind)
        if name in found:
            module, _, attribute = found[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        known += found
    what = kinds[0] if len(kinds) == 1 else "part"
    raise UnknownNameError(f"no {what} called {name!r}{nearest(name, known)}")


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(part: str, option: str, value: Any, hint: Any) -> Any:
    """Give a parsed value the type that a field declares, or say what it must be."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(part, option, value, args)
    if origin is Literal:
        if value is None and "none" in args:  # the word, where it is one of the words
            return "none"
        if value in args and not isinstance(value, Call):
            return value
        raise SpecError(f"{part}/{option} must be one of {', '.join(map(str, args))}, got {render(value)}")
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise SpecError(f"{part}/{option} must be a [list], got {render(value)}")
        return tuple(_convert(part, option, each, args[0]) for each in value)
    if isinstance(value, Call):
        if hint in _SCALARS:
            raise SpecError(f"{part}/{option} must be {_SCALARS[hint]}, got {render(value)}")
        return bind(value, _kind_of(hint))
    return _convert_scalar(part, option, value, hint)


def _convert_union(part: str, option: str, value: Any, args: tuple[Any, ...]) -> Any:
    if value is None and type(None) in args:
        return None
    problem: SpecError | None = None
    for each in args:
        if each is not type(None):
            try:
                return _convert(part, option, value, each)
            except SpecError as error:
                problem = error
    raise problem or SpecError(f"{part}/{option} cannot be none")


_SCALARS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a word or 'quoted text'", Path: "a 'path'",
}  # fmt: skip


def _convert_scalar(part: str, option: str, value: Any, hint: Any) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (int, float, bool, str):
        if type(value) is hint:
            return value
        raise SpecError(f"{part}/{option} must be {_SCALARS[hint]}, got {render(value)}")
    if isinstance(value, str):  # a nested part without options may stand without brackets
        return bind(parse(value), _kind_of(hint))
    raise SpecError(f"{part}/{option} must be {_SCALARS.get(hint, 'a (nested spec)')}, got {render(value)}")


def _kind_of(hint: Any) -> str | None:
    """The kind of part that a field holds, where its protocol is named after one: a `Loss` is found among losses."""
    kind = getattr(hint, "__name__", "").lower()
    return kind if kind in KINDS else None


# -- spelling -------------------------------------------------------------------------------------------------------


def spell(part: Any) -> str:
    """The canonical spec of a part: its name and every option, in the order of its fields.

    An option marked SPELLED_IF_SET is left out where it has its default.
    """
    values = [(f, getattr(part, f.name)) for f in dataclasses.fields(part) if f.init]
    later = SPELLED_IF_SET.items()
    unset = {f.name for f, value in values if later <= f.metadata.items() and value == f.default}
    options = [f"{f.name}={render(value)}" for f, value in values if f.name not in unset]
    name = _name_of(f"{type(part).__module__}:{type(part).__qualname__}")
    return f"{name}/{','.join(options)}" if options else name


@cache
def _name_of(where: str) -> str:
    for kind in KINDS:
        for name, place in table(kind).items():
            if place == where:
                return name
    raise UnknownNameError(f"{where} stands in no table of parts: add it to one of {', '.join(KINDS.values())}")


_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]*\Z")
_RESERVED = {"true", "false", "none", "nan", "inf"}


def render(value: Any) -> str:
    """One value in the grammar above.

    >>> render([1, 0.5, True, "word", "two words", None])
    "[1,0.5,true,word,'two words',none]"
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Path):
        return _quote(str(value))
    if isinstance(value, str):
        return value if _BARE.match(value) and value.lower() not in _RESERVED else _quote(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(render, value))}]"
    if isinstance(value, Call):
        options = ",".join(f"{name}={render(each)}" for name, each in value.options.items())
        return f"({value.name}{'/' if options else ''}{options})"
    return f"({spell(value)})"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# -- parsing --------------------------------------------------------------------------------------------------------


def parse(spec: str) -> Call:
    """Read a spec into a name and options, importing nothing.

    >>> parse("moe/experts=8,inner=(ridge/l2=0.1)")
    Call(name='moe', options={'experts': 8, 'inner': Call(name='ridge', options={'l2': 0.1})})
    """
    reader = _Reader(spec)
    call = reader.call(ends="")
    if not reader.at_end():
        raise reader.error("the spec to end")
    return call


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_WORD = re.compile(r"[^\s,=/()\[\]']+")
_PATH = re.compile(r"(?:~|\.{0,2})/[^\s,()\[\]']*")
_CONSTANTS = {
    "true": True,
    "false": False,
    "none": None,
    "inf": float("inf"),
    "-inf": float("-inf"),
    "nan": float("nan"),
}
_DEEPEST = 20


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def call(self, ends: str) -> Call:
        name = self.match(_NAME, "a name")
        options: dict[str, Any] = {}
        if self.peek() == "/":
            self.at += 1
            while True:
                option = self.match(_NAME, "an option's name")
                self.expect("=")
                if option in options:
                    raise SpecError(f"{name}/{option} is given twice in {self.text!r}: give it once")
                options[option] = self.value()
                if self.peek() != ",":
                    break
                self.at += 1
        if ends:
            self.expect(ends)
        return Call(name, options)

    def value(self) -> Any:
        first = self.peek()
        if first == "'":
            return self.quoted()
        if first in ("(", "["):
            self.at += 1
            self.depth += 1
            if self.depth > _DEEPEST:
                raise SpecError(f"a spec nests at most {_DEEPEST} deep, got more: flatten it")
            inner: Any = self.call(ends=")") if first == "(" else self.list()
            self.depth -= 1
            return inner
        path = _PATH.match(self.text, self.at)
        if path:
            self.at = path.end()
            return path.group()
        return _plain(self.match(_WORD, "a value"))

    def list(self) -> list[Any]:
        values: list[Any] = []
        if self.peek() == "]":
            self.at += 1
            return values
        while True:
            values.append(self.value())
            if self.peek() == "]":
                self.at += 1
                return values
            self.expect(",")

    def quoted(self) -> str:
        out: list[str] = []
        position = self.at + 1
        while position < len(self.text):
            char = self.text[position]
            if char == "'":
                self.at = position + 1
                return "".join(out)
            if char == "\\" and position + 1 < len(self.text):
                position += 1
                char = self.text[position]
            out.append(char)
            position += 1
        raise self.error("a closing '")

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def at_end(self) -> bool:
        return not self.peek()

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        self.peek()
        found = pattern.match(self.text, self.at)
        if not found:
            raise self.error(what)
        self.at = found.end()
        return found.group()

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise self.error(f"{char!r}")
        self.at += 1

    def error(self, wanted: str) -> SpecError:
        got = repr(self.text[self.at :]) if self.at < len(self.text) else "the end"
        return SpecError(f"expected {wanted} at {got} in {self.text!r}: write name/option=value,option='quoted text'")


def _plain(word: str) -> Any:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _NUMBER.match(word):
        return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)
    return word


# -- optional dependencies ------------------------------------------------------------------------------------------


def need(module: str, extra: str) -> types.ModuleType:
    """Import an optional dependency, or name the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is needed here and not installed: pip install 'lightmeter[{extra}]'"
        ) from error
