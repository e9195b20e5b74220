"""Runs: made, looked at, ended, tried again. Upstream: backend/src/apiserver/server/run_server.go."""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Response
from proa.ml.pipelines.api import experiments, versions
from proa.ml.pipelines.api.access import EXPERIMENTS, RUNS
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.creation import create_run, make_run
from proa.ml.pipelines.api.documents import read_document
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.messages import RUN
from proa.ml.pipelines.api.refusals import Code, Refusal, invalid, not_found
from proa.ml.pipelines.api.run_answers import render, render_with_tasks
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.records import FINAL_RUN_STATES, Experiment, Json, Run, RunState
from proa.ml.pipelines.run_objects import RUNS as RUN_OBJECTS
from proa.ml.pipelines.run_objects import make_object
from proa.objects.errors import ApiError, NotFound

RETRIABLE = frozenset({RunState.FAILED})


async def create(call: Call) -> Response:
    """POST runs. The run is in its experiment's namespace."""
    message = call.message(RUN)
    if message.get("plugins_output"):
        raise Refusal(Code.ABORTED, "plugins_output must not be set by the client")
    name = message.get("display_name", "")
    if not name:
        raise invalid("The run name is empty. Please specify a valid name")
    experiment = await find_experiment(call, message.get("experiment_id") or call.text("experiment_id"))
    await call.check("create", RUNS, experiment.namespace)
    package, reference = await find_package(call, message)
    config = message.get("runtime_config", {})
    services = call.services
    extra = {"service_account": message["service_account"]} if message.get("service_account") else {}
    run = make_run(
        services.new_id(),
        name,
        experiment.namespace,
        services.now(),
        package.pipeline_spec,
        package.platform_spec,
        description=message.get("description", ""),
        experiment_id=experiment.id,
        parameters=config.get("parameters", {}),
        pipeline_root=config.get("pipeline_root", ""),
        **reference,
        **extra,
    )
    return answer(render(await create_run(services, run)))


async def get(call: Call) -> Response:
    """GET runs/{run_id}, with its tasks."""
    run = await find(call, "get", with_spec=True)
    return answer(render_with_tasks(run, await call.services.database.tasks.of(run.id)))


async def list_(call: Call) -> Response:
    """GET runs: of an experiment, or of a namespace. Their tasks are told by `get` alone."""
    experiment_id, namespace = call.text("experiment_id"), call.namespace
    if experiment_id:
        namespace = (await call.services.database.experiments.get(experiment_id)).namespace
    await call.check("list", RUNS, namespace)
    page = await call.services.database.runs.page(
        list_options(call), namespace=namespace, experiment_id=experiment_id, with_spec=True
    )
    return list_answer("runs", page, render)


async def archive(call: Call) -> Response:
    """POST runs/{run_id}:archive."""
    run = await find(call, "archive")
    await call.services.database.runs.archive(run.id)
    return answer({})


async def unarchive(call: Call) -> Response:
    """POST runs/{run_id}:unarchive; not while its experiment is archived."""
    run = await find(call, "unarchive")
    experiment = await call.services.database.experiments.get(run.experiment_id)
    if experiment.storage_state == "ARCHIVED":
        raise Refusal(
            Code.FAILED_PRECONDITION,
            f"Failed to unarchive run {run.id} as experiment {experiment.id} must be un-archived first",
        )
    await call.services.database.runs.unarchive(run.id)
    return answer({})


async def delete(call: Call) -> Response:
    """DELETE runs/{run_id}, its object and its pods; its artifacts stay."""
    run = await find(call, "delete")
    try:
        await call.services.client.delete(
            RUN_OBJECTS, run.name, run.namespace, propagation_policy="Background"
        )
    except NotFound:
        pass
    except ApiError as error:
        raise Refusal(Code.UNAVAILABLE, f"Failed to delete run {run.id}: {error.message}") from error
    await call.services.database.runs.delete(run.id)
    if run.recurring_run_id:
        call.services.look_at(run.recurring_run_id)
    return answer({})


async def terminate(call: Call) -> Response:
    """POST runs/{run_id}:terminate."""
    run = await find(call, "terminate")
    if run.state in FINAL_RUN_STATES:
        raise invalid(f"Failed to terminate run {run.id}: it is {run.state} already")
    await _ask(call, run, {"terminate": True})
    return answer({})


async def retry(call: Call) -> Response:
    """POST runs/{run_id}:retry: what succeeded stays."""
    run = await find(call, "retry")
    if run.state not in RETRIABLE:
        raise Refusal(
            Code.FAILED_PRECONDITION,
            f"Failed to retry run {run.id} as it does not allow retries: it is {run.state}, and only what FAILED is "
            "tried again",
        )
    await _ask(call, run, {"retries": run.retries + 1})
    return answer({})


async def _ask(call: Call, run: Run, spec: Json) -> None:
    """Ask the operator by the run's object, which is made again where it has gone with its time; raise Refusal."""
    client = call.services.client
    try:
        try:
            await client.patch(RUN_OBJECTS, run.name, {"spec": spec}, run.namespace)
        except NotFound:
            obj = make_object(run)
            await client.create(RUN_OBJECTS, {**obj, "spec": {**obj["spec"], **spec}}, run.namespace)
    except ApiError as error:
        code = Code.FAILED_PRECONDITION if error.code == 422 else Code.UNAVAILABLE
        raise Refusal(code, f"run {run.id} cannot be asked: {error.message}") from error


async def find(call: Call, verb: str, *, with_spec: bool = False) -> Run:
    """Return the run that the path names, which the caller may `verb`; raise Refusal."""
    run = await call.services.database.runs.get(call.path["run_id"], with_spec=with_spec)
    await call.check(verb, RUNS, run.namespace, run.name)
    return run


async def find_experiment(call: Call, experiment_id: str) -> Experiment:
    """Return the experiment in which something is made: the default one of the namespace where none is named."""
    if not experiment_id:
        return await experiments.ensure_default(call.services, call.namespace)
    experiment = await call.services.database.experiments.get(experiment_id)
    if not await call.services.access.is_allowed(call.user, "get", EXPERIMENTS, experiment.namespace):
        raise not_found("Experiment", experiment_id)
    return experiment


async def find_package(call: Call, message: Json) -> tuple[Package, dict[str, Any]]:
    """Return the pipeline that a run or recurring run is of, and the ids that it was referred to by; raise Refusal."""
    reference = message.get("pipeline_version_reference", {})
    version_id = reference.get("pipeline_version_id") or message.get("pipeline_version_id", "")
    pipeline_id = reference.get("pipeline_id", "")
    if version_id or pipeline_id:
        if message.get("pipeline_spec"):
            raise invalid("only one of pipeline_spec and pipeline_version_reference can be given")
        version = await versions.find_for_run(call, pipeline_id, version_id)
        package = Package(dict(version.pipeline_spec), dict(version.platform_spec))
        return package, {"pipeline_id": version.pipeline_id, "pipeline_version_id": version.id}
    if not message.get("pipeline_spec"):
        raise invalid("Pipeline spec source is missing: pipeline_spec or pipeline_version_reference")
    return await read_document(message["pipeline_spec"]), {}
