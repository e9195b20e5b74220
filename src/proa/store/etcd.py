"""Keep the store's promises on a real etcd that several API servers may share.

Reads come from a mirror: every value below our prefix, and a short history, kept up by etcd's watch. Writes are
etcd's transactions that compare the key's modification revision; a write is answered when the mirror shows it, so
that a writer reads what it wrote. Other servers' writes come by the watch alone: `barrier` asks etcd for the newest
revision below the prefix and waits until the mirror has it. Revisions are etcd's own, so they have gaps.

Writes of one key wait for one another here; whatever else comes between is found out by etcd's compare. A write
whose connection broke is looked for in the mirror, once that has caught up, and sent again when it is not there:
the compare makes that harmless. The layout is in etcd_format.py; docs/decisions/0005-etcd-store.md says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from proa.store.etcd_address import EtcdAddress
from proa.store.etcd_client import (
    EtcdClient,
    EtcdCompacted,
    EtcdRefused,
    EtcdUnavailable,
    Json,
    decode,
    encode,
    revision_of,
)
from proa.store.etcd_format import KeySpace, pack, unpack
from proa.store.etcd_lock import ServerLock
from proa.store.history import History
from proa.store.protocol import (
    CannotOpen,
    Change,
    Entry,
    Page,
    ReadOnly,
    RevisionMismatch,
    StoreError,
    Unavailable,
    Watch,
)
from proa.store.transformer import CannotDecrypt, Plain, Transformer
from proa.store.watch import Watchers

OPEN_SECONDS = 20.0
CATCH_UP_SECONDS = 8.0
WRITE_SECONDS = 30.0
"""How long an unknown outcome is looked for before the writer is told so."""
RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 2.0
COMPACT_SECONDS = 300.0
"""History older than this, up to twice, is compacted in etcd, as upstream's API server does."""

logger = logging.getLogger(__name__)


