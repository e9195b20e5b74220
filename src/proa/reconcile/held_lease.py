"""Hold a lease without contending for it: for who knows by other means that it is the only one of its kind.

`proa up` has a lock on its store, so no other runs there, but `proa controllers` may stand by beside it. The lease says
that it lasts for ever and is written once, so that holding it costs nothing; contenders of any kind respect it.
"""

from __future__ import annotations

from proa.client.protocol import Client, Object
from proa.objects.errors import NotFound
from proa.objects.meta import format_micro_time, parse_time
from proa.objects.resource import LEASES
from proa.reconcile.leader_election import Lock, Seen, released

FOR_GOOD_SECONDS = 2**31 - 1


class LedElsewhere(Exception):
    """Somebody else holds the lease, and has renewed it lately; the message says who."""


async def hold_for_good(client: Client, lock: Lock, now: float) -> None:
    """Take a lease and keep it; what an earlier one has held for good is taken over. Raise LedElsewhere, ApiError."""
    try:
        seen = Seen(await client.get(LEASES, lock.name, lock.namespace), 0)
    except NotFound:
        metadata = {"name": lock.name, "namespace": lock.namespace}
        lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
        await client.create(LEASES, {**lease, "spec": _held({}, lock, now)}, lock.namespace)
        return
    spec = seen.spec
    if not _is_for_good(spec):
        age = now - parse_time(spec["renewTime"]) if spec.get("renewTime") else 0
        if seen.holder and age < spec.get("leaseDurationSeconds", 0):
            where = f"{lock.namespace}/{lock.name}"
            raise LedElsewhere(f"{seen.holder} holds the lease {where}, renewed {max(0, age):.0f} s ago")
    if not _is_for_good(spec) or seen.holder != lock.identity:
        await client.update(LEASES, {**seen.lease, "spec": _held(spec, lock, now)})


async def let_go(client: Client, lock: Lock, now: float) -> None:
    """Let others contend for a lease that was held for good; raise ApiError."""
    try:
        seen = Seen(await client.get(LEASES, lock.name, lock.namespace), 0)
    except NotFound:
        return
    if seen.holder and _is_for_good(seen.spec):
        await client.update(LEASES, {**seen.lease, "spec": released(seen, now)})


def _is_for_good(spec: Object) -> bool:
    return bool(spec.get("leaseDurationSeconds") == FOR_GOOD_SECONDS)


def _held(spec: Object, lock: Lock, now: float) -> Object:
    written = format_micro_time(now)
    return {
        "holderIdentity": lock.identity,
        "leaseDurationSeconds": FOR_GOOD_SECONDS,
        "acquireTime": written,
        "renewTime": written,
        "leaseTransitions": spec["leaseTransitions"] + 1 if "leaseTransitions" in spec else 0,
    }
