"""Give pods the devices that their ResourceClaims ask for (plugins/dynamicresources).

A claim without devices gets them on the node where its pod goes: each node is asked whether it has what all claims of
the pod ask (dynamic_resources_allocator.py); on the one that is chosen the devices count as taken at once, and are
written to the claim before the pod is bound. A claim that has devices keeps its pods to the nodes that reach them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Coroutine, Hashable, Mapping, Sequence
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict
from proa.objects.node_selectors import selects
from proa.objects.resource import RESOURCE_CLAIMS
from proa.objects.resource_claims import (
    FINALIZER,
    allocation_of,
    can_be_reserved,
    claim_names,
    consumer,
    consumers_of,
    is_reserved_for,
    is_waiting_for_claims,
    not_for_pod,
    pod_claims,
)
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Code, Event, Status
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins.dynamic_resources_effort import Effort
from proa.scheduler.plugins.dynamic_resources_ledger import ledger_of
from proa.scheduler.pod_info import PodInfo

logger = logging.getLogger(__name__)

ELSEWHERE = "resourceclaim not available on the node"
ATTEMPTS = 5
"""How often a claim is read again that somebody else has changed meanwhile."""


class ClaimFacts:
    """A pod's claims, and at which point of the account they were read: equal where `key`, which says all of it, is."""

    __slots__ = ("claims", "effort", "key")

    def __init__(self, key: Hashable, claims: tuple[Object, ...]) -> None:
        self.key = key
        self.claims = claims
        self.effort = Effort()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClaimFacts) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def to_allocate(self) -> list[Object]:
        """Return those that have no devices yet."""
        return [claim for claim in self.claims if allocation_of(claim) is None]


