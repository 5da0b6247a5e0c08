"""Galleries of real pictures that packages carry: emoji of two makers, clothes, stamps, photographs cut in tiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import asset_called
from lightmeter.errors import MissingExtraError, RejectedFileError
from lightmeter.media.images import read_image
from lightmeter.meter.record import hash_of
from lightmeter.studies.features import ENCODER, Make, Tell, features_of, file_maker, silent
from lightmeter.studies.galleries import Gallery, check_frames, holdout, numbered, unit
from lightmeter.studies.idx import read_idx
from lightmeter.studies.sources import package_folder
from lightmeter.types import Array, Image

EmojiClass = Literal["identity", "subcategory"]


@dataclass(frozen=True, slots=True)
class _Emoji:
    file: str
    code: str
    subcategory: str

    @property
    def toned(self) -> bool:
        """Whether its code holds a skin tone, U+1F3FB to U+1F3FF."""
        return any(f"1F3F{tone}" in self.code for tone in "BCDEF")


def _emoji_of(maker: str) -> list[_Emoji]:
    """All pictures of one maker in the order of their codes, skin tones included."""
    listed = json.loads((find(f"emoji-{maker}") / "emoji.json").read_text("utf-8"))
    found = (
        _Emoji(each["image"], each["unified"], entry["subcategory"])
        for entry in listed
        for each in (entry, *entry.get("skin_variations", {}).values())
        if each[f"has_img_{maker}"]
    )
    return sorted(found, key=lambda each: each.code)


def _emoji_rows(maker: str, emoji: list[_Emoji], encoder: str, tell: Tell) -> Array:
    folder = find(f"emoji-{maker}", check=True) / "img" / maker / "64"
    makes = [file_maker(folder / each.file) for each in emoji]
    source = asset_called(f"emoji-{maker}").sha256
    return unit(features_of(makes, [each.file for each in emoji], source=source, encoder=encoder, tell=tell))


def _emoji_labels(emoji: list[_Emoji], classes: EmojiClass) -> list[str]:
    return [each.code if classes == "identity" else each.subcategory for each in emoji]


def emoji(
    classes: EmojiClass = "subcategory", *, encoder: str = ENCODER, queries: int | None = None, seed: int = 0,
    tell: Tell = silent,
) -> Gallery:  # fmt: skip
    """Google's emoji as the gallery (3,786 pictures of 64 x 64, transparency on white), Twitter's as the queries.

    classes: `identity` (one picture a class: the same code drawn by another hand) or `subcategory` (99 classes)
    queries: how many of the 3,786, drawn by seed; None for all.  No query was made from a picture of the gallery.
    Raises MissingAssetError with the command that brings them.  Cost: about 2 CPU-minutes, the first time.
    """
    google, twitter = _emoji_of("google"), _emoji_of("twitter")
    x = _emoji_rows("google", google, encoder, tell)
    asked = _emoji_rows("twitter", twitter, encoder, tell)
    names, y, truth = numbered(_emoji_labels(google, classes), _emoji_labels(twitter, classes))
    some = np.sort(np.random.default_rng(seed).permutation(len(asked))[:queries])
    return Gallery(
        f"emoji, {classes}", x, y, asked[some], truth[some], classes=names, seed=seed,
        licence=asset_called("emoji-google").licence, source=f"Google -> Twitter, {encoder}",
    )  # fmt: skip


def emoji_tracks(
    *, tracks: int = 100, frames: int = 20, encoder: str = ENCODER, seed: int = 0, tell: Tell = silent
) -> Gallery:
    """Google's emoji, each code a class (skin tones left out), asked with videos: views of one of Twitter's emoji.

    Angle (within 12 degrees), part that is seen (85 to 100 %), place and brightness (70 to 120 %) wander from frame to
    frame; every frame has its own grain, and one in eight is blurred. No frame repeats, none shows Google's picture.
    frames: 20 or more.  Cost: about 18 CPU-ms a frame, the first time.
    """
    check_frames(frames)
    google, twitter = _emoji_of("google"), _emoji_of("twitter")
    plain = [at for at, each in enumerate(google) if not each.toned]
    x = _emoji_rows("google", google, encoder, tell)[plain]
    twitter = [each for each in twitter if not each.toned]
    names, y, truth = numbered([google[at].code for at in plain], [each.code for each in twitter])
    some = np.sort(np.random.default_rng(seed).permutation(len(twitter))[:tracks])
    folder = find("emoji-twitter") / "img" / "twitter" / "64"
    makes, keys = [], []
    for at in some.tolist():
        views = wandering(frames, seed=[seed, at])
        makes += [_seen_maker(file_maker(folder / twitter[at].file), view) for view in views]
        keys += [f"{twitter[at].file} view {seed} {frame} of {frames}" for frame in range(frames)]
    source = asset_called("emoji-twitter").sha256 + VIEWS_VERSION
    rows = unit(features_of(makes, keys, source=source, encoder=encoder, tell=tell))
    return Gallery(
        "emoji, tracks", x, y, rows, np.repeat(truth[some], frames), classes=names,
        licence=asset_called("emoji-google").licence, source=f"Google -> videos of Twitter's, {encoder}", seed=seed,
        tracks=np.repeat(np.arange(len(some)), frames),
    )  # fmt: skip


VIEWS_VERSION = " views 1"
"""Raise it with any change to `wandering` or `seen`."""


@dataclass(frozen=True, slots=True)
class View:
    """How a picture looks in one frame. part: share of its side that is seen · x, y: where in what is left, 0 to 1."""

    angle: float
    part: float
    x: float
    y: float
    brightness: float
    blurred: bool
    grain_seed: tuple[int, ...]


def wandering(frames: int, *, seed: list[int]) -> list[View]:
    """Views that drift: each quantity is a walk that keeps nine tenths of its way from the middle."""
    chance = np.random.default_rng(seed)
    walks = chance.standard_normal((frames, 5))
    for frame in range(1, frames):
        walks[frame] = 0.9 * walks[frame - 1] + np.sqrt(1 - 0.81) * walks[frame]
    unit = 0.5 + 0.5 * np.tanh(walks)  # 0..1
    blurred = chance.random(frames) < 1 / 8
    return [
        View(24 * u[0] - 12, 0.85 + 0.15 * u[1], u[2], u[3], 0.7 + 0.5 * u[4], bool(blurred[at]), (*seed, at))
        for at, u in enumerate(unit.tolist())
    ]


def seen(picture: Image, view: View) -> Image:
    """One frame: turned on white, cut, dimmed, blurred where the view says so, and grained (deviation 8 of 255)."""
    from PIL import Image as pillow  # noqa: N813
    from PIL import ImageFilter

    full = pillow.fromarray(picture.pixels)
    turned = full.rotate(view.angle, pillow.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    wide, high = (side * view.part for side in full.size)
    left, top = view.x * (full.width - wide), view.y * (full.height - high)
    cut = turned.resize((96, 96), pillow.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    if view.blurred:
        cut = cut.filter(ImageFilter.GaussianBlur(4))
    grain = np.random.default_rng(view.grain_seed).normal(0, 8, (96, 96, 3))
    return Image(np.clip(np.asarray(cut) * view.brightness + grain, 0, 255).astype(np.uint8))


# -- clothes --------------------------------------------------------------------------------------------------------

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def fashion(
    rows: int = 10_000, *, queries: int = 1_000, variant: Literal["features", "pixels"] = "features",
    encoder: str = ENCODER, seed: int = 0, tell: Tell = silent,
) -> Gallery:  # fmt: skip
    """Fashion-MNIST: `rows` of its 60,000 training pictures as the gallery, `queries` of its 10,000 test pictures.

    Rows are the head of one seeded order, so that smaller galleries are part of larger ones (and share their cache).
    variant: `features` of the encoder (28 x 28 grey, enlarged to what it takes), or the 784 `pixels` themselves
    Raises MissingAssetError with the command that brings it.  Cost: features about 15 CPU-ms a row, the first time.
    """
    folder = find("fashion-mnist", check=True)
    x, y = _clothes(folder, "train", rows, variant=variant, encoder=encoder, seed=seed, tell=tell)
    asked, truth = _clothes(folder, "t10k", queries, variant=variant, encoder=encoder, seed=seed, tell=tell)
    return Gallery(
        f"fashion-mnist, {len(x):,} rows, {variant}", x, y, asked, truth, classes=CLOTHES,
        licence=asset_called("fashion-mnist").licence,
        source=f"train -> test, {encoder if variant == 'features' else '784 pixels'}", seed=seed,
    )  # fmt: skip


def _clothes(
    folder: Path, which: str, count: int, *, variant: str, encoder: str, seed: int, tell: Tell
) -> tuple[Array, Array]:
    pictures = read_idx(folder / f"{which}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{which}-labels-idx1-ubyte.gz")
    if pictures.ndim != 3 or labels.shape != pictures.shape[:1]:
        raise RejectedFileError(
            "wrong-shape", f"{which} must have a label a picture, got {labels.shape}, {pictures.shape}"
        )
    some = np.random.default_rng(seed).permutation(len(pictures))[:count]
    y = labels[some].astype(np.int64)
    if variant == "pixels":
        return unit(pictures[some].reshape(len(some), -1)), y
    makes = [_grey_maker(pictures[at]) for at in some]
    keys = [f"{which} {at}" for at in some.tolist()]
    rows = features_of(makes, keys, source=asset_called("fashion-mnist").sha256, encoder=encoder, tell=tell)
    return unit(rows), y


def _grey_maker(pixels: Array) -> Make:
    return lambda: Image(np.repeat(pixels[:, :, None], 3, axis=2))


# -- stamps ---------------------------------------------------------------------------------------------------------


def stamps(*, encoder: str = ENCODER, seed: int = 0, fewest: int = 5, tell: Tell = silent) -> Gallery:
    """Tux Paint's stamps: classes are the folders two deep (`animals/birds`), every fifth file of each is a query.

    Mirrored and flipped twins of a stamp are left out, so that no query has its twin in the gallery; folders of fewer
    than `fewest` stamps too.  Raises MissingAssetError with the command that brings them.
    """
    folder = find("tuxpaint-stamps", check=True)
    files = [each for each in sorted(folder.rglob("*.png")) if not _is_twin(each)]
    groups = [_group(each.relative_to(folder)) for each in files]
    counts = {group: groups.count(group) for group in set(groups)}
    chosen = [at for at, group in enumerate(groups) if group and counts[group] >= fewest]
    names, y, _ = numbered([groups[at] for at in chosen], [])
    makes = [file_maker(files[at]) for at in chosen]
    keys = [files[at].relative_to(folder).as_posix() for at in chosen]
    asset = asset_called("tuxpaint-stamps")
    rows = unit(features_of(makes, keys, source=asset.sha256, encoder=encoder, tell=tell))
    gallery, asked = holdout(y, lambda count: count - count // fewest, seed)
    return Gallery(
        "tuxpaint-stamps", rows[gallery], y[gallery], rows[asked], y[asked], classes=names, licence=asset.licence,
        source=f"one file in {fewest} held out, {encoder}", seed=seed,
    )  # fmt: skip


def _is_twin(path: Path) -> bool:
    return path.stem.endswith(("_mirror", "_flip"))


def _group(path: Path) -> str:
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else ""


# -- photographs ----------------------------------------------------------------------------------------------------

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
LEFT_TILES, TILES = 5, 7


def photographs(*, encoder: str = ENCODER, seed: int = 0, tell: Tell = silent) -> Gallery:
    """Sixteen photographs of scikit-image, each a class: five tiles of its left half, asked with two of its right.

    Tiles are a quarter to a half of the height, placed by chance; halves never touch.  For smoke runs, as nothing need
    be downloaded.  Raises MissingExtraError where scikit-image is not installed.
    """
    place = _photographs_folder()
    tiles = [tile for at, name in enumerate(PHOTOGRAPHS) for tile in _tiles(place / "data" / name, at, seed)]
    keys = [f"{PHOTOGRAPHS[at // TILES]} tile {at % TILES} seed {seed}" for at in range(len(tiles))]
    source = f"tiles 2 {hash_of([place / 'data' / name for name in PHOTOGRAPHS])}"
    rows = unit(features_of(tiles, keys, source=source, encoder=encoder, tell=tell))
    asked = np.arange(len(rows)) % TILES >= LEFT_TILES
    y = np.arange(len(rows)) // TILES
    return Gallery(
        "photographs", rows[~asked], y[~asked], rows[asked], y[asked], seed=seed,
        classes=tuple(Path(name).stem for name in PHOTOGRAPHS), licence="free, by file: scikit-image's data/README.txt",
        source=f"left half -> right half, {encoder}",
    )  # fmt: skip


def photograph_tracks(
    *, tracks: int = 4, frames: int = 20, encoder: str = ENCODER, seed: int = 0, tell: Tell = silent
) -> Gallery:
    """The same photographs, two tiles of each left half, asked with videos: views that wander over a tile of the right.

    Views as in `emoji_tracks`; whose right half is shown is drawn by seed.  For smoke runs.
    frames: 20 or more.  Raises MissingExtraError where scikit-image is not installed.
    """
    check_frames(frames)
    place, stills = _photographs_folder(), 2
    names = PHOTOGRAPHS
    shown = np.sort(np.random.default_rng(seed).permutation(len(names))[:tracks]).tolist()
    makes = [tile for at, name in enumerate(names) for tile in _tiles(place / "data" / name, at, seed)[:stills]]
    keys = [f"{name} tile {tile} seed {seed}" for name in names for tile in range(stills)]
    for at in shown:
        whole = _tiles(place / "data" / names[at], at, seed)[LEFT_TILES]
        makes += [_seen_maker(whole, view) for view in wandering(frames, seed=[seed, at])]
        keys += [f"{names[at]} view {seed} {frame} of {frames}" for frame in range(frames)]
    source = f"tiles 2 {hash_of([place / 'data' / name for name in names])}{VIEWS_VERSION}"
    rows = unit(features_of(makes, keys, source=source, encoder=encoder, tell=tell))
    split, y = stills * len(names), np.repeat(np.arange(len(names)), stills)
    return Gallery(
        "photographs, tracks", rows[:split], y, rows[split:], np.repeat(np.array(shown, np.int64), frames),
        classes=tuple(Path(name).stem for name in names), licence="free, by file: scikit-image's data/README.txt",
        source=f"left half -> videos of the right, {encoder}", seed=seed,
        tracks=np.repeat(np.arange(len(shown)), frames),
    )  # fmt: skip


def _photographs_folder() -> Path:
    place = package_folder("skimage")
    if place is None:
        raise MissingExtraError("photographs need scikit-image: pip install 'lightmeter[demo]'")
    return place


def _seen_maker(make: Make, view: View) -> Make:
    def framed() -> Image:
        return seen(make(), view)

    return framed


def _tiles(path: Path, number: int, seed: int) -> list[Make]:
    chance = np.random.default_rng([seed, number])
    return [_tile_maker(path, tile >= LEFT_TILES, chance.random(3).tolist()) for tile in range(TILES)]


def _tile_maker(path: Path, right: bool, draw: list[float]) -> Make:
    def make() -> Image:
        pixels = read_image(path).value.pixels
        height, width = pixels.shape[:2]
        half = width // 2
        side = max(1, min(half, int(height * (0.25 + 0.25 * draw[0]))))
        top, left = int(draw[1] * (height - side)), int(draw[2] * (half - side))
        left += width - half if right else 0
        return Image(np.ascontiguousarray(pixels[top : top + side, left : left + side]))

    return make


REAL: dict[str, Callable[..., Gallery]] = {
    "emoji": emoji, "emoji-tracks": emoji_tracks, "fashion-mnist": fashion, "tuxpaint-stamps": stamps,
    "photographs": photographs, "photograph-tracks": photograph_tracks,
}  # fmt: skip
