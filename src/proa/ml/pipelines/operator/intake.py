"""Take in Run objects that the REST API did not make: one applied by hand, with a pipeline of its own, gets its row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proa.client.protocol import Object
from proa.ml.database.errors import AlreadyExists
from proa.ml.pipelines.ir.document import package_of
from proa.ml.pipelines.ir.problems import InvalidParameters, InvalidPipeline
from proa.ml.pipelines.operator.accounts import NAME
from proa.ml.pipelines.operator.run_status import make_status, write_status
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.records import Run, RunState
from proa.objects import meta


def is_object_of(obj: Object, run: Run) -> bool:
    """Tell whether an object is that of the run that it names: there is one, and its row says where."""
    return (meta.namespace(obj), meta.name(obj)) == (run.namespace, run.name)


async def refuse_foreign(around: Surroundings, obj: Object) -> None:
    """Say that an object names another one's run, in the words for a run that is not there."""
    await _refuse(around, obj, make_run(obj), _unknown(obj))


async def take_in(around: Surroundings, obj: Object) -> Run | None:
    """Store the run that an object says; None where that cannot be, which its status tells. Raise ApiError."""
    spec = obj.get("spec") or {}
    run = make_run(obj)
    if "pipelineSpec" not in spec:
        await _refuse(around, obj, run, _unknown(obj))
        return None
    try:
        run = checked(run, spec)
    except (InvalidPipeline, InvalidParameters) as error:
        await _refuse(around, obj, run, str(error))
        return None
    try:
        await around.database.runs.insert(run)
    except AlreadyExists:
        return await around.database.runs.get(run.id, with_spec=True)
    return run


def make_run(obj: Object) -> Run:
    """Return the row of an object as far as it needs no checking; its id is the object's uid."""
    spec: dict[str, Any] = obj.get("spec") or {}
    created = meta.parse_time(obj["metadata"]["creationTimestamp"])
    return Run(
        id=meta.uid(obj),
        name=meta.name(obj),
        namespace=meta.namespace(obj),
        display_name=spec.get("displayName") or meta.name(obj),
        state=RunState.PENDING,
        created_at=created,
        description=spec.get("description") or "",
        experiment_id=spec.get("experimentId") or "",
        parameters=spec.get("parameters") or {},
        pipeline_root=spec.get("pipelineRoot") or "",
        service_account=spec.get("serviceAccountName") or NAME,
        scheduled_at=created,
        states=((RunState.PENDING, created),),
        cache_enabled=spec.get("cacheEnabled"),
    )


def checked(run: Run, spec: dict[str, Any]) -> Run:
    """Return the row with its documents; raise InvalidPipeline, InvalidParameters with every place that is wrong."""
    from proa.ml.pipelines.ir.runtime_parameters import check_runtime_parameters
    from proa.ml.pipelines.ir.validation import check

    document = {"pipeline_spec": spec["pipelineSpec"]}
    if spec.get("platformSpec"):
        document["platform_spec"] = spec["platformSpec"]
    package = package_of(document)
    check(package)
    parameters = check_runtime_parameters(package, run.parameters)
    return replace(
        run,
        pipeline_spec=package.pipeline_spec,
        platform_spec=package.platform_spec,
        parameters=parameters,
    )


def _unknown(obj: Object) -> str:
    run_id = (obj.get("spec") or {}).get("runId")
    return f"spec.runId: no run {run_id} of this name and namespace is in the database"


async def _refuse(around: Surroundings, obj: Object, run: Run, message: str) -> None:
    """Say in the object's status why it will not run."""
    now = around.now()
    failed = replace(run, state=RunState.FAILED, error=message, finished_at=now)
    old = obj.get("status") or {}
    if old.get("state") != RunState.FAILED.value or old.get("message") != message[:2000]:
        await write_status(around.client, obj, make_status(failed, {}, "", old, meta.generation(obj), now))
