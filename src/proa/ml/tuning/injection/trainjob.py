"""A TrainJob as a trial's run: it has no pod template, so its runtime is copied, with the collector in the copy.

The copy is a TrainingRuntime named as the trial, beside it in its namespace; the TrainJob names that one. A TrainJob's
own runtimePatches cannot do this: they change containers that the runtime has, and add none. The command is wrapped
where it counts: in the TrainJob's trainer, if it says one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from proa.ml.tuning.injection.collection import Collection
from proa.ml.tuning.injection.places import find_container, find_places, get, replaced
from proa.ml.tuning.injection.pods import Json, make_template, wrapped
from proa.ml.tuning.injection.settings import Settings
from proa.ml.tuning.kinds import TRIAL_LABEL
from proa.ml.tuning.records import Problem

GROUP = "trainer.kubeflow.org"
API_VERSION = f"{GROUP}/v1alpha1"
RUNTIME_FIELD = "spec.trialTemplate.trialSpec.spec.runtimeRef.name"
TRAINER_FIELD = "spec.trialTemplate.trialSpec.spec.trainer"

RuntimeKind = Literal["TrainingRuntime", "ClusterTrainingRuntime"]


def is_train_job(run: Mapping[str, Any]) -> bool:
    """Tell whether the run is a TrainJob."""
    return run.get("kind") == "TrainJob" and str(run.get("apiVersion", "")).startswith(f"{GROUP}/")


def runtime_named(run: Mapping[str, Any]) -> tuple[RuntimeKind, str] | None:
    """Return the kind and name of the runtime that a run names, which `Settings.runtime` is to have; None for none."""
    if not is_train_job(run):
        return None
    reference = (run.get("spec") or {}).get("runtimeRef") or {}
    is_own = reference.get("kind") == "TrainingRuntime"
    return ("TrainingRuntime" if is_own else "ClusterTrainingRuntime"), str(reference.get("name") or "")


def inject_train_job(
    run: Mapping[str, Any], collection: Collection, settings: Settings
) -> tuple[Json, Json] | Problem:
    """Return the TrainJob to be made, and the TrainingRuntime to be made before it."""
    if settings.runtime is None:
        named = runtime_named(run)
        return Problem(RUNTIME_FIELD, f"{' '.join(named or ())} is not there: make it, or name another")
    runtime = _copy(settings.runtime, run, collection)
    trainer = run["spec"].get("trainer") or {}
    places = find_places(runtime["spec"]["template"], collection.container)
    if all(place.is_excluded(collection.primary) for place in places):
        words = (
            f"runtime {settings.runtime['metadata']['name']} has no container {collection.container!r} in a pod with "
            f"the labels {dict(collection.primary)}: see primaryContainerName and primaryPodLabels"
        )
        return Problem(RUNTIME_FIELD, words)
    own_command = trainer.get("command")
    for place in places:
        made = make_template(place, collection, settings, wraps=not own_command)
        if isinstance(made, Problem):
            return (
                Problem(f"{TRAINER_FIELD}.command", made.message) if made.field.endswith("command") else made
            )
        runtime = replaced(runtime, ("spec", "template", *place.path), made)
    job = {**run, "spec": {**run["spec"], "runtimeRef": _reference(collection.trial)}}
    if own_command:
        container = _primary_container(runtime, collection)
        command = wrapped(container, own_command, collection, TRAINER_FIELD)
        if isinstance(command, Problem):
            return command
        if command is not None:
            job["spec"]["trainer"] = {**trainer, "command": command}
    return job, runtime


def _copy(runtime: Mapping[str, Any], run: Mapping[str, Any], collection: Collection) -> Json:
    metadata = runtime["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRuntime",
        "metadata": {
            "name": collection.trial,
            "namespace": (run.get("metadata") or {}).get("namespace", ""),
            "labels": {**(metadata.get("labels") or {}), **collection.labels, TRIAL_LABEL: collection.trial},
        },
        "spec": runtime["spec"],
    }


def _reference(name: str) -> Json:
    return {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": name}


def _primary_container(runtime: Json, collection: Collection) -> Mapping[str, Any]:
    places = find_places(runtime["spec"]["template"], collection.container)
    place = next(p for p in places if not p.is_excluded(collection.primary))
    template = get(runtime["spec"]["template"], place.path)
    found: Mapping[str, Any] = template["spec"]["containers"][
        find_container(template, collection.container) or 0
    ]
    return found
