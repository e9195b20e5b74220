"""Define where a plugin takes part in scheduling: one tiny interface for each extension point.

A plugin is an object with a `NAME` and the methods of the points it serves; `plugins/__init__.py` lists them.
`None` as a status means success. Follows kube-scheduler's staging/src/k8s.io/kube-scheduler/framework/interface.go.

What makes this scheduler fast is a promise that plugins keep: a filter or score may look only at the pod's
shape (`PodInfo.shape`), the facts that its own pre_filter returned, and the node. So pods of one shape and one
set of facts share one ranking of nodes (ranking.py), and only nodes that changed are looked at again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Protocol, runtime_checkable

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.snapshot import NodeInfo, PodInfo

MAX_SCORE = 100
Facts = Mapping[str, Hashable]
"""What each pre_filter found out about the pod, by plugin name."""


class Code(Enum):
    """Why not: `UNSCHEDULABLE` could be helped by other pods leaving, `UNRESOLVABLE` could not."""

    UNSCHEDULABLE = 1
    UNRESOLVABLE = 2


@dataclass(frozen=True, slots=True)
class Status:
    """A rejection: each reason in upstream's words, as users see it in events and conditions."""

    code: Code
    plugin: str
    reasons: tuple[str, ...]


class Event(Enum):
    """Changes of the cluster that may make room for a pod that was rejected."""

    NODE_ADDED = "node added"
    NODE_LABELS = "node labels changed"
    NODE_TAINTS = "node taints or unschedulable changed"
    NODE_ALLOCATABLE = "node allocatable changed"
    POD_REMOVED = "assigned pod gone or finished"
    CLAIM_CHANGED = "persistent volume claim added or changed"
    VOLUME_CHANGED = "persistent volume added or changed"
    CLASS_CHANGED = "storage class added or changed"


class Plugin(Protocol):
    """What every plugin has."""

    NAME: str
    HELPED_BY: frozenset[Event]
    """A pod that this plugin rejected is tried again only after one of these."""


@runtime_checkable
class PreEnqueue(Protocol):
    """Asked before a pod enters the queue."""

    def pre_enqueue(self, pod: Object) -> Status | None:
        """Return why the pod must not be scheduled yet; it is asked again when the pod changes."""


@runtime_checkable
class PreFilter(Protocol):
    """Asked once for a pod, before its nodes are looked at."""

    def pre_filter(self, pod: PodInfo) -> Status | Hashable:
        """Return why no node will do, or facts (None: none) for the plugin's other methods."""


@runtime_checkable
class Filter(Protocol):
    """Asked whether a pod can run on a node. `DEPENDS_ON_PODS`: the answer depends on the pods there."""

    DEPENDS_ON_PODS: bool

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Return why not."""


@runtime_checkable
class Score(Protocol):
    """Asked how well a node that passed suits the pod, from 0 to MAX_SCORE, times WEIGHT in the sum.

    With NORMALIZE "highest" or "lowest" scores may be any count, best when highest or lowest; they are scaled
    over the nodes that the pod could use if they were empty. Such scores must not depend on pods.
    """

    WEIGHT: int
    NORMALIZE: Literal["", "highest", "lowest"]
    SCORE_DEPENDS_ON_PODS: bool

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int: ...


@runtime_checkable
class PreBind(Protocol):
    """Asked to prepare what the pod needs on the node that was chosen, before it is bound."""

    async def pre_bind(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> None:
        """Return when ready; raise ApiError to have the pod scheduled anew."""


class Profile:
    """The plugins of one scheduler, sorted by extension point; order is that of the list."""

    def __init__(self, name: str, plugins: Sequence[Plugin]) -> None:
        self.name = name
        self.plugins = tuple(plugins)
        self.pre_enqueue = _having(plugins, PreEnqueue)
        self.pre_filters = _having(plugins, PreFilter)
        self.filters = _having(plugins, Filter)
        self.fixed_filters = tuple(p for p in self.filters if not p.DEPENDS_ON_PODS)
        self.moving_filters = tuple(p for p in self.filters if p.DEPENDS_ON_PODS)
        scores = _having(plugins, Score)
        self.fixed_scores = tuple(p for p in scores if not p.SCORE_DEPENDS_ON_PODS)
        self.moving_scores = tuple(p for p in scores if p.SCORE_DEPENDS_ON_PODS)
        self.pre_binds = _having(plugins, PreBind)
        self._helped_by = {plugin.NAME: plugin.HELPED_BY for plugin in plugins}

    def run_pre_filters(self, pod: PodInfo) -> Status | Facts:
        """Return the first rejection, or all facts."""
        facts: dict[str, Hashable] = {}
        for plugin in self.pre_filters:
            answer = plugin.pre_filter(pod)
            if isinstance(answer, Status):
                return answer
            if answer is not None:
                facts[plugin.NAME] = answer
        return facts

    def run_filters(self, pod: PodInfo, node: NodeInfo, facts: Facts) -> Status | None:
        """Return the first rejection, in the order of the list."""
        for plugin in self.filters:
            status: Status | None = plugin.filter(pod, node, facts.get(plugin.NAME))
            if status is not None:
                return status
        return None

    def can_help(self, event: Event, plugins: frozenset[str]) -> bool:
        """Tell whether the event may change the mind of any of the plugins that rejected a pod."""
        return any(event in self._helped_by[name] for name in plugins)


def _having(plugins: Sequence[Plugin], point: Any) -> tuple[Any, ...]:
    return tuple(plugin for plugin in plugins if isinstance(plugin, point))
