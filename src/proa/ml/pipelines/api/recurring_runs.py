"""Recurring runs: what makes runs at times. Upstream: backend/src/apiserver/server/job_server.go."""

from __future__ import annotations

from dataclasses import replace

from proa.client.protocol import Response
from proa.ml.pipelines.api.access import JOBS
from proa.ml.pipelines.api.call import Call, answer, without_empty
from proa.ml.pipelines.api.documents import check_parameters
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.messages import RECURRING_RUN
from proa.ml.pipelines.api.refusals import invalid
from proa.ml.pipelines.api.run_answers import UNKNOWN_ERROR
from proa.ml.pipelines.api.runs import find_experiment, find_package
from proa.ml.pipelines.api.times import format_time
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.records import Json, RecurringRun
from proa.ml.pipelines.recurring.checks import check_recurring_run
from proa.ml.pipelines.run_objects import SERVICE_ACCOUNT
from proa.objects.errors import BadRequest


def render(recurring: RecurringRun) -> Json:
    """Return it as the API shows it."""
    config = {"parameters": dict(recurring.parameters), "pipeline_root": recurring.pipeline_root}
    return without_empty(
        {
            "recurring_run_id": recurring.id,
            "display_name": recurring.display_name,
            "description": recurring.description,
            **_source(recurring),
            "runtime_config": without_empty(config),
            "service_account": recurring.service_account,
            "max_concurrency": str(recurring.max_concurrency),
            "trigger": _trigger(recurring),
            "mode": "ENABLE" if recurring.is_enabled else "DISABLE",
            "created_at": format_time(recurring.created_at),
            "updated_at": format_time(recurring.updated_at),
            "status": "ENABLED" if recurring.is_enabled else "DISABLED",
            "error": {"code": UNKNOWN_ERROR, "message": recurring.error} if recurring.error else {},
            "no_catchup": recurring.no_catchup,
            "namespace": recurring.namespace,
            "experiment_id": recurring.experiment_id,
            "proa": without_empty(
                {
                    "last_scheduled_at": format_time(recurring.last_scheduled_at)
                    if recurring.last_scheduled_at
                    else "",
                    "next_at": format_time(recurring.due_at) if recurring.due_at else "",
                    "runs_made": recurring.last_index,
                }
            ),
        }
    )


def _source(recurring: RecurringRun) -> Json:
    if recurring.pipeline_id:
        reference = {
            "pipeline_id": recurring.pipeline_id,
            "pipeline_version_id": recurring.pipeline_version_id,
        }
        return {"pipeline_version_reference": without_empty(reference)}
    package = Package(dict(recurring.pipeline_spec), dict(recurring.platform_spec))
    return {"pipeline_spec": package.as_document()}


def _trigger(recurring: RecurringRun) -> Json:
    times = {
        "start_time": format_time(recurring.start_time) if recurring.start_time else "",
        "end_time": format_time(recurring.end_time) if recurring.end_time else "",
    }
    if recurring.cron:
        return {"cron_schedule": without_empty({**times, "cron": recurring.cron})}
    if recurring.interval_seconds:
        interval = str(recurring.interval_seconds)
        return {"periodic_schedule": without_empty({**times, "interval_second": interval})}
    return {}


