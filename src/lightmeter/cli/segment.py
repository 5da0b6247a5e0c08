"""`lightmeter segment`."""

from __future__ import annotations

import click

from lightmeter.cli.segment_fit import fit
from lightmeter.cli.segment_predict import predict
from lightmeter.cli.segment_pretrain import pretrain
from lightmeter.cli.segment_probe import probe
from lightmeter.cli.segment_sample import sample
from lightmeter.cli.segment_simulate import simulate


@click.group(
    epilog="Examples: `lightmeter segment fit FRAMES MASKS --out MODEL` · `lightmeter segment predict MODEL street.mp4 "
    "--out MASKS` · `lightmeter segment simulate OUT --clips 200`"
)
def segment() -> None:
    """Cut foregrounds out of pictures and videos with frozen encoders and a handful of labelled frames."""


segment.add_command(fit)
segment.add_command(predict)
segment.add_command(pretrain)
segment.add_command(sample)
segment.add_command(probe)
segment.add_command(simulate)
