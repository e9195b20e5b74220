"""One stored event is read and written as core/v1 and as events.k8s.io/v1 has it."""

from __future__ import annotations

from typing import Any

import pytest

CORE = "/api/v1/namespaces/default/events"
GROUP = "/apis/events.k8s.io/v1/namespaces/default/events"


def make_event(name: str = "e", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "eventTime": "2027-01-02T03:04:05.000006Z",
        "reportingController": "example.com/ctl",
        "reportingInstance": "ctl-1",
        "action": "Do",
        "reason": "Done",
        "type": "Normal",
        "note": "all is well",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        **fields,
    }


def test_a_new_event_is_a_core_event_too(api: Any) -> None:
    made = api.post(GROUP, make_event())
    assert made.status == 201, made.raw
    assert (made.json["apiVersion"], made.json["note"], made.json["deprecatedSource"]) == (
        "events.k8s.io/v1",
        "all is well",
        {},
    )
    core = api.get(f"{CORE}/e").json
    assert (core["apiVersion"], core["message"], core["reportingComponent"], core["involvedObject"]["name"]) == (
        "v1",
        "all is well",
        "example.com/ctl",
        "p",
    )  # fmt: skip
    assert core["firstTimestamp"] is None


def test_a_core_event_is_seen_in_the_group(api: Any) -> None:
    body = {
        "metadata": {"name": "old"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "message": "m",
        "count": 3,
        "source": {"component": "kubelet"},
        "firstTimestamp": "2027-01-02T03:04:05Z",
    }
    assert api.post(CORE, body).status == 201
    (seen,) = api.get(GROUP).json["items"]
    assert (seen["note"], seen["deprecatedCount"], seen["deprecatedSource"]) == (
        "m",
        3,
        {"component": "kubelet"},
    )
    assert (seen["deprecatedFirstTimestamp"], seen["regarding"]["name"]) == ("2027-01-02T03:04:05Z", "p")
    assert "reportingController" not in seen
    assert "message" not in seen


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"eventTime": None}, "eventTime: Required value"),
        ({"type": "Odd"}, 'type: Invalid value: "": has invalid value: Odd'),
        ({"deprecatedCount": 2}, 'count: Invalid value: "": needs to be unset'),
        ({"deprecatedSource": {"host": "h"}}, 'source: Invalid value: "": needs to be unset'),
        ({"series": {"count": 1, "lastObservedTime": "2027-01-02T03:04:05.000000Z"}}, "series.count"),
        ({"action": ""}, "action: Required value"),
        ({"note": "x" * 1025}, "can have at most 1024 characters"),
    ],
)
def test_the_group_is_strict_about_new_events(api: Any, fields: dict[str, Any], why: str) -> None:
    refused = api.post(GROUP, make_event(**fields))
    assert refused.status == 422
    assert why in refused.message


def test_in_the_group_only_the_series_changes(api: Any) -> None:
    made = api.post(GROUP, make_event()).json
    refused = api.put(f"{GROUP}/e", {**made, "note": "other"})
    assert refused.status == 422
    assert 'message: Invalid value: "other": field is immutable' in refused.message
    series = {"count": 2, "lastObservedTime": "2027-01-02T03:05:05.000000Z"}
    changed = api.patch(f"{GROUP}/e", {"series": series})
    assert changed.status == 200, changed.raw
    assert api.get(f"{CORE}/e").json["series"]["count"] == 2


def test_events_are_selected_by_the_fields_of_each_shape(api: Any) -> None:
    api.post(GROUP, make_event("a"))
    api.post(GROUP, make_event("b", regarding={"kind": "Node", "namespace": "default", "name": "n"}))
    found = api.get(f"{GROUP}?fieldSelector=regarding.kind=Node,reportingController=example.com/ctl").json
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    found = api.get(f"{CORE}?fieldSelector=involvedObject.kind=Pod").json
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]


def test_both_shapes_have_one_table(api: Any) -> None:
    api.post(GROUP, make_event())
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    tables = [api.get(where, accept=accept).json for where in (CORE, GROUP)]
    assert tables[0]["columnDefinitions"] == tables[1]["columnDefinitions"]
    assert tables[0]["rows"][0]["cells"] == tables[1]["rows"][0]["cells"]
