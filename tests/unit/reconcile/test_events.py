from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects.errors import Forbidden, ServiceUnavailable
from proa.objects.resource import EVENTS
from proa.reconcile import events
from proa.reconcile.events import EventSink

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "u1", "resourceVersion": "7"},
}


class Clock:
    def __init__(self) -> None:
        self.now = 1767323045.0

    def __call__(self) -> float:
        return self.now


def with_sink(scenario: Callable[[FakeClient, EventSink, Clock], Awaitable[None]]) -> None:
    async def main() -> None:
        client, clock = FakeClient(), Clock()
        await scenario(client, EventSink(client, clock, sleep=lambda _: asyncio.sleep(0)), clock)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def make_pod(name: str) -> Object:
    return {**POD, "metadata": {**POD["metadata"], "name": name, "uid": name}}


def test_an_event_says_what_it_is_about_who_reports_and_when():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        sink.recorder("kubelet", "node-1").event(
            POD, "Normal", "Started", "Container started", "spec.containers{web}"
        )
        await sink.flush()
        (event,) = client.all(EVENTS)
        assert event["involvedObject"] == {
            "kind": "Pod", "namespace": "default", "name": "web", "uid": "u1", "apiVersion": "v1",
            "resourceVersion": "7", "fieldPath": "spec.containers{web}",
        }  # fmt: skip
        assert event["metadata"]["name"].startswith("web.")
        assert event["source"] == {"component": "kubelet", "host": "node-1"}
        assert (event["reportingComponent"], event["reportingInstance"]) == ("kubelet", "node-1")
        assert (event["type"], event["reason"], event["message"]) == (
            "Normal",
            "Started",
            "Container started",
        )
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-02T03:04:05Z"
        assert event["count"] == 1

    with_sink(scenario)


def test_an_event_about_a_cluster_scoped_object_is_in_default():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        sink.recorder("kubelet").event(
            {"kind": "Node", "metadata": {"name": "n"}}, "Normal", "Starting", "Starting"
        )
        await sink.flush()
        (event,) = client.all(EVENTS)
        assert event["metadata"]["namespace"] == "default"
        assert "namespace" not in event["involvedObject"]

    with_sink(scenario)


def test_what_is_repeated_is_counted():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        recorder = sink.recorder("kubelet")
        for _ in range(3):
            recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        await sink.flush()
        clock.now += 60
        recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        await sink.flush()
        (event,) = client.all(EVENTS)
        assert event["count"] == 4
        assert (event["firstTimestamp"][11:19], event["lastTimestamp"][11:19]) == ("03:04:05", "03:05:05")

    with_sink(scenario)


def test_an_event_that_expired_meanwhile_begins_anew():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        recorder = sink.recorder("kubelet")
        recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        await sink.flush()
        await client.delete(EVENTS, client.all(EVENTS)[0]["metadata"]["name"], "default")
        recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        await sink.flush()
        assert [event["count"] for event in client.all(EVENTS)] == [1]

    with_sink(scenario)


def test_many_alike_become_one_combined_event():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        recorder = sink.recorder("kubelet")
        for index in range(14):
            recorder.event(POD, "Warning", "Failed", f"attempt {index} failed")
        await sink.flush()
        messages = {event["message"]: event["count"] for event in client.all(EVENTS)}
        assert len(messages) == 11
        assert messages["(combined from similar events): attempt 13 failed"] == 4

    with_sink(scenario)


def test_one_object_that_reports_without_end_is_held_back_and_others_are_not():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        recorder = sink.recorder("kubelet")
        for _ in range(40):
            recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        recorder.event(make_pod("other"), "Normal", "Started", "Started")
        await sink.flush()
        assert sorted(event["count"] for event in client.all(EVENTS)) == [1, 25]
        assert sink.dropped == 15
        clock.now += 300
        recorder.event(POD, "Warning", "BackOff", "Back-off restarting")
        await sink.flush()
        assert sorted(event["count"] for event in client.all(EVENTS)) == [1, 26]

    with_sink(scenario)


def test_a_full_queue_drops_instead_of_growing():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        recorder = sink.recorder("kubelet")
        for index in range(events.QUEUE_LIMIT + 5):
            recorder.event(make_pod(f"p{index}"), "Normal", "Started", "Started")
        assert sink.dropped == 5
        await sink.flush()
        assert len(client.all(EVENTS)) == events.QUEUE_LIMIT

    with_sink(scenario)


def test_a_server_that_is_away_is_tried_again():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        for _ in range(3):
            client.fail_next(ServiceUnavailable("away"), "create", EVENTS)
        sink.recorder("kubelet").event(POD, "Normal", "Started", "Started")
        await sink.flush()
        assert len(client.all(EVENTS)) == 1

    with_sink(scenario)


def test_an_event_that_is_refused_is_given_up():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        client.fail_next(Forbidden("the namespace is being terminated"), "create", EVENTS)
        sink.recorder("kubelet").event(POD, "Normal", "Started", "Started")
        await sink.flush()
        assert client.all(EVENTS) == []

    with_sink(scenario)


def test_stopping_writes_what_is_left_and_ends_the_task():
    async def scenario(client: FakeClient, sink: EventSink, clock: Clock) -> None:
        sink.recorder("kubelet").event(POD, "Normal", "Started", "Started")
        await sink.stop()
        assert len(client.all(EVENTS)) == 1

    with_sink(scenario)
