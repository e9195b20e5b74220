"""What is collected from a trial's pods, and how: read from the Trial once, for all that injection does.

Source: pkg/webhook/v1beta1/pod/{inject_webhook,utils}.go of kubeflow/katib (getMountPath, getMetricsCollectorArgs).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from posixpath import dirname, normpath
from typing import Any

from proa.ml.tuning.kinds import METRICS_FILE, TFEVENT_FOLDER
from proa.ml.tuning.records import Problem
from proa.objects.quick_dataclass import dataclass

READ_BY_US = ("StdOut", "File", "TensorFlowEvent", "PrometheusMetric")
"""Collector kinds for which our program is put into the pod; it tells by its log."""
PROMETHEUS_PORT, PROMETHEUS_PATH = 8080, "/metrics"


@dataclass(frozen=True, slots=True)
class Collection:
    """`path` is the file or folder that metrics are read from, `folder` the one that is shared for it ("" for none)."""

    trial: str
    kind: str
    container: str
    primary: Mapping[str, str]
    labels: Mapping[str, str]
    """That the trial's pods get."""
    metrics: tuple[str, ...]
    is_maximized: bool
    rules: tuple[Mapping[str, Any], ...]
    source: Mapping[str, Any]
    filters: tuple[str, ...]
    custom: Mapping[str, Any] | None
    path: str
    folder: str
    marker: str

    @property
    def is_ours(self) -> bool:
        """Tell whether our program collects."""
        return self.kind in READ_BY_US

    @property
    def stop(self) -> str:
        """Return the path of the FIFO that stops the training, "" without stopping rules."""
        return f"{self.folder}/.{self.trial}.stop" if self.rules and self.is_ours else ""

    @property
    def output(self) -> str:
        """Return the file that the training's output goes to, "" to leave it."""
        return self.path if self.kind == "StdOut" else ""

    @property
    def needs_command(self) -> bool:
        """Tell whether the training must be started by a shell of ours."""
        return bool(self.output or self.stop)


def read_collection(trial: Mapping[str, Any]) -> Collection | Problem:
    """Return what the Trial wants collected."""
    metadata, spec = trial["metadata"], trial["spec"]
    collector = (spec.get("metricsCollector") or {}).get("collector") or {}
    source = (spec.get("metricsCollector") or {}).get("source") or {}
    kind = collector.get("kind") or "StdOut"
    custom = collector.get("customCollector")
    if kind == "Custom" and not custom:
        return Problem("spec.metricsCollectorSpec.collector.customCollector", "is required for kind Custom")
    objective = spec.get("objective") or {}
    path = _path(kind, source)
    is_folder = kind == "TensorFlowEvent" or (source.get("fileSystemPath") or {}).get("kind") == "Directory"
    folder = (path.rstrip("/") if is_folder and kind != "StdOut" else dirname(path)) if path else ""
    if path and not normpath(folder).strip("/"):
        words = f"{path}: choose one in a folder of its own, as {METRICS_FILE} is: a volume is mounted there"
        return Problem("spec.metricsCollectorSpec.source.fileSystemPath.path", words)
    rules = tuple(spec.get("earlyStoppingRules") or ())
    filters = tuple((source.get("filter") or {}).get("metricsFormat") or ())
    problem = _check_filters(filters)
    if problem is not None:
        return problem
    return Collection(
        trial=metadata["name"],
        kind=kind,
        container=spec.get("primaryContainerName") or "",
        primary=spec.get("primaryPodLabels") or {},
        labels=metadata.get("labels") or {},
        metrics=(objective.get("objectiveMetricName", ""), *(objective.get("additionalMetricNames") or ())),
        is_maximized=objective.get("type") == "maximize",
        rules=rules,
        source=source,
        filters=filters,
        custom=custom if kind == "Custom" else None,
        path=path,
        folder=folder or (dirname(METRICS_FILE) if rules and kind in READ_BY_US else ""),
        marker="proa-metrics-"
        + hashlib.sha256(metadata.get("uid", metadata["name"]).encode()).hexdigest()[:20],
    )


def program_arguments(collection: Collection, port: int | None, variables: Mapping[str, str]) -> list[str]:
    """Return the program's arguments; `variables` has the values that the primary pod's have.

    "$" is doubled, so that the kubelet, which expands $(NAME) in arguments, finds none.
    """
    rules = [
        f"{r['comparison']};{int(r.get('startStep') or 0)};{r['value']};{r['name']}" for r in collection.rules
    ]
    words = [
        f"trial={collection.trial}",
        f"kind={collection.kind}",
        *(f"metric={metric}" for metric in collection.metrics),
        f"maximized={'true' if collection.is_maximized else ''}",
        f"marker={collection.marker}",
        f"path={collection.path}",
        f"format={_format(collection)}",
        *(f"filter={pattern}" for pattern in collection.filters),
        *(f"rule={rule}" for rule in rules),
        f"stop={collection.stop}",
        *(f"primary={name}={value}" for name, value in variables.items()),
    ]
    if collection.kind == "PrometheusMetric":
        http = collection.source.get("httpGet") or {}
        words += [
            f"host={http.get('host') or '127.0.0.1'}",
            f"port={port or PROMETHEUS_PORT}",
            f"url-path={http.get('path') or PROMETHEUS_PATH}",
            f"scheme={http.get('scheme') or 'HTTP'}",
            *(f"header={h.get('name', '')}: {h.get('value', '')}" for h in http.get("httpHeaders") or ()),
        ]
    return [word.replace("$", "$$") for word in words if not word.endswith("=") or word.startswith("metric=")]


def _format(collection: Collection) -> str:
    """Return JSON where the file has lines of it, else ""."""
    wanted = (collection.source.get("fileSystemPath") or {}).get("format")
    return "JSON" if collection.kind == "File" and wanted == "JSON" else ""


def _check_filters(filters: tuple[str, ...]) -> Problem | None:
    """Return what is wrong with an expression: it has a metric's name in its first group, the value in its second."""
    for index, pattern in enumerate(filters):
        field = f"spec.metricsCollectorSpec.source.filter.metricsFormat[{index}]"
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            return Problem(field, f"{pattern}: is no regular expression: {error}")
        if groups < 2:
            return Problem(field, f"{pattern}: two groups are needed, (name) and (value)")
    return None


def _path(kind: str, source: Mapping[str, Any]) -> str:
    path = (source.get("fileSystemPath") or {}).get("path") or ""
    defaults = {
        "StdOut": METRICS_FILE,
        "File": path or METRICS_FILE,
        "TensorFlowEvent": path or TFEVENT_FOLDER,
    }
    return str(defaults.get(kind, path if kind == "Custom" else ""))
