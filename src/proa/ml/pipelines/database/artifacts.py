"""Artifacts and lineage: what produced one, what used it, and what lies up and down from it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import NotFound
from proa.ml.pipelines.database.encoding import MAX_NAME, clean_text, decode, encode, marks
from proa.ml.pipelines.database.paging import ARTIFACTS, ListOptions, Page, read_page
from proa.ml.pipelines.records import Artifact, Metric, Use

MAX_LINEAGE = 10_000
"""How many uses a walk through the lineage gives at most."""
_CHUNK = 500
_IN_COLUMNS = ("id", "namespace", "name", "uri", "run_id", "task_id", "created_at")
_IN_BODY = tuple([field.name for field in fields(Artifact) if field.name not in _IN_COLUMNS])
_COLUMNS = ", ".join([*_IN_COLUMNS, "body"])


class Artifacts:
    """The artifacts of all namespaces."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, artifacts: Sequence[Artifact]) -> None:
        """Store them, or their new metadata."""
        await self._engine.write(lambda transaction: save_artifacts(transaction, artifacts))

    async def get(self, id: str) -> Artifact:
        """Return it; raise NotFound."""
        found = await self._engine.read(lambda transaction: read_artifacts(transaction, [id]))
        if id not in found:
            raise NotFound("Artifact", id)
        return found[id]

    async def find_by_uri(self, namespace: str, uri: str) -> list[Artifact]:
        """Return what is known to be there, newest first: an importer uses again what it may."""
        sql = f"SELECT {_COLUMNS} FROM artifacts WHERE uri_hash = ? AND namespace = ? ORDER BY created_at DESC, id"
        rows = await self._engine.read(lambda transaction: transaction.rows(sql, (hash_uri(uri), namespace)))
        return [decode_artifact(row) for row in rows]

    async def page(
        self,
        options: ListOptions | None = None,
        *,
        namespace: str = "",
        type: str = "",
        run_id: str = "",
        task_id: str = "",
    ) -> Page[Artifact]:
        """Return a page of those that match what is not "". `type` is a schema title such as "system.Model"."""
        scope = {"namespace": namespace, "type": type, "run_id": run_id, "task_id": task_id}

        def read(transaction: Transaction) -> Page[Artifact]:
            page = read_page(transaction, ARTIFACTS, options or ListOptions(), scope)
            found = read_artifacts(transaction, page.items)
            return Page([found[id] for id in page.items], page.next_token, page.total)

        return await self._engine.read(read)

    async def uses(self, artifact_id: str) -> list[Use]:
        """Return every task that has it as an input or output: outputs first, each by run and path."""
        return await self._engine.read(
            lambda transaction: _read_uses(transaction, "artifact_id", [artifact_id])
        )

    async def of_task(self, task_id: str) -> list[Use]:
        """Return a task's inputs and outputs."""
        return await self._engine.read(lambda transaction: _read_uses(transaction, "task_id", [task_id]))

    async def lineage(self, artifact_id: str, *, up: int = 1, down: int = 1) -> list[Use]:
        """Return the uses around an artifact: `up` levels to what it was made of, `down` to what was made of it.

        A level is a task with all of its inputs and outputs. Bounded by MAX_LINEAGE. Tasks with children are no level:
        they only hand on what their children made.
        """

        def read(transaction: Transaction) -> list[Use]:
            found: dict[tuple[Any, ...], Use] = {}
            _walk(transaction, artifact_id, up, is_up=True, found=found)
            _walk(transaction, artifact_id, down, is_up=False, found=found)
            return list(found.values())[:MAX_LINEAGE]

        return await self._engine.read(read)

    async def metrics(self, run_ids: Sequence[str]) -> dict[str, list[Metric]]:
        """Return the metrics of runs, by name; a run without any is absent."""
        found: dict[str, list[Metric]] = {}

        def read(transaction: Transaction) -> None:
            for some in chunks(run_ids):
                sql = f"""SELECT run_id, name, value, task_id, artifact_id FROM metrics
                          WHERE run_id IN ({marks(some)}) ORDER BY run_id, name, task_id"""
                for run_id, name, value, task_id, artifact in transaction.rows(sql, some):
                    found.setdefault(run_id, []).append(Metric(name, value, task_id, artifact))

        await self._engine.read(read)
        return found


