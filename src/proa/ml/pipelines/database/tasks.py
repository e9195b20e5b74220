"""The tasks of runs: what each is, was given and made. Artifacts, lineage and metrics are rows of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import NotFound
from proa.ml.pipelines.database.artifacts import chunks, make_metrics, read_artifacts, save_artifacts
from proa.ml.pipelines.database.encoding import decode, decode_values, encode, encode_values, marks
from proa.ml.pipelines.records import Artifact, Caching, Task, TaskKind, TaskState

COLUMNS = "run_id, path, id, parent, iteration, kind, state, created_at, finished_at, inputs, outputs, body"
_ELSEWHERE = frozenset({*COLUMNS.split(", "), "caching", "states"})
_IN_BODY = tuple([field.name for field in fields(Task) if field.name not in _ELSEWHERE])
_PARENTS = frozenset({TaskKind.DAG, TaskKind.LOOP, TaskKind.ITERATION})


class Tasks:
    """The tasks of all runs."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def upsert_many(self, run_id: str, tasks: Sequence[Task]) -> None:
        """Store tasks of a run as they are now, with the artifacts that they have; raise NotFound for the run."""
        await self._engine.write(lambda transaction: save_tasks(transaction, run_id, tasks))

    async def of(self, run_id: str) -> list[Task]:
        """Return all tasks of a run, by creation and path."""
        sql = f"SELECT {COLUMNS} FROM tasks WHERE run_id = ? ORDER BY created_at, path"
        return await self._engine.read(
            lambda transaction: decode_tasks(transaction, transaction.rows(sql, (run_id,)))
        )

    async def get(self, id: str) -> Task:
        """Return the task with this id; raise NotFound."""
        found = await self._engine.read(lambda transaction: read_tasks(transaction, [id]))
        if id not in found:
            raise NotFound("Task", id)
        return found[id]

    async def get_many(self, ids: Sequence[str]) -> dict[str, Task]:
        """Return those that there are."""
        return await self._engine.read(lambda transaction: read_tasks(transaction, ids))

    async def children(self, run_id: str, parent: str, *, limit: int, offset: int = 0) -> list[Task]:
        """Return some of the tasks below a DAG or loop, by iteration and path."""
        sql = f"""SELECT {COLUMNS} FROM tasks WHERE run_id = ? AND parent = ? ORDER BY iteration, path
                  LIMIT {limit:d} OFFSET {offset:d}"""
        return await self._engine.read(
            lambda transaction: decode_tasks(transaction, transaction.rows(sql, (run_id, parent)))
        )

    async def count_states(self, run_ids: Sequence[str]) -> dict[str, dict[TaskState, int]]:
        """Return how many tasks of each run are in which state, without those that only hold others."""
        counts: dict[str, dict[TaskState, int]] = {}

        def read(transaction: Transaction) -> None:
            for some in chunks(run_ids):
                sql = f"""SELECT run_id, state, count(*) FROM tasks WHERE run_id IN ({marks(some)})
                          AND kind NOT IN ('dag', 'loop', 'iteration') GROUP BY run_id, state"""
                for run_id, state, count in transaction.rows(sql, some):
                    counts.setdefault(run_id, {})[TaskState(state)] = count

        await self._engine.read(read)
        return counts


def save_tasks(transaction: Transaction, run_id: str, tasks: Sequence[Task]) -> None:
    """Store tasks of one run, their artifacts, uses and metrics."""
    found = transaction.rows("SELECT namespace FROM runs WHERE id = ?", (run_id,))
    if not found:
        raise NotFound("Run", run_id)
    known = _read_values(transaction, run_id, [task.path for task in tasks])
    save_artifacts(transaction, _artifacts_of(tasks).values(), keep=True)
    for task in tasks:
        if task.run_id != run_id:
            raise ValueError(f"task {task.path!r} is of run {task.run_id}, not {run_id}")
        inputs, outputs = encode_values(task.inputs), encode_values(task.outputs)
        _save_task(transaction, task, found[0][0], inputs, outputs)
        before = known.get(task.path)
        if before is not None and before != (inputs, outputs):
            transaction.run("DELETE FROM uses WHERE task_id = ?", (task.id,))
            transaction.run("DELETE FROM metrics WHERE task_id = ?", (task.id,))
        if before != (inputs, outputs):
            _save_uses(transaction, task)


