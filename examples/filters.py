"""Run every classic filter over a picture and draw them on one sheet: python examples/filters.py PICTURE.

The picture is made as small as its place on the sheet first: shrunk afterwards, light and dark would average to grey.
"""

import sys
import tempfile
from pathlib import Path

import PIL.Image

from lightmeter.library.filtering import FilterAsk, filtered
from lightmeter.library.looking import thumbnails
from lightmeter.meter.cost import measure
from lightmeter.report.sheet import contact_sheet
from lightmeter.types import Image

TILE = 300
SPECS = [
    "gaussian/sigma=3", "difference-of-gaussians/narrow=1,wide=3", "laplacian-of-gaussian/sigma=2", "laplacian",
    "sobel/axis=x", "sobel/axis=y", "prewitt/axis=x", "gabor/sigma=4,wavelength=8,omega_deg=0",
    "gabor/sigma=4,wavelength=8,omega_deg=45", "gabor/sigma=4,wavelength=8,omega_deg=90",
]  # fmt: skip


def main(picture: Path) -> None:
    [small] = thumbnails([(picture, None)], short_side=TILE)
    if isinstance(small, str):
        sys.exit(f"{picture} must be a picture, got: {small}")
    tiles = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "small.png"
        shown = PIL.Image.fromarray(small.pixels)
        shown.thumbnail((TILE, TILE))
        shown.save(place)
        for spec in SPECS:
            with measure() as meter:
                made = filtered(place, FilterAsk(spec))
            print(f"{spec}: {made.macs / (made.width * made.height):.0f} MAC a pixel · {meter.cost.text()}")
            tiles.append((Image(made.pixels[..., None].repeat(3, axis=2)), spec))
    contact_sheet(tiles, Path("filters.png"), columns=5, tile=TILE, title=picture.name)
    print("wrote filters.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/filters.py PICTURE (it writes filters.png into the folder you are in)")
    main(Path(sys.argv[1]))
