"""Open an area's database where its URL says: a file of this machine, or a PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proa.ml.database.engine import Engine
from proa.ml.database.schema import Schema


async def open_engine(url: str | Path, schema: Schema) -> Engine:
    """Open what is at a path (SQLite, made if need be) or `postgresql://` URL; raise CannotOpen, Unavailable."""
    if str(url).startswith(("postgresql://", "postgres://")):
        from proa.ml.database.postgres import PostgresConnection, prepare_server

        await asyncio.to_thread(prepare_server, str(url), schema)
        return Engine(lambda: PostgresConnection(str(url)))
    from proa.ml.database.sqlite import SqliteConnection, prepare_file

    path = Path(url)
    await asyncio.to_thread(prepare_file, path, schema)
    return Engine(lambda: SqliteConnection(path))
