"""Know how many pods of each kind are on each node, whatever is asked of them, without looking at the pods.

Theory of operation. To every selector pods are alike that agree in namespace, labels and whether they are going:
they are of one `Kind`. A `Tally` counts on each node the pods whose kind it matches; it is made by adding up kinds
(there are far fewer of them than pods) and from then on changed one pod at a time. The other way round, a
`TermTally` counts on each node the pods that have a certain term of affinity of their own, so that a pod finds
those that have something against it, or for it, by asking each different term once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal, NamedTuple

from proa.scheduler.pod_info import KindKey, PodInfo
from proa.scheduler.terms import Labels, Term

Role = Literal["anti", "required", "preferred"]
EVERYWHERE = ""
"""Where tallies and terms are filed that do not say in which namespaces they look."""
REMEMBERED = 4096
"""For so many kinds of pods it is kept which terms mean them."""


class Kind:
    """Pods that no selector can tell apart."""

    __slots__ = ("by_node", "is_terminating", "labels", "namespace", "tallies")

    def __init__(self, key: KindKey) -> None:
        self.namespace = key[0]
        self.labels = dict(key[1])
        self.is_terminating = key[2]
        self.by_node: dict[str, int] = {}
        self.tallies: list[Tally] = []


class Tally:
    """How many of the pods that match are on each node; nodes without any are absent."""

    __slots__ = ("by_node", "key", "matches", "namespaces", "users")

    def __init__(
        self, key: Hashable, namespaces: frozenset[str] | None, matches: Callable[[Kind], bool]
    ) -> None:
        self.key = key
        self.namespaces = namespaces
        self.matches = matches
        self.by_node: dict[str, int] = {}
        self.users = 0


class TermKey(NamedTuple):
    """A term that pods have, and as what; `weight` is that of a preferred one."""

    role: Role
    weight: int
    term: Term


class TermTally:
    """How many pods on each node have a term. Two are never equal: a ranking is for the very ones it asks."""

    __slots__ = ("by_node", "key")

    def __init__(self, key: TermKey) -> None:
        self.key = key
        self.by_node: dict[str, int] = {}


class Census:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._kinds: dict[KindKey, Kind] = {}
        self._tallies: dict[Hashable, Tally] = {}
        self._tallies_in: dict[str, list[Tally]] = {}
        self._terms: dict[TermKey, TermTally] = {}
        self._terms_in: dict[str, dict[TermKey, TermTally]] = {}
        self._meant: dict[tuple[str, frozenset[tuple[str, str]]], tuple[TermTally, ...]] = {}
        self._namespace_labels: dict[str, Labels] = {}

    def count(self, pod: PodInfo, node_name: str, sign: int) -> None:
        """Count a pod in (+1) or out (-1) on a node."""
        kind = self._kinds.get(pod.kind)
        if kind is None:
            kind = self._add_kind(pod.kind)
        _add(kind.by_node, node_name, sign)
        for tally in kind.tallies:
            _add(tally.by_node, node_name, sign)
        if not kind.by_node:
            del self._kinds[pod.kind]
        terms = pod.terms
        for term in terms.required:
            self._count_term(TermKey("required", 0, term), node_name, sign)
        for term in terms.anti:
            self._count_term(TermKey("anti", 0, term), node_name, sign)
        for term, weight in terms.preferred:
            self._count_term(TermKey("preferred", weight, term), node_name, sign)

    # Asking

    def hold(
        self, key: Hashable, namespaces: frozenset[str] | None, matches: Callable[[Kind], bool]
    ) -> Tally:
        """Return the tally of the pods that match, kept up to date until it is released as often as held.

        Equal keys must mean equal matches; `namespaces` None: in any.
        """
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(key, namespaces, matches)
            for place in namespaces or (EVERYWHERE,):
                self._tallies_in.setdefault(place, []).append(tally)
            for kind in self._kinds.values():
                if (namespaces is None or kind.namespace in namespaces) and matches(kind):
                    kind.tallies.append(tally)
                    for node_name, count in kind.by_node.items():
                        _add(tally.by_node, node_name, count)
        tally.users += 1
        return tally

    def release(self, tally: Tally) -> None:
        """Let go of a tally: nobody's is no longer counted."""
        tally.users -= 1
        if tally.users:
            return
        del self._tallies[tally.key]
        for place in tally.namespaces or (EVERYWHERE,):
            self._tallies_in[place].remove(tally)
            if not self._tallies_in[place]:
                del self._tallies_in[place]
        for kind in self._kinds.values():
            if tally in kind.tallies:
                kind.tallies.remove(tally)

    def hold_term(self, term: Term) -> Tally:
        """Return the tally of the pods that a term means."""
        return self.hold_terms((term,))

    def hold_terms(self, terms: tuple[Term, ...]) -> Tally:
        """Return the tally of the pods that every one of the terms means."""

        def matches(kind: Kind) -> bool:
            namespace_labels = self._namespace_labels.get(kind.namespace, {})
            return all(term.matches(kind.namespace, kind.labels, namespace_labels) for term in terms)

        open_ended = any(term.namespace_selector is not None for term in terms)
        named = frozenset[str]().union(*(term.namespaces for term in terms))
        meant = tuple(term._replace(topology_key="") for term in terms)
        return self.hold(("terms", meant), None if open_ended else named, matches)

    def terms_about(self, pod: PodInfo) -> tuple[TermTally, ...]:
        """Return the terms, of pods on nodes, that mean this pod."""
        if not self._terms:
            return ()
        key = pod.kind[:2]
        known = self._meant.get(key)
        if known is None:
            if len(self._meant) >= REMEMBERED:
                self._meant.clear()
            known = self._meant[key] = self._find_terms(pod)
        return known

    def is_meant(self, pod: PodInfo, terms: tuple[Term, ...]) -> bool:
        """Tell whether all of the terms mean a pod."""
        labels, namespace_labels = dict(pod.kind[1]), self._namespace_labels.get(pod.namespace, {})
        return all(term.matches(pod.namespace, labels, namespace_labels) for term in terms)

    # Changes of namespaces

    def set_namespace(self, name: str, labels: Labels | None) -> bool:
        """Take in a namespace's labels (None: it is gone); tell whether that changes what selectors mean."""
        before = self._namespace_labels.get(name)
        if before == labels:
            return False
        if labels is None:
            del self._namespace_labels[name]
        else:
            self._namespace_labels[name] = labels
        if (before or {}) == (labels or {}):
            return False
        self._meant.clear()
        for tally in self._tallies_in.get(EVERYWHERE, ()):
            self._recount(tally, name)
        return bool(self._tallies_in.get(EVERYWHERE) or self._terms_in.get(EVERYWHERE))

    def _recount(self, tally: Tally, namespace: str) -> None:
        for kind in self._kinds.values():
            if kind.namespace != namespace or (tally in kind.tallies) == tally.matches(kind):
                continue
            sign = -1 if tally in kind.tallies else 1
            (kind.tallies.append if sign > 0 else kind.tallies.remove)(tally)
            for node_name, count in kind.by_node.items():
                _add(tally.by_node, node_name, sign * count)

    # Counting

    def _add_kind(self, key: KindKey) -> Kind:
        kind = self._kinds[key] = Kind(key)
        candidates = (*self._tallies_in.get(kind.namespace, ()), *self._tallies_in.get(EVERYWHERE, ()))
        kind.tallies = [tally for tally in candidates if tally.matches(kind)]
        return kind

    def _count_term(self, key: TermKey, node_name: str, sign: int) -> None:
        tally = self._terms.get(key)
        if tally is None:
            tally = self._terms[key] = TermTally(key)
            for place in _places(key.term):
                self._terms_in.setdefault(place, {})[key] = tally
            self._meant.clear()
        _add(tally.by_node, node_name, sign)
        if not tally.by_node:
            del self._terms[key]
            for place in _places(key.term):
                del self._terms_in[place][key]
                if not self._terms_in[place]:
                    del self._terms_in[place]
            self._meant.clear()

    def _find_terms(self, pod: PodInfo) -> tuple[TermTally, ...]:
        labels, namespace_labels = dict(pod.kind[1]), self._namespace_labels.get(pod.namespace, {})
        return tuple(
            tally
            for place in (pod.namespace, EVERYWHERE)
            for key, tally in self._terms_in.get(place, {}).items()
            if key.term.matches(pod.namespace, labels, namespace_labels)
        )


def _places(term: Term) -> tuple[str, ...]:
    return (EVERYWHERE,) if term.namespace_selector is not None else tuple(term.namespaces)


def _add(counts: dict[str, int], node_name: str, number: int) -> None:
    count = counts.get(node_name, 0) + number
    if count:
        counts[node_name] = count
    else:
        del counts[node_name]
