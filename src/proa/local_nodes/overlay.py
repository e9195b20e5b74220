"""Keep ways between this machine's nodes and those of other machines: an overlay of VXLAN, told of in annotations.

Each node has one device (node/noded/overlay.py), and the annotation `proa.local/overlay` says where its packets are
to be sent: the machine's address, the UDP port, and the device's own number, so that the nodes of one machine share a
port. VXLAN neither encrypts nor authenticates: machines are joined by a network that is trusted
(docs/several-machines.md). Where there are no other machines nothing is made. Follows flannel's backend/vxlan.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.local_nodes.addresses import place_of
from proa.node.noded.overlay import PORT
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.resource import NODES

if TYPE_CHECKING:
    from proa.local_nodes.node import LocalNode
    from proa.reconcile.informer import Informer

logger = logging.getLogger(__name__)

ANNOTATION = "proa.local/overlay"
CONDITION = "NetworkUnavailable"
OVERHEAD_BYTES = {socket.AF_INET: 50, socket.AF_INET6: 70}
NUMBERS_AT_ONCE = 8
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
_IP_MTU, _IPV6_MTU = 14, 24


class Way(NamedTuple):
    """The machine's side of a node of another machine."""

    name: str
    node_ip: str
    pod_cidr: str
    address: str
    port: int
    vni: int
    node_ipv6: str = ""
    pod_cidr_v6: str = ""

    def peer(self, source: str, source_v6: str = "") -> dict[str, Any]:
        """Return it as noded is told, for a node whose own addresses are these; IPv6 needs two that have it."""
        told = {**self._asdict(), "source": source, "source_v6": source_v6}
        return told if source_v6 else {**told, "node_ipv6": "", "pod_cidr_v6": ""}


def plan_ways(nodes: Iterable[Object], own: Collection[str]) -> list[Way]:
    """Return the ways to the nodes that are not of this machine, as far as they say where they are.

    A node's address in the overlay follows from the range that its pods have, so that none can say that it is
    another's; of two with one range the older has it.
    """
    found: dict[str, Way] = {}
    oldest_first = sorted(
        nodes, key=lambda node: (str(node["metadata"].get("creationTimestamp", "")), meta.name(node))
    )
    taken = {(node.get("spec") or {}).get("podCIDR", "") for node in oldest_first if meta.name(node) in own}
    for node in oldest_first:
        name, pod_cidr = meta.name(node), (node.get("spec") or {}).get("podCIDR") or ""
        place, said = place_of(name, pod_cidr), read_annotation(node)
        if place is None or name in own or pod_cidr in taken:
            continue
        taken.add(pod_cidr)
        if said is not None and not meta.is_deleting(node):
            has_v6 = place.pod_cidr_v6 in (node["spec"].get("podCIDRs") or ())
            second = (place.ipv6, place.pod_cidr_v6) if has_v6 else ()
            found[name] = Way(name, place.ip, pod_cidr, *said, *second)
    return [found[name] for name in sorted(found)]


def read_annotation(node: Object) -> tuple[str, int, int] | None:
    """Return (address, port, number) of a node's device, None where it says nothing that can be used."""
    try:
        said = json.loads(meta.annotations(node).get(ANNOTATION, ""))
        kind, address, port, vni = said["type"], str(said["address"]), int(said["port"]), int(said["vni"])
        socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return (address, port, vni) if kind == "vxlan" and 0 < port < 65536 and 0 < vni < 1 << 24 else None


def make_annotation(address: str, vni: int) -> str:
    """Return what a node says of its device."""
    said = {"type": "vxlan", "address": address, "port": PORT, "vni": vni}
    return json.dumps(said, separators=(",", ":"))


def choose_vni(directory: str, attempt: int = 0) -> int:
    """Return the number of a node's device: no two nodes of a machine may have the same."""
    return (zlib.crc32(directory.encode()) + attempt) % ((1 << 24) - 1) + 1


def find_way_out(address: str) -> tuple[str, int]:
    """Return (this machine's address, MTU) on the way to another machine; raise OSError where there is none."""
    is_6 = ":" in address
    with socket.socket(socket.AF_INET6 if is_6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, PORT))
        level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if is_6 else (socket.IPPROTO_IP, _IP_MTU)
        return str(probe.getsockname()[0]), probe.getsockopt(level, option)


