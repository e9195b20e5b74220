"""Give each node that has joined from another machine addresses for its pods: spec.podCIDR and podCIDRs, once.

The nodes of the cluster's own machine come with theirs (local_nodes/addresses.py) and are left alone, as is every
Node that does not say how its machine is reached (`proa.local/overlay`). Watches and writes nodes. Follows
pkg/controller/nodeipam/ipam/range_allocator.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import NODES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

JOINED_ANNOTATION = "proa.local/overlay"
Ranges = tuple[str, ...]
"""The addresses of one node's pods, one range a family."""


def wants_range(node: Object | None) -> bool:
    """Tell whether a node waits for addresses."""
    if node is None or meta.is_deleting(node) or (node.get("spec") or {}).get("podCIDR"):
        return False
    return JOINED_ANNOTATION in meta.annotations(node)


def find_free(nodes: Iterable[Object], given: Collection[Ranges], ranges: Sequence[Ranges]) -> Ranges | None:
    """Return the first ranges that no node has and none was given; None where there are no more."""
    used = {cidr for node in nodes for cidr in ranges_of(node)}
    used |= {cidr for taken in given for cidr in taken}
    return next((one for one in ranges if not used & {*one}), None)


def ranges_of(node: Object) -> Ranges:
    """Return the ranges that a node has."""
    spec = node.get("spec") or {}
    return tuple(
        dict.fromkeys(
            (*((spec.get("podCIDR"),) if spec.get("podCIDR") else ()), *(spec.get("podCIDRs") or ()))
        )
    )


def _is_same(old: Object, new: Object) -> bool:
    return wants_range(old) == wants_range(new)


class NodeIpam:
    """`reconcile.protocol.Controller`; remembers what it has given until the cache shows it."""

    NAME = "node-ipam-controller"
    ACCOUNT = "node-controller"
    COMPONENT = "cidrAllocator"
    WATCHES = (Watch(NODES, ignores=_is_same),)

    def __init__(self) -> None:
        self._given: dict[Ranges, str] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Give the node `key.name` its addresses where it waits for some."""
        cache = context.caches(NODES)
        node = cache.get(key.name)
        if node is None or not wants_range(node):
            return DONE
        self._forget_what_shows(cache.list())
        if meta.uid(node) in self._given.values():
            return DONE  # the cache does not show it yet
        found = find_free(cache.list(), self._given, context.settings.pod_cidrs)
        if found is None:
            context.events.event(
                node, "Normal", "CIDRNotAvailable", f"Node {key.name} status is now: CIDRNotAvailable"
            )
            return Result(requeue_after=60.0)
        self._given[found] = meta.uid(node)
        try:
            body = {"spec": {"podCIDR": found[0], "podCIDRs": [*found]}}
            cache.wrote(await context.client.patch(NODES, key.name, body, patch_type=STRATEGIC_MERGE_PATCH))
        except NotFound:
            del self._given[found]
        except BaseException:
            del self._given[found]  # if it was written all the same, the cache will show it
            raise
        return DONE

    def _forget_what_shows(self, nodes: Iterable[Object]) -> None:
        by_uid = {meta.uid(node): ranges_of(node) for node in nodes}
        self._given = {given: uid for given, uid in self._given.items() if by_uid.get(uid, given) != given}
