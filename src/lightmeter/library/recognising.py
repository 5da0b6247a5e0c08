"""A library, or a folder with one folder a class, as a gallery; files recognised by it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.by_path import pinned
from lightmeter.engines.events import Event
from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.library.calibrating import answers_words, usable
from lightmeter.library.features import Series
from lightmeter.library.indexing import Indexed, IndexOptions, index
from lightmeter.library.looking import encode_files
from lightmeter.library.scan import scan
from lightmeter.library.store import Library, open_library
from lightmeter.parts import build, parse
from lightmeter.search.auto import Budget, Choice, choose_index
from lightmeter.search.fusion import Fusion
from lightmeter.search.granular import FittedGranular, Granular
from lightmeter.search.kernels import compiled
from lightmeter.search.protocol import FittedIndex
from lightmeter.search.recogniser import NEAR_ROWS, Gallery, Recogniser, Recognition
from lightmeter.types import Array

ENCODER = "efficientnet-lite"
_KEPT = "recognise"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A gallery that is ready to be asked.

    paths: one a row, where its file was last seen · spec: of the encoder · index: spec of the index
    choice: how the index was chosen, None where it was named · remembered: whether that was measured by an earlier call
    notes: sentences about files that have no class, and about what makes it slow
    left_out: files of the gallery that could not be used, path → reason
    """

    recogniser: Recogniser
    paths: tuple[str, ...]
    spec: str
    index: str
    choice: Choice | None
    remembered: bool
    notes: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def is_library(folder: Path) -> bool:
    """Whether a folder is a library, not a folder of classes."""
    return (folder / "library.sqlite").is_file()


def index_classes(
    folder: Path, library: Path, *, encoder: str = ENCODER, events: Callable[[Event, int], None] | None = None,
    waiting: Callable[[str], None] = lambda text: None,
) -> Indexed:  # fmt: skip
    """Read a folder of classes into a library of its own: only what changed is read again.  Cost: as `index`."""
    if not any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir()):
        raise InvalidValueError(
            f"GALLERY must hold one folder a class, got none in {folder}: put each class's pictures into a folder"
        )
    if build(encoder, "encoder").takes != "image":
        raise InvalidValueError(f"--encoder must take pictures, got {encoder}: `efficientnet-lite` does")
    options = IndexOptions(encoders=(encoder,), words="")
    return index([folder], library, options, events=events, waiting=waiting)


def open_gallery(
    library: Path, *, root: Path | None = None, encoder: str | None = None, index_spec: str = "auto",
    plan: Budget | None = None,
) -> Opened:  # fmt: skip
    """Rows with labels, and the index that is cheapest for them.

    root: the folder whose folders are the classes; None takes the tags that were set by hand as classes
    encoder: whose features are compared; None takes the first series of pictures
    index_spec: `auto` measures once and remembers it in the library; else the spec of an index
    Raises InvalidValueError where no file has a class.
    Cost: reading the features; building the index, or reading it where an earlier call kept it.
    """
    with open_library(library, write=True, wait_s=10) as opened:
        series = _picture_series(opened, encoder)
        gallery, paths, notes = _gallery(opened, series, root)
        choice, remembered = None, False
        if index_spec == "auto":
            choice, remembered = _choice(opened, series, gallery, plan or Budget())
        recipe = index_by_cosine(index_spec) if choice is None else choice.recipe()
        fitted = _kept_index(opened.folder, recipe, gallery)
    if compiled() is None:
        notes = (*notes, "the search kernels were not compiled here, numpy stands in, slower: `lightmeter doctor`")
    return Opened(Recogniser(gallery, fitted), paths, series.spec, recipe.spec, choice, remembered, notes)


def recognise_files(
    opened: Opened, queries: Sequence[Path], *, fusion: Fusion | None = None,
    events: Callable[[Event, int], None] | None = None,
) -> Iterator[tuple[Path, Recognition | LightmeterError, str]]:  # fmt: skip
    """Each query with its answer, or with the error that says why it could not be read, and what was damaged in it.

    Pictures ask with one row, videos with one a second.  Cost: a worker's start and one encoding a file, then a search.
    """
    for query, encoded in zip(queries, encode_files(queries, opened.spec, "image", events=events), strict=True):
        if isinstance(encoded, LightmeterError):
            yield query, encoded, ""
        else:
            yield query, opened.recogniser.recognise(encoded.rows, fusion=fusion), encoded.damage


def files_of(queries: Sequence[Path]) -> list[Path]:
    """The queries, folders replaced by the media files below them."""
    files: list[Path] = []
    for query in queries:
        files += [Path(found.path) for found in scan([query]).found] if query.is_dir() else [query]
    return files


# -- whose is what ---------------------------------------------------------------------------------------------------


def _picture_series(library: Library, spec: str | None) -> Series:
    wanted = None if spec is None else pinned(build(spec, "encoder")).spec
    for series, encoder in usable(library):
        if wanted not in (None, series.spec):
            continue
        if encoder.takes == "image" and not answers_words(encoder) and len(library.features(series)):
            return series
    raise InvalidValueError(f"the gallery must hold pictures or videos, got none in {library.folder}: index some first")


