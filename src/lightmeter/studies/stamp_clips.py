"""Tux Paint's stamps as short clips with sound, title and keywords: a real set of sight, sound and words, and small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import asset_called
from lightmeter.encoders.cache import kept
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.studies.features import Make, Tell, features_of, silent
from lightmeter.types import Array, Clip, Image, Labels, Sound

SECONDS = 6
SIDE_PIXELS = 256
FEWEST = 8
"""A folder is a label where so many stamps lie in it or below."""
VERSION = "stamp clips 1"
"""Raise it with any change to how clips are rendered or sounds are cut."""

VISUAL = "efficientnet-lite/size=0,view=whole"
AUDIO = "log-mel"


@dataclass(frozen=True, slots=True)
class Stamp:
    """One stamp. key: path below the asset's folder, no suffix · title: its English caption · sound: None without one

    labels: its folders, from the top down (`animals`, `animals/birds`) · group: number of its group: stamps of one
    name but for digits in one folder, and stamps of one caption, are variants and belong into one fold
    """

    key: str
    picture: Path
    title: str
    sound: Path | None
    labels: tuple[str, ...]
    group: int


def stamps_listed(folder: Path | None = None) -> list[Stamp]:
    """All stamps with a caption, by path; mirrored and flipped twins are left out.

    folder: where the stamps lie; None: the asset `tuxpaint-stamps`.  Raises MissingAssetError with the command for it.
    """
    root = find("tuxpaint-stamps", check=True) if folder is None else folder
    pictures = [
        path
        for path in sorted(root.rglob("*.png"))
        if path.with_suffix(".txt").is_file() and not path.stem.endswith(("_mirror", "_flip"))
    ]
    keys = [path.relative_to(root).with_suffix("").as_posix() for path in pictures]
    titles = [_caption(path.with_suffix(".txt")) for path in pictures]
    groups = variant_groups(keys, titles)
    return [
        Stamp(key, path, title, _sound(path), _folders(key), group)
        for key, path, title, group in zip(keys, pictures, titles, groups, strict=True)
    ]


def _caption(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].strip()


def _sound(picture: Path) -> Path | None:
    """The stamp's effect, never somebody who reads its caption aloud."""
    return next((each for suffix in (".ogg", ".wav") if (each := picture.with_suffix(suffix)).is_file()), None)


def _folders(key: str) -> tuple[str, ...]:
    parts = key.split("/")[:-1]
    return tuple("/".join(parts[: at + 1]) for at in range(len(parts)))


def variant_groups(keys: Sequence[str], titles: Sequence[str]) -> list[int]:
    """Which items are variants of one another: a number each, equal where keys differ in digits only or titles agree.

    >>> variant_groups(["a/cat1", "a/cat2", "b/tom", "b/dog"], ["A cat.", "A kitten.", "a cat.", "A dog."])
    [0, 0, 0, 3]
    """
    first: dict[str, int] = {}
    root = list(range(len(keys)))

    def top(at: int) -> int:
        while root[at] != at:
            at = root[at]
        return at

    for at, (key, title) in enumerate(zip(keys, titles, strict=True)):
        for name in (f"key {re.sub(r'[0-9_-]+', '', key)}", f"title {title.lower()}"):
            low, high = sorted((top(first.setdefault(name, at)), top(at)))
            root[high] = low
    return [top(at) for at in range(len(keys))]


# -- clips ----------------------------------------------------------------------------------------------------------


