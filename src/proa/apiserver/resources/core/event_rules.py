"""Say what is wrong with an Event, as core/v1 asks it of everybody and events.k8s.io/v1 of its own clients.

Follows pkg/apis/core/validation/events.go. Both see events in the shape of core/v1.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, invalid, qualified_name, required, validate_immutable

MOST = {"reportingInstance": 128, "action": 128, "reason": 128}
MOST_NOTE = 1024
NOT_THE_SAME = "does not match event.namespace"
UNSET = "needs to be unset"
FIXED = {
    "involvedObject": "involvedObject",
    "reason": "reason",
    "message": "message",
    "source": "source",
    "firstTimestamp": "firstTimestamp",
    "lastTimestamp": "lastTimestamp",
    "count": "count",
    "type": "type",
    "eventTime": "eventTime",
    "action": "action",
    "related": "related",
    "reportingComponent": "reportingController",
    "reportingInstance": "reportingInstance",
}
"""What clients of events.k8s.io/v1 do not change, and what upstream calls it when they try."""


def validate_event(event: Object) -> list[Cause]:
    """Check that the event is in its object's namespace; events with eventTime say who reports what."""
    namespace = event["metadata"].get("namespace", "")
    other = (event.get("involvedObject") or {}).get("namespace", "")
    field = "involvedObject.namespace"
    if event.get("eventTime") is None:
        is_right = namespace == other if other else namespace in ("", "default")
        return [] if is_right else [invalid(field, other, NOT_THE_SAME)]
    causes: list[Cause] = []
    if not other and namespace not in ("default", "kube-system"):
        causes.append(invalid(field, other, NOT_THE_SAME))
    reporter = event.get("reportingComponent", "")
    if not reporter:
        causes.append(required("reportingController"))
    causes += all_invalid("reportingController", reporter, qualified_name(reporter))
    for key, most in MOST.items():
        value = event.get(key, "")
        if not value:
            causes.append(required(key))
        causes += _too_long(key, value, most)
    return causes + _too_long("message", event.get("message", ""), MOST_NOTE)


def _too_long(field: str, value: str, most: int) -> list[Cause]:
    if len(value.encode()) <= most:
        return []
    return [invalid(field, "", f"can have at most {most} characters")]


def validate_new_event(event: Object) -> list[Cause]:
    """Check what events.k8s.io/v1 asks of new events."""
    causes = _validate_series(event)
    if event.get("eventTime") is None:
        causes.append(required("eventTime"))
    kind = event.get("type", "")
    if kind not in ("Normal", "Warning"):
        causes.append(invalid("type", "", f"has invalid value: {kind}"))
    causes += [
        invalid(key, "", UNSET) for key in ("firstTimestamp", "lastTimestamp", "count") if event.get(key)
    ]
    source = event.get("source") or {}
    if source.get("component") or source.get("host"):
        causes.append(invalid("source", "", UNSET))
    return causes


def validate_event_change(new: Object, old: Object) -> list[Cause]:
    """Check that a client of events.k8s.io/v1 changes nothing but the series and metadata."""
    causes = _validate_series(new) if new.get("series") != old.get("series") else []
    for key, name in FIXED.items():
        causes += validate_immutable(new.get(key), old.get(key), name)
    return causes


def _validate_series(event: Object) -> list[Cause]:
    series = event.get("series")
    if series is None:
        return []
    causes: list[Cause] = []
    if series.get("count", 0) < 2:
        causes.append(invalid("series.count", "", "should be at least 2"))
    if series.get("lastObservedTime") is None:
        causes.append(required("series.lastObservedTime"))
    return causes
