"""Make a Trial's run: the template with the collector in it, owned by the Trial.

What cannot be made says what would help. Harmless to repeat: what is there already, and is the trial's own, is taken.
"""

from __future__ import annotations

from proa.client.protocol import Client, Object
from proa.ml.tuning.injection.injection import inject
from proa.ml.tuning.injection.settings import make_settings
from proa.ml.tuning.injection.trainjob import is_train_job, runtime_named
from proa.ml.tuning.kinds import TRIAL_LABEL, TRIALS
from proa.ml.tuning.operator.checkpoints import ensure_claim, find_checkpoints
from proa.ml.tuning.operator.katib_config import BadConfig, read_config
from proa.ml.tuning.operator.parts import ROLE_LABEL, OperatorSettings
from proa.ml.tuning.operator.pod_trouble import Trouble
from proa.ml.tuning.operator.reports import collector_kind
from proa.ml.tuning.records import Problem
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, BadRequest, Forbidden, Invalid, NotFound
from proa.objects.resource import Resource

TRAINING_RUNTIMES = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime")
CLUSTER_TRAINING_RUNTIMES = Resource(
    "trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", False
)
RUNTIMES = {resource.kind: resource for resource in (TRAINING_RUNTIMES, CLUSTER_TRAINING_RUNTIMES)}


class CannotMake(Exception):
    """The run cannot be made as the template says; only another template, or the cluster's administrator, helps."""


class NotYet(Exception):
    """The run cannot be made now, but may be later."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


async def make_run(
    client: Client, trial: Object, experiment: Object | None, resource: Resource, settings: OperatorSettings
) -> Object:
    """Return the trial's run, made if need be; raise CannotMake, NotYet."""
    try:
        return await _make(client, trial, experiment, resource, settings)
    except ApiError as error:
        words = f"{resource.kind} {meta.name(trial)} cannot be made: {error.message}; it is tried again"
        raise NotYet(Trouble(error.reason or "RunNotMade", words)) from error


async def _make(
    client: Client, trial: Object, experiment: Object | None, resource: Resource, settings: OperatorSettings
) -> Object:
    run_spec = trial["spec"]["runSpec"]
    runtime = await _find_runtime(client, run_spec, meta.namespace(trial))
    checkpoints = find_checkpoints(trial, experiment) if experiment else None
    try:
        config = await read_config(client)
    except BadConfig as error:
        raise NotYet(Trouble("BadConfig", f"{error}: correct it")) from error
    resources = config.collector_resources(collector_kind(trial))
    others = {"runtime": runtime, "checkpoints": checkpoints, "resources": resources}
    made = inject(run_spec, trial, make_settings(settings.image, **others))
    if isinstance(made, Problem):
        raise CannotMake(f"{made.field}: {made.message}")
    if checkpoints and experiment:
        spec = config.claim_spec(experiment["spec"]["algorithm"]["algorithmName"])
        await ensure_claim(client, checkpoints.claim, spec, experiment)
    for before in made.before:
        await _create(client, TRAINING_RUNTIMES, before, trial)
    return await _create(client, resource, made.run, trial)


async def remove_before(client: Client, trial: Object) -> None:
    """Remove what was made before the run, which is to be removed next; harmless where there is nothing."""
    if not is_train_job(trial["spec"].get("runSpec") or {}):
        return
    place = meta.name(trial), meta.namespace(trial)
    try:
        runtime = await client.get(TRAINING_RUNTIMES, *place)
        if meta.is_controlled_by(runtime, trial):
            await client.delete(TRAINING_RUNTIMES, *place, uid=meta.uid(runtime))
    except NotFound:
        return


async def _find_runtime(client: Client, run_spec: Object, namespace: str) -> Object | None:
    """Return the runtime that a TrainJob names; None where it names none, or one that is not there."""
    named = runtime_named(run_spec)
    if named is None:
        return None
    kind, name = named
    resource = RUNTIMES[kind]
    try:
        return await client.get(resource, name, namespace if resource.namespaced else None)
    except NotFound:
        return None


async def _create(client: Client, resource: Resource, obj: Object, trial: Object) -> Object:
    owned = _owned(obj, trial)
    name = meta.name(owned)
    try:
        return await client.create(resource, owned, meta.namespace(trial))
    except AlreadyExists:
        found = await client.get(resource, name, meta.namespace(trial))
        if meta.is_controlled_by(found, trial):
            return found
        raise NotYet(_taken(resource, found)) from None
    except (Invalid, BadRequest) as error:
        raise CannotMake(f"spec.trialTemplate: {resource.kind} {name} is refused: {error.message}") from error
    except Forbidden as error:
        if "exceeded quota" in error.message:
            raise NotYet(Trouble("QuotaExceeded", f"{error.message}; it is tried again")) from error
        raise CannotMake(f"{error.message}: {ALLOW}") from error
    except NotFound as error:
        raise CannotMake(f"{resource.kind} {name} cannot be made: {error.message}") from error


ALLOW = (
    "let the tuning operator make it, by a ClusterRole with the label "
    f'{ROLE_LABEL}: "true" (verbs get, list, watch, create, delete), or change spec.trialTemplate'
)


def _taken(resource: Resource, found: Object) -> Trouble:
    words = f"{resource.kind} {meta.name(found)} exists and is not this trial's: delete it"
    return Trouble("NameTaken", words)


def _owned(obj: Object, trial: Object) -> Object:
    """Return an object with the trial as its owner and in its labels."""
    metadata = obj.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), TRIAL_LABEL: meta.name(trial)}
    owner = meta.make_owner_reference(trial, TRIALS)
    name, namespace = metadata.get("name") or meta.name(trial), meta.namespace(trial)
    return {
        **obj,
        "metadata": {
            **metadata,
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
    }
