"""Make the Trial of an assignment; and one that is made up, to see beforehand whether trials could tell their metrics.

Pure. Source: pkg/controller.v1beta1/experiment/experiment_controller_util.go (getTrialInstance) of kubeflow/katib.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.tuning.injection.injection import inject
from proa.ml.tuning.injection.settings import Settings
from proa.ml.tuning.injection.trainjob import is_train_job
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.ml.tuning.operator.template import BadTemplate
from proa.ml.tuning.records import Problem
from proa.ml.tuning.spec.defaults import with_defaults
from proa.ml.tuning.spec.template import is_of_trial, render_run
from proa.objects import meta

MADE_UP = "1"
"""The value of each parameter."""


def make_trial(experiment: Object, text: str | None, assignment: Object) -> Object:
    """Return the Trial of one of a Suggestion's assignments; raise BadTemplate."""
    name, namespace = assignment["name"], meta.namespace(experiment)
    labels = assignment.get("labels") or {}
    run = render_run(experiment, assignment, text)
    if isinstance(run, Problem):
        raise BadTemplate(f"{run.field}: {run.message}")
    spec = experiment["spec"]
    of_template = spec["trialTemplate"]
    made = {
        "objective": spec["objective"],
        "parameterAssignments": assignment.get("parameterAssignments") or [],
        "earlyStoppingRules": assignment.get("earlyStoppingRules") if spec.get("earlyStopping") else None,
        "runSpec": run,
        "retainRun": of_template.get("retain"),
        "metricsCollector": spec.get("metricsCollectorSpec"),
        "labels": labels or None,
        **{
            field: of_template.get(field)
            for field in ("primaryPodLabels", "primaryContainerName", "successCondition", "failureCondition")
        },
    }
    return {
        "apiVersion": TRIALS.api_version,
        "kind": TRIALS.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**meta.labels(experiment), **labels, EXPERIMENT_LABEL: meta.name(experiment)},
            "ownerReferences": [meta.make_owner_reference(experiment, EXPERIMENTS)],
        },
        "spec": {key: value for key, value in made.items() if value is not None},
    }


def rehearse(experiment: Object, text: str | None) -> list[Problem]:
    """Return why no trial of an experiment, right in itself, could tell its metrics.

    What a TrainJob's pods are its runtime says, which may be made later: its trials tell.
    """
    filled = with_defaults(experiment)
    references = [entry["reference"] for entry in filled["spec"]["trialTemplate"]["trialParameters"]]
    values = [{"name": name, "value": MADE_UP} for name in references if not is_of_trial(name)]
    trial = make_trial(filled, text, {"name": meta.name(experiment), "parameterAssignments": values})
    if is_train_job(trial["spec"]["runSpec"]):
        return []
    made = inject(trial["spec"]["runSpec"], trial, Settings())
    return [made] if isinstance(made, Problem) else []
