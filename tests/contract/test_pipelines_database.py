"""What the pipelines' database promises, on each of its engines."""

import asyncio
import dataclasses
import math
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from proa.ml.pipelines.database.database import Database, open_database
from proa.ml.pipelines.database.errors import AlreadyExists, Conflict, Invalid, NotFound
from proa.ml.pipelines.database.paging import ListOptions
from proa.ml.pipelines.records import (
    Artifact,
    Caching,
    Experiment,
    Pipeline,
    PipelineVersion,
    RecurringRun,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
    Values,
)
from support.postgres import Postgres, run_postgres

With = Callable[[Callable[[Database], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server for this file."""
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres").new_url()
    return str(tmp_path / "pipelines.db")


@pytest.fixture
def with_database(url: str) -> With:
    """Return what gives a test body an open database."""

    def run(body: Callable[[Database], Awaitable[None]]) -> None:
        async def go() -> None:
            database = await open_database(url)
            try:
                await body(database)
            finally:
                await database.close()

        asyncio.run(go())

    return run


SPEC = {"pipelineInfo": {"name": "train"}, "root": {"dag": {"tasks": {}}}, "sdkVersion": "kfp-2.17.0"}


def make_run(number: int = 0, **fields) -> Run:
    values = {
        "id": str(uuid.UUID(int=number)),
        "name": f"train-{number}",
        "namespace": "team",
        "display_name": f"train {number}",
        "state": RunState.PENDING,
        "created_at": 1000.0 + number,
        "pipeline_spec": SPEC,
        "parameters": {"rate": 0.5, "words": ["ä", "\0", "\ud800"], "bound": math.inf, "great": 10**30},
        "states": ((RunState.PENDING, 1000.0),),
    }
    return Run(**{**values, **fields})


def make_task(run: Run, path: str = "train", **fields) -> Task:
    values = {
        "run_id": run.id,
        "path": path,
        "id": str(uuid.uuid5(uuid.UUID(run.id), path)),
        "name": path.rpartition("/")[2] or "root",
        "display_name": path,
        "kind": TaskKind.CONTAINER,
        "state": TaskState.RUNNING,
        "parent": path.rpartition("/")[0],
        "created_at": 5.0,
    }
    return Task(**{**values, **fields})


def make_artifact(name: str, **fields) -> Artifact:
    values = {
        "id": f"artifact-{name}",
        "name": name,
        "uri": f"minio://mlpipeline/{name}",
        "namespace": "team",
    }
    return Artifact(**{**values, **fields})


def test_a_run_is_read_as_it_was_written_whatever_its_values(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = make_run(
            platform_spec={"platforms": {"kubernetes": {}}},
            description="why\nnot",
            cache_enabled=False,
            retries=2,
            error="boom \0",
            finished_at=7.25,
            state=RunState.FAILED,
            states=((RunState.RUNNING, 1.0), (RunState.FAILED, 7.25)),
        )
        await database.runs.insert(run)
        assert await database.runs.get(run.id, with_spec=True) == run
        assert await database.runs.get(run.id) == replace(run, pipeline_spec={}, platform_spec={})
        assert await database.runs.find_by_name("team", run.name) == replace(
            run, pipeline_spec={}, platform_spec={}
        )
        assert await database.runs.find_by_name("other", run.name) is None

    with_database(body)


def test_a_second_run_with_the_id_and_names_without_bounds_are_refused(with_database: With) -> None:
    async def body(database: Database) -> None:
        await database.runs.insert(make_run())
        with pytest.raises(AlreadyExists, match="already exists"):
            await database.runs.insert(make_run(display_name="another"))
        assert (await database.runs.get(make_run().id)).display_name == "train 0"
        with pytest.raises(Invalid, match="the run's name is too long: 300 characters, and 256 are allowed"):
            await database.runs.insert(make_run(1, display_name="x" * 300))
        with pytest.raises(Invalid, match="characters that are none"):
            await database.runs.insert(make_run(1, display_name="a\0b"))
        with pytest.raises(NotFound, match=f"Run {make_run(1).id} not found"):
            await database.runs.get(make_run(1).id)

    with_database(body)


def test_an_update_changes_what_it_names_and_only_in_the_states_it_names(with_database: With) -> None:
    async def body(database: Database) -> None:
        await database.runs.insert(make_run())
        id = make_run().id
        changed = await database.runs.update(
            id, state=RunState.RUNNING, started_at=3.0, if_state={RunState.PENDING}
        )
        assert (changed.state, changed.started_at, changed.parameters) == (
            "RUNNING",
            3.0,
            make_run().parameters,
        )
        assert await database.runs.get(id) == changed
        with pytest.raises(Conflict, match="is RUNNING"):
            await database.runs.update(id, state=RunState.CANCELING, if_state={RunState.PENDING})
        await database.runs.archive(id)
        assert (await database.runs.get(id)).storage_state == "ARCHIVED"
        await database.runs.unarchive(id)
        assert (await database.runs.get(id)).storage_state == "AVAILABLE"
        with pytest.raises(NotFound):
            await database.runs.update(make_run(5).id, state=RunState.FAILED)

    with_database(body)


def test_unfinished_runs_are_those_that_are_not_over(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number, state in enumerate(RunState):
            await database.runs.insert(make_run(number, state=state, recurring_run_id="nightly"))
        found = [run.state for run in await database.runs.unfinished()]
        assert found == [RunState.PENDING, RunState.RUNNING, RunState.CANCELING, RunState.PAUSED]
        await database.runs.update(make_run(0).id, state=RunState.SUCCEEDED)
        assert len(await database.runs.unfinished()) == 3
        assert [run.state for run in await database.runs.active_of("nightly")] == found[1:]

    with_database(body)


def test_a_step_is_recorded_whole_and_read_back_with_its_artifacts(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = make_run()
        await database.runs.insert(run)
        data = make_artifact("data", metadata={"rows": 3, "nan": "é"}, type_title="system.Dataset")
        model = make_artifact("model", type_title="", type_schema="title: x", run_id=run.id, task_id="t")
        task = make_task(
            run,
            inputs=Values({"rate": 0.5, "none": None}, {"data": (data, model)}),
            outputs=Values({}, {"model": (model,), "empty": ()}),
            state=TaskState.SUCCEEDED,
            exit_code=0,
            iteration=3,
            attempt=1,
            pod_name="train-0",
            caching=Caching("miss", "never ran", "abc"),
            states=((TaskState.RUNNING, 5.0), (TaskState.SUCCEEDED, 6.0)),
        )
        await database.record(
            [task], [data, model], run=replace(run, state=RunState.RUNNING, storage_state="X")
        )
        assert await database.tasks.of(run.id) == [task]
        assert await database.tasks.get(task.id) == task
        found = await database.runs.get(run.id)
        assert (found.state, found.storage_state) == (RunState.RUNNING, "AVAILABLE")
        assert await database.artifacts.get("artifact-model") == model

    with_database(body)


def test_a_step_that_cannot_be_recorded_whole_leaves_nothing(with_database: With) -> None:
    async def body(database: Database) -> None:
        run, gone = make_run(), make_run(9)
        await database.runs.insert(run)
        with pytest.raises(NotFound, match=r"Run .* not found"):
            await database.record([make_task(run), make_task(gone)], [make_artifact("data")])
        assert await database.tasks.of(run.id) == []
        with pytest.raises(NotFound):
            await database.artifacts.get("artifact-data")

    with_database(body)


def test_writes_at_once_share_a_commit_and_each_gets_its_own_answer(with_database: With) -> None:
    async def body(database: Database) -> None:
        inserts = [database.runs.insert(make_run(number % 10)) for number in range(30)]
        answers = await asyncio.gather(*inserts, return_exceptions=True)
        assert answers[:10] == [None] * 10
        assert all(isinstance(answer, AlreadyExists) for answer in answers[10:])
        assert (await database.runs.page()).total == 10

    with_database(body)


def test_lists_are_paged_sorted_and_filtered(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number in range(25):
            state = RunState.FAILED if number % 5 == 0 else RunState.SUCCEEDED
            await database.runs.insert(make_run(number, state=state, experiment_id=f"e{number % 2}"))
        first = await database.runs.page(ListOptions(sort_by="created_at desc"), namespace="team")
        assert [run.created_at for run in first.items] == [1024.0 - n for n in range(20)]
        rest = await database.runs.page(ListOptions(page_token=first.next_token), namespace="team")
        assert [run.created_at for run in rest.items] == [1004.0 - n for n in range(5)]
        assert (first.total, rest.total, rest.next_token) == (25, 25, "")
        failed = '{"predicates":[{"operation":1,"key":"state","stringValue":"FAILED"}]}'
        found = await database.runs.page(ListOptions(filter=failed), experiment_id="e1")
        assert [run.created_at for run in found.items] == [1005.0, 1015.0]
        assert found.items[0].pipeline_spec == {}
        assert (await database.runs.page(namespace="other")).items == []

    with_database(body)


def test_every_field_of_every_record_comes_back(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = filled(Run, state=RunState.FAILED, states=((RunState.FAILED, 2.0),))
        await database.runs.insert(run)
        assert await database.runs.get(run.id, with_spec=True) == run
        caching = filled(Caching)
        task = filled(
            Task,
            run_id=run.id,
            kind=TaskKind.CONTAINER,
            state=TaskState.FAILED,
            states=((TaskState.FAILED, 2.0),),
            inputs=Values({"a": 1}, {}),
            outputs=Values({"b": [2]}, {"c": (filled(Artifact),)}),
            caching=caching,
        )
        await database.record([task], [filled(Artifact)])
        assert await database.tasks.of(run.id) == [task]
        recurring = filled(RecurringRun)
        await database.recurring.insert(recurring)
        assert await database.recurring.get(recurring.id) == recurring
        experiment, pipeline, version = filled(Experiment), filled(Pipeline), filled(PipelineVersion)
        await database.experiments.insert(experiment)
        assert await database.experiments.get(experiment.id) == experiment
        await database.pipelines.insert(replace(pipeline, id=version.pipeline_id), version)
        assert await database.pipelines.get(version.pipeline_id) == replace(pipeline, id=version.pipeline_id)
        assert await database.versions.get(version.id, with_spec=True) == version

    with_database(body)


def filled(record: type, **fields) -> Any:
    """Return a record in which no field is what it is by default."""
    samples = {"str": "x-{}", "float": 1.5, "int": 7, "bool": True, "bool | None": False, "int | None": 3}
    samples |= {"str | None": "x", "float | None": 4.5}
    samples |= {"Mapping[str, Any]": {"k": {"v": [1, None]}}, "Mapping[str, str]": {"k": "v"}}
    values = {}
    for field in dataclasses.fields(record):
        if field.name in fields:
            values[field.name] = fields[field.name]
            continue
        value = samples[field.type]
        values[field.name] = not field.default if field.type == "bool" else value
        if field.type == "str":
            values[field.name] = value.format(field.name)
    return record(**values)
