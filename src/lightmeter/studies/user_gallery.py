"""Galleries from a folder that the user names: features in `.npz` files, or pictures in one folder a class."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import file_sha256
from lightmeter.errors import InvalidValueError, RejectedFileError, UnsafeFileError
from lightmeter.studies.features import (
    ENCODER,
    Tell,
    features_where_possible,
    file_maker,
    image_encoder,
    silent,
)
from lightmeter.studies.galleries import Gallery, holdout, numbered, unit
from lightmeter.types import Array, check_axes

MOST_BYTES = 8 << 30
MOST_PICTURES = 200_000
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
CLUTTER = ("BACKGROUND_Google", "257.clutter")
"""Folders of Caltech-101 and -256 that are no class."""
ARRAYS = ("x", "y", "track")


def user_gallery(
    folder: Path, *, per_class: int = 30, encoder: str | None = None, seed: int = 0, tell: Tell = silent
) -> Gallery:
    """What lies in a folder, as a gallery. One of three layouts:

    `gallery.npz`, `queries.npz`: arrays `x` float [N, D], `y` whole numbers or names [N], and `track` for videos [Q]
    `gallery/CLASS/*.jpg`, `queries/CLASS/*.jpg` or, for videos, `queries/CLASS/TRACK/*.jpg` (frames by name)
    `CLASS/*.jpg`: split by seed, `per_class` pictures of a class to the gallery (half where it has fewer than twice as
    many), the rest are queries; that is the protocol of Caltech-101 and -256, whose clutter folders are left out
    encoder: spec of what encodes pictures, `features.ENCODER` where it is None; arrays take none
    Rows are made unit length, as the seed does. Pictures that cannot be read, or that the encoder rejects (a network of
    faces where it sees none), are left out and named, and counted in the gallery's `source`; so are videos of which
    nothing is left. Classes that are asked about and have no picture in the gallery are named, and counted as well.
    Raises InvalidValueError or RejectedFileError where it is none of these, UnsafeFileError beyond the limits.
    """
    if (folder / "gallery.npz").is_file() and (folder / "queries.npz").is_file():
        if encoder is not None:
            raise InvalidValueError(f"--encoder must be left out where gallery.npz holds features, got {encoder}")
        return _from_arrays(folder, seed, tell)
    encoder = ENCODER if encoder is None else image_encoder(encoder).spec
    if (folder / "gallery").is_dir() and (folder / "queries").is_dir():
        return _from_two_folders(folder, encoder=encoder, seed=seed, tell=tell)
    if not folder.is_dir() or not _folders(folder):
        raise InvalidValueError(
            f"--data must hold gallery.npz and queries.npz, gallery and queries, or a folder a class, got {folder}"
        )
    return _from_classes(folder, per_class=per_class, encoder=encoder, seed=seed, tell=tell)


# -- arrays ---------------------------------------------------------------------------------------------------------


def read_npz(path: Path, *, most_bytes: int = MOST_BYTES) -> dict[str, Array]:
    """The arrays `x`, `y` and (where it is there) `track` of an `.npz` file; other members are not looked at.

    Never unpickled; a member is unpacked only as far as the zip says, and refused before it where that is more than
    `most_bytes` in all. Raises RejectedFileError for a file that is none, UnsafeFileError for objects and giants.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as place:
            members = {name: archive.getinfo(f"{name}.npy") for name in ARRAYS if f"{name}.npy" in archive.namelist()}
            total = sum(member.file_size for member in members.values())
            if total > most_bytes:
                raise UnsafeFileError(f"{path.name} must unpack to at most {most_bytes} bytes, got {total}: refused")
            arrays = {}
            for name, member in members.items():
                unpacked = Path(place) / f"{name}.npy"
                with archive.open(member) as source, unpacked.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                arrays[name] = read_array(unpacked)
            return arrays
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise RejectedFileError("unreadable", f"{path.name} must be a plain .npz: {error}") from error


def _from_arrays(folder: Path, seed: int, tell: Tell) -> Gallery:
    files = {name: read_npz(folder / f"{name}.npz") for name in ("gallery", "queries")}
    for name, arrays in files.items():
        if not {"x", "y"} <= set(arrays):
            raise InvalidValueError(f"{name}.npz must hold x and y, got {', '.join(arrays) or 'neither'}")
        check_axes(f"x of {name}.npz", arrays["x"], "N D")
        check_axes(f"y of {name}.npz", arrays["y"], str(len(arrays["x"])))
    gallery, queries = files["gallery"], files["queries"]
    names, y, truth = numbered(_names(gallery["y"]), asked_about := _names(queries["y"]))
    asked, tracks = unit(queries["x"]), None
    if "track" in queries:
        check_axes("track of queries.npz", queries["track"], str(len(asked)))
        order = np.argsort(queries["track"], kind="stable")
        asked, truth = asked[order], truth[order]
        tracks = np.unique(queries["track"][order], return_inverse=True)[1].astype(np.int64)
    return Gallery(
        folder.name, unit(gallery["x"]), y, asked, truth, classes=names, licence="as its owner says",
        source=f"features as given, made unit length{_strangers(names, asked_about, tell)}", seed=seed, tracks=tracks,
    )  # fmt: skip


def _names(labels: Array) -> list[str]:
    """Labels as text; whole numbers are padded, so that they sort as numbers."""
    if labels.dtype.kind in "iu":
        return [f"{each:06d}" for each in labels.tolist()]
    if labels.dtype.kind == "U":
        return [str(each) for each in labels.tolist()]
    raise InvalidValueError(f"y must be whole numbers or text, got {labels.dtype}: convert it")


# -- pictures -------------------------------------------------------------------------------------------------------


