from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, EVENTS, SECRETS
from proa.reconcile.manager import Manager, component_name
from proa.reconcile.protocol import DONE, Context, Key, Result, TerminalError, Watch, no_keys

Reconcile = Callable[[Context, Key], Awaitable[Result]]


class Recording:
    """A controller that notes its calls and does as it is told."""

    NAME = "recording"

    def __init__(
        self, reconcile: Reconcile | None = None, watches: tuple[Watch, ...] = (Watch(CONFIG_MAPS),)
    ) -> None:
        self.WATCHES = watches
        self.calls: list[Key] = []
        self._reconcile = reconcile

    async def reconcile(self, context: Context, key: Key) -> Result:
        self.calls.append(key)
        return await self._reconcile(context, key) if self._reconcile else DONE


def make(name: str, namespace: str = "default", **metadata) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, **metadata}}


def with_manager(
    scenario: Callable[[FakeClient, Manager], Awaitable[None]], *controllers, objects=()
) -> None:
    async def main() -> None:
        client = FakeClient([(CONFIG_MAPS, obj) for obj in objects])
        manager = Manager(client, controllers, settings={"a": 1}, now=lambda: 0.0, random=lambda: 0.0)
        await manager.start()
        try:
            async with asyncio.timeout(60):
                await scenario(client, manager)
        finally:
            await manager.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def test_what_is_there_and_what_changes_is_reconciled():
    controller = Recording()

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: controller.calls == [Key("default", "one")])
        await client.create(CONFIG_MAPS, make("two"))
        await until(lambda: controller.calls[1:] == [Key("default", "two")])
        await client.delete(CONFIG_MAPS, "one", "default")
        await until(lambda: controller.calls[2:] == [Key("default", "one")])
        await until(manager.is_idle)

    with_manager(scenario, controller, objects=[make("one")])


def test_a_watch_names_the_keys_that_a_change_concerns():
    by_label = Watch(SECRETS, keys_of=lambda obj: [Key("", meta.labels(obj).get("for", ""))])
    by_cache = Watch(
        CONFIG_MAPS,
        find_keys=lambda obj, caches: [Key("found", meta.name(s)) for s in caches(SECRETS).list()],
    )
    controller = Recording(watches=(by_label, by_cache))

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await client.create(SECRETS, make("s", labels={"for": "old"}))
        await until(lambda: controller.calls == [Key("", "old")])
        await client.patch(SECRETS, "s", {"metadata": {"labels": {"for": "new"}}}, "default")
        await until(lambda: set(controller.calls[1:]) == {Key("", "old"), Key("", "new")})
        await client.create(CONFIG_MAPS, make("c"))
        await until(lambda: controller.calls[3:] == [Key("found", "s")])

    with_manager(scenario, controller)


def test_a_resource_may_be_cached_without_waking_the_controller():
    controller = Recording(watches=(Watch(CONFIG_MAPS), Watch(SECRETS, keys_of=no_keys)))

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await client.create(SECRETS, make("s"))
        await until(lambda: manager.informers(SECRETS).get("s", "default"))
        assert controller.calls == []

    with_manager(scenario, controller)


def test_a_reconcile_sees_its_own_writes_in_the_cache():
    seen = []

    async def reconcile(context: Context, key: Key) -> Result:
        if key.name == "one":
            await context.client.create(CONFIG_MAPS, make("made"))
            seen.append(context.caches(CONFIG_MAPS).get("made", "default") is not None)
            await context.client.delete(CONFIG_MAPS, "made", "default")
            seen.append(context.caches(CONFIG_MAPS).get("made", "default") is None)
        return DONE

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(seen) == 2)
        assert seen == [True, True]

    with_manager(scenario, Recording(reconcile), objects=[make("one")])