def clip_of(picture: Path, key: str, *, seed: int = 0) -> Clip:
    """Six seconds of a stamp that drifts, turns and grows over a pale ground: one frame a second.

    Path, tilt, size and colours follow from key and seed; no two frames are alike.  Frames are [256, 256, 3].
    """
    from PIL import Image as Pillow

    chance = np.random.default_rng(int(hash_of([VERSION, key, seed])[:16], 16))
    with Pillow.open(picture) as opened:
        stamp = opened.convert("RGBA")
    start, end = chance.uniform(0.1, 0.9, (2, 2))
    sizes, tilts = chance.uniform(0.6, 0.9, 2), chance.uniform(-12, 12, 2)
    ground = _ground(chance)
    frames = []
    for share in np.linspace(0, 1, SECONDS):
        grown = _grown(stamp, float(sizes @ (1 - share, share)), float(tilts @ (1 - share, share)))
        room = SIDE_PIXELS - np.array(grown.size)
        place = np.rint((start * (1 - share) + end * share) * room).astype(int)
        frame = ground.copy()
        frame.alpha_composite(grown, (max(int(place[0]), 0), max(int(place[1]), 0)))
        frames.append(np.asarray(frame.convert("RGB")))
    return Clip(np.stack(frames), np.arange(SECONDS, dtype=np.float64))


def _ground(chance: np.random.Generator) -> Any:
    """Two pale colours, one running into the other."""
    from PIL import Image as Pillow

    colours = chance.integers(200, 256, (2, 3)).astype(np.float64)
    share = np.linspace(0, 1, SIDE_PIXELS)[:, None, None]
    pixels = np.broadcast_to(colours[0] * (1 - share) + colours[1] * share, (SIDE_PIXELS, SIDE_PIXELS, 3))
    if chance.random() < 0.5:
        pixels = pixels.transpose(1, 0, 2)
    return Pillow.fromarray(np.ascontiguousarray(np.rint(pixels), np.uint8)).convert("RGBA")


def _grown(stamp: Any, size: float, tilt_deg: float) -> Any:
    """The stamp, turned, its longer side a share of the frame's."""
    from PIL import Image as Pillow

    turned = stamp.rotate(tilt_deg, Pillow.Resampling.BICUBIC, expand=True)
    scale = size * SIDE_PIXELS / max(turned.size)
    return turned.resize([max(1, round(side * scale)) for side in turned.size], Pillow.Resampling.BICUBIC)


def seconds_of(sound: Sound) -> list[Sound]:
    """The clip's sound, second by second; what is shorter than the clip ends in silence."""
    length = sound.rate_hz * SECONDS
    samples = np.pad(sound.samples[:length], (0, max(0, length - len(sound.samples))))
    return [Sound(samples[at : at + sound.rate_hz], sound.rate_hz) for at in range(0, length, sound.rate_hz)]


# -- examples -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StampClips:
    """The set: frames and sounds second by second; titles as text, for what is learnt from them.

    groups: of variants, by name, caption or looks: they belong into one fold
    examples: blocks `visual` and `audio`, frames of each of 6 seconds · titles: one an item
    """

    examples: ArrayExamples
    titles: tuple[str, ...]
    groups: Array
    licence: str
    source: str


def stamp_clips(
    stamps: Sequence[Stamp] | None = None,
    *,
    visual: str = VISUAL,
    audio: str = AUDIO,
    seed: int = 0,
    tell: Tell = silent,
) -> StampClips:  # fmt: skip
    """Render, encode (or take from the cache) and label; stamps without a label of 8 or more stamps are left out.

    Cost: six encodings of `visual` a stamp the first time, 1.5 CPU-minutes for all with EfficientNet-Lite0.
    """
    listed = stamps_listed() if stamps is None else list(stamps)
    counts = Counter(label for stamp in listed for label in stamp.labels)
    names = tuple(sorted(label for label, count in counts.items() if count >= FEWEST))
    chosen = [stamp for stamp in listed if set(stamp.labels) & set(names)]
    place = {name: at for at, name in enumerate(names)}
    labels = Labels.of([[place[each] for each in stamp.labels if each in place] for stamp in chosen], len(names))
    frames = _frames(chosen, visual, seed, tell)
    sounds = _sounds(chosen, audio, tell)
    groups = alike_groups(frames.mean(axis=1), [stamp.group for stamp in chosen])
    blocks = (
        Block("visual", "frames", frames.shape[2], visual),
        Block("audio", "frames", sounds.shape[2], audio),
    )
    heard = np.array([stamp.sound is not None for stamp in chosen])
    present = np.stack([np.ones(len(chosen), bool), heard], axis=1)
    ids = [stamp.key for stamp in chosen]
    examples = ArrayExamples(blocks, {"visual": frames, "audio": sounds}, ids, names, labels, present)
    licence = asset_called("tuxpaint-stamps").licence
    source = f"{len(chosen)} stamps as clips of {SECONDS} s, {int(heard.sum())} with sound, {visual}, {audio}"
    return StampClips(examples, tuple(stamp.title for stamp in chosen), groups, licence, source)


