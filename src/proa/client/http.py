"""Reach an API server over HTTP/1.1: kept-alive connections, answers as they come.

Small answers are read whole; a chunked one (a watch, a log) is handed on as a stream, and its connection goes back
to the pool only when the stream has ended. A request is sent again only where that is harmless: a GET whose
pooled connection the server had closed. A server that is gone without a farewell is noticed: by TCP's own probes, and
by an answer, or a watch, that stays silent for too long. Framing follows RFC 9112, by httptools.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import quote, urlencode, urlsplit

import httptools

from proa.client.protocol import Request, Response
from proa.client.proxy import Proxy, open_tunnel
from proa.objects.errors import ServiceUnavailable, Timeout

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""How long the head of an answer may take, and the next part of one that is no watch."""
WATCH_GRACE_SECONDS = 30.0
"""A watch that has said nothing for so much longer than it was to last is dead."""
REQUESTS_AT_ONCE = 64
"""Further requests wait; a watch counts until it has begun."""
PROBE_SECONDS = 30
"""An idle connection is probed after so long (TCP keep-alive), thrice."""
IDLE_CONNECTIONS = 64
IDLE_SECONDS = 60.0
"""A connection unused for longer is not used again: servers close theirs after 90 s."""
READ_BYTES = 64 * 1024


