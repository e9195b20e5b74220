"""Whatever is done to a store, it agrees with a dict that remembers everything."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.store.etcd import EtcdStore
from proa.store.etcd_address import parse_etcd_address
from proa.store.log import LogStore
from proa.store.memory import MemoryStore
from proa.store.protocol import Change, Compacted, Entry, RevisionMismatch, Store
from support.etcd import Etcd, run_etcd

KEYS = ["a", "a/", "a/b", "a/b/c", "a/bc", "b/1", "b/2", "b/2/x", "é/1"]
PREFIXES = ["", "a", "a/", "a/b", "b/", "b/2", "é/", "z"]
SEGMENT_BYTES = 4096

keys = st.sampled_from(KEYS)
sizes = st.sampled_from([0, 1, 30, 700, 5000])
writes = st.one_of(
    st.tuples(st.just("put"), keys, sizes),
    st.tuples(st.just("create"), keys, sizes),
    st.tuples(st.just("swap"), keys, sizes),
    st.tuples(st.just("stale swap"), keys, sizes),
    st.tuples(st.just("delete"), keys, st.sampled_from([-1, 0, 40])),
)
steps = st.one_of(
    st.tuples(st.just("write"), st.lists(writes, min_size=1, max_size=8)),
    st.tuples(st.just("compact"), st.floats(0, 1)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("read"), st.floats(0, 1)),
)


class Model:
    """Every state there ever was, and every change."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.states: list[dict[str, Entry]] = [{}]
        self.changes: list[Change] = []

    @property
    def revision(self) -> int:
        return self.base + len(self.changes)

    def after(self, share: float) -> int:
        """Return the revision at that share of all changes."""
        return self.base + int(share * len(self.changes))

    def apply(self, change: Change) -> None:
        state = dict(self.states[-1])
        if change.value is None:
            del state[change.key]
        else:
            state[change.key] = Entry(change.key, change.value, change.revision)
        self.states.append(state)
        self.changes.append(change)


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with run_etcd() as running:
        yield running


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=14))
def test_the_memory_store_agrees_with_a_dict(plan: list[tuple[str, object]]) -> None:
    async def open_store() -> Store:
        return MemoryStore()

    asyncio.run(follow(plan, open_store, can_reopen=False))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=14))
def test_the_log_agrees_with_a_dict(plan: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:

        async def open_store() -> Store:
            return LogStore(Path(folder) / "s", segment_bytes=SEGMENT_BYTES)

        asyncio.run(follow(plan, open_store))


_prefixes = count()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=14))
def test_etcd_agrees_with_a_dict(etcd: Etcd, plan: list[tuple[str, object]]) -> None:
    address = parse_etcd_address(f"etcd://{etcd.host}/{next(_prefixes)}")

    async def open_store() -> Store:
        return await EtcdStore.open(address)

    asyncio.run(follow(plan, open_store, together=False))


async def follow(
    plan: list[tuple[str, object]],
    open_store: Callable[[], Awaitable[Store]],
    *,
    can_reopen: bool = True,
    together: bool = True,
) -> None:
    """Do what is planned. `together`: writes that are under way at once take revisions in the order of the calls."""
    store = await open_store()
    model = Model(store.revision)
    try:
        for step, detail in plan:
            if step == "write" and together:
                await write_together(model, store, detail)  # type: ignore[arg-type]
            elif step == "write":
                for one in detail:  # type: ignore[attr-defined]
                    await write_together(model, store, [one])
            elif step == "compact":
                revision = model.after(detail)  # type: ignore[arg-type]
                oldest = max(store.oldest_revision, revision)
                await store.compact(revision)
                assert store.oldest_revision == oldest
            elif step == "reopen" and can_reopen:
                await store.close()
                store = await open_store()
            elif step == "read":
                read_the_past(model, store, model.after(detail))  # type: ignore[arg-type]
            compare(model, store)
        await compare_changes(model, store)
    finally:
        await store.close()


async def write_together(model: Model, store: Store, batch: list[tuple[str, str, int]]) -> None:
    """Start writes at once, and let the model judge them in that order."""
    running = []
    for action, key, size in batch:
        current = model.states[-1].get(key)
        revision = model.revision + 1
        encoded = f"{action}@{revision}".encode() + b"." * max(size, 0)
        is_refused = (
            (action == "create" and current is not None)
            or (action == "stale swap")
            or (action in ("swap", "delete") and current is None)
        )
        expected = {"create": 0, "swap": current.revision if current else 99_999, "stale swap": 99_999}.get(
            action
        )
        if action == "delete":
            call = store.delete(key, (lambda _, last=encoded: last) if size >= 0 else None)
            if current is not None:
                last = encoded if size >= 0 else current.value
                model.apply(Change(key, None, last, revision))
                outcome = Entry(key, last, revision)
        else:
            call = store.put(key, lambda _, new=encoded: new, expected_revision=expected)
            if not is_refused:
                model.apply(Change(key, encoded, current.value if current else None, revision))
                outcome = Entry(key, encoded, revision)
        running.append((asyncio.ensure_future(call), None if is_refused else outcome, current))
    for task, outcome, current in running:
        if outcome is None:
            with pytest.raises(RevisionMismatch) as refused:
                await task
            assert refused.value.current == current
        else:
            assert await task == outcome


def read_the_past(model: Model, store: Store, revision: int) -> None:
    for prefix in PREFIXES:
        if 0 < revision < store.oldest_revision:
            with pytest.raises(Compacted):
                store.range(prefix, revision=revision)
        elif revision:
            check_range(model.states[revision - model.base], store, prefix, revision)


def compare(model: Model, store: Store) -> None:
    assert store.revision == model.revision
    state = model.states[-1]
    for key in KEYS:
        assert store.get(key) == store.latest(key) == state.get(key)
    for prefix in PREFIXES:
        assert store.count(prefix) == sum(key.startswith(prefix) for key in state)
        check_range(state, store, prefix, 0)


def check_range(state: dict[str, Entry], store: Store, prefix: str, revision: int) -> None:
    """Compare a range in whole and in pages of two."""
    expected = [state[key] for key in sorted(state) if key.startswith(prefix)]
    assert list(store.range(prefix, revision=revision).entries) == expected
    found: list[Entry] = []
    while True:
        start_after = found[-1].key if found else ""
        page = store.range(prefix, start_after=start_after, limit=2, revision=revision)
        found += page.entries
        assert page.remaining == len(expected) - len(found)
        if not page.remaining:
            break
    assert found == expected


async def compare_changes(model: Model, store: Store) -> None:
    for prefix in PREFIXES:
        watch = store.watch(prefix, after_revision=store.oldest_revision)
        expected = [
            change
            for change in model.changes[store.oldest_revision - model.base :]
            if change.key.startswith(prefix)
        ]
        found: list[Change] = []
        iterator = aiter(watch)
        while len(found) < len(expected):
            found += await anext(iterator)
        assert found == expected
        watch.close()
