"""Remember what pipelines are, what was run and what came of it: the truth that operator and API share.

`open_database(url)` gives a `Database`; its parts are the nouns: `await database.runs.get(id)`. Whatever a call changes
is durable when it returns, all of it or nothing. Errors are in errors.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proa.ml.database.engine import Engine, Transaction
from proa.ml.database.opening import open_engine
from proa.ml.pipelines.database.artifacts import Artifacts, save_artifacts
from proa.ml.pipelines.database.cache import Cache
from proa.ml.pipelines.database.experiments import Experiments
from proa.ml.pipelines.database.pipelines import Pipelines, Versions
from proa.ml.pipelines.database.recurring import RecurringRuns
from proa.ml.pipelines.database.runs import PROGRESS, Runs, change_run
from proa.ml.pipelines.database.schema import SCHEMA
from proa.ml.pipelines.database.tasks import Tasks, save_tasks
from proa.ml.pipelines.records import Artifact, Run, Task


class Database:
    """An open database."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine, and close it in the end."""
        self._engine = engine
        self.runs = Runs(engine)
        self.tasks = Tasks(engine)
        self.artifacts = Artifacts(engine)
        self.experiments = Experiments(engine)
        self.pipelines = Pipelines(engine)
        self.versions = Versions(engine)
        self.recurring = RecurringRuns(engine)
        self.cache = Cache(engine)

    async def record(
        self, tasks: Sequence[Task] = (), artifacts: Sequence[Artifact] = (), *, run: Run | None = None
    ) -> None:
        """Remember one step of a run, as one write: tasks as they are now, new artifacts, and how far the run is.

        Of `run` only what PROGRESS names is written. Raises NotFound for a run that was deleted meanwhile.
        """

        def write(transaction: Transaction) -> None:
            save_artifacts(transaction, artifacts)
            for run_id in dict.fromkeys([task.run_id for task in tasks]):
                save_tasks(transaction, run_id, [task for task in tasks if task.run_id == run_id])
            if run is not None:
                change_run(transaction, run.id, {name: getattr(run, name) for name in PROGRESS})

        await self._engine.write(write)

    async def close(self) -> None:
        """Finish what waits; later calls raise Unavailable."""
        await self._engine.close()


async def open_database(url: str | Path) -> Database:
    """Open what is at a path (SQLite, made if need be) or `postgresql://` URL; raise CannotOpen, Unavailable."""
    return Database(await open_engine(url, SCHEMA))
