"""Tell of changes over a WebSocket: each event is one message (endpoints/handlers/watch.go, HandleWS).

Events in JSON are messages of text, those in protobuf of bytes, without the length that frames have elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib

from proa.apiserver.handlers.watch import WatchStream
from proa.apiserver.streams.websocket import WebSocket, accept, is_websocket_request, offered_subprotocols
from proa.client.protocol import Request, Response

__all__ = ["is_websocket_request", "watch_over_websocket"]


def watch_over_websocket(request: Request, stream: WatchStream, *, is_protobuf: bool) -> Response:
    """Return the 101 answer; the watch ends with the connection, whichever side ends it."""

    async def serve(socket: WebSocket, subprotocol: str) -> None:
        client = asyncio.ensure_future(_until_closed(socket))
        client.add_done_callback(lambda _: stream.close())
        try:
            with contextlib.suppress(ConnectionError):
                async for events in stream:
                    for event in events.splitlines():
                        await _send(socket, event, is_protobuf)
        finally:
            client.cancel()
            await stream.aclose()

    known = ["", *(p for p in offered_subprotocols(request) if "bearer.authorization" not in p)]
    return accept(request, known, serve)


async def _send(socket: WebSocket, event: bytes, is_protobuf: bool) -> None:
    if is_protobuf:
        from proa.apiserver.protobuf.encode import encode_event

        await socket.send(encode_event(event))
    else:
        await socket.send_text(event.decode())


async def _until_closed(socket: WebSocket) -> None:
    while await socket.receive() is not None:
        pass  # what a watcher says means nothing
