"""An Event tells what happened to an object, how often, and when last.

Follows pkg/apis/core/validation/events.go and printEvent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import doc, since
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import EVENTS
from proa.objects.validation import all_invalid, invalid, qualified_name, required, too_long

MAX_BYTES = 128


def default(event: Object) -> None:
    """Write the fields that upstream always writes, set or not."""
    for key in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        event.setdefault(key, "")
    event.setdefault("source", {})
    event.setdefault("involvedObject", {})


def validate(event: Object) -> list[Cause]:
    """Check that the event is in its object's namespace; events with eventTime say who reports what."""
    namespace = event["metadata"].get("namespace", "")
    other = event["involvedObject"].get("namespace", "")
    causes: list[Cause] = []
    if other != namespace and not (not other and namespace == "default"):
        causes.append(invalid("involvedObject.namespace", other, "does not match event.namespace"))
    if event.get("eventTime") is None:
        return causes
    reporter = event.get("reportingComponent", "")
    causes += (
        all_invalid("reportingController", reporter, qualified_name(reporter))
        if reporter
        else [required("reportingController")]
    )
    for key in ("reportingInstance", "action", "reason"):
        value = event.get(key, "")
        if not value:
            causes.append(required(key))
        elif len(value.encode()) > MAX_BYTES and key != "reason":
            causes.append(too_long(key, MAX_BYTES))
    return causes


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


def _involved(key: str) -> Any:
    return lambda event: str((event.get("involvedObject") or {}).get(key, ""))


def _own(key: str) -> Any:
    return lambda event: str(event.get(key) or "")


def _reporter(event: Object) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


DEFINITION = ResourceDefinition(
    resource=EVENTS,
    singular="event",
    schema="io.k8s.api.core.v1.Event",
    short_names=("ev",),
    default=default,
    validate=validate,
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
            f"involvedObject.{key}": _involved(key)
            for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": _own("reason"),
        "reportingComponent": _own("reportingComponent"),
        "source": _reporter,
        "type": _own("type"),
    },
)
