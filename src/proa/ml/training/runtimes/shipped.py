"""What a cluster has for training from the start: runtimes, and the version that the SDK asks for.

Names, labels and images are upstream's (manifests/base of kubeflow/trainer), so that manifests carry over; `plain` is
ours: Python without a framework, whose pods are not started again when they fail.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.ml.training.kinds import (
    CLUSTER_TRAINING_RUNTIMES,
    FRAMEWORK_LABEL,
    TRAINER_GROUP,
    TRAINER_NAMESPACE,
)
from proa.objects.resource import CONFIG_MAPS, NAMESPACES, Resource

VERSION = "2.3.0"
"""Of Kubeflow Trainer, whose API this is."""
PUBLIC = "kubeflow-trainer-public"
VERSION_KEY = "kubeflow_trainer_version"
TORCH_IMAGE = "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
PYTHON_IMAGE = "python:3-slim"
ANCESTOR = f"{TRAINER_GROUP}/trainjob-ancestor-step"
OURS = {"app.kubernetes.io/managed-by": "proa"}

_AUTHORIZATION = "rbac.authorization.k8s.io"
ROLES = Resource(_AUTHORIZATION, "v1", "roles", "Role")
ROLE_BINDINGS = Resource(_AUTHORIZATION, "v1", "rolebindings", "RoleBinding")
_EVERYBODY = [{"kind": "Group", "apiGroup": _AUTHORIZATION, "name": "system:authenticated"}]
_READ = ["get", "list", "watch"]


def make_public() -> Object:
    """Return the ConfigMap by which clients tell the version; it is made last."""
    return _object(CONFIG_MAPS, PUBLIC, TRAINER_NAMESPACE, data={VERSION_KEY: VERSION})


def make_objects() -> list[tuple[Resource, Object]]:
    """Return all else, in the order in which it is made."""
    read_public = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [PUBLIC], "verbs": _READ}
    made = [
        (NAMESPACES, _object(NAMESPACES, TRAINER_NAMESPACE)),
        (ROLES, _object(ROLES, PUBLIC, TRAINER_NAMESPACE, rules=[read_public])),
        (ROLE_BINDINGS, _binding(PUBLIC, TRAINER_NAMESPACE)),
    ]
    return [*made, *((CLUSTER_TRAINING_RUNTIMES, runtime) for runtime in make_runtimes())]


def make_runtimes() -> list[Object]:
    """Return the runtimes."""
    return [
        _runtime("torch-distributed", "torch", {"torch": {}}, TORCH_IMAGE),
        _runtime("plain", "plain", {}, PYTHON_IMAGE, job={"backoffLimit": 0}, pod={"restartPolicy": "Never"}),
    ]


def _runtime(
    name: str,
    framework: str,
    policy: Object,
    image: str,
    job: Object | None = None,
    pod: Object | None = None,
) -> Object:
    pods = {**(pod or {}), "containers": [{"name": "node", "image": image}]}
    node = {
        "name": "node",
        "template": {
            "metadata": {"labels": {ANCESTOR: "trainer"}},
            "spec": {**(job or {}), "template": {"spec": pods}},
        },
    }
    spec = {
        "mlPolicy": {"numNodes": 1, **policy},
        "template": {"spec": {"replicatedJobs": [node]}},
    }
    runtime = _object(CLUSTER_TRAINING_RUNTIMES, name, spec=spec)
    runtime["metadata"]["labels"][FRAMEWORK_LABEL] = framework
    return runtime


def _object(resource: Resource, name: str, namespace: str = "", **fields: Any) -> Object:
    metadata: Object = {"name": name, "labels": dict(OURS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}


def _binding(name: str, namespace: str) -> Object:
    reference = {"apiGroup": ROLES.group, "kind": ROLES.kind, "name": name}
    return _object(ROLE_BINDINGS, name, namespace, roleRef=reference, subjects=_EVERYBODY)