def _folders(folder: Path) -> list[Path]:
    """Folders inside, by name; hidden ones, links and clutter are left out."""
    inside = (each for each in folder.iterdir() if each.is_dir() and not each.is_symlink())
    return sorted(each for each in inside if not each.name.startswith(".") and each.name not in CLUTTER)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in PICTURES and each.is_file() and not each.is_symlink()
    )


def _from_classes(folder: Path, *, per_class: int, encoder: str, seed: int, tell: Tell) -> Gallery:
    labelled = [(each, place.name) for place in _folders(folder) for each in _pictures(place)]
    rows, kept, said = _encode([path for path, _ in labelled], encoder, tell)
    labels = [labelled[at][1] for at in kept.tolist()]
    lone = {label for label in set(labels) if labels.count(label) < 2}
    if lone:
        tell(f"left out, as one picture cannot be both in the gallery and asked with: {', '.join(sorted(lone))}")
    chosen = [at for at, label in enumerate(labels) if label not in lone]
    if not chosen:
        raise InvalidValueError(f"--data must hold folders of at least two pictures each, got {folder}")
    names, y, _ = numbered([labels[at] for at in chosen], [])
    gallery, asked = holdout(y, lambda count: max(1, min(per_class, count // 2)), seed)
    rows = unit(rows[chosen])
    drawn = np.bincount(y[gallery])
    some = f"{drawn.max()}" if drawn.min() == drawn.max() else f"{drawn.min()} to {drawn.max()}"
    return Gallery(
        folder.name, rows[gallery], y[gallery], rows[asked], y[asked], classes=names, licence="as its owner says",
        source=f"{some} of a class drawn by seed {seed}, the rest asked with, {said}", seed=seed,
    )  # fmt: skip


def _from_two_folders(folder: Path, *, encoder: str, seed: int, tell: Tell) -> Gallery:
    stills = [(each, place.name, "") for place in _folders(folder / "gallery") for each in _pictures(place)]
    asked = [found for place in _folders(folder / "queries") for found in _asked_in(place)]
    videos = {track for _, _, track in asked}
    if "" in videos and len(videos) > 1:
        raise InvalidValueError(f"queries must be pictures or videos throughout, got both in {folder / 'queries'}")
    rows, kept, said = _encode([path for path, _, _ in (*stills, *asked)], encoder, tell)
    split = int(np.searchsorted(kept, len(stills)))
    labels = [(*stills, *asked)[at] for at in kept.tolist()]
    if not 0 < split < len(kept):
        raise InvalidValueError(f"--data must hold pictures in gallery/CLASS and in queries/CLASS, got {folder}")
    asked_about = [each[1] for each in labels[split:]]
    names, y, truth = numbered([each[1] for each in labels[:split]], asked_about)
    tracks = None
    if "" not in videos:
        left = [f"{each[1]}/{each[2]}" for each in labels[split:]]
        tracks, every = _numbers(left), {f"{label}/{track}" for _, label, track in asked}
        gone = sorted(every - set(left))
        said += f", {len(gone):,} of {len(every):,} tracks left out" if gone else ""
        if gone:
            tell(f"left out, as no frame of it has features: {', '.join(gone)}")
    said += _strangers(names, asked_about, tell)
    rows = unit(rows)
    return Gallery(
        folder.name, rows[:split], y, rows[split:], truth, classes=names, licence="as its owner says",
        source=f"gallery -> queries, {said}", seed=seed, tracks=tracks,
    )  # fmt: skip


def _asked_in(place: Path) -> list[tuple[Path, str, str]]:
    """Queries of one class: pictures, or frames with their video's folder."""
    loose = [(each, place.name, "") for each in _pictures(place)]
    return loose + [(each, place.name, video.name) for video in _folders(place) for each in _pictures(video)]


def _strangers(names: Sequence[str], asked_about: Sequence[str], tell: Tell) -> str:
    """What is to be said of classes that are asked about and have nothing in the gallery: every answer is wrong."""
    strangers = sorted(set(asked_about) - set(names))
    if not strangers:
        return ""
    count = sum(label in strangers for label in asked_about)
    tell(f"in queries and not in the gallery, so that every answer is wrong: {', '.join(strangers)} "
         f"({count:,} of {len(asked_about):,} queries)")  # fmt: skip
    some = "1 class" if len(strangers) == 1 else f"{len(strangers):,} classes"
    return f", {some} asked about and not in the gallery ({count:,} queries)"


def _numbers(names: Sequence[str]) -> Array:
    """Names that come in runs → 0, 1, 2 … by run."""
    order = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], np.int64)


def _encode(files: Sequence[Path], encoder: str, tell: Tell) -> tuple[Array, Array, str]:
    """Features of the files that have some, which those are, and what is to be said of it: encoder, how many lack."""
    if not 0 < len(files) <= MOST_PICTURES:
        raise InvalidValueError(f"--data must hold 1 to {MOST_PICTURES:,} pictures, got {len(files):,}")
    short_side = image_encoder(encoder).short_side
    rows, left_out = features_where_possible(
        [file_maker(path, short_side) for path in files], [file_sha256(path) for path in files],
        source=f"files, short side {short_side}", encoder=encoder, tell=tell,
    )  # fmt: skip
    for at, why in left_out.items():
        tell(f"left out: {files[at]}: {why}")
    if len(left_out) == len(files):
        raise RejectedFileError("left-out", f"none of {len(files):,} pictures of --data has features by {encoder}: "
                                f"the first is left out as {left_out[0]}")  # fmt: skip
    kept = np.setdiff1d(np.arange(len(files)), list(left_out)).astype(np.int64)
    said = f"{encoder}, {len(left_out):,} of {len(files):,} pictures left out" if left_out else encoder
    return rows[kept], kept, said
