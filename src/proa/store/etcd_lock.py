"""See that one server alone writes below a prefix of etcd, or several that know of one another: never both.

The lock is a key with a lease that its server renews. Every write compares the revision at which the key was made,
so that a server which lost it can never write again, even one that was cut off and comes back. A server that wants to
be alone has one key for all, and none may be there of those that share; these have a key each. The same owner (a home,
which has a lock file of its own) takes over from its last server at once; another one has to wait until the lease has
ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time

from proa.store.etcd_client import EtcdClient, EtcdRefused, EtcdUnavailable, Json, decode, encode, revision_of
from proa.store.etcd_format import KeySpace
from proa.store.protocol import CannotOpen

LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
TAKEN = "another server uses this part of etcd now"
SHARE = "Several API servers may share one: `proa apiserver`"

logger = logging.getLogger(__name__)


class ServerLock:
    """The lock, once taken. `lost` says why it is no longer ours; `is_shared` whether other servers write too."""

    def __init__(self, client: EtcdClient, keys: KeySpace, owner: str, *, is_shared: bool) -> None:
        """Use `take`."""
        self.lost = ""
        self.is_shared = is_shared
        self._client = client
        self._keys = keys
        self._key = keys.sharer(owner) if is_shared else keys.server
        self._owner = owner
        self._lease = self._revision = 0
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def take(
        cls, client: EtcdClient, keys: KeySpace, owner: str, *, is_shared: bool = False
    ) -> ServerLock:
        """Take the lock; raise CannotOpen where another owner has it, or others of the other sort are there."""
        lock = cls(client, keys, owner, is_shared=is_shared)
        await lock._take()
        return lock

    async def _take(self) -> None:
        client, key, owner = self._client, self._key, self._owner
        lease = await client.grant_lease(LEASE_SECONDS)
        value = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid()}
        put: Json = {
            "request_put": {
                "key": encode(key),
                "value": encode(json.dumps(value).encode()),
                "lease": str(lease),
            }
        }
        found = (await client.range(key)).get("kvs", [])
        if found and (holder := _holder(found[0])).get("owner") != owner:
            raise CannotOpen(
                f"a server ({_where(holder)}) uses this part of etcd at {client.name} alone: stop it first, or give "
                f"this cluster a prefix of its own: etcd://…/another. {SHARE}"
            )
        known = found[0]["mod_revision"] if found else "0"
        compare: Json = {"key": encode(key), "target": "MOD", "mod_revision": known, "result": "EQUAL"}
        answer = await client.transact([compare, await self._without_others()], [put], [])
        if not answer.get("succeeded"):
            raise CannotOpen(f"{TAKEN} ({client.name}): another one has just been started")
        self._lease, self._revision = lease, revision_of(answer)

    async def _without_others(self) -> Json:
        """Return what is so while none are there of the other sort; raise CannotOpen where there are."""
        keys = self._keys
        begin, end = (keys.server, b"") if self.is_shared else (keys.sharers, keys.sharers_end)
        found = (await self._client.range(begin, end)).get("kvs", [])
        if found and self.is_shared:
            raise CannotOpen(
                f"a cluster ({_where(_holder(found[0]))}) has this part of etcd at {self._client.name} for itself "
                "alone, as `proa up` does: stop it first, or take another prefix: etcd://…/another"
            )
        if found:
            who = "; ".join(_where(_holder(kv)) for kv in found)
            raise CannotOpen(
                f"API servers share this part of etcd at {self._client.name} ({who}), and `proa up` has its own for "
                f"itself alone: stop them first (one that was killed counts for {LEASE_SECONDS} s more), or take "
                "another prefix: etcd://…/another"
            )
        none: Json = {"key": encode(begin), "target": "MOD", "mod_revision": "0", "result": "EQUAL"}
        return {**none, "range_end": encode(end)} if end else none

    def condition(self) -> Json:
        """Return what each write compares: the key is still the one that we wrote."""
        return {
            "key": encode(self._key),
            "target": "MOD",
            "mod_revision": str(self._revision),
            "result": "EQUAL",
        }

    def keep(self) -> None:
        """Renew the lease from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="etcd lock")

    async def check(self) -> None:
        """Find out whether the lock is still ours, after a write was not taken; one that nobody has is taken again."""
        try:
            found = (await self._client.range(self._key)).get("kvs", [])
            if not found:
                logger.warning(
                    "etcd's lock had ended (this machine slept, or etcd was out of reach): taking it again"
                )
                await self._take()
            elif int(found[0]["mod_revision"]) != self._revision:
                self._lose()
        except CannotOpen:
            self._lose()
        except EtcdUnavailable as error:
            logger.warning("etcd's lock cannot be read: %s", error)

    async def release(self) -> None:
        """Let others have it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._client.revoke_lease(self._lease)
        except (EtcdUnavailable, EtcdRefused) as error:
            logger.info("etcd's lock ends by itself in %d s: %s", LEASE_SECONDS, error)

    async def _keep(self) -> None:
        renewed = time.monotonic()
        while not self.lost:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await self._client.keep_lease(self._lease):
                    await self.check()
                renewed = time.monotonic()
            except EtcdUnavailable as error:
                logger.warning(
                    "etcd's lock was not renewed for %.0f s: %s", time.monotonic() - renewed, error
                )
            except EtcdRefused as error:
                logger.error("etcd's lock cannot be renewed: %s", error)
                self._lose()

    def _lose(self) -> None:
        if not self.lost:
            self.lost = f"{TAKEN}: this one is read-only; stop one of them and restart the other"
            logger.critical("%s", self.lost)


def _holder(kv: Json) -> Json:
    try:
        holder = json.loads(decode(kv.get("value", "")))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _where(holder: Json) -> str:
    return f"pid {holder.get('pid', 'unknown')} on {holder.get('host', 'another host')}"
