"""Recurring runs, and which of them are due: what recurring/ asks of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import AlreadyExists, NotFound
from proa.ml.pipelines.database.encoding import (
    MAX_DESCRIPTION,
    check_text,
    decode,
    drop_document,
    encode,
    encode_document,
    find_documents,
    keep_document,
    marks,
)
from proa.ml.pipelines.database.paging import RECURRING_RUNS, ListOptions, Page, read_page, read_rows
from proa.ml.pipelines.records import RecurringRun

_IN_COLUMNS = (
    "id",
    "namespace",
    "experiment_id",
    "display_name",
    "description",
    "created_at",
    "updated_at",
    "is_enabled",
    "due_at",
    "pipeline_id",
)
_IN_DOCUMENT = ("pipeline_spec", "platform_spec")
_IN_BODY = tuple(
    [field.name for field in fields(RecurringRun) if field.name not in (*_IN_COLUMNS, *_IN_DOCUMENT)]
)
NOTED = ("last_scheduled_at", "last_index", "due_at", "error")
"""What the loop of recurring runs says of one; the rest is the API's."""
_SELECT = f"SELECT {', '.join(_IN_COLUMNS)}, document, body FROM recurring_runs"


class RecurringRuns:
    """The recurring runs of all namespaces; they come with their documents, but for lists."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, recurring: RecurringRun) -> None:
        """Store a new one; raise AlreadyExists, Invalid."""
        document = encode_document(recurring.pipeline_spec, recurring.platform_spec)
        check_text("RecurringRun.DisplayName", recurring.display_name)
        check_text("RecurringRun.Description", recurring.description, MAX_DESCRIPTION)

        def write(transaction: Transaction) -> None:
            columns = ", ".join(_IN_COLUMNS)
            added = transaction.run(
                f"""INSERT INTO recurring_runs ({columns}, document, body) VALUES ({marks(_IN_COLUMNS)}, ?, ?)
                    ON CONFLICT DO NOTHING""",
                (*_columns_of(recurring), keep_document(transaction, document), _encode_body(recurring)),
            )
            if not added:
                raise AlreadyExists(f"Failed to create a recurring run. The id {recurring.id} already exists")

        await self._engine.write(write)

    async def get(self, id: str) -> RecurringRun:
        """Return it; raise NotFound."""
        found = await self.find_recurring_run(id)
        if found is None:
            raise NotFound("RecurringRun", id)
        return found

    async def page(
        self,
        options: ListOptions | None = None,
        *,
        namespace: str = "",
        experiment_id: str = "",
        with_spec: bool = False,
    ) -> Page[RecurringRun]:
        """Return a page of those that match what is not ""; raise Invalid for options that cannot be."""
        scope = {"namespace": namespace, "experiment_id": experiment_id}

        def read(transaction: Transaction) -> Page[RecurringRun]:
            page = read_page(transaction, RECURRING_RUNS, options or ListOptions(), scope)
            rows = read_rows(transaction, _SELECT, page.items)
            return Page(_decode(transaction, rows, with_spec=with_spec), page.next_token, page.total)

        return await self._engine.read(read)

    async def update(self, id: str, **changes: Any) -> RecurringRun:
        """Change fields of it and return it; raise NotFound."""
        unknown = set(changes) - {*_IN_COLUMNS, *_IN_BODY} | {"id"} & set(changes)
        if unknown:
            raise TypeError(f"{min(unknown)} of a recurring run never changes")
        changed = await self._engine.write(lambda transaction: _change(transaction, id, changes))
        if changed is None:
            raise NotFound("RecurringRun", id)
        return changed

    async def delete(self, id: str) -> None:
        """Remove it; its runs stay. Raises NotFound."""

        def write(transaction: Transaction) -> None:
            rows = transaction.rows("SELECT document FROM recurring_runs WHERE id = ?", (id,))
            if not rows:
                raise NotFound("RecurringRun", id)
            transaction.run("DELETE FROM recurring_runs WHERE id = ?", (id,))
            drop_document(transaction, rows[0][0])

        await self._engine.write(write)

    async def find_recurring_run(self, recurring_run_id: str) -> RecurringRun | None:
        """Return one, None where it is gone."""
        sql = f"{_SELECT} WHERE id = ?"
        found = await self._engine.read(
            lambda transaction: _decode(transaction, transaction.rows(sql, (recurring_run_id,)))
        )
        return found[0] if found else None

    async def enabled_recurring_runs(self) -> AsyncIterator[RecurringRun]:
        """Yield all that are enabled, by id."""
        sql = f"{_SELECT} WHERE is_enabled = 1 AND id > ? ORDER BY id LIMIT 100"

        def read(after: str, transaction: Transaction) -> list[RecurringRun]:
            return _decode(transaction, transaction.rows(sql, (after,)))

        last = ""
        while True:
            found = await self._engine.read(partial(read, last))
            for one in found:
                yield one
                last = one.id
            if not found:
                return

    async def due_recurring_runs(self, now: float, limit: int) -> Sequence[RecurringRun]:
        """Return those that are enabled and whose due_at is not later than `now`, the earliest first."""
        sql = f"{_SELECT} WHERE due_at <= ? AND is_enabled = 1 ORDER BY due_at, id LIMIT {limit:d}"
        return await self._engine.read(
            lambda transaction: _decode(transaction, transaction.rows(sql, (now,)))
        )

    async def next_due_at(self) -> float | None:
        """Return the earliest due_at of those that are enabled, None where none has one."""
        sql = """SELECT due_at FROM recurring_runs WHERE due_at IS NOT NULL AND is_enabled = 1
                 ORDER BY due_at LIMIT 1"""
        rows = await self._engine.read(lambda transaction: transaction.rows(sql))
        return rows[0][0] if rows else None

    async def count_active_runs(self, recurring_run_id: str) -> int:
        """Return how many of its runs are in no final state."""
        sql = (
            "SELECT count(*) FROM runs WHERE recurring_run_id = ? AND recurring_run_id <> '' AND is_final = 0"
        )
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (recurring_run_id,)))
        return int(rows[0][0])

    async def note_recurring_run(self, recurring: RecurringRun) -> None:
        """Store what NOTED names, nothing else; nothing where it is gone."""
        changes = {name: getattr(recurring, name) for name in NOTED}
        await self._engine.write(lambda transaction: _change(transaction, recurring.id, changes))


def _change(transaction: Transaction, id: str, changes: Mapping[str, Any]) -> RecurringRun | None:
    rows = transaction.rows(f"{_SELECT} WHERE id = ?{transaction.for_update}", (id,))
    if not rows:
        return None
    recurring = replace(_decode(transaction, rows)[0], **changes)
    check_text("RecurringRun.DisplayName", recurring.display_name)
    sets = ", ".join([f"{column} = ?" for column in _IN_COLUMNS[1:]])
    transaction.run(
        f"UPDATE recurring_runs SET {sets}, body = ? WHERE id = ?",
        (*_columns_of(recurring)[1:], _encode_body(recurring), id),
    )
    return recurring


def _columns_of(recurring: RecurringRun) -> list[Any]:
    values = [getattr(recurring, name) for name in _IN_COLUMNS]
    values[_IN_COLUMNS.index("is_enabled")] = int(recurring.is_enabled)
    return values


def _encode_body(recurring: RecurringRun) -> str:
    return encode({name: getattr(recurring, name) for name in _IN_BODY})


def _decode(transaction: Transaction, rows: Sequence[Row], *, with_spec: bool = True) -> list[RecurringRun]:
    documents = find_documents(transaction, [row[-2] for row in rows]) if with_spec else {}
    found = []
    for row in rows:
        columns: dict[str, Any] = dict(zip(_IN_COLUMNS, row, strict=False))
        columns["is_enabled"] = bool(columns["is_enabled"])
        pipeline, platform = documents.get(row[-2], ({}, {}))
        found.append(
            RecurringRun(**columns, **decode(row[-1]), pipeline_spec=pipeline, platform_spec=platform)
        )
    return found
