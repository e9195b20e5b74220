"""An Event tells what happened to an object, how often, and when last.

Follows pkg/registry/core/event and printEvent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.event_rules import validate_event
from proa.apiserver.resources.printing import doc, since
from proa.client.protocol import Object
from proa.objects.resource import EVENTS


def default(event: Object) -> None:
    """Write the fields that upstream always writes, set or not."""
    for key in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        event.setdefault(key, "")
    event.setdefault("source", {})
    event.setdefault("involvedObject", {})


def cells(event: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    involved, series = event.get("involvedObject") or {}, event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    kind, name = involved.get("kind", "").lower(), involved.get("name", "")
    return (
        since(last, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        involved.get("fieldPath", ""),
        _source(event),
        event.get("message", "").strip(),
        since(first, now),
        series.get("count") or event.get("count") or 1,
        event["metadata"]["name"],
    )


def _source(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent", "")
    instance = source.get("host") or event.get("reportingInstance", "")
    return f"{component}, {instance}" if instance else str(component)


def involved(key: str) -> Any:
    """Return what reads a field of the object that events are about."""
    return lambda event: str((event.get("involvedObject") or {}).get(key, ""))


def own(key: str) -> Any:
    """Return what reads a field of events."""
    return lambda event: str(event.get(key) or "")


def _reporter(event: Object) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


DEFINITION = ResourceDefinition(
    resource=EVENTS,
    singular="event",
    schema="io.k8s.api.core.v1.Event",
    short_names=("ev",),
    default=default,
    validate=validate_event,
    columns=(
        Column("Last Seen", description=doc("core.v1.Event.lastTimestamp")),
        Column("Type", description=doc("core.v1.Event.type")),
        Column("Reason", description=doc("core.v1.Event.reason")),
        Column("Object", description=doc("core.v1.Event.involvedObject")),
        Column("Subobject", description=doc("core.v1.ObjectReference.fieldPath"), priority=1),
        Column("Source", description=doc("core.v1.Event.source"), priority=1),
        Column("Message", description=doc("core.v1.Event.message")),
        Column("First Seen", description=doc("core.v1.Event.firstTimestamp"), priority=1),
        Column("Count", description=doc("core.v1.Event.count"), priority=1),
        Column("Name", format="name", description=doc("meta.v1.ObjectMeta.name"), priority=1),
    ),
    cells=cells,
    field_selectors={
        **{
            f"involvedObject.{key}": involved(key)
            for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": own("reason"),
        "reportingComponent": own("reportingComponent"),
        "source": _reporter,
        "type": own("type"),
    },
    created_by_update=True,
)