def _gallery(library: Library, series: Series, root: Path | None) -> tuple[Gallery, tuple[str, ...], tuple[str, ...]]:
    labelled, notes = _tagged(library) if root is None else _in_folders(library, root)
    names = tuple(sorted({name for _, _, name in labelled}))
    number = {name: at for at, name in enumerate(names)}
    features = library.features(series)
    owners = features.owners
    order = np.argsort(owners, kind="stable")
    rows: list[Array] = []
    labels: list[int] = []
    groups: list[int] = []
    paths: list[str] = []
    for item, path, name in labelled:
        first, last = np.searchsorted(owners[order], [item, item + 1])
        rows.append(order[first:last])
        labels += [number[name]] * (last - first)
        groups += [item] * (last - first)
        paths += [path] * (last - first)
    if not labels:
        what = "a tag set by hand (`lightmeter tag --set NAME FILE…`)" if root is None else "a folder below the gallery"
        raise InvalidValueError(f"some files must have a class, which is {what}; got none in {root or library.folder}")
    vectors = np.ascontiguousarray(features.vectors[np.concatenate(rows)])
    gallery = Gallery(vectors, np.array(labels, np.int64), names, np.array(groups, np.int64))
    return gallery, tuple(paths), tuple(notes)


_Labelled = list[tuple[int, str, str]]
"""Item's key, path and class."""


def _in_folders(library: Library, root: Path) -> tuple[_Labelled, list[str]]:
    """The class is the first folder below the root."""
    base = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118  resolve() would follow links
    sql = "SELECT item, path FROM paths WHERE missing = 0 ORDER BY key"
    found = [(int(item), os.fsdecode(path)) for item, path in library.catalogue.rows(sql)]
    inside = [(item, path, Path(path.removeprefix(base)).parts) for item, path in found if path.startswith(base)]
    loose = [path for _, path, parts in inside if len(parts) < 2]
    notes = [f"left out, in no class folder: {len(loose)} of the files, such as {loose[0]}"] if loose else []
    return [(item, path, parts[0]) for item, path, parts in inside if len(parts) > 1], notes


def _tagged(library: Library) -> tuple[_Labelled, list[str]]:
    """The class is a tag that a person set; a file with two of them stands in both classes."""
    sql = (
        "SELECT p.item, p.path, t.tag FROM tags t JOIN paths p ON p.key = t.path "
        "WHERE t.score IS NULL AND p.missing = 0 ORDER BY p.key, t.tag"
    )
    return [(int(item), os.fsdecode(path), tag) for item, path, tag in library.catalogue.rows(sql)], []


def index_by_cosine(spec: str) -> Any:
    """The recipe of an index by cosine, which is how galleries are compared; raises InvalidValueError for others."""
    recipe = build(spec, "index")
    if parse(spec).options.get("metric", "cosine") != "cosine":
        raise InvalidValueError(f"--index must compare by cosine, got {spec}: leave `metric` out")
    if not hasattr(recipe, "metric"):
        raise InvalidValueError(f"--index must tell distances by cosine, and {spec} tells its own: `granular` does")
    return replace(recipe, metric="cosine")


# -- which index ------------------------------------------------------------------------------------------------------


def _choice(library: Library, series: Series, gallery: Gallery, plan: Budget) -> tuple[Choice, bool]:
    """What was chosen before, while the gallery is much the same; else measured now, and remembered."""
    found = library.calibration(series, _KEPT)
    rows, dim = gallery.vectors.shape
    if found:
        kept = Choice.from_json(found[0])
        if kept.fits(rows, dim, batch=plan.batch, at_least=plan.at_least):
            return kept, True
    near = min(NEAR_ROWS, len(gallery.vectors))
    choice = choose_index(gallery.vectors, labels=gallery.labels, k=near, metric="cosine", plan=plan).of_indexes()
    library.set_calibration(series, _KEPT, choice.as_json())
    return choice, False


def _kept_index(folder: Path, recipe: Any, gallery: Gallery) -> FittedIndex:
    """The index as an earlier call kept it, where it is of these very rows; else built now. Granular ones are kept."""
    if not isinstance(recipe, Granular):
        fitted: FittedIndex = recipe.fit(gallery.vectors)
        return fitted
    digest = hashlib.sha256(recipe.spec.encode() + np.ascontiguousarray(gallery.vectors).data).hexdigest()[:32]
    place = folder / "indexes" / f"{_KEPT}-{digest}"
    if place.is_dir():
        with suppress(LightmeterError):  # damaged: it is built again below
            return FittedGranular.load(place)
    for old in place.parent.glob(f"{_KEPT}-*"):
        shutil.rmtree(old, ignore_errors=True)
    made = recipe.fit(gallery.vectors)
    made.save(place)
    return made
