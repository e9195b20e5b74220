"""Name what keeps a pod of a PodGroup waiting for its group (scheduler-plugins, pkg/coscheduling).

Groups are placed as a whole, by gangs.py; this plugin says which changes of a PodGroup may help its pods.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects import meta
from proa.scheduler.framework import Event
from proa.scheduler.pod_info import PodInfo

NAME = "Coscheduling"


class Coscheduling:
    """A plugin without points of its own."""

    NAME = NAME
    HELPED_BY = frozenset({Event.POD_GROUP_CHANGED})

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether the PodGroup is the pod's."""
        return new is None or pod.group == (meta.namespace(new), meta.name(new))
