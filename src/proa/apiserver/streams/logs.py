"""Answer GET pods/{name}/log with the container's log as it grows, as a text or over a WebSocket.

Follows pkg/registry/core/pod/rest/log.go and k8s.io/streaming/pkg/httpstream/wsstream/stream.go.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from proa.apiserver.streams.context import StreamContext
from proa.apiserver.streams.options import find_container, get_kubelet, get_pod, log_options
from proa.apiserver.streams.websocket import WebSocket, accept, is_websocket_request
from proa.client.kubelet_api import PodRef
from proa.client.protocol import Request, Response

BASE64 = "base64.binary.k8s.io"
WEBSOCKET_PROTOCOLS = ("", "binary.k8s.io", BASE64)


async def get_log(request: Request, context: StreamContext) -> Response:
    """Return the log as streaming text; a pod without a node has an empty one."""
    options = log_options(request, context.name)
    pod = await get_pod(context)
    options = replace(options, container=find_container(pod, options.container))
    headers = {"Content-Type": "text/plain"}
    if not pod.get("spec", {}).get("nodeName"):
        return Response(headers=headers)
    kubelet = await get_kubelet(context, pod)
    ref = PodRef(context.namespace, context.name, pod["metadata"].get("uid", ""))
    chunks = await kubelet.container_logs(ref, options)
    if is_websocket_request(request):
        return _over_websocket(request, chunks)
    return Response(headers=headers, stream=chunks)


def _over_websocket(request: Request, chunks: AsyncIterator[bytes]) -> Response:
    """Return the 101 answer; the log ends with the connection, whichever side ends it."""

    async def serve(socket: WebSocket, subprotocol: str) -> None:
        sending = asyncio.ensure_future(_send(socket, chunks, is_base64=subprotocol == BASE64))
        client = asyncio.ensure_future(_until_closed(socket))
        try:
            await asyncio.wait({sending, client}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            client.cancel()
            sending.cancel()
            await asyncio.gather(client, sending, return_exceptions=True)

    return accept(request, WEBSOCKET_PROTOCOLS, serve)


async def _send(socket: WebSocket, chunks: AsyncIterator[bytes], *, is_base64: bool) -> None:
    with contextlib.suppress(ConnectionError):
        async for chunk in chunks:
            if is_base64:
                await socket.send_text(base64.b64encode(chunk).decode())
            else:
                await socket.send(chunk)


async def _until_closed(socket: WebSocket) -> None:
    while await socket.receive() is not None:
        pass  # what a reader says means nothing
