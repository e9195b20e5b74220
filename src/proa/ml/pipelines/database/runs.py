"""Runs: what was asked for and how far it is. A document is stored once, however many runs it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import AlreadyExists, Conflict, NotFound
from proa.ml.pipelines.database.artifacts import chunks
from proa.ml.pipelines.database.encoding import (
    MAX_DESCRIPTION,
    MAX_NAMESPACE,
    check_text,
    decode,
    drop_document,
    encode,
    encode_document,
    find_documents,
    keep_document,
    marks,
)
from proa.ml.pipelines.database.paging import RUNS, ListOptions, Page, read_page
from proa.ml.pipelines.records import FINAL_RUN_STATES, Run, RunState

_IN_COLUMNS = (
    "id",
    "namespace",
    "experiment_id",
    "name",
    "display_name",
    "state",
    "storage_state",
    "created_at",
    "scheduled_at",
    "finished_at",
    "recurring_run_id",
    "pipeline_id",
    "pipeline_version_id",
    "service_account",
    "description",
)
_ELSEWHERE = frozenset({*_IN_COLUMNS, "pipeline_spec", "platform_spec", "states"})
_IN_BODY = tuple([field.name for field in fields(Run) if field.name not in _ELSEWHERE])
PROGRESS = ("state", "error", "started_at", "finished_at", "states", "retries")
"""What the operator says of a run; the rest is the API's."""
_CHANGEABLE = frozenset({*PROGRESS, "storage_state", "display_name", "description", "scheduled_at"})
_SELECT = f"""SELECT {", ".join(_IN_COLUMNS)}, document, body
              FROM runs JOIN run_bodies ON run_bodies.run_id = runs.id"""


