"""Experiments: folders of runs. What names none is in "Default", which is made when it is first needed.

Upstream: backend/src/apiserver/server/experiment_server.go, resource/resource_manager.go.
"""

from __future__ import annotations

from proa.client.protocol import Response
from proa.ml.database.errors import AlreadyExists
from proa.ml.pipelines.api.access import EXPERIMENTS, NAMESPACE
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.messages import EXPERIMENT
from proa.ml.pipelines.api.refusals import Code, Refusal, invalid
from proa.ml.pipelines.api.services import Services
from proa.ml.pipelines.api.times import format_time
from proa.ml.pipelines.records import Experiment, Json

DEFAULT = "Default"
DEFAULT_DESCRIPTION = "All runs created without specifying an experiment will be grouped here."


def render(experiment: Experiment) -> Json:
    """Return it as the API shows it."""
    return {
        "experiment_id": experiment.id,
        "display_name": experiment.name,
        "description": experiment.description,
        "created_at": format_time(experiment.created_at),
        "namespace": experiment.namespace,
        "storage_state": experiment.storage_state,
        "last_run_created_at": format_time(experiment.last_run_created_at),
    }


async def create(call: Call) -> Response:
    """POST experiments."""
    message = call.message(EXPERIMENT)
    name = message.get("display_name", "")
    if not name:
        raise invalid("Experiment must have a non-empty name")
    namespace = message.get("namespace") or NAMESPACE
    await call.check("create", EXPERIMENTS, namespace, name)
    experiment = Experiment(
        call.services.new_id(), name, namespace, call.services.now(), message.get("description", "")
    )
    await call.services.database.experiments.insert(experiment)
    return answer(render(experiment))


async def get(call: Call) -> Response:
    """GET experiments/{experiment_id}."""
    return answer(render(await find(call, "get")))


async def list_(call: Call) -> Response:
    """GET experiments."""
    await call.check("list", EXPERIMENTS, call.namespace)
    page = await call.services.database.experiments.page(list_options(call), namespace=call.namespace)
    return list_answer("experiments", page, render)


async def archive(call: Call) -> Response:
    """POST experiments/{experiment_id}:archive. Its runs are archived too, and its recurring runs disabled."""
    experiment = await find(call, "archive")
    await call.services.database.experiments.archive(experiment.id)
    return answer({})


async def unarchive(call: Call) -> Response:
    """POST experiments/{experiment_id}:unarchive. Its runs stay archived, as upstream's do."""
    experiment = await find(call, "unarchive")
    await call.services.database.experiments.unarchive(experiment.id)
    return answer({})


async def delete(call: Call) -> Response:
    """DELETE experiments/{experiment_id}."""
    experiment = await find(call, "delete")
    if experiment.name == DEFAULT:
        raise Refusal(
            Code.ABORTED,
            f"Failed to delete experiment {experiment.id}. The default experiment cannot be deleted",
        )
    await call.services.database.experiments.delete(experiment.id)
    return answer({})


async def find(call: Call, verb: str) -> Experiment:
    """Return the experiment that the path names, which the caller may `verb`; raise Refusal."""
    experiment = await call.services.database.experiments.get(call.path["experiment_id"])
    await call.check(verb, EXPERIMENTS, experiment.namespace, experiment.name)
    return experiment


async def ensure_default(services: Services, namespace: str) -> Experiment:
    """Return the experiment of what names none, made if there is none."""
    experiments = services.database.experiments
    while True:
        found = await experiments.find_by_name(namespace, DEFAULT)
        if found is not None:
            return found
        made = Experiment(services.new_id(), DEFAULT, namespace, services.now(), DEFAULT_DESCRIPTION)
        try:
            await experiments.insert(made)
        except AlreadyExists:
            continue
        return made
