"""Watches: where they start, what they show, how they end."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from .conftest import watching

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def create(api, name, **metadata):
    body = {"metadata": {"name": name, **metadata}, "data": {}}
    return api.ask("POST", CONFIG_MAPS, body)


def relabel(api, name, labels):
    kind = "application/merge-patch+json"
    return api.ask("PATCH", f"{CONFIG_MAPS}/{name}", {"metadata": {"labels": labels}}, content_type=kind)


def test_a_watch_of_one_name_sees_no_name_that_begins_alike(api):
    api.config_map("ab")

    async def scenario(events):
        for name in ("ab", "abc"):
            await relabel(api, name, {"x": "y"}) if name == "ab" else await create(api, name)
        await create(api, "a")
        assert await events.names(1) == [("ADDED", "a")]
        await api.ask("DELETE", f"{CONFIG_MAPS}/a")
        assert await events.names(1) == [("DELETED", "a")]

    watching(api, f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Da", scenario)


def test_a_list_and_watch_of_one_name_begins_with_that_name_alone(api):
    for name in ("ab", "a", "abc"):
        api.config_map(name)

    async def scenario(events):
        assert await events.names(1) == [("ADDED", "a")]
        _, bookmark = await events.next()
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}

    initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watching(api, f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Da&{initial}", scenario)


def test_without_a_version_it_begins_with_what_is_there(api):
    api.config_map("a")

    async def scenario(events):
        await create(api, "b")
        await api.ask("DELETE", f"{CONFIG_MAPS}/a")
        assert await events.names(3) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]

    watching(api, CONFIG_MAPS, scenario)


def test_from_a_version_it_shows_every_later_change_once(api):
    api.config_map("a")
    version = api.config_map("b")["metadata"]["resourceVersion"]
    api.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})

    async def scenario(events):
        await create(api, "c")
        assert await events.names(2) == [("MODIFIED", "a"), ("ADDED", "c")]

    watching(api, f"{CONFIG_MAPS}?resourceVersion={version}", scenario)


def test_a_deleted_object_carries_the_version_of_its_deletion(api):
    first = api.config_map("a")

    async def scenario(events):
        await api.ask("DELETE", f"{CONFIG_MAPS}/a")
        _, last = await events.next()
        assert last["metadata"]["resourceVersion"] == str(api.store.revision)
        assert last["metadata"]["uid"] == first["metadata"]["uid"]

    watching(api, f"{CONFIG_MAPS}?resourceVersion={api.store.revision}", scenario)


def test_leaving_a_selector_is_a_deletion_and_entering_an_addition(api):
    async def scenario(events):
        await create(api, "a", labels={"x": "1"})
        await create(api, "other")
        await relabel(api, "a", {"x": "1", "y": "2"})
        await relabel(api, "a", {"x": "2"})
        version = str(api.store.revision)
        await relabel(api, "a", {"x": "1"})
        seen = [await events.next() for _ in range(4)]
        assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
        left = seen[2][1]["metadata"]
        assert (left["labels"]["x"], left["resourceVersion"]) == ("1", version)

    watching(api, f"{CONFIG_MAPS}?resourceVersion={api.store.revision}&labelSelector=x%3D1", scenario)


def test_a_kubelet_sees_its_own_pods_alone(api):
    async def scenario(events):
        for name, node in (("mine", "n1"), ("theirs", "n2")):
            spec = {"nodeName": node, "containers": [{"name": "c", "image": "x"}]}
            await api.ask(
                "POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec}
            )
        await api.ask("DELETE", "/api/v1/namespaces/default/pods/mine?gracePeriodSeconds=0")
        assert await events.names(2) == [("ADDED", "mine"), ("DELETED", "mine")]

    watching(api, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", scenario)


def test_one_object_can_be_watched_by_name(api):
    api.config_map("a")

    async def scenario(events):
        await create(api, "b")
        await relabel(api, "a", {"x": "1"})
        assert await events.names(2) == [("ADDED", "a"), ("MODIFIED", "a")]

    watching(api, f"{CONFIG_MAPS}/a", scenario)


def test_initial_events_end_with_a_bookmark_that_says_so(api):
    api.config_map("a")

    async def scenario(events):
        assert await events.names(1) == [("ADDED", "a")]
        kind, obj = await events.next()
        assert kind == "BOOKMARK"
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert obj["metadata"]["resourceVersion"] == str(api.store.revision)
        assert (obj["kind"], obj["apiVersion"]) == ("ConfigMap", "v1")

    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watching(api, f"{CONFIG_MAPS}?{query}", scenario)


def test_bookmarks_say_how_far_it_has_come(api, monkeypatch):
    monkeypatch.setattr("proa.apiserver.handlers.watch.BOOKMARK_SECONDS", 0.01)

    async def scenario(events):
        await api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", str(api.store.revision))

    watching(api, f"{CONFIG_MAPS}?resourceVersion={api.store.revision}&allowWatchBookmarks=true", scenario)


def test_no_bookmark_comes_before_what_it_says_has_come_however_many_watch(api, monkeypatch):
    monkeypatch.setattr("proa.apiserver.handlers.watch.BOOKMARK_SECONDS", 0.001)
    monkeypatch.setattr("proa.store.watch.WAKES_A_TURN", 1)

    async def revisions_of(stream):
        seen = []
        async for chunk in stream:
            for line in chunk.splitlines():
                event = orjson.loads(line)
                seen.append((event["type"], int(event["object"]["metadata"]["resourceVersion"])))
            if ("ADDED", last) in seen:
                await stream.aclose()
        return seen

    async def run():
        nonlocal last
        path = f"{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={api.store.revision}"
        streams = [(await api.send("GET", path)).stream for _ in range(20)]
        watches = [asyncio.create_task(revisions_of(stream)) for stream in streams]
        for number in range(10):
            made = await create(api, f"map-{number}")
            await asyncio.sleep(0.002)
        last = int(made.json["metadata"]["resourceVersion"])
        await create(api, "one-more")
        return await asyncio.gather(*watches)

    last = 0
    for seen in asyncio.run(run()):
        assert [revision for _, revision in seen] == sorted(revision for _, revision in seen)
        assert sum(kind == "ADDED" for kind, _ in seen) >= 10


def test_it_ends_after_its_timeout(api):
    async def scenario(events):
        await create(api, "a")
        assert [e["type"] for e in await events.rest()] == ["ADDED"]

    watching(api, f"{CONFIG_MAPS}?timeoutSeconds=1", scenario)


def test_a_compacted_version_is_gone_and_the_watch_says_so(api):
    api.config_map("a")
    api.config_map("b")
    asyncio.run(api.store.compact(api.store.revision))

    async def scenario(events):
        (said,) = await events.rest()
        assert (said["type"], said["object"]["code"], said["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert said["object"]["message"].startswith("too old resource version: 1 (")

    watching(api, f"{CONFIG_MAPS}?resourceVersion=1", scenario)


def test_from_the_future_it_waits_for_what_comes_after(api):
    async def scenario(events):
        await create(api, "a")
        await create(api, "b")
        assert await events.names(1) == [("ADDED", "b")]

    watching(api, f"{CONFIG_MAPS}?resourceVersion={api.store.revision + 1}", scenario)


def test_initial_events_of_the_future_are_refused_in_the_stream(api):
    async def scenario(events):
        (said,) = await events.rest()
        assert (said["type"], said["object"]["code"]) == ("ERROR", 504)
        assert said["object"]["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"

    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999"
    watching(api, f"{CONFIG_MAPS}?{query}", scenario)


@pytest.mark.parametrize("query", ["resourceVersion=0", "resourceVersion=", ""])
def test_who_allows_bookmarks_hears_of_the_end_of_what_was_there(api, query):
    api.config_map("a")

    async def scenario(events):
        assert await events.names(1) == [("ADDED", "a")]
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})

    watching(api, f"{CONFIG_MAPS}?allowWatchBookmarks=true&{query}", scenario)


def test_without_initial_events_it_begins_now(api):
    api.config_map("a")

    async def scenario(events):
        await create(api, "b")
        assert await events.names(1) == [("ADDED", "b")]

    query = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    watching(api, f"{CONFIG_MAPS}?{query}", scenario)
    api.delete(f"{CONFIG_MAPS}/b")
    watching(api, f"{CONFIG_MAPS}?{query}&resourceVersion=0", scenario)


def test_the_last_bookmark_comes_before_the_end(api, monkeypatch):
    monkeypatch.setattr("proa.apiserver.handlers.watch.LAST_BOOKMARK_SECONDS", 0.9)

    async def scenario(events):
        assert [event["type"] for event in await events.rest()] == ["BOOKMARK"]

    query = f"resourceVersion={api.store.revision}&allowWatchBookmarks=true&timeoutSeconds=1"
    watching(api, f"{CONFIG_MAPS}?{query}", scenario)


def test_a_selector_of_another_name_is_refused(api):
    answer = api.get(f"{CONFIG_MAPS}/a?watch=1&fieldSelector=metadata.name%3Db")
    assert (answer.status, answer.message) == (
        400,
        "fieldSelector metadata.name doesn't match requested name",
    )


def test_a_table_watch_names_its_columns_once(api):
    api.config_map("a")

    async def scenario(events):
        await relabel(api, "a", {"x": "1"})
        _, first = await events.next()
        _, second = await events.next()
        assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert (second["columnDefinitions"], second["rows"][0]["cells"][0]) == (None, "a")

    watching(api, CONFIG_MAPS, scenario, accept="application/json;as=Table;v=v1;g=meta.k8s.io")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("resourceVersion=x", 400),
        ("sendInitialEvents=true", 422),
        ("resourceVersionMatch=Exact", 422),
    ],
)
def test_options_without_meaning_are_refused(api, query, status):
    async def scenario():
        return await api.ask("GET", f"{CONFIG_MAPS}?watch=1&{query}")

    assert asyncio.run(scenario()).status == status


def test_a_burst_is_encoded_once_for_all_watchers(api, monkeypatch):
    from proa.apiserver.handlers import watch_burst

    made = []
    original = watch_burst.Burst.joined
    monkeypatch.setattr(watch_burst.Burst, "joined", lambda self: made.append(original(self)) or made[-1])

    async def scenario(events):
        others = [await api.send("GET", f"{CONFIG_MAPS}?watch=1") for _ in range(5)]
        await create(api, "a")
        chunks = [await response.stream.__anext__() for response in others]
        assert all(chunk is chunks[0] for chunk in chunks)
        for response in others:
            await response.stream.aclose()

    watching(api, CONFIG_MAPS, scenario)
