"""Every pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise.

Follows plugin/pkg/admission/defaulttolerationseconds/admission.go.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.registry.attributes import Attributes

TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
SECONDS = 300


def admit(attributes: Attributes) -> None:
    """Add the tolerations that are missing."""
    pod = attributes.obj
    if attributes.subresource or pod is None:
        return
    spec = pod.setdefault("spec", {})
    had = spec.get("tolerations") or []
    missing = [taint for taint in TAINTS if not any(_tolerates(toleration, taint) for toleration in had)]
    if missing:
        spec["tolerations"] = had + [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
            for taint in missing
        ]


def _tolerates(toleration: dict[str, Any], taint: str) -> bool:
    return toleration.get("key") in (None, "", taint) and toleration.get("effect") in (None, "", "NoExecute")
