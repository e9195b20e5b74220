"""A Pod starts Pending; little of its spec may change; deleting one takes its grace period once it runs.

Follows pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.apiserver.resources.core.ephemeral_rules import prepare_ephemeral, validate_ephemeral_update
from proa.apiserver.resources.core.pod_defaults import default_pod
from proa.apiserver.resources.core.pod_printing import COLUMNS, summarize
from proa.apiserver.resources.core.pod_rules import validate_pod, validate_pod_create
from proa.apiserver.resources.core.pod_status_rules import validate_status_update
from proa.apiserver.resources.core.pod_update_rules import validate_pod_update
from proa.apiserver.resources.core.pod_warnings import name_warnings, pod_warnings
from proa.apiserver.resources.core.qos import qos_class
from proa.apiserver.resources.core.resize_rules import prepare_resize, validate_resize
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.pods import node_name, phase
from proa.objects.resource import PODS


def prepare_create(pod: Object) -> None:
    """Start the pod's life: Pending, with its QoS class."""
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod)}
    if pod["spec"].get("schedulingGates"):
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
        gated["message"] = "Scheduling is blocked due to non-empty scheduling gates"
        pod["status"]["conditions"] = [gated]


def prepare_update(new: Object, old: Object) -> None:
    """Keep the status: it has a subresource of its own."""
    new["status"] = old.get("status", {})


def prepare_status_update(new: Object, old: Object) -> None:
    """Keep everything but the status; the QoS class is set once."""
    new["spec"] = old["spec"]
    new["metadata"] = {**new["metadata"], **_kept(old["metadata"])}
    if (old.get("status") or {}).get("qosClass"):
        new.setdefault("status", {})["qosClass"] = old["status"]["qosClass"]


def _kept(metadata: Object) -> Object:
    return {key: metadata[key] for key in ("deletionTimestamp", "ownerReferences") if key in metadata}


def grace_seconds(pod: Object, asked: int | None) -> int:
    """Return the grace period in seconds: at once unless a kubelet has the pod (CheckGracefulDelete)."""
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds", 30)
    if not node_name(pod) or phase(pod) in ("Succeeded", "Failed"):
        return 0
    return max(1, asked) if asked < 0 else asked


def validate_ephemeral_part(new: Object, old: Object) -> list[Cause]:
    """Check the pod with its ephemeral containers, and those against the ones that were there."""
    return validate_pod(new) + validate_ephemeral_update(new, old)


def validate_resize_part(new: Object, old: Object) -> list[Cause]:
    """Check the pod with its new resources, and those against the old ones."""
    return validate_pod(new) + validate_resize(new, old)


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of a name that cannot be a host name, and of what is deprecated."""
    said = name_warnings(new, "the Pod's hostname") if old is None else []
    is_same = old is not None and new["spec"] == old["spec"]
    return said + ([] if is_same else pod_warnings(new))


def _spec(key: str, default: str = "") -> Any:
    return lambda pod: str((pod.get("spec") or {}).get(key) or default)


def _host_network(pod: Object) -> str:
    return "true" if (pod.get("spec") or {}).get("hostNetwork") else "false"


def _status(key: str) -> Any:
    return lambda pod: str((pod.get("status") or {}).get(key) or "")


CONNECT_BOTH = ("create", "get")
DEFINITION = ResourceDefinition(
    resource=PODS,
    singular="pod",
    schema="io.k8s.api.core.v1.Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", CONNECT_BOTH),
        Subresource("binding", "Binding", ("create",)),
        Subresource(
            "ephemeralcontainers",
            "Pod",
            ("get", "patch", "update"),
            prepare=prepare_ephemeral,
            validate=validate_ephemeral_part,
        ),
        Subresource("eviction", "Eviction", ("create",), "policy/v1"),
        Subresource("exec", "PodExecOptions", CONNECT_BOTH),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", CONNECT_BOTH),
        Subresource("proxy", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource(
            "resize", "Pod", ("get", "patch", "update"), prepare=prepare_resize, validate=validate_resize_part
        ),
        Subresource("status", "Pod", ("get", "patch", "update")),
    ),
    default=default_pod,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate_pod,
    validate_create=validate_pod_create,
    warnings=warnings,
    validate_update=validate_pod_update,
    validate_status_update=validate_status_update,
    columns=COLUMNS,
    summary=summarize,
    field_selectors={
        "spec.nodeName": node_name,
        "spec.restartPolicy": _spec("restartPolicy"),
        "spec.schedulerName": _spec("schedulerName"),
        "spec.serviceAccountName": _spec("serviceAccountName"),
        "spec.hostNetwork": _host_network,
        "status.phase": phase,
        "status.podIP": _status("podIP"),
        "status.nominatedNodeName": _status("nominatedNodeName"),
    },
    verbatim_fields=("spec.nodeName", "status.nominatedNodeName", "spec.serviceAccountName"),
    tracks_generation=True,
    grace_seconds=grace_seconds,
    returns_deleted=True,
)
