"""The SQLite database of the queue: its tables, and transactions that are on the disk when they end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medley.errors import MedleyError

_VERSION = 1

_SCHEMA = """
CREATE TABLE series (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT NOT NULL, uid TEXT NOT NULL, sender TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    expected INTEGER,           -- objects, if known
    arrived REAL NOT NULL,      -- when its last object arrived, seconds since 1970
    released REAL,              -- when the last association that sent objects of it ended; NULL: not yet
    changed REAL NOT NULL       -- when it came into its state
);
CREATE INDEX series_by_uid ON series (uid);
CREATE INDEX series_by_state ON series (state);
CREATE TABLE objects (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    instance TEXT NOT NULL, digest TEXT NOT NULL, file TEXT NOT NULL, images INTEGER NOT NULL,
    UNIQUE (series, instance)
);
CREATE TABLE results (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    archive TEXT NOT NULL, file TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',  -- waiting, sending, sent
    refusals INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0             -- not sent before this time
);
CREATE INDEX results_by_series ON results (series, state);
CREATE TABLE expected (uid TEXT PRIMARY KEY, count INTEGER NOT NULL, noted REAL NOT NULL);
"""


class QueueUnusable(MedleyError):
    """The database cannot be read or written, as on a full disk; nothing has changed."""


class Database:
    """A database in WAL mode, made if it does not exist. May be used by several threads and processes.

    Attributes
    ----------
    path: the file. connection: use it inside of `transaction` only.

    Raises
    ------
    QueueUnusable: of all methods.
    MedleyError: the file was written by another version of medley.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._errors():
            self.connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self.connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
            )
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise MedleyError(
                    f"{path}: was written by another version of medley; finish the work with that version, or choose "
                    "another folder"
                )
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk at the end, or nothing on any exception."""
        with self._lock, self._errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise QueueUnusable(f"{self.path}: the queue cannot be used: {error}") from error
