"""The plugins, in the order in which they filter (pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proa.client.protocol import Client, Object
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Plugin
from proa.scheduler.plugins.balanced_allocation import BalancedAllocation
from proa.scheduler.plugins.coscheduling import Coscheduling
from proa.scheduler.plugins.default_preemption import DefaultPreemption
from proa.scheduler.plugins.dynamic_resources import DynamicResources
from proa.scheduler.plugins.image_locality import ImageLocality
from proa.scheduler.plugins.inter_pod_affinity import HARD_POD_AFFINITY_WEIGHT, InterPodAffinity
from proa.scheduler.plugins.node_affinity import NodeAffinity
from proa.scheduler.plugins.node_ports import NodePorts
from proa.scheduler.plugins.node_resources_fit import NodeResourcesFit, Strategy
from proa.scheduler.plugins.node_unschedulable import NodeUnschedulable
from proa.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from proa.scheduler.plugins.pod_topology_spread import PodTopologySpread
from proa.scheduler.plugins.resource_scores import CPU_AND_MEMORY, ShapePoint, Weighted
from proa.scheduler.plugins.scheduling_gates import SchedulingGates
from proa.scheduler.plugins.spread_constraints import ConstraintReader
from proa.scheduler.plugins.taint_toleration import TaintToleration
from proa.scheduler.plugins.volume_binding import BIND_SECONDS, VolumeBinding
from proa.scheduler.plugins.volume_restrictions import VolumeRestrictions
from proa.scheduler.plugins.volume_zone import VolumeZone
from proa.scheduler.snapshot import Snapshot


class Parts:
    """What plugins are made of."""

    def __init__(self, client: Client, informers: InformerFactory, snapshot: Snapshot) -> None:
        self.client = client
        self.informers = informers
        self.snapshot = snapshot


PLUGINS: Mapping[str, Callable[[Parts, Object], Plugin]] = {
    "SchedulingGates": lambda parts, args: SchedulingGates(),
    "NodeUnschedulable": lambda parts, args: NodeUnschedulable(),
    "TaintToleration": lambda parts, args: TaintToleration(),
    "NodeAffinity": lambda parts, args: NodeAffinity(args.get("addedAffinity")),
    "NodePorts": lambda parts, args: NodePorts(),
    "NodeResourcesFit": lambda parts, args: _make_fit(args),
    "VolumeRestrictions": lambda parts, args: VolumeRestrictions(parts.informers),
    "NodeVolumeLimits": lambda parts, args: NodeVolumeLimits(parts.informers),
    "VolumeBinding": lambda parts, args: VolumeBinding(
        parts.client, parts.informers, args.get("bindTimeoutSeconds", BIND_SECONDS)
    ),
    "VolumeZone": lambda parts, args: VolumeZone(parts.informers),
    "PodTopologySpread": lambda parts, args: _make_spread(parts, args),
    "InterPodAffinity": lambda parts, args: InterPodAffinity(
        parts.snapshot,
        args.get("hardPodAffinityWeight", HARD_POD_AFFINITY_WEIGHT),
        ignore_preferred=args.get("ignorePreferredTermsOfExistingPods", False),
    ),
    "DynamicResources": lambda parts, args: DynamicResources(parts.client, parts.informers),
    "DefaultPreemption": lambda parts, args: DefaultPreemption(
        args.get("minCandidateNodesPercentage", 10), args.get("minCandidateNodesAbsolute", 100)
    ),
    "NodeResourcesBalancedAllocation": lambda parts, args: BalancedAllocation(
        _weighted(args.get("resources"))
    ),
    "ImageLocality": lambda parts, args: ImageLocality(),
    "Coscheduling": lambda parts, args: Coscheduling(),
}
"""How each plugin is made of what the profile's pluginConfig tells it."""


def default_plugins(client: Client, informers: InformerFactory, snapshot: Snapshot) -> tuple[Plugin, ...]:
    """Return all plugins as they are where nobody tells them anything, for one scheduler over `snapshot`."""
    parts = Parts(client, informers, snapshot)
    return tuple(make(parts, {}) for make in PLUGINS.values())


def _make_fit(args: Object) -> Plugin:
    strategy = args.get("scoringStrategy") or {}
    shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
    points = tuple(ShapePoint(point.get("utilization", 0), point.get("score", 0)) for point in shape)
    return NodeResourcesFit(
        Strategy(strategy.get("type", "LeastAllocated"), _weighted(strategy.get("resources")), points),
        frozenset(args.get("ignoredResources") or ()),
        frozenset(args.get("ignoredResourceGroups") or ()),
    )


def _make_spread(parts: Parts, args: Object) -> Plugin:
    is_listed = args.get("defaultingType", "System") == "List"
    constraints = (args.get("defaultConstraints") or ()) if is_listed else None
    return PodTopologySpread(ConstraintReader(parts.informers, constraints))


def _weighted(resources: Sequence[Object] | None) -> tuple[Weighted, ...]:
    return (
        tuple(Weighted(each["name"], each.get("weight") or 1) for each in resources or ()) or CPU_AND_MEMORY
    )
