"""Carry TCP connections to ports of a pod: SPDY streams, the same inside a WebSocket, or WebSocket channels.

SPDY (kubectl <= 1.30) and `SPDY/3.1+portforward.k8s.io` (kubectl >= 1.31, the SPDY bytes in binary messages): each
connection is a pair of streams with one requestID, `error` and `data`. `v4.channel.k8s.io` (Python clients): the ports
are in the query; port i has channels 2i (data) and 2i+1 (error), each beginning with the port as two bytes.

Follows kubelet/pkg/cri/streaming/portforward/{httpstream,websocket}.go and apiserver/pkg/util/proxy/streamtunnel.go.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from proa.apiserver.streams import spdy, websocket
from proa.apiserver.streams.channels import ChannelSocket
from proa.apiserver.streams.context import StreamContext, UpgradedConnection
from proa.apiserver.streams.exec import spdy_headers, spdy_protocol
from proa.apiserver.streams.options import get_kubelet, get_pod
from proa.apiserver.streams.splice import splice
from proa.client.kubelet_api import ByteStream, DistantKubelet, PodRef
from proa.client.protocol import Request, Response
from proa.objects.errors import ApiError, BadRequest

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
MAX_PORTS = 127

Dial = Callable[[int], Awaitable[ByteStream]]


async def forward_ports(request: Request, context: StreamContext) -> Response:
    """Upgrade to whichever of the three the client speaks."""
    pod = await get_pod(context)
    kubelet = await get_kubelet(context, pod)
    ref = PodRef(context.namespace, context.name, pod["metadata"].get("uid", ""))
    if isinstance(kubelet, DistantKubelet):
        return await kubelet.hand_over(request, "portForward", ref, "")
    label = f"pod {context.name}_{context.namespace}, uid {ref.uid}"

    async def dial(port: int) -> ByteStream:
        return await kubelet.port_forward(ref, port)

    if not websocket.is_websocket_request(request):
        spdy_protocol(request, (SPDY_PROTOCOL,))

        async def upgrade(connection: UpgradedConnection) -> None:
            await serve_spdy(connection, dial, label)

        return Response(status=101, headers=spdy_headers(SPDY_PROTOCOL), upgrade=upgrade)

    if TUNNEL_PROTOCOL in websocket.offered_subprotocols(request):

        async def serve_tunnel(socket: websocket.WebSocket, _: str) -> None:
            await serve_spdy(websocket.WebSocketTunnel(socket), dial, label)

        return websocket.accept(request, (TUNNEL_PROTOCOL,), serve_tunnel)

    ports = query_ports(request)

    async def serve_channels(socket: websocket.WebSocket, subprotocol: str) -> None:
        await PortChannels(socket, "base64" in subprotocol, ports, label).serve(dial)

    return websocket.accept(request, CHANNEL_PROTOCOLS, serve_channels)


def query_ports(request: Request) -> list[int]:
    """Return the ports that the query asks for (`port` or `ports`, comma-separated); raise BadRequest."""
    texts = [
        text
        for name in ("port", "ports")
        for value in request.query.get(name, ())
        for text in value.split(",")
    ]
    texts = [text for text in texts if text]
    if not texts:
        raise BadRequest('query parameter "port" is required')
    ports = []
    for text in texts:
        if not text.isascii() or not text.isdigit():
            raise BadRequest(f'unable to parse "{text}" as a port: invalid syntax')
        if not 0 < int(text) < 65536:
            raise BadRequest(f"port {text!r} must be > 0 and < 65536")
        ports.append(int(text))
    if len(ports) > MAX_PORTS:
        raise BadRequest(f"{len(ports)} ports are over the limit of {MAX_PORTS}")
    return ports


async def serve_spdy(connection: UpgradedConnection, dial: Dial, label: str) -> None:
    """Serve pairs of streams until the client goes."""
    session = spdy.SpdyConnection(connection)
    reader = asyncio.ensure_future(session.run())
    pending: dict[str, dict[str, spdy.SpdyStream]] = {}
    forwards: set[asyncio.Task[None]] = set()
    try:
        while (stream := await session.accept()) is not None:
            kind = stream.headers.get("streamtype", "")
            if kind not in ("error", "data"):
                await stream.close()
                continue
            request_id = stream.headers.get("requestid") or str(stream.id - (2 if kind == "data" else 0))
            pair = pending.setdefault(request_id, {})
            pair[kind] = stream
            if len(pair) == 2:
                del pending[request_id]
                task = asyncio.ensure_future(_forward(pair["data"], pair["error"], dial, label))
                forwards.add(task)
                task.add_done_callback(forwards.discard)
    finally:
        for task in (*forwards, reader):
            task.cancel()
        outcomes = await asyncio.gather(*forwards, reader, return_exceptions=True)
        await session.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
            raise outcome


async def _forward(data: spdy.SpdyStream, error: spdy.SpdyStream, dial: Dial, label: str) -> None:
    port = data.headers.get("port", "")
    try:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise BadRequest(f'unable to parse "{port}" as a port: invalid syntax')
        target = await dial(int(port))
    except ApiError as refusal:
        await error.write(f"error forwarding port {port} to {label}: {refusal.message}".encode())
    else:
        await splice(data, target)
    finally:
        await error.close_write()
        await data.close_write()


class PortChannels:
    """Ports as pairs of WebSocket channels."""

    def __init__(self, socket: websocket.WebSocket, is_base64: bool, ports: list[int], label: str) -> None:
        self._channels = ChannelSocket(socket, is_base64=is_base64)
        self._ports = ports
        self._label = label

    async def serve(self, dial: Dial) -> None:
        """Connect every port and carry bytes until the client goes or every connection has ended."""
        targets = [await self._open(index, port, dial) for index, port in enumerate(self._ports)]
        incoming = asyncio.ensure_future(self._forward_input(targets))
        outgoing = asyncio.gather(
            *(
                self._forward_output(index, target)
                for index, target in enumerate(targets)
                if target is not None
            )
        )
        try:
            await asyncio.wait((incoming, outgoing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            incoming.cancel()
            outgoing.cancel()
            await asyncio.gather(incoming, outgoing, return_exceptions=True)
            for target in targets:
                if target is not None:
                    await target.close()

    async def _open(self, index: int, port: int, dial: Dial) -> ByteStream | None:
        for channel in (2 * index, 2 * index + 1):
            await self._channels.send(channel, struct.pack("<H", port))
        try:
            return await dial(port)
        except ApiError as refusal:
            message = f"error forwarding port {port} to {self._label}: {refusal.message}"
            await self._channels.send(2 * index + 1, message.encode())
            return None

    async def _forward_input(self, targets: list[ByteStream | None]) -> None:
        async for channel, data in self._channels.messages():
            index, is_error = divmod(channel, 2)
            if is_error or not 0 <= index < len(targets):
                continue
            if (target := targets[index]) is not None:
                await target.write(data)

    async def _forward_output(self, index: int, target: ByteStream) -> None:
        while data := await target.read():
            await self._channels.send(2 * index, data)