class EtcdStore:
    """A `protocol.Store` on etcd. Open one with `EtcdStore.open`."""

    def __init__(
        self,
        client: EtcdClient,
        keys: KeySpace,
        lock: ServerLock | None,
        transformer: Transformer,
        clock: Callable[[], float],
    ) -> None:
        """Use `open`."""
        self._transformer = transformer
        self._stale: set[str] = set()
        self._client = client
        self._keys = keys
        self._lock = lock
        self._clock = clock
        self._history: History[Entry] = History(lambda key, entry: entry, clock=clock)
        self._watchers = Watchers()
        self._turns: dict[str, deque[asyncio.Future[None]]] = {}
        self._seen: dict[str, int] = {}
        """Writes under way whose outcome the mirror is to tell: id -> revision, 0 until it is seen."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._resume = 0
        self._reading: asyncio.Task[None] | None = None
        self._next_reading: asyncio.Task[None] | None = None
        self._trouble = ""
        self._closed = ""
        self._following: asyncio.Task[None] | None = None
        self._compacting: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        address: EtcdAddress,
        *,
        owner: str = "",
        is_shared: bool = False,
        transformer: Transformer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> EtcdStore:
        """Read the whole state and follow it from there; raise CannotOpen.

        `owner`, where given, keeps every other owner's servers away from the prefix, and then `barrier` has
        nothing to wait for. The same owner takes over from its last server. With `is_shared` it is the name of one
        of several servers, and keeps away those that want to be alone.
        """
        client, keys = EtcdClient(address), KeySpace(address.prefix)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                lock = await ServerLock.take(client, keys, owner, is_shared=is_shared) if owner else None
                store = cls(client, keys, lock, transformer or Plain(), clock)
                await store._load()
        except (EtcdUnavailable, EtcdRefused, TimeoutError) as error:
            await client.close()
            why = str(error) or f"no answer within {OPEN_SECONDS:.0f} s"
            raise CannotOpen(f"etcd at {client.name} cannot be used: {why}") from None
        except BaseException:
            await client.close()
            raise
        store._following = _start(store._follow(), "etcd follower")
        store._compacting = _start(store._compact_at_times(), "etcd compactor")
        if lock is not None:
            lock.keep()
        return store

    @property
    def revision(self) -> int:
        """The newest revision that is shown here."""
        return self._history.revision

    @property
    def oldest_revision(self) -> int:
        """The oldest revision that can be read and watched from."""
        return self._history.oldest

    @property
    def is_shared(self) -> bool:
        """See `Store.is_shared`: not where our lock keeps others away."""
        return self._lock is None or self._lock.is_shared or bool(self._lock.lost)

    @property
    def refusal(self) -> str:
        """See `Store.refusal`; while etcd cannot be reached, what is wrong."""
        return self._closed or (self._lock.lost if self._lock else "") or self._trouble

    def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        return self._history.values.get(key)

    latest = get

    def is_stale(self, key: str) -> bool:
        """See `Store.is_stale`."""
        return key in self._stale

    def seal(self, entry: Entry) -> bytes:
        """See `Store.seal`."""
        return self._transformer.seal(entry.key, entry.value)

    def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, ending: str = ""
    ) -> Page:
        """See `Store.range`."""
        return self._history.range(prefix, start_after, limit, revision, ending)

    def count(self, prefix: str) -> int:
        """See `Store.count`."""
        return self._history.count(prefix)

    async def put(
        self, key: str, encode: Callable[[int], bytes], *, expected_revision: int | None = None
    ) -> Entry:
        """See `Store.put`."""
        self._check_writable()
        packed = pack(encode)
        stored = self._transformer.seal(key, packed)
        async with self._turn(key):
            while True:
                current = self.get(key)
                found = current.revision if current else 0
                if expected_revision is not None and expected_revision != found:
                    raise RevisionMismatch(key, current)
                revision = await self._write(key, found, stored, None)
                if revision:
                    return Entry(key, unpack(packed, revision), revision)

    async def delete(
        self, key: str, encode: Callable[[int], bytes] | None = None, *, expected_revision: int | None = None
    ) -> Entry:
        """See `Store.delete`."""
        self._check_writable()
        last = pack(encode) if encode else None
        async with self._turn(key):
            while True:
                current = self.get(key)
                if current is None or expected_revision not in (None, current.revision):
                    raise RevisionMismatch(key, current)
                revision = await self._write(key, current.revision, None, last)
                if revision:
                    return Entry(key, unpack(last, revision) if last else current.value, revision)

    def watch(
        self, prefix: str, *, after_revision: int, wants: Callable[[Change], bool] | None = None
    ) -> Watch:
        """See `Store.watch`."""
        backlog = self._history.changes(prefix, after_revision)
        return self._watchers.subscribe(prefix, after_revision, backlog, wants)

    async def barrier(self) -> None:
        """See `Store.barrier`. Those who come while etcd is asked share the next question."""
        if not self.is_shared:
            return
        if self._next_reading is None:
            self._next_reading = _start(self._read_head(self._reading), "etcd barrier")
        await asyncio.shield(self._next_reading)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`: here, and in etcd for all; raises FutureRevision, Unavailable."""
        self._history.compact(revision)
        try:
            await self._client.compact(revision)
        except (EtcdUnavailable, EtcdRefused) as error:
            raise Unavailable(f"etcd: {error}") from None

    async def close(self) -> None:
        """See `Store.close`; watches end, and later writes raise ReadOnly."""
        if self._closed:
            return
        self._closed = "the store is closed"
        running = (self._following, self._compacting, self._reading, self._next_reading)
        tasks = [task for task in running if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(Unavailable(self._closed))
                waiter.exception()  # whoever waits still gets it; nobody may be left to
        self._watchers.end()
        if self._lock is not None:
            await self._lock.release()
        await self._client.close()

    # Writing.

    def _check_writable(self) -> None:
        lost = self._lock.lost if self._lock else ""
        if self._closed or lost:
            raise ReadOnly(self._closed or lost)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        """Let the writes of one key come one after the other, in the order of the calls."""
        queue = self._turns.setdefault(key, deque())
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            if queue[0] is not mine:
                await mine
            yield
        finally:
            is_first = queue[0] is mine
            queue.remove(mine)
            if not queue:
                del self._turns[key]
            elif is_first and not queue[0].done():
                queue[0].set_result(None)

    async def _write(self, key: str, found: int, stored: bytes | None, last: bytes | None) -> int:
        """Put (`stored`) or delete what is at revision `found` (0: nothing); return the revision.

        Returns 0 when it is at another one, and the mirror shows that.
        """
        name, identity = encode(self._keys.encode(key)), os.urandom(12).hex()
        head = encode(self._keys.head)
        compare: list[Json] = [{"key": name, "target": "MOD", "mod_revision": str(found), "result": "EQUAL"}]
        if self._lock is not None:
            compare.append(self._lock.condition())
        noted = identity.encode() + b"\n" + (self._transformer.seal(key, last) if last else b"")
        act: Json = (
            {"request_delete_range": {"key": name}}
            if stored is None
            else {"request_put": {"key": name, "value": encode(stored)}}
        )
        success = [act, {"request_put": {"key": head, "value": encode(noted)}}]
        failure: list[Json] = [{"request_range": {"key": name}}, {"request_range": {"key": head}}]
        self._seen[identity] = 0
        try:
            return await self._transact(identity, compare, success, failure)
        finally:
            del self._seen[identity]

    async def _transact(
        self, identity: str, compare: list[Json], success: list[Json], failure: list[Json]
    ) -> int:
        """Return the revision of the write, 0 when what it compares with is not so; raise Unavailable, ReadOnly."""
        deadline = asyncio.get_running_loop().time() + WRITE_SECONDS
        delay = RETRY_SECONDS
        while True:
            try:
                answer = await self._client.transact(compare, success, failure)
            except EtcdRefused as error:
                raise self._refused(error) from None
            except EtcdUnavailable as error:
                revision = await self._find_outcome(identity, str(error), deadline, delay)
                delay = min(delay * 2, MAX_RETRY_SECONDS)
                if revision:
                    return revision
                continue
            if answer.get("succeeded"):
                revision = revision_of(answer)
            else:
                found = [r["response_range"].get("kvs", []) for r in answer["responses"]]
                revision = max((int(kv["mod_revision"]) for kvs in found for kv in kvs), default=0)
            await self._reached(revision)
            if not answer.get("succeeded") and not self._seen[identity] and self._lock is not None:
                await self._lock.check()
                self._check_writable()
            return revision if answer.get("succeeded") else self._seen[identity]

    async def _find_outcome(self, identity: str, why: str, deadline: float, delay: float) -> int:
        """Return the revision of a write that got no answer, 0 when it has not happened so far."""
        while True:
            if asyncio.get_running_loop().time() > deadline or self._closed:
                raise Unavailable(f"etcd gave no answer ({why}): the write may have happened or not")
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_RETRY_SECONDS)
            with suppress(Unavailable):
                await self._read_head(None)
                return self._seen[identity]

    def _refused(self, error: EtcdRefused) -> StoreError:
        if error.is_full:
            return ReadOnly(
                f"etcd's database is full ({error}): compact and defragment it, then `etcdctl alarm disarm`"
            )
        return StoreError(f"etcd refused the write: {error}")

    # Following.

    async def _load(self) -> None:
        """Take the newest state as the mirror's."""
        keys = self._keys
        revision, found = await self._client.snapshot(keys.begin, keys.end)
        values: list[tuple[str, Entry]] = []
        for kv in found:
            key = keys.decode(decode(kv["key"]))
            if key is not None:
                changed = int(kv["mod_revision"])
                try:
                    values.append((key, self._read(key, decode(kv.get("value", "")), changed)))
                except (CannotOpen, CannotDecrypt) as error:
                    raise CannotOpen(f"etcd's {decode(kv['key'])!r}: {error}") from None
        self._history = History(lambda key, entry: entry, clock=self._clock)
        self._history.restore(values, revision)
        self._resume = revision

    async def _follow(self) -> None:
        """Keep the mirror up, whatever happens to connections."""
        delay = RETRY_SECONDS
        while True:
            try:
                watch = self._client.watch(self._keys.begin, self._keys.end, self._resume + 1)
                async with aclosing(watch) as answers:
                    async for answer in answers:
                        self._take(answer)
                        delay = RETRY_SECONDS
            except EtcdCompacted:
                logger.warning("etcd was compacted beyond what was seen here: reading everything again")
                try:
                    await self._load()
                except (EtcdUnavailable, EtcdRefused, CannotOpen) as error:
                    self._trouble = f"etcd cannot be read: {error}"
                else:
                    self._watchers.drop_all()
                    self._wake()
                    continue
            except EtcdUnavailable as error:
                if not self._trouble:
                    logger.warning("etcd at %s: %s; trying again", self._client.name, error)
                self._trouble = f"etcd at {self._client.name} cannot be reached: {error}"
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_RETRY_SECONDS)

    def _take(self, answer: Json) -> None:
        """Apply what one answer of the watch tells."""
        if answer.get("created"):
            if revision_of(answer) < self._resume:
                raise EtcdUnavailable(
                    f"etcd is at revision {revision_of(answer)}, before {self._resume}, which was seen here: if it was "
                    "restored from a backup, restart proa"
                )
            self._trouble = ""
            return
        events: list[Json] = answer.get("events", [])
        if not events:
            self._resume = max(self._resume, revision_of(answer))  # a notice: nothing of ours up to there
            return
        start = 0
        while start < len(events):
            revision = int(events[start]["kv"]["mod_revision"])
            end = start + 1
            while end < len(events) and int(events[end]["kv"]["mod_revision"]) == revision:
                end += 1
            self._apply(revision, events[start:end])
            start = end
        self._history.trim()
        self._watchers.deliver()
        self._wake()

    def _apply(self, revision: int, events: list[Json]) -> None:
        """Apply all that one transaction did."""
        identity, last = b"", b""
        writes: list[tuple[str, Json]] = []
        for event in events:
            name = decode(event["kv"]["key"])
            if name == self._keys.head:
                identity, _, last = decode(event["kv"].get("value", "")).partition(b"\n")
            elif (key := self._keys.decode(name)) is not None:
                writes.append((key, event))
        for key, event in writes:
            try:
                self._apply_one(key, event, revision, last)
            except (CannotOpen, CannotDecrypt) as error:
                logger.error("%s at revision %d is left out: %s", key, revision, error)
        self._history.revision = self._resume = revision
        if identity.decode() in self._seen:
            self._seen[identity.decode()] = revision

    def _apply_one(self, key: str, event: Json, revision: int, last: bytes) -> None:
        is_delete = event.get("type") == "DELETE"
        if is_delete and key not in self._history.values:
            return
        entry: Entry | None = None
        final: Entry | None = None
        if not is_delete:
            entry = self._read(key, decode(event["kv"].get("value", "")), revision)
        elif last:
            final = self._read(key, last, revision)
        size_bytes = len(entry.value if entry else final.value if final else b"")
        past = self._history.apply(key, revision, entry, final, size_bytes=size_bytes)
        prefixes = self._watchers.prefixes_of(key)
        if prefixes:
            change: Change = self._history.change(past)
            self._watchers.gather(prefixes, change)

    def _read(self, key: str, stored: bytes, revision: int) -> Entry:
        """Return what a stored value is; raise CannotOpen, CannotDecrypt."""
        packed, is_stale = self._transformer.open(key, stored)
        if is_stale:
            self._stale.add(key)
        else:
            self._stale.discard(key)
        return Entry(key, unpack(packed, revision), revision)

    async def _reached(self, revision: int) -> None:
        """Return when the mirror shows everything up to `revision`; raise Unavailable."""
        if self._history.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = (revision, waiter)
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await waiter
        except TimeoutError:
            if not self._closed and not self._trouble and self._following is not None:
                logger.warning("etcd's watch is silent, although there is news: watching anew")
                self._following.cancel()
                self._following = _start(self._follow(), "etcd follower")
            raise Unavailable(
                f"{self._trouble or 'etcd tells nothing new'}: what is known here is older than revision {revision}"
            ) from None
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    def _wake(self) -> None:
        """Let those go on whose revision is shown now."""
        reached = self._history.revision
        for revision, waiter in self._waiting:
            if revision <= reached and not waiter.done():
                waiter.set_result(None)
        if self._waiting:
            self._waiting = [item for item in self._waiting if not item[1].done()]

    async def _read_head(self, before: asyncio.Task[None] | None) -> None:
        """Ask etcd for the newest revision below the prefix, and wait until the mirror has it."""
        if before is not None:
            await asyncio.wait([before])
            self._reading, self._next_reading = self._next_reading, None
        elif self._next_reading is asyncio.current_task():
            self._reading, self._next_reading = self._next_reading, None
        try:
            answer = await self._client.range(self._keys.head)
        except (EtcdUnavailable, EtcdRefused) as error:
            raise Unavailable(f"etcd at {self._client.name}: {error}") from None
        await self._reached(max((int(kv["mod_revision"]) for kv in answer.get("kvs", [])), default=0))

    async def _compact_at_times(self) -> None:
        """Have etcd forget what is older than all servers' history; several servers do it without harm."""
        revision = 0
        while True:
            before, revision = revision, self._history.revision
            if before:
                try:
                    await self._client.compact(before)
                except (EtcdUnavailable, EtcdRefused) as error:
                    logger.warning("etcd was not compacted: %s", error)
            await asyncio.sleep(COMPACT_SECONDS)


def _start(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    """Log what ended a task that was to go on; a barrier's own failure reaches those who wait for it."""
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, StoreError):
        logger.error("%s has failed", task.get_name(), exc_info=error)
