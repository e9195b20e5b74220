"""Say on which nodes a DaemonSet runs, and what its pod for a node is.

A daemon's pod tolerates what befalls its node, and is bound to it by affinity, so that the scheduler places it.
Follows upstream's pkg/controller/daemon/daemon_controller.go (NodeShouldRunDaemonPod) and
pkg/controller/daemon/util/daemonset_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.node_selectors import is_picked_by
from proa.objects.pods import node_name
from proa.objects.resource import DAEMON_SETS
from proa.objects.tolerations import tolerates
from proa.reconcile.controller_revisions import POD_HASH_LABEL
from proa.reconcile.pod_control import pod_from_template

GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
NODE_FIELD = "metadata.name"

TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
"""Taints that every daemon tolerates, whatever its template says."""
NETWORK_UNAVAILABLE = ("node.kubernetes.io/network-unavailable", "NoSchedule")
"""What those tolerate too that use the node's own network."""


def should_run(daemon_set: Object, node: Object) -> bool:
    """Tell whether a pod is to be made on the node, where there is none."""
    return _fits(daemon_set, node) and not _is_repelled(daemon_set, node, ("NoSchedule", "NoExecute"))


def should_continue(daemon_set: Object, node: Object) -> bool:
    """Tell whether a pod that is on the node may stay."""
    return _fits(daemon_set, node) and not _is_repelled(daemon_set, node, ("NoExecute",))


def target_node(pod: Object) -> str:
    """Return the node that a daemon's pod is on, or made for; "" where it does not say."""
    if node_name(pod):
        return node_name(pod)
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == NODE_FIELD and field.get("operator") == "In":
                values = field.get("values") or []
                return str(values[0]) if len(values) == 1 else ""
    return ""


def make_pod(daemon_set: Object, digest: str, node: str) -> Object:
    """Return the pod of a revision (`digest`) for a node."""
    pod = pod_from_template(daemon_set["spec"]["template"], daemon_set, DAEMON_SETS)
    labels = {**(pod["metadata"].get("labels") or {}), POD_HASH_LABEL: digest}
    generation = meta.annotations(daemon_set).get(GENERATION_ANNOTATION)
    if generation is not None:
        labels[GENERATION_LABEL] = generation
    spec = pod["spec"]
    return {
        **pod,
        "metadata": {**pod["metadata"], "labels": labels},
        "spec": {
            **spec,
            "affinity": _bound_to(spec.get("affinity") or {}, node),
            "tolerations": daemon_tolerations(spec),
        },
    }


def daemon_tolerations(pod_spec: Object) -> list[Object]:
    """Return the template's tolerations and those that every daemon has; of one that is there twice, the latter."""
    tolerations: list[Object] = list(pod_spec.get("tolerations") or ())
    added = (*TOLERATED, NETWORK_UNAVAILABLE) if pod_spec.get("hostNetwork") else TOLERATED
    for key, effect in added:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        alike = (index for index, given in enumerate(tolerations) if _is_alike(given, toleration))
        index = next(alike, None)
        if index is None:
            tolerations.append(toleration)
        else:
            tolerations[index] = toleration
    return tolerations


def _fits(daemon_set: Object, node: Object) -> bool:
    spec = _pod_spec(daemon_set)
    return spec.get("nodeName", "") in ("", meta.name(node)) and is_picked_by(spec, node)


def _is_repelled(daemon_set: Object, node: Object, effects: Sequence[str]) -> bool:
    taints: Iterable[Object] = (node.get("spec") or {}).get("taints") or ()
    relevant = [taint for taint in taints if taint.get("effect") in effects]
    if not relevant:
        return False
    tolerations = daemon_tolerations(_pod_spec(daemon_set))
    return any(not tolerates(tolerations, taint) for taint in relevant)


def _pod_spec(daemon_set: Object) -> dict[str, Any]:
    return daemon_set["spec"]["template"].get("spec") or {}


def _is_alike(one: Object, other: Object) -> bool:
    return all(
        (one.get(part) or "") == (other.get(part) or "") for part in ("key", "operator", "effect", "value")
    )


def _bound_to(affinity: Object, node: str) -> Object:
    """Return the affinity with the node in place of what is required: that picks the node, or it were not here."""
    is_node = {"key": NODE_FIELD, "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [is_node]}]}
    of_nodes = affinity.get("nodeAffinity") or {}
    return {
        **affinity,
        "nodeAffinity": {**of_nodes, "requiredDuringSchedulingIgnoredDuringExecution": required},
    }
