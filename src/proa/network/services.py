"""Keep the data path equal to what Services and EndpointSlices say, one changed service at a time.

Watches services, endpointslices, and pods for their hostPorts; writes nothing but the node's data path (nftables.py or
userspace.py) and the host's NodePorts (hostports.py). Follows pkg/proxy/config and pkg/proxy/servicechangetracker.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from proa.client.protocol import Object
from proa.network import pod_ports
from proa.network.data_path import (
    SERVICE_NAME_LABEL,
    ServiceKey,
    ServicePort,
    is_offered_on_host,
    plan_service,
    service_of,
)
from proa.network.protocol import DataPathBackend
from proa.objects import meta
from proa.objects.pods import node_name
from proa.reconcile.informer import Informer

logger = logging.getLogger(__name__)

FIRST_BACK_OFF_SECONDS = 0.5
MAX_BACK_OFF_SECONDS = 30.0
ZONE_LABEL = "topology.kubernetes.io/zone"


class ServiceProxy:
    """One node's services, or with `node_name` "" those of all nodes: a traffic policy of Local then means any node.

    `excluded_addresses` are ClusterIPs that somebody else serves (the cluster's DNS). With `only_offered_on_host`
    services that nobody outside of the cluster reaches are left out. `nodes` tells the node's zone; without it there
    is none. `pods` are those whose hostPorts are served, as far as `is_here` says of their nodes that they are this
    machine's.
    """

    def __init__(
        self,
        services: Informer,
        slices: Informer,
        backends: Sequence[DataPathBackend],
        node_name: str,
        excluded_addresses: Collection[str] = (),
        *,
        nodes: Informer | None = None,
        pods: Informer | None = None,
        is_here: Callable[[str], bool] = lambda node: True,
        only_offered_on_host: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._services = services
        self._slices = slices
        self._backends = backends
        self._node_name = node_name
        self._excluded = frozenset(excluded_addresses)
        self._nodes = nodes
        self._pods = pods
        self._is_here = is_here
        self._only_offered_on_host = only_offered_on_host
        self._sleep = sleep
        self._applied: dict[ServiceKey, tuple[ServicePort, ...]] = {}
        self._changed: set[ServiceKey] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Clear what a previous run has left, and follow the informers from now on."""
        for backend in self._backends:
            await backend.start()
        self._services.listen(self._service_changed)
        self._slices.listen(self._slice_changed)
        if self._nodes is not None:
            self._nodes.listen(self._node_changed)
        if self._pods is not None:
            self._pods.listen(self._pod_changed)
        self._follow()

    async def renew(self) -> None:
        """Make the whole data path again: the node that had it is gone, and another in its place."""
        await self._end()
        for backend in self._backends:
            await backend.start()
        self._applied.clear()
        self._note_all()
        self._follow()

    async def stop(self) -> None:
        """Stop following, and take the data path away."""
        self._services.unlisten(self._service_changed)
        self._slices.unlisten(self._slice_changed)
        if self._nodes is not None:
            self._nodes.unlisten(self._node_changed)
        if self._pods is not None:
            self._pods.unlisten(self._pod_changed)
        await self._end()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for backend in self._backends:
            await backend.stop()

    def _follow(self) -> None:
        self._task = asyncio.create_task(self._run(), name="service proxy")

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        service = new or old or {}
        self._note(ServiceKey(meta.namespace(service), meta.name(service)))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for slice_ in (old, new):
            if slice_ is not None and (key := service_of(slice_)) is not None:
                self._note(key)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        node = new or old or {}
        if meta.name(node) == self._node_name and _zone_of(old) != _zone_of(new):
            self._note_all()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if pod_ports.takes_ports(new) or pod_ports.takes_ports(old):
            self._note(pod_ports.key_of(new or old or {}))

    def _note_all(self) -> None:
        for service in self._services.list():
            self._service_changed(None, service)
        for pod in self._pods.list() if self._pods is not None else ():
            self._pod_changed(None, pod)

    def _note(self, key: ServiceKey) -> None:
        self._changed.add(key)
        self._wake.set()

    async def _run(self) -> None:
        await self._services.wait_synced()
        await self._slices.wait_synced()
        if self._pods is not None:
            await self._pods.wait_synced()
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._changed = self._changed, set()
            try:
                await self._apply(self._plan(keys))
                failures = 0
            except Exception:
                logger.exception("data path not applied services=%d attempt=%d", len(keys), failures + 1)
                self._changed |= keys
                self._wake.set()
                await self._sleep(min(FIRST_BACK_OFF_SECONDS * 2.0**failures, MAX_BACK_OFF_SECONDS))
                failures = min(failures + 1, 10)

    def _plan(self, keys: set[ServiceKey]) -> dict[ServiceKey, tuple[ServicePort, ...]]:
        changes = {}
        for key in keys:
            ports = self._ports_of(key)
            if ports != self._applied.get(key, ()):
                changes[key] = ports
        return changes

    def _ports_of(self, key: ServiceKey) -> tuple[ServicePort, ...]:
        if key.name.startswith(pod_ports.PREFIX):
            name = key.name.removeprefix(pod_ports.PREFIX)
            pod = self._pods.get(name, key.namespace) if self._pods is not None else None
            is_here = pod is not None and self._is_here(node_name(pod))
            return pod_ports.plan_pod(pod, self._node_name) if is_here else ()
        service = self._services.get(key.name, key.namespace)
        if self._only_offered_on_host and not is_offered_on_host(service):
            return ()
        labelled = self._slices.by_index("label", f"{SERVICE_NAME_LABEL}={key.name}")
        slices = [slice_ for slice_ in labelled if meta.namespace(slice_) == key.namespace]
        zone = _zone_of(self._nodes.get(self._node_name)) if self._nodes is not None else ""
        ports = plan_service(service, slices, self._node_name, zone)
        return tuple(port for port in ports if not self._excluded & {*port.addresses})

    async def _apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        if not changes:
            return
        for backend in self._backends:
            await backend.apply(changes)
        for key, ports in changes.items():
            if ports:
                self._applied[key] = ports
            else:
                self._applied.pop(key, None)


def _zone_of(node: Object | None) -> str:
    return meta.labels(node).get(ZONE_LABEL, "") if node is not None else ""
