"""What the pipelines' database promises, on each of its engines."""

import asyncio
import base64
import dataclasses
import json
import math
import operator
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from proa.ml.database.errors import (
    AlreadyExists,
    CannotOpen,
    Conflict,
    Invalid,
    NotFound,
    Unavailable,
)
from proa.ml.pipelines.database.database import Database, open_database
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
        with pytest.raises(Invalid, match=r"Run\.DisplayName length cannot exceed 256"):
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


def test_lineage_goes_up_and_down_from_an_artifact(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = make_run()
        await database.runs.insert(run)
        raw, clean, model, report = [make_artifact(name) for name in ("raw", "clean", "model", "report")]

        def step(path: str, given: Artifact, made: Artifact, **fields: Any) -> Task:
            values = {"inputs": Values({}, {"given": (given,)}), "outputs": Values({}, {"made": (made,)})}
            return make_task(run, path, **values, **fields)

        steps = [step("prepare", raw, clean), step("train", clean, model), step("report", model, report)]
        whole = step("", raw, model, kind=TaskKind.DAG, parent=None)
        await database.record([whole, *steps], [raw, clean, model, report])

        uses = await database.artifacts.uses(model.id)
        assert [(use.path, use.name, use.is_output) for use in uses] == [
            ("", "made", True),
            ("train", "made", True),
            ("report", "given", False),
        ]
        nearest = await database.artifacts.lineage(model.id)
        assert {use.path for use in nearest} == {"train", "report"}
        assert {use.artifact_id for use in nearest} == {clean.id, model.id, report.id}
        all_up = await database.artifacts.lineage(report.id, up=10, down=0)
        assert {use.path for use in all_up} == {"prepare", "train", "report"}
        assert await database.artifacts.lineage(raw.id, up=3, down=0) == []
        assert [use.artifact_id for use in await database.artifacts.of_task(steps[0].id)] == [
            clean.id,
            raw.id,
        ]

    with_database(body)


def test_artifacts_are_listed_by_where_they_are_from_and_found_by_uri(with_database: With) -> None:
    async def body(database: Database) -> None:
        model = make_artifact("model", type_title="system.Model", run_id="r1", task_id="t1", created_at=1.0)
        data = make_artifact("data", type_title="system.Dataset", run_id="r1", task_id="t2", created_at=2.0)
        foreign = make_artifact("foreign", namespace="other", type_title="system.Model", created_at=3.0)
        await database.artifacts.insert([model, data, foreign])
        page = database.artifacts.page
        assert (await page(namespace="team")).items == [model, data]
        assert (await page(namespace="team", type="system.Model")).items == [model]
        assert (await page(run_id="r1", task_id="t2")).items == [data]
        assert (await page(ListOptions(sort_by="created_at desc", page_size=1))).items == [foreign]
        assert await database.artifacts.find_by_uri("team", model.uri) == [model]
        assert await database.artifacts.find_by_uri("other", model.uri) == []
        changed = replace(model, metadata={"accuracy": 0.9})
        await database.artifacts.insert([changed])
        assert await database.artifacts.get(model.id) == changed

    with_database(body)


def test_metrics_of_runs_are_kept_and_sorted_by(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number, accuracy in enumerate([0.5, 0.9, None, 0.7]):
            run = make_run(number)
            await database.runs.insert(run)
            metadata = {"accuracy": accuracy, "note": "x", "flag": True, "bad": math.nan} if accuracy else {}
            metrics = make_artifact(f"m{number}", type_title="system.Metrics", metadata=metadata)
            await database.record([make_task(run, outputs=Values({}, {"metrics": (metrics,)}))], [metrics])
        ids = [make_run(number).id for number in range(4)]
        found = await database.artifacts.metrics(ids)
        assert {id: [(m.name, m.value) for m in some] for id, some in found.items()} == {
            ids[0]: [("accuracy", 0.5)],
            ids[1]: [("accuracy", 0.9)],
            ids[3]: [("accuracy", 0.7)],
        }
        best = await database.runs.page(ListOptions(sort_by="metric:accuracy desc", page_size=2))
        assert [run.id for run in best.items] == [ids[1], ids[3]]
        rest = await database.runs.page(ListOptions(page_token=best.next_token, page_size=2))
        assert [run.id for run in rest.items] == [ids[0], ids[2]]
        task = make_task(make_run(0), outputs=Values())
        await database.record([task])
        assert ids[0] not in await database.artifacts.metrics(ids)

    with_database(body)


def test_the_cache_gives_the_newest_that_succeeded_until_it_is_forgotten(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = make_run()
        await database.runs.insert(run)

        def ended(path: str, at: float, state: TaskState = TaskState.SUCCEEDED) -> Task:
            return make_task(run, path, state=state, finished_at=at, caching=Caching("miss", "new", "print"))

        good = [ended("a", 10.0), ended("b", 20.0)]
        await database.record([*good, ended("c", 30.0, TaskState.FAILED), ended("d", 40.0, TaskState.CACHED)])
        find = database.cache.find
        assert await find("team", "print") == good[1]
        assert await find("team", "print", not_before=20.5) is None
        assert await find("other", "print") is None
        assert await find("team", "") is None
        assert await database.cache.forget("team", task_id=good[1].id) == 1
        assert await find("team", "print") == good[0]
        await database.record([good[1]])
        assert await find("team", "print") == good[0]
        assert await database.cache.forget("team", fingerprint="other") == 0
        assert await database.cache.forget("team") == 3
        assert await find("team", "print") is None

    with_database(body)


def test_children_of_a_loop_come_in_order_and_states_are_counted(with_database: With) -> None:
    async def body(database: Database) -> None:
        run = make_run()
        await database.runs.insert(run)
        loop = make_task(run, "loop", kind=TaskKind.LOOP, parent="")
        turns = [
            make_task(run, f"loop[{n}]", iteration=n, parent="loop", kind=TaskKind.ITERATION)
            for n in range(12)
        ]
        leaves = [make_task(run, f"loop[{n}]/train", state=TaskState.SUCCEEDED) for n in range(3)]
        await database.tasks.upsert_many(run.id, [loop, *reversed(turns), *leaves])
        assert await database.tasks.children(run.id, "loop", limit=4, offset=8) == turns[8:]
        assert await database.tasks.children(run.id, "loop[1]", limit=9) == [leaves[1]]
        assert await database.tasks.count_states([run.id]) == {run.id: {TaskState.SUCCEEDED: 3}}
        assert await database.tasks.get_many([loop.id, "gone"]) == {loop.id: loop}

    with_database(body)


def test_a_deleted_run_takes_with_it_what_is_only_its_own(with_database: With) -> None:
    async def body(database: Database) -> None:
        first, second = make_run(0), make_run(1)
        mine, shared = make_artifact("mine", run_id=first.id), make_artifact("shared", run_id=first.id)
        for run in (first, second):
            await database.runs.insert(run)
        await database.record(
            [make_task(first, outputs=Values({}, {"a": (mine,), "b": (shared,)}))], [mine, shared]
        )
        await database.record([make_task(second, inputs=Values({}, {"b": (shared,)}))])
        await database.runs.delete(first.id)
        assert await database.tasks.of(first.id) == []
        assert (await database.artifacts.page()).items == [shared]
        assert (await database.runs.get(second.id, with_spec=True)).pipeline_spec == SPEC
        await database.runs.delete(second.id)
        with pytest.raises(NotFound):
            await database.runs.delete(second.id)
        assert await count(database, "documents") == 0

    with_database(body)


def test_runs_of_one_pipeline_share_its_document(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number in range(5):
            await database.runs.insert(make_run(number))
        await database.runs.insert(make_run(5, pipeline_spec={**SPEC, "sdkVersion": "other"}))
        assert await count(database, "documents") == 2

    with_database(body)


async def count(database: Database, table: str) -> int:
    rows = await database._engine.read(lambda transaction: transaction.rows(f"SELECT count(*) FROM {table}"))
    return rows[0][0]


def test_an_archived_experiment_takes_its_runs_along_and_disables_what_makes_more(
    with_database: With,
) -> None:
    async def body(database: Database) -> None:
        experiment = Experiment("e", "nightly", "team", 5.0)
        await database.experiments.insert(experiment)
        with pytest.raises(AlreadyExists, match=r"The name nightly already exists\. Please"):
            await database.experiments.insert(Experiment("f", "nightly", "team", 6.0))
        await database.experiments.insert(Experiment("f", "nightly", "other", 6.0))
        await database.runs.insert(make_run(1, experiment_id="e"))
        await database.recurring.insert(RecurringRun("r", "r", "team", 1.0, experiment_id="e", due_at=3.0))
        found = await database.experiments.find_by_name("team", "nightly")
        assert found == replace(experiment, last_run_created_at=1001.0)
        await database.experiments.archive("e", now=99.0)
        assert (await database.experiments.get("e")).storage_state == "ARCHIVED"
        assert (await database.runs.get(make_run(1).id)).storage_state == "ARCHIVED"
        recurring = await database.recurring.get("r")
        assert (recurring.is_enabled, recurring.due_at, recurring.updated_at) == (False, None, 99.0)
        await database.experiments.unarchive("e")
        page = await database.experiments.page(ListOptions(sort_by="name desc"), namespace="team")
        assert [one.storage_state for one in page.items] == ["AVAILABLE"]
        await database.experiments.delete("e")
        with pytest.raises(NotFound, match="Experiment e not found"):
            await database.experiments.get("e")
        assert (await database.runs.page(experiment_id="e")).total == 1

    with_database(body)


def test_a_pipeline_has_versions_and_goes_with_them_only_when_asked(with_database: With) -> None:
    async def body(database: Database) -> None:
        pipelines, versions = database.pipelines, database.versions
        pipeline = Pipeline("p", "train", "team", 1.0, tags={"team": "a"})
        one = PipelineVersion("v1", "p", "first", 1.0, pipeline_spec=SPEC, tags={"stage": "test"})
        two = PipelineVersion("v2", "p", "second", 2.0, pipeline_spec=SPEC)
        await pipelines.insert(pipeline, one)
        await versions.insert(two)
        with pytest.raises(AlreadyExists, match="The name train already exists"):
            await pipelines.insert(
                Pipeline("q", "train", "team", 2.0), replace(one, id="v9", pipeline_id="q")
            )
        with pytest.raises(AlreadyExists, match=r"The name second already exist\. Specify"):
            await versions.insert(replace(two, id="v3"))
        with pytest.raises(NotFound, match="Pipeline none not found"):
            await versions.insert(replace(two, id="v3", pipeline_id="none"))
        assert await pipelines.find_by_name("team", "train") == pipeline
        assert await versions.find_latest("p", with_spec=True) == two
        assert await versions.find_by_name("p", "first") == replace(one, pipeline_spec={})
        assert (await versions.page("p", ListOptions(sort_by="created_at desc"))).items[0].id == "v2"
        tagged = ListOptions(filter=predicate("EQUALS", "tags.stage", "test"))
        assert [version.id for version in (await versions.page("p", tagged)).items] == ["v1"]
        changed = await pipelines.update("p", display_name="Train!", tags={"owner": "b"})
        assert (
            await pipelines.get("p")
            == changed
            == replace(pipeline, display_name="Train!", tags={"owner": "b"})
        )
        assert (await versions.update("v1", tags={})).tags == {}
        with pytest.raises(
            Invalid, match=r"existing pipeline versions \(e.g. v2\). Set cascade=true to delete all"
        ):
            await pipelines.delete("p")
        await database.runs.insert(make_run(pipeline_version_id="v2"))
        await pipelines.delete("p", cascade=True)
        assert (await pipelines.page()).items == []
        with pytest.raises(NotFound):
            await versions.get("v1")
        assert (await database.runs.get(make_run().id, with_spec=True)).pipeline_spec == SPEC

    with_database(body)


def test_pipelines_with_names_or_tags_that_upstream_refuses_are_refused_in_its_words(
    with_database: With,
) -> None:
    refused = {
        "Pipeline.Name length cannot exceed 128": {"name": "x" * 129},
        "number of tags (21) exceeds maximum of 20 per entity": {"tags": {f"t{n}": "" for n in range(21)}},
        "tag key cannot be empty": {"tags": {"": "x"}},
        "tag key \"a.b\" must not contain '.' character": {"tags": {"a.b": "x"}},
        "exceeds maximum length of 63 characters": {"tags": {"a": "x" * 64}},
    }

    async def body(database: Database) -> None:
        for message, fields in refused.items():
            with pytest.raises(Invalid) as error:
                await database.pipelines.insert(
                    Pipeline(**{"id": "p", "name": "n", "namespace": "", **fields}, created_at=1.0)
                )
            assert message in str(error.value)
        assert (await database.pipelines.page()).total == 0

    with_database(body)


def predicate(operation: str, key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


def test_recurring_runs_are_due_in_time_and_only_while_they_are_enabled(with_database: With) -> None:
    async def body(database: Database) -> None:
        recurring = database.recurring
        for number, due in enumerate([30.0, 10.0, None, 20.0]):
            await recurring.insert(
                RecurringRun(f"r{number}", f"r{number}", "team", 1.0 + number, due_at=due, pipeline_spec=SPEC)
            )
        assert [one.id for one in await recurring.due_recurring_runs(25.0, 10)] == ["r1", "r3"]
        assert [one.id for one in await recurring.due_recurring_runs(25.0, 1)] == ["r1"]
        assert await recurring.next_due_at() == 10.0
        changed = await recurring.update("r1", is_enabled=False, updated_at=5.0)
        assert (changed.is_enabled, changed.pipeline_spec) == (False, SPEC)
        assert await recurring.next_due_at() == 20.0
        assert [one.id async for one in recurring.enabled_recurring_runs()] == ["r0", "r2", "r3"]
        old = await recurring.get("r3")
        await recurring.update("r3", display_name="renamed")
        await recurring.note_recurring_run(
            replace(old, last_index=4, last_scheduled_at=20.0, due_at=40.0, error="x")
        )
        noted = await recurring.get("r3")
        assert (noted.display_name, noted.last_index, noted.due_at, noted.error) == ("renamed", 4, 40.0, "x")
        await database.runs.insert(make_run(0, recurring_run_id="r3"))
        await database.runs.insert(make_run(1, recurring_run_id="r3", state=RunState.FAILED))
        assert await recurring.count_active_runs("r3") == 1
        page = await recurring.page(ListOptions(sort_by="created_at desc", page_size=1), namespace="team")
        assert (page.items[0].id, page.total, page.items[0].pipeline_spec) == ("r3", 4, {})
        await recurring.delete("r3")
        assert await recurring.find_recurring_run("r3") is None
        await recurring.note_recurring_run(noted)
        assert await recurring.find_recurring_run("r3") is None

    with_database(body)


FILTERED = {
    "a name": (predicate("EQUALS", "display_name", "train 3"), [3]),
    "another name in camel case": (predicate("NOT_EQUALS", "displayName", "train 3"), [0, 1, 2, 4, 5]),
    "v1beta1's name": (predicate("EQUALS", "name", "train 3"), [3]),
    "a part of a name, whatever its case": (predicate("IS_SUBSTRING", "display_name", "TRAIN 1"), [1]),
    "a part that looks like a pattern": (predicate("IS_SUBSTRING", "display_name", "%"), []),
    "a state in v1beta1's words": (predicate("EQUALS", "status", "Error"), [0]),
    "one of some": (
        json.dumps(
            {"predicates": [{"operation": 8, "key": "id", "stringValues": {"values": [make_run(4).id]}}]}
        ),
        [4],
    ),
    "one of none": ('{"predicates":[{"operation":8,"key":"run_id","stringValues":{}}]}', []),
    "a time": (
        '{"predicates":[{"operation":1,"key":"created_at","timestampValue":"1970-01-01T00:16:42.500Z"}]}',
        [2],
    ),
    "not a time": ('{"predicates":[{"operation":2,"key":"created_at","longValue":"1002"}]}', [0, 1, 3, 4, 5]),
    "after": ('{"predicates":[{"operation":3,"key":"createdAt","longValue":"1002"}]}', [3, 4, 5]),
    "not before": ('{"predicates":[{"operation":5,"key":"created_at","longValue":"1002"}]}', [2, 3, 4, 5]),
    "before": ('{"predicates":[{"operation":6,"key":"created_at","longValue":"1002"}]}', [0, 1]),
    "not after": ('{"predicates":[{"operation":7,"key":"created_at","longValue":"1002"}]}', [0, 1, 2]),
    "one of two times": (
        '{"predicates":[{"operation":8,"key":"created_at","longValues":{"values":["1001",1005]}}]}',
        [1, 5],
    ),
    "two conditions": (
        '{"predicates":[{"operation":3,"key":"created_at","longValue":"1001"},'
        '{"operation":2,"key":"id","stringValue":"x"},{"operation":6,"key":"created_at","longValue":"1004"}]}',
        [2, 3],
    ),
}


def test_filters_mean_what_upstreams_mean(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number in range(6):
            state = RunState.RUNNING if number else RunState.FAILED
            await database.runs.insert(make_run(number, created_at=1000.25 + number, state=state))
        for case, (text, expected) in FILTERED.items():
            page = await database.runs.page(ListOptions(filter=text))
            assert [uuid.UUID(run.id).int for run in page.items] == expected, case
            assert page.total == len(expected), case

    with_database(body)


REFUSED_OPTIONS = {
    "an unknown field": (
        {"filter": predicate("EQUALS", "colour", "x")},
        'no support for filtering on unrecognized field "colour"',
    ),
    "a time as text": (
        {"filter": predicate("EQUALS", "created_at", "x")},
        "a time, with a value of type string",
    ),
    "an unknown order": ({"sort_by": "colour"}, 'Invalid sorting field: "colour" on listable type Run'),
    "an order with more words": (
        {"sort_by": "name down"},
        'Received invalid sort by format "name down". Supported format: "field_name", "field_name desc", or',
    ),
    "a negative size": ({"page_size": -1}, "The page size should be greater than 0. Got -1"),
    "a token that is none": ({"page_token": "x"}, "Invalid page token"),
    "a token of nothing": ({"page_token": "e30="}, "Invalid page token"),
    "a token of another order": (
        {"page_token": "first", "sort_by": "name"},
        "page token does not match the supplied sort by and/or filtering criteria",
    ),
    "a token of another filter": (
        {"page_token": "first", "filter": predicate("EQUALS", "name", "x")},
        "page token does not match the supplied sort by and/or filtering criteria",
    ),
}


CHANGED_TOKENS = [
    {"SortByFieldName": "colour"},
    {"SortByFieldName": "display_name"},
    {"SortByFieldName": 3},
    {"SortByFieldValue": "x"},
    {"SortByFieldValue": None},
    {"SortByFieldValue": 10**400},
    {"KeyFieldValue": 3},
    {"KeyFieldValue": "a\ud800"},
    {"IsDesc": "yes"},
    {"ModelName": "experiments"},
    {"Filter": None},
    {"Filter": [["EQUALS", "created_at", "x", "string"]]},
    {"Filter": [["EQUALS", "state; DROP TABLE runs", "x", "string"]]},
    {"Filter": [["LIKE", "state", "x", "string"]]},
    {"Filter": [["EQUALS", "state", {"x": 1}, "string"]]},
    {"Filter": [["EQUALS", "state", "x", "string"]] * 51},
    {"Filter": [["IN", "state", ["x"] * 1001, "[]string"]]},
]


def test_values_that_no_engine_holds_are_refused(with_database: With) -> None:
    def by_time(operation: str) -> ListOptions:
        condition = {"operation": operation, "key": "created_at", "longValue": str(2**63 - 1)}
        return ListOptions(filter=json.dumps({"predicates": [condition]}))

    async def body(database: Database) -> None:
        with pytest.raises(Invalid, match="a value that the database cannot hold"):
            await database.runs.get("a\ud800")
        await database.runs.insert(make_run())
        assert (await database.runs.page(by_time("LESS_THAN"))).total == 1
        assert (await database.runs.page(by_time("GREATER_THAN"))).total == 0

    with_database(body)


def test_list_options_that_cannot_be_are_refused_in_upstreams_words(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number in range(3):
            await database.runs.insert(make_run(number))
            await database.experiments.insert(Experiment(f"e{number}", f"e{number}", "team", 1.0))
        first = (await database.runs.page(ListOptions(page_size=1, sort_by="created_at desc"))).next_token
        for case, (options, message) in REFUSED_OPTIONS.items():
            if options.get("page_token") == "first":
                options = {**options, "page_token": first}
            with pytest.raises(Invalid) as refused:
                await database.runs.page(ListOptions(**options))
            assert message in str(refused.value), case
        again = await database.runs.page(ListOptions(page_token=first, sort_by="created_at desc"))
        assert [run.created_at for run in again.items] == [1001.0, 1000.0]
        for changed in CHANGED_TOKENS:
            token = {**json.loads(base64.b64decode(first)), **changed}
            with pytest.raises(Invalid):
                await database.runs.page(
                    ListOptions(page_token=base64.b64encode(json.dumps(token).encode()).decode())
                )
        foreign = (await database.experiments.page(ListOptions(page_size=1))).next_token
        with pytest.raises(Invalid, match="Invalid page token"):
            await database.runs.page(ListOptions(page_token=foreign))

    with_database(body)


def test_pages_give_each_run_once_whatever_is_written_between_them(with_database: With) -> None:
    async def body(database: Database) -> None:
        for number in range(30):
            await database.runs.insert(make_run(number, created_at=1000.0 + number // 7))
        token, seen = "", []
        while True:
            page = await database.runs.page(ListOptions(page_size=4, page_token=token, sort_by="created_at"))
            seen += [run.id for run in page.items]
            token = page.next_token
            if not token:
                break
            await database.runs.insert(make_run(100 + len(seen), created_at=1.0))
            await database.runs.delete(seen[0] if len(seen) == 4 else make_run(96 + len(seen)).id)
        assert seen == [make_run(number).id for number in range(30)]

    with_database(body)


def test_two_processes_may_open_and_write_at_once(url: str) -> None:
    async def go() -> None:
        first, second = await asyncio.gather(open_database(url), open_database(url))
        try:
            for start in range(0, 40, 20):
                writes = []
                for number in range(start, start + 20):
                    writes += [first.runs.insert(make_run(number)), second.runs.insert(make_run(number))]
                answers = await asyncio.gather(*writes, return_exceptions=True)
                assert sum(answer is None for answer in answers) == 20
                assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 20
            changes = [
                database.runs.update(make_run(number).id, **change)
                for number in range(40)
                for database, change in ((first, {"error": "x"}), (second, {"display_name": "y"}))
            ]
            await asyncio.gather(*changes)
            found = (await second.runs.page(ListOptions(page_size=100))).items
            assert {(run.error, run.display_name) for run in found} == {("x", "y")}
        finally:
            await first.close()
            await second.close()

    asyncio.run(go())


def test_a_closed_database_says_so(url: str) -> None:
    async def go() -> None:
        database = await open_database(url)
        await database.runs.insert(make_run())
        await database.close()
        await database.close()
        with pytest.raises(Unavailable, match="the database is closed"):
            await database.runs.get(make_run().id)

    asyncio.run(go())


def test_a_database_of_a_version_to_come_is_left_alone(url: str) -> None:
    async def go() -> None:
        database = await open_database(url)
        await database._engine.write(
            lambda transaction: transaction.run("UPDATE schema_version SET version = 999")
        )
        await database.close()
        with pytest.raises(CannotOpen, match="the database has version 999 and this Proa knows up to"):
            await open_database(url)

    asyncio.run(go())


COMPARISONS = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt,
    "LESS_THAN_EQUALS": operator.le,
    "IN": lambda left, right: left in right,
    "IS_SUBSTRING": lambda left, right: right.lower() in left.lower(),
}
WORDS = ["", "a", "A", "ab", "a_b", "aXb", "50%", "é", "ä b", "\\", "'", "zz"]


def holds(run: Run, condition: tuple[str, str, Any]) -> bool:
    key, comparison, value = condition
    left = getattr(run, key)
    return COMPARISONS[comparison](math.floor(left) if isinstance(left, float) else left, value)


def random_condition(rng: random.Random) -> tuple[str, str, Any]:
    key = rng.choice(["display_name", "description", "state", "created_at", "finished_at"])
    is_time = key.endswith("_at")
    comparison = rng.choice([name for name in COMPARISONS if not is_time or name != "IS_SUBSTRING"])

    def value() -> Any:
        return rng.randrange(6) if is_time else rng.choice([*WORDS, "FAILED", "RUNNING"])

    return key, comparison, [value() for _ in range(rng.randrange(4))] if comparison == "IN" else value()


def written(condition: tuple[str, str, Any]) -> dict[str, Any]:
    key, comparison, value = condition
    kind = "long" if key.endswith("_at") else "string"
    name, value = (f"{kind}_values", {"values": value}) if comparison == "IN" else (f"{kind}_value", value)
    return {"key": key, "operation": comparison, name: value}


def test_any_list_is_what_python_would_make_of_all_runs(with_database: With) -> None:
    rng = random.Random(3)
    runs = [
        make_run(
            number,
            display_name=rng.choice(WORDS),
            description=rng.choice(WORDS),
            state=rng.choice([RunState.FAILED, RunState.RUNNING]),
            created_at=rng.randrange(24) / 4,
            finished_at=float(rng.randrange(6)),
        )
        for number in range(40)
    ]

    async def body(database: Database) -> None:
        await asyncio.gather(*[database.runs.insert(run) for run in runs])
        for _ in range(60):
            conditions = [random_condition(rng) for _ in range(rng.randrange(4))]
            sort, is_descending = (
                rng.choice(["created_at", "display_name", "state", "run_id"]),
                rng.random() < 0.5,
            )
            size = rng.choice([7, 13, 50])
            options = {
                "sort_by": f"{sort} {'desc' if is_descending else 'asc'}",
                "filter": json.dumps({"predicates": [written(condition) for condition in conditions]}),
                "page_size": size,
            }
            wanted = [run for run in runs if all(holds(run, condition) for condition in conditions)]
            column = "id" if sort == "run_id" else sort
            wanted.sort(key=lambda run: (getattr(run, column), run.id), reverse=is_descending)
            found, token = [], ""
            while not found or token:
                page = await database.runs.page(ListOptions(**options, page_token=token))
                assert page.total == len(wanted), options
                found += [run.id for run in page.items]
                token = page.next_token
                if not wanted:
                    break
            assert found == [run.id for run in wanted], options

    with_database(body)
