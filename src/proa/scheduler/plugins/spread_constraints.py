"""Read how a pod is to be spread: from its own constraints, or the default ones over its Services' and owner's pods.

Follows plugins/podtopologyspread/common.go and plugins/helper/spread.go.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS
from proa.objects.selectors import NOTHING, LabelSelector, Requirement, selector_from_dict
from proa.reconcile.informer import Informer, InformerFactory
from proa.scheduler.pod_info import PodInfo

SYSTEM_DEFAULTS: tuple[Object, ...] = (
    {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3},
    {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 5},
)


class Constraint(NamedTuple):
    """One constraint, its selector read. `honors_...`: nodes that the pod cannot use for that do not count."""

    is_hard: bool
    max_skew: int
    topology_key: str
    selector: LabelSelector
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A pod's constraints, and whether they are the ones that every pod has. Equal ones are the same object."""

    constraints: tuple[Constraint, ...]
    is_system_default: bool = False


NONE = Found(())
REMEMBERED = 4096


class ConstraintReader:
    """Reads constraints; `defaults` are for pods without any, None: the system's."""

    def __init__(self, informers: InformerFactory, defaults: Sequence[Object] | None = None) -> None:
        self._defaults = defaults
        self._found: dict[Hashable, Found] = {}
        self._default_of: dict[Hashable, Found] = {}
        self._services = informers.informer(SERVICES)
        self._services.add_index(SELECTED_BY, _selector_pairs)
        self._owners: dict[tuple[str, str], Informer] = {
            ("v1", "ReplicationController"): informers.informer(REPLICATION_CONTROLLERS),
            ("apps/v1", "ReplicaSet"): informers.informer(REPLICA_SETS),
            ("apps/v1", "StatefulSet"): informers.informer(STATEFUL_SETS),
        }
        for informer in (self._services, *self._owners.values()):
            informer.listen(self._selector_changed)

    def read(self, pod: PodInfo) -> Found:
        """Return a pod's constraints."""
        own = pod.pod["spec"].get("topologySpreadConstraints")
        if own:
            labels = (
                pod.kind[1] if any(c.get("matchLabelKeys") for c in own) else frozenset[tuple[str, str]]()
            )
            return _read_own(orjson.dumps(own), labels)
        defaults = SYSTEM_DEFAULTS if self._defaults is None else self._defaults
        if not defaults:
            return NONE
        owner = meta.controller_of(pod.pod)
        key = (pod.kind[:2], owner["kind"], owner["name"]) if owner else pod.kind[:2]
        found = self._default_of.get(key)
        if found is None:
            if len(self._default_of) >= REMEMBERED:
                self._default_of.clear()
            found = self._default_of[key] = self._read_default(defaults, self._default_selector(pod, owner))
        return found

    def _read_default(self, defaults: Sequence[Object], selector: LabelSelector) -> Found:
        if selector.is_everything:
            return NONE
        found = self._found.get(selector)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            read = [_read(constraint, {})._replace(selector=selector) for constraint in defaults]
            found = self._found[selector] = Found(tuple(read), self._defaults is None)
        return found

    def _selector_changed(self, old: Object | None, new: Object | None) -> None:
        """What was worked out from Services and owners counts no more when one of their selectors changes."""
        if old is None or new is None or old["spec"].get("selector") != new["spec"].get("selector"):
            self._default_of.clear()

    def _default_selector(self, pod: PodInfo, owner: Object | None) -> LabelSelector:
        """Return what selects the pods of all Services of a pod and of its owner; everything, where it has none."""
        equal: dict[str, str] = {}
        labels = pod.labels
        for key, value in labels.items():
            for service in self._services.by_index(SELECTED_BY, f"{pod.namespace}/{key}={value}"):
                selector = service["spec"]["selector"]
                if selector.items() <= labels.items():
                    equal.update(selector)
        more: tuple[Requirement, ...] = ()
        if owner is not None:
            informer = self._owners.get((owner["apiVersion"], owner["kind"]))
            found = informer.get(owner["name"], pod.namespace) if informer else None
            if found is not None and owner["kind"] == "ReplicationController":
                equal.update(found["spec"].get("selector") or {})
            elif found is not None:
                more = selector_from_dict(found["spec"].get("selector")).requirements
        requirements = [Requirement(key, "=", (equal[key],)) for key in equal]
        return LabelSelector(tuple(sorted((*requirements, *more), key=lambda requirement: requirement.key)))


SELECTED_BY = "scheduler: first pair of the selector"


def _selector_pairs(service: Object) -> list[str]:
    """File a Service under one label that its pods must have."""
    selector = service["spec"].get("selector") or {}
    return [f"{meta.namespace(service)}/{key}={selector[key]}" for key in sorted(selector)[:1]]


@lru_cache(maxsize=REMEMBERED)
def _read_own(text: bytes, labels: frozenset[tuple[str, str]]) -> Found:
    """Pods of one owner are spread alike: they share what was read. `labels` are for matchLabelKeys."""
    return Found(tuple(_read(constraint, dict(labels)) for constraint in orjson.loads(text)))


def _read(constraint: Object, labels: dict[str, str]) -> Constraint:
    selector = selector_from_dict(constraint.get("labelSelector"))
    keys = [key for key in constraint.get("matchLabelKeys") or () if key in labels]
    if keys and selector is not NOTHING:
        # The API server may have merged them into the selector already.
        known = {str(requirement) for requirement in selector.requirements}
        more = [r for r in (Requirement(key, "in", (labels[key],)) for key in keys) if str(r) not in known]
        selector = LabelSelector(tuple(sorted((*selector.requirements, *more), key=lambda r: r.key)))
    return Constraint(
        constraint["whenUnsatisfiable"] == "DoNotSchedule",
        constraint["maxSkew"],
        constraint["topologyKey"],
        selector,
        constraint.get("minDomains") or 1,
        (constraint.get("nodeAffinityPolicy") or "Honor") == "Honor",
        (constraint.get("nodeTaintsPolicy") or "Ignore") == "Honor",
    )
