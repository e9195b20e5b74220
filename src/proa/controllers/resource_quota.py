"""Keep the status of every ResourceQuota true: what is used of it in its namespace.

Watches quotas, pods, services and claims; writes quotas' status. Everything else that a quota may count is asked for
again every few seconds, by a list of one object that says how many remain. Admission charges a quota before an object
is there, so a quota that was just written is not lowered for a moment. Follows upstream's pkg/controller/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.objects import meta, quota
from proa.objects.errors import Conflict, NotFound
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES, Resource
from proa.reconcile.discovery import discover
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "resourcequota"
CACHED = (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS)
ASK_AGAIN_SECONDS = 5.0
CHARGE_SECONDS = 1.0
"""So long an object may be under way after admission has charged it."""


def _quotas_of_namespace(obj: Object, caches: Caches) -> Iterable[Key]:
    found = caches(RESOURCE_QUOTAS).list(meta.namespace(obj))
    return [Key(meta.namespace(q), meta.name(q)) for q in found]


class Plan(NamedTuple):
    """The status to write, if any; or how long to wait before it may be lowered."""

    status: Object | None = None
    wait_seconds: float = 0.0


def plan(each: Object, used: Mapping[str, str], age_seconds: float) -> Plan:
    """Compare a quota's status with what is `used`, of which there is an amount for each name in spec.hard.

    `age_seconds` is how long the quota has been seen as it is.
    """
    hard = {n: canonicalize(a) for n, a in ((each.get("spec") or {}).get("hard") or {}).items()}
    status = each.get("status") or {}
    wanted = {"hard": hard, "used": {name: used[name] for name in hard}}
    if status == wanted:
        return Plan()
    told = status.get("used") or {}
    is_lower = any(
        n in told and parse_quantity(told[n]) > parse_quantity(a) for n, a in wanted["used"].items()
    )
    if is_lower and age_seconds < CHARGE_SECONDS:
        return Plan(wait_seconds=CHARGE_SECONDS - age_seconds)
    return Plan(status=wanted)


class ResourceQuotaController:
    """Remembers since when it has seen each quota as it is."""

    NAME = NAME
    WATCHES = (
        Watch(RESOURCE_QUOTAS),
        *(Watch(resource, find_keys=_quotas_of_namespace) for resource in CACHED),
    )

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[str, float]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Count, and write the status where it is another."""
        each = context.caches(RESOURCE_QUOTAS).get(key.name, key.namespace)
        if each is None:
            self._seen.pop(key, None)
            return DONE
        age = self._age(key, meta.resource_version(each), context.now())
        hard = (each.get("spec") or {}).get("hard") or {}
        used = dict.fromkeys(hard, "0") | self._used_by_cached(context, each, hard)
        others = [name for name in hard if not any(quota.tracked(r, (name,)) for r in CACHED)]
        used |= await _count(context.client, key.namespace, others)
        decided = plan(each, used, age)
        if decided.status is not None:
            try:
                await context.client.update(RESOURCE_QUOTAS, {**each, "status": decided.status}, "status")
            except (Conflict, NotFound):
                return DONE  # the change that it lost against brings it here again
        return Result(requeue_after=decided.wait_seconds or (ASK_AGAIN_SECONDS if others else 0.0))

    def _age(self, key: Key, version: str, now: float) -> float:
        seen = self._seen.get(key)
        if seen is None or seen[0] != version:
            seen = self._seen[key] = (version, now)
        return now - seen[1]

    def _used_by_cached(self, context: Context, each: Object, hard: Mapping[str, str]) -> dict[str, str]:
        used: dict[str, str] = {}
        now = context.now()
        for resource in CACHED:
            names = set(quota.tracked(resource, hard))
            if not names:
                continue
            for obj in context.caches(resource).by_index("namespace", meta.namespace(each)):
                if quota.is_in_scope(each, resource, obj):
                    usage = quota.usage_of(resource, obj, now)
                    used = quota.add(used, {name: amount for name, amount in usage.items() if name in names})
        return used


async def _count(client: Client, namespace: str, names: Iterable[str]) -> dict[str, str]:
    """Return how many objects there are of what `names` count; nothing about what no resource is known for."""
    counted = {}
    served: dict[str, Resource] | None = None
    for name in names:
        if served is None:
            served = {r.qualified_name: r for r, _ in (await discover(client)).served if r.namespaced}
        resource = served.get(name.removeprefix("count/"))
        is_countable = name.startswith("count/") or name in quota.COUNTED_BY_NAME
        if resource is not None and is_countable:
            answer = await client.request("GET", f"{resource.path(namespace)}?limit=1")
            rest = (answer.get("metadata") or {}).get("remainingItemCount") or 0
            counted[name] = str(len(answer.get("items") or ()) + rest)
    return counted
