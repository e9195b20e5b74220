"""Make runs: the row first, then its Run object, which is what the operator carries out.

The row is the truth: where the object cannot be made now, the operator makes it at its next start. A run whose id is
there already is returned as it is, so that a recurring run's run that is asked for twice is made once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proa.ml.database.errors import AlreadyExists, DatabaseError, NotFound
from proa.ml.pipelines.api.documents import check_parameters, pipeline_name
from proa.ml.pipelines.api.refusals import Code, Refusal
from proa.ml.pipelines.api.services import Services
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.ir.tasks import is_cache_refused
from proa.ml.pipelines.records import RecurringRun, Run, RunState
from proa.ml.pipelines.recurring.macros import Moment, expand_all
from proa.ml.pipelines.recurring.plan import RunToMake
from proa.ml.pipelines.run_objects import RUNS, SERVICE_ACCOUNT, make_object
from proa.objects.errors import AlreadyExists as ObjectExists
from proa.objects.errors import ApiError, BadRequest, ServiceUnavailable

_MAX_NAME = 40
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


def make_run(
    id: str,
    display_name: str,
    namespace: str,
    now: float,
    pipeline_spec: Mapping[str, Any],
    platform_spec: Mapping[str, Any],
    **rest: Any,
) -> Run:
    """Return a new run; its object is called after its pipeline and its id."""
    name = f"{object_name(pipeline_name(pipeline_spec))}-{id.replace('-', '')[:10]}"
    return Run(
        id,
        name,
        namespace,
        display_name,
        RunState.PENDING,
        now,
        pipeline_spec=pipeline_spec,
        platform_spec=platform_spec,
        states=((RunState.PENDING, now),),
        cache_enabled=False if is_cache_refused(pipeline_spec) else None,
        **{"service_account": SERVICE_ACCOUNT, "scheduled_at": now, **rest},
    )


def object_name(text: str) -> str:
    """Return what an object may be called that is known by this text."""
    return _NOT_IN_NAMES.sub("-", text.lower())[:_MAX_NAME].strip("-") or "run"


async def create_run(services: Services, run: Run) -> Run:
    """Store a run and have it carried out; return it as stored. Raises Refusal, DatabaseError."""
    package = Package(dict(run.pipeline_spec), dict(run.platform_spec))
    run = replace(run, parameters=check_parameters(package, run.parameters))
    try:
        await services.database.runs.insert(run)
    except AlreadyExists:
        return await services.database.runs.get(run.id)
    await create_object(services, run)
    return run


async def create_object(services: Services, run: Run) -> None:
    """Make the object of a run that is stored; a run that the cluster does not want is no run. Raises Refusal."""
    try:
        await services.client.create(RUNS, make_object(run), run.namespace)
    except ObjectExists:
        return
    except ServiceUnavailable:
        return  # the row is there: the operator makes it
    except ApiError as error:
        await services.database.runs.delete(run.id)
        code = Code.NOT_FOUND if error.code == 404 else Code.INTERNAL
        raise Refusal(
            code, f"the run cannot be made in namespace {run.namespace}: {error.message}"
        ) from error


async def create_recurring(services: Services, recurring: RecurringRun, wanted: RunToMake) -> Run:
    """Make a recurring run's run (`recurring.loop.CreateRun`); raise ApiError."""
    try:
        spec, platform, version_id = await _documents_of(services, recurring)
        now = services.now()
        moment = Moment(wanted.id, now, wanted.scheduled_at, wanted.index)
        run = make_run(
            wanted.id,
            wanted.name,
            recurring.namespace,
            now,
            spec,
            platform,
            experiment_id=recurring.experiment_id,
            pipeline_id=recurring.pipeline_id,
            pipeline_version_id=version_id,
            recurring_run_id=recurring.id,
            parameters=expand_all(recurring.parameters, moment),
            pipeline_root=recurring.pipeline_root,
            service_account=recurring.service_account or SERVICE_ACCOUNT,
            scheduled_at=wanted.scheduled_at,
        )
        return await create_run(services, run)
    except Refusal as refusal:
        raise BadRequest(refusal.message) from refusal
    except DatabaseError as error:
        raise ServiceUnavailable(str(error)) from error


async def _documents_of(
    services: Services, recurring: RecurringRun
) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    if not recurring.pipeline_id and not recurring.pipeline_version_id:
        return recurring.pipeline_spec, recurring.platform_spec, ""
    versions = services.database.versions
    if recurring.pipeline_version_id:
        version = await versions.get(recurring.pipeline_version_id, with_spec=True)
    else:
        latest = await versions.find_latest(recurring.pipeline_id, with_spec=True)
        if latest is None:
            raise NotFound("PipelineVersion", recurring.pipeline_id)
        version = latest
    return version.pipeline_spec, version.platform_spec, version.id
