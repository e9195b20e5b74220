"""Changes are routed by prefix, and one list of a burst is shared."""

from __future__ import annotations

import asyncio

from proa.store.protocol import Change
from proa.store.watch import Watchers


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
