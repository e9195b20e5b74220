"""Register the Node, keep its status true, and renew its Lease, so that the cluster knows that it lives.

Follows pkg/kubelet/kubelet_node_status.go and component-helpers/apimachinery/lease/controller.go.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

from proa.client.protocol import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Client, Object
from proa.node.node_status import (
    MachineInfo,
    extended_resources,
    make_conditions,
    make_node,
    make_node_status,
)
from proa.node.runtimes.protocol import Runtime, RuntimeFailure, RuntimeStatus
from proa.node.settings import KubeletSettings
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.meta import format_micro_time, name, uid
from proa.objects.resource import LEASES, NAMESPACES, NODES
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
RETRY_SECONDS = 1.0
RUNTIME_IS_DOWN = "container runtime is down"
PRESSURE_REASONS = {
    "MemoryPressure": ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    "DiskPressure": ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
}
REPORTED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


Images = Callable[[], Awaitable[Sequence[tuple[list[str], int]]]]
"""Return names and size in bytes of each image that is here."""


class NodeRegistration:
    """One node's standing in the API. `sleep` and `now` (epoch seconds) are the clock."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        settings: KubeletSettings,
        machine: MachineInfo,
        events: EventRecorder,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        images: Images | None = None,
    ) -> None:
        self._images = images or functools.partial(_own_images, runtime)
        self._has_new_images = False
        self._client = client
        self._runtime = runtime
        self._settings = settings
        self._machine = machine
        self._events = events
        self._now = now
        self._sleep = sleep
        self._status: RuntimeStatus | None = None
        self._node: Object = {}
        self._pressures: frozenset[str] = frozenset()

    @property
    def node(self) -> Object:
        """The Node as last stored."""
        return self._node

    async def register(self, status: RuntimeStatus) -> None:
        """Create the Node with its status, or bring one that exists up to date, and renew its Lease."""
        self._status = status
        images = await self._images()
        node = make_node(self._settings, self._machine, status)
        wanted = {
            **node,
            "status": make_node_status(self._settings, self._machine, status, images, {}, self._now()),
        }
        try:
            self._node = await self._client.create(NODES, wanted)
            is_reported = "conditions" in (self._node.get("status") or {})
            self._tell_ready({})
        except AlreadyExists:
            self._node = await self._bring_up_to_date(node)
            is_reported = False
        await asyncio.gather(self.renew_lease(), *([] if is_reported else [self.update_status()]))

    async def _bring_up_to_date(self, wanted: Object) -> Object:
        known = await self._client.get(NODES, name(wanted))
        metadata = {
            key: {**(known["metadata"].get(key) or {}), **wanted["metadata"][key]}
            for key in ("labels", "annotations")
        }
        has_all = all(known["metadata"].get(key) == value for key, value in metadata.items())
        if has_all and {**known.get("spec", {}), **wanted["spec"]} == known.get("spec", {}):
            return known
        return await self._client.patch(NODES, name(wanted), {"metadata": metadata, "spec": wanted["spec"]})

    async def update_status(self) -> None:
        """Write the Node's status as it is now."""
        if self._status is None:
            return
        images = await self._images()
        old = self._node.get("status") or {}
        status = make_node_status(
            self._settings, self._machine, self._status, images, old, self._now(), self._pressures
        )
        await self._patch_status(status)

    async def report_not_ready(self, why: str) -> None:
        """Say that this node cannot run pods now."""
        if self._status is not None:
            old = self._node.get("status") or {}
            conditions = make_conditions(
                self._status, old, self._now(), pressures=self._pressures, why_not_ready=why
            )
            await self._patch_status({"conditions": conditions})

    async def tell_pressures(self, pressures: frozenset[str]) -> None:
        """Say what the node is short of, and of what no more; told again with the next status if it fails now."""
        changed, self._pressures = pressures ^ self._pressures, pressures
        for kind in sorted(changed):
            reason = PRESSURE_REASONS[kind][kind in pressures]
            message = f"Node {name(self._node)} status is now: {reason}"
            self._events.event(self._node, "Normal", reason, message)
        try:
            await self.update_status()
        except ApiError as error:
            logger.warning("node not reported node=%s error=%s", self._settings.node_name, error)

    async def renew_lease(self) -> None:
        """Say that this node is alive; make the Lease where there is none."""
        renewed = {"renewTime": format_micro_time(self._now())}
        try:
            await self._client.patch(
                LEASES, self._settings.node_name, {"spec": renewed}, LEASE_NAMESPACE, patch_type=MERGE_PATCH
            )
        except NotFound:
            await self._create_lease(renewed)

    def images_changed(self) -> None:
        """Images have come or gone: the status says so with the next renewal of the Lease."""
        self._has_new_images = True

    async def run(self) -> None:
        """Renew the Lease and report the status for ever; at once when the runtime stops or begins to answer."""
        status_due = self._now() + self._settings.status_period_seconds
        delay = self._settings.lease_renew_seconds
        was_up = True
        while True:
            await self._sleep(delay)
            delay = self._settings.lease_renew_seconds
            try:
                await self.renew_lease()
                is_up = await self._is_runtime_up()
                is_due = not was_up or self._now() >= status_due or self._has_new_images
                if is_up and (is_due or await self._is_misreported()):
                    self._has_new_images = False
                    await self.update_status()
                    status_due = self._now() + self._settings.status_period_seconds
                elif not is_up and was_up:
                    await self.report_not_ready(RUNTIME_IS_DOWN)
                was_up = is_up
            except NotFound:
                await self._register_again()
            except (ApiError, RuntimeFailure) as error:
                logger.warning("node not reported node=%s error=%s", self._settings.node_name, error)
                delay = RETRY_SECONDS

    async def _is_runtime_up(self) -> bool:
        try:
            self._status = await self._runtime.status()
        except (RuntimeFailure, OSError):
            return False
        return True

    async def look(self) -> Object:
        """Return the Node as the API has it now; raise ApiError."""
        self._node = await self._client.get(NODES, self._settings.node_name)
        return self._node

    async def _is_misreported(self) -> bool:
        """Tell whether the API has this node as other than it reported: given up for silent, or with more to give."""
        mine = _health(self._node)
        known = await self.look()
        return _health(known) != mine or _has_more_to_give(known)

    async def _register_again(self) -> None:
        """The Node was deleted while this kubelet runs."""
        if self._status is not None:
            try:
                await self.register(self._status)
            except (ApiError, RuntimeFailure) as error:
                logger.warning("node not registered node=%s error=%s", self._settings.node_name, error)

    async def _patch_status(self, status: Object) -> None:
        before = self._node
        self._node = await self._client.patch(
            NODES,
            self._settings.node_name,
            {"status": _with_whole_addresses(status)},
            patch_type=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )
        self._tell_ready(before)

    def _tell_ready(self, before: Object) -> None:
        """Tell of a node that has become Ready, or is so no more."""
        was, is_now = _health(before).get("Ready"), _health(self._node).get("Ready")
        if is_now is not None and is_now != was:
            reason = "NodeReady" if is_now == "True" else "NodeNotReady"
            self._events.event(
                self._node, "Normal", reason, f"Node {name(self._node)} status is now: {reason}"
            )

    async def _create_lease(self, renewed: Object) -> None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._settings.node_name, "uid": uid(self._node)}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._settings.node_name,
                "namespace": LEASE_NAMESPACE,
                "ownerReferences": [owner] if uid(self._node) else [],
            },
            "spec": {
                "holderIdentity": self._settings.node_name,
                "leaseDurationSeconds": self._settings.lease_duration_seconds,
                **renewed,
            },
        }
        try:
            await self._client.create(LEASES, lease, LEASE_NAMESPACE)
        except NotFound:
            await self._create_lease_namespace()
            await self._client.create(LEASES, lease, LEASE_NAMESPACE)

    async def _create_lease_namespace(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
        try:
            await self._client.create(NAMESPACES, namespace)
        except AlreadyExists:
            return


async def _own_images(runtime: Runtime) -> list[tuple[list[str], int]]:
    return [([i.repo_digest, i.name], i.size_bytes) for i in await runtime.list_images()]


def _has_more_to_give(node: Object) -> bool:
    """Tell whether somebody has given the node resources that are not allocatable yet."""
    status = node.get("status") or {}
    given, allocatable = (extended_resources(status.get(key) or {}) for key in ("capacity", "allocatable"))
    return given != allocatable


def _health(node: Object) -> dict[str, str]:
    """Return the status of each condition that a kubelet reports."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return {c["type"]: c["status"] for c in conditions if c["type"] in REPORTED_CONDITIONS}


def _with_whole_addresses(status: Object) -> Object:
    """Return the status as a patch that replaces the addresses: they merge by type, of which there are two InternalIPs.

    As upstream's component-helpers/node/util/status.go.
    """
    if "addresses" not in status:
        return status
    return {**status, "addresses": [*status["addresses"], {"$patch": "replace"}]}
