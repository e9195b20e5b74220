"""What serving is told by whoever starts it: `proa up`, or `proa serving serve`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Literal

from proa.ml.grpc.door import Door
from proa.objects.quick_dataclass import dataclass

Dial = Callable[[str, int], Awaitable[socket.socket]]
"""Returns a connected socket; raises OSError."""
HOST_IMAGE = "proa.local/python"
"""This machine's own Python environment as an image: nodes of `proa up` have it."""


async def dial_directly(host: str, port: int) -> socket.socket:
    """Return a socket of this process' own network, connected; raise OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """`image` has Proa and what the formats need: model servers, agents and initializers run in it.

    `door` has the sockets at which requests for revisions without a pod arrive: the activator opens it. Nodes and the
    gateway reach it at `activator_address`:`activator_port`; "" where nothing activates, and nothing is scaled to zero.
    """

    door: Door
    activator_address: str = ""
    activator_port: int = 0
    image: str = HOST_IMAGE
    way: Literal["gateway", "ingress"] = "gateway"
    """What brings requests from outside: Gateway API's HTTPRoutes, or an Ingress where there is no such thing."""
    finds_way: bool = False
    """Whether to look, when serving begins, if the cluster has Gateway API; `way` is what counts otherwise."""
    gateway_class: str = ""
    """Of the Gateway that is made with the first InferenceService; "" where the cluster's administrator makes it."""
    model_cache: str = ""
    """A folder of every node where models' files are kept (hostPath); "" for none: each pod fetches its own."""
    dial: Dial = dial_directly
    """Reaches pods' and Services' addresses."""
    prepare: Callable[[], Awaitable[None]] = _nothing
    """Sees that the cluster has what serving builds on, as Gateway API's definitions; before anything begins."""
