"""Changes are routed by prefix, and one list of a burst is shared."""

from __future__ import annotations

import asyncio

from proa.store.protocol import Change
from proa.store.watch import WAKES_A_TURN, Watchers


def make_change(key: str, revision: int) -> Change:
    return Change(key, b"x", None, revision)


def test_a_change_looks_only_at_the_prefixes_of_its_own_key() -> None:
    watchers = Watchers()
    subscriptions = [
        watchers.subscribe(prefix, 0, []) for prefix in ("pods/", "pods/a/", "pods/a/web", "nodes/", "")
    ]
    assert sorted(watchers.prefixes_of("pods/a/web-1")) == ["", "pods/", "pods/a/", "pods/a/web"]
    assert watchers.prefixes_of("nodes/n") == ["", "nodes/"]
    subscriptions[-1].close()
    assert watchers.prefixes_of("services/a/web") == []
    for subscription in subscriptions:
        subscription.close()
    assert watchers.prefixes_of("pods/a/web") == []


def test_watchers_of_one_prefix_share_the_list_of_a_burst() -> None:
    async def main() -> None:
        watchers = Watchers()
        first, second = (watchers.subscribe("pods/", 0, []) for _ in range(2))
        for revision in (1, 2):
            change = make_change("pods/x", revision)
            watchers.gather(watchers.prefixes_of(change.key), change)
        watchers.deliver()
        burst = await anext(aiter(first))
        assert [change.revision for change in burst] == [1, 2]
        assert await anext(aiter(second)) is burst

    asyncio.run(main())


def test_very_many_are_woken_some_at_a_time_in_the_order_in_which_they_came() -> None:
    async def main() -> None:
        watchers, heard, turns = Watchers(), list[tuple[int, int, int]](), 0
        count = 2 * WAKES_A_TURN + 7

        async def hear(number: int) -> None:
            async for burst in watchers.subscribe("pods/", 0, []):
                heard.extend((turns, number, change.revision) for change in burst)
                if burst[-1].revision == 2:
                    return

        tasks = [asyncio.create_task(hear(number)) for number in range(count)]
        await asyncio.sleep(0)
        for revision in (1, 2):
            watchers.gather(["pods/"], make_change("pods/x", revision))
            watchers.deliver()
        while len(heard) < 2 * count:
            await asyncio.sleep(0)
            turns += 1
            assert turns <= 20
        await asyncio.gather(*tasks)

        assert len({turn for turn, _, _ in heard}) >= 3
        assert [number for _, number, revision in heard if revision == 2] == list(range(count))
        for number in range(count):
            assert [revision for _, each, revision in heard if each == number] == [1, 2]

    asyncio.run(main())


def test_a_watcher_tells_whether_it_has_yet_to_take_something() -> None:
    async def main() -> None:
        watchers = Watchers()
        watch = watchers.subscribe("pods/", 0, [])
        told = [watch.has_arrived()]
        watchers.gather(["pods/"], make_change("pods/x", 1))
        watchers.deliver()
        told.append(watch.has_arrived())
        await anext(aiter(watch))
        told.append(watch.has_arrived())
        assert told == [False, True, False]

    asyncio.run(main())
