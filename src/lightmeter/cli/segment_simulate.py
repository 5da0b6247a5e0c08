"""`lightmeter segment simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, quiet_option, say, seed_option

if TYPE_CHECKING:
    from lightmeter.media.clip_set import ClipSet

_SHEET_CLIPS, _SHEET_FRAMES = 6, 3


def _share(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """`k/n`, the k-th of n runs that share the work, as two numbers."""
    turn, _, runs = value.partition("/")
    if not (turn.isdecimal() and runs.isdecimal() and 1 <= int(turn) <= int(runs)):
        raise click.BadParameter(f"must be k/n with k from 1 to n, as 1/2, got {value!r}")
    return int(turn), int(runs)


@click.command(
    epilog="Examples: `lightmeter segment simulate OUT --clips 1000` · "
    "`lightmeter segment simulate SHIFT --scenes sawyer-shift --clips 100 --seed 1` · two at once: "
    "`lightmeter segment simulate OUT --share 1/2` and `lightmeter segment simulate OUT --share 2/2`"
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--scenes", default="sawyer", show_default=True, type=click.Choice(["sawyer", "sawyer-shift", "shapes"]),
    help="A simulated arm, the same elsewhere and with other things, or flat shapes.",
)  # fmt: skip
@click.option("--clips", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="How many.")
@click.option("--frames", default=16, show_default=True, type=click.IntRange(1, 1000), help="Frames of a clip.")
@click.option("--size", default=64, show_default=True, type=click.IntRange(16, 512), help="Side of a frame, in pixels.")
@click.option("--clips-a-scene", default=2, show_default=True, type=click.IntRange(1), help="Clips that share a scene.")
@click.option(
    "--share",
    default="1/1",
    show_default=True,
    metavar="K/N",
    callback=_share,
    help="Make only the K-th of N shares.",
)
@seed_option
@json_option
@quiet_option
def simulate(out: Path, share: tuple[int, int], as_json: bool, quiet: bool, **asked: Any) -> None:
    """Make clips with true masks, depth, flow, actions and sentences, from a seed.

    Scenes of the arm need `pip install 'lightmeter[sim]'` and the GL library libosmesa6; shapes need nothing. A stopped
    run goes on when the same command is run again; more --clips are added to those that are there. OUT/sheet.png shows
    some frames beside their masks.
    """
    from lightmeter.media.clip_set import open_clips
    from lightmeter.media.simulate import Wanted, label_shares
    from lightmeter.media.simulate import simulate as run
    from lightmeter.meter.cost import measure
    from lightmeter.report.progress import Progress

    wanted = Wanted(**asked)
    with measure() as meter, Progress("simulate", wanted.clips, quiet=quiet) as line:
        missing = run(
            out, wanted, share=share, tell=lambda count, kept: line.advance(**{"skipped" if kept else "ok": count})
        )
    made = line.ok
    if missing:
        say(f"{out}: {missing} parts are left to other shares", quiet=quiet)
    clips = open_clips(out)
    sheet = _write_sheet(clips, out / "sheet.png", f"{wanted.scenes}, seed {wanted.seed}")
    shares = label_shares(clips.labels) if clips.labels is not None else {}
    if as_json:
        row = {"path": out, **asked, "clips": len(clips), "made": made, "missing_parts": missing, "shares": shares}
        emit(
            [{**row, "fingerprint": clips.fingerprint, "sheet": sheet, "cost": meter.cost.as_json()}],
            "segment.simulate/1",
        )
        return
    rate = f", {made * wanted.frames / max(1e-9, meter.cost.cpu_s):.0f} frames a CPU second" if made else ""
    say(
        f"{out}: {len(clips)} clips of {wanted.frames} frames, {made} made{rate}; robot {100 * shares['robot']:.1f} % "
        f"and things {100 * shares['things']:.1f} % of all pixels; look at {sheet} · {meter.cost.text()}",
        quiet=quiet,
    )


def _write_sheet(clips: ClipSet, path: Path, title: str) -> Path:
    """First, middle and last frame of some clips, each beside its labels."""
    from lightmeter.report.label_colours import label_picture
    from lightmeter.report.sheet import contact_sheet, spread_out

    tiles = []
    for row in spread_out(len(clips), _SHEET_CLIPS):
        for frame in spread_out(clips.frames.shape[1], _SHEET_FRAMES):
            said = clips.sentences[row] if clips.sentences and not frame else f"clip {row} frame {frame}"
            tiles.append((clips.frames[row, frame], said))
            tiles.append((label_picture(clips.labels[row, frame]) if clips.labels is not None else None, ""))
    return contact_sheet(tiles, path, columns=2 * min(_SHEET_FRAMES, clips.frames.shape[1]), tile=192, title=title)
