"""A new node takes no pods until the node lifecycle controller has seen it Ready.

Follows plugin/pkg/admission/nodetaint/admission.go.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def admit(attributes: Attributes) -> None:
    """Add the not-ready taint."""
    node = attributes.obj
    if attributes.operation != "CREATE" or node is None:
        return
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(t.get("key") == NOT_READY["key"] and t.get("effect") == NOT_READY["effect"] for t in taints):
        spec["taints"] = [*taints, dict(NOT_READY)]
