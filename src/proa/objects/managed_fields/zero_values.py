"""Tell which fields an object always has, though its JSON may leave them out.

Upstream compares Go structs. A field that is a struct, or is not marked omitempty, is there in an empty object too, so
that nobody adds it: `f:spec` and `f:template` have no "." of their own. OpenAPI tells most of them: what is required,
and metadata, spec and status. Follows the `json` tags of k8s.io/api.
"""

from __future__ import annotations

from typing import Any

from proa.objects.schemas.schema import Schema

_USUAL = frozenset(("metadata", "spec", "status"))
_MORE: dict[str, tuple[str, ...]] = {
    "io.k8s.api.apps.v1.ControllerRevision": ("data",),
    "io.k8s.api.apps.v1.DaemonSetSpec": ("updateStrategy",),
    "io.k8s.api.apps.v1.DeploymentSpec": ("strategy",),
    "io.k8s.api.apps.v1.ReplicaSetSpec": ("template",),
    "io.k8s.api.apps.v1.StatefulSetSpec": ("serviceName", "updateStrategy"),
    "io.k8s.api.apps.v1.StatefulSetStatus": ("availableReplicas",),
    "io.k8s.api.authentication.v1.SelfSubjectReviewStatus": ("userInfo",),
    "io.k8s.api.authentication.v1.TokenRequestSpec": ("audiences", "boundObjectRef", "expirationSeconds"),
    "io.k8s.api.authentication.v1.TokenRequestStatus": ("expirationTimestamp", "token"),
    "io.k8s.api.authentication.v1.TokenReviewStatus": ("user",),
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus": ("currentMetrics",),
    "io.k8s.api.core.v1.Event": ("reportingComponent", "reportingInstance", "source"),
    "io.k8s.api.core.v1.NodeDaemonEndpoints": ("kubeletEndpoint",),
    "io.k8s.api.core.v1.NodeStatus": ("daemonEndpoints", "nodeInfo"),
    "io.k8s.api.core.v1.PersistentVolumeClaimSpec": ("resources",),
    "io.k8s.api.core.v1.PodTemplate": ("template",),
    "io.k8s.api.core.v1.ServiceStatus": ("loadBalancer",),
    "io.k8s.api.discovery.v1.EndpointSlice": ("endpoints", "ports"),
    "io.k8s.api.events.v1.Event": ("deprecatedSource", "regarding"),
    "io.k8s.api.flowcontrol.v1.FlowSchemaSpec": ("matchingPrecedence",),
    "io.k8s.api.networking.v1.IngressStatus": ("loadBalancer",),
    "io.k8s.api.networking.v1.NetworkPolicySpec": ("podSelector",),
    "io.k8s.api.policy.v1.PodDisruptionBudgetStatus": (
        "currentHealthy",
        "desiredHealthy",
        "disruptionsAllowed",
        "expectedPods",
    ),
    "io.k8s.api.rbac.v1.ClusterRole": ("rules",),
    "io.k8s.api.rbac.v1.Role": ("rules",),
    "io.k8s.api.rbac.v1.RoleRef": ("apiGroup",),
    "io.k8s.api.resource.v1.DeviceClaim": ("requests",),
    "io.k8s.api.resource.v1.ResourceClaimSpec": ("devices",),
    "io.k8s.api.scheduling.v1.PriorityClass": ("value",),
}
_LESS: dict[str, tuple[str, ...]] = {
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec": (
        "policyName",
        "validationActions",
    ),
    "io.k8s.api.authentication.v1.TokenReviewSpec": ("token",),
    "io.k8s.api.networking.v1.IPAddressSpec": ("parentRef",),
}
_SCALARS: dict[str, Any] = {"boolean": False, "integer": 0, "number": 0, "quantity": "0", "int-or-string": 0}


def always_present(schema: Schema) -> dict[str, Any]:
    """Return the fields that a struct always has, and their zero values (None for a list, a map or a pointer).

    A schema without a name is a custom resource's, which has no more than its JSON.
    """
    if not schema.name:
        return {}
    usual = _USUAL if schema.properties.keys() >= {"metadata"} else ()
    names = {*schema.required, *usual, *_MORE.get(schema.name, ())} - {*_LESS.get(schema.name, ())}
    return {name: _zero(schema.properties[name]) for name in names if name in schema.properties}


_TIMED = ("Condition", "ContainerStateRunning", "ContainerStateTerminated", "EventSeries", "VolumeError")


def times_present(schema: Schema) -> tuple[str, ...]:
    """Return the times that a struct has even where they are not set: JSON shows them as null, or not at all."""
    if not schema.name.startswith("io.k8s.") or not schema.name.endswith(_TIMED):
        return ()
    return tuple(key for key, node in schema.properties.items() if node.format == "date-time")


def _zero(schema: Schema) -> Any:
    if schema.type == "object":
        return None if schema.values is not None else {}
    if schema.type == "array" or schema.type == "any" or schema.format == "date-time":
        return None
    return _SCALARS.get(schema.type, "")


_KEY_DEFAULTS: dict[str, dict[str, Any]] = {
    "io.k8s.api.core.v1.ContainerPort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.ServicePort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.LocalObjectReference": {"name": ""},
}


def key_defaults(items: Schema, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """Return what stands for each key field that an item of a keyed list leaves out; None where nothing does."""
    if not items.name:
        return tuple(items.properties[key].default if key in items.properties else None for key in keys)
    known = _KEY_DEFAULTS.get(items.name, {})
    return tuple(
        known[key] if key in known else _zero(items.properties[key]) if key in items.required else None
        for key in keys
    )
