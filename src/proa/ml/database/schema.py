"""Bring an area's tables to this version: each step takes them from one version to the next, once.

Statements name columns' types as TEXT, REAL and INTEGER; each engine has its own words for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proa.ml.database.engine import Transaction
from proa.ml.database.errors import CannotOpen


class Schema(NamedTuple):
    """An area's tables. Areas may share a database: names of tables, that of the version's too, are each area's own."""

    version_table: str
    steps: Sequence[Sequence[str]]


_TYPE = re.compile(r"\b(TEXT|REAL|INTEGER)\b")


def migrate(transaction: Transaction, types: Mapping[str, str], schema: Schema) -> None:
    """Bring the tables to the newest version, in the transaction that is open; `types` are the engine's words.

    Raises CannotOpen for a database of a version to come.
    """
    steps = schema.steps
    transaction.run(f"CREATE TABLE IF NOT EXISTS {schema.version_table} (version INTEGER NOT NULL)")
    found = transaction.rows(f"SELECT version FROM {schema.version_table}")
    version = found[0][0] if found else 0
    if version > len(steps):
        raise CannotOpen(
            f"the database has version {version} and this Proa knows up to {len(steps)}: use the newer Proa that "
            "wrote it"
        )
    for step in steps[version:]:
        for statement in step:
            transaction.run(_TYPE.sub(lambda match: types[match[1]], statement))
    if not found:
        transaction.run(f"INSERT INTO {schema.version_table} (version) VALUES (?)", (len(steps),))
    elif version < len(steps):
        transaction.run(f"UPDATE {schema.version_table} SET version = ?", (len(steps),))
