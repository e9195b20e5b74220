"""Speak WebSocket (RFC 6455) on an upgraded connection: handshake, whole messages, and a byte tunnel.

The frames are wsproto's; the handshake is ours, since the HTTP server has read the request already.
Follows k8s.io/streaming/pkg/httpstream/wsstream/conn.go for the choice of a subprotocol, and
client-go/tools/portforward/tunneling_connection.go for the tunnel.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from proa.apiserver.streams.context import UpgradedConnection
from proa.client.protocol import Request, Response
from proa.objects.errors import BadRequest, Forbidden

if TYPE_CHECKING:
    from wsproto.connection import Connection

ACCEPT_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
MESSAGE_TOO_BIG = 1009


def is_websocket_request(request: Request) -> bool:
    """Tell whether the client asks for a WebSocket."""
    return _has_token(request.headers.get("connection", ""), "upgrade") and _has_token(
        request.headers.get("upgrade", ""), "websocket"
    )


def offered_subprotocols(request: Request) -> list[str]:
    """Return the subprotocols that the client offers, in its order."""
    offered = request.headers.get("sec-websocket-protocol", "")
    return [part.strip() for part in offered.split(",") if part.strip()]


def accept(
    request: Request, known: Sequence[str], serve: Callable[[WebSocket, str], Awaitable[None]]
) -> Response:
    """Return the 101 answer with the first offered subprotocol that is `known`; then `serve(socket, subprotocol)`.

    A client that offers none gets "" where "" is known; one that offers only unknown ones is refused, as upstream.
    """
    if request.headers.get("sec-websocket-version") != "13":
        raise BadRequest("websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header")
    key = request.headers.get("sec-websocket-key", "")
    if len(key) != 24:
        raise BadRequest(
            "websocket: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length"
        )
    subprotocol = _choose(offered_subprotocols(request), known)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(
            hashlib.sha1(key.encode() + ACCEPT_KEY_SUFFIX, usedforsecurity=False).digest()
        ).decode(),
    }
    if subprotocol:
        headers["Sec-WebSocket-Protocol"] = subprotocol

    async def upgrade(connection: UpgradedConnection) -> None:
        socket = WebSocket(connection)
        try:
            await serve(socket, subprotocol)
        finally:
            await socket.close()

    return Response(status=101, headers=headers, upgrade=upgrade)


def _choose(offered: list[str], known: Sequence[str]) -> str:
    for subprotocol in offered:
        if subprotocol in known:
            return subprotocol
    if not offered and "" in known:
        return ""
    raise Forbidden(
        f"unable to upgrade: requested protocol(s) are not supported: {offered}; supports {list(known)}"
    )


def _has_token(header: str, token: str) -> bool:
    return any(part.strip().lower() == token for part in header.split(","))


class WebSocket:
    """Messages over an upgraded connection. One reader and any number of writers."""

    def __init__(self, connection: UpgradedConnection) -> None:
        from wsproto.connection import Connection, ConnectionType

        self._connection = connection
        self._frames: Connection = Connection(ConnectionType.SERVER)
        self._message = bytearray()
        self._pending: list[bytes] = []
        self._closed = False

    async def receive(self) -> bytes | None:
        """Return the next whole message (text as UTF-8), None once the client has closed or gone.

        Pings are answered here; a message over 16 MiB or a broken frame ends the connection.
        """
        while not self._pending:
            if self._closed:
                return None
            data = await self._connection.read()
            if not await self._take(data):
                self._closed = True
        return self._pending.pop(0)

    async def _take(self, data: bytes) -> bool:
        from wsproto import events
        from wsproto.utilities import RemoteProtocolError

        try:
            self._frames.receive_data(data or None)
            for event in self._frames.events():
                match event:
                    case events.Message():
                        part = event.data.encode() if isinstance(event.data, str) else event.data
                        if not self._message and event.message_finished:
                            self._pending.append(bytes(part))
                            continue
                        self._message += part
                        if len(self._message) > MAX_MESSAGE_BYTES:
                            await self.close(MESSAGE_TOO_BIG)
                            return False
                        if event.message_finished:
                            self._pending.append(bytes(self._message))
                            self._message.clear()
                    case events.Ping():
                        await self._connection.write(self._frames.send(event.response()))
                    case events.CloseConnection():
                        await self.close(NORMAL_CLOSURE)
                        return False
        except RemoteProtocolError:
            await self.close(PROTOCOL_ERROR)
            return False
        return bool(data)

    async def send(self, data: bytes) -> None:
        """Send one binary message; raise ConnectionError once the connection is closed."""
        from wsproto.events import BytesMessage

        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._connection.write(self._frames.send(BytesMessage(data=data)))

    async def send_text(self, text: str) -> None:
        """Send one text message (the base64 subprotocols)."""
        from wsproto.events import TextMessage

        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._connection.write(self._frames.send(TextMessage(data=text)))

    async def close(self, code: int = NORMAL_CLOSURE) -> None:
        """Send a close frame, once, and close the connection."""
        from wsproto.connection import ConnectionState
        from wsproto.events import CloseConnection

        if self._closed:
            return
        self._closed = True
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            farewell = self._frames.send(CloseConnection(code=code))
            try:
                await self._connection.write(farewell)
            except ConnectionError:
                return
        await self._connection.close()


class WebSocketTunnel:
    """An `UpgradedConnection` whose bytes travel in binary messages; their bounds mean nothing."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """Return the bytes of the next message that has any, b"" at the end."""
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        """Send as one message."""
        await self._socket.send(data)

    async def close(self) -> None:
        """Close the WebSocket normally."""
        await self._socket.close()
