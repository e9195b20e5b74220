"""An Event of events.k8s.io/v1 is the stored Event of core/v1, with other names for its fields and stricter rules.

Follows pkg/apis/events/v1/conversion.go and pkg/apis/core/validation/events.go.
"""

from __future__ import annotations

from proa.apiserver.registry.conversion import make_conversion
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.core import event as core_event
from proa.apiserver.resources.core.event_rules import (
    validate_event,
    validate_event_change,
    validate_new_event,
)
from proa.client.protocol import Object
from proa.objects.resource import EVENTS, Resource

EVENTS_OF_GROUP = Resource("events.k8s.io", "v1", "events", "Event")
NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields that are called otherwise in core/v1."""
_BACK = {core: name for name, core in NAMES.items()}
_WRITTEN_IF_SET = ("reportingController", "reportingInstance")


def to_core(event: Object) -> Object:
    """Return the event as it is stored."""
    return {NAMES.get(key, key): value for key, value in event.items()}


def of_core(event: Object) -> Object:
    """Return a stored event in this group's shape."""
    made = {_BACK.get(key, key): value for key, value in event.items()}
    for key in _WRITTEN_IF_SET:
        if made.get(key) == "":
            del made[key]
    return made


DEFINITION = ResourceDefinition(
    resource=EVENTS_OF_GROUP,
    singular="event",
    schema="io.k8s.api.events.v1.Event",
    short_names=("ev",),
    validate=validate_event,
    validate_create=validate_new_event,
    validate_update=validate_event_change,
    columns=core_event.DEFINITION.columns,
    cells=core_event.cells,
    field_selectors={
        **{
            f"regarding.{key}": core_event.involved(key)
            for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": core_event.own("reason"),
        "reportingController": core_event.own("reportingComponent"),
        "type": core_event.own("type"),
    },
    conversion=make_conversion(EVENTS, EVENTS_OF_GROUP, to_core, of_core),
    created_by_update=True,
)
