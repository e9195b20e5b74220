"""Keep the database in a PostgreSQL, by psycopg (the extra `postgres`): where several machines may share it.

Each process has two connections. One that is lost before a commit is made again and the work with it; one that is lost
in a commit tells that the outcome is not known. Passwords appear in no message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from proa.ml.database.engine import Again, Row
from proa.ml.database.errors import CannotOpen, Invalid, Unavailable
from proa.ml.database.schema import Schema, migrate

if TYPE_CHECKING:
    import psycopg

_TYPES = {"TEXT": 'TEXT COLLATE "C"', "REAL": "DOUBLE PRECISION", "INTEGER": "BIGINT"}
_DEFAULTS = {
    "application_name": "proa",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "tcp_user_timeout": "30000",  # milliseconds without an answer of the other side's kernel
}
_SCHEMA_LOCK = 0x70726F61
"""Held while tables are made or changed: "proa"."""
_AGAIN = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same may succeed at the next try."""
_NOT_NOW = ("08", "25006", "53", "57P", "58")
"""Classes of states of a server that does not write now: connection, standby, resources, shutdown, system."""


class PostgresConnection:
    """See `engine.Connection`. Made and used in one thread."""

    for_update = " FOR UPDATE"

    def __init__(self, url: str) -> None:
        """Remember where; `begin` connects. Raises CannotOpen for an URL that is none, or without psycopg."""
        self._connect, self.place, self._secrets = _make_connect(url)
        self._connection: psycopg.Connection[Row] | None = None
        self._is_write = False

    def begin(self, *, is_write: bool) -> None:
        """See `Connection.begin`."""
        self._is_write = is_write
        if self._connection is None:
            self._open()
        self._execute("BEGIN" if is_write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See `Transaction.rows`."""
        return self._execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Transaction.run`."""
        return self._execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """See `Transaction.run_many`."""
        import psycopg

        assert self._connection is not None
        try:
            self._connection.cursor().executemany(_translate(sql), list(parameters))
        except psycopg.Error as error:
            self._refuse(error)

    def commit(self) -> None:
        """See `Connection.commit`."""
        try:
            self._execute("COMMIT")
        except Again as error:
            if not self._is_write or self._connection is not None:
                raise
            raise Unavailable(
                f"{self.place}: the connection was lost while a write was made durable; it may or may not have been: "
                f"{error}"
            ) from None

    def rollback(self) -> None:
        """See `Connection.rollback`."""
        import psycopg

        if self._connection is not None:
            try:
                self._connection.rollback()
            except psycopg.Error:
                self.close()

    def close(self) -> None:
        """See `Connection.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> None:
        import psycopg

        try:
            self._connection = self._connect()
            self._connection.execute("SET synchronous_commit = on")
        except psycopg.Error as error:
            self.close()
            raise Unavailable(f"{self.place} does not answer: {self._text(error)}") from None

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
        import psycopg

        assert self._connection is not None
        try:
            return self._connection.execute(_translate(sql), parameters)
        except UnicodeEncodeError as error:
            raise Invalid(f"a value that the database cannot hold: {error}") from None
        except psycopg.Error as error:
            self._refuse(error)

    def _refuse(self, error: psycopg.Error) -> NoReturn:
        import psycopg

        assert self._connection is not None
        state = error.sqlstate or ""
        if isinstance(error, psycopg.DataError):
            raise Invalid(f"a value that the database cannot hold: {self._text(error)}") from None
        if self._connection.closed:
            self.close()
            raise Again(self._text(error)) from None
        if state in _AGAIN:
            raise Again(self._text(error)) from None
        if state.startswith(_NOT_NOW):
            raise Unavailable(f"{self.place}: {self._text(error)}") from None
        raise error

    def _text(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def prepare_server(url: str, schema: Schema) -> None:
    """Bring the tables to this version; raise CannotOpen, Unavailable. Two processes do it one after the other."""
    connection = PostgresConnection(url)
    try:
        connection.begin(is_write=True)
        connection.run("SELECT pg_advisory_xact_lock(?)", (_SCHEMA_LOCK,))
        migrate(connection, _TYPES, schema)
        connection.commit()
    except Again as error:
        raise Unavailable(f"{connection.place}: {error}") from None
    finally:
        connection.rollback()
        connection.close()


def _make_connect(url: str) -> tuple[Callable[[], psycopg.Connection[Row]], str, list[str]]:
    """Return what connects, where to in words, and what no message may have."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError as error:
        raise CannotOpen(
            f"a database in PostgreSQL needs psycopg: pip install 'proa[postgres]' ({error})"
        ) from None
    try:
        settings = conninfo_to_dict(url)
    except psycopg.Error:
        raise CannotOpen(
            "the database's URL is none that PostgreSQL understands, such as postgresql://user:password@host:5432/name "
            "(it is not shown here: it may have a password)"
        ) from None
    conninfo = make_conninfo("", **{**_DEFAULTS, **settings})
    host = settings.get("host") or settings.get("hostaddr") or "the local socket"
    place = f"PostgreSQL at {host}{_after(':', settings.get('port'))}{_after('/', settings.get('dbname'))}"
    password = str(settings.get("password") or "")
    secrets = [url, password, quote(password, safe="")] if password else [url]

    def connect() -> psycopg.Connection[Row]:
        return psycopg.connect(conninfo, autocommit=True)

    return connect, place, secrets


def _after(separator: str, value: Any) -> str:
    return f"{separator}{value}" if value else ""


@lru_cache(maxsize=1024)
def _translate(sql: str) -> Any:
    """Return SQL with psycopg's places for parameters; ours has no `%` and no `?` of its own."""
    return sql.replace("?", "%s")
