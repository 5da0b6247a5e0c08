"""The tables of a library, their version, and the steps that bring an older library up to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

APPLICATION_ID = 0x4C4D4C42  # "LMLB": how a library is told from any other SQLite file
VERSION = 1

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE items (
  key INTEGER PRIMARY KEY AUTOINCREMENT,            -- never used twice: feature shards name their owners by it
  id TEXT NOT NULL UNIQUE,                          -- sha256 of the content, hex
  kind TEXT NOT NULL, size_bytes INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
  duration_s REAL, width INTEGER, height INTEGER,
  taken_at TEXT,                                    -- ISO 8601, from the file itself
  added_at REAL NOT NULL,                           -- seconds since 1970
  removed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX items_removed ON items (key) WHERE removed = 1;

CREATE TABLE paths (
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  path BLOB NOT NULL UNIQUE,                        -- the bytes that the file system knows
  text TEXT NOT NULL,                               -- the same for people and patterns, bad bytes as U+FFFD
  item INTEGER NOT NULL REFERENCES items (key) ON DELETE CASCADE,
  size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  last_seen REAL NOT NULL, missing INTEGER NOT NULL DEFAULT 0);
CREATE INDEX paths_item ON paths (item);

CREATE TABLE words (
  path INTEGER NOT NULL REFERENCES paths (key) ON DELETE CASCADE,
  place INTEGER NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL, keywords TEXT NOT NULL,
  folded TEXT NOT NULL,                             -- ' every word in lower case ', for whole-word filters
  PRIMARY KEY (path, place)) WITHOUT ROWID;

CREATE TABLE tags (
  path INTEGER NOT NULL REFERENCES paths (key) ON DELETE CASCADE,
  tag TEXT NOT NULL, score REAL,                    -- NULL: set by hand
  source TEXT NOT NULL,
  PRIMARY KEY (path, tag)) WITHOUT ROWID;
CREATE INDEX tags_tag ON tags (tag, path);

CREATE TABLE series (
  id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL,
  owner TEXT NOT NULL CHECK (owner IN ('item', 'path')), dim INTEGER NOT NULL,
  UNIQUE (spec, owner));

CREATE TABLE shards (
  id INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL REFERENCES series (id),
  name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
  digest TEXT NOT NULL);                            -- sha256 of the header, which holds the checksums of the columns
CREATE INDEX shards_series ON shards (series);

CREATE TABLE features (
  series INTEGER NOT NULL REFERENCES series (id), owner INTEGER NOT NULL,
  shard INTEGER,                                    -- NULL: encoded, and there was nothing (a film without sound)
  first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (series, owner)) WITHOUT ROWID;

CREATE TABLE dead (
  shard INTEGER NOT NULL REFERENCES shards (id) ON DELETE CASCADE,
  owner INTEGER NOT NULL,
  PRIMARY KEY (shard, owner)) WITHOUT ROWID;        -- rows that stand in a shard and no longer count

CREATE TABLE errors (
  path BLOB NOT NULL, stage TEXT NOT NULL, item INTEGER REFERENCES items (key) ON DELETE SET NULL,
  code TEXT NOT NULL, detail TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (path, stage)) WITHOUT ROWID;

CREATE TABLE calibrations (
  series INTEGER NOT NULL REFERENCES series (id), name TEXT NOT NULL,
  value TEXT NOT NULL,                              -- JSON
  version TEXT NOT NULL,                            -- what it was measured on: stale when the library has moved on
  at REAL NOT NULL,
  PRIMARY KEY (series, name)) WITHOUT ROWID;

CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, arguments TEXT NOT NULL,
  started_at REAL NOT NULL, ended_at REAL, summary TEXT);
"""

Step = Callable[[sqlite3.Connection], None]
STEPS: dict[int, Step] = {}
"""Version → the step that turns it into the next one; each runs inside the one transaction of the migration."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new library, all or nothing."""
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE;{TABLES}{marks}COMMIT;")
