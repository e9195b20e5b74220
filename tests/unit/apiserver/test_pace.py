"""Long work gives way: the loop turns between slices, and heavy work is done by another thread."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import orjson
import pytest

from proa.apiserver import pace
from proa.apiserver.handlers.negotiation import write_yaml
from proa.apiserver.resources.core.configmap import DEFINITION

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
OBJECTS = 400


@pytest.fixture
def many(api, monkeypatch):
    """A server with many objects, whose slices of work last no time: each gives way."""
    first = api.config_map("c000", labels={"n": "1"})

    async def fill():
        for index in range(1, OBJECTS):
            first["metadata"]["name"] = f"c{index:03}"
            await api.store.put(f"/registry/core/configmaps/default/c{index:03}", encode)

    def encode(revision: int) -> bytes:
        first["metadata"]["resourceVersion"] = str(revision)
        return orjson.dumps(first)

    asyncio.run(fill())
    monkeypatch.setattr(pace, "SLICE_SECONDS", -1.0)
    return api


async def turns_during(work) -> int:
    """Return how often the loop turned while `work` was under way."""
    turns = 0
    doing = asyncio.ensure_future(work)
    while not doing.done():
        turns += 1
        await asyncio.sleep(0)
    assert doing.result().status == 200
    return turns


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("", {"accept": TABLE}),
        ("", {"accept": METADATA}),
        ("?labelSelector=n%3D1", {}),
        ("?fieldSelector=metadata.name!%3Dx", {}),
        ("?resourceVersion={past}&resourceVersionMatch=Exact", {}),
    ],
)
def test_others_run_between_the_slices_of_a_list(many, query, headers):
    path = CONFIG_MAPS + query.format(past=many.store.revision - 1)
    assert asyncio.run(turns_during(many.ask("GET", path, **headers))) >= OBJECTS / pace.SLICE_OBJECTS


def test_others_run_while_a_collection_is_deleted(many):
    assert (
        asyncio.run(turns_during(many.ask("DELETE", f"{CONFIG_MAPS}?dryRun=All")))
        >= OBJECTS / pace.SLICE_OBJECTS
    )


def test_a_long_past_reaches_a_watcher_with_a_selector_in_parts(many):
    async def scenario():
        path = f"{CONFIG_MAPS}?watch=1&resourceVersion={many.store.revision - 300}&labelSelector=n%3D1"
        response = await many.send("GET", path)
        seen = pieces = 0
        async for piece in response.stream:
            pieces += 1
            seen += piece.count(b"\n")
            if seen == 300:
                break
        await response.stream.aclose()
        assert pieces > 1

    asyncio.run(scenario())


def test_a_bookmark_waits_for_the_events_before_it(many, monkeypatch):
    monkeypatch.setattr("proa.apiserver.handlers.watch.BOOKMARK_SECONDS", 1e-6)

    async def scenario():
        start = many.store.revision - 300
        query = (
            f"watch=1&resourceVersion={start}&labelSelector=n%3D1&allowWatchBookmarks=true&timeoutSeconds=5"
        )
        response = await many.send("GET", f"{CONFIG_MAPS}?{query}")
        newest, bookmarked = start, False
        async for piece in response.stream:
            for line in piece.splitlines():
                event = orjson.loads(line)
                version = int(event["object"]["metadata"]["resourceVersion"])
                if event["type"] == "BOOKMARK":
                    assert version <= newest or newest == start + 300
                    bookmarked = True
                else:
                    newest = version
            if bookmarked and newest == start + 300:
                break
        await response.stream.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize(("size", "aside"), [(10, False), (20_000, True)])
def test_heavy_bodies_are_worked_on_by_another_thread(api, size, aside):
    seen = set()
    definition = replace(DEFINITION, default=lambda obj: seen.add(threading.current_thread().name))
    api.server.catalog.add(definition)
    data = {f"k{index}": "v" for index in range(size)}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
    assert api.post(CONFIG_MAPS, body).status == 201
    assert api.put(f"{CONFIG_MAPS}/a", body).status == 200
    assert api.patch(f"{CONFIG_MAPS}/a", {"data": {"k1": "w"}}).status == 200, "small, but of a large object"
    applied = f"{CONFIG_MAPS}/a?fieldManager=me&force=true"
    kind = "application/apply-patch+yaml"
    assert asyncio.run(api.ask("PATCH", applied, body, content_type=kind)).status == 200
    assert {name.startswith("heavy") for name in seen} == {aside}


def test_users_take_turns_at_heavy_work():
    async def scenario() -> list[str]:
        turns, done = pace.Turns(), []

        async def work(who: str) -> None:
            await turns.take(who)
            await asyncio.sleep(0)
            done.append(who)
            turns.give()

        tasks = [asyncio.create_task(work(who)) for who in ("a", "a", "a", "a", "b", "c", "b")]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns.take("d")
        return done

    assert asyncio.run(scenario()) == ["a", "a", "b", "c", "a", "b"]


def test_who_asks_is_known_where_heavy_work_waits(api):
    seen = set()
    definition = replace(DEFINITION, default=lambda obj: seen.add(pace.WHO.get()))
    api.server.catalog.add(definition)
    api.config_map("a")
    assert seen == {"admin"}


def test_an_object_larger_than_etcd_takes_is_refused(api):
    body = {"metadata": {"name": "a", "annotations": {}}, "spec": {"containers": []}}
    body["spec"]["containers"] = [{"name": f"c{i}", "image": "x" * 200} for i in range(6000)]
    answer = api.post("/api/v1/namespaces/default/pods", body)
    assert (answer.status, answer.message) == (500, "etcdserver: request is too large")
    assert api.get("/api/v1/namespaces/default/pods").json["items"] == []


def test_yaml_is_the_same_written_in_parts():
    yaml = pytest.importorskip("yaml", reason="not on this machine: PyYAML is not installed")
    for value in (
        {"items": [{"b": 1, "a": [1, {"x": None}]}, {}], "kind": "List", "none": [], "metadata": {"a": "é"}},
        {},
        {"a: b": [1], "no": ["yes", [1, [2]]], "1": ["x\ny"]},
        [1, 2],
    ):
        written = yaml.dump(value, sort_keys=True, allow_unicode=True, Dumper=yaml.SafeDumper)
        assert write_yaml(value).decode() == written
