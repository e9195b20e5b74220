"""The default plugins, in the order in which they filter (pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from proa.scheduler.framework import Plugin
from proa.scheduler.plugins.balanced_allocation import BalancedAllocation
from proa.scheduler.plugins.node_affinity import NodeAffinity
from proa.scheduler.plugins.node_ports import NodePorts
from proa.scheduler.plugins.node_resources_fit import NodeResourcesFit
from proa.scheduler.plugins.node_unschedulable import NodeUnschedulable
from proa.scheduler.plugins.scheduling_gates import SchedulingGates
from proa.scheduler.plugins.taint_toleration import TaintToleration
from proa.scheduler.plugins.volume_binding import VolumeBinding


def default_plugins(volumes: VolumeBinding) -> tuple[Plugin, ...]:
    """Return the list; `volumes` is the one plugin that needs a client and caches."""
    return (
        SchedulingGates(),
        NodeUnschedulable(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        volumes,
        BalancedAllocation(),
    )
