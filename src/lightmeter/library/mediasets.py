"""WebDataset and imagefolder: media with what is known of them, each file checked against its item's hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.assets.files import file_sha256
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library import records
from lightmeter.library.exchange import Exchanged, Tally
from lightmeter.library.filters import Where
from lightmeter.library.records import Record
from lightmeter.library.shards import make_folder, sync_folder
from lightmeter.library.store import Library
from lightmeter.library.unpack import Content, is_plain_name, members

SHARD_BYTES = 512 << 20
SCHEMA = "lightmeter.item/1"
CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20  # of metadata.jsonl; a longer one is read as several, none of which parses


def write_webdataset(library: Library, folder: Path, where: Where | None) -> Exchanged:
    """Tars of about 512 MiB; a sample is `ID.ext`, the content, and `ID.json`, the item with all its paths."""
    tally = Tally()
    shard: tarfile.TarFile | None = None
    written = number = 0
    try:
        for about in _samples(library, where):
            source = _source(about, tally)
            if source is None:
                continue
            if shard is None or written >= SHARD_BYTES:
                if shard:
                    shard.close()
                shard = tarfile.open(folder / f"shard-{number:06d}.tar", "x", format=tarfile.PAX_FORMAT)  # noqa: SIM115
                written, number = 0, number + 1
            written += _add_sample(shard, source, about)
            tally.items += 1
            tally.paths += len(about["paths"])
    finally:
        if shard:
            shard.close()
    return tally.done()


def _samples(library: Library, where: Where | None) -> Iterator[dict[str, Any]]:
    """Each item once, with its paths in a list."""
    own = ("path", "path_bytes", "mtime_ns", "missing", "words", "tags")
    for rows in records.records(library.catalogue, where):
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            item = {name: value for name, value in row.items() if name not in own}
            about = found.setdefault(row["id"], {"schema": SCHEMA, **item, "paths": []})
            if row["path"] is not None:
                raw = None if row["path_bytes"] is None else row["path_bytes"].hex()
                about["paths"].append({**{name: row[name] for name in own}, "path_bytes": raw})
        yield from found.values()


def _source(about: dict[str, Any], tally: Tally) -> Path | None:
    """Where the content of an item stands unchanged; says so in the tally when nowhere."""
    for path in about["paths"]:
        place = Path(os.fsdecode(bytes.fromhex(path["path_bytes"]) if path["path_bytes"] else path["path"].encode()))
        try:
            if stat.S_ISREG(place.stat().st_mode) and file_sha256(place) == about["id"]:
                return place
        except OSError:
            continue  # another path may hold it
    tally.skipped.append(f"{about['id']}: none of its {len(about['paths'])} paths holds its content now")
    return None


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and suffix != ".json" and len(suffix) <= 8 else ".bin"


def _add_sample(shard: tarfile.TarFile, source: Path, about: dict[str, Any]) -> int:
    text = json.dumps(about, ensure_ascii=True).encode()
    for name, size, content in (
        (f"{about['id']}{_suffix(source)}", about["size_bytes"], source.open("rb")),
        (f"{about['id']}.json", len(text), io.BytesIO(text)),
    ):
        info = tarfile.TarInfo(name)
        info.size = size
        with content:
            shard.addfile(info, content)  # raises where the file has become shorter since it was hashed
    return int(about["size_bytes"]) + len(text)


def read_webdataset(library: Library, folder: Path, into: Path) -> Exchanged:
    """Unpack the media of our own WebDataset exports into a folder and bring their items in from there.

    A content whose hash is not what its JSON says is not kept. Samples of other makers carry no item: unpack them with
    a tool of your choice and index the folder.
    """
    shards = sorted(folder.glob("*.tar")) + sorted(folder.glob("*.tar.gz"))
    if not shards:
        raise InvalidValueError(f"source must be a folder of .tar files, got {folder}")
    make_folder(into)
    tally = Tally()
    for shard in shards:
        waiting: _Unpacked | None = None
        for name, size, content in members(shard):
            key, suffix = os.path.splitext(name)  # noqa: PTH122 (a member's name, no path)
            if suffix != ".json":
                _drop(waiting, tally)
                waiting = _unpack(content, into, name)
                continue
            text = content.read(size)
            if waiting is None or waiting.path.stem != key:
                tally.skipped.append(f"{name} of {shard.name}: no content stands before it")
                continue
            _bring_in(library, text, waiting, tally)
            waiting = None
        _drop(waiting, tally)
    sync_folder(into)
    return tally.done()


@dataclass(frozen=True, slots=True)
class _Unpacked:
    path: Path
    digest: str
    fresh: bool  # it was not there before


def _drop(found: _Unpacked | None, tally: Tally, why: str = "no JSON stands behind it") -> None:
    """Take back what was unpacked and belongs to no item."""
    if found:
        tally.skipped.append(f"{found.path.name}: {why}")
        if found.fresh:
            found.path.unlink()


def _unpack(content: Content, into: Path, name: str) -> _Unpacked:
    """Copy one member under its own name."""
    target = into / name
    temporary = into / f".{secrets.token_hex(8)}.tmp"
    digest = hashlib.sha256()
    try:
        with temporary.open("xb") as file:
            while part := content.read(CHUNK_BYTES):
                digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        fresh = not os.path.lexists(target)
        if not fresh and (target.is_symlink() or not target.is_file() or file_sha256(target) != digest.hexdigest()):
            how = "unpack into another folder"
            raise RejectedFileError("target-exists", f"{target} is there with another content: {how}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return _Unpacked(target, digest.hexdigest(), fresh)


def _bring_in(library: Library, text: bytes, found: _Unpacked, tally: Tally) -> None:
    try:
        new = _put(library, records.from_json(text), found.path, found.digest)
    except InvalidValueError as error:
        _drop(found, tally, str(error))
        return
    tally.items += new
    tally.paths += new


def _put(library: Library, about: Record, path: Path, digest: str) -> bool:
    """Bring in what a stranger says about a file, if it is the file's. Returns whether it was new."""
    if about.get("schema") != SCHEMA:
        raise InvalidValueError(f"schema must be {SCHEMA}, got {str(about.get('schema'))[:60]!r}")
    if records.parsed_id(about) != digest:
        raise InvalidValueError("its content is not the one its JSON names")
    merged = _merged(about, path)
    with library.transaction():
        return records.put(library.catalogue, merged)