def read_tasks(transaction: Transaction, ids: Iterable[str]) -> dict[str, Task]:
    """Return the tasks with these ids that there are."""
    found: dict[str, Task] = {}
    for some in chunks(sorted(set(ids))):
        rows = transaction.rows(f"SELECT {COLUMNS} FROM tasks WHERE id IN ({marks(some)})", some)
        found.update({task.id: task for task in decode_tasks(transaction, rows)})
    return found


def decode_tasks(transaction: Transaction, rows: Sequence[Row]) -> list[Task]:
    """Return the tasks of rows of `COLUMNS`."""
    values = [(decode(row[9]), decode(row[10])) for row in rows]
    ids = {id for pair in values for one in pair for found in one["artifacts"].values() for id in found}
    artifacts = read_artifacts(transaction, ids)
    return [_decode_task(row, *pair, artifacts) for row, pair in zip(rows, values, strict=True)]


def _decode_task(
    row: Row, inputs: Mapping[str, Any], outputs: Mapping[str, Any], artifacts: Mapping[str, Artifact]
) -> Task:
    run_id, path, id, parent, iteration, kind, state, created_at, finished_at = row[:9]
    body = decode(row[11])
    caching = body.pop("caching")
    states = tuple([(TaskState(one), since) for one, since in body.pop("states")])
    return Task(
        run_id=run_id,
        path=path,
        id=id,
        parent=parent,
        kind=TaskKind(kind),
        state=TaskState(state),
        created_at=created_at,
        finished_at=finished_at,
        inputs=decode_values(inputs, artifacts),
        outputs=decode_values(outputs, artifacts),
        iteration=None if iteration < 0 else iteration,
        caching=Caching(**caching) if caching is not None else None,
        states=states,
        **body,
    )


def _save_task(transaction: Transaction, task: Task, namespace: str, inputs: str, outputs: str) -> None:
    caching = task.caching
    body: dict[str, Any] = {name: getattr(task, name) for name in _IN_BODY}
    body["states"] = [[state.value, since] for state, since in task.states]
    body["caching"] = caching and {field.name: getattr(caching, field.name) for field in fields(Caching)}
    transaction.run(
        """INSERT INTO tasks (run_id, path, id, parent, iteration, namespace, kind, state, created_at, finished_at,
                              fingerprint, is_forgotten, inputs, outputs, body)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)
           ON CONFLICT (run_id, path) DO UPDATE SET state = excluded.state, created_at = excluded.created_at,
             finished_at = excluded.finished_at, fingerprint = excluded.fingerprint, inputs = excluded.inputs,
             outputs = excluded.outputs, body = excluded.body""",
        (
            task.run_id,
            task.path,
            task.id,
            task.parent,
            -1 if task.iteration is None else task.iteration,
            namespace,
            task.kind.value,
            task.state.value,
            task.created_at,
            task.finished_at,
            caching.fingerprint if caching else "",
            inputs,
            outputs,
            encode(body),
        ),
    )


def _save_uses(transaction: Transaction, task: Task) -> None:
    """Write which artifacts a task has, and the metrics that it made."""
    transaction.run_many(
        """INSERT INTO uses (task_id, is_output, name, position, artifact_id, run_id, path)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        [
            (task.id, is_output, name, position, artifact.id, task.run_id, task.path)
            for is_output, values in ((0, task.inputs), (1, task.outputs))
            for name, found in values.artifacts.items()
            for position, artifact in enumerate(found)
        ],
    )
    if task.kind in _PARENTS:
        return
    made = [artifact for found in task.outputs.artifacts.values() for artifact in found]
    transaction.run_many(
        "INSERT INTO metrics (run_id, name, task_id, artifact_id, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (task.run_id, metric.name, metric.task_id, metric.artifact_id, metric.value)
            for artifact in made
            for metric in make_metrics(artifact, task.id)
        ],
    )


def _artifacts_of(tasks: Iterable[Task]) -> dict[str, Artifact]:
    return {
        artifact.id: artifact
        for task in tasks
        for values in (task.inputs, task.outputs)
        for found in values.artifacts.values()
        for artifact in found
    }


def _read_values(transaction: Transaction, run_id: str, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the inputs and outputs that are stored."""
    found = {}
    for some in chunks(paths):
        sql = f"""SELECT path, inputs, outputs FROM tasks WHERE run_id = ? AND path IN ({marks(some)})
                  {transaction.for_update}"""
        for path, inputs, outputs in transaction.rows(sql, [run_id, *some]):
            found[path] = (inputs, outputs)
    return found
