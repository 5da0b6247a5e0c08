"""Captions that lie beside the pictures already: metadata.jsonl or metadata.csv, or a text file for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmeter.assets.files import file_sha256
from lightmeter.encoders.by_path import settle
from lightmeter.encoders.captioning.metadata import is_inside, one_line, text_of
from lightmeter.encoders.captioning.protocol import check_batch
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.door import read_bytes
from lightmeter.media.limits import DEFAULT_LIMITS
from lightmeter.media.word_tables import TABLES, row_of
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class Sidecar(Spelled):
    """Reads the caption of `class/file.png` from a folder; "" where there is none.

    Looked for in this order: metadata.csv or metadata.jsonl in the picture's folder, then in those above it up to
    `folder` (`file_name` relative to the table, as imagefolder data sets have it); then `class/file.txt`, then
    `class/file.png.txt`. Pictures are not looked at. White space becomes single spaces.
    Cost: each table is read once, then a row of it a picture. Memory: 16 bytes a row.

    folder: what names are relative to · column: of the tables; '' for the first of text, caption, description, prompt,
    title
    """

    folder: Path
    column: str = ""

    def __post_init__(self) -> None:
        settle(self, "folder")

    @property
    def fingerprint(self) -> str:
        """The options but for the place, and what the tables and text files hold.  Cost: reads all of them."""
        self.load()  # which says what is missing
        digest = hashlib.sha256(self.column.encode())
        for path in sorted(self._files()):
            digest.update(f"{path.relative_to(self.folder)} {file_sha256(path)}\n".encode("utf-8", "surrogateescape"))
        return f"sidecar 1 {digest.hexdigest()}"

    @property
    def short_side(self) -> int:
        """It looks at no picture."""
        return 0

    @property
    def size_bytes(self) -> int:
        """No weights."""
        return 0

    def load(self) -> None:
        """Raises MissingAssetError where the folder is missing or holds neither tables nor text files."""
        if not self.folder.is_dir():
            raise MissingAssetError(f"no folder at {self.folder}: name the one that holds captions beside pictures")
        if next(self._files(), None) is None:
            raise MissingAssetError(
                f"{self.folder} must hold {' or '.join(TABLES)}, or a .txt beside each picture, got none of them"
            )

    def caption(self, images: Sequence[Array] | None, class_names: Sequence[str], names: Sequence[str]) -> list[str]:
        """What is written about each name; `images` may be None."""
        check_batch(images, class_names, names)
        return [self._text(name) for name in names]

    def _files(self) -> Iterator[Path]:
        """Tables and text files below the folder."""
        for path in self.folder.rglob("*"):
            if (path.suffix.lower() == ".txt" or path.name in TABLES) and path.is_file():
                yield path

    def _text(self, name: str) -> str:
        if not is_inside(name):
            raise InvalidValueError(f"names must be paths below the folder, as class/file.png, got {name!r:.200}")
        return self._from_tables(self.folder / name) or self._beside(self.folder / name)

    def _from_tables(self, path: Path) -> str:
        for above in path.parents:
            for table in TABLES:
                record, _ = row_of(above / table, path.relative_to(above).as_posix(), DEFAULT_LIMITS.table_bytes)
                if record is not None and (text := text_of(record, self.column.lower())):
                    return text
            if above == self.folder:
                break
        return ""

    @staticmethod
    def _beside(path: Path) -> str:
        for beside in (path.with_suffix(".txt"), path.with_name(path.name + ".txt")):
            try:
                return one_line(
                    read_bytes(beside, DEFAULT_LIMITS.words_bytes, follow=False).decode("utf-8-sig", "replace")
                )
            except RejectedFileError as error:
                if error.code not in ("missing", "not-a-file"):
                    raise
        return ""
