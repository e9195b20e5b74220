"""Share one WebSocket among channels: the first byte of each message says which, or, as base64 text, its first digit.

Follows apimachinery/pkg/util/httpstream/wsstream/conn.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator

from proa.apiserver.streams.websocket import WebSocket


class ChannelSocket:
    """Messages with their channel, both ways."""

    def __init__(self, socket: WebSocket, *, is_base64: bool) -> None:
        self._socket = socket
        self._base64 = is_base64

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (channel, data) until the client has gone, or sends what cannot be decoded."""
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            if not self._base64:
                yield message[0], message[1:]
                continue
            try:
                data = base64.b64decode(message[1:], validate=True)
            except binascii.Error:
                return
            yield message[0] - ord("0"), data

    async def send(self, channel: int, data: bytes) -> None:
        """Send one message; raise ConnectionError once the client has gone."""
        if self._base64:
            await self._socket.send_text(f"{chr(ord('0') + channel)}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send(bytes((channel,)) + data)
