"""Wire every node of this machine to every other, and say on the Node where that cannot be.

A node that is wired to none of those before it has the condition NetworkUnavailable, as upstream's route controller
sets it, so that the scheduler leaves it alone: pods there would reach nobody. Where nodes have no network of their own
(plain processes) all pods share the host's, and there is nothing to wire.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client
from proa.objects import meta
from proa.objects.resource import NODES

if TYPE_CHECKING:
    from proa.local_nodes.node import LocalNode

logger = logging.getLogger(__name__)

CONDITION = "NetworkUnavailable"


class Links:
    """The wires between nodes. `make_client` returns the client that a node acts with, by its name."""

    def __init__(self, make_client: Callable[[str], Client]) -> None:
        self._make_client = make_client

    async def link(self, nodes: Sequence[LocalNode]) -> None:
        """Wire these nodes, which run, to one another; what is wired is left alone. Raises RuntimeFailure."""
        wired = [node for node in nodes if node.has_own_network]
        failures = await asyncio.gather(
            *(self._link_to_all(node, wired[:index]) for index, node in enumerate(wired))
        )
        for index, (node, failure) in enumerate(zip(wired, failures, strict=True)):
            await self._tell(node, failure if index else "")

    async def _link_to_all(self, node: LocalNode, others: Sequence[LocalNode]) -> str:
        """Return why the node has no wire to any of the others, "" where it has one to each."""
        failures = [failure for other in others if (failure := await self._link(node, other))]
        for failure in failures:
            logger.error("nodes do not reach each other's pods node=%s error=%s", node.name, failure)
        return "; ".join(failures)

    async def _link(self, node: LocalNode, other: LocalNode) -> str:
        from proa.node.runtimes.protocol import RuntimeFailure

        if node.noded is None or other.noded is None:
            return ""  # it has been switched off meanwhile
        try:
            await node.noded.link(other.noded, node.end, other.end)
        except RuntimeFailure as failure:
            if failure.reason == "NodeUnavailable":
                raise
            return f"{other.name}: {failure.message}"
        return ""

    async def _tell(self, node: LocalNode, failure: str) -> None:
        """Bring the Node's condition to what is so; a node that never lacked its network has none."""
        client = self._make_client(node.name)
        known = meta.find_condition(await client.get(NODES, node.name), CONDITION)
        status = "True" if failure else "False"
        if (known or {"status": "False"})["status"] == status:
            return
        now = meta.format_time(time.time())
        condition = {
            "type": CONDITION,
            "status": status,
            "reason": "NoRouteCreated" if failure else "RouteCreated",
            "message": failure or "every node reaches every other",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        body = {"status": {"conditions": [condition]}}
        await client.patch(NODES, node.name, body, patch_type=STRATEGIC_MERGE_PATCH, subresource="status")
