"""Decide by the rules of kube-scheduler's default plugins as simply as they can be written down.

For each pod, all pods are counted and every node is filtered and scored anew, from the objects alone. It is what the
scheduler is measured against, and what its tests hold it to: the same nodes fit, and the same one is best. It shares
the reading of quantities and selectors with it, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

from proa.objects import meta, pods
from proa.objects.selectors import Requirement, selector_from_dict

Object = dict[str, Any]
Labels = Mapping[str, str]
HOSTNAME = "kubernetes.io/hostname"
DEFAULT_SPREAD = (("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5))
OPERATORS: Any = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


class Cluster(NamedTuple):
    """All that decides: nodes, pods with the node of each, namespaces' labels; Services spread pods by default."""

    nodes: Sequence[Object]
    placed: Sequence[tuple[Object, str]]
    namespaces: Mapping[str, Labels] = {}
    services: Sequence[Object] = ()


def score_nodes(cluster: Cluster, pod: Object, without: Collection[str] = ()) -> dict[str, int]:
    """Return the total score of each node that fits and is not left out."""
    question = Question(cluster, pod)
    fitting = [n for n in cluster.nodes if meta.name(n) not in without and question.fits(n)]
    totals = dict.fromkeys((meta.name(node) for node in fitting), 0)
    parts = (
        (3, scaled([count_soft_taints(pod, node) for node in fitting], turned=True)),
        (2, scaled([preferred_weight(pod, node) for node in fitting])),
        (1, [question.least_allocated(node) for node in fitting]),
        (2, question.spread_scores(fitting)),
        (2, question.affinity_scores(fitting)),
        (1, [question.balanced(node) for node in fitting]),
        (1, [question.image_score(node) for node in fitting]),
    )
    for weight, scores in parts:
        for node, score in zip(fitting, scores, strict=True):
            totals[meta.name(node)] += weight * score
    return totals