async def create(call: Call) -> Response:
    """POST recurringruns."""
    message = call.message(RECURRING_RUN)
    name = message.get("display_name", "")
    if not name:
        raise invalid("Recurring run name is empty. Please specify a valid name")
    experiment = await find_experiment(call, message.get("experiment_id", ""))
    if message.get("namespace") not in (None, "", experiment.namespace):
        raise invalid(
            f"Experiment {experiment.id} belongs to namespace '{experiment.namespace}' instead of "
            f"'{message['namespace']}'"
        )
    await call.check("create", JOBS, experiment.namespace)
    package, reference = await find_package(call, message)
    config = message.get("runtime_config", {})
    parameters = config.get("parameters", {})
    check_parameters(package, parameters)
    now = call.services.now()
    recurring = RecurringRun(
        call.services.new_id(),
        name,
        experiment.namespace,
        now,
        message.get("description", ""),
        experiment.id,
        parameters=parameters,
        pipeline_root=config.get("pipeline_root", ""),
        service_account=message.get("service_account") or SERVICE_ACCOUNT,
        max_concurrency=message.get("max_concurrency", 1),
        no_catchup=message.get("no_catchup", False),
        is_enabled=message.get("mode") == "ENABLE",
        updated_at=now,
        **read_trigger(message.get("trigger", {})),
        **reference,
    )
    if not reference:
        recurring = replace(
            recurring, pipeline_spec=package.pipeline_spec, platform_spec=package.platform_spec
        )
    elif not message.get("pipeline_version_reference", {}).get("pipeline_version_id") and not message.get(
        "pipeline_version_id"
    ):
        recurring = replace(recurring, pipeline_version_id="")  # the latest, whenever a run is made
    try:
        check_recurring_run(recurring)
    except BadRequest as error:
        raise invalid(error.message) from None
    await call.services.database.recurring.insert(recurring)
    call.services.look_at(recurring.id)
    return answer(render(recurring))


def read_trigger(trigger: Json) -> Json:
    """Return the fields of a RecurringRun that say when; raise Refusal."""
    cron, periodic = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    if cron is not None and periodic is not None:
        raise invalid("only one of cron_schedule and periodic_schedule can be given")
    schedule = cron or periodic or {}
    times = {"start_time": schedule.get("start_time", 0.0), "end_time": schedule.get("end_time", 0.0)}
    if periodic is not None:
        seconds = periodic.get("interval_second", 0)
        if seconds < 1:
            raise invalid(
                f"Found invalid period schedule interval {seconds}. Set at interval to least 1 second"
            )
        return {**times, "interval_seconds": seconds}
    if cron is not None:
        if not cron.get("cron"):
            raise invalid("Schedule cron is empty")
        return {**times, "cron": cron["cron"]}
    return {}


async def get(call: Call) -> Response:
    """GET recurringruns/{recurring_run_id}."""
    return answer(render(await find(call, "get")))


async def list_(call: Call) -> Response:
    """GET recurringruns: of an experiment, or of a namespace."""
    experiment_id, namespace = call.text("experiment_id"), call.namespace
    if experiment_id:
        namespace = (await call.services.database.experiments.get(experiment_id)).namespace
    await call.check("list", JOBS, namespace)
    page = await call.services.database.recurring.page(
        list_options(call), namespace=namespace, experiment_id=experiment_id, with_spec=True
    )
    return list_answer("recurringRuns", page, render)


async def enable(call: Call) -> Response:
    """POST recurringruns/{recurring_run_id}:enable."""
    return await _switch(call, "enable", is_enabled=True)


async def disable(call: Call) -> Response:
    """POST recurringruns/{recurring_run_id}:disable."""
    return await _switch(call, "disable", is_enabled=False)


async def _switch(call: Call, verb: str, *, is_enabled: bool) -> Response:
    recurring = await find(call, verb)
    await call.services.database.recurring.update(
        recurring.id, is_enabled=is_enabled, updated_at=call.services.now()
    )
    call.services.look_at(recurring.id)
    return answer({})


async def delete(call: Call) -> Response:
    """DELETE recurringruns/{recurring_run_id}; the runs that it made stay."""
    recurring = await find(call, "delete")
    await call.services.database.recurring.delete(recurring.id)
    call.services.look_at(recurring.id)
    return answer({})


async def find(call: Call, verb: str) -> RecurringRun:
    """Return the recurring run that the path names, which the caller may `verb`; raise Refusal."""
    recurring = await call.services.database.recurring.get(call.path["recurring_run_id"])
    await call.check(verb, JOBS, recurring.namespace, recurring.display_name)
    return recurring