class HttpTransport:
    """`client.protocol.Transport` to one server, e.g. "https://127.0.0.1:6443".

    `token` is a bearer token, or what returns the one of the moment.
    """

    def __init__(
        self,
        server: str,
        ssl_context: ssl.SSLContext | None = None,
        token: str | Callable[[], str] = "",
        tls_server_name: str = "",
        proxy: Proxy | None = None,
    ) -> None:
        parts = urlsplit(server)
        self._server = server
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._ssl = ssl_context
        self._tls_server_name = tls_server_name or None
        self._headers = {"host": parts.netloc}
        self._token = token
        self._proxy = proxy
        self._origin = ""
        if proxy is not None and ssl_context is None:  # in the clear a proxy is told the whole address
            self._origin = f"{parts.scheme}://{parts.netloc}"
            if proxy.authorization:
                self._headers["proxy-authorization"] = proxy.authorization
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._idle: list[_Connection] = []
        self._connections: set[_Connection] = set()
        self._closed = False

    async def send(self, request: Request) -> Response:
        """Return the answer, whole or as a stream; raise ServiceUnavailable, Timeout."""
        async with self._slots:
            connection = self._find_idle()
            if connection is not None:
                try:
                    return await self._ask(connection, request)
                except _ClosedBeforeAnswer:
                    if request.method != "GET":
                        raise
            return await self._ask(await self._connect(), request)

    def use(self, ssl_context: ssl.SSLContext) -> None:
        """Make connections with these settings (another certificate); no later request goes by one made before."""
        self._ssl = ssl_context
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def close(self) -> None:
        """Close all connections; streams under way end with an error."""
        self._closed = True
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*(connection.wait_closed() for connection in self._connections))
        await asyncio.sleep(0)  # those that were cut off a moment ago end too

    def _find_idle(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        if self._closed:
            raise ServiceUnavailable("the client is closed")
        settings = self._ssl
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await self._open()
        except TimeoutError:
            raise ServiceUnavailable(
                f"{self._server} did not answer within {CONNECT_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            raise ServiceUnavailable(f"cannot connect to {self._server}: {error.strerror or error}") from None
        self._connections = {known for known in self._connections if not known.is_closing}
        connection = _Connection(reader, writer, settings)
        self._connections.add(connection)
        return connection

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, through the proxy where there is one; raise OSError, ServiceUnavailable."""
        host, port = (self._host, self._port) if self._proxy is None else self._proxy[:2]
        is_direct = self._proxy is None and self._ssl is not None
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=self._ssl if is_direct else None,
            server_hostname=self._tls_server_name if is_direct else None,
        )
        try:
            _probe(writer.get_extra_info("socket"))
            if self._proxy is not None and self._ssl is not None:
                await open_tunnel(reader, writer, self._proxy, self._host, self._port)
                await writer.start_tls(self._ssl, server_hostname=self._tls_server_name or self._host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _ask(self, connection: _Connection, request: Request) -> Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.write(self._encode(request))
                head = await connection.read_head()
            if head.is_chunked:
                stream = self._stream(connection, silence_of(request))
                return Response(head.status, head.headers, stream=stream)
            body = b"".join([piece async for piece in connection.pieces(ANSWER_SECONDS)])
        except TimeoutError:
            connection.close()
            raise Timeout(f"{self._server} did not answer within {ANSWER_SECONDS:.0f} s") from None
        except (OSError, httptools.HttpParserError) as error:
            connection.close()
            raise ServiceUnavailable(f"the connection to {self._server} broke: {error}") from None
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return Response(head.status, head.headers, body)

    async def _stream(self, connection: _Connection, silence: float | None) -> AsyncIterator[bytes]:
        try:
            async for piece in connection.pieces(silence):
                yield piece
        except TimeoutError:
            connection.close()
            raise Timeout(f"{self._server} has said nothing for {silence:.0f} s") from None
        except (OSError, httptools.HttpParserError) as error:
            raise ServiceUnavailable(f"the connection to {self._server} broke: {error}") from None
        finally:
            self._give_back(connection)

    def _give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer has been read to its end; close any other."""
        is_ours = not self._closed and connection.settings is self._ssl
        if connection.is_usable and is_ours and len(self._idle) < IDLE_CONNECTIONS:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    def _encode(self, request: Request) -> bytes:
        target = self._origin + quote(self._prefix + request.path, safe="/:")
        if request.query:
            target += "?" + urlencode(request.query, doseq=True)
        headers = {**request.headers, **self._headers}
        if token := self._token if isinstance(self._token, str) else self._token():
            headers["authorization"] = f"Bearer {token}"
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(len(request.body))
        lines = [
            f"{request.method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


def silence_of(request: Request) -> float | None:
    """Return how long nothing may come of an answer that comes in parts; None for as long as it likes (a log)."""
    if request.parameter("watch"):
        seconds = request.parameter("timeoutSeconds")
        return int(seconds) + WATCH_GRACE_SECONDS if seconds else None
    return None if request.method != "GET" or request.parameter("follow") else ANSWER_SECONDS


def _probe(connected: socket.socket | None) -> None:
    """Have the kernel find out when the other side is gone."""
    if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS // 3)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


class _ClosedBeforeAnswer(ServiceUnavailable):
    """The server closed the connection without a byte of an answer."""


class _Head:
    """Status and headers of an answer."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()


class _Connection:
    """One connection, one request at a time. The methods `on_*` are httptools' callbacks."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self.idle_since = 0.0
        self._reader = reader
        self._writer = writer
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._has_head = False
        self._is_complete = False
        self._is_kept = True

    @property
    def is_usable(self) -> bool:
        """Tell whether another request may be sent: the last answer is complete, and the server has not closed."""
        return self._is_kept and self._is_complete and not self._reader.at_eof() and not self.is_closing

    async def write(self, data: bytes) -> None:
        """Send a request and get ready for its answer."""
        self._begin()
        self._writer.write(data)
        await self._writer.drain()

    async def read_head(self) -> _Head:
        """Return the answer's head."""
        while not self._has_head:
            await self._read()
        return _Head(self._parser.get_status_code(), self._headers)

    async def pieces(self, silence: float | None) -> AsyncIterator[bytes]:
        """Yield the answer's body as it comes; raise TimeoutError when nothing does for so many seconds."""
        while True:
            body, self._body = self._body, []
            if body:
                yield b"".join(body)
            elif self._is_complete:
                return
            else:
                async with asyncio.timeout(silence):
                    await self._read()

    async def _read(self) -> None:
        data = await self._reader.read(READ_BYTES)
        if data:
            self._parser.feed_data(data)
        elif not self._has_head and not self._headers:
            self.close()
            raise _ClosedBeforeAnswer("the server closed the connection without an answer")
        elif "content-length" in self._headers or "transfer-encoding" in self._headers or not self._has_head:
            raise ConnectionError("the server closed it in the middle of an answer")
        else:  # an answer without framing ends with its connection
            self._is_complete, self._is_kept = True, False

    @property
    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        return self._writer.is_closing()

    def close(self) -> None:
        """Close at once, without a TLS farewell that the server might keep us waiting for."""
        self._writer.transport.abort()

    async def wait_closed(self) -> None:
        """Return when it is closed; how it went does not matter any more."""
        with suppress(OSError):
            await self._writer.wait_closed()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._has_head:  # 100 Continue and the like: the answer is still to come
            self._headers = {}
            return
        self._is_complete = True
        self._is_kept = self._parser.should_keep_alive()
