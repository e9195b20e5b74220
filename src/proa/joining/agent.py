"""Be a node of another machine's cluster: noded, kubelet, services, DNS and the ways to other nodes, over HTTPS.

What runs is what runs in the cluster's own process for its own nodes (local_nodes/node.py), with a client that is
elsewhere. The API server may be away for as long as it likes: pods go on, and everything follows when it is back. A
killed agent leaves its pods to the next one. Follows cmd/kubelet and cmd/kube-proxy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from proa.client.api import ApiClient
from proa.client.kubeconfig import make_ssl_context, make_transport
from proa.cluster import StartFailure, listen, read_kubelet_changes
from proa.cluster_settings import default_families
from proa.home import Home, write_private
from proa.httpd.server import HttpServer, make_server_context
from proa.joining.certificates import Keeper, client_purpose, serving_purpose
from proa.joining.door import RelayDoor
from proa.joining.enrolment import find_addresses
from proa.joining.invitation import KUBELET_CONFIG, SYSTEM
from proa.joining.kubelet_access import KubeletAccess
from proa.joining.kubelet_port import KubeletPort
from proa.joining.membership import JoinFailure, Membership, keep_membership, key_files, node_of
from proa.local_nodes.addresses import Place, place_of
from proa.local_nodes.any_node import AnyNode
from proa.local_nodes.node import DEFAULT_LEASE_SECONDS, LocalNode, Surroundings
from proa.local_nodes.overlay import ANNOTATION, Overlay, choose_vni, make_annotation
from proa.network.host import HostEntrance
from proa.objects.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
)
from proa.objects.resource import CONFIG_MAPS, NODES
from proa.process import told_to_stop
from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory

if TYPE_CHECKING:
    from proa.client.protocol import Client, Object
    from proa.node.settings import KubeletSettings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 15.0
RANGE_SECONDS = 60.0
MIN_LEASE_SECONDS = 4
T = TypeVar("T")


class Agent:
    """One node. What is started is stopped by the stack, in reverse."""

    def __init__(self, home: Home, membership: Membership, stack: AsyncExitStack) -> None:
        self._home = home
        self._membership = membership
        self._stack = stack
        self._files = key_files(home)
        self._transport = make_transport(node_of(home, membership))
        self._client: Client = ApiClient(self._transport, "kubelet", waits=True)
        self._far = ""
        self._node: LocalNode
        self._overlay: Overlay
        self._entrance: HostEntrance
        self._listener: socket.socket
        self._make_inside: Callable[[], HttpServer] | None = None
        self._inside: HttpServer | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_stopping = False

    async def start(self) -> None:
        """Start everything; return when the node is Ready. Raises JoinFailure, StartFailure."""
        self._stack.push_async_callback(self._client.close)
        self._kubelet_changes = read_kubelet_changes(self._membership.kubelet_config)
        self._far = self._find_own_address()
        self._listener = self._listen()
        place = await self._insist(self._find_place)
        lease_seconds = await self._insist(self._read_lease_seconds)
        node = self._node = LocalNode(
            place,
            self._home.node(place.name),
            neighbours=(),
            masked=self._home.path,
            on_renewed=self._on_renewed,
            is_dual=self._membership.is_dual,
        )
        self._stack.push_async_callback(self._end_node)
        await self._boot(node)
        informers = InformerFactory(self._client)
        events = EventSink(self._client, time.time)
        self._stack.push_async_callback(informers.stop)
        self._stack.push_async_callback(events.stop)
        around = Surroundings(
            informers,
            events,
            lambda name: self._client,
            lambda noded: RelayDoor(noded, self._membership.server),
            lease_seconds,
            self._membership.outside_network,
            self._client,
            self._kubelet_changes,
            self._adapt,
        )
        nodes = informers.informer(NODES)
        self._overlay = Overlay(nodes, lambda: [node], {node.name}, lambda name: self._client, far=self._far)
        recorder = events.recorder("kube-proxy", node.name)
        self._entrance = HostEntrance(
            informers,
            AnyNode(lambda: node),
            recorder,
            self._membership.node_ports,
            is_here=lambda name: name == node.name,
        )
        self._stack.push_async_callback(lambda: node.stop(drain=self.is_stopping))
        await self._insist(partial(self._start_node, around))
        await self._entrance.start()
        self._stack.push_async_callback(self._entrance.stop)
        self._run("overlay", self._overlay.run())
        await self._serve_kubelet()
        self._keep_client_certificate()

    # Being known

    def _keep_client_certificate(self) -> None:
        def use() -> None:
            if (settings := make_ssl_context(node_of(self._home, self._membership))) is not None:
                self._transport.use(settings)

        files = (self._files.client, self._files.client_key)
        self._run("client certificate", self._keeper(client_purpose(), files, use).run())

    def _keeper(self, purpose: Any, files: Any, on_renewed: Callable[[], None]) -> Keeper:
        return Keeper(self._client, self._membership.node_name, purpose, files, on_renewed)

    async def _find_place(self) -> Place:
        """Return this node's number, as the cluster gave it: it is asked for once, and kept."""
        membership = self._membership
        try:
            node = await self._client.get(NODES, membership.node_name)
        except NotFound:
            node = await self._create_node()
        async with asyncio.timeout(RANGE_SECONDS):
            while not (node.get("spec") or {}).get("podCIDR"):
                node = await self._next_node(node)
        place = place_of(membership.node_name, node["spec"]["podCIDR"])
        if place is None:
            raise JoinFailure(
                f"the cluster gives node {membership.node_name} the addresses {node['spec']['podCIDR']}, of another "
                "network"
            )
        is_dual = place.pod_cidr_v6 in (node["spec"].get("podCIDRs") or ())
        if is_dual and "IPv6" not in default_families():
            raise JoinFailure(
                "the cluster has IPv6 addresses for pods, and this machine's kernel has no IPv6: turn it on here, or "
                "start the cluster with `proa up --ip-families IPv4`"
            )
        if (membership.pod_cidr, membership.is_dual) != (place.pod_cidr, is_dual):
            self._membership = membership._replace(pod_cidr=place.pod_cidr, is_dual=is_dual)
            keep_membership(self._home, self._membership)
        return place

    async def _create_node(self) -> Object:
        """Make the Node with what says that it is another machine's; one that is back keeps its addresses."""
        name, kept = self._membership.node_name, self._membership.pod_cidr
        place = place_of(name, kept)
        second = [place.pod_cidr_v6] if place is not None and self._membership.is_dual else []
        wanted = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {ANNOTATION: self._annotation()}},
            "spec": {"podCIDR": kept, "podCIDRs": [kept, *second]} if kept else {},
        }
        try:
            return await self._client.create(NODES, wanted)
        except AlreadyExists:
            return await self._client.get(NODES, name)

    async def _next_node(self, node: Object) -> Object:
        """Return the Node as it is after its next change; have it ask for addresses where it does not yet."""
        name = node["metadata"]["name"]
        if ANNOTATION not in (node["metadata"].get("annotations") or {}):
            body = {"metadata": {"annotations": {ANNOTATION: self._annotation()}}}
            node = await self._client.patch(NODES, name, body)
        async for event in self._client.watch(
            NODES,
            field_selector=f"metadata.name={name}",
            resource_version=node["metadata"]["resourceVersion"],
            timeout_seconds=10,
        ):
            if event.type in ("ADDED", "MODIFIED"):
                return event.object
        return await self._client.get(NODES, name)

    def _annotation(self) -> str:
        directory = self._home.node(self._membership.node_name)
        return make_annotation(self._membership.address, choose_vni(str(directory.resolve())))

    async def _read_lease_seconds(self) -> float:
        """Return for how long the cluster takes this node's word: as its kubelets are told."""
        import yaml

        try:
            found = await self._client.get(CONFIG_MAPS, KUBELET_CONFIG, SYSTEM)
            told = yaml.safe_load((found.get("data") or {}).get("kubelet") or "") or {}
            return max(
                float(told.get("nodeLeaseDurationSeconds") or DEFAULT_LEASE_SECONDS), MIN_LEASE_SECONDS
            )
        except (NotFound, Forbidden):
            return DEFAULT_LEASE_SECONDS
        except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
            raise JoinFailure(
                f"kube-system/{KUBELET_CONFIG} of the cluster cannot be read: {error}"
            ) from None

    # Starting

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try until the API server answers; what it refuses for good is raised as JoinFailure."""
        from proa.node.runtimes.protocol import RuntimeFailure

        delay = RETRY_SECONDS
        while True:
            try:
                return await work()
            except (Unauthorized, Forbidden) as error:
                raise JoinFailure(
                    f"the cluster does not know node {self._membership.node_name} any more ({error.message}): "
                    "`proa leave` here, then `proa join` with a new token"
                ) from None
            except TimeoutError:
                raise JoinFailure(
                    f"the cluster has given node {self._membership.node_name} no addresses within "
                    f"{RANGE_SECONDS:.0f} s: do its controllers run, and are there addresses left? `kubectl describe "
                    "node` tells"
                ) from None
            except RuntimeFailure as failure:
                raise StartFailure(f"the node does not answer: {failure.message}; try again") from None
            except (BadRequest, Invalid) as error:
                raise StartFailure(f"the cluster refuses what this node says: {error.message}") from None
            except ApiError as error:
                logger.warning("the API server does not answer, will try again error=%s", error.message)
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_RETRY_SECONDS)

    def _find_own_address(self) -> str:
        """Keep by which address this machine is reached now, and return the server's; unknown, it is what it was."""
        membership = self._membership
        try:
            far, address = find_addresses(membership.server)
        except JoinFailure as failure:
            logger.warning("own address not looked up, it is taken to be as before error=%s", failure)
            return membership.far_address
        ports = address if membership.node_ports == membership.address else membership.node_ports
        self._membership = membership._replace(address=address, node_ports=ports, far_address=far)
        return far

    def _listen(self) -> socket.socket:
        membership = self._membership
        try:
            made = listen(membership.address, membership.kubelet_port)
        except StartFailure as failure:
            raise StartFailure(
                str(failure).split(";")[0]
                + ", which is the kubelet's; `--kubelet-port 0` takes any free port"
            ) from None
        self._stack.callback(made.close)
        self._membership = membership._replace(kubelet_port=int(made.getsockname()[1]))
        keep_membership(self._home, self._membership)
        return made

    async def _boot(self, node: LocalNode) -> None:
        from proa.node.runtimes.protocol import RuntimeFailure

        try:
            await node.boot()
        except RuntimeFailure as failure:
            raise StartFailure(f"{failure.message}; `proa doctor` tells what this machine lacks") from None
        if node.isolation != "root":
            raise StartFailure(
                "a node that joins another machine's cluster needs root: its way to other nodes is a VXLAN device of "
                "this machine's network, and only root makes one; start it as root"
            )

    async def _start_node(self, around: Surroundings) -> None:
        try:
            await self._node.start(around)
        except BaseException:
            await self._node.stop(drain=False)
            raise

    def _adapt(self, settings: KubeletSettings) -> KubeletSettings:
        """Return a kubelet's settings with where this machine is."""
        kind = "ExternalIP"
        return replace(
            settings,
            addresses=((kind, self._membership.address),),
            annotations={ANNOTATION: self._annotation()},
            port=self._membership.kubelet_port,
            labels={},
            devices_directory=Path("/dev"),
        )

    async def _serve_kubelet(self) -> None:
        """Answer at the kubelet's port, on the machine's address and on the node's own."""
        files, membership = self._files, self._membership
        names = (membership.node_name, membership.address, self._node.place.ip)
        context: Any = None

        def load() -> None:
            if context is not None:
                context.load_cert_chain(str(files.serving_key))

        keeper = self._keeper(serving_purpose(names), (files.serving, files.serving_key), load)
        await self._insist(keeper.ensure)
        context = make_server_context(str(files.serving_key), str(files.serving_key), str(files.authority))
        access = KubeletAccess(self._client, membership.node_name)
        port = KubeletPort(lambda: self._node.kubelet.server if self._node.kubelet else None, access)
        http = HttpServer(port.handle, context)
        self._stack.push_async_callback(http.close)
        await http.serve(self._listener)
        self._make_inside = lambda: HttpServer(port.handle, context)
        self._stack.push_async_callback(self._close_inside)
        await self._serve_inside()
        self._run("serving certificate", keeper.run())

    async def _serve_inside(self) -> None:
        """Serve in the node's network too, and let go of what was one before: it lasts as long as any socket of it."""
        await self._close_inside()
        if (noded := self._node.noded) is not None and self._make_inside is not None:
            listener = await noded.open_socket(
                "tcp-listen", self._node.place.ip, self._membership.kubelet_port
            )
            self._inside = self._make_inside()
            await self._inside.serve(listener)

    async def _close_inside(self) -> None:
        if self._inside is not None:
            inside, self._inside = self._inside, None
            await inside.close(0)

    async def _on_renewed(self, node: LocalNode) -> None:
        self._overlay.renewed(node)
        await self._entrance.renew()
        await self._serve_inside()

    async def _end_node(self) -> None:
        if self.is_stopping or not self._node.was_running:
            await self._node.end_noded()
        else:
            await self._node.let_go()

    def _run(self, name: str, work: Any) -> None:
        """Do it for ever; should it end by itself, the agent ends with it."""
        task = asyncio.ensure_future(work)

        def report(task: asyncio.Future[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
                logger.critical("%s has failed", name, exc_info=error)
                self.failed.set_exception(StartFailure(f"{name} has failed: {error}"))

        task.add_done_callback(report)
        self._stack.push_async_callback(_cancel, task)


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run_agent(home: Home, membership: Membership, when_ready: Callable[[dict[str, Any]], None]) -> None:
    """Be the node until SIGTERM or SIGINT; raise JoinFailure, StartFailure."""
    stop = told_to_stop()
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        agent = Agent(home, membership, stack)
        starting = asyncio.create_task(agent.start())
        stopping = asyncio.create_task(stop.wait())
        stack.push_async_callback(_cancel, stopping)  # type: ignore[arg-type]
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            agent.is_stopping = True
            await _cancel(starting)
            return
        starting.result()
        server = {
            "pid": os.getpid(),
            "server": membership.server,
            "node": membership.node_name,
            "startedAt": time.time(),
            "startSeconds": round(time.monotonic() - started, 3),
            "ready": True,
        }
        write_private(home.pid_file, json.dumps(server))
        when_ready(server)
        await asyncio.wait((stopping, agent.failed), return_when=asyncio.FIRST_COMPLETED)
        if agent.failed.done():
            agent.failed.result()
        agent.is_stopping = True