class Question:
    """One pod that a node is sought for; what is counted for it is counted once."""

    def __init__(self, cluster: Cluster, pod: Object) -> None:
        self.cluster = cluster
        self.pod = pod
        self.labels_of = {meta.name(node): meta.labels(node) for node in cluster.nodes}
        self.pods_of: dict[str, list[Object]] = {name: [] for name in self.labels_of}
        for other, name in cluster.placed:
            self.pods_of[name].append(other)

    def fits(self, node: Object) -> bool:
        """Tell whether no rule speaks against a node."""
        unschedulable = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        return (
            (not node["spec"].get("unschedulable") or tolerates(self.pod, unschedulable))
            and not any(
                t["effect"] != "PreferNoSchedule" and not tolerates(self.pod, t) for t in taints(node)
            )
            and is_selected(self.pod, node)
            and self.has_free_ports(node)
            and self.has_room(node)
            and self.is_spread(node)
            and self.is_near_enough(node)
        )

    # Resources

    def has_free_ports(self, node: Object) -> bool:
        """Tell whether none of the pod's host ports is taken."""
        wanted = pods.host_ports(self.pod)
        others = self.pods_of[meta.name(node)] if wanted else []
        return not any(
            (a.protocol, a.port) == (b.protocol, b.port) and (a.ip == b.ip or "0.0.0.0" in (a.ip, b.ip))
            for a in wanted
            for other in others
            for b in pods.host_ports(other)
        )

    def requested(self, node: Object) -> dict[str, int]:
        """Return what all pods of a node ask for, with this one."""
        total: dict[str, int] = {}
        for each in (*self.pods_of[meta.name(node)], self.pod):
            for name, amount in requests(each).items():
                total[name] = total.get(name, 0) + amount
        return total

    def has_room(self, node: Object) -> bool:
        """Tell whether all that the pod requests is free."""
        has, total = allocatable(node), self.requested(node)
        if len(self.pods_of[meta.name(node)]) + 1 > has.get("pods", 0):
            return False
        own = requests(self.pod)
        return all(total[name] <= has.get(name, 0) for name, amount in own.items() if amount)

    def least_allocated(self, node: Object) -> int:
        """Return the mean share of cpu and memory that is left."""
        has, found = allocatable(node), []
        for name in ("cpu", "memory"):
            if has.get(name):
                total = sum(assumed(each, name) for each in (*self.pods_of[meta.name(node)], self.pod))
                found.append(max(has[name] - total, 0) * 100 // has[name])
        return sum(found) // len(found) if found else 0

    def balanced(self, node: Object) -> int:
        """Return how alike cpu and memory are used."""
        own, has, total = requests(self.pod), allocatable(node), self.requested(node)
        if not own.get("cpu") and not own.get("memory"):
            return 0
        shares = [min(total.get(name, 0) / has[name], 1.0) for name in ("cpu", "memory") if has.get(name)]
        deviation = abs((shares[0] - shares[1]) / 2) if len(shares) == 2 else 0.0
        return int((1 - deviation) * 100)

    @cached_property
    def image_worth(self) -> dict[str, int]:
        """Return what each image counts for, by all of its names."""
        sizes: dict[str, list[int]] = {}
        for node in self.cluster.nodes:
            for image in node["status"].get("images", ()):
                for name in image["names"]:
                    sizes.setdefault(name, []).append(image["sizeBytes"])
        return {name: int(found[0] * (len(found) / len(self.cluster.nodes))) for name, found in sizes.items()}

    def image_score(self, node: Object) -> int:
        """Return how much of the pod's images the node has."""
        mib, total = 1024 * 1024, 0
        containers = [*pods.init_containers(self.pod), *pods.containers(self.pod)]
        for container in containers:
            name = container["image"]
            name = name if name.rfind(":") > name.rfind("/") else f"{name}:latest"
            if any(name in image["names"] for image in node["status"].get("images", ())):
                total += self.image_worth[name]
        low, high = 23 * mib, 1000 * mib * len(containers)
        return (min(max(total, low), high) - low) * 100 // (high - low)

    # Other pods

    def means(self, owner: Object, term: Object, pod: Object) -> bool:
        """Tell whether a term that `owner` has means a pod."""
        namespaces, selector = term.get("namespaces") or [], term.get("namespaceSelector")
        if not namespaces and selector is None:
            namespaces = [meta.namespace(owner)]
        here = meta.namespace(pod)
        labels = self.cluster.namespaces.get(here, {})
        is_here = here in namespaces or (
            selector is not None and selector_from_dict(selector).matches(labels)
        )
        return is_here and selector_from_dict(term.get("labelSelector")).matches(meta.labels(pod))

    @cached_property
    def near(self) -> Counter[tuple[str, str]]:
        """Return where the pods are that all required terms mean: label and value."""
        required = affinity_terms(self.pod, "podAffinity", "required")
        found: Counter[tuple[str, str]] = Counter()
        for other, name in self.cluster.placed if required else ():
            if all(self.means(self.pod, term, other) for term in required):
                for key in (term["topologyKey"] for term in required):
                    if key in self.labels_of[name]:
                        found[key, self.labels_of[name][key]] += 1
        return found

    @cached_property
    def apart(self) -> set[tuple[str, str]]:
        """Return where there are pods that this one, or that themselves, cannot stand the other."""
        own, found = affinity_terms(self.pod, "podAntiAffinity", "required"), set()
        for other, name in self.cluster.placed:
            theirs = affinity_terms(other, "podAntiAffinity", "required")
            disliked = [t for t in own if self.means(self.pod, t, other)]
            disliked += [t for t in theirs if self.means(other, t, self.pod)]
            for key in (term["topologyKey"] for term in disliked):
                if key in self.labels_of[name]:
                    found.add((key, self.labels_of[name][key]))
        return found

    def is_near_enough(self, node: Object) -> bool:
        """Tell whether required affinity and anti-affinity hold, on both sides."""
        labels, required = meta.labels(node), affinity_terms(self.pod, "podAffinity", "required")
        keys = [term["topologyKey"] for term in required]
        if any(key not in labels for key in keys):
            return False
        if not all(self.near[key, labels[key]] for key in keys):
            is_first = not self.near and all(self.means(self.pod, term, self.pod) for term in required)
            if not is_first:
                return False
        return not any(pair in self.apart for pair in labels.items())

    def affinity_scores(self, fitting: Sequence[Object]) -> list[int]:
        """Return the scaled sums of weights of preferred terms, on both sides."""
        sums: Counter[tuple[str, str]] = Counter()
        own = weighted_terms(self.pod)
        for other, name in self.cluster.placed:
            required = affinity_terms(other, "podAffinity", "required")
            found = [(1, t) for t in required if self.means(other, t, self.pod)]
            found += [(weight, t) for weight, t in own if self.means(self.pod, t, other)]
            found += [(weight, t) for weight, t in weighted_terms(other) if self.means(other, t, self.pod)]
            for weight, term in found:
                key = term["topologyKey"]
                if key in self.labels_of[name]:
                    sums[key, self.labels_of[name][key]] += weight
        raw = [sum(sums[pair] for pair in meta.labels(node).items() if pair in sums) for node in fitting]
        low, high = min(raw, default=0), max(raw, default=0)
        return [int(100 * ((score - low) / (high - low))) if high > low else 0 for score in raw]

    # Spreading

    def constraints(self, action: str) -> tuple[list[Object], bool]:
        """Return the constraints with that action, and whether they are the default ones."""
        own = self.pod["spec"].get("topologySpreadConstraints") or []
        if own:
            return [c for c in own if c["whenUnsatisfiable"] == action], False
        if action == "DoNotSchedule":
            return [], True
        equal: dict[str, str] = {}
        for service in self.cluster.services:
            selector = service["spec"].get("selector") or {}
            is_here = meta.namespace(service) == meta.namespace(self.pod)
            if selector and is_here and selector.items() <= meta.labels(self.pod).items():
                equal.update(selector)
        selector = {"matchLabels": equal}
        made = [{"topologyKey": k, "maxSkew": skew, "labelSelector": selector} for k, skew in DEFAULT_SPREAD]
        return (made if equal else []), True

    def selects(self, constraint: Object, other: Object) -> bool:
        """Tell whether a constraint counts another pod."""
        own, labels = meta.labels(self.pod), meta.labels(other)
        keys = [key for key in constraint.get("matchLabelKeys") or () if key in own]
        return selector_from_dict(constraint.get("labelSelector")).matches(labels) and all(
            labels.get(key) == own[key] for key in keys
        )

    def count_on(self, constraint: Object, node: Object) -> int:
        """Count the pods of a node that a constraint counts."""
        return sum(
            self.selects(constraint, other)
            for other in self.pods_of[meta.name(node)]
            if meta.namespace(other) == meta.namespace(self.pod) and not meta.is_deleting(other)
        )

    def is_included(self, constraint: Object, node: Object) -> bool:
        """Tell whether a constraint counts a node's pods at all."""
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not is_selected(self.pod, node):
            return False
        tainted = any(t["effect"] != "PreferNoSchedule" and not tolerates(self.pod, t) for t in taints(node))
        return constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore" or not tainted

    def count_by_domain(self, constraint: Object, nodes: Sequence[Object]) -> dict[str, int]:
        """Count pods by domain over the nodes that are included."""
        counts: dict[str, int] = {}
        for node in nodes:
            if self.is_included(constraint, node):
                value = meta.labels(node).get(constraint["topologyKey"], "")
                counts[value] = counts.get(value, 0) + self.count_on(constraint, node)
        return counts

    @cached_property
    def hard_counts(self) -> list[tuple[Object, dict[str, int]]]:
        """Return the constraints with DoNotSchedule, with the counts of each."""
        constraints, _ = self.constraints("DoNotSchedule")
        keys = [constraint["topologyKey"] for constraint in constraints]
        labelled = [n for n in self.cluster.nodes if all(key in meta.labels(n) for key in keys)]
        return [(constraint, self.count_by_domain(constraint, labelled)) for constraint in constraints]

    def is_spread(self, node: Object) -> bool:
        """Tell whether the constraints with DoNotSchedule allow the node."""
        for constraint, counts in self.hard_counts:
            if constraint["topologyKey"] not in meta.labels(node):
                return False
            least = min(counts.values(), default=0) if len(counts) >= constraint.get("minDomains", 1) else 0
            there = counts.get(meta.labels(node)[constraint["topologyKey"]], 0)
            if there + self.selects(constraint, self.pod) - least > constraint["maxSkew"]:
                return False
        return True

    def spread_scores(self, fitting: Sequence[Object]) -> list[int]:
        """Return the scores of the constraints with ScheduleAnyway."""
        constraints, is_default = self.constraints("ScheduleAnyway")
        if not constraints:
            return [0] * len(fitting)

        def has_labels(node: Object) -> bool:
            return is_default or all(c["topologyKey"] in meta.labels(node) for c in constraints)

        scored = [node for node in fitting if has_labels(node)]
        raw: dict[str, float] = {meta.name(node): 0.0 for node in scored}
        for constraint in constraints:
            key = constraint["topologyKey"]
            counted = [n for n in self.cluster.nodes if has_labels(n)] if key != HOSTNAME else []
            counts = self.count_by_domain(constraint, counted)
            domains = len(scored) if key == HOSTNAME else len({meta.labels(n).get(key, "") for n in scored})
            weight = math.log(domains + 2)
            for node in scored:
                value = meta.labels(node).get(key)
                if value is not None:
                    count = self.count_on(constraint, node) if key == HOSTNAME else counts[value]
                    raw[meta.name(node)] += count * weight + (constraint["maxSkew"] - 1)
        rounded = {name: math.floor(score) + (score % 1 >= 0.5) for name, score in raw.items()}
        low, high = min(rounded.values(), default=0), max(rounded.values(), default=0)
        names = [meta.name(node) for node in fitting]
        return [
            0 if name not in rounded else 100 * (high + low - rounded[name]) // high if high else 100
            for name in names
        ]


def taints(node: Object) -> list[Object]:
    """Return a node's taints."""
    return node["spec"].get("taints") or []


def tolerates(pod: Object, taint: Object, *, soft: bool = False) -> bool:
    """Tell whether the pod tolerates a taint; `soft`: only by tolerations that may be of PreferNoSchedule."""
    for t in pod["spec"].get("tolerations") or ():
        if soft and t.get("effect") not in (None, "", "PreferNoSchedule"):
            continue
        if t.get("effect") and t["effect"] != taint["effect"]:
            continue
        if t.get("operator") == "Exists":
            if not t.get("key") or t["key"] == taint["key"]:
                return True
        elif t.get("key") == taint["key"] and (t.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def count_soft_taints(pod: Object, node: Object) -> int:
    """Count the PreferNoSchedule taints that the pod does not tolerate."""
    return sum(t["effect"] == "PreferNoSchedule" and not tolerates(pod, t, soft=True) for t in taints(node))


def term_picks(term: Object, node: Object) -> bool:
    """Tell whether all expressions of a node selector term hold."""
    expressions = [(e, meta.labels(node)) for e in term.get("matchExpressions") or ()]
    expressions += [(e, {"metadata.name": meta.name(node)}) for e in term.get("matchFields") or ()]
    return bool(expressions) and all(
        Requirement(e["key"], OPERATORS[e["operator"]], tuple(e.get("values") or ())).matches(labels)
        for e, labels in expressions
    )


def is_selected(pod: Object, node: Object) -> bool:
    """Tell whether nodeSelector and required node affinity pick the node."""
    labels = meta.labels(node)
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_picks(term, node) for term in required["nodeSelectorTerms"])


def preferred_weight(pod: Object, node: Object) -> int:
    """Add up the weights of the preferred node affinity terms that hold."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(term["weight"] for term in preferred if term_picks(term["preference"], node))


@cache
def _read(text: bytes) -> dict[str, int]:
    return pods.amounts(json.loads(text))


READ: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
"""By uid, what pods request, and with what is assumed of containers that ask for no cpu or memory: read once."""


def allocatable(node: Object) -> dict[str, int]:
    """Return what a node has."""
    return _read(json.dumps(node["status"]["allocatable"]).encode())


def requests(pod: Object) -> dict[str, int]:
    """Return what a pod requests."""
    return _requests(pod)[0]


def assumed(pod: Object, name: str) -> int:
    """Return a pod's request of cpu or memory, with a default for containers without one."""
    return _requests(pod)[1][name]


def _requests(pod: Object) -> tuple[dict[str, int], dict[str, int]]:
    known = READ.get(meta.uid(pod))
    if known is None:
        found = pods.resource_requests(pod)
        with_defaults = {}
        for name, default in (("cpu", 100), ("memory", 200 * 1024 * 1024)):
            missing = sum(name not in pods.container_requests(c) for c in pods.containers(pod))
            with_defaults[name] = found.get(name, 0) + missing * default
        known = READ[meta.uid(pod)] = (found, with_defaults)
    return known


def affinity_terms(pod: Object, kind: str, strength: str) -> list[Object]:
    """Return the terms of podAffinity or podAntiAffinity."""
    part = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return part.get(f"{strength}DuringSchedulingIgnoredDuringExecution") or []


def weighted_terms(pod: Object) -> list[tuple[int, Object]]:
    """Return a pod's preferred terms with their weights, those of anti-affinity below zero."""
    return [
        (sign * entry["weight"], entry["podAffinityTerm"])
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
        for entry in affinity_terms(pod, kind, "preferred")
    ]


def scaled(counts: list[int], *, turned: bool = False) -> list[int]:
    """Scale counts to 0..100 by the highest; `turned`: the lowest is best."""
    highest = max(counts, default=0)
    found = [count * 100 // highest if highest else 0 for count in counts]
    return [100 - score for score in found] if turned else found
