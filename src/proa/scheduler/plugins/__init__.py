"""The default plugins, in the order in which they filter (pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from proa.client.protocol import Client
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Plugin
from proa.scheduler.plugins.balanced_allocation import BalancedAllocation
from proa.scheduler.plugins.coscheduling import Coscheduling
from proa.scheduler.plugins.image_locality import ImageLocality
from proa.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from proa.scheduler.plugins.node_affinity import NodeAffinity
from proa.scheduler.plugins.node_ports import NodePorts
from proa.scheduler.plugins.node_resources_fit import NodeResourcesFit
from proa.scheduler.plugins.node_unschedulable import NodeUnschedulable
from proa.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from proa.scheduler.plugins.pod_topology_spread import PodTopologySpread
from proa.scheduler.plugins.scheduling_gates import SchedulingGates
from proa.scheduler.plugins.spread_constraints import ConstraintReader
from proa.scheduler.plugins.taint_toleration import TaintToleration
from proa.scheduler.plugins.volume_binding import VolumeBinding
from proa.scheduler.plugins.volume_restrictions import VolumeRestrictions
from proa.scheduler.plugins.volume_zone import VolumeZone
from proa.scheduler.snapshot import Snapshot


def default_plugins(client: Client, informers: InformerFactory, snapshot: Snapshot) -> tuple[Plugin, ...]:
    """Return the list, for one scheduler over `snapshot`."""
    return (
        SchedulingGates(),
        NodeUnschedulable(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        VolumeRestrictions(informers),
        NodeVolumeLimits(informers),
        VolumeBinding(client, informers),
        VolumeZone(informers),
        PodTopologySpread(ConstraintReader(informers)),
        InterPodAffinity(snapshot),
        BalancedAllocation(),
        ImageLocality(),
        Coscheduling(),
    )
