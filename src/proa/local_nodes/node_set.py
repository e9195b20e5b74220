"""Have every node of this machine up that is not switched off, wired to the others.

One server has them all. `boot` and `start` bring them up side by side; `look` brings them to what the switches say
(power.py). Offers the host's NodePorts, by way of the first node that is up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from proa.home import Home
from proa.local_nodes import power
from proa.local_nodes.addresses import find_number, places
from proa.local_nodes.any_node import AnyNode
from proa.local_nodes.gateway_place import GatewayPlace
from proa.local_nodes.links import Links
from proa.local_nodes.node import LocalNode, Surroundings
from proa.objects.errors import ApiError, ServiceUnavailable

if TYPE_CHECKING:
    from proa.client.kubelet_api import ByteStream
    from proa.local_nodes.overlay import Overlay
    from proa.network.host import HostEntrance
    from proa.node.kubelet import Kubelet

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class LocalNodes:
    """The nodes 1 to `count` of a home; where `is_dual`, each has IPv6 too."""

    def __init__(self, home: Home, count: int, *, is_dual: bool = False) -> None:
        directories = {place.name: home.node(place.name) for place in places(count)}
        self._nodes = {
            place.name: LocalNode(
                place,
                directories[place.name],
                neighbours=tuple(path for name, path in directories.items() if name != place.name),
                masked=home.path,
                on_renewed=self._on_renewed,
                is_dual=is_dual,
            )
            for place in places(count)
        }
        self._home = home
        self._around: Surroundings
        self._links: Links
        self._host: HostEntrance | None = None
        self._overlay: Overlay | None = None
        self._entrance: LocalNode | None = None
        self._on_entrance: Callable[[], None] = lambda: None
        self._poked = asyncio.Event()
        self._linking = asyncio.Lock()

    @property
    def handlers(self) -> list[str]:
        """The names by which RuntimeClasses may ask for what runs pods on the nodes that are up."""
        return sorted({name for node in self._nodes.values() for name in node.handlers})

    @property
    def has_own_network(self) -> bool:
        """Tell whether pods have a network of their own, or (without namespaces) the host's."""
        return all(node.has_own_network for node in self._nodes.values())

    @property
    def surplus(self) -> list[str]:
        """The names of nodes that this home had, and that are no more."""
        found = [path.name for path in self._home.nodes.iterdir()] if self._home.nodes.is_dir() else []
        return sorted(name for name in found if find_number(name) > len(self._nodes))

    def find_kubelet(self, name: str) -> Kubelet | None:
        """Return the kubelet of a node of that name that is up."""
        node = self._nodes.get(name)
        return node.kubelet if node is not None else None

    def find_any_kubelet(self) -> Kubelet | None:
        """Return the kubelet of any node that is up: each reaches all of the cluster's network."""
        return next((node.kubelet for node in self._nodes.values() if node.kubelet is not None), None)

    def lend_entrance(self, on_renewed: Callable[[], None]) -> GatewayPlace:
        """Return the way in to the nodes; `on_renewed` is called when it is another, or made anew."""
        self._on_entrance = on_renewed
        return GatewayPlace(self._find_entrance)

    def has(self, name: str) -> bool:
        """Tell whether a node of that name is this machine's, up or not."""
        return name in self._nodes

    async def dial(self, host: str, port: int) -> ByteStream:
        """Connect to a pod's address by the network of any node that is up; raise ServiceUnavailable."""
        from proa.node.server import SocketStream

        try:
            return SocketStream(await self.connect(host, port))
        except OSError as error:
            raise ServiceUnavailable(f"error trying to reach {host}:{port}: {error}") from error

    async def connect(self, host: str, port: int) -> socket.socket:
        """Connect to an address of the cluster's network, a Service's too; raise OSError."""
        from proa.node.runtimes.protocol import RuntimeFailure

        try:
            return await AnyNode(self._find_entrance).dial(host, port)
        except RuntimeFailure as error:
            raise OSError(error.message) from error

    def boot(self) -> asyncio.Task[None]:
        """Start the supervisors of all nodes that are not switched off: the task raises RuntimeFailure.

        They begin with the event loop's next turn, so that they boot while whoever called goes on.
        """
        from proa.node.noded.launch import stop_noded

        on = [node for node in self._nodes.values() if not power.is_off(node.directory)]
        off = [node.directory for node in self._nodes.values() if power.is_off(node.directory)]
        gone = [self._home.node(name) for name in self.surplus]
        works = [*(node.boot() for node in on), *(stop_noded(path) for path in (*off, *gone))]
        return asyncio.create_task(_all_of([asyncio.create_task(work) for work in works]))

    async def start(self, around: Surroundings, listen_address: str) -> None:
        """Start all that were booted; return when they are Ready. Raises RuntimeFailure, ApiError."""
        from proa.network.host import HostEntrance

        self._around = around
        self._links = Links(around.make_client)
        events = around.events.recorder("kube-proxy", next(iter(self._nodes)))
        host = HostEntrance(
            around.informers,
            AnyNode(self._find_entrance),
            events,
            listen_address,
            around.balancer_client,
            is_here=self.has,
        )
        self._host = host
        self._entrance = self._find_entrance()
        await host.start()
        await asyncio.gather(*(node.start(around) for node in self._running()))
        await self._link()
        self._cross(around)

    def _cross(self, around: Surroundings) -> None:
        """Have ways to nodes of other machines, should there be any."""
        from proa.local_nodes.overlay import Overlay, Way
        from proa.objects.resource import NODES

        nodes = around.informers.informer(NODES)
        recorder = around.events.recorder("kube-proxy", next(iter(self._nodes)))

        def tell(way: Way, problem: str) -> None:
            if (node := nodes.get(way.name)) is not None:
                recorder.event(node, "Warning", "NoRouteCreated", problem)

        self._overlay = Overlay(nodes, self._running, set(self._nodes), around.make_client, on_problem=tell)

    async def stop(self, *, drain: bool) -> None:
        """End kubelets and networks, those that have not come up wholly too; `drain` ends the pods first."""
        await asyncio.gather(*(node.stop(drain=drain) for node in self._nodes.values()))
        if self._host is not None:
            await self._host.stop()

    async def end(self, *, is_stopping: bool) -> None:
        """Let go of the supervisors; end those that were not there before, or all of them when it is for good."""
        await asyncio.gather(
            *(
                node.end_noded() if is_stopping or not node.was_running else node.let_go()
                for node in self._nodes.values()
            )
        )

    def look(self) -> None:
        """Have `run` see which nodes are switched on or off."""
        self._poked.set()

    async def run(self) -> None:
        """Follow the switches, and the nodes of other machines, for ever."""
        await asyncio.gather(self._follow_switches(), *([self._overlay.run()] if self._overlay else []))

    async def _follow_switches(self) -> None:
        while True:
            await self._poked.wait()
            self._poked.clear()
            for node in self._nodes.values():
                await self._follow_switch(node)

    async def _follow_switch(self, node: LocalNode) -> None:
        from proa.node.runtimes.protocol import RuntimeFailure

        is_off = power.is_off(node.directory)
        if is_off == (node.kubelet is None):
            return
        logger.info("node is switched %s node=%s", "off" if is_off else "on", node.name)
        try:
            if is_off:
                await node.power_off()
            else:
                await node.boot()
                await node.start(self._around)
                if self._overlay is not None:
                    self._overlay.renewed(node)
            await self._link()
            await self._move_entrance(node)
        except (RuntimeFailure, ApiError, OSError) as error:
            logger.error("node does not follow its switch, will try again node=%s error=%s", node.name, error)
            await node.power_off()
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.look)

    async def _on_renewed(self, node: LocalNode) -> None:
        await self._link()
        if self._overlay is not None:
            self._overlay.renewed(node)
        if node is self._entrance and self._host is not None:
            await self._host.renew()
            self._on_entrance()

    async def _link(self) -> None:
        async with self._linking:
            await self._links.link(list(self._running()))

    async def _move_entrance(self, changed: LocalNode) -> None:
        """Take another way in to the nodes where the one that was used is no more."""
        found = self._find_entrance()
        if self._entrance is None or self._entrance is changed:
            self._entrance = found
            if self._host is not None:
                await self._host.renew()
            self._on_entrance()

    def _find_entrance(self) -> LocalNode | None:
        if self._entrance is not None and self._entrance.noded is not None:
            return self._entrance
        return next(iter(self._running()), None)

    def _running(self) -> Iterable[LocalNode]:
        return [node for node in self._nodes.values() if node.noded is not None]


async def _all_of(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for all, whatever becomes of one; then raise what the first has failed with."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
