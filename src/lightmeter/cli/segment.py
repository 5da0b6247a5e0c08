"""`lightmeter segment`."""

from __future__ import annotations

import click

from lightmeter.cli.segment_pretrain import pretrain
from lightmeter.cli.segment_simulate import simulate


@click.group(epilog="Example: `lightmeter segment simulate OUT --clips 200`")
def segment() -> None:
    """Cut foregrounds out of pictures and videos with frozen encoders and a handful of labelled frames."""


segment.add_command(pretrain)
segment.add_command(simulate)
