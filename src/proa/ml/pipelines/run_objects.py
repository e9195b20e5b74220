"""The object that stands for a run in the cluster, and the words by which it and its pods are known."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.pipelines.records import Run
from proa.objects.resource import Resource

GROUP = "pipelines.proa.dev"
RUNS = Resource(GROUP, "v1", "runs", "Run")
FINALIZER = f"{GROUP}/record"
"""On pods: their result is not recorded yet. On Runs: what they run is not recorded as ended yet."""
RUN_ID_LABEL = "pipeline/runid"
SERVICE_ACCOUNT = "pipeline-runner"
"""Whom steps act as where nobody said."""


def make_object(run: Run) -> Object:
    """Return the object of a run that is in the database."""
    return {
        "apiVersion": RUNS.api_version,
        "kind": RUNS.kind,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": {RUN_ID_LABEL: run.id},
            "finalizers": [FINALIZER],
        },
        "spec": {"runId": run.id, **({"retries": run.retries} if run.retries else {})},
    }
