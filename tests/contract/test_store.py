"""What every store keeps: revisions, compare-and-swap, ranges, history and watches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proa.store import watch as watch_module
from proa.store.etcd import EtcdStore
from proa.store.etcd_address import parse_etcd_address
from proa.store.log import LogStore
from proa.store.memory import MemoryStore
from proa.store.protocol import (
    Change,
    Compacted,
    Entry,
    FutureRevision,
    ReadOnly,
    RevisionMismatch,
    Store,
    Watch,
    WatchOverflow,
)
from support.etcd import Etcd, run_etcd

Body = Callable[[Store], Awaitable[None]]
Check = Callable[[Body], None]


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    """One etcd for all; each test has a prefix of its own."""
    with run_etcd() as running:
        yield running


@pytest.fixture(params=["memory", "log", "etcd", "locked etcd"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    """Run a test's body against a fresh store of each kind."""
    kind = request.param
    etcd: Etcd | None = request.getfixturevalue("etcd") if "etcd" in kind else None

    async def open_store() -> Store:
        if etcd is not None:
            address = parse_etcd_address(f"etcd://{etcd.host}{tmp_path}")
            return await EtcdStore.open(address, owner="me" if kind == "locked etcd" else "")
        return MemoryStore() if kind == "memory" else LogStore(tmp_path / "store")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = await open_store()
        try:
            yield store
        finally:
            await store.close()

    def run(body: Body) -> None:
        async def main() -> None:
            async with opened() as store:
                await asyncio.wait_for(body(store), 60)

        asyncio.run(main())

    return run


class Numbers:
    """The revisions from where a store begins: each write takes the next, as long as nobody else writes."""

    def __init__(self, store: Store) -> None:
        self._base = store.revision

    def __call__(self, number: int) -> int:
        """Return the revision of the `number`th write."""
        return self._base + number

    def value(self, text: str, number: int) -> bytes:
        """Return what `value(text)` makes in the `number`th write."""
        return f"{text}@{self(number)}".encode()

    def entry(self, key: str, text: str, number: int, revision: int | None = None) -> Entry:
        """Return what the `number`th write put at a key; `revision` is that of another write which returned it."""
        return Entry(key, self.value(text, number), self(revision or number))


def value(text: str) -> Callable[[int], bytes]:
    """Make an encoder that puts the revision into the value."""
    return lambda revision: f"{text}@{revision}".encode()


async def bursts(watch: Watch, count: int) -> list[Change]:
    """Return the next `count` changes, however they are grouped."""
    found: list[Change] = []
    iterator = aiter(watch)
    while len(found) < count:
        found += await asyncio.wait_for(anext(iterator), 60)
    return found


def keys(entries: Sequence[Entry]) -> list[str]:
    return [entry.key for entry in entries]


def test_a_store_begins_empty(check: Check) -> None:
    async def body(store: Store) -> None:
        assert store.revision == store.oldest_revision
        assert store.get("a") is None
        assert store.latest("a") is None
        page = store.range("")
        assert (list(page.entries), page.revision, page.remaining) == ([], store.revision, 0)

    check(body)


