"""Make a trial's run of the rendered template: the same, with the collector in the pods that report metrics.

Pure. Done when the run is made, not when its pods are admitted: no webhook has to be there, and the run says itself
what runs. Source: pkg/webhook/v1beta1/pod/inject_webhook.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.tuning.injection.collection import Collection, read_collection
from proa.ml.tuning.injection.places import find_places, replaced
from proa.ml.tuning.injection.pods import Json, make_template
from proa.ml.tuning.injection.settings import Settings
from proa.ml.tuning.injection.trainjob import inject_train_job, is_train_job
from proa.ml.tuning.records import Problem
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Injected:
    """The run to be made. `before`: objects to be made first (a TrainJob's runtime), owned by the trial as the run is.

    `reports_by_log`: the collector tells in its log (`collector.reading`); otherwise points come to the database by
    gRPC (Push, Custom), or not at all.
    """

    run: Json
    before: tuple[Json, ...] = ()
    reports_by_log: bool = True


def inject(run_spec: Mapping[str, Any], trial: Mapping[str, Any], settings: Settings) -> Injected | Problem:
    """Return the objects of a trial whose template is rendered (`run_spec`, its name and namespace set), or why not."""
    collection = read_collection(trial)
    if isinstance(collection, Problem):
        return collection
    if is_train_job(run_spec):
        if settings.runtime is None and not (collection.is_ours or collection.custom):
            return Injected(dict(run_spec), (), reports_by_log=False)
        made = inject_train_job(run_spec, collection, settings)
        if isinstance(made, Problem):
            return made
        return Injected(made[0], (made[1],), collection.is_ours)
    return _inject_templates(run_spec, collection, settings)


def _inject_templates(
    run_spec: Mapping[str, Any], collection: Collection, settings: Settings
) -> Injected | Problem:
    run: Json = dict(run_spec)
    places = find_places(run, collection.container)
    if (collection.is_ours or collection.custom) and all(p.is_excluded(collection.primary) for p in places):
        return _nowhere(run, collection, is_named=bool(places))
    for place in places:
        made = make_template(place, collection, settings, wraps=True)
        if isinstance(made, Problem):
            return made
        run = replaced(run, place.path, made)
    return Injected(run, (), collection.is_ours)


def _nowhere(run: Json, collection: Collection, *, is_named: bool) -> Problem:
    """Say why no pod of the run would report metrics."""
    if is_named:
        where = f"no pod of {run.get('kind')} with container {collection.container!r}"
        words = f"{dict(collection.primary)}: {where} has them"
        return Problem("spec.trialTemplate.primaryPodLabels", words)
    words = (
        f"{collection.container!r}: {run.get('kind')} has no pod template with this container; name one that it has, "
        "or report metrics from the training itself (metrics collector kind Push)"
    )
    return Problem("spec.trialTemplate.primaryContainerName", words)
