"""Run a command in a container (exec), or join its main process (attach), over WebSocket or SPDY.

The client sees up to five channels: 0 stdin, 1 stdout, 2 stderr, 3 error (one v1.Status at the end, with the
exit code), 4 resize (JSON of Width and Height); with v5 a message on 255 closes a channel. `WebSocketChannels` and
`SpdyChannels` carry them; `serve_session` moves bytes between either one and the kubelet's ExecSession.

Follows apimachinery/pkg/util/remotecommand/constants.go, kubelet/pkg/cri/streaming/remotecommand and
apiserver/pkg/util/proxy/websocket.go.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from proa.apiserver.streams import spdy, websocket
from proa.apiserver.streams.channels import ChannelSocket
from proa.apiserver.streams.context import StreamContext, UpgradedConnection
from proa.apiserver.streams.options import exec_options, find_container, get_kubelet, get_pod
from proa.client.kubelet_api import DistantKubelet, ExecOptions, ExecSession, PodRef
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, BadRequest

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
WEBSOCKET_PROTOCOLS = (V5, V4, "v4.base64.channel.k8s.io", "", "channel.k8s.io", "base64.channel.k8s.io")
SPDY_PROTOCOLS = (V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAM_CREATION_TIMEOUT_SECONDS = 30.0
SUCCESS: Object = {"metadata": {}, "status": "Success"}

Start = Callable[[], Awaitable[ExecSession]]


class Channels(Protocol):
    """The client's end of a session."""

    async def forward_input(self, session: ExecSession) -> None:
        """Pass standard input and sizes on until the client is gone."""

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Send output; raise ConnectionError once the client is gone."""

    async def finish(self, status: Object) -> None:
        """Send the last word on the error channel."""


async def exec_in_pod(request: Request, context: StreamContext) -> Response:
    """Upgrade to a session with a new process in a running container."""
    return await _answer(request, context, attach=False)


async def attach_to_pod(request: Request, context: StreamContext) -> Response:
    """Upgrade to a session with a container's main process; it ends in success whatever the exit code."""
    return await _answer(request, context, attach=True)


async def _answer(request: Request, context: StreamContext, *, attach: bool) -> Response:
    pod = await get_pod(context)
    options = exec_options(request, find_container(pod, request.parameter("container")))
    kubelet = await get_kubelet(context, pod)
    ref = PodRef(context.namespace, context.name, pod["metadata"].get("uid", ""))
    if isinstance(kubelet, DistantKubelet):
        return await kubelet.hand_over(request, "attach" if attach else "exec", ref, options.container)

    async def start() -> ExecSession:
        return await (kubelet.attach(ref, options) if attach else kubelet.exec(ref, options))

    if websocket.is_websocket_request(request):

        async def serve(socket: websocket.WebSocket, subprotocol: str) -> None:
            channels = WebSocketChannels(socket, subprotocol)
            await channels.greet(options)
            await serve_session(start, channels, has_exit_code=not attach)

        return websocket.accept(request, WEBSOCKET_PROTOCOLS, serve)
    protocol = spdy_protocol(request, SPDY_PROTOCOLS)

    async def upgrade(connection: UpgradedConnection) -> None:
        await _serve_spdy(connection, protocol, options, start, has_exit_code=not attach)

    return Response(status=101, headers=spdy_headers(protocol), upgrade=upgrade)


