"""Keep the proxy equal to what Ingresses, Gateways, routes, Secrets and EndpointSlices say; say what became of them.

Watches these and Services, Namespaces, ReferenceGrants and CustomResourceDefinitions; writes statuses, Events, and the
Service by which pods reach the proxy. A change of endpoints alone is told at once; anything else has all
planned anew, in a thread beside the server's and at most a fifth of the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from proa.client.protocol import Client, Object
from proa.network.data_path import Endpoint, service_of
from proa.network.gateway import statuses
from proa.network.gateway.admin import AdminError
from proa.network.gateway.backends import endpoints_of
from proa.network.gateway.caches import Caches
from proa.network.gateway.certificates import Certificate, make_default_certificate, read_certificate
from proa.network.gateway.envoy import EnvoyFailed, EnvoyMissing
from proa.network.gateway.exposure import plan_exposure
from proa.network.gateway.gateways import CLASS_NAME, make_gateway_class
from proa.network.gateway.ingress import DEFAULT_CERTIFICATE
from proa.network.gateway.model import BackendKey, ObjectKey
from proa.network.gateway.plan import Objects, Plan, our_classes, our_gateways, our_ingresses, plan_all
from proa.network.gateway.proxy import Place, Proxy, Refused, Snapshot
from proa.network.gateway.reports import Reports
from proa.network.gateway.resources import (
    GATEWAY_CLASSES,
    GATEWAYS,
    RESOURCES,
    ROUTES,
    served_resource,
)
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError
from proa.objects.resource import (
    CUSTOM_RESOURCE_DEFINITIONS,
    ENDPOINT_SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    NAMESPACES,
    SECRETS,
    SERVICES,
)
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

REST_FACTOR = 4.0
MAX_REST_SECONDS = 1.0
RETRY_SECONDS = 5.0
IDLE_SECONDS = 30.0
"""After how long without Ingresses and Gateways Envoy is ended."""
FIRST_BACK_OFF_SECONDS = 0.5
MAX_BACK_OFF_SECONDS = 30.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what users asked to listen on, told as an address)


class GatewayController:
    """Ingress and Gateway API on one Envoy. `folder` is Envoy's, `listen_address` the host's."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        events: EventRecorder,
        place: Place,
        folder: Path,
        listen_address: str,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._informers = informers
        self._now = now
        self._caches = Caches(informers)
        self._reports = Reports(client, self._caches, events)
        self._proxy = Proxy(folder, place, listen_address)
        self._address = EVERYWHERE.get(listen_address, listen_address)
        self._is_running = False
        self._is_missing = False
        self._idle_since = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._must_renew = False
        self._default: Certificate | None = None
        self._services: dict[ObjectKey, set[BackendKey]] = {}
        self._changed: set[ObjectKey] = set()
        self._late: set[ObjectKey] = set()
        self._is_dirty = True
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._releases: set[asyncio.Task[None]] = set()
        self._definitions = informers.informer(CUSTOM_RESOURCE_DEFINITIONS)

    async def start(self) -> None:
        """Follow the cluster from now on."""
        listeners = {
            INGRESSES: self._spec_changed,
            INGRESS_CLASSES: self._spec_changed,
            SERVICES: self._service_changed,
            ENDPOINT_SLICES: self._slice_changed,
            SECRETS: self._secret_changed,
            NAMESPACES: self._namespace_changed,
        }
        for resource, listener in listeners.items():
            if (informer := self._caches.find(resource)) is not None:
                informer.listen(listener)
        self._definitions.listen(self._definition_changed)
        self._task = asyncio.create_task(self._run(), name="gateway")

    async def stop(self) -> None:
        """End Envoy."""
        self._definitions.unlisten(self._definition_changed)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._later is not None:
            self._later.cancel()
        await self._reports.stop()
        await self._proxy.stop()

    def renew(self) -> None:
        """Begin anew in the node that is there now."""
        self._must_renew = True
        self._poke()

    # What changes

    def _poke(self) -> None:
        self._is_dirty = True
        self._wake.set()

    def _spec_changed(self, old: Object | None, new: Object | None) -> None:
        """A status alone is nothing new: most are our own."""
        if old is None or new is None or _asks(old) != _asks(new):
            self._poke()

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        if _key(new or old) in self._caches.services and (not old or not new or old["spec"] != new["spec"]):
            self._poke()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        service = service_of(new or old or {})
        if service is not None and (key := ObjectKey(*service)) in self._services:
            if not self._changed:
                asyncio.get_running_loop().call_soon(self._write_changed)
            self._changed.add(key)

    def _secret_changed(self, old: Object | None, new: Object | None) -> None:
        if _key(new or old) in self._caches.secrets:
            self._poke()

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if meta.name(new or old or {}) in self._caches.namespaces:
            self._poke()

    def _definition_changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        known = RESOURCES.get(name)
        if known is None:
            return
        served = served_resource(new) if new is not None else None
        informer = self._caches.find(known)
        if served is not None and informer is None:
            found = self._informers.informer(served)
            self._caches.add(served, found)
            found.listen(self._spec_changed)
            self._poke()
        elif served is None and informer is not None:
            self._caches.remove(known)
            informer.unlisten(self._spec_changed)
            release = asyncio.create_task(self._informers.release(informer))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)
            self._poke()

    # What is done about it

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._caches.wait_synced()
            try:
                busy = await self._work()
                failures = 0
                await asyncio.sleep(min(REST_FACTOR * busy, MAX_REST_SECONDS))
            except Exception as error:
                if not isinstance(error, (ApiError, AdminError, OSError)):
                    logger.exception("gateway not brought up to date attempt=%d", failures + 1)
                else:
                    logger.error("gateway not brought up to date attempt=%d error=%s", failures + 1, error)
                self._poke()
                await asyncio.sleep(min(FIRST_BACK_OFF_SECONDS * 2.0**failures, MAX_BACK_OFF_SECONDS))
                failures = min(failures + 1, 10)

    async def _work(self) -> float:
        """Bring the proxy up to date; return the seconds that deciding took."""
        self._is_dirty = False
        await self._ensure_class()
        started = time.monotonic()
        objects = self._caches.objects()
        plan = await asyncio.to_thread(plan_all, objects, self._caches, [self._address])
        snapshot = self._make_snapshot(plan)
        busy = time.monotonic() - started
        self._late.clear()
        refusal = await self._carry_out(snapshot, lambda: self._report_ports(objects, plan))
        self._write_endpoints(self._late)
        self._look_later()
        if self._is_running:
            self._write_places()
        self._report(objects, plan, refusal)
        return busy

    def _write_changed(self) -> None:
        """Tell of endpoints at once, and again after a snapshot that was made before and is under way."""
        changed, self._changed = self._changed, set()
        self._late |= changed
        self._write_endpoints(changed)

    def _write_endpoints(self, services: Iterable[ObjectKey]) -> None:
        for service in services:
            for backend in self._services.get(service, ()) if self._is_running else ():
                self._proxy.write_endpoints(backend, self._endpoints_of(backend))

    def _endpoints_of(self, backend: BackendKey) -> tuple[Endpoint, ...]:
        service = self._caches.service(backend.service)
        return endpoints_of(backend, service, self._caches.slices(backend.service))

    def _make_snapshot(self, plan: Plan) -> Snapshot:
        backends = plan.backends
        self._services = {}
        for backend in backends:
            self._services.setdefault(backend.service, set()).add(backend)
        return Snapshot(
            doors=plan.doors,
            endpoints={backend: self._endpoints_of(backend) for backend in backends},
            certificates={key: self._certificate(key) for key in plan.certificates},
        )

    def _certificate(self, key: ObjectKey) -> Certificate:
        """Return a Secret's certificate; ours where it has become useless since it was planned with."""
        secret = self._caches.secret(key) if key != DEFAULT_CERTIFICATE else None
        found = read_certificate(secret) if secret is not None else ""
        if isinstance(found, Certificate):
            return found
        if self._default is None:
            self._default = make_default_certificate(datetime.fromtimestamp(self._now(), UTC))
        return self._default

    async def _carry_out(self, snapshot: Snapshot, on_ports: Callable[[], None]) -> str:
        """Return why the proxy does not do what it is told, "" where it does."""
        must_renew, self._must_renew = self._must_renew, False
        self._is_missing = False
        try:
            if self._is_running and self._has_rested(snapshot):
                await self._proxy.stop()
                self._is_running = False
            elif self._is_running and must_renew:
                await self._proxy.renew(snapshot)
            elif self._is_running and self._proxy.waits_for_node:
                return ""  # it is told of all this when the node is there again
            elif self._is_running:
                await self._proxy.apply(snapshot)
            elif snapshot.doors:
                await self._begin(snapshot, on_ports)
        except Refused as refused:
            logger.error("Envoy refuses its configuration error=%s", refused)
            return str(refused)
        except EnvoyMissing as missing:
            self._is_missing = True
            return str(missing)
        except EnvoyFailed as failed:
            logger.error("Envoy does not run, will try again error=%s", failed)
            self._must_renew = self._is_running
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._poke)
            return str(failed)
        except BaseException:
            self._must_renew = must_renew
            raise
        return ""

    async def _begin(self, snapshot: Snapshot, on_ports: Callable[[], None]) -> None:
        """Start Envoy, or leave nothing; one that refuses its first configuration runs all the same."""
        self._is_running = True
        try:
            await self._proxy.start(snapshot, on_ports)
        except Refused:
            raise
        except BaseException:
            self._is_running = False
            await self._proxy.stop()
            raise

    def _write_places(self) -> None:
        """Have `proa status` know where the ports are on the host."""
        places = [
            {"port": port, "address": self._address, "hostPort": number}
            for port, number in sorted(self._proxy.ports.public.items())
        ]
        self._proxy.write_places(places)

    def _has_rested(self, snapshot: Snapshot) -> bool:
        """Tell whether nothing has needed Envoy for a while."""
        now = time.monotonic()
        self._idle_since = 0.0 if snapshot.doors else self._idle_since or now
        return bool(self._idle_since) and now - self._idle_since > IDLE_SECONDS

    def _look_later(self) -> None:
        """Look again where something ends by itself: an Envoy that is not needed, a backend that no route leads to."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._is_running and (self._idle_since or self._proxy.has_retired):
            self._later = asyncio.get_running_loop().call_later(IDLE_SECONDS + 1, self._poke)

    async def _ensure_class(self) -> None:
        """See that there is a GatewayClass, once the server has such."""
        informer = self._caches.find(GATEWAY_CLASSES)
        if informer is None:
            return
        await informer.wait_synced()
        if informer.get(CLASS_NAME) is None:
            try:
                await self._client.create(GATEWAY_CLASSES, make_gateway_class())
            except AlreadyExists:
                return

    def _report_ports(self, objects: Objects, plan: Plan) -> None:
        """Have statuses of an earlier start say where the ports are now; all else is told when Envoy is there."""
        public = self._proxy.ports.public
        self._reports.begin()
        for ingress in our_ingresses(objects):
            if ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
                status = statuses.ingress_status(ingress, [self._address], public)
                self._reports.add(INGRESSES, ingress, status)
        for gateway in our_gateways(objects):
            found = plan.gateways[_key(gateway)]
            self._reports.add(
                GATEWAYS, gateway, statuses.moved_status(gateway, found, [self._address], public)
            )
        self._reports.end()

    def _report(self, objects: Objects, plan: Plan, refusal: str) -> None:
        """Have statuses and Events say what became of the objects."""
        now = self._now()
        public = self._proxy.ports.public
        addresses = [self._address] if self._is_running else []
        self._reports.begin()
        for ingress in our_ingresses(objects):
            planned = plan.ingresses[_key(ingress)]
            status = statuses.ingress_status(ingress, addresses, public) if not refusal else None
            self._reports.add(INGRESSES, ingress, status, planned.problems, refusal)
        for gateway_class in our_classes(objects):
            self._reports.add(GATEWAY_CLASSES, gateway_class, statuses.class_status(gateway_class, now))
        for gateway in our_gateways(objects):
            found = plan.gateways[_key(gateway)]
            is_missing = self._is_missing
            status = statuses.gateway_status(
                gateway, found, plan, addresses, refusal, now, public, is_missing=is_missing
            )
            self._reports.add(GATEWAYS, gateway, status, refusal=refusal)
        for resource in ROUTES:
            for route in objects.routes.get(resource.kind, ()):
                planned_route = plan.routes.get((resource.kind, _key(route)))
                self._reports.add(resource, route, statuses.route_status(route, planned_route, now))
        if self._is_running:
            self._reports.exposure = plan_exposure(self._proxy.ports.in_node, public, self._proxy.metrics)
        self._reports.reach = {port: (self._address, number) for port, number in public.items()}
        self._reports.end()


def _asks(obj: Object) -> tuple[object, ...]:
    """Return what of an object asks for anything."""
    metadata = obj["metadata"]
    return (
        obj.get("spec"),
        metadata.get("labels"),
        metadata.get("annotations"),
        metadata.get("deletionTimestamp"),
        metadata.get("generation"),
    )


def _key(obj: Object | None) -> ObjectKey:
    return ObjectKey(meta.namespace(obj or {}), meta.name(obj or {}))