def test_every_write_takes_the_next_revision(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        assert await store.put("a", value("x")) == n.entry("a", "x", 1)
        assert await store.put("b", value("y")) == n.entry("b", "y", 2)
        assert await store.delete("a") == n.entry("a", "x", 1, 3)
        assert await store.put("b", value("z")) == n.entry("b", "z", 4)
        assert store.revision == n(4)
        assert store.get("a") is None
        assert store.get("b") == store.latest("b") == n.entry("b", "z", 4)

    check(body)


def test_writes_in_flight_get_distinct_revisions_in_order_of_acceptance(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        entries = await asyncio.gather(*(store.put(f"k{number}", value("x")) for number in range(100)))
        revisions = [entry.revision for entry in entries]
        if isinstance(store, EtcdStore):  # several connections: the order is etcd's
            revisions.sort()
        assert revisions == list(range(n(1), n(101)))
        assert store.revision == n(100)

    check(body)


@pytest.mark.parametrize(("exists", "expected", "fits"), [
    (False, None, True), (False, 0, True), (False, 1, False),
    (True, None, True), (True, 0, False), (True, 1, True), (True, 2, False),
])  # fmt: skip
def test_put_compares_and_swaps(check: Check, exists: bool, expected: int | None, fits: bool) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        if exists:
            await store.put("a", value("old"))
        if fits:
            await store.put("a", value("new"), expected_revision=expected and n(expected))
            return
        with pytest.raises(RevisionMismatch) as refused:
            await store.put("a", value("new"), expected_revision=expected and n(expected))
        assert refused.value.current == (n.entry("a", "old", 1) if exists else None)
        assert store.revision == n(int(exists)), "a refused write takes no revision"

    check(body)


@pytest.mark.parametrize(("exists", "expected", "fits"), [
    (False, None, False), (False, 0, False), (True, None, True), (True, 0, False), (True, 1, True), (True, 2, False),
])  # fmt: skip
def test_delete_compares(check: Check, exists: bool, expected: int | None, fits: bool) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        if exists:
            await store.put("a", value("old"))
        if fits:
            await store.delete("a", expected_revision=expected and n(expected))
            assert store.count("") == 0
            return
        with pytest.raises(RevisionMismatch) as refused:
            await store.delete("a", expected_revision=expected and n(expected))
        assert refused.value.current == (n.entry("a", "old", 1) if exists else None)

    check(body)


def test_a_compare_and_swap_is_judged_against_what_is_pending(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        results = await asyncio.gather(
            store.put("a", value("1"), expected_revision=0),
            store.put("a", value("2"), expected_revision=n(1)),
            store.put("a", value("3"), expected_revision=n(1)),
            store.delete("a", expected_revision=n(2)),
            store.put("a", value("4"), expected_revision=0),
            return_exceptions=True,
        )
        assert [type(result).__name__ for result in results] == [
            "Entry",
            "Entry",
            "RevisionMismatch",
            "Entry",
            "Entry",
        ]
        assert store.get("a") == n.entry("a", "4", 4)

    check(body)


def test_who_is_refused_can_read_what_it_was_refused_for(check: Check) -> None:
    async def create(store: Store, text: str) -> bool:
        try:
            await store.put("a", value(text), expected_revision=0)
        except RevisionMismatch:
            assert store.get("a") is not None
            return False
        return True

    async def remove(store: Store) -> bool:
        try:
            await store.delete("a")
        except RevisionMismatch:
            assert store.get("a") is None
            return False
        return True

    async def body(store: Store) -> None:
        assert sorted(await asyncio.gather(*(create(store, str(i)) for i in range(5)))) == [False] * 4 + [
            True
        ]
        assert sorted(await asyncio.gather(*(remove(store) for _ in range(5)))) == [False] * 4 + [True]

    check(body)


def test_only_one_of_many_racing_swaps_wins(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        await store.put("a", value("base"))
        racing = [store.put("a", value(str(number)), expected_revision=n(1)) for number in range(50)]
        results = await asyncio.gather(*racing, return_exceptions=True)
        assert sum(isinstance(result, Entry) for result in results) == 1

    check(body)


def test_an_encoder_that_fails_costs_nothing(check: Check) -> None:
    def broken(revision: int) -> bytes:
        raise ValueError(f"broken at {revision}")

    async def body(store: Store) -> None:
        n = Numbers(store)
        with pytest.raises(ValueError, match="broken"):
            await store.put("a", broken)
        assert store.latest("a") is None
        assert (await store.put("a", value("x"))).revision == n(1)

    check(body)


def test_a_writer_that_goes_away_does_not_disturb_the_others(check: Check) -> None:
    async def body(store: Store) -> None:
        leaving = asyncio.ensure_future(store.put("a", value("x")))
        staying = asyncio.ensure_future(store.put("b", value("y")))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).key == "b"
        assert (await store.put("c", value("z"))).revision == store.revision

    check(body)


def test_ranges_are_in_key_order_and_bounded_by_prefix(check: Check) -> None:
    async def body(store: Store) -> None:
        for key in ("b/2", "a/1", "b/10", "b", "b/1", "c", "b\U0010ffff", "b/é", "b0"):
            await store.put(key, value("x"))
        assert keys(store.range("b/").entries) == ["b/1", "b/10", "b/2", "b/é"]
        assert keys(store.range("b").entries) == ["b", "b/1", "b/10", "b/2", "b/é", "b0", "b\U0010ffff"]
        assert keys(store.range("b\U0010ffff").entries) == ["b\U0010ffff"]
        assert keys(store.range("x").entries) == []
        assert (store.count("b/"), store.count(""), store.count("x")) == (4, 9, 0)

    check(body)


def test_ranges_come_in_pages(check: Check) -> None:
    async def body(store: Store) -> None:
        for number in range(10):
            await store.put(f"a/{number}", value("x"))
        await store.put("b/0", value("x"))
        first = store.range("a/", limit=4)
        assert (keys(first.entries), first.remaining) == ([f"a/{n}" for n in range(4)], 6)
        second = store.range("a/", start_after="a/3", limit=4)
        assert (keys(second.entries), second.remaining) == ([f"a/{n}" for n in range(4, 8)], 2)
        last = store.range("a/", start_after="a/7", limit=4)
        assert (keys(last.entries), last.remaining) == (["a/8", "a/9"], 0)
        assert keys(store.range("a/", start_after="a/9").entries) == []

    check(body)


def test_of_a_range_only_keys_with_an_ending_are_asked_for(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        for key in ("a/1/x", "a/1/y", "a/2/x", "a/3/y", "b/1/x"):
            await store.put(key, value("old"))
        await store.delete("a/1/x")
        await store.put("a/3/x", value("new"))
        assert keys(store.range("a/", ending="/x").entries) == ["a/2/x", "a/3/x"]
        page = store.range("a/", ending="/x", limit=1)
        assert (keys(page.entries), page.remaining) == (["a/2/x"], 1)
        assert keys(store.range("a/", ending="/x", revision=n(5)).entries) == ["a/1/x", "a/2/x"]
        assert store.range("a/", ending="/z").remaining == 0

    check(body)


def test_pages_of_the_past_are_whole(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        for key in ("a/1", "a/2", "a/3"):
            await store.put(key, value("old"))
        await store.put("a/2", value("new"))
        await store.delete("a/1")
        await store.put("a/0", value("new"))
        await store.delete("a/3")
        await store.put("a/3", value("again"))
        page = store.range("a/", limit=2, revision=n(3))
        assert (list(page.entries), page.revision, page.remaining) == (
            [n.entry("a/1", "old", 1), n.entry("a/2", "old", 2)], n(3), 1,
        )  # fmt: skip
        rest = store.range("a/", start_after="a/2", limit=2, revision=n(3))
        assert (list(rest.entries), rest.remaining) == ([n.entry("a/3", "old", 3)], 0)
        assert keys(store.range("a/").entries) == ["a/0", "a/2", "a/3"]
        assert keys(store.range("a/", revision=n(1)).entries) == ["a/1"]

    check(body)


def test_the_future_cannot_be_read(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        await store.put("a", value("x"))
        with pytest.raises(FutureRevision) as refused:
            store.range("", revision=n(2))
        assert (refused.value.asked, refused.value.current) == (n(2), n(1))
        with pytest.raises(FutureRevision):
            await store.compact(n(2))

    check(body)


def test_compaction_forgets_the_past_and_keeps_the_present(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        for number in range(5):
            await store.put("a", value(str(number)))
        await store.put("b", value("x"))
        await store.compact(n(4))
        assert store.oldest_revision == n(4)
        assert store.range("", revision=n(4)).entries == [n.entry("a", "3", 4)]
        for call in (lambda: store.range("", revision=n(3)), lambda: store.watch("", after_revision=n(3))):
            with pytest.raises(Compacted) as refused:
                call()
            assert refused.value.oldest == n(4)
        watch = store.watch("", after_revision=n(4))
        assert [change.revision for change in await bursts(watch, 2)] == [n(5), n(6)]
        watch.close()
        assert keys(store.range("").entries) == ["a", "b"]

    check(body)


def test_a_watch_sees_each_change_once_in_order(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        watch = store.watch("a/", after_revision=n(0))
        await store.put("a/1", value("x"))
        await store.put("b/1", value("x"))
        await store.put("a/1", value("y"))
        await store.delete("a/1", value("last"))
        await store.put("a/2", value("z"))
        await store.delete("a/2")
        assert await bursts(watch, 5) == [
            Change("a/1", n.value("x", 1), None, n(1)),
            Change("a/1", n.value("y", 3), n.value("x", 1), n(3)),
            Change("a/1", None, n.value("last", 4), n(4)),
            Change("a/2", n.value("z", 5), None, n(5)),
            Change("a/2", None, n.value("z", 5), n(6)),
        ]
        watch.close()

    check(body)


def test_a_watch_is_not_woken_for_what_it_does_not_want(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        watch = store.watch("a/", after_revision=n(0), wants=lambda change: change.key.endswith("2"))
        await store.put("a/1", value("x"))
        assert not watch.has_arrived()
        await store.put("a/2", value("y"))
        await store.delete("a/1")
        await store.delete("a/2")
        assert [change.key for change in await bursts(watch, 2) if change.key == "a/2"] == ["a/2", "a/2"]
        watch.close()

    check(body)


def test_a_watch_from_the_past_goes_on_into_the_present_without_a_gap(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        for number in range(5):
            await store.put(f"a/{number}", value("x"))
        await store.delete("a/0", value("last"))
        watch = store.watch("a/", after_revision=n(2))
        await store.put("a/9", value("x"))
        seen = await bursts(watch, 5)
        assert [change.revision for change in seen] == [n(3), n(4), n(5), n(6), n(7)]
        assert seen[3] == Change("a/0", None, n.value("last", 6), n(6))
        watch.close()

    check(body)


def test_a_watch_from_the_future_waits_for_it(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        watch = store.watch("", after_revision=n(2))
        for number in range(4):
            await store.put(f"a/{number}", value("x"))
        assert [change.revision for change in await bursts(watch, 2)] == [n(3), n(4)]
        watch.close()

    check(body)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d"])
def test_watches_match_any_prefix(check: Check, prefix: str) -> None:
    written = ["a/b/c", "a/b/cd", "a/b", "a/x", "ab", "b/a/b/c", "a"]

    async def body(store: Store) -> None:
        watch = store.watch(prefix, after_revision=store.revision)
        for key in written:
            await store.put(key, value("x"))
        expected = [key for key in written if key.startswith(prefix)]
        assert [change.key for change in await bursts(watch, len(expected))] == expected
        watch.close()

    check(body)


def test_what_a_watcher_sees_can_be_read(check: Check) -> None:
    async def body(store: Store) -> None:
        n = Numbers(store)
        watch = store.watch("", after_revision=store.revision)
        write = asyncio.ensure_future(store.put("a", value("x")))
        (change,) = await bursts(watch, 1)
        assert store.get("a") == n.entry("a", "x", 1)
        assert store.revision >= change.revision
        await write
        watch.close()

    check(body)


def test_writes_in_flight_reach_a_watcher_as_few_bursts(check: Check) -> None:
    async def body(store: Store) -> None:
        if not isinstance(store, LogStore):
            return  # in memory every write is durable by itself; how etcd groups them is its own choice
        watch = store.watch("", after_revision=store.revision)
        await asyncio.gather(*(store.put(f"a/{n}", value("x")) for n in range(200)))
        count, iterator = 0, aiter(watch)
        seen = 0
        while seen < 200:
            seen += len(await anext(iterator))
            count += 1
        assert count < 100
        watch.close()

    check(body)


def test_what_a_watch_has_is_taken_without_waiting_once_the_writer_has_its_answer(check: Check) -> None:
    async def body(store: Store) -> None:
        watch = store.watch("/a/", after_revision=store.revision)
        assert list(watch.take()) == []
        await store.put("/a/1", value("x"))
        await store.put("/b/1", value("x"))
        await store.delete("/a/1")
        assert [(change.key, change.value is None) for change in watch.take()] == [
            ("/a/1", False),
            ("/a/1", True),
        ]
        assert list(watch.take()) == []
        watch.close()

    check(body)


def test_closing_a_watch_ends_its_iteration(check: Check) -> None:
    async def body(store: Store) -> None:
        watch = store.watch("", after_revision=store.revision)
        waiting = asyncio.ensure_future(anext(aiter(watch), None))
        await asyncio.sleep(0)
        assert not waiting.done()
        watch.close()
        assert await waiting is None
        await store.put("a", value("y"))
        assert await anext(aiter(watch), None) is None
        watch.close()

    check(body)


def test_closing_the_store_ends_every_watch_after_what_it_has(check: Check) -> None:
    async def body(store: Store) -> None:
        watch = store.watch("", after_revision=store.revision)
        await store.put("a", value("x"))
        assert store.refusal == ""
        await store.close()
        assert store.refusal == "the store is closed"
        assert [change.key async for burst in watch for change in burst] == ["a"]
        with pytest.raises(ReadOnly):
            await store.put("a", value("x"))
        await store.close()

    check(body)


def test_a_watcher_that_does_not_keep_up_is_told_so_and_holds_no_memory(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MAX_BUFFERED_CHANGES", 300)

    async def body(store: Store) -> None:
        slow = store.watch("a/", after_revision=store.revision)
        other = store.watch("b/", after_revision=store.revision)
        await store.put("b/1", value("x"))
        for _ in range(8):
            await asyncio.gather(*(store.put("a/1", value("x")) for _ in range(50)))
        with pytest.raises(WatchOverflow):
            await anext(aiter(slow))
        assert [change.key for change in await bursts(other, 1)] == ["b/1"]
        again = store.watch("a/", after_revision=store.revision)
        await store.put("a/1", value("y"))
        assert len(await bursts(again, 1)) == 1
        for watch in (slow, other, again):
            watch.close()

    check(body)


def test_lists_and_watches_lead_to_the_same_state_under_writes_compaction_and_reconnects(
    check: Check,
) -> None:
    chance = random.Random(7)

    async def write(store: Store, own: int) -> None:
        for number in range(80):
            key = f"a/{own}-{chance.randrange(5)}"
            if store.latest(key) is not None and chance.random() < 0.3:
                await store.delete(key, value("last"))
            else:
                await store.put(key, value(str(number)))

    async def compact(store: Store, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await store.compact(
                store.revision - chance.randrange(3) if store.revision > 3 else store.revision
            )
            await asyncio.sleep(0.01)

    async def follow(store: Store, ended: asyncio.Event) -> dict[str, bytes]:
        """List, then watch, with a new watch now and then; the last write is of a key that says so."""
        while True:
            page = store.range("a/")
            state = {entry.key: entry.value for entry in page.entries}
            seen = page.revision
            while "a/end" not in state:
                try:
                    watch = store.watch("a/", after_revision=seen)
                except Compacted:
                    break
                for _ in range(chance.randrange(1, 20)):
                    if "a/end" in state:
                        break
                    for change in await asyncio.wait_for(anext(aiter(watch)), 60):
                        assert change.revision > seen
                        assert change.previous == state.get(change.key) or change.value is None
                        seen = change.revision
                        if change.value is None:
                            del state[change.key]
                        else:
                            state[change.key] = change.value
                watch.close()
            else:
                return state

    async def body(store: Store) -> None:
        ended = asyncio.Event()
        helpers = [asyncio.create_task(compact(store, ended))]
        following = [asyncio.create_task(follow(store, ended)) for _ in range(3)]
        await asyncio.gather(*(write(store, own) for own in range(8)))
        await store.put("a/end", value("end"))
        ended.set()
        await asyncio.gather(*helpers)
        states = await asyncio.gather(*following)
        final = {entry.key: entry.value for entry in store.range("a/").entries}
        assert states == [final] * 3

    check(body)