def alike_groups(rows: Array, groups: Sequence[int], least: float = 0.9) -> Array:
    """Groups joined where two of their members look alike: a cosine of `least` or more; int64 [N].

    Names do not tell everything: a red and a green traffic light, an l and its outline are variants too.

    >>> alike_groups(np.array([[1.0, 0], [0.99, 0.1], [0, 1]]), [0, 1, 2]).tolist()
    [0, 0, 2]
    """
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    root = {group: group for group in groups}

    def top(group: int) -> int:
        while root[group] != group:
            group = root[group]
        return group

    for one, other in np.argwhere(np.triu(unit @ unit.T >= least, 1)).tolist():
        low, high = sorted((top(groups[one]), top(groups[other])))
        root[high] = low
    return np.array([top(group) for group in groups], np.int64)


def _frames(stamps: Sequence[Stamp], encoder: str, seed: int, tell: Tell) -> Array:
    """float32 [N, 6, D].  Clips are rendered once a stamp, not once a frame."""
    rendered: dict[int, Clip] = {}

    def make(at: int, second: int) -> Make:
        def frame() -> Image:
            if at not in rendered:
                rendered.clear()
                rendered[at] = clip_of(stamps[at].picture, stamps[at].key, seed=seed)
            return Image(rendered[at].frames[second])

        return frame

    makes = [make(at, second) for at in range(len(stamps)) for second in range(SECONDS)]
    keys = [f"{stamp.key} second {second} seed {seed}" for stamp in stamps for second in range(SECONDS)]
    source = f"{VERSION} {hash_of([stamp.picture for stamp in stamps])}"
    rows = features_of(makes, keys, source=source, encoder=encoder, tell=tell)
    return rows.reshape(len(stamps), SECONDS, -1)


def _sounds(stamps: Sequence[Stamp], encoder: str, tell: Tell) -> Array:
    """float32 [N, 6, D], zeros where there is no sound."""
    from lightmeter.media.sound import read_sound

    made = build(encoder, "encoder")
    heard = [stamp.sound for stamp in stamps if stamp.sound is not None]

    def encode() -> bytes:
        tell(f"encoding {len(heard)} sounds")
        rows = [made.encode(seconds_of(read_sound(path).value)) for path in heard]
        return np.asarray(rows, "<f4").tobytes()

    stamp_hash = hash_of([VERSION, made.spec, heard])
    rows = np.frombuffer(kept("features", stamp_hash, encode), "<f4").reshape(-1, SECONDS, made.dim)
    full = np.zeros((len(stamps), SECONDS, made.dim), np.float32)
    full[[at for at, stamp in enumerate(stamps) if stamp.sound is not None]] = rows
    return full


def folds_of(groups: Array, count: int, *, seed: int = 0) -> Array:
    """A fold for every item, groups kept whole, folds as even as groups allow: int64 [N] in 0..count-1."""
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]  # the largest groups first, into the emptiest fold
    filled, place = np.zeros(count, np.int64), {}
    for at in order.tolist():
        fold = int(filled.argmin())
        place[names[at]] = fold
        filled[fold] += sizes[at]
    return np.array([place[group] for group in groups.tolist()], np.int64)
