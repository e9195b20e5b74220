from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, PODS
from proa.reconcile.informer import Informer, InformerFactory
from proa.reconcile.reflector import Scope

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "owner-1"}


def make_config_map(name: str, value: str = "", **metadata) -> Object:
    return {"metadata": {"name": name, "namespace": "default", **metadata}, "data": {"value": value}}


class Told:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def __call__(self, old: Object | None, new: Object | None) -> None:
        what = "added" if old is None else "gone" if new is None else "changed"
        self.changes.append((what, meta.name(new or old or {})))


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def with_informer(scenario: Callable[[FakeClient, Informer], Awaitable[None]], *objects: Object) -> None:
    """Run a scenario with a synced informer of ConfigMaps; back-off takes no time."""

    async def main() -> None:
        client = FakeClient([(CONFIG_MAPS, obj) for obj in objects])
        factory = InformerFactory(client, random=lambda: 0.0, sleep=lambda _: asyncio.sleep(0))
        informer = factory.informer(CONFIG_MAPS)
        factory.start()
        await factory.wait_synced()
        try:
            await scenario(client, informer)
        finally:
            await factory.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def names(objects) -> set[str]:
    return {meta.name(obj) for obj in objects}


def test_the_cache_follows_the_server():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        assert names(informer.list()) == {"one"}
        await client.create(CONFIG_MAPS, make_config_map("two"))
        await until(lambda: informer.get("two", "default"))
        await client.delete(CONFIG_MAPS, "one", "default")
        await until(lambda: informer.get("one", "default") is None)
        await client.patch(CONFIG_MAPS, "two", {"data": {"value": "new"}}, "default")
        await until(lambda: informer.get("two", "default")["data"]["value"] == "new")

    with_informer(scenario, make_config_map("one"))


def test_listeners_hear_of_what_is_there_and_of_every_change():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        told = Told()
        informer.listen(told)
        await client.patch(CONFIG_MAPS, "one", {"data": {"value": "new"}}, "default")
        await client.delete(CONFIG_MAPS, "one", "default")
        await until(lambda: len(informer) == 0)
        assert told.changes == [("added", "one"), ("changed", "one"), ("gone", "one")]

    with_informer(scenario, make_config_map("one"))


def test_a_listener_that_fails_hurts_nobody_else(caplog):
    async def scenario(client: FakeClient, informer: Informer) -> None:
        told = Told()
        informer.listen(lambda old, new: 1 / 0)
        informer.listen(told)
        await client.create(CONFIG_MAPS, make_config_map("one"))
        await until(lambda: told.changes)

    with_informer(scenario)
    assert "listener failed resource=configmaps object=default/one" in caplog.text


def test_an_expired_watch_lists_again_and_tells_the_difference():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        told = Told()
        informer.listen(told)
        client._store._stored[CONFIG_MAPS].pop(("default", "gone"))
        await client.create(CONFIG_MAPS, make_config_map("new"))
        client.compact()
        await until(lambda: informer.get("new", "default") and not informer.get("gone", "default"))
        assert ("gone", "gone") in told.changes
        assert told.changes.count(("added", "kept")) == 1

    with_informer(scenario, make_config_map("kept"), make_config_map("gone"))


def test_a_server_that_is_away_is_asked_again_ever_later():
    async def main() -> None:
        client = FakeClient([(CONFIG_MAPS, make_config_map("one"))])
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        for _ in range(12):
            client.fail_next(ServiceUnavailable("away"), "list")
        factory = InformerFactory(client, random=lambda: 0.0, sleep=sleep)
        informer = factory.informer(CONFIG_MAPS)
        factory.start()
        await factory.wait_synced()
        assert names(informer.list()) == {"one"}
        assert slept[:3] == [0.1, 0.2, 0.4]
        assert slept[-1] == 30.0
        await factory.stop()

    asyncio.run(main())


def test_large_lists_come_in_pages():
    objects = [make_config_map(f"n{index:04}") for index in range(1201)]

    async def scenario(client: FakeClient, informer: Informer) -> None:
        assert len(informer) == 1201

    with_informer(scenario, *objects)


def test_indexes_follow_changes():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        assert names(informer.by_index("label", "app=web")) == {"one"}
        assert names(informer.by_index("controller", "owner-1")) == {"one"}
        assert names(informer.by_index("uncontrolled", "default")) == {"two"}
        assert names(informer.list("default")) == {"one", "two"}
        change = {"metadata": {"labels": {"app": "db"}, "ownerReferences": None}}
        await client.patch(CONFIG_MAPS, "one", change, "default")
        await until(lambda: not informer.by_index("label", "app=web"))
        assert names(informer.by_index("label", "app=db")) == {"one"}
        assert names(informer.by_index("controller", "owner-1")) == set()
        assert names(informer.by_index("uncontrolled", "default")) == {"one", "two"}
        await client.delete(CONFIG_MAPS, "one", "default")
        await until(lambda: len(informer) == 1)
        assert names(informer.list("default")) == {"two"}
        with pytest.raises(KeyError):
            informer.by_index("no such index", "")

    owned = make_config_map("one", labels={"app": "web"}, ownerReferences=[{**OWNER, "controller": True}])
    with_informer(scenario, owned, make_config_map("two"))


def test_an_index_may_be_added():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        informer.add_index("value", lambda obj: [obj["data"]["value"]])
        assert names(informer.by_index("value", "x")) == {"one"}

    with_informer(scenario, make_config_map("one", "x"), make_config_map("two", "y"))