def save_artifacts(transaction: Transaction, artifacts: Iterable[Artifact], *, keep: bool = False) -> None:
    """Store them; one that is there gets its metadata, type and URI anew, unless `keep`."""
    action = (
        "NOTHING"
        if keep
        else """UPDATE SET name = excluded.name, uri = excluded.uri, uri_hash = excluded.uri_hash, type = excluded.type,
                 body = excluded.body"""
    )
    transaction.run_many(
        f"""INSERT INTO artifacts (id, namespace, name, uri, uri_hash, type, run_id, task_id, created_at, body)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO {action}""",
        [
            (
                one.id,
                one.namespace,
                clean_text(one.name),
                clean_text(one.uri),
                hash_uri(clean_text(one.uri)),
                one.type_title,
                one.run_id,
                one.task_id,
                one.created_at,
                encode({name: getattr(one, name) for name in _IN_BODY}),
            )
            for one in artifacts
        ],
    )


def read_artifacts(transaction: Transaction, ids: Iterable[str]) -> dict[str, Artifact]:
    """Return those that there are."""
    found = {}
    for some in chunks(sorted(set(ids))):
        sql = f"SELECT {_COLUMNS} FROM artifacts WHERE id IN ({marks(some)})"
        for row in transaction.rows(sql, some):
            found[row[0]] = decode_artifact(row)
    return found


def decode_artifact(row: Row) -> Artifact:
    """Return the artifact of a row of `_COLUMNS`."""
    columns: dict[str, Any] = dict(zip(_IN_COLUMNS, row, strict=False))
    return Artifact(**columns, **decode(row[-1]))


def make_metrics(artifact: Artifact, task_id: str) -> list[Metric]:
    """Return the finite numbers that a system.Metrics artifact has."""
    if artifact.type_title != "system.Metrics":
        return []
    return [
        Metric(name, float(value), task_id, artifact.id)
        for name, value in artifact.metadata.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
        and len(name) <= MAX_NAME
    ]


def hash_uri(uri: str) -> str:
    """Return what URIs are indexed by: they may be longer than an index entry."""
    return hashlib.sha256(uri.encode(errors="surrogatepass")).hexdigest()


def chunks(ids: Sequence[str]) -> Iterable[list[str]]:
    """Return them in lists that fit into one statement."""
    return [list(ids[start : start + _CHUNK]) for start in range(0, len(ids), _CHUNK)]


def _read_uses(transaction: Transaction, column: str, ids: Iterable[str]) -> list[Use]:
    found = []
    for some in chunks(sorted(set(ids))):
        sql = f"""SELECT run_id, task_id, path, artifact_id, name, is_output FROM uses WHERE {column} IN ({marks(some)})
                  ORDER BY is_output DESC, run_id, path, name, position LIMIT {MAX_LINEAGE}"""
        found += [
            Use(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in transaction.rows(sql, some)
        ]
    return found


def _walk(
    transaction: Transaction, artifact_id: str, levels: int, *, is_up: bool, found: dict[tuple[Any, ...], Use]
) -> None:
    """Add the uses that lie one way from an artifact."""
    artifacts, seen = {artifact_id}, set[str]()
    for _ in range(levels):
        steps = {
            use.task_id for use in _read_uses(transaction, "artifact_id", artifacts) if use.is_output == is_up
        }
        tasks = _leaves(transaction, steps - seen)
        seen |= tasks
        uses = _read_uses(transaction, "task_id", tasks)
        found |= {(use.task_id, use.is_output, use.name, use.artifact_id): use for use in uses}
        artifacts = {use.artifact_id for use in uses if use.is_output != is_up}
        if not artifacts or len(found) >= MAX_LINEAGE:
            return


def _leaves(transaction: Transaction, ids: set[str]) -> set[str]:
    """Return those of the tasks that have no children of their own."""
    leaves = set()
    for some in chunks(sorted(ids)):
        sql = f"SELECT id FROM tasks WHERE id IN ({marks(some)}) AND kind NOT IN ('dag', 'loop', 'iteration')"
        leaves |= {row[0] for row in transaction.rows(sql, some)}
    return leaves
