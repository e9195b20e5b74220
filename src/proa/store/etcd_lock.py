"""See that only one owner's server writes below a prefix of etcd, even one that was cut off and comes back.

The lock is a key with a lease that its server renews. Every write compares the revision at which the key was made,
so that a server which lost it can never write again. The same owner (a home, which has a lock file of its own) takes
over from its last server at once; another one has to wait until the lease has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time

from proa.store.etcd_client import EtcdClient, EtcdRefused, EtcdUnavailable, Json, decode, encode, revision_of
from proa.store.protocol import CannotOpen

LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
TAKEN = "another server uses this part of etcd now"

logger = logging.getLogger(__name__)


class ServerLock:
    """The lock, once taken. `lost` says why it is no longer ours."""

    def __init__(self, client: EtcdClient, key: bytes, owner: str) -> None:
        """Use `take`."""
        self.lost = ""
        self._client = client
        self._key = key
        self._owner = owner
        self._lease = self._revision = 0
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def take(cls, client: EtcdClient, key: bytes, owner: str) -> ServerLock:
        """Take the lock; raise CannotOpen where another owner has it."""
        lock = cls(client, key, owner)
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
        if found:
            holder = _holder(decode(found[0].get("value", "")))
            if holder.get("owner") != owner:
                raise CannotOpen(
                    f"a server on {holder.get('host', 'another host')} (pid {holder.get('pid', 'unknown')}) uses this "
                    f"part of etcd at {client.name}: stop it first, or give this cluster a prefix of its own: "
                    "etcd://…/another"
                )
        known = found[0]["mod_revision"] if found else "0"
        compare: Json = {"key": encode(key), "target": "MOD", "mod_revision": known, "result": "EQUAL"}
        answer = await client.transact([compare], [put], [])
        if not answer.get("succeeded"):
            raise CannotOpen(f"{TAKEN} ({client.name}): another one has just been started")
        self._lease, self._revision = lease, revision_of(answer)

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


def _holder(value: bytes) -> Json:
    try:
        holder = json.loads(value)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}
