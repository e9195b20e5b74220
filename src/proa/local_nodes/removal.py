"""Take nodes out of a cluster that is to have fewer: the Node, its pods, and its folder.

Their pods are deleted at once, as nothing of them runs any more, so that their owners make others elsewhere. What the
`local-path` class made for them stays below the home: a claim on it waits for its node to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from proa.client.protocol import Client, Object
from proa.home import Home
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import NODES, PODS

logger = logging.getLogger(__name__)


async def remove_nodes(home: Home, names: Iterable[str], client: Client) -> None:
    """Remove nodes that do not run."""
    from proa.node.noded.records import remove_tree

    for name in names:
        pods = (await client.list(PODS, field_selector=f"spec.nodeName={name}")).items
        await asyncio.gather(*(_delete_pod(client, pod) for pod in pods))
        with contextlib.suppress(NotFound):
            await client.delete(NODES, name)
        await asyncio.to_thread(remove_tree, str(home.node(name)))
        logger.info("node is removed, as it was asked for fewer node=%s pods=%d", name, len(pods))


async def _delete_pod(client: Client, pod: Object) -> None:
    try:
        await client.delete(
            PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod), grace_period_seconds=0
        )
    except NotFound:
        return