async def serve_session(start: Start, channels: Channels, *, has_exit_code: bool) -> None:
    """Start the command, join it to the client until either is gone, and report how it ended."""
    try:
        session = await start()
    except ApiError as error:
        await channels.finish(error.status())
        return
    incoming = asyncio.ensure_future(channels.forward_input(session))
    outgoing = asyncio.ensure_future(_forward_output(session, channels, has_exit_code=has_exit_code))
    try:
        await asyncio.wait((incoming, outgoing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (incoming, outgoing):
            if not task.done():
                task.cancel()
        outcomes = await asyncio.gather(incoming, outgoing, return_exceptions=True)
        await session.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
            raise outcome


async def _forward_output(session: ExecSession, channels: Channels, *, has_exit_code: bool) -> None:
    try:
        async for stream, data in session.output():
            await channels.send(stream, data)
        exit_code = await session.wait()
    except ApiError as error:
        await channels.finish(error.status())
        return
    await channels.finish(exit_status(exit_code) if has_exit_code else SUCCESS)


def exit_status(exit_code: int) -> Object:
    """Return the Status that tells a client the exit code."""
    if exit_code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: "
        f"command terminated with exit code {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }


class WebSocketChannels:
    """Channels of one WebSocket."""

    def __init__(self, socket: websocket.WebSocket, subprotocol: str) -> None:
        self._channels = ChannelSocket(socket, is_base64="base64" in subprotocol)
        self._can_close = subprotocol == V5
        self._status_is_json = subprotocol.startswith(("v4.", "v5."))

    async def greet(self, options: ExecOptions) -> None:
        """Send an empty message on the lowest channel that has output, so that the client knows it is connected."""
        await self._channels.send(STDOUT if options.stdout else STDERR if options.stderr else ERROR, b"")

    async def forward_input(self, session: ExecSession) -> None:
        """See Channels. A message on another channel is ignored, as upstream does."""
        async for channel, data in self._channels.messages():
            if channel == STDIN and data:
                await session.write(data)
            elif channel == RESIZE:
                await _resize(session, data)
            elif channel == CLOSE and self._can_close and data[:1] == bytes((STDIN,)):
                await session.close_stdin()

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """See Channels."""
        await self._channels.send(STDOUT if stream == "stdout" else STDERR, data)

    async def finish(self, status: Object) -> None:
        """See Channels."""
        if text := _last_word(status, as_json=self._status_is_json):
            await self._channels.send(ERROR, text)


class SpdyChannels:
    """Channels as SPDY streams, told apart by their streamType header."""

    def __init__(
        self, streams: dict[str, spdy.SpdyStream], reader: asyncio.Task[None], protocol: str
    ) -> None:
        self._streams = streams
        self._reader = reader
        self._status_is_json = protocol == V4

    async def forward_input(self, session: ExecSession) -> None:
        """See Channels."""
        tasks = [
            asyncio.ensure_future(forward(self._streams[name], session))
            for name, forward in (("stdin", _forward_stdin), ("resize", _forward_sizes))
            if name in self._streams
        ]
        try:
            await asyncio.shield(self._reader)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """See Channels; output that the client did not ask for goes nowhere."""
        if stream in self._streams:
            await self._streams[stream].write(data)

    async def finish(self, status: Object) -> None:
        """See Channels; ends every stream."""
        if text := _last_word(status, as_json=self._status_is_json):
            await self._streams["error"].write(text)
        for stream in self._streams.values():
            await stream.close_write()


async def _forward_stdin(stream: spdy.SpdyStream, session: ExecSession) -> None:
    while data := await stream.read():
        await session.write(data)
    await session.close_stdin()


async def _forward_sizes(stream: spdy.SpdyStream, session: ExecSession) -> None:
    pending = b""
    while data := await stream.read():
        *sizes, pending = (pending + data).replace(b"}", b"}\n").split(b"\n")
        for size in sizes:
            await _resize(session, size)


async def _resize(session: ExecSession, text: bytes) -> None:
    try:
        size = json.loads(text)
        width, height = int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return
    if 0 < width < 65536 and 0 < height < 65536:
        await session.resize(width, height)


def _last_word(status: Object, *, as_json: bool) -> bytes:
    if as_json:
        return json.dumps(status, separators=(",", ":")).encode()
    return b"" if status["status"] == "Success" else str(status["message"]).encode()


def spdy_protocol(request: Request, known: tuple[str, ...]) -> str:
    """Return the stream protocol to speak on SPDY; raise BadRequest where the client did not ask for SPDY."""
    connection = request.headers.get("connection", "").lower()
    if "upgrade" not in connection or "spdy/3.1" not in request.headers.get("upgrade", "").lower():
        raise BadRequest("Upgrade request required")
    offered = [part.strip() for part in request.headers.get("x-stream-protocol-version", "").split(",")]
    if offered == [""]:
        return known[-1]
    for protocol in offered:
        if protocol in known:
            return protocol
    raise BadRequest(
        "unable to upgrade: unable to negotiate protocol: "
        f"client supports [{' '.join(offered)}], server accepts [{' '.join(known)}]"
    )


def spdy_headers(protocol: str) -> dict[str, str]:
    """Return the headers of the 101 answer."""
    return {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}


async def _serve_spdy(
    connection: UpgradedConnection, protocol: str, options: ExecOptions, start: Start, *, has_exit_code: bool
) -> None:
    session = spdy.SpdyConnection(connection)
    reader = asyncio.ensure_future(session.run())
    try:
        async with asyncio.timeout(STREAM_CREATION_TIMEOUT_SECONDS):
            streams = await _collect(session, _expected_streams(protocol, options))
        if streams is not None:
            await serve_session(start, SpdyChannels(streams, reader, protocol), has_exit_code=has_exit_code)
    except TimeoutError:
        pass  # a client that never opens its streams is let go, as upstream
    finally:
        await session.close()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _expected_streams(protocol: str, options: ExecOptions) -> set[str]:
    wanted = {"stdin": options.stdin, "stdout": options.stdout, "stderr": options.stderr}
    sizes = {"resize"} if options.tty and protocol in (V4, "v3.channel.k8s.io") else set()
    return {"error", *(name for name, is_wanted in wanted.items() if is_wanted), *sizes}


async def _collect(session: spdy.SpdyConnection, expected: set[str]) -> dict[str, spdy.SpdyStream] | None:
    streams: dict[str, spdy.SpdyStream] = {}
    while expected - streams.keys():
        stream = await session.accept()
        if stream is None:
            return None
        kind = stream.headers.get("streamtype", "")
        if kind in expected and kind not in streams:
            streams[kind] = stream
        else:
            await stream.close()
    return streams
