"""Have Envoy do what a snapshot says, without dropping a request, and tell what it refuses.

In this order: endpoints; clusters, old and new ones; when Envoy has these, routes and listeners; the old clusters go
half a minute later. Endpoints alone are told at once (endpoints.py).

When the node ends whose network Envoy is in, so does Envoy: from there other nodes are not reached for long either. Who
connects waits at the host's ports, which are ours, for the next Envoy in the next network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from proa.network.data_path import Endpoint
from proa.network.gateway import envoy_config, envoy_routes
from proa.network.gateway.admin import AdminError
from proa.network.gateway.certificates import Certificate
from proa.network.gateway.doors import sites_by_port
from proa.network.gateway.endpoints import EndpointServer
from proa.network.gateway.envoy import NOBODY, Envoy
from proa.network.gateway.envoy_bootstrap import make_bootstrap
from proa.network.gateway.model import BackendKey, Door, ObjectKey
from proa.network.gateway.ports import Address, Ports
from proa.network.gateway.xds import Files, stats_of
from proa.objects.quick_dataclass import dataclass

logger = logging.getLogger(__name__)

ACCEPT_SECONDS = 5.0
POLL_SECONDS = 0.01
RETIRE_SECONDS = 30.0
"""How long a backend stays that no route leads to any more: its last requests end meanwhile."""
LOG_BYTES = 16 << 20
LOG_LOOK_SECONDS = 5.0
STATS_PATH = "/stats?format=json&filter=" + (
    r"(version_text$|update_rejected$|cluster_manager\.warming_clusters|total_listeners_warming)"
)


class Place(Protocol):
    """Where Envoy runs; everything of it raises OSError where there is nowhere."""

    @property
    def address(self) -> str:
        """The node's own address."""

    @property
    def namespaces(self) -> Sequence[str]:
        """Paths of the namespaces to join, in this order; none where the node has the host's."""

    @property
    def supervisor(self) -> int:
        """The process that the node's network goes with; 0 where that is the host's."""

    @property
    def can_change_user(self) -> bool:
        """Tell whether Envoy may be made nobody."""

    async def open_listener(self, address: str, port: int) -> socket.socket:
        """Return a listening, non-blocking socket of the node's network."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that Envoy has to know. Each door is there once (`doors.merge`)."""

    doors: tuple[Door, ...]
    endpoints: Mapping[BackendKey, tuple[Endpoint, ...]]
    certificates: Mapping[ObjectKey, Certificate]


class Refused(Exception):
    """Envoy does not take a configuration; the message is its own."""


