"""Run every classic filter over a picture and draw them on one sheet: python examples/filters.py PICTURE."""

import sys
from pathlib import Path

from lightmeter.library.filtering import FilterAsk, filtered
from lightmeter.meter.cost import measure
from lightmeter.report.sheet import contact_sheet
from lightmeter.types import Image

SPECS = [
    "gaussian/sigma=3", "difference-of-gaussians/narrow=1,wide=3", "laplacian-of-gaussian/sigma=2", "laplacian",
    "sobel/axis=x", "sobel/axis=y", "prewitt/axis=x", "gabor/sigma=4,wavelength=8,omega_deg=0",
    "gabor/sigma=4,wavelength=8,omega_deg=45", "gabor/sigma=4,wavelength=8,omega_deg=90",
]  # fmt: skip


def main(picture: Path) -> None:
    tiles = []
    for spec in SPECS:
        with measure() as meter:
            made = filtered(picture, FilterAsk(spec))
        print(f"{spec}: {made.macs / (made.width * made.height):.0f} MAC a pixel · {meter.cost.text()}")
        tiles.append((Image(made.pixels[..., None].repeat(3, axis=2)), spec))
    contact_sheet(tiles, Path("filters.png"), columns=5, title=picture.name)
    print("wrote filters.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
