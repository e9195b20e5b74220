"""Keep the database in one file of this machine: SQLite in WAL mode, each commit on disk before it is told.

The file is its owner's alone (0600). After a sync that failed nothing more is written until the next start: whether
what the kernel still held reached the disk cannot be known (the same rule as the store's).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proa.ml.database.engine import Row
from proa.ml.database.errors import CannotOpen, Invalid, Unavailable
from proa.ml.database.schema import Schema, migrate

BUSY_SECONDS = 30
"""How long a transaction waits for another process's (a backup, a second server that is about to end)."""
_SETTINGS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-4000",  # KiB
    "temp_store=MEMORY",
    "journal_size_limit=16777216",
)
_SYNC_FAILURES = frozenset({"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})
_TYPES = {"TEXT": "TEXT", "REAL": "REAL", "INTEGER": "INTEGER"}


class SqliteConnection:
    """See `engine.Connection`. Made and used in one thread."""

    for_update = ""
    """A writing transaction has the whole file for itself."""

    def __init__(self, path: Path) -> None:
        """Remember where; `begin` opens it."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._refusal = ""

    def begin(self, *, is_write: bool) -> None:
        """See `Connection.begin`."""
        if self._refusal:
            raise Unavailable(self._refusal)
        if self._connection is None:
            self._connection = open_file(self._path)
        self._execute("BEGIN IMMEDIATE" if is_write else "BEGIN")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See `Transaction.rows`."""
        return self._execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Transaction.run`."""
        return self._execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """See `Transaction.run_many`."""
        for one in parameters:
            self._execute(sql, one)

    def commit(self) -> None:
        """See `Connection.commit`."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """See `Connection.rollback`."""
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.rollback()
            except sqlite3.Error:
                self.close()

    def close(self) -> None:
        """See `Connection.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        assert self._connection is not None
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            raise self._explain(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise Invalid(f"a value that the database cannot hold: {error}") from None

    def _explain(self, error: sqlite3.Error) -> Exception:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            return Unavailable(f"{self._path}: the disk is full; nothing was written")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(f"{self._path}: another process holds it for more than {BUSY_SECONDS} s")
        if name in _SYNC_FAILURES:
            self._refusal = f"{self._path}: {error} ({name}); nothing is written until the next start"
            return Unavailable(self._refusal)
        if name.startswith("SQLITE_IOERR"):
            return Unavailable(f"{self._path}: {error} ({name}); nothing was written")
        return error


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, made if there is none; raise CannotOpen."""
    try:
        if not path.exists():
            make_file(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise CannotOpen(f"{path}: {error}") from error
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        connection.close()
        raise CannotOpen(f"{path}: {error}") from error
    return connection


def make_file(path: Path) -> None:
    """Make an empty file for its owner alone, unless another does meanwhile.

    Nothing but SQLite may open the file itself: closing a descriptor of a file ends all locks that the process has on
    it, and another process would then take itself for the last and remove the journal that is written to here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    os.close(descriptor)
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)


def prepare_file(path: Path, schema: Schema) -> None:
    """Check the file and bring its tables to this version; raise CannotOpen."""
    connection = SqliteConnection(path)
    try:
        connection.begin(is_write=True)
        found = connection.rows("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise CannotOpen(
                f"{path} is damaged: {found}; put a backup in its place, or move it away to begin with an empty one"
            )
        migrate(connection, _TYPES, schema)
        connection.commit()
    except sqlite3.Error as error:
        raise CannotOpen(f"{path}: {error}") from error
    finally:
        connection.rollback()
        connection.close()
