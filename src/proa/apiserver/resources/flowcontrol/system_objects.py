"""The flow schemas and priority levels that every cluster starts with, as specs by name.

Follows apiserver/pkg/apis/flowcontrol/bootstrap/default.go. The mandatory ones are as they are; the suggested ones
may be changed, and are then left alone (annotation `apf.kubernetes.io/autoupdate-spec`).
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

ANY_PATH = {"nonResourceURLs": ["*"], "verbs": ["*"]}
ANY_RESOURCE = {
    "apiGroups": ["*"],
    "clusterScope": True,
    "namespaces": ["*"],
    "resources": ["*"],
    "verbs": ["*"],
}
EVERYONE = ("system:unauthenticated", "system:authenticated")
LEASES_OF_LEADERS = {
    "apiGroups": ["coordination.k8s.io"],
    "namespaces": ["*"],
    "resources": ["leases"],
    "verbs": ["get", "create", "update"],
}
LEASES_OF_NODES = {**LEASES_OF_LEADERS, "verbs": ["*"]}
NODES = {
    "apiGroups": [""],
    "clusterScope": True,
    "namespaces": ["*"],
    "resources": ["nodes", "nodes/status"],
    "verbs": ["*"],
}
PROBES = {"nonResourceURLs": ["/healthz", "/readyz", "/livez"], "verbs": ["get"]}


def _groups(*names: str) -> list[Spec]:
    return [{"group": {"name": name}, "kind": "Group"} for name in names]


def _users(*names: str) -> list[Spec]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


SYSTEM_ACCOUNTS = [
    {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}},
]


def _schema(level: str, precedence: int, method: str, subjects: list[Spec], **rules: list[Spec]) -> Spec:
    rules = rules or {"nonResourceRules": [ANY_PATH], "resourceRules": [ANY_RESOURCE]}
    spec: Spec = {"distinguisherMethod": {"type": method}} if method else {}
    return {
        **spec,
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [{**rules, "subjects": subjects}],
    }


def _limited(shares: int, lendable: int, queues: int = 0, hand: int = 0) -> Spec:
    queuing = {"handSize": hand, "queueLengthLimit": 50, "queues": queues}
    response = {"queuing": queuing, "type": "Queue"} if queues else {"type": "Reject"}
    limited = {
        "lendablePercent": lendable,
        "limitResponse": response,
        "nominalConcurrencyShares": shares,
    }
    return {"limited": limited, "type": "Limited"}


MANDATORY_PRIORITY_LEVELS: dict[str, Spec] = {
    "catch-all": _limited(5, 0),
    "exempt": {"exempt": {"lendablePercent": 0, "nominalConcurrencyShares": 0}, "type": "Exempt"},
}
SUGGESTED_PRIORITY_LEVELS: dict[str, Spec] = {
    "system": _limited(30, 33, 64, 6),
    "node-high": _limited(40, 25, 64, 6),
    "leader-election": _limited(10, 0, 16, 4),
    "workload-high": _limited(40, 50, 128, 6),
    "workload-low": _limited(100, 90, 128, 6),
    "global-default": _limited(20, 50, 128, 6),
}
MANDATORY_FLOW_SCHEMAS: dict[str, Spec] = {
    "exempt": _schema("exempt", 1, "", _groups("system:masters")),
    "catch-all": _schema("catch-all", 10000, "ByUser", _groups(*EVERYONE)),
}
SUGGESTED_FLOW_SCHEMAS: dict[str, Spec] = {
    "probes": _schema("exempt", 2, "", _groups(*EVERYONE), nonResourceRules=[PROBES]),
    "system-leader-election": _schema(
        "leader-election",
        100,
        "ByUser",
        _users("system:kube-controller-manager", "system:kube-scheduler") + SYSTEM_ACCOUNTS,
        resourceRules=[LEASES_OF_LEADERS],
    ),
    "system-node-high": _schema(
        "node-high", 400, "ByUser", _groups("system:nodes"), resourceRules=[NODES, LEASES_OF_NODES]
    ),
    "system-nodes": _schema("system", 500, "ByUser", _groups("system:nodes")),
    "kube-controller-manager": _schema(
        "workload-high", 800, "ByNamespace", _users("system:kube-controller-manager")
    ),
    "kube-scheduler": _schema("workload-high", 800, "ByNamespace", _users("system:kube-scheduler")),
    "kube-system-service-accounts": _schema("workload-high", 900, "ByNamespace", SYSTEM_ACCOUNTS),
    "service-accounts": _schema("workload-low", 9000, "ByUser", _groups("system:serviceaccounts")),
    "global-default": _schema("global-default", 9900, "ByUser", _groups(*EVERYONE)),
}
