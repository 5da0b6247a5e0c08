"""`lightmeter filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from lightmeter.cli.options import emit, json_option, quiet_option, refuse_here, say, shown_path


@click.command(
    "filter",
    epilog="Examples: `lightmeter filter sobel/axis=x photo.jpg edges.png` · "
    "`lightmeter filter gabor/sigma=3,wavelength=8,omega_deg=45 photo.jpg waves.png --relu --pool max` · "
    "`lightmeter filter gaussian/sigma=5 photo.jpg blurred.png --colour`",
)
@click.argument("name")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.png", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--correlate", is_flag=True, help="Do not turn the kernel, as networks and OpenCV's filter2D do.")
@click.option("--stride", default=1, show_default=True, type=click.IntRange(1), help="Pixels from place to place.")
@click.option(
    "--padding",
    type=click.Choice(["none", "zero", "edge", "reflect", "symmetric", "wrap"]),
    default="reflect",
    show_default=True,
    help="What stands outside the picture; none keeps the kernel inside.",
)
@click.option("--colour", is_flag=True, help="Red, green and blue each alone, instead of grey.")
@click.option("--relu", is_flag=True, help="Responses below 0 become 0.")
@click.option("--pool", type=click.Choice(["max", "average"]), help="Then the largest or the mean of each window.")
@click.option("--pool-size", default=2, show_default=True, type=click.IntRange(1), help="Side of --pool's windows.")
@json_option
@quiet_option
def filter_(name: str, image: Path, out: Path, **asked: Any) -> None:
    """Run a classic filter over a picture, into a PNG.

    NAME is gaussian, prewitt, sobel, laplacian, laplacian-of-gaussian, difference-of-gaussians or gabor, with its
    options. Where responses have a sign, a response of 0 is mid-grey (level 128); the strongest hundredth of the
    responses is clipped to black or white, so that one hard edge does not leave the rest grey.
    """
    if asked["pool"] is None:
        refuse_here(["pool_size"], "is for --pool")
    from dataclasses import replace

    from lightmeter.library.filtering import FilterAsk, filter_file
    from lightmeter.meter.cost import measure
    from lightmeter.parts import build

    as_json, quiet = asked.pop("as_json"), asked.pop("quiet")
    ask = FilterAsk(build(name, "filter").spec, **cast(Any, asked))
    say(f"{ask.filter} over {shown_path(str(image))} …", quiet=quiet or as_json)
    with measure() as meter:
        made = filter_file(image, out, ask)
    cost = replace(meter.cost, macs=made.macs)
    if as_json:
        told = {option: value for option, value in asked.items() if option != "pool_size" or asked["pool"]}
        emit([{"path": image, "out": out, "filter": ask.filter, **told, **made.as_json(), "cost": cost}], "filter/1")
        return
    for note in made.notes:
        say(f"{shown_path(str(image))}: {note}", quiet=quiet)
    size = f"{made.pixels.shape[1]} x {made.pixels.shape[0]}"
    say(f"{size} pixels of {ask.filter} in {shown_path(str(out))} · {cost.text()}", quiet=quiet)
    level = f"(level - {made.zero_level})" if made.zero_level else "level"
    say(f"response = {level} * {made.unit_per_level:.3g}, of a picture from 0 (black) to 1 (white)", quiet=quiet)
    if made.clipped:
        say(
            f"{made.clipped:,} pixels are clipped: responses go from {made.least:.3g} to {made.greatest:.3g}",
            quiet=quiet,
        )
