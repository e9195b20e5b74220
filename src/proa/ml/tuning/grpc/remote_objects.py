"""Say what runs an algorithm that is not built in: a Deployment and a Service, and a claim where its state is kept.

Pure. Names, ports and labels are upstream's. All of it is owned by the Suggestion and goes with it.
Source: pkg/controller.v1beta1/suggestion/composer/composer.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.client.protocol import Object
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, SUGGESTIONS
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, SERVICES, Resource

SUGGESTION_PORT, EARLY_STOPPING_PORT = 6789, 6788
SUGGESTION_PORT_NAME, EARLY_STOPPING_PORT_NAME = "suggestion-api", "earlystop-api"
DEPLOYMENT_LABEL = "katib.kubeflow.org/deployment"
SUGGESTION_LABEL = "katib.kubeflow.org/suggestion"
MOUNT_PATH = "/opt/katib/data"
VOLUME = "suggestion-volume"
PROBED = "manager.v1beta1.Suggestion"
_CONTAINER_SAYS_NOT = ("algorithmName", "serviceAccountName", "volumeMountPath", "persistentVolumeClaimSpec",
                       "persistentVolumeSpec", "persistentVolumeLabels")  # fmt: skip

Entry = Mapping[str, Any]


def name_of(suggestion: Object) -> str:
    """Return the name that all its objects have."""
    return f"{meta.name(suggestion)}-{suggestion['spec']['algorithm']['algorithmName']}"


def make_objects(
    suggestion: Object, search: Entry | None, early_stopping: Entry | None
) -> list[tuple[Resource, Object]]:
    """Return what is to be there for the entries of katib-config; None for what is built in."""
    keeps = bool(search) and suggestion["spec"].get("resumePolicy") == "FromVolume"
    containers = [
        *([_search_container(search, keeps=keeps)] if search else ()),
        *([_early_stopping_container(early_stopping)] if early_stopping else ()),
    ]
    pod: Object = {"containers": containers}
    if search and search.get("serviceAccountName"):
        pod["serviceAccountName"] = search["serviceAccountName"]
    if keeps:
        pod["volumes"] = [{"name": VOLUME, "persistentVolumeClaim": {"claimName": name_of(suggestion)}}]
    labels = _labels(suggestion)
    ports = [
        *([{"name": SUGGESTION_PORT_NAME, "port": SUGGESTION_PORT}] if search else ()),
        *([{"name": EARLY_STOPPING_PORT_NAME, "port": EARLY_STOPPING_PORT}] if early_stopping else ()),
    ]
    template = {"metadata": {"labels": labels}, "spec": pod}
    specs: list[tuple[Resource, Object]] = [
        (SERVICES, {"selector": labels, "ports": ports}),
        (DEPLOYMENTS, {"selector": {"matchLabels": labels}, "template": template}),
    ]
    if keeps and search:
        specs.insert(0, (PERSISTENT_VOLUME_CLAIMS, _claim(search)))
    return [(resource, _make(suggestion, resource, spec)) for resource, spec in specs]


def is_available(deployment: Object) -> bool:
    """Tell whether a pod of it is ready."""
    return meta.has_condition(deployment, "Available")


def _make(suggestion: Object, resource: Resource, spec: Object) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name_of(suggestion),
            "namespace": meta.namespace(suggestion),
            "labels": _labels(suggestion),
            "ownerReferences": [meta.make_owner_reference(suggestion, SUGGESTIONS)],
        },
        "spec": spec,
    }


def _labels(suggestion: Object) -> dict[str, str]:
    name = meta.name(suggestion)
    return {
        **meta.labels(suggestion),
        DEPLOYMENT_LABEL: name_of(suggestion),
        EXPERIMENT_LABEL: name,
        SUGGESTION_LABEL: name,
    }


def _search_container(entry: Entry, *, keeps: bool) -> Object:
    """Return the container of an entry, with what it does not say itself."""
    container = {key: value for key, value in entry.items() if key not in _CONTAINER_SAYS_NOT}
    probe = {"grpc": {"port": SUGGESTION_PORT, "service": PROBED}}
    container.setdefault("name", "suggestion")
    container.setdefault("readinessProbe", {**probe, "periodSeconds": 2})
    container.setdefault(
        "livenessProbe", {**probe, "initialDelaySeconds": 10, "periodSeconds": 10, "failureThreshold": 12}
    )
    port = {"name": SUGGESTION_PORT_NAME, "containerPort": SUGGESTION_PORT}
    container["ports"] = [*(container.get("ports") or ()), port]
    mounts = container.get("volumeMounts") or []
    if keeps and VOLUME not in {mount.get("name") for mount in mounts}:
        path = entry.get("volumeMountPath") or MOUNT_PATH
        container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": path}]
    return container


def _early_stopping_container(entry: Entry) -> Object:
    kept = {
        key: entry[key]
        for key in ("image", "imagePullPolicy", "resources", "command", "args")
        if key in entry
    }
    port = {"name": EARLY_STOPPING_PORT_NAME, "containerPort": EARLY_STOPPING_PORT}
    return {"name": "early-stopping", **kept, "ports": [port]}


def _claim(entry: Entry) -> Object:
    said = entry.get("persistentVolumeClaimSpec") or {}
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **said}