class Overlay:
    """The ways of this machine's nodes. `running` returns those that are up; `own` has the names of all.

    `far` is another machine's address where one is known before any node says so (that has been joined). `on_problem`
    hears, in words, why other machines' nodes cannot be reached, once for each reason; with `far` the node's own
    condition says it.
    """

    def __init__(
        self,
        nodes: Informer,
        running: Callable[[], Iterable[LocalNode]],
        own: Collection[str],
        make_client: Callable[[str], Client],
        *,
        far: str = "",
        on_problem: Callable[[Way, str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._nodes = nodes
        self._running = running
        self._own = own
        self._make_client = make_client
        self._far = far
        self._on_problem = on_problem
        self._sleep = sleep
        self._applied: dict[str, Any] = {}
        self._told: set[tuple[str, str]] = set()
        self._numbers: dict[str, int] = {}
        self._poked = asyncio.Event()

    def renewed(self, node: LocalNode) -> None:
        """Make what a node's noded, which is another than before, does not have."""
        self._applied.pop(node.name, None)
        self._poked.set()

    async def run(self) -> None:
        """Follow the nodes for ever."""
        self._nodes.listen(self._changed)
        failures = 0
        try:
            while True:
                await self._poked.wait()
                self._poked.clear()
                if await self.look():
                    failures = 0
                    continue
                self._poked.set()
                await self._sleep(min(RETRY_SECONDS * 2.0**failures, MAX_RETRY_SECONDS))
                failures = min(failures + 1, 10)
        finally:
            self._nodes.unlisten(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _said(old) != _said(new):
            self._poked.set()

    async def look(self) -> bool:
        """Bring each node's ways to what the nodes say; return whether all went well."""
        ways = plan_ways(self._nodes.list(), self._own)
        outcomes = [await self._apply(node, ways) for node in [*self._running()] if node.has_own_network]
        return all(outcomes)

    async def _apply(self, node: LocalNode, ways: Sequence[Way]) -> bool:
        if node.noded is None or (not ways and not self._has_any(node)):
            return True
        from proa.node.runtimes.protocol import RuntimeFailure

        problem = ""
        try:
            device = self._device(node, ways)
            state = (device, [way.peer(node.place.ip, node.end["node_ipv6"]) for way in ways])
            if self._applied.get(node.name) != state:
                await node.noded.set_overlay(*state)
                self._applied[node.name] = state
        except (RuntimeFailure, OSError) as failure:
            self._applied.pop(node.name, None)
            is_taken = isinstance(failure, OSError) and failure.errno == errno.EEXIST
            if is_taken and self._take_another_number(node):
                return await self._apply(node, ways)
            problem = words_of(failure)
            self._tell(node, ways, problem)
        try:
            await self._publish(node, device if not problem else {}, bool(ways), problem)
        except ApiError as error:
            logger.warning("overlay not told of node=%s error=%s", node.name, error)
            return False
        return not problem

    def _has_any(self, node: LocalNode) -> bool:
        """Tell whether a node has, or is to have, a device anyway; an earlier server may have made one."""
        known = self._nodes.get(node.name)
        is_told = known is not None and ANNOTATION in meta.annotations(known)
        return bool(self._far) or node.name in self._applied or is_told

    def _take_another_number(self, node: LocalNode) -> bool:
        """Have the node's device called otherwise; False when that has been tried often.

        What was the node's network before goes only with its last socket, and its device with it.
        """
        tried = self._numbers[node.name] = self._numbers.get(node.name, 0) + 1
        return tried % NUMBERS_AT_ONCE != 0

    def _device(self, node: LocalNode, ways: Sequence[Way]) -> dict[str, Any]:
        if not ways and not self._far:
            return {}
        local, mtu = find_way_out(self._far or ways[0].address)
        family = socket.AF_INET6 if ":" in local else socket.AF_INET
        return {
            "vni": choose_vni(str(node.directory.resolve()), self._numbers.get(node.name, 0)),
            "local": local,
            "port": PORT,
            "mtu": mtu - OVERHEAD_BYTES[family],
            "node_ip": node.place.ip,
        }

    def _tell(self, node: LocalNode, ways: Sequence[Way], problem: str) -> None:
        for way in ways:
            if (way.name, problem) not in self._told:
                self._told.add((way.name, problem))
                logger.error("no way to another machine node=%s to=%s error=%s", node.name, way.name, problem)
                if self._on_problem is not None:
                    self._on_problem(way, f"{node.name} cannot reach pods there: {problem}")

    async def _publish(self, node: LocalNode, device: dict[str, Any], has_ways: bool, problem: str) -> None:
        """Say on the Node where its device is, and, on a machine that has joined others, whether it reaches any."""
        known = self._nodes.get(node.name)
        if known is None:
            return
        client = self._make_client(node.name)
        said = make_annotation(device["local"], device["vni"]) if device else None
        if meta.annotations(known).get(ANNOTATION) != said:
            await client.patch(NODES, node.name, {"metadata": {"annotations": {ANNOTATION: said}}})
        if not self._far:
            return
        why = problem or ("" if has_ways else "no node of another machine says how it is reached")
        condition = meta.find_condition(known, CONDITION)
        status = "True" if why else "False"
        if (condition or {}).get("status") == status and (condition or {}).get("message", "") == (
            why or REACHED
        ):
            return
        now = meta.format_time(time.time())
        told = {
            "type": CONDITION,
            "status": status,
            "reason": "NoRouteCreated" if why else "RouteCreated",
            "message": why or REACHED,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        body = {"status": {"conditions": [told]}}
        await client.patch(NODES, node.name, body, patch_type=STRATEGIC_MERGE_PATCH, subresource="status")


REACHED = "the nodes of other machines are reached by VXLAN"


def words_of(failure: Exception) -> str:
    """Return why there is no overlay, and what would help."""
    code = failure.errno if isinstance(failure, OSError) else 0
    if code in (errno.EPERM, errno.EACCES):
        return "a VXLAN device can only be made by root: run Proa as root on each machine that is joined"
    if code in (errno.EOPNOTSUPP, errno.ENODEV):
        return "this kernel makes no VXLAN devices: load the module vxlan"
    if code == errno.EEXIST:
        return f"another VXLAN device of this machine has the same number on UDP port {PORT}"
    return getattr(failure, "message", "") or str(failure)


def _said(node: Object) -> tuple[str | None, Sequence[str], bool]:
    spec = node.get("spec") or {}
    return meta.annotations(node).get(ANNOTATION), spec.get("podCIDRs") or (), meta.is_deleting(node)