class Runs:
    """The runs of all namespaces. Where `with_spec` is not asked for, a run's two documents are {}."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, run: Run) -> None:
        """Store a new run; raise AlreadyExists, Invalid."""
        document = encode_document(run.pipeline_spec, run.platform_spec)
        check_text("Run.DisplayName", run.display_name)
        check_text("Run.Description", run.description, MAX_DESCRIPTION)
        check_text("Run.Namespace", run.namespace, MAX_NAMESPACE)
        for name in ("name", "experiment_id", "recurring_run_id", "pipeline_id", "service_account"):
            check_text(f"Run.{name}", getattr(run, name))
        await self._engine.write(lambda transaction: insert_run(transaction, run, document))

    async def get(self, id: str, *, with_spec: bool = False) -> Run:
        """Return it; raise NotFound."""
        found = await self.get_many([id], with_spec=with_spec)
        if id not in found:
            raise NotFound("Run", id)
        return found[id]

    async def get_many(self, ids: Sequence[str], *, with_spec: bool = False) -> dict[str, Run]:
        """Return those that there are."""
        return await self._engine.read(lambda transaction: read_runs(transaction, ids, with_spec=with_spec))

    async def find_by_name(self, namespace: str, name: str) -> Run | None:
        """Return the run whose custom resource is called so: the newest, should there be two."""
        sql = f"{_SELECT} WHERE namespace = ? AND runs.name = ? ORDER BY created_at DESC LIMIT 1"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (namespace, name)))
        return _decode_run(rows[0]) if rows else None

    async def update(self, id: str, *, if_state: Collection[RunState] | None = None, **changes: Any) -> Run:
        """Change fields of a run (those of PROGRESS, storage_state, names) and return it as it is now, without specs.

        Raises NotFound, and Conflict where its state is none of `if_state`.
        """
        unknown = set(changes) - _CHANGEABLE
        if unknown:
            raise TypeError(f"{min(unknown)} of a run never changes")
        check_text("Run.DisplayName", changes.get("display_name", ""))
        check_text("Run.Description", changes.get("description", ""), MAX_DESCRIPTION)
        return await self._engine.write(
            lambda transaction: change_run(transaction, id, changes, if_state=if_state)
        )

    async def archive(self, id: str) -> None:
        """Put it away: lists of what is AVAILABLE leave it out. Raises NotFound."""
        await self.update(id, storage_state="ARCHIVED")

    async def unarchive(self, id: str) -> None:
        """Take it back. Raises NotFound."""
        await self.update(id, storage_state="AVAILABLE")

    async def delete(self, id: str) -> None:
        """Remove a run, its tasks and the artifacts that it made and no other run uses; raise NotFound."""
        await self._engine.write(lambda transaction: delete_run(transaction, id))

    async def unfinished(self) -> list[Run]:
        """Return the runs that are not over, oldest first, without specs."""
        sql = f"{_SELECT} WHERE is_final = 0 ORDER BY created_at, runs.id"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql))
        return [_decode_run(row) for row in rows]

    async def active_of(self, recurring_run_id: str) -> list[Run]:
        """Return the runs of a recurring run that are not over, oldest first, without specs."""
        sql = f"{_SELECT} WHERE is_final = 0 AND recurring_run_id = ? ORDER BY created_at, runs.id"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (recurring_run_id,)))
        return [_decode_run(row) for row in rows]

    async def page(
        self,
        options: ListOptions | None = None,
        *,
        namespace: str = "",
        experiment_id: str = "",
        recurring_run_id: str = "",
        with_spec: bool = False,
    ) -> Page[Run]:
        """Return a page of those that match what is not ""; raise Invalid for options that cannot be."""
        scope = {
            "namespace": namespace,
            "experiment_id": experiment_id,
            "recurring_run_id": recurring_run_id,
        }

        def read(transaction: Transaction) -> Page[Run]:
            page = read_page(transaction, RUNS, options or ListOptions(), scope)
            found = read_runs(transaction, page.items, with_spec=with_spec)
            return Page([found[id] for id in page.items], page.next_token, page.total)

        return await self._engine.read(read)


def insert_run(transaction: Transaction, run: Run, document: tuple[str, str, str]) -> None:
    """Store a new run and say so to its experiment."""
    columns = ", ".join(_IN_COLUMNS)
    added = transaction.run(
        f"INSERT INTO runs ({columns}, is_final) VALUES ({marks(_IN_COLUMNS)}, ?) ON CONFLICT (id) DO NOTHING",
        (*_columns_of(run), int(run.state in FINAL_RUN_STATES)),
    )
    if not added:
        raise AlreadyExists(f"Failed to create a new run. The id {run.id} already exists")
    hash = keep_document(transaction, document)
    transaction.run(
        "INSERT INTO run_bodies (run_id, document, body) VALUES (?, ?, ?)", (run.id, hash, _encode_body(run))
    )
    transaction.run(
        "UPDATE experiments SET last_run_created_at = ? WHERE id = ? AND last_run_created_at < ?",
        (run.created_at, run.experiment_id, run.created_at),
    )


def change_run(
    transaction: Transaction,
    id: str,
    changes: Mapping[str, Any],
    *,
    if_state: Collection[RunState] | None = None,
) -> Run:
    """Change a run and return it; raise NotFound, Conflict."""
    rows = transaction.rows(f"{_SELECT} WHERE runs.id = ?{transaction.for_update}", (id,))
    if not rows:
        raise NotFound("Run", id)
    old = _decode_run(rows[0])
    if if_state is not None and old.state not in if_state:
        raise Conflict(f"run {id} is {old.state}")
    run = replace(old, **changes)
    if run != old:
        sets = ", ".join([f"{column} = ?" for column in _IN_COLUMNS[1:]])
        transaction.run(
            f"UPDATE runs SET {sets}, is_final = ? WHERE id = ?",
            (*_columns_of(run)[1:], int(run.state in FINAL_RUN_STATES), id),
        )
        transaction.run("UPDATE run_bodies SET body = ? WHERE run_id = ?", (_encode_body(run), id))
    return run


def delete_run(transaction: Transaction, id: str) -> None:
    """Remove a run and what is only its own."""
    rows = transaction.rows("SELECT document FROM run_bodies WHERE run_id = ?", (id,))
    if not rows:
        raise NotFound("Run", id)
    for table in ("tasks", "uses", "metrics", "run_bodies"):
        transaction.run(f"DELETE FROM {table} WHERE run_id = ?", (id,))
    transaction.run("DELETE FROM runs WHERE id = ?", (id,))
    transaction.run(
        """DELETE FROM artifacts WHERE run_id = ?
           AND NOT EXISTS (SELECT 1 FROM uses WHERE uses.artifact_id = artifacts.id)""",
        (id,),
    )
    drop_document(transaction, rows[0][0])


def read_runs(transaction: Transaction, ids: Iterable[str], *, with_spec: bool = False) -> dict[str, Run]:
    """Return the runs with these ids that there are."""
    rows: list[Row] = []
    for some in chunks(sorted(set(ids))):
        rows += transaction.rows(f"{_SELECT} WHERE runs.id IN ({marks(some)})", some)
    runs = [_decode_run(row) for row in rows]
    if with_spec:
        documents = find_documents(transaction, [row[-2] for row in rows])
        for index, row in enumerate(rows):
            pipeline, platform = documents.get(row[-2], ({}, {}))
            runs[index] = replace(runs[index], pipeline_spec=pipeline, platform_spec=platform)
    return {run.id: run for run in runs}


def _columns_of(run: Run) -> list[Any]:
    values = [getattr(run, name) for name in _IN_COLUMNS]
    values[_IN_COLUMNS.index("state")] = run.state.value
    return values


def _encode_body(run: Run) -> str:
    body = {name: getattr(run, name) for name in _IN_BODY}
    body["states"] = [[state.value, since] for state, since in run.states]
    return encode(body)


def _decode_run(row: Row) -> Run:
    columns: dict[str, Any] = dict(zip(_IN_COLUMNS, row, strict=False))
    body = decode(row[-1])
    columns["state"] = RunState(columns["state"])
    states = tuple([(RunState(state), since) for state, since in body.pop("states")])
    return Run(**columns, **body, states=states)