def test_a_write_of_our_own_is_seen_at_once_and_told_once():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        told = Told()
        informer.listen(told)
        informer.wrote(await client.create(CONFIG_MAPS, make_config_map("mine")))
        assert informer.get("mine", "default")
        await client.create(CONFIG_MAPS, make_config_map("after"))
        await until(lambda: informer.get("after", "default"))
        assert told.changes == [("added", "mine"), ("added", "after")]

    with_informer(scenario)


def test_an_older_event_does_not_undo_a_write_of_our_own():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        await client.patch(CONFIG_MAPS, "one", {"data": {"value": "older"}}, "default")
        informer.wrote(await client.patch(CONFIG_MAPS, "one", {"data": {"value": "newer"}}, "default"))
        seen = set()
        informer.listen(lambda old, new: seen.add(new["data"]["value"]))
        await client.create(CONFIG_MAPS, make_config_map("after", "after"))
        await until(lambda: informer.get("after", "default"))
        assert seen == {"newer", "after"}

    with_informer(scenario, make_config_map("one"))


def test_a_write_that_the_watch_is_past_changes_nothing():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        created = await client.create(CONFIG_MAPS, make_config_map("short"))
        await client.delete(CONFIG_MAPS, "short", "default")
        await client.create(CONFIG_MAPS, make_config_map("after"))
        await until(lambda: informer.get("after", "default"))
        informer.wrote(created)
        assert informer.get("short", "default") is None

    with_informer(scenario)


def test_what_we_removed_does_not_come_back_with_an_event_under_way():
    async def scenario(client: FakeClient, informer: Informer) -> None:
        told = Told()
        one = informer.get("one", "default")
        informer.listen(told)
        await client.patch(CONFIG_MAPS, "one", {"data": {"value": "late"}}, "default")
        await client.delete(CONFIG_MAPS, "one", "default")
        informer.removed("one", "default", meta.uid(one))
        await client.create(CONFIG_MAPS, make_config_map("one", "again"))
        await until(lambda: informer.get("one", "default"))
        assert informer.get("one", "default")["data"]["value"] == "again"
        assert told.changes == [("added", "one"), ("gone", "one"), ("added", "one")]

    with_informer(scenario, make_config_map("one"))


def test_a_scope_follows_only_what_it_selects():
    async def main() -> None:
        client = FakeClient()
        for name, node in (("here", "node-1"), ("there", "node-2")):
            pod = {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": node, "containers": []},
            }
            client.add(PODS, pod)
        factory = InformerFactory(client)
        factory.start()
        mine = factory.informer(PODS, field_selector="spec.nodeName=node-1")
        assert factory.informer(PODS, field_selector="spec.nodeName=node-1") is mine
        await factory.wait_synced()
        assert names(mine.list()) == {"here"}
        with pytest.raises(KeyError):
            factory(PODS)
        await factory.stop()

    asyncio.run(main())


actions = st.lists(
    st.tuples(st.sampled_from(["create", "patch", "delete"]), st.sampled_from("abc"), st.booleans()),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(actions)
def test_after_any_writes_the_cache_equals_the_server(steps):
    async def scenario(client: FakeClient, informer: Informer) -> None:
        informer.by_index("label", "")
        for count, (action, name, tell) in enumerate(steps):
            known = client.peek(CONFIG_MAPS, name, "default")
            if action == "create" and known is None:
                obj = await client.create(
                    CONFIG_MAPS, make_config_map(name, str(count), labels={"n": str(count)})
                )
                if tell:
                    informer.wrote(obj)
            elif action == "patch" and known is not None:
                change = {"data": {"value": str(count)}, "metadata": {"labels": {"n": str(count)}}}
                obj = await client.patch(CONFIG_MAPS, name, change, "default")
                if tell:
                    informer.wrote(obj)
            elif action == "delete" and known is not None:
                await client.delete(CONFIG_MAPS, name, "default")
                if tell:
                    informer.removed(name, "default", meta.uid(known))
            if count % 3 == 0:
                await asyncio.sleep(0)
        await client.create(CONFIG_MAPS, make_config_map("last"))
        await until(lambda: informer.get("last", "default"))
        everything = {meta.name(obj): obj for obj in client.all(CONFIG_MAPS)}
        assert {meta.name(obj): obj for obj in informer.list()} == everything
        for obj in everything.values():
            for key, value in meta.labels(obj).items():
                assert obj in informer.by_index("label", f"{key}={value}")

    with_informer(scenario)


def test_an_informer_says_when_it_has_synced():
    async def main() -> None:
        informer = Informer(FakeClient(), Scope(CONFIG_MAPS))
        assert not informer.has_synced
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.wait_synced(), 60)
        assert informer.has_synced
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_an_error_that_is_no_refusal_ends_the_wait():
    async def main() -> None:
        factory = InformerFactory(FakeClient())
        informer = factory.informer(CONFIG_MAPS)
        informer._client = None  # a fault of our own, not the server's
        factory.start()
        with pytest.raises(AttributeError):
            await factory.wait_synced()
        await factory.stop()

    asyncio.run(main())


def test_a_resource_that_is_not_served_is_asked_for_again():
    async def main() -> None:
        client = FakeClient()
        client.fail_next(NotFound("the server could not find the requested resource"), "list")
        factory = InformerFactory(client, sleep=lambda _: asyncio.sleep(0))
        factory.informer(CONFIG_MAPS)
        factory.start()
        await asyncio.wait_for(factory.wait_synced(), 60)
        await factory.stop()

    asyncio.run(main())
