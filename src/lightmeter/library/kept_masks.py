"""The masks of a folder in one file, `masks.json`, which grows by what is answered and forgets nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lightmeter import __version__
from lightmeter.assets.files import file_sha256
from lightmeter.media.labelling import natural
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_json import MaskEntry, masks_about, read_masks, safe_path, write_masks
from lightmeter.meter.record import hash_of

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.segmenter import Segmenter

MASKS = "masks.json"
VERSION = "predict 1"
"""Raise it with any change to what is written of a file: what an earlier version answered is then answered again."""
ANSWERS = "answers"
_SPARED = 20
"""Writing may take one part in so many of the time."""


class KeptMasks:
    """`masks.json` of a folder while files are answered; a context manager, which writes at its end whatever happens.

    What stands there stays, but for the files that are answered anew. `about` says by which encoder and head the last
    ones were, and of every file in `answers` a hash of model, content and options, so that nothing is answered twice.
    Cost: a write of the whole file now and then, a twentieth of the time at most, so that a kill loses little.
    Raises RejectedFileError where another file stands under the name, before anything is written.
    """

    def __init__(self, out: Path, segmenter: Segmenter, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        self.path = out / MASKS
        self.entries: dict[str, tuple[MaskEntry, ...]] = {}
        self._about: dict[str, Any] = {}
        self._model = model_hash(segmenter)
        self._changed, self._due_s = False, 0.0
        if self.path.exists():
            self._read(limits)
        given = self._about.get(ANSWERS)
        self._answers: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
        self._about |= {
            "by": f"lightmeter {__version__}", "encoder": segmenter.encoder.spec, "head": segmenter.head.spec,
        }  # fmt: skip

    def _read(self, limits: MediaLimits) -> None:
        found: dict[str, list[MaskEntry]] = {}
        for each in read_masks(self.path, limits):
            found.setdefault(each.path, []).append(each)
        self.entries = {name: tuple(some) for name, some in found.items()}
        self._about = masks_about(self.path, limits)

    def __enter__(self) -> KeptMasks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def answered(self, file: Path, name: str, crf: int) -> tuple[MaskEntry, ...]:
        """The masks of a file, where this model has answered it as it is; else none.  Cost: one read of the file.

        Raises RejectedFileError for a name that no masks file can hold.
        """
        safe_path(name)
        standing = self.entries.get(name, ())
        if not standing or name not in self._answers:
            return ()
        return standing if self._answers[name] == self._hash(file, standing, crf) else ()

    def take(self, file: Path, name: str, entries: Sequence[MaskEntry], crf: int) -> None:
        """A file has been answered."""
        self.entries[name] = tuple(entries)
        self._answers[name] = self._hash(file, entries, crf)
        self._changed = True
        if time.monotonic() >= self._due_s:
            self._write()

    def _hash(self, file: Path, entries: Sequence[MaskEntry], crf: int) -> str:
        of_video = entries[0].time_s is not None
        return hash_of([self._model, file_sha256(file), crf if of_video else None])[:32]

    def _write(self) -> None:
        if not self._changed:
            return
        began_s = time.monotonic()
        some = [each for name in sorted(self.entries, key=natural) for each in self.entries[name]]
        write_masks(self.path, some, {**self._about, ANSWERS: dict(sorted(self._answers.items()))})
        now_s = time.monotonic()
        self._changed, self._due_s = False, now_s + _SPARED * (now_s - began_s)


def model_hash(segmenter: Segmenter) -> str:
    """sha256 of all that a segmenter's answers depend on.  Cost: its weights are read."""
    parts = [segmenter.encoder.fingerprint, segmenter.head.spec, segmenter.height, segmenter.width, segmenter.threshold]
    return hash_of([VERSION, *parts, segmenter.tuned, segmenter.standardised, dict(segmenter.arrays)])
