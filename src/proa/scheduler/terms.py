"""Read the terms of pods' affinity and anti-affinity to other pods (pkg/scheduler/framework, AffinityTerm).

The API server has merged matchLabelKeys and mismatchLabelKeys into the selectors when the pod was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.selectors import LabelSelector, selector_from_dict

Labels = Mapping[str, str]


class Term(NamedTuple):
    """Other pods, and the label of nodes that says what is near them."""

    topology_key: str
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    selector: LabelSelector

    def matches(self, namespace: str, labels: Labels, namespace_labels: Labels) -> bool:
        """Tell whether a pod of that namespace with those labels is meant."""
        if namespace not in self.namespaces and (
            self.namespace_selector is None or not self.namespace_selector.matches(namespace_labels)
        ):
            return False
        return self.selector.matches(labels)


class PodTerms(NamedTuple):
    """All terms of a pod; `preferred` has each with its weight, that of anti-affinity below zero."""

    required: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    preferred: tuple[tuple[Term, int], ...] = ()


NO_TERMS = PodTerms()


def pod_terms(pod: Object) -> PodTerms:
    """Return what a pod's spec.affinity asks of other pods; raise BadRequest where a selector cannot be read."""
    affinity = pod["spec"].get("affinity")
    if not affinity or not (affinity.get("podAffinity") or affinity.get("podAntiAffinity")):
        return NO_TERMS
    text = orjson.dumps([affinity.get("podAffinity"), affinity.get("podAntiAffinity")])
    return _read(text, meta.namespace(pod))


@lru_cache(maxsize=4096)
def _read(text: bytes, namespace: str) -> PodTerms:
    """Pods of one owner ask the same: they share what was read."""
    near, apart = (part or {} for part in orjson.loads(text))
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    weighted = [
        (_read_term(entry["podAffinityTerm"], namespace), sign * entry["weight"])
        for part, sign in ((near, 1), (apart, -1))
        for entry in part.get(preferred) or ()
    ]
    return PodTerms(
        tuple(_read_term(term, namespace) for term in near.get(required) or ()),
        tuple(_read_term(term, namespace) for term in apart.get(required) or ()),
        tuple(weighted),
    )


def _read_term(term: Object, namespace: str) -> Term:
    """Neither namespaces nor a selector of them means the pod's own."""
    selector = term.get("namespaceSelector")
    named = term.get("namespaces") or ()
    return Term(
        term["topologyKey"],
        frozenset(named if named or selector is not None else (namespace,)),
        None if selector is None else selector_from_dict(selector),
        selector_from_dict(term.get("labelSelector")),
    )