def _merged(about: Record, path: Path) -> Record:
    """One record at the unpacked path, with the words and labels of all paths it had."""
    words: dict[Any, Any] = {}
    tags: dict[str, Any] = {}
    for each in records.list_of(about, "paths"):
        for word in records.parsed_words(each.get("words")):
            words.setdefault((word["source"], word["title"], *word["keywords"]), word)
        for tag in records.parsed_tags(each.get("tags")):
            tags.setdefault(tag["tag"], tag)
    text, raw = records.text_of(os.fsencode(path.absolute()))
    place = {"path": text, "path_bytes": raw, "mtime_ns": path.stat().st_mtime_ns, "missing": False}
    return {**about, **place, "words": list(words.values()), "tags": list(tags.values())}


# -- imagefolder ----------------------------------------------------------------------------------------------------


def write_imagefolder(library: Library, folder: Path, where: Where | None, *, link: bool) -> Exchanged:
    """`metadata.jsonl` beside `media/`: a line a content, with file_name, title, keywords, tags and the whole item."""
    tally = Tally()
    media = folder / "media"
    media.mkdir()
    with (folder / "metadata.jsonl").open("x", encoding="utf-8") as lines:
        for about in _samples(library, where):
            source = _source(about, tally)
            if source is None:
                continue
            target = media / f"{about['id']}{_suffix(source)}"
            if link:
                os.link(source, target, follow_symlinks=True)
            else:
                shutil.copyfile(source, target)
            lines.write(json.dumps(_line(about, f"media/{target.name}")) + "\n")
            tally.items += 1
            tally.paths += len(about["paths"])
    return tally.done()


def _line(about: dict[str, Any], name: str) -> dict[str, Any]:
    words = [word for path in about["paths"] for word in path["words"]]
    titles = [word["title"] for word in words if word["title"]]
    return {
        "file_name": name,
        "title": titles[0] if titles else "",
        "keywords": sorted({keyword for word in words for keyword in word["keywords"]}),
        "tags": sorted({tag["tag"] for path in about["paths"] for tag in path["tags"]}),
        **about,
    }


def read_imagefolder(library: Library, folder: Path) -> Exchanged:
    """Bring in the items of our own imagefolder export, at their new places; each file must have its item's hash.

    For a folder of other makers index it: its metadata are read as words.
    """
    listing = folder / "metadata.jsonl"
    if not listing.is_file():
        raise InvalidValueError(f"source must be a folder with metadata.jsonl, got {folder}")
    tally = Tally()
    with listing.open("rb") as lines:
        for number, text in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES), b""), 1):
            try:
                about = records.from_json(text)
                path = _inside(folder, about)
                new = _put(library, about, path, _digest(path))
            except InvalidValueError as error:
                tally.skipped.append(f"line {number} of {listing.name}: {error}")
                continue
            tally.items += new
            tally.paths += new
    return tally.done()


def _inside(folder: Path, about: Record) -> Path:
    """The file a line names: a plain file below `media/`, no link, nothing outside."""
    parent, _, name = str(about.get("file_name")).partition("/")
    path = folder / "media" / name
    if parent != "media" or not is_plain_name(name) or path.is_symlink() or not path.is_file():
        got = str(about.get("file_name"))[:300]
        raise InvalidValueError(f"file_name must be media/NAME of a plain file, got {got!r}")
    return path


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InvalidValueError(f"{path.name} must be a file that reads, got {error}") from error
