"""What went into the packaged video encoder, and what does it tell of clips that are held out?

    python benchmarks/future_codes.py [build/future-codes] [--simulated-cpu-s 585] [--beside TOKENS]

`make future-codes` leaves the folders that this reads: clips, held-out, tokens, net and net2. Nothing is trained here.
The frame encoder in the package must be that of net2, to the bit. Codes of places where nothing moves are looked at
too, by the tokens, and by those of other folders beside.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import ABOUT, ARRAYS, load_model
from lightmeter.encoders.dense_future import FutureCodesMaps
from lightmeter.encoders.pretraining.cells import STILL, moving_cells
from lightmeter.encoders.pretraining.diagnostics import flicker, standing_windows
from lightmeter.encoders.pretraining.sample_scores import first_windows
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import open_clips
from lightmeter.meter.record import Record, write_results

OUT = Path(__file__).parents[1] / "docs" / "results" / "future-codes.json"
CHAIN = ("tokens", "net", "net2")
CLIPS = ("clips", "held-out")
WINDOWS = 24
FAR = 4
"""Cells away from any pixel that changes at all, at any moment of the window."""


def rows(folder: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """A run each: recipe, seed, figures, cost, and when it ended."""
    made = []
    for name, link in zip(CHAIN, about["chain"], strict=True):
        found = (folder / name / ARRAYS).stat()
        ended = datetime.datetime.fromtimestamp(found.st_mtime, datetime.UTC)
        made.append({"candidate": name, **link, "size_bytes": found.st_size, "ended": f"{ended:%Y-%m-%dT%H:%M:%SZ}"})
    return made


def still_codes(folder: Path, clips: Any) -> dict[str, Any]:
    """How steady codes are where nothing moves, on some windows that are held out."""
    from scipy.ndimage import maximum_filter

    arrays, about = load_model(folder)
    tokens = Tokenizer.of_model(arrays, about)
    windows = first_windows(tokens.cut, clips, WINDOWS)
    codes, standing = tokens.codes(windows), tokens.codes(standing_windows(windows))
    moves = moving_cells(windows, tokens.grid, STILL)
    high, wide = tokens.net.plan.downsample[1:]
    pixels = (windows != windows[:, :1]).any((1, 4))
    cells = pixels.reshape(len(windows), pixels.shape[1] // high, high, pixels.shape[2] // wide, wide).any((2, 4))
    near = maximum_filter(cells, size=(1, 2 * FAR + 1, 2 * FAR + 1), mode="constant")
    far = np.broadcast_to(~near[:, None], codes.shape)
    both = ~moves[:, 1:] & ~moves[:, :-1]
    return {
        "pretraining": about["pretraining"], "grid": tokens.grid, "codes": tokens.count, "windows": len(windows),
        "flicker": flicker(codes, standing, moves),
        "flicker_far_from_change": flicker(codes, standing, ~far),
        "share_far_from_change": float(far.mean()),
        "other_code_a_moment_later": float((codes[:, 1:] != codes[:, :-1])[both].mean()),
        "other_code_a_moment_later_standing": float((standing[:, 1:] != standing[:, :-1]).mean()),
    }  # fmt: skip


def main() -> None:
    """Read the runs, hold the package to them, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/future-codes"))
    parser.add_argument("--simulated-cpu-s", type=float, help="what the clips took, if it is known")
    parser.add_argument("--beside", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if not all((given.folder / each).is_dir() for each in (*CHAIN, *CLIPS)):
        print(f"not run: {given.folder} does not hold {', '.join((*CLIPS, *CHAIN))}: `make future-codes` makes them")
        return
    shipped = FutureCodesMaps().folder
    arrays, about = load_model(shipped)
    whole, net = load_model(given.folder / CHAIN[-1])
    apart = [name for name, each in arrays.items() if each.tobytes() != whole[name].astype(each.dtype).tobytes()]
    if apart or "chain" not in about:
        raise InvalidValueError(f"{shipped} must be packed from {given.folder}, got others {apart[:3]}: pack it again")
    held_out = open_clips(given.folder / "held-out").frames
    notes = {
        "what": "cost: of all three runs; learnt: means over their last steps; held_out: of clips that are held out",
        "clips": about["clips"], "simulation_cpu_s": given.simulated_cpu_s, "cost": about["cost"],
        "diagnostics": about["diagnostics"], "samples": net["samples"],
        "shipped_bytes": sum((shipped / name).stat().st_size for name in (ARRAYS, ABOUT)),
        "still_codes": {each.name: still_codes(each, held_out) for each in (given.folder / "tokens", *given.beside)},
    }  # fmt: skip
    question = "What went into the packaged video encoder, and what does it tell of clips that are held out?"
    found = rows(given.folder, about)
    print(write_results(given.out, Record("future-codes", question, found, about["data"], about["seed"], notes)))


if __name__ == "__main__":
    main()
