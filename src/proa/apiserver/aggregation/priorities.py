"""Know in which order groups and their versions are offered: pkg/controlplane/apiserver/aggregator.go.

Built-in group versions have fixed priorities; those of custom resources share one (crdregistration_controller.go).
"""

from __future__ import annotations

PRIORITIES: dict[tuple[str, str], tuple[int, int]] = {
    ("", "v1"): (18000, 1),
    ("apps", "v1"): (17800, 15),
    ("events.k8s.io", "v1"): (17750, 15),
    ("authentication.k8s.io", "v1"): (17700, 15),
    ("authorization.k8s.io", "v1"): (17600, 15),
    ("autoscaling", "v1"): (17500, 15),
    ("autoscaling", "v2"): (17500, 30),
    ("batch", "v1"): (17400, 15),
    ("certificates.k8s.io", "v1"): (17300, 15),
    ("networking.k8s.io", "v1"): (17200, 15),
    ("policy", "v1"): (17100, 15),
    ("rbac.authorization.k8s.io", "v1"): (17000, 15),
    ("storage.k8s.io", "v1"): (16800, 15),
    ("apiextensions.k8s.io", "v1"): (16700, 15),
    ("admissionregistration.k8s.io", "v1"): (16700, 15),
    ("scheduling.k8s.io", "v1"): (16600, 15),
    ("coordination.k8s.io", "v1"): (16500, 15),
    ("node.k8s.io", "v1"): (16300, 15),
    ("discovery.k8s.io", "v1"): (16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1"): (16100, 21),
    ("resource.k8s.io", "v1"): (15900, 9),
    ("metrics.k8s.io", "v1beta1"): (100, 100),
    ("custom.metrics.k8s.io", "v1beta2"): (100, 200),
    ("external.metrics.k8s.io", "v1beta1"): (100, 100),
}
"""(group, version) -> (groupPriorityMinimum, versionPriority)."""
_BY_GROUP = {group: priority for (group, _), (priority, _) in PRIORITIES.items()}
"""Versions of a group have one priority."""
CUSTOM = (1000, 100)
OWN_GROUP = "apiregistration.k8s.io"
"""It has no APIService of its own: it is what APIServices are in."""


def group_priority(group: str) -> int:
    """Return the priority of a group that this server serves."""
    if group == OWN_GROUP:
        return 20001
    return _BY_GROUP.get(group, CUSTOM[0])