class Proxy:
    """Envoy, its files and its ports. The host's ports are at `listen_address`."""

    def __init__(self, folder: Path, place: Place, listen_address: str) -> None:
        self._folder = folder
        self._place = place
        uid = NOBODY if place.can_change_user else -1
        self._files = Files(folder, uid)
        self._envoy = Envoy(folder, uid, lambda: place.namespaces)
        self.ports = Ports(self._envoy.handover, listen_address, self._files.read_known())
        self.metrics: Address = ("", 0)
        self._endpoints = EndpointServer(folder, uid)
        self._clusters: dict[BackendKey, float] = {}
        self._rejected = 0
        self._log_task: asyncio.Task[None] | None = None
        self._supervisor = -1
        self.waits_for_node = False
        """There is no Envoy until `renew`."""

    async def start(self, snapshot: Snapshot, on_ports: Callable[[], None] = lambda: None) -> None:
        """Start Envoy with a first snapshot; raise EnvoyMissing, EnvoyFailed, and what the node's sockets raise.

        `on_ports` is called when the ports are open: whoever connects waits for Envoy from then on.
        """
        self._files.make()
        await self._endpoints.open()
        await self._open_metrics()
        await self._open_ports(snapshot)
        on_ports()
        self._write_endpoints(snapshot)
        self._write_clusters(snapshot)
        self._write_routes(snapshot)
        await self._envoy.start()
        self.waits_for_node = False
        self._watch_node()
        if self._log_task is None:
            self._log_task = asyncio.create_task(self._bound_log(), name="envoy's access log")
        await self._check(set())

    async def stop(self) -> None:
        """End Envoy, close the ports, leave no key."""
        self._watch_no_more()
        if self._log_task is not None:
            self._log_task.cancel()
            await asyncio.gather(self._log_task, return_exceptions=True)
            self._log_task = None
        await self._envoy.stop()
        await self._endpoints.close()
        self.ports.close()
        self._envoy.handover.close_sockets()
        self._files.clean()
        self._clusters.clear()

    async def renew(self, snapshot: Snapshot) -> None:
        """Begin anew in a node that was made anew; the host's ports stay open meanwhile."""
        self._watch_no_more()
        await self._envoy.stop()
        await self._endpoints.close()
        self.ports.forget_node()
        self._envoy.handover.withdraw(self.metrics)
        await self.start(snapshot)

    async def apply(self, snapshot: Snapshot) -> None:
        """Bring Envoy to a snapshot; raise Refused where it does not take it, AdminError where it does not answer."""
        self._envoy.forget_refusal()
        await self._open_ports(snapshot)
        self._write_endpoints(snapshot)
        if version := await asyncio.to_thread(self._write_clusters, snapshot):
            await self._check({version})
        await self._check(await asyncio.to_thread(self._write_routes, snapshot))
        self._files.keep_only(envoy_config.listener_name(d.key.port, d.key.protocol) for d in snapshot.doors)
        self._endpoints.keep_only(self._clusters)
        await self.ports.ensure(
            {door.key.port for door in snapshot.doors}, self._place.address, self._place.open_listener
        )

    def write_endpoints(self, backend: BackendKey, endpoints: Iterable[Endpoint]) -> None:
        """Have requests for a backend go to these from now on."""
        self._endpoints.update(backend, endpoints)

    def write_places(self, places: list[dict[str, Any]]) -> None:
        """Write where the ports are on the host, for whoever asks."""
        self._files.write_places(places)

    @property
    def has_retired(self) -> bool:
        """Tell whether there are backends that no route leads to any more."""
        return any(self._clusters.values())

    def _watch_node(self) -> None:
        if pid := self._place.supervisor:
            try:
                self._supervisor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._node_ended()
            else:
                asyncio.get_running_loop().add_reader(self._supervisor, self._node_ended)

    def _node_ended(self) -> None:
        """Let whoever connects wait at our ports, where Envoy can reach nothing any more."""
        self._watch_no_more()
        logger.info("the network that Envoy is in has ended; requests wait for the next one")
        self.waits_for_node = True
        self._envoy.let_go()

    def _watch_no_more(self) -> None:
        if self._supervisor >= 0:
            asyncio.get_running_loop().remove_reader(self._supervisor)
            os.close(self._supervisor)
            self._supervisor = -1

    async def _open_metrics(self) -> None:
        listener = await self._place.open_listener(self._place.address, 0)
        self.metrics = (self._place.address, listener.getsockname()[1])
        self._envoy.handover.offer(self.metrics, listener)
        self._files.write_bootstrap(make_bootstrap(self.metrics))

    async def _open_ports(self, snapshot: Snapshot) -> None:
        """Open new ports; those that are no more are closed after Envoy has let go of them."""
        wanted = {door.key.port for door in snapshot.doors} | {*self.ports.in_node}
        await self.ports.ensure(wanted, self._place.address, self._place.open_listener)
        self._files.write_known(self.ports.known)

    def _write_endpoints(self, snapshot: Snapshot) -> None:
        for backend, endpoints in snapshot.endpoints.items():
            self._endpoints.update(backend, endpoints)

    def _write_clusters(self, snapshot: Snapshot) -> str:
        now = time.monotonic()
        kept = {
            backend: since or now
            for backend, since in self._clusters.items()
            if backend not in snapshot.endpoints and (not since or now - since < RETIRE_SECONDS)
        }
        self._clusters = {**kept, **dict.fromkeys(snapshot.endpoints, 0.0)}
        clusters = [envoy_config.make_cluster(backend) for backend in sorted(self._clusters)]
        return self._files.write("cds.json", envoy_config.CLUSTER, clusters)

    def _write_routes(self, snapshot: Snapshot) -> set[str]:
        versions = set()
        for behind in sites_by_port(snapshot.doors):
            name = envoy_config.listener_name(behind.key.port, behind.key.protocol)
            routes = envoy_routes.make_routes(name, behind, self.ports.public)
            path = envoy_config.file_name("rds", name)
            versions.add(self._files.write(path, envoy_config.ROUTES, [routes]))
        by_port: dict[int, list[Door]] = {}
        for door in snapshot.doors:
            by_port.setdefault(door.key.port, []).append(door)
        listeners = [
            envoy_config.make_listener(port, doors, self.ports.addresses(port), snapshot.certificates)
            for port, doors in sorted(by_port.items())
        ]
        versions.add(self._files.write("lds.json", envoy_config.LISTENER, listeners))
        return versions - {""}

    async def _check(self, versions: set[str]) -> None:
        """Return when Envoy has taken these versions over, and warmed what they bring; raise Refused, AdminError."""
        deadline = time.monotonic() + ACCEPT_SECONDS
        while True:
            stats = stats_of(await self._envoy.admin.get(STATS_PATH))
            rejected = sum(int(value) for name, value in stats.items() if name.endswith("update_rejected"))
            if rejected != self._rejected:
                self._rejected = rejected
                if rejected:
                    raise Refused(await self._envoy.why_refused())
            accepted = {str(value) for name, value in stats.items() if name.endswith("version_text")}
            warming = sum(
                int(v) for name, v in stats.items() if name.endswith(("_warming", "warming_clusters"))
            )
            if versions <= accepted and not warming:
                return
            if time.monotonic() > deadline:
                raise Refused("it has not said so in time")
            await asyncio.sleep(POLL_SECONDS)

    async def _bound_log(self) -> None:
        """Put the access log aside when it is long, in place of the one before."""
        path = self._folder / envoy_config.ACCESS_LOG
        while True:
            await asyncio.sleep(LOG_LOOK_SECONDS)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > LOG_BYTES:
                    os.replace(path, path.with_suffix(".log.1"))
                    try:
                        await self._envoy.admin.post("/reopen_logs")
                    except AdminError as error:
                        logger.warning("the access log was not begun anew error=%s", error)
