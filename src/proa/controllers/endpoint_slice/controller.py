"""Keep each Service's EndpointSlices equal to the pods that it selects.

Watches services, pods, slices and nodes; writes slices. Follows upstream's
pkg/controller/endpointslice/endpointslice_controller.go and staging/src/k8s.io/endpointslice/reconciler.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.controllers.endpoint_slice.hints import is_asked_by_annotation, set_hints
from proa.controllers.endpoint_slice.offers import ZONE_LABEL, Known, Offers, collect
from proa.controllers.endpoint_slice.packing import (
    MANAGED_BY_LABEL,
    MANAGER,
    SERVICE_LABEL,
    Changes,
    pack,
)
from proa.controllers.endpoint_slice.topology import (
    DISABLED,
    ENABLED,
    is_overloaded,
    set_shares,
    shares_of,
)
from proa.objects import meta
from proa.objects.errors import ApiError, Forbidden, NotFound
from proa.objects.pods import node_name
from proa.objects.resource import ENDPOINT_SLICES, NODES, PODS, SERVICES
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch
from proa.reconcile.service_pods import (
    families_of,
    has_selector,
    is_same_for_services,
    keys_of_selecting_services,
    pods_behind,
)
from proa.reconcile.trigger_time import ANNOTATION, TriggerTimes


def _keys_of_slice(endpoint_slice: Object) -> Iterable[Key]:
    given = meta.labels(endpoint_slice)
    if given.get(MANAGED_BY_LABEL) == MANAGER and given.get(SERVICE_LABEL):
        yield Key(meta.namespace(endpoint_slice), given[SERVICE_LABEL])


def _is_same_topology(old: Object, new: Object) -> bool:
    zones = {meta.labels(node).get(ZONE_LABEL) for node in (old, new)}
    return len(zones) == 1 and meta.has_condition(old, "Ready") == meta.has_condition(new, "Ready")


class EndpointSlices:
    """A `reconcile.protocol.Controller`; it remembers which zones endpoints are meant for, and who waits for a node."""

    NAME = "endpoint-slice"
    ACCOUNT = "endpointslice-controller"

    def __init__(self) -> None:
        self.WATCHES = (
            Watch(SERVICES),
            Watch(PODS, find_keys=keys_of_selecting_services, ignores=is_same_for_services),
            Watch(ENDPOINT_SLICES, keys_of=_keys_of_slice),
            Watch(NODES, find_keys=self._keys_of_node, ignores=_is_same_topology),
        )
        self._hinted: dict[Key, dict[str, dict[str, int]]] = {}
        self._waiting: dict[Key, set[str]] = {}
        self._times = TriggerTimes()
        self._known: dict[Key, tuple[Object, dict[str, Known]]] = {}

    def _keys_of_node(self, node: Object, caches: Caches) -> Iterable[Key]:
        """Name the Services that wait for this node, and those whose shares do not fit the nodes any more."""
        yield from [key for key, names in self._waiting.items() if meta.name(node) in names]
        if not self._hinted:
            return
        shares = shares_of(caches(NODES).list())
        for key, families in self._hinted.items():
            if any(is_overloaded(counts, shares) for counts in families.values()):
                yield key

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring the slices of one Service to its pods; those of a Service that is gone go with their owner."""
        service = context.caches(SERVICES).get(key.name, key.namespace)
        if service is None:
            self._hinted.pop(key, None)
            self._waiting.pop(key, None)
            self._times.forget(key)
            self._known.pop(key, None)
            return DONE
        if not has_selector(service):
            return DONE
        pods = pods_behind(service, context.caches(PODS))
        existing = _find_slices(context, key)
        since = self._times.changed_since(key, service, pods)
        families = families_of(service)
        offers = self._collect(context, key, service, pods, families)
        try:
            unsupported = [found for found in existing if found["addressType"] not in families]
            await asyncio.gather(*(_delete(context, found) for found in unsupported))
            for family in families:
                wanted = {group: some for group, some in offers.endpoints.items() if group.family == family}
                of_family = [found for found in existing if found["addressType"] == family]
                changes = pack(service, family, wanted, of_family)
                self._set_hints(context, key, service, family, changes)
                await _apply(context, service, changes, since)
        except ApiError as error:
            _tell_failure(context, service, error.message)
            raise
        self._waiting.pop(key, None)
        if offers.homeless:
            self._waiting[key] = {node_name(pod) for pod in offers.homeless}
            _tell_failure(context, service, _words(service, offers.homeless[0]))
        return DONE

    def _collect(
        self, context: Context, key: Key, service: Object, pods: Sequence[Object], families: Sequence[str]
    ) -> Offers:
        """Work out what the pods offer, of those anew that have changed."""
        of, known = self._known.get(key, (None, {}))
        offers = collect(service, pods, families, context.caches(NODES).get, known if of is service else {})
        self._known[key] = (service, offers.known)
        return offers

    def _set_hints(self, context: Context, key: Key, service: Object, family: str, changes: Changes) -> None:
        """Say for whom each endpoint is meant: by the old annotation, or by trafficDistribution."""
        was_hinted = key in self._hinted
        if not is_asked_by_annotation(service):
            if was_hinted:
                del self._hinted[key]
                _tell_hints(context, service, "Warning", "TopologyAwareHintsDisabled", DISABLED, family)
            set_hints(service, changes)
            return
        outcome = set_shares(changes, shares_of(context.caches(NODES).list()))
        if outcome.counts is None:
            self._hinted.get(key, {}).pop(family, None)
            if not self._hinted.get(key):
                self._hinted.pop(key, None)
            _tell_hints(context, service, "Warning", "TopologyAwareHintsDisabled", outcome.failure, family)
            return
        self._hinted.setdefault(key, {})[family] = dict(outcome.counts)
        if not was_hinted:
            _tell_hints(context, service, "Normal", "TopologyAwareHintsEnabled", ENABLED, family)


