"""Define where a plugin takes part in scheduling: one tiny interface for each extension point.

A plugin is an object with a `NAME` and the methods of the points it serves; `plugins/__init__.py` lists them.
`None` as a status means success. Follows kube-scheduler's staging/src/k8s.io/kube-scheduler/framework/interface.go.

What makes this scheduler fast is a promise that plugins keep: a filter or score may look only at the pod's
shape (`PodInfo.shape`), the facts that its own pre_filter returned, and the node. So pods of one shape and one
set of facts share one ranking of nodes (ranking.py), and only nodes that changed are looked at again. A plugin
whose answer for a node depends on pods of other nodes has an `Overview` for each ranking instead.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Protocol, runtime_checkable

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.snapshot import Snapshot

MAX_SCORE = 100
Facts = Mapping[str, Hashable]
"""What each pre_filter found out about the pod, by plugin name."""
Sizes = Sequence[tuple[Hashable, int]]
"""Groups of nodes that fit: what an overview returned for each node of it, and how many they are."""
Point = Literal["preEnqueue", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "preBind"]


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
    NODE_REMOVED = "node gone"
    NODE_LABELS = "node labels changed"
    NODE_TAINTS = "node taints or unschedulable changed"
    NODE_ALLOCATABLE = "node allocatable changed"
    POD_ADDED = "pod assigned, or labels of an assigned pod changed"
    POD_REMOVED = "assigned pod gone or finished"
    POD_SCALED_DOWN = "assigned pod asks for less"
    CLAIM_CHANGED = "persistent volume claim added or changed"
    VOLUME_CHANGED = "persistent volume added or changed"
    CLASS_CHANGED = "storage class added or changed"
    CSI_NODE_CHANGED = "limits of a node's volumes changed"
    RESOURCE_CLAIM_CHANGED = "resource claim added, changed or gone"
    RESOURCE_SLICE_CHANGED = "resource slice added or changed"
    DEVICE_CLASS_CHANGED = "device class added or changed"
    POD_GROUP_CHANGED = "pod group added or changed"
    NAMESPACE_CHANGED = "namespace labels changed"


@runtime_checkable
class Choosy(Protocol):
    """A filter that has nothing to say of most pods: for those it is not asked about any node."""

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether it may refuse these pods a node."""


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
    over the nodes that fit. Such scores must not depend on pods.
    """

    WEIGHT: int
    NORMALIZE: Literal["", "highest", "lowest"]
    SCORE_DEPENDS_ON_PODS: bool

    def score(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> int: ...


class Overview(Protocol):
    """What one ranking's pods must know of all nodes together, kept up to date one node at a time.

    A node answers with a key; all that the overview says of the node follows from its key and from the overview
    as it is now. Nodes with equal keys are judged together, so keys should be few: the node's domain, a count.
    `COUNTS` False: it adds nothing up, and a node's key follows from the node without its pods; it need not be shown
    nodes that the pods cannot use.
    """

    COUNTS: bool

    def look(self, name: str, node: NodeInfo | None) -> Hashable:
        """Take in a node that may have changed, or its pods (None: it is gone), and return its key."""

    def filter(self, key: Hashable) -> Status | None:
        """Return why nodes with that key will not do now."""

    def scores(self, groups: Sizes) -> list[int]:
        """Return a score from 0 to MAX_SCORE for each group of nodes that fit."""

    def close(self) -> None:
        """Let go of what is held elsewhere: the ranking is forgotten."""


@runtime_checkable
class Overseer(Protocol):
    """Asked for an overview when pods of a new shape, or with new facts, come. Its scores count WEIGHT times.

    FILTERS False: it refuses no node.
    """

    WEIGHT: int
    FILTERS: bool

    def overview(self, pod: PodInfo, facts: Hashable, snapshot: Snapshot) -> Overview | None:
        """Return an overview that has seen no node yet; None where these pods need none."""


@runtime_checkable
class PostFilter(Protocol):
    """Asked when no node will do, before preemption is tried."""

    def post_filter(
        self, pod: PodInfo, reasons: Collection[str]
    ) -> tuple[str, Coroutine[Any, Any, None] | None]:
        """Return what to say, and what to do meanwhile that may help; `reasons` are those of all nodes."""


@runtime_checkable
class Reserve(Protocol):
    """Told of the choice at once, before the next decision."""

    def reserve(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Count what the pod takes on the node beside its requests; return why that cannot be any more."""

    def unreserve(self, pod: PodInfo, facts: Hashable) -> None:
        """Take back what was counted, where the pod is not bound after all; harmless where nothing was."""


@runtime_checkable
class PreBind(Protocol):
    """Asked to prepare what the pod needs on the node that was chosen, before it is bound."""

    async def pre_bind(self, pod: PodInfo, node_name: str, facts: Hashable) -> None:
        """Return when ready; raise ApiError to have the pod scheduled anew."""


