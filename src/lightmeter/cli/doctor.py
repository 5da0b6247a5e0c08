"""`lightmeter doctor`."""

from __future__ import annotations

import click

from lightmeter.cli.options import emit, json_option, quiet_option


@click.command(epilog="Examples: `lightmeter doctor` · `lightmeter doctor --json`")
@click.option("--no-roofline", is_flag=True, help="Skip the two seconds of measuring.")
@json_option
@quiet_option
def doctor(no_roofline: bool, as_json: bool, quiet: bool) -> None:
    """Measure this machine and say what is found or missing.

    The roofline (cores, instruction sets, bandwidth, matrix products by precision), decoders, packages, assets and
    checkpoints, each with the command that installs it.
    """
    from lightmeter.studies.doctor import examine

    report = examine(roofline=not no_roofline)
    if as_json:
        emit([report.as_json()], "doctor/1")
    else:
        click.echo(report.text())
