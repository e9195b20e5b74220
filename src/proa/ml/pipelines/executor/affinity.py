"""The affinities of a step's pod, from the terms of the Kubernetes platform document.

Source: extendPodSpecPatch of backend/src/v2/driver/k8s.go, NodeAffinityTerm and PodAffinityTerm of
kubernetes_executor_config.proto. A term with a weight is a preference, one without is a requirement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.ml.pipelines.executor.parameters import quote
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.records import Json

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def make_affinity(
    document: Mapping[str, Any], find_value: Callable[[Mapping[str, Any]], Any], task: str
) -> Json:
    """Return the pod's `affinity`, {} for none."""
    affinity: Json = {}
    if node := _make_node_affinity(document, find_value, task):
        affinity["nodeAffinity"] = node
    terms = document.get("podAffinity", [])
    for name, is_anti in (("podAffinity", False), ("podAntiAffinity", True)):
        if made := _make_pod_affinity([term for term in terms if term.get("anti", False) == is_anti]):
            affinity[name] = made
    return affinity


def _make_node_affinity(
    document: Mapping[str, Any], find_value: Callable[[Mapping[str, Any]], Any], task: str
) -> Json:
    required: list[Json] = []
    preferred: list[Json] = []
    for term in document.get("nodeAffinity", []):
        if "nodeAffinityJson" in term:
            value = find_value(term["nodeAffinityJson"])
            if value is not None and not isinstance(value, dict):
                raise StepFailed(f"task '{task}': {quote(value)} is not a node affinity")
            required += (value or {}).get(REQUIRED, {}).get("nodeSelectorTerms", [])
            preferred += (value or {}).get(PREFERRED, [])
            continue
        made = {name: term[name] for name in ("matchExpressions", "matchFields") if term.get(name)}
        if made and "weight" in term:
            preferred.append({"weight": term["weight"], "preference": made})
        elif made:
            required.append(made)
    return _join({"nodeSelectorTerms": required} if required else None, preferred)


def _make_pod_affinity(terms: list[Mapping[str, Any]]) -> Json:
    required = [_make_pod_term(term) for term in terms if "weight" not in term]
    preferred = [
        {"weight": term["weight"], "podAffinityTerm": _make_pod_term(term)}
        for term in terms
        if "weight" in term
    ]
    return _join(required or None, preferred)


def _make_pod_term(term: Mapping[str, Any]) -> Json:
    made: Json = {"topologyKey": term.get("topologyKey", "")}
    if selector := _make_selector(term, "matchPodLabels", "matchPodExpressions"):
        made["labelSelector"] = selector
    if selector := _make_selector(term, "matchNamespaceLabels", "matchNamespaceExpressions"):
        made["namespaceSelector"] = selector
    if term.get("namespaces"):
        made["namespaces"] = term["namespaces"]
    return made


def _make_selector(term: Mapping[str, Any], labels: str, expressions: str) -> Json:
    found = {"matchLabels": term.get(labels), "matchExpressions": term.get(expressions)}
    return {name: value for name, value in found.items() if value}


def _join(required: Any, preferred: list[Json]) -> Json:
    return {name: value for name, value in ((REQUIRED, required), (PREFERRED, preferred)) if value}
