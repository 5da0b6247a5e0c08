"""A library that tests give codes, and searches of it by a vector, with them and without."""

from __future__ import annotations

import hashlib

import numpy as np
from media_folder import picture

from lightmeter.library import looking
from lightmeter.library.calibrating import calibrate
from lightmeter.library.contents import Tag
from lightmeter.library.neighbours import Kept, kept_choice
from lightmeter.library.searching import search
from lightmeter.library.store import open_library
from lightmeter.types import Item

SPEC, DIM = "color-histogram/bins=4", 64
SURE = "one-bit/doubt=3.5"
FROM = 100


def drawn(rng, count):
    """Rows in clusters, some of them twice, though not within one video: rounding may show either moment."""
    centres = np.random.default_rng(99).standard_normal((12, DIM))
    rows = centres[rng.integers(12, size=count)] + 0.6 * rng.standard_normal((count, DIM))
    rows[1::9] = np.roll(rows[::9][: len(rows[1::9])], 3, axis=0)
    return rows.astype(np.float32)


def add(library, first, count, rng):
    """Pictures of one row and videos of five, at a path each; every third carries a tag."""
    with library.transaction():
        names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(first, first + count)]
        kinds = ["video" if number % 10 == 0 else "image" for number in range(first, first + count)]
        keys = library.add_contents([Item(name, kind, 1) for name, kind in zip(names, kinds, strict=True)])
        for number, key in enumerate(keys.tolist(), first):
            path = library.add_path(f"/m/{number}.png", key, size_bytes=1, mtime_ns=0)
            if number % 3 == 0:
                library.set_tags([Tag(path, "third", 1.0, "test")])
        owners = np.repeat(keys, [5 if kind == "video" else 1 for kind in kinds])
        times_s = np.concatenate([np.arange(5.0) if kind == "video" else [np.nan] for kind in kinds])
        library.append(library.series(SPEC, "item", DIM), owners, drawn(rng, len(owners)), times_s)
    return keys


def fill(place):
    """900 items in three shards, 1,260 rows."""
    with open_library(place, create=True) as opened:
        rng = np.random.default_rng(0)
        for at in range(3):
            add(opened, 300 * at, 300, rng)
        calibrate(opened)


def series_of(library):
    return library.series(SPEC, "item")


def kept(library):
    found = kept_choice(library, series_of(library))
    assert found is not None
    return found


def folder(library):
    return library.folder / "indexes" / kept(library).folder


def shard_folders(library):
    return sorted(place for place in folder(library).iterdir() if place.name != "coder")


class Asking:
    """Searches by a vector: the file that asks is a stand-in, and its vector is given."""

    def __init__(self, place, monkeypatch):
        self.query = picture(place / "query.png", "red")
        self.monkeypatch = monkeypatch

    def __call__(self, library, vectors, **how):
        self.monkeypatch.setattr(looking, "encode_file", lambda *_: np.atleast_2d(vectors).astype(np.float32))
        return search(library, str(self.query), **how)

    def by_scan(self, library, vectors, **how):
        with self.monkeypatch.context() as patch:
            patch.setattr(Kept, "worth", lambda kept, rows, opened: False)
            return self(library, vectors, **how)


def check_alike(mine, scanned):
    """The same hits in the same order; those whose scores differ by rounding alone may have changed places."""
    scores = [np.array([hit.score for hit in answer.hits]) for answer in (mine, scanned)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    known = {hit.key: (hit.time_s, hit.path) for hit in scanned.hits}
    for hit in mine.hits:
        if hit.key in known or hit.score > scores[0].min() + 1e-5:
            assert known[hit.key] == (hit.time_s, hit.path)
