"""What does a page of past runs cost, as they grow from 100 to 10,000?

Runs of one pipeline with two tasks and a metric each, half of them in another namespace's lists; listed as the API
lists them, with their total. The baseline of each figure is the same page of 100 runs in the same run (a ratio of 1 is
a cost that does not grow), and the aim is below 10 ms. SQLite, and PostgreSQL where Debian's is installed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("src", "tests")]

if TYPE_CHECKING:
    from proa.ml.pipelines.database.database import Database
    from proa.ml.pipelines.records import Run

SIZES = (100, 10_000)
AT_ONCE = 250
TIMES = 15
SPEC = {"pipelineInfo": {"name": "train"}, "deploymentSpec": {"code": "x" * 20_000}}


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for each engine and page."""
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        places = {"SQLite": [str(Path(folder) / f"{size}.db") for size in SIZES]}
        if not quick and any(Path("/usr/lib/postgresql").glob("*/bin")):
            from support.postgres import run_postgres

            server = stack.enter_context(run_postgres())
            places["PostgreSQL"] = [server.new_url() for _ in SIZES]
        for engine, urls in places.items():
            small, large = [asyncio.run(measure(url, size)) for url, size in zip(urls, SIZES, strict=True)]
            rows += [
                {
                    "name": f"{engine}: {name}",
                    "value": large[name],
                    "unit": "ms",
                    "baseline": "100 runs",
                    "baseline_value": small[name],
                    "ratio": small[name] / large[name],
                }
                for name in large
            ]
    return rows


async def measure(url: str, size: int) -> dict[str, float]:
    """Return the milliseconds of each page: the best of some."""
    from proa.ml.pipelines.database.database import open_database
    from proa.ml.pipelines.database.paging import ListOptions

    database = await open_database(url)
    try:
        await fill(database, size)
        middle = await token_of_middle(database, size)
        newest = "created_at desc"
        asked = {
            "newest": ListOptions(sort_by=newest),
            "in the middle": ListOptions(page_token=middle),
            "50 of them": ListOptions(sort_by=newest, page_size=50),
            "not archived": ListOptions(
                sort_by=newest, filter=only("NOT_EQUALS", "storage_state", "ARCHIVED")
            ),
            "failed (2 %)": ListOptions(sort_by=newest, filter=only("EQUALS", "state", "FAILED")),
            "by a part of the name": ListOptions(
                sort_by=newest, filter=only("IS_SUBSTRING", "display_name", "99")
            ),
            "by name": ListOptions(sort_by="display_name"),
            "best by a metric": ListOptions(sort_by="metric:accuracy desc"),
        }
        found = {}
        for name, options in asked.items():
            best = 1e9
            for _ in range(TIMES):
                started = time.perf_counter()
                page = await database.runs.page(options, namespace="team")
                best = min(best, time.perf_counter() - started)
                assert page.items
            found[name] = 1000 * best
        return found
    finally:
        await database.close()


def only(operation: str, key: str, value: str) -> str:
    """Return a filter."""
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


async def token_of_middle(database: Database, size: int) -> str:
    """Return where the second half begins."""
    from proa.ml.pipelines.database.paging import ListOptions

    token = ""
    for _ in range(max(1, size // 4 // 100)):
        page = await database.runs.page(
            ListOptions(page_size=min(100, size // 4), page_token=token), namespace="team"
        )
        token = page.next_token
    return token


async def fill(database: Database, size: int) -> None:
    """Write the runs, many at once."""
    for start in range(0, size, AT_ONCE):
        some = [make_run(number) for number in range(start, min(size, start + AT_ONCE))]
        await asyncio.gather(*[database.runs.insert(one) for one in some])
        await asyncio.gather(*[database.record(make_tasks(one, start)) for one in some])


def make_run(number: int) -> Run:
    """Return a run that is over."""
    from proa.ml.pipelines.records import Run, RunState

    return Run(
        id=str(uuid.UUID(int=number)),
        name=f"train-{number}",
        namespace="team" if number % 2 else "other",
        display_name=f"train {number}",
        state=RunState.FAILED if number % 50 == 1 else RunState.SUCCEEDED,
        created_at=1e9 + 60 * number,
        finished_at=1e9 + 60 * number + 30,
        experiment_id=f"experiment-{number % 7}",
        pipeline_spec=SPEC,
        parameters={"rate": number},
        storage_state="ARCHIVED" if number % 10 == 3 else "AVAILABLE",
    )


def make_tasks(run: Run, seed: int) -> list[Any]:
    """Return two tasks, the second with a metric."""
    from proa.ml.pipelines.records import Artifact, Task, TaskKind, TaskState, Values, make_task_id

    accuracy = (hash(run.id) ^ seed) % 1000 / 1000
    metrics = Artifact(
        f"{run.id}-m",
        "metrics",
        f"minio://mlpipeline/{run.id}/m",
        "system.Metrics",
        metadata={"accuracy": accuracy},
    )
    return [
        Task(
            run_id=run.id,
            path=path,
            id=make_task_id(run.id, path),
            name=path,
            display_name=path,
            kind=TaskKind.CONTAINER,
            state=TaskState.SUCCEEDED,
            parent="",
            created_at=run.created_at,
            finished_at=run.finished_at,
            outputs=Values({}, {"metrics": (metrics,)}) if path == "evaluate" else Values(),
        )
        for path in ("train", "evaluate")
    ]