def _find_slices(context: Context, key: Key) -> list[Object]:
    """Return the slices of ours that are said to be the Service's, those apart that are being deleted."""
    labelled = context.caches(ENDPOINT_SLICES).by_index("label", f"{SERVICE_LABEL}={key.name}")
    return [
        found
        for found in labelled
        if meta.namespace(found) == key.namespace
        and meta.labels(found).get(MANAGED_BY_LABEL) == MANAGER
        and not meta.is_deleting(found)
    ]


async def _apply(context: Context, service: Object, changes: Changes, since: str) -> None:
    """Write the changes. A Service that is being deleted gets no new slices: they would go at once."""
    create = [] if meta.is_deleting(service) else changes.create
    await asyncio.gather(
        *(_create(context, _at(made, since)) for made in create),
        *(context.client.update(ENDPOINT_SLICES, _at(changed, since)) for changed in changes.update),
        *(_delete(context, surplus) for surplus in changes.delete),
    )


def _at(endpoint_slice: Object, since: str) -> Object:
    """Return the slice with the time of what it follows, without one where nothing new is known."""
    metadata = endpoint_slice["metadata"]
    annotations = {key: value for key, value in meta.annotations(endpoint_slice).items() if key != ANNOTATION}
    if since:
        annotations[ANNOTATION] = since
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**endpoint_slice, "metadata": {**rest, "annotations": annotations} if annotations else rest}


async def _create(context: Context, made: Object) -> None:
    try:
        await context.client.create(ENDPOINT_SLICES, made, meta.namespace(made))
    except Forbidden as error:
        if not error.is_of_ending_namespace:
            raise


async def _delete(context: Context, surplus: Object) -> None:
    try:
        await context.client.delete(
            ENDPOINT_SLICES, meta.name(surplus), meta.namespace(surplus), uid=meta.uid(surplus)
        )
    except NotFound:
        return


def _words(service: Object, pod: Object) -> str:
    return (
        f"skipping Pod {meta.name(pod)} for Service {meta.key_of(service)}: Node {node_name(pod)} Not Found"
    )


def _tell_failure(context: Context, service: Object, why: str) -> None:
    message = f"Error updating Endpoint Slices for Service {meta.key_of(service)}: {why}"
    context.events.event(service, "Warning", "FailedToUpdateEndpointSlices", message)


def _tell_hints(context: Context, service: Object, type: str, reason: str, words: str, family: str) -> None:
    context.events.event(service, type, reason, f"{words}, addressType: {family}")
