"""Be one node of this machine: its noded, the API's door in its network, its kubelet, and its services and DNS.

`boot` needs nothing of the cluster but the machine, so it goes on while the API server starts; `start` needs the API.
A node ends in one of two ways: `stop`, with the server, and `power_off`, as a machine whose plug is pulled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.local_nodes.addresses import (
    API_ADDRESS,
    CLUSTER_POD_CIDR,
    DNS_SERVICE_IP,
    HOST_ADDRESS,
    INSIDE_CIDRS,
    SERVICE_CIDR,
    SERVICE_CIDR_V6,
    Place,
)
from proa.local_nodes.door import Door
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.client.protocol import Client
    from proa.network.network import Network
    from proa.node.kubelet import Kubelet
    from proa.node.noded.client import NodedClient
    from proa.node.runtimes.protocol import RuntimeStatus
    from proa.node.settings import KubeletSettings
    from proa.reconcile.events import EventSink
    from proa.reconcile.informer import InformerFactory

logger = logging.getLogger(__name__)

RENEWAL_SECONDS = 0.1
MAX_RENEWAL_SECONDS = 5.0
DEFAULT_LEASE_SECONDS = 40
MACHINE_LABEL, OWN_MACHINE = "proa.local/machine", "own"
"""Nodes of the cluster's own machine have this label: what can only be there finds them by it."""
RENEWALS_A_LEASE = 4


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node needs of the cluster around it.

    `make_client` returns the client of a node by its name; `make_door` the way to the API in a node's network;
    `node_monitor_grace_seconds` is how long a silent node counts as alive; `outside_network` says whether pods
    reach the host's networks; `balancer_client` writes where load balancers are; `kubelet` is what of its settings is
    to be other than by default, and `adapt` gives a kubelet's settings what only some nodes have; `registry_name` is
    what pods call the cluster's registry, "" where the node has none.
    """

    informers: InformerFactory
    events: EventSink
    make_client: Callable[[str], Client]
    make_door: Callable[[NodedClient], Door]
    node_monitor_grace_seconds: float
    outside_network: str
    balancer_client: Client
    kubelet: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[[KubeletSettings], KubeletSettings] = lambda settings: settings
    registry_name: str = ""


@dataclass(slots=True)
class _Parts:
    """What runs while the node is up."""

    kubelet: Kubelet
    network: Network
    door: Door | None


class LocalNode:
    """One node. `neighbours` are the folders of the others; what is in `masked` no container sees.

    `on_renewed` is called when noded has ended by itself and another is up in its place.
    """

    def __init__(
        self,
        place: Place,
        directory: Path,
        *,
        neighbours: tuple[Path, ...],
        masked: Path,
        on_renewed: Callable[[LocalNode], Awaitable[None]],
        is_dual: bool = False,
    ) -> None:
        self.place = place
        self.directory = directory
        self._neighbours = neighbours
        self._masked = masked
        self._on_renewed = on_renewed
        self._is_dual = is_dual
        self._noded: NodedClient | None = None
        self._status: RuntimeStatus | None = None
        self._parts: _Parts | None = None
        self._renewals: AsyncIterator[None]
        self._keeper: asyncio.Task[None] | None = None
        self.was_running = False
        """Whether noded, and maybe pods, were there before this server."""

    @property
    def name(self) -> str:
        """The Node's name."""
        return self.place.name

    @property
    def noded(self) -> NodedClient | None:
        """The node's supervisor; None while the node is down."""
        return self._noded

    @property
    def kubelet(self) -> Kubelet | None:
        """The node's kubelet; None while the node is down."""
        return self._parts.kubelet if self._parts is not None else None

    @property
    def has_own_network(self) -> bool:
        """Tell whether pods have a network of their own, or (without namespaces) the host's."""
        return self._status is None or self._status.level != "process"

    @property
    def isolation(self) -> str:
        """By what means the node is one (RuntimeStatus.level), "" before it has been booted."""
        return self._status.level if self._status is not None else ""

    @property
    def handlers(self) -> tuple[str, ...]:
        """What can run pods here, by the names that RuntimeClasses give; nothing while the node is down."""
        return tuple(self._status.handlers) if self._status is not None else ()

    @property
    def end(self) -> Mapping[str, Any]:
        """This node as the end of a wire."""
        return {
            "number": self.place.number,
            "node_ip": self.place.ip,
            "pod_cidr": self.place.pod_cidr,
            "node_ipv6": self._status.node_ipv6 if self._status is not None else "",
            "pod_cidr_v6": self.place.pod_cidr_v6,
        }

    async def boot(self) -> None:
        """Start noded, or find the one that runs; raise RuntimeFailure."""
        from proa.node.noded.launch import NodedSettings, ensure_noded, running_pid

        settings = NodedSettings(
            node_name=self.name,
            node_ip=self.place.ip,
            pod_cidr=self.place.pod_cidr,
            service_cidr=SERVICE_CIDR,
            cluster_cidr=CLUSTER_POD_CIDR,
            node_ipv6=self.place.ipv6 if self._is_dual else "",
            pod_cidr_v6=self.place.pod_cidr_v6 if self._is_dual else "",
            service_cidr_v6=SERVICE_CIDR_V6 if self._is_dual else "",
            masked_paths=(str(self._masked),),
            neighbours=tuple(str(path.resolve()) for path in self._neighbours),
        )
        self.was_running = running_pid(self.directory) is not None
        self._noded = await ensure_noded(self.directory, settings)
        self._renewals = (
            self._noded.renewals()
        )  # from now on: what is made in this noded is made again in the next
        self._status = await self._noded.status()

    async def start(self, around: Surroundings) -> None:
        """Open the door, and start kubelet and network; return when the node is Ready. Raises RuntimeFailure."""
        noded, status = self._noded, self._status
        if noded is None or status is None:
            raise AssertionError(f"{self.name} has not been booted")
        door = around.make_door(noded) if self.has_own_network else None
        network = self._make_network(noded, status, around)
        self._parts = _Parts(self._make_kubelet(noded, around, network), network, door)
        if door is not None:
            await door.open()
        await asyncio.gather(self._parts.kubelet.start(), self._parts.network.start())
        self._keeper = asyncio.create_task(self._keep(), name=f"keeper of {self.name}")

    async def stop(self, *, drain: bool) -> None:
        """End kubelet, network and door, in that order; `drain` ends the pods' containers first."""
        await self._cancel_keeper()
        if self._parts is None:
            return
        parts, self._parts = self._parts, None
        await parts.kubelet.stop(drain)
        await parts.network.stop()
        if parts.door is not None:
            await parts.door.close()

    async def let_go(self) -> None:
        """Close the connection to noded, which goes on."""
        if self._noded is not None:
            noded, self._noded = self._noded, None
            await noded.close()

    async def end_noded(self) -> None:
        """End noded, and with it everything that runs on the node."""
        from proa.node.noded.launch import stop_noded

        await self.let_go()
        await stop_noded(self.directory)

    async def power_off(self) -> None:
        """End everything of the node at once. Nobody is told: the cluster finds out by the node's silence."""
        from proa.node.runtimes.protocol import RuntimeFailure

        await self._cancel_keeper()
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.kubelet.abandon()
            if parts.door is not None:
                await parts.door.close(0)
            try:
                await parts.network.stop()
            except (RuntimeFailure, OSError) as error:
                logger.info("the node's network was gone already node=%s error=%s", self.name, error)
        await self.end_noded()

    def _make_kubelet(self, noded: NodedClient, around: Surroundings, network: Network) -> Kubelet:
        from proa.node.kubelet import Kubelet
        from proa.node.settings import KubeletSettings

        home = self.directory.parent.parent
        lease_seconds = max(1, min(DEFAULT_LEASE_SECONDS, int(around.node_monitor_grace_seconds)))
        settings = KubeletSettings(
            self.name,
            self.directory,
            cluster_dns=(DNS_SERVICE_IP,),
            lease_duration_seconds=lease_seconds,
            devices_directory=Path("/dev") if self.place.number == 1 else None,  # they are the machine's
            lease_renew_seconds=lease_seconds / RENEWALS_A_LEASE,
            pod_cidr_v6=self.place.pod_cidr_v6,
            images_directory=home / "images",
            registries_file=home / "registries.yaml",
            labels={MACHINE_LABEL: OWN_MACHINE},
            **around.kubelet,
        )
        events = around.events.recorder("kubelet", self.name)
        return Kubelet(
            around.make_client(self.name),
            noded,
            around.informers,
            events,
            around.adapt(settings),
            protect=network.protect,
        )

    def _make_network(self, noded: NodedClient, status: RuntimeStatus, around: Surroundings) -> Network:
        from proa.network.network import Network
        from proa.network.protocol import NetworkSettings

        events = around.events.recorder("kube-proxy", self.name)
        settings = NetworkSettings(
            self.name,
            dns_address=DNS_SERVICE_IP,
            service_cidrs=(SERVICE_CIDR, SERVICE_CIDR_V6) if status.node_ipv6 else (SERVICE_CIDR,),
            node_ips=(status.node_ip, status.node_ipv6) if status.node_ipv6 else (status.node_ip,),
            outside=around.outside_network,
            inside_cidrs=INSIDE_CIDRS,
            host_address=HOST_ADDRESS,
            api_address=API_ADDRESS,
            registry_name=around.registry_name,
        )
        return Network(around.informers, noded, status, events, settings)

    async def _keep(self) -> None:
        """Give a noded that was started again what the last one had of ours: door, services, DNS, wires."""
        from proa.node.runtimes.protocol import RuntimeFailure

        async for _ in self._renewals:
            delay = RENEWAL_SECONDS
            while self._parts is not None:
                try:
                    if self._parts.door is not None:
                        await self._parts.door.renew()
                    await self._parts.network.renew()
                    await self._on_renewed(self)
                    break
                except (RuntimeFailure, OSError) as error:
                    logger.warning(
                        "the node's network is not back yet, will try again node=%s error=%s",
                        self.name,
                        error,
                    )
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, MAX_RENEWAL_SECONDS)

    async def _cancel_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
