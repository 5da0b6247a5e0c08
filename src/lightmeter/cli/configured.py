"""Defaults from files: the user's own file may set every option, the file of a folder only what can do no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click

from lightmeter.errors import nearest

HARMLESS = frozenset(
    ["all", "at-least", "by", "columns", "exact", "fps", "json", "k", "most", "quiet", "seed", "verbose"]
)
"""What `./lightmeter.toml` may set: a folder that came from elsewhere may hold one. Nothing here names a file, a folder
or a model, writes, lifts a limit, or chooses what `remove` takes."""
PROJECT_FILE = Path("lightmeter.toml")
_MOST_BYTES = 1 << 16

Place = tuple[str, ...]
"""Where a command stands: ("index",), ("assets", "list"); () is the top."""


class ConfigurationError(click.ClickException):
    """A file that is not understood; a usage error, without the usage of a command that is not to blame."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class _Setting:
    """One line of a file."""

    file: Path
    place: Place
    key: str
    value: Any

    def refused(self, why: str) -> ConfigurationError:
        where = "".join(f"{part}." for part in self.place)
        return ConfigurationError(f"{self.file}: {where}{self.key} {why}")


def user_file() -> Path:
    """XDG_CONFIG_HOME/lightmeter/config.toml, else ~/.config/lightmeter/config.toml."""
    told = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(told) if Path(told).is_absolute() else Path.home() / ".config") / "lightmeter" / "config.toml"


def configured_defaults(root: click.Context) -> dict[str, Any]:
    """What the files set, as click's `default_map`: the folder's file stands above the user's.

    A key at the top holds for every command that has the option, a table's key for that command. Flags and
    LIGHTMETER_… variables stand above both. Raises ConfigurationError for anything that is not understood.
    """
    files = [path for path in (user_file(), PROJECT_FILE) if path.is_file()]
    defaults: dict[str, Any] = {}
    if files:
        assert isinstance(root.command, click.Group)
        commands = dict(_commands(root.command, root))
        for file in files:
            settings = _settings(file, (), _read(file), {place[:n] for place in commands for n in range(4)})
            for setting in sorted(settings, key=lambda setting: len(setting.place)):
                _apply(setting, commands, defaults)
    return defaults


def _commands(group: click.Group, context: click.Context, at: Place = ()) -> Iterator[tuple[Place, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, context, (*at, name))
        elif command is not None:
            yield (*at, name), command


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    with file.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ConfigurationError(f"{file} must be at most {_MOST_BYTES} bytes: make it shorter")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file} must be TOML: {error}") from error


def _settings(file: Path, place: Place, table: Mapping[str, Any], places: set[Place]) -> Iterator[_Setting]:
    for key, value in table.items():
        setting = _Setting(file, place, key, value)
        if (*place, key) not in places:
            yield setting
        elif isinstance(value, dict):
            yield from _settings(file, (*place, key), value, places)
        else:
            raise setting.refused(f"must be a table of options, got {value!r}: write [{'.'.join((*place, key))}]")


def _apply(setting: _Setting, commands: Mapping[Place, click.Command], defaults: dict[str, Any]) -> None:
    inside = {at: command for at, command in commands.items() if at[: len(setting.place)] == setting.place}
    options = {at: _options(command) for at, command in inside.items()}
    if not any(setting.key in found for found in options.values()):
        known = sorted({key for found in options.values() for key in found})
        raise setting.refused(f"is no option{nearest(setting.key, known)}")
    if setting.file == PROJECT_FILE and setting.key not in HARMLESS:
        raise setting.refused(f"may not be set by a folder's file: set it in {user_file()}, or on the command line")
    for at, found in options.items():
        if setting.key in found:
            table = defaults
            for name in at:
                table = table.setdefault(name, {})
            option = found[setting.key]
            table[str(option.name)] = _value(setting, option)


def _options(command: click.Command) -> dict[str, click.Option]:
    """Options by the spelling of their flag, without its dashes."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {max(option.opts, key=len).lstrip("-"): option for option in options}


def _value(setting: _Setting, option: click.Option) -> Any:
    """The value as it would stand on the command line, so that click holds it to the option's type."""
    value = setting.value
    if option.is_flag:
        if not isinstance(value, bool):
            raise setting.refused(f"must be true or false, got {value!r}")
        return value
    values = value if option.multiple and isinstance(value, list) else [value]
    if any(isinstance(each, bool) or not isinstance(each, str | int | float | date) for each in values):
        raise setting.refused(f"must be text or a number, got {value!r}")
    texts = [str(each) for each in values]
    return texts if option.multiple else texts[0]
