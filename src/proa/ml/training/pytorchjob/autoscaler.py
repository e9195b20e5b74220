"""The HorizontalPodAutoscaler of a PyTorchJob whose elastic policy has metrics.

Pure. Source: pkg/controller.v1/pytorch/hpa.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.training.kinds import PYTORCH_JOBS
from proa.ml.training.pytorchjob.roles import elastic_policy
from proa.objects import meta
from proa.objects.resource import HORIZONTAL_POD_AUTOSCALERS


def make_autoscaler(job: Object) -> Object | None:
    """Return the autoscaler, named as the job; None where it wants none."""
    elastic = elastic_policy(job)
    if elastic is None or not elastic.get("metrics"):
        return None
    target = {"apiVersion": PYTORCH_JOBS.api_version, "kind": PYTORCH_JOBS.kind, "name": meta.name(job)}
    return {
        "apiVersion": HORIZONTAL_POD_AUTOSCALERS.api_version,
        "kind": HORIZONTAL_POD_AUTOSCALERS.kind,
        "metadata": {
            "name": meta.name(job),
            "namespace": meta.namespace(job),
            "ownerReferences": [meta.make_owner_reference(job, PYTORCH_JOBS)],
        },
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": elastic["minReplicas"],
            "maxReplicas": elastic["maxReplicas"],
            "metrics": elastic["metrics"],
        },
    }
