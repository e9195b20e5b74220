"""An area's parts begin with the first object of their kinds, each for itself, and end cleanly."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from proa.client.fake import FakeClient
from proa.ml import area as area_module
from proa.ml.area import Area, Opened, Part, until_there
from proa.objects.errors import NotFound, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, SECRETS, Resource
from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch


class Noting:
    """A controller that notes what it is called for."""

    def __init__(self, name: str, resource: Resource) -> None:
        self.NAME = name
        self.WATCHES = (Watch(resource),)
        self.seen: list[str] = []
        self.settings: object = None

    async def reconcile(self, context: Context, key: Key) -> Result:
        self.seen.append(key.name)
        self.settings = context.settings
        return DONE


class World:
    """Two parts: one begins with ConfigMaps, one with Secrets."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.maps, self.secrets = Noting("maps", CONFIG_MAPS), Noting("secrets", SECRETS)
        self.events: list[str] = []
        self.failures: list[Exception] = []
        self.area = Area(self.client, [self.part(self.maps), self.part(self.secrets)])

    def part(self, controller: Noting) -> Part:
        async def open_part(stack: AsyncExitStack) -> Opened:
            self.events.append(f"open {controller.NAME}")
            stack.callback(lambda: self.events.append(f"close {controller.NAME}"))
            if self.failures:
                raise self.failures.pop()
            return Opened([controller], "settings")

        return Part(controller.NAME, (), (controller.WATCHES[0].resource,), open_part)

    def add(self, resource: Resource, name: str) -> None:
        self.client.add(resource, {"metadata": {"name": name, "namespace": "default"}})


def with_world(scenario: Callable[[World], Awaitable[None]]) -> World:
    async def main() -> World:
        world = World()
        async with asyncio.timeout(60):
            await scenario(world)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return world

    return asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_part_begins_with_the_first_object_of_its_kind():
    async def scenario(world: World) -> None:
        running = asyncio.create_task(world.area.run())
        await asyncio.sleep(0.01)
        assert world.events == []
        world.add(CONFIG_MAPS, "first")
        await until(lambda: world.maps.seen)
        assert world.events == ["open maps"]
        assert (world.maps.seen, world.maps.settings) == (["first"], "settings")
        assert world.area.queue_depths() == {"maps": 0.0}
        await cancel(running)

    assert with_world(scenario).events == ["open maps", "close maps"]


def test_what_is_there_at_the_start_is_worked_on_at_once():
    async def scenario(world: World) -> None:
        world.add(SECRETS, "from-before")
        running = asyncio.create_task(world.area.run())
        await until(lambda: world.secrets.seen)
        await cancel(running)

    assert with_world(scenario).events == ["open secrets", "close secrets"]


def test_what_a_part_fails_with_ends_a_process_of_its_own():
    async def scenario(world: World) -> None:
        world.failures = [ValueError("cannot be opened")]
        world.add(CONFIG_MAPS, "first")
        with pytest.raises(ValueError, match="cannot be opened"):
            await world.area.run()

    assert with_world(scenario).events == ["open maps", "close maps"]


def test_a_part_that_fails_beside_others_begins_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(area_module, "FIRST_WAIT_SECONDS", 0.0)

    async def scenario(world: World) -> None:
        informers, events = InformerFactory(world.client), EventSink(world.client, lambda: 0.0)
        informers.start()
        world.failures = [ValueError("not yet")]
        world.add(CONFIG_MAPS, "first")
        world.area.start(informers, events)
        await until(lambda: world.maps.seen)
        await world.area.stop()
        assert world.events == ["open maps", "close maps", "open maps", "close maps"]
        world.add(CONFIG_MAPS, "second")
        await until(lambda: len(informers(CONFIG_MAPS).list()) == 2)
        assert world.maps.seen == ["first"]  # it does not listen to the others' informers any more
        await informers.stop()
        await events.stop()

    with_world(scenario)


def test_what_is_stopped_before_it_has_begun_is_never_begun():
    async def scenario(world: World) -> None:
        informers, events = InformerFactory(world.client), EventSink(world.client, lambda: 0.0)
        world.area.start(informers, events)
        await world.area.stop()
        assert world.events == []

    with_world(scenario)
    gc.collect()  # a coroutine that was never awaited is told of here, and fails the test


def test_a_kind_that_the_server_does_not_know_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(area_module, "FIRST_WAIT_SECONDS", 0.0)

    refusals = [NotFound("404 page not found"), ServiceUnavailable("it starts")]

    class Unknowing(FakeClient):
        async def list(self, *args, **kwargs):
            if refusals:
                raise refusals.pop(0)
            return await super().list(*args, **kwargs)

    async def main() -> None:
        client = Unknowing()
        client.add(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        async with asyncio.timeout(60):
            await until_there(client, [CONFIG_MAPS])
        assert not refusals

    asyncio.run(main())
