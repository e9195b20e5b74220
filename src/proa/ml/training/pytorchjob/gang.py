"""The PodGroup of a PyTorchJob whose pods are to start together or not at all.

Pure. A job has one where spec.runPolicy.schedulingPolicy is given; upstream has a flag of the whole operator for
that. Source: pkg/controller.v1/common/job.go (ReconcileJobs) of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.ml.training.kinds import POD_GROUPS, PYTORCH_JOBS
from proa.ml.training.pytorchjob.roles import roles_of, run_policy
from proa.objects import meta


def is_gang(job: Object) -> bool:
    """Tell whether the job's pods belong to a PodGroup."""
    return run_policy(job).get("schedulingPolicy") is not None


def make_pod_group(job: Object) -> Object:
    """Return the PodGroup, named as the job."""
    policy = run_policy(job).get("schedulingPolicy") or {}
    spec: dict[str, Any] = {
        "minMember": policy.get("minAvailable") or sum(role.replicas for role in roles_of(job))
    }
    for field in ("minResources", "scheduleTimeoutSeconds"):
        if policy.get(field) is not None:
            spec[field] = policy[field]
    return {
        "apiVersion": POD_GROUPS.api_version,
        "kind": POD_GROUPS.kind,
        "metadata": {
            "name": meta.name(job),
            "namespace": meta.namespace(job),
            "ownerReferences": [meta.make_owner_reference(job, PYTORCH_JOBS)],
        },
        "spec": spec,
    }