@runtime_checkable
class Hinting(Protocol):
    """Asked whether one of HELPED_BY helps a certain pod that the plugin rejected; without it, each does."""

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the change from `old` to `new` may change the plugin's mind; when in doubt, yes."""


class Profile:
    """The plugins of one scheduler, sorted by extension point; order is that of the list.

    `weights` replace the plugins' own; `without` are points at which a plugin takes no part.
    """

    def __init__(
        self,
        name: str,
        plugins: Sequence[Plugin],
        weights: Mapping[str, int] | None = None,
        without: frozenset[tuple[Point, str]] = frozenset(),
    ) -> None:
        self.name = name
        self.plugins = tuple(plugins)
        self._without = without
        given = weights or {}
        self.weights: dict[str, int] = {
            p.NAME: given.get(p.NAME) or p.WEIGHT
            for p in plugins
            if isinstance(p, Score | Overseer) and p.WEIGHT and ("score", p.NAME) not in without
        }
        self.pre_enqueue = self._having("preEnqueue", PreEnqueue)
        self.pre_filters = self._having("preFilter", PreFilter)
        self.filters = self._having("filter", Filter)
        self.fixed_filters = tuple(p for p in self.filters if not p.DEPENDS_ON_PODS)
        self.moving_filters = tuple(p for p in self.filters if p.DEPENDS_ON_PODS)
        scores = self._having("score", Score)
        self.scaled_scores = tuple(p for p in scores if p.NORMALIZE)
        self.fixed_scores = tuple(p for p in scores if not p.NORMALIZE and not p.SCORE_DEPENDS_ON_PODS)
        self.moving_scores = tuple(p for p in scores if p.SCORE_DEPENDS_ON_PODS)
        self.overseers: tuple[tuple[Any, bool, int], ...] = tuple(
            (p, p.FILTERS and ("filter", p.NAME) not in without, self.weights.get(p.NAME, 0))
            for p in plugins
            if isinstance(p, Overseer)
        )
        """Each with whether it filters, and its score's weight (0: it does not score)."""
        self.post_filters = self._having("postFilter", PostFilter)
        self.reserves = self._having("reserve", Reserve)
        self.pre_binds = self._having("preBind", PreBind)
        self._helped_by = {plugin.NAME: plugin.HELPED_BY for plugin in plugins}
        self._hinting = {plugin.NAME: plugin for plugin in plugins if isinstance(plugin, Hinting)}

    def plugin(self, name: str) -> Plugin | None:
        """Return a plugin by its name."""
        return next((plugin for plugin in self.plugins if name == plugin.NAME), None)

    def takes_part(self, name: str, point: Point) -> bool:
        """Tell whether there is such a plugin, at that point."""
        return self.plugin(name) is not None and (point, name) not in self._without

    def run_pre_filters(self, pod: PodInfo) -> Status | Facts:
        """Return the first rejection, or all facts."""
        facts: dict[str, Hashable] = {}
        for plugin in self.pre_filters:
            answer = plugin.pre_filter(pod)
            if answer is None:
                continue
            if isinstance(answer, Status):
                return answer
            facts[plugin.NAME] = answer
        return facts

    def run_reserves(self, pod: PodInfo, node: NodeInfo, facts: Facts) -> Status | None:
        """Reserve everywhere; return the first refusal, after which nothing is reserved."""
        for plugin in self.reserves:
            status: Status | None = plugin.reserve(pod, node, facts.get(plugin.NAME))
            if status is not None:
                self.run_unreserves(pod, facts)
                return status
        return None

    def run_unreserves(self, pod: PodInfo, facts: Facts) -> None:
        """Take everything back."""
        for plugin in self.reserves:
            plugin.unreserve(pod, facts.get(plugin.NAME))

    def can_help(
        self,
        event: Event,
        plugins: frozenset[str],
        pod: PodInfo,
        old: Object | None = None,
        new: Object | None = None,
    ) -> bool:
        """Tell whether the event may change the mind of any of the plugins that rejected a pod."""
        for name in plugins:
            if event in self._helped_by.get(name, ()):
                hinting = self._hinting.get(name)
                if hinting is None or hinting.can_help(pod, event, old, new):
                    return True
        return False

    def is_helped_by(self, event: Event, plugins: frozenset[str]) -> bool:
        """Tell whether the event is of a kind that may help pods that these plugins rejected."""
        return any(event in self._helped_by.get(name, ()) for name in plugins)

    def _having(self, point: Point, interface: Any) -> tuple[Any, ...]:
        return tuple(
            p for p in self.plugins if isinstance(p, interface) and (point, p.NAME) not in self._without
        )