class DynamicResources:
    """See the module's docstring."""

    NAME = "DynamicResources"
    HELPED_BY = frozenset(
        {
            Event.NODE_ADDED,
            Event.NODE_LABELS,
            Event.RESOURCE_CLAIM_CHANGED,
            Event.RESOURCE_SLICE_CHANGED,
            Event.DEVICE_CLASS_CHANGED,
        }
    )
    DEPENDS_ON_PODS = False

    def __init__(self, client: Client, informers: InformerFactory) -> None:
        self._client = client
        self._ledger = ledger_of(informers)

    def pre_enqueue(self, pod: Object) -> Status | None:
        """Keep a pod back until its claims have been made, which its status tells."""
        if is_waiting_for_claims(pod):
            return self._refuse(f'pod "{meta.key_of(pod)}": ResourceClaim not created yet')
        return None

    def pre_filter(self, pod: PodInfo) -> Status | Hashable:
        """Refuse a pod whose claims are missing, going, somebody else's, in use, or of a class that is not there."""
        if not pod_claims(pod.pod):
            return None
        claims: list[Object] = []
        for name, is_own in claim_names(pod.pod):
            claim = self._ledger.claims.get(name, pod.namespace)
            if claim is None:
                return self._refuse(f'resourceclaim "{name}" not found')
            if meta.is_deleting(claim):
                return self._refuse(f'resourceclaim "{name}" is being deleted')
            if is_own and (why := not_for_pod(pod.pod, claim)):
                return self._refuse(why)
            if why := self._why_not(pod.pod, claim):
                return self._refuse(why)
            claims.append(claim)
        if not claims:
            return None
        versions = tuple((meta.uid(claim), meta.resource_version(claim)) for claim in claims)
        return ClaimFacts((versions, self._ledger.version), tuple(claims))

    def _why_not(self, pod: Object, claim: Object) -> str:
        """Return why a claim is of no use to a pod now."""
        if allocation_of(claim) is not None:
            is_ours = can_be_reserved(claim) or is_reserved_for(claim, pod)
            return "" if is_ours else "resourceclaim in use"
        if self._ledger.is_pending(claim):
            return f"resource claim {meta.key_of(claim)} is in the process of being allocated"
        for request in (claim["spec"].get("devices") or {}).get("requests") or ():
            name, alternatives = request["name"], request.get("firstAvailable") or ()
            asked = {f"{name}/{sub['name']}": sub for sub in alternatives} or {name: request["exactly"]}
            for asker, spec in asked.items():
                if not self._ledger.has_class(spec["deviceClassName"]):
                    return f"request {asker}: device class {spec['deviceClassName']} does not exist"
        return ""

    def concerns(self, pod: PodInfo, facts: Hashable) -> bool:
        """Tell whether the pod has claims."""
        return facts is not None

    def filter(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Refuse a node that has not what the claims ask, or does not reach what they have."""
        if not isinstance(facts, ClaimFacts):
            return None
        from proa.scheduler.plugins.dynamic_resources_allocator import AllocationError

        try:
            if facts.to_allocate and self._allocate(facts.to_allocate, node, facts.effort) is None:
                return self._refuse("cannot allocate all claims")
        except AllocationError as error:
            return self._refuse(str(error))
        selectors = [(allocation_of(claim) or {}).get("nodeSelector") for claim in facts.claims]
        if not all(selector is None or selects(selector, node.node) for selector in selectors):
            return self._refuse(ELSEWHERE)
        return None

    def _allocate(self, claims: Sequence[Object], node: NodeInfo, effort: Effort) -> list[Object] | None:
        from proa.scheduler.plugins.dynamic_resources_allocator import allocate

        ledger = self._ledger
        pools = ledger.pools_for(node.name)
        return allocate(claims, node.node, pools, ledger.taken, ledger.classes, ledger.matches, effort)

    def post_filter(
        self, pod: PodInfo, reasons: Collection[str]
    ) -> tuple[str, Coroutine[Any, Any, None] | None]:
        """Free a claim of the pod that nodes do not reach, where nobody else uses it: it may be had elsewhere."""
        if not pod_claims(pod.pod):
            return "no new claims to deallocate", None
        for name, _ in claim_names(pod.pod) if ELSEWHERE in reasons else ():
            claim = self._ledger.claims.get(name, pod.namespace)
            if claim is None or not (allocation_of(claim) or {}).get("nodeSelector"):
                continue
            if all(each["uid"] == pod.uid for each in consumers_of(claim)):
                return "deallocation of ResourceClaim completed", self._free(claim)
        return "still not schedulable", None

    async def _free(self, claim: Object) -> None:
        status = {
            key: value for key, value in claim["status"].items() if key not in ("allocation", "reservedFor")
        }
        try:
            freed = await self._client.update(RESOURCE_CLAIMS, {**claim, "status": status}, "status")
        except ApiError as error:  # it has changed, which has the pod tried again
            logger.info("claim not freed claim=%s error=%s", meta.key_of(claim), error)
            return
        self._ledger.claims.wrote(freed)

    def reserve(self, pod: PodInfo, node: NodeInfo, facts: Hashable) -> Status | None:
        """Count devices of the chosen node as taken, by what is free now; return why that cannot be."""
        if not isinstance(facts, ClaimFacts):
            return None
        from proa.scheduler.plugins.dynamic_resources_allocator import AllocationError

        claims = facts.to_allocate
        if any(self._ledger.is_pending(claim) for claim in claims):
            return self._refuse("resourceclaim in use")
        try:
            found = self._allocate(claims, node, Effort()) if claims else []
        except AllocationError as error:
            return self._refuse(str(error))
        if found is None:
            return self._refuse("cannot allocate all claims")
        for claim, allocation in zip(claims, found, strict=True):
            self._ledger.reserve(claim, allocation, pod.uid)
        return None

    def unreserve(self, pod: PodInfo, facts: Hashable) -> None:
        """Give back what was counted as taken and has not been written."""
        if isinstance(facts, ClaimFacts):
            for claim in facts.to_allocate:
                self._ledger.settle(claim, pod.uid)

    async def pre_bind(self, pod: PodInfo, node_name: str, facts: Hashable) -> None:
        """Write devices and the pod as their user to the claims; raise ApiError."""
        if not isinstance(facts, ClaimFacts):
            return
        for claim in facts.claims:
            if not is_reserved_for(claim, pod.pod):
                written = await self._write(pod.pod, claim, self._ledger.pending(claim, pod.uid))
                self._ledger.claims.wrote(written)
            self._ledger.settle(claim, pod.uid)

    async def _write(self, pod: Object, claim: Object, allocation: Object | None) -> Object:
        for attempt in range(ATTEMPTS):
            if attempt:
                claim = await self._client.get(RESOURCE_CLAIMS, meta.name(claim), meta.namespace(claim))
            try:
                return await self._try_to_write(pod, claim, allocation)
            except Conflict:  # somebody else wrote it: the newest is read
                continue
        raise ApiError(f"claim {meta.key_of(claim)} keeps changing")

    async def _try_to_write(self, pod: Object, claim: Object, allocation: Object | None) -> Object:
        if meta.is_deleting(claim):
            raise ApiError(f"claim {meta.key_of(claim)} got deleted in the meantime")
        status: Mapping[str, object] = claim.get("status") or {}
        if allocation is not None:
            if allocation_of(claim) is not None:
                raise ApiError(f"claim {meta.key_of(claim)} got allocated elsewhere in the meantime")
            if FINALIZER not in meta.finalizers(claim):
                metadata = {**claim["metadata"], "finalizers": [*meta.finalizers(claim), FINALIZER]}
                claim = await self._client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
            status = {**status, "allocation": allocation}
        status = {**status, "reservedFor": [*consumers_of(claim), consumer(pod)]}
        return await self._client.update(RESOURCE_CLAIMS, {**claim, "status": status}, "status")

    def can_help(self, pod: PodInfo, event: Event, old: Object | None, new: Object | None) -> bool:
        """Tell whether a change matters to a pod with claims: devices that are free again, or its own claims."""
        if event is not Event.RESOURCE_CLAIM_CHANGED:
            return True
        if old is not None and allocation_of(old) is not None and allocation_of(new or {}) is None:
            return True
        claim = new or old or {}
        names = {name for name, _ in claim_names(pod.pod)}
        return meta.namespace(claim) == pod.namespace and meta.name(claim) in names

    def _refuse(self, reason: str) -> Status:
        return Status(Code.UNRESOLVABLE, self.NAME, (reason,))
