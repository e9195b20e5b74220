"""A Node is a machine that runs pods; its kubelet writes its status, others its taints and labels.

Follows pkg/apis/core/validation ValidateNode, pkg/registry/core/node/strategy.go and printNode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.resource_rules import validate_amount
from proa.apiserver.resources.printing import AGE, NAME, NONE, UNKNOWN, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import find_condition, labels
from proa.objects.resource import NODES
from proa.objects.validation import (
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    label_value,
    not_supported,
    qualified_name,
    required,
)
from proa.objects.validation_addresses import legacy_cidr

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
SYSTEM_INFO = (
    "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion",
    "machineID", "operatingSystem", "osImage", "systemUUID",
)  # fmt: skip


def default(node: Object) -> None:
    """Write the parts of status that upstream always writes; what is allocatable is the capacity, if not given."""
    node.setdefault("spec", {})
    status = node.setdefault("status", {})
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {}).setdefault("Port", 0)
    info = status.setdefault("nodeInfo", {})
    for key in SYSTEM_INFO:
        info.setdefault(key, "")
    if "capacity" in status and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])


def validate(node: Object) -> list[Cause]:
    """Check taints and amounts."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    causes: list[Cause] = []
    if spec.get("taints"):
        causes += _validate_taints(spec["taints"])
    for key in ("capacity", "allocatable"):
        for name, amount in (status.get(key) or {}).items():
            causes += validate_amount(name, amount, f"status.{key}.{name}")
    return causes


def validate_create(node: Object) -> list[Cause]:
    """Check the ranges of pods."""
    ranges, field = (node.get("spec") or {}).get("podCIDRs") or [], "spec.podCIDRs"
    causes = [
        cause
        for index, text in enumerate(ranges)
        for cause in all_invalid(f"{field}[{index}]", text, legacy_cidr(text))
    ]
    if len(ranges) > 1:
        if len(ranges) > 2 or len({":" in text for text in ranges}) < 2:
            causes.append(invalid(field, ranges, "may specify no more than one CIDR for each IP family"))
        doubled = [index for index, text in enumerate(ranges) if text in ranges[:index]]
        causes += [duplicate(f"{field}[{index}]", ranges[index]) for index in doubled]
    return causes


def _validate_taints(taints: Iterable[Object]) -> list[Cause]:
    """Upstream looks for taints below the metadata."""
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path, key, effect = f"metadata.taints[{index}]", taint.get("key", ""), taint.get("effect", "")
        causes += all_invalid(f"{path}.key", key, qualified_name(key))
        problems = label_value(taint.get("value", ""))
        if problems:
            causes.append(invalid(f"{path}.value", taint["value"], ";".join(problems)))
        if not effect:
            causes.append(required(f"{path}.effect"))
        elif effect not in EFFECTS:
            causes.append(not_supported(f"{path}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            causes.append(_doubled_taint(path, taint))
        seen.add((key, effect))
    return causes


def _doubled_taint(path: str, taint: Object) -> Cause:
    """Upstream shows its internal type, whose fields have Go's names."""
    shown = {k[0].upper() + k[1:]: taint.get(k, "") for k in ("key", "value", "effect")}
    cause = duplicate(path, {**shown, "TimeAdded": taint.get("timeAdded")})
    return Cause(cause.reason, f"{cause.message}: taints must be unique by key and effect pair", cause.field)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that what identifies the machine is set once, and that no address stands twice."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    causes: list[Cause] = []
    addresses = (new.get("status") or {}).get("addresses") or []
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            shown = {"Type": address.get("type", ""), "Address": address.get("address", "")}
            causes.append(duplicate(f"status.addresses[{index}]", shown))
    if before.get("podCIDRs") and after.get("podCIDRs") != before["podCIDRs"]:
        causes.append(
            forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
        )
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        causes.append(
            forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    if (after.get("externalID") or "") != (before.get("externalID") or ""):
        causes.append(forbidden("spec.externalID", "may not be updated"))
    return causes


def cells(node: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return (
        node["metadata"]["name"],
        _status_word(node),
        ",".join(_roles(node)) or NONE,
        age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    )


def _status_word(node: Object) -> str:
    ready = find_condition(node, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object) -> list[str]:
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels(node) if key.startswith(ROLE_PREFIX)}
    return sorted(role for role in (*roles, labels(node).get(ROLE_LABEL, "")) if role)


def _address(node: Object, kind: str) -> str:
    addresses = (node.get("status") or {}).get("addresses", ())
    return next((str(a["address"]) for a in addresses if a.get("type") == kind), NONE)


def _is_unschedulable(node: Object) -> str:
    return "true" if (node.get("spec") or {}).get("unschedulable") else "false"


DEFINITION = ResourceDefinition(
    resource=NODES,
    singular="node",
    schema="io.k8s.api.core.v1.Node",
    short_names=("no",),
    subresources=(
        Subresource("proxy", "NodeProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource("status", "Node", ("get", "patch", "update")),
    ),
    default=default,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_update,
    columns=(
        NAME,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE,
        Column("Version", description=doc("core.v1.NodeSystemInfo.kubeletVersion")),
        Column("Internal-IP", description=doc("core.v1.NodeStatus.addresses"), priority=1),
        Column("External-IP", description=doc("core.v1.NodeStatus.addresses"), priority=1),
        Column("OS-Image", description=doc("core.v1.NodeSystemInfo.osImage"), priority=1),
        Column("Kernel-Version", description=doc("core.v1.NodeSystemInfo.kernelVersion"), priority=1),
        Column(
            "Container-Runtime", description=doc("core.v1.NodeSystemInfo.containerRuntimeVersion"), priority=1
        ),
    ),
    cells=cells,
    field_selectors={"spec.unschedulable": _is_unschedulable},
)
