"""Say what an experiment leaves unsaid.

What is the same for all experiments, the definition's schema fills in when one is applied; what depends on the rest of
it is filled in here, whenever it is read, and shows in its trials. Doing both twice changes nothing.
Source: pkg/apis/controller/experiments/v1beta1/experiment_defaults.go and constants.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.client.protocol import Object
from proa.ml.tuning.kinds import METRICS_FILE, TFEVENT_FOLDER
from proa.ml.tuning.spec.search_space import metric_strategies

PARALLEL_TRIALS = 3
RESUME_POLICY = "Never"
PROMETHEUS_PORT, PROMETHEUS_PATH = 8080, "/metrics"


def _when(type: str) -> str:
    return f'status.conditions.#(type=="{type}")#|#(status=="True")#'


_MASTER = {"training.kubeflow.org/job-role": "master"}
_FIRST_NODE = {
    "jobset.sigs.k8s.io/replicatedjob-name": "node",
    "batch.kubernetes.io/job-completion-index": "0",
}
_KUBEFLOW = (_when("Succeeded"), _when("Failed"), _MASTER)
BY_KIND: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "Job": (_when("Complete"), _when("Failed"), {}),
    "TrainJob": (_when("Complete"), _when("Failed"), _FIRST_NODE),
    "PyTorchJob": _KUBEFLOW,
    "TFJob": _KUBEFLOW,
    "XGBoostJob": _KUBEFLOW,
    "MPIJob": _KUBEFLOW,
}
"""Kinds that may be a trial's run without saying when it has succeeded or failed, and which of its pods is primary."""


def with_defaults(experiment: Object) -> Object:
    """Return the experiment with all that it leaves unsaid; what it says stays."""
    spec = dict(experiment.get("spec") or {})
    spec["parallelTrialCount"] = spec.get("parallelTrialCount") or PARALLEL_TRIALS
    spec["resumePolicy"] = spec.get("resumePolicy") or RESUME_POLICY
    if objective := spec.get("objective"):
        spec["objective"] = {**objective, "metricStrategies": metric_strategies(objective)}
    if template := spec.get("trialTemplate"):
        spec["trialTemplate"] = _template(template)
    spec["metricsCollectorSpec"] = _collection(spec.get("metricsCollectorSpec") or {})
    return {**experiment, "spec": spec}


def _template(said: Object) -> Object:
    """Only a template that is written in the experiment says its kind."""
    known = BY_KIND.get((said.get("trialSpec") or {}).get("kind", ""))
    if known is None:
        return said
    success, failure, primary = known
    filled = {
        **said,
        "successCondition": said.get("successCondition") or success,
        "failureCondition": said.get("failureCondition") or failure,
    }
    if labels := said.get("primaryPodLabels") or primary:
        filled["primaryPodLabels"] = dict(labels)
    return filled


def _collection(said: Object) -> Object:
    collector = said.get("collector") or {}
    kind = collector.get("kind") or "StdOut"
    filled = {**said, "collector": {**collector, "kind": kind}}
    source = said.get("source") or {}
    if kind == "PrometheusMetric":
        http = source.get("httpGet") or {}
        filled["source"] = {
            **source,
            "httpGet": {
                **http,
                "path": http.get("path") or PROMETHEUS_PATH,
                "port": http.get("port") or PROMETHEUS_PORT,
            },
        }
    elif kind in _FILES:
        place = {key: value for key, value in (source.get("fileSystemPath") or {}).items() if value}
        filled["source"] = {**source, "fileSystemPath": {**_FILES[kind], **place}}
    return filled


_FILES: Mapping[str, Mapping[str, Any]] = {
    "File": {"kind": "File", "path": METRICS_FILE, "format": "TEXT"},
    "TensorFlowEvent": {"kind": "Directory", "path": TFEVENT_FOLDER},
}
