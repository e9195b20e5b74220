"""Which finished task answers one that would do the same again."""

from __future__ import annotations

from proa.ml.database.engine import Engine, Transaction
from proa.ml.pipelines.database.tasks import COLUMNS, decode_tasks
from proa.ml.pipelines.records import Task


class Cache:
    """The tasks of all runs that ended well, by fingerprint. What fingerprints are made of, the operator knows."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def find(self, namespace: str, fingerprint: str, not_before: float = 0.0) -> Task | None:
        """Return the newest that succeeded (not one that was itself answered) and ended no earlier than that."""
        sql = f"""SELECT {COLUMNS} FROM tasks WHERE namespace = ? AND fingerprint = ? AND fingerprint <> ''
                  AND finished_at >= ? AND state = 'SUCCEEDED' AND is_forgotten = 0
                  ORDER BY finished_at DESC, id LIMIT 1"""

        def read(transaction: Transaction) -> list[Task]:
            return decode_tasks(transaction, transaction.rows(sql, (namespace, fingerprint, not_before)))

        return next(iter(await self._engine.read(read)), None)

    async def forget(
        self, namespace: str, *, fingerprint: str = "", run_id: str = "", task_id: str = ""
    ) -> int:
        """Let a namespace's tasks answer nothing any more: those that match what is not ""; return how many there were.

        Without any, all of the namespace's.
        """
        scope = {"fingerprint": fingerprint, "run_id": run_id, "id": task_id}
        asked = {column: value for column, value in scope.items() if value}
        where = "".join([f" AND {column} = ?" for column in asked])
        sql = f"""UPDATE tasks SET is_forgotten = 1
                  WHERE namespace = ? AND fingerprint <> '' AND is_forgotten = 0{where}"""
        return await self._engine.write(
            lambda transaction: transaction.run(sql, (namespace, *asked.values()))
        )
