"""Write what docs take from the code: `cli.md` (every command's help), `api.md` and `tests/api.json` (public names).

python docs/generate.py            writes them
python docs/generate.py --check    says which are out of date, exit 1
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "lightmeter"


def public_names() -> dict[str, dict[str, str]]:
    """Module → public name → first line of its docstring, read from the source without importing it."""
    modules = {}
    for path in sorted(SOURCE.rglob("*.py")):
        names = dict(_names(ast.parse(path.read_text("utf-8"))))
        if names:
            modules[".".join(["lightmeter", *path.relative_to(SOURCE).with_suffix("").parts])] = names
    return modules


def _names(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                yield target.id, ""


def cli_page() -> str:
    """Every command with its whole help."""
    import click

    from lightmeter.cli.main import COMMANDS, cli

    lines = ["# Commands", "", "Made by `python docs/generate.py` from the help that the commands print.", ""]
    root = click.Context(cli, info_name="lightmeter", max_content_width=100, terminal_width=100)
    lines += ["## lightmeter", "", "```text", cli.get_help(root), "```", ""]
    for name in COMMANDS:
        lines += _command_section(cli.get_command(root, name), name, root)
    return "\n".join(lines)


def _command_section(command, name: str, parent) -> list[str]:
    import click

    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    path = f"{parent.command_path} {name}"
    lines = [f"## {path}", "", "```text", command.get_help(context), "```", ""]
    for inner in getattr(command, "commands", {}):
        lines += _command_section(command.commands[inner], inner, context)
    return lines


def api_page(names: dict[str, dict[str, str]]) -> str:
    """Every public name with the first line of its docstring."""
    lines = ["# Public names", "", "Made by `python docs/generate.py`; `help(name)` tells the rest.", ""]
    for module, found in names.items():
        if not module.startswith("lightmeter.cli"):
            lines += [f"## {module}", ""]
            lines += [f"- `{name}`{': ' + said if said else ''}" for name, said in found.items()]
            lines += [""]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Path → what should stand there."""
    names = public_names()
    flat = {module: sorted(found) for module, found in names.items()}
    return {
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "docs" / "api.md": api_page(names),
        ROOT / "tests" / "api.json": json.dumps(flat, indent=1) + "\n",
    }


def main() -> int:
    """Write or check; the exit code is the number of pages out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run python docs/generate.py\n")
        return len(stale)
    for path in stale:
        path.write_text(pages()[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
