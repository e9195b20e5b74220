"""Talk HTTP/1.1 to one backend over a ByteStream: one request, one streaming answer; TLS where asked.

The bytes are parsed by httptools. A backend's certificate is not checked, as upstream's proxies do not: it is named
by an address, and whoever may use the proxy may open the same connection with port-forward.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proa.client.kubelet_api import ByteStream
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    import ssl

MAX_HEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of an answer; repeated headers are joined by a comma (Set-Cookie by a newline)."""

    status: int
    headers: dict[str, str]


async def connect(stream: ByteStream, scheme: str, host: str) -> ByteStream:
    """Return `stream`, with TLS on it where the scheme is https; raise OSError (ssl.SSLError) on a bad handshake."""
    if scheme != "https":
        return stream
    tls = TlsStream(stream, host)
    try:
        await tls.handshake()
    except BaseException:
        await stream.close()
        raise
    return tls


class Backend:
    """One exchange."""

    def __init__(self, stream: ByteStream) -> None:
        import httptools

        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._upgrade_error = httptools.HttpParserUpgrade
        self._parse_error = httptools.HttpParserError
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._head_done = self._complete = self._has_no_body = False
        self._leftover = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header (httptools)."""
        key, text = name.decode("latin-1").title(), value.decode("latin-1")
        separator = "\n" if key == "Set-Cookie" else ", "
        self._headers[key] = f"{self._headers[key]}{separator}{text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Note the end of the head (httptools); an interim answer (100, 103) is not one."""
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self._head_done = True
        else:
            self._headers.clear()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body (httptools)."""
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer (httptools)."""
        self._complete = self._head_done

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        repeated: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send the request, with headers that may be `repeated`; raise ValueError for one that breaks the framing."""
        lines = [f"{name}: {value}" for name, value in (*headers.items(), *repeated)]
        lines.insert(0, f"{method} {path} HTTP/1.1")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of the request has a line break")
        await self._stream.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def read_head(self, method: str) -> Head:
        """Return the answer's head; raise ConnectionError when there is none, ValueError when it is not HTTP."""
        self._has_no_body = method == "HEAD"
        received = 0
        while not self._head_done:
            data = await self._stream.read()
            if not data:
                raise ConnectionResetError("EOF")
            received += len(data)
            if received > MAX_HEAD_BYTES and not self._head_done:
                raise ValueError("the answer's headers are over 1 MiB")
            self._feed(data)
        return Head(self._parser.get_status_code(), self._headers)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except self._upgrade_error as upgrade:
            self._leftover = data[upgrade.args[0] :]
        except self._parse_error as error:
            raise ValueError(f"malformed HTTP response: {error}") from error

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, then close; raise ConnectionError where it is cut short."""
        has_length = any(name in self._headers for name in ("Content-Length", "Transfer-Encoding"))
        try:
            while True:
                for chunk in self._chunks:
                    yield chunk
                self._chunks.clear()
                if self._complete or self._has_no_body:
                    return
                data = await self._stream.read()
                if not data:
                    if has_length:
                        raise ConnectionResetError("the backend closed the connection within its answer")
                    return
                self._feed(data)
        finally:
            await self.close()

    def raw_stream(self) -> ByteStream:
        """Return the connection after a 101, beginning with what came along with the head."""
        return Prefixed(self._stream, self._leftover)

    async def close(self) -> None:
        """Close the connection."""
        await self._stream.close()


class Prefixed:
    """A ByteStream with some bytes before it."""

    def __init__(self, stream: ByteStream, prefix: bytes) -> None:
        self._stream = stream
        self._prefix = prefix

    async def read(self, limit: int = 65536) -> bytes:
        """See ByteStream."""
        if self._prefix:
            data, self._prefix = self._prefix[:limit], self._prefix[limit:]
            return data
        return await self._stream.read(limit)

    async def write(self, data: bytes) -> None:
        """See ByteStream."""
        await self._stream.write(data)

    async def close_write(self) -> None:
        """See ByteStream."""
        await self._stream.close_write()

    async def close(self) -> None:
        """See ByteStream."""
        await self._stream.close()


class TlsStream:
    """TLS, as a client, over a ByteStream; without a context, no certificate is checked."""

    def __init__(self, stream: ByteStream, host: str, context: ssl.SSLContext | None = None) -> None:
        import ssl

        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._wants_read = ssl.SSLWantReadError
        self._ended = (ssl.SSLZeroReturnError, ssl.SSLEOFError)

    async def handshake(self) -> None:
        """Agree on keys; raise ssl.SSLError."""
        await self._run(self._tls.do_handshake)

    async def read(self, limit: int = 65536) -> bytes:
        """See ByteStream."""
        try:
            return bytes(await self._run(self._tls.read, limit))
        except self._ended:
            return b""

    async def write(self, data: bytes) -> None:
        """See ByteStream."""
        await self._run(self._tls.write, data)

    async def close_write(self) -> None:
        """TLS clients do not close one side only: nothing happens."""

    async def close(self) -> None:
        """See ByteStream."""
        await self._stream.close()

    async def _run(self, step: Any, *arguments: Any) -> Any:
        while True:
            try:
                result = step(*arguments)
            except self._wants_read:
                await self._flush()
                if data := await self._stream.read():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            await self._flush()
            return result

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._stream.write(data)
