"""Captions of a set: by its small pictures, or by a model that looks at the files they were made of."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lightmeter.assets.files import write_whole
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Tell
from lightmeter.encoders.captioning.class_text import class_texts
from lightmeter.encoders.captioning.metadata import read_metadata
from lightmeter.encoders.captioning.protocol import Captioner, fitted
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.types import Array

VERSION = 1
_BLOCK = 256
_TOLD_S = 5.0


def captions_of(
    images: ImageSet, spec: str, folder: Path, *, source: Path | None = None, tell: Tell = lambda _: None
) -> tuple[str, ...]:
    """A caption a picture, kept in a folder by content; a stopped run goes on.

    source: folder that the set was read from. A model looks at its files, through the executor, for it sees more there
    than in small pictures; rules look at the pictures of the set, and `sidecar` at their names.
    """
    captioner: Captioner = build(spec, "captioner")
    if source is not None and captioner.size_bytes:
        return _of_files(images, captioner, folder, source, tell)
    pictures = cast("Sequence[Array]", images.images)
    captioner = fitted(captioner, pictures)
    captioner.load()
    mark = hash_of([VERSION, images.fingerprint, list(images.names), captioner.fingerprint])
    path = folder / f"captions-{mark[:16]}.json"
    made = _read(path)
    names = class_texts(images.classes)
    texts = [names[images.classes[label]] for label in images.labels.tolist()]
    last_s = time.monotonic()
    for start in range(len(made), len(images), _BLOCK):
        stop = min(start + _BLOCK, len(images))
        made += captioner.caption(pictures[start:stop], texts[start:stop], images.names[start:stop])
        if stop == len(images) or time.monotonic() - last_s >= _TOLD_S:
            last_s = time.monotonic()
            write_whole(path, json.dumps(made))
            tell(f"captions: {stop:,} of {len(images):,}")
    return tuple(made)


def _of_files(images: ImageSet, captioner: Captioner, folder: Path, source: Path, tell: Tell) -> tuple[str, ...]:
    from lightmeter.encoders.captioning.folder import caption_folder

    told = caption_folder(source, captioner, folder / "captions")
    if told.stopped or told.metadata is None:
        raise KeyboardInterrupt
    by_name = read_metadata(told.metadata)
    tell(f"captions: {len(by_name):,}, {told.empty} of them empty, {len(told.failed)} files failed")
    return tuple(by_name.get(name, "") for name in images.names)


def _read(path: Path) -> list[str]:
    """What an earlier run captioned; nothing where the file is not there or broken."""
    try:
        told: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [str(each) for each in told] if isinstance(told, list) else []
