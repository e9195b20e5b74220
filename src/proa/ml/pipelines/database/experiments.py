"""Experiments: folders of runs."""

from __future__ import annotations

import time

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import AlreadyExists, NotFound
from proa.ml.pipelines.database.encoding import MAX_DESCRIPTION, MAX_NAMESPACE, check_text
from proa.ml.pipelines.database.paging import EXPERIMENTS, ListOptions, Page, read_page, read_rows
from proa.ml.pipelines.records import Experiment

MAX_EXPERIMENT_NAME = 128
_COLUMNS = "id, name, namespace, created_at, description, storage_state, last_run_created_at"


class Experiments:
    """The experiments of all namespaces."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, experiment: Experiment) -> None:
        """Store a new one; raise AlreadyExists (its name is taken in its namespace), Invalid."""
        check_text("Experiment.Name", experiment.name, MAX_EXPERIMENT_NAME)
        check_text("Experiment.Description", experiment.description, MAX_DESCRIPTION)
        check_text("Experiment.Namespace", experiment.namespace, MAX_NAMESPACE)
        values = _values_of(experiment)
        added = await self._engine.write(
            lambda transaction: transaction.run(
                f"INSERT INTO experiments ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            )
        )
        if not added:
            raise AlreadyExists(
                f"Failed to create a new experiment. The name {experiment.name} already exists. Please specify a new "
                "name"
            )

    async def get(self, id: str) -> Experiment:
        """Return it; raise NotFound."""
        sql = f"SELECT {_COLUMNS} FROM experiments WHERE id = ?"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (id,)))
        if not rows:
            raise NotFound("Experiment", id)
        return Experiment(*rows[0])

    async def find_by_name(self, namespace: str, name: str) -> Experiment | None:
        """Return it, if there is one."""
        sql = f"SELECT {_COLUMNS} FROM experiments WHERE namespace = ? AND name = ?"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (namespace, name)))
        return Experiment(*rows[0]) if rows else None

    async def page(self, options: ListOptions | None = None, *, namespace: str = "") -> Page[Experiment]:
        """Return a page of a namespace's, or of all; raise Invalid for options that cannot be."""

        def read(transaction: Transaction) -> Page[Experiment]:
            page = read_page(transaction, EXPERIMENTS, options or ListOptions(), {"namespace": namespace})
            rows = read_rows(transaction, f"SELECT {_COLUMNS} FROM experiments", page.items)
            return Page([Experiment(*row) for row in rows], page.next_token, page.total)

        return await self._engine.read(read)

    async def archive(self, id: str, *, now: float | None = None) -> None:
        """Put it and its runs away, and disable its recurring runs; raise NotFound."""
        when = time.time() if now is None else now

        def write(transaction: Transaction) -> None:
            _set_storage_state(transaction, id, "ARCHIVED")
            transaction.run("UPDATE runs SET storage_state = 'ARCHIVED' WHERE experiment_id = ?", (id,))
            transaction.run(
                """UPDATE recurring_runs SET is_enabled = 0, due_at = NULL, updated_at = ?
                   WHERE experiment_id = ? AND is_enabled = 1""",
                (when, id),
            )

        await self._engine.write(write)

    async def unarchive(self, id: str) -> None:
        """Take it back; its runs stay archived, its recurring runs disabled. Raises NotFound."""
        await self._engine.write(lambda transaction: _set_storage_state(transaction, id, "AVAILABLE"))

    async def delete(self, id: str) -> None:
        """Remove it; its runs stay. Raises NotFound."""
        sql = "DELETE FROM experiments WHERE id = ?"
        if not await self._engine.write(lambda transaction: transaction.run(sql, (id,))):
            raise NotFound("Experiment", id)


def _set_storage_state(transaction: Transaction, id: str, state: str) -> None:
    if not transaction.run("UPDATE experiments SET storage_state = ? WHERE id = ?", (state, id)):
        raise NotFound("Experiment", id)


def _values_of(experiment: Experiment) -> Row:
    return tuple([getattr(experiment, name) for name in _COLUMNS.split(", ")])