def test_a_key_is_worked_on_once_at_a_time_and_others_beside_it():
    running: list[Key] = []
    most = 0
    go = asyncio.Event()

    async def reconcile(context: Context, key: Key) -> Result:
        nonlocal most
        assert key not in running
        running.append(key)
        most = max(most, len(running))
        await go.wait()
        running.remove(key)
        return DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(running) == 2)
        await client.patch(CONFIG_MAPS, "a", {"data": {"x": "y"}}, "default")
        await until(lambda: manager.informers(CONFIG_MAPS).get("a", "default").get("data"))
        go.set()
        await until(lambda: len(controller.calls) == 3)
        await until(manager.is_idle)
        assert most == 2

    with_manager(scenario, controller, objects=[make("a"), make("b")])


def test_failures_are_retried_and_logged_once(caplog):
    async def reconcile(context: Context, key: Key) -> Result:
        if len(controller.calls) < 4:
            raise ServiceUnavailable("not now")
        return DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(controller.calls) == 4)

    with_manager(scenario, controller, objects=[make("one")])
    assert (
        caplog.text.count("reconcile failed controller=recording namespace=default name=one attempt=1") == 1
    )
    assert caplog.text.count("ServiceUnavailable: not now") == 1


def test_a_fault_of_our_own_is_logged_with_its_traceback_and_retried(caplog):
    async def reconcile(context: Context, key: Key) -> Result:
        if len(controller.calls) == 1:
            raise ZeroDivisionError("oops")
        return DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(controller.calls) == 2)

    with_manager(scenario, controller, objects=[make("one")])
    assert "Traceback" in caplog.text


def test_a_conflict_is_retried_in_silence(caplog):
    async def reconcile(context: Context, key: Key) -> Result:
        if len(controller.calls) == 1:
            raise Conflict("changed")
        return DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(controller.calls) == 2)

    with_manager(scenario, controller, objects=[make("one")])
    assert caplog.text == ""


def test_a_terminal_error_waits_for_a_change(caplog):
    async def reconcile(context: Context, key: Key) -> Result:
        raise TerminalError("spec.selector: cannot be read")

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: controller.calls)
        await until(manager.is_idle)
        await client.patch(CONFIG_MAPS, "one", {"data": {"x": "y"}}, "default")
        await until(lambda: len(controller.calls) == 2)

    with_manager(scenario, controller, objects=[make("one")])
    assert caplog.text.count("spec.selector: cannot be read") == 1


def test_a_reconcile_may_ask_to_be_called_again():
    async def reconcile(context: Context, key: Key) -> Result:
        return Result(requeue_after=0.001) if len(controller.calls) < 3 else DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: len(controller.calls) == 3)

    with_manager(scenario, controller, objects=[make("one")])


def test_events_name_the_controller_and_settings_reach_it():
    seen = []

    async def reconcile(context: Context, key: Key) -> Result:
        context.events.event(
            context.caches(CONFIG_MAPS).get(key.name, key.namespace), "Normal", "Seen", "Seen"
        )
        seen.append(context.settings)
        return DONE

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: seen)
        await manager.events.flush()
        assert client.all(EVENTS)[0]["source"] == {"component": "recording-controller"}
        assert seen == [{"a": 1}]

    with_manager(scenario, Recording(reconcile), objects=[make("one")])
    named = Recording()
    named.NAME = "node-controller"
    assert component_name(named) == "node-controller"


def test_a_controller_may_watch_for_itself():
    class SelfWatching(Recording):
        async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
            enqueue(Key("", "found"))

    controller = SelfWatching(watches=())

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: controller.calls == [Key("", "found")])

    with_manager(scenario, controller)


def test_stopping_ends_a_reconcile_under_way():
    ended = []

    async def reconcile(context: Context, key: Key) -> Result:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)
        return DONE

    controller = Recording(reconcile)

    async def scenario(client: FakeClient, manager: Manager) -> None:
        await until(lambda: controller.calls)

    with_manager(scenario, controller, objects=[make("one")])
    assert ended == [Key("default", "one")]
