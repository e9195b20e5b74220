"""Keep in the store, which judges who was first, whose each ClusterIP and node port is.

An address is claimed by creating its IPAddress object, a port by creating a record of its own. Where no other process
writes to the store, a claim and the object that it is for become durable together; where others do, the claim comes
first. What a crash leaves without an owner is given back later, and what older servers have left without a claim is its
owner's all the same. Follows upstream's pkg/registry/core/service/ipallocator (ipallocator.go, controller/repairip.go)
and portallocator/controller/repair.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import orjson

from proa.client.protocol import Object
from proa.objects.ip_addresses import is_allocated, service_of
from proa.objects.meta import format_time, parse_time
from proa.objects.quick_dataclass import dataclass
from proa.store.protocol import Entry, RevisionMismatch, Store, StoreError

ADDRESSES = "/registry/networking.k8s.io/ipaddresses/"
PORTS = "/registry/ranges/servicenodeports/"
LEAK_SECONDS = 60.0
"""So old must a claim be whose owner is not there: no request takes longer (upstream's figure too)."""

Written = TypeVar("Written")
logger = logging.getLogger(__name__)


class Owner(NamedTuple):
    """The Service that something belongs to."""

    namespace: str
    name: str


class Holding(NamedTuple):
    """The addresses and node ports that an object has."""

    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    def claims(self) -> list[str]:
        """Return the claims that say so, by their keys in the store."""
        return [*(ADDRESSES + address for address in self.addresses), *(f"{PORTS}{p}" for p in self.ports)]


@dataclass(eq=False, slots=True)
class Claim:
    """One that a request under way writes."""

    key: str
    owner: Owner
    writing: asyncio.Task[Entry] | None = None


class Claims:
    """All that are in a store. `make_address(address, owner)` returns the IPAddress object that is stored."""

    def __init__(
        self, store: Store, make_address: Callable[[str, Owner], Object], now: Callable[[], float]
    ) -> None:
        self._store = store
        self._make_address = make_address
        self._now = now
        self._pending: set[str] = set()
        """What requests under way here are about to have."""
        self._unclaimed: dict[str, Owner] = {}
        """What stored objects have without a claim."""
        self._leaked: dict[str, int] = {}
        """Claims whose owner is not there, at these revisions."""
        self._removals: set[asyncio.Task[None]] = set()

    # For one write of an object.

    def is_free(self, key: str) -> bool:
        """Tell whether nobody has, or is about to have, what a claim is for."""
        if key in self._pending or key in self._unclaimed:
            return False
        entry = self._store.latest(key)
        return entry is None or self._leaked.get(key) == entry.revision

    async def take(self, key: str, owner: Owner, taken: list[Claim]) -> bool:
        """Claim, and note it in `taken`; return False where somebody else has it. Raise what the store says."""
        if not self.is_free(key):
            return False
        claim, leaked = Claim(key, owner), self._store.latest(key)
        self._pending.add(key)
        taken.append(claim)
        found = leaked.revision if leaked is not None else 0
        write = self._store.put(key, self._encoder(key, owner), expected_revision=found)
        claim.writing = asyncio.get_running_loop().create_task(write)
        try:
            await self._judged(claim.writing)
        except RevisionMismatch:  # another server was faster
            taken.remove(claim)
            self._pending.discard(key)
            return False
        return True

    async def keep(self, claim: Claim, owner: Owner) -> None:
        """The object is stored, as `owner`: see the claim through; where that fails it is taken all the same."""
        assert claim.writing is not None
        try:
            entry = await asyncio.shield(claim.writing)
            if owner != claim.owner:  # its generated name was taken
                await self._store.put(
                    claim.key, self._encoder(claim.key, owner), expected_revision=entry.revision
                )
        except StoreError as error:
            logger.warning("not claimed yet: %s error=%s", claim.key, error)
            self._unclaimed[claim.key] = owner
        self._pending.discard(claim.key)

    async def undo(self, claim: Claim) -> None:
        """The object is not stored: take the claim back, whatever has become of it."""
        if claim.writing is not None:
            await asyncio.wait([claim.writing])
            if not claim.writing.cancelled() and claim.writing.exception() is None:
                await self.give_back([claim.key], claim.owner)
        self._pending.discard(claim.key)

    def leave(self, claim: Claim) -> None:
        """Nobody knows whether the object is stored: whether the claim is to go is found out later (`look`)."""
        self._pending.discard(claim.key)

    async def give_back(self, keys: Iterable[str], owner: Owner) -> None:
        """Remove the claims to what an owner has no more; those that cannot be removed now are found later."""
        await asyncio.gather(*(self._remove(key, owner) for key in keys))

    async def remove_with(self, deletion: Coroutine[Any, Any, Entry], keys: list[str], owner: Owner) -> Entry:
        """Delete an object, and the claims to what it had; raise what the deletion raises."""
        loop = asyncio.get_running_loop()
        deleting = loop.create_task(deletion)
        await self._judged(deleting)
        removals = [loop.create_task(self._remove(key, owner)) for key in keys]
        if self._store.is_shared:
            await asyncio.gather(*removals)
        else:  # they are accepted, so that what they stood for is free, and nobody waits for the disk
            self._removals.update(removals)
            for removal in removals:
                removal.add_done_callback(self._removals.discard)
            await asyncio.sleep(0)
        return await deleting

    async def _judged(self, task: asyncio.Task[Written]) -> None:
        """Return once a write is judged where nobody else writes, else once it is done; raise its refusal."""
        if self._store.is_shared:
            await asyncio.shield(task)
            return
        await asyncio.sleep(0)
        if task.done():
            task.result()

    async def _remove(self, key: str, owner: Owner) -> None:
        self._unclaimed.pop(key, None)
        entry = self._store.latest(key)
        if entry is None or owner_of(key, entry.value) != owner:
            return
        try:
            await self._store.delete(key, expected_revision=entry.revision)
        except RevisionMismatch:
            return
        except StoreError as error:
            logger.warning("not given back: %s error=%s", key, error)

    def _encoder(self, key: str, owner: Owner) -> Callable[[int], bytes]:
        if key.startswith(PORTS):
            record = orjson.dumps({**owner._asdict(), "created": format_time(self._now())})
            return lambda revision: record
        obj = self._make_address(key.removeprefix(ADDRESSES), owner)

        def encode(revision: int) -> bytes:
            obj["metadata"]["resourceVersion"] = str(revision)
            return orjson.dumps(obj)

        return encode

    # For all of them, at start and now and then.

    def look(self, holdings: Iterable[tuple[Owner, Holding]]) -> None:
        """Find out what stored objects have without a claim, and which claims have no object."""
        owners: dict[str, Owner] = {}
        for owner, holding in holdings:
            for key in holding.claims():
                if owners.setdefault(key, owner) != owner:
                    logger.error("%s belongs to %s/%s and to %s/%s", key, *owners[key], *owner)
        self._unclaimed = {key: owner for key, owner in owners.items() if self._store.latest(key) is None}
        claimed = len(owners) - len(self._unclaimed)
        if claimed == self._store.count(ADDRESSES) + self._store.count(PORTS):
            self._leaked = {}
        else:
            entries = [entry for prefix in (ADDRESSES, PORTS) for entry in self._store.range(prefix).entries]
            self._leaked = dict(self._find_leaked(entries, owners))

    def _find_leaked(self, entries: Iterable[Entry], owners: dict[str, Owner]) -> Iterator[tuple[str, int]]:
        """Yield what cannot be a claim of a request under way, and has no owner."""
        for entry in entries:
            if entry.key in owners or entry.key in self._pending:
                continue
            created = created_at(entry.key, entry.value)
            if created and (not self._store.is_shared or self._now() - parse_time(created) > LEAK_SECONDS):
                yield entry.key, entry.revision

    async def repair(self) -> None:
        """Do what `look` has found to be done; raise StoreError."""
        for key, owner in [*self._unclaimed.items()]:
            with suppress(RevisionMismatch):  # another server has done it
                await self._store.put(key, self._encoder(key, owner), expected_revision=0)
            self._unclaimed.pop(key, None)
        for key, revision in [*self._leaked.items()]:
            try:
                await self._store.delete(key, expected_revision=revision)
            except RevisionMismatch:  # it has an owner by now
                pass
            else:
                logger.warning("a claim without an owner is given back: %s", key)
            self._leaked.pop(key, None)


def owner_of(key: str, value: bytes) -> Owner | None:
    """Return whose a claim is; None where it is no Service's."""
    record = orjson.loads(value)
    if key.startswith(PORTS):
        return Owner(record["namespace"], record["name"])
    found = service_of(record)
    return Owner(*found) if found is not None else None


def created_at(key: str, value: bytes) -> str:
    """Return when a claim was made; "" for an IPAddress that somebody else has made."""
    record = orjson.loads(value)
    if key.startswith(PORTS):
        return str(record["created"])
    return str(record["metadata"]["creationTimestamp"]) if is_allocated(record) else ""
