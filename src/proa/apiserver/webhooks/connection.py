"""Speak HTTP/1.1 over a ByteStream, request after request: small answers that are read whole, and are bounded.

Parsed by httptools. Streams and upgrades are for streams/http_backend.py, which keeps one exchange a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proa.apiserver.streams.http_backend import TlsStream
from proa.client.kubelet_api import ByteStream
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    import ssl

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class NoAnswer(Exception):
    """The connection ended before an answer was there, or what came is no answer; the message is in Go's words.

    `is_stale` where nothing at all came on a connection that had been used before: the server had closed it.
    """

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


async def secure(stream: ByteStream, context: ssl.SSLContext, server_name: str) -> ByteStream:
    """Return the connection with TLS on it; raise NoAnswer where the server's certificate is not to be trusted."""
    import ssl

    try:
        tls = TlsStream(stream, server_name, context)
        await tls.handshake()
    except ssl.SSLCertVerificationError as error:
        await stream.close()
        raise NoAnswer(f"tls: failed to verify certificate: x509: {_distrust(error, server_name)}") from error
    except (OSError, ValueError) as error:
        await stream.close()
        raise NoAnswer(
            "EOF" if isinstance(error, ssl.SSLEOFError) else f"remote error: tls: {error}"
        ) from error
    except BaseException:
        await stream.close()
        raise
    return tls


def _distrust(error: ssl.SSLCertVerificationError, server_name: str) -> str:
    if error.verify_code in (18, 19, 20, 21):
        return "certificate signed by unknown authority"
    if error.verify_code in (9, 10):
        return f"certificate has expired or is not yet valid: {error.verify_message}"
    if error.verify_code in (62, 64):
        return f"certificate is not valid for {server_name}"
    return error.verify_message


class Connection:
    """A connection that is kept for further requests."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.idle_since = 0.0
        self.is_reusable = True
        self._was_used = False
        self._start()

    def _start(self) -> None:
        import httptools

        self._parser = httptools.HttpResponseParser(self)
        self._parse_error = (httptools.HttpParserError, httptools.HttpParserUpgrade)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header (httptools)."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body (httptools)."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note the end (httptools); an interim answer is none."""
        if self._parser.get_status_code() >= 200:
            self._complete = True
            self.is_reusable = self._parser.should_keep_alive()
        else:
            self._headers.clear()

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request and return the answer; raise NoAnswer, after which the connection is of no more use."""
        self._start()
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of the request has a line break")
        reused, self._was_used = self._was_used, True
        try:
            await self._stream.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            await self._receive(reused)
        except OSError as error:
            self.is_reusable = False
            raise NoAnswer(f"read: {error.strerror or error}", is_stale=reused and not self._size) from error
        except BaseException:
            self.is_reusable = False
            raise
        return Answer(self._parser.get_status_code(), self._headers, b"".join(self._body))

    async def _receive(self, reused: bool) -> None:
        while not self._complete:
            data = await self._stream.read()
            if not data:
                if self._size and not _is_framed(self._headers) and self._headers:
                    self.is_reusable = False
                    return
                raise NoAnswer("unexpected EOF" if self._size else "EOF", is_stale=reused and not self._size)
            self._size += len(data)
            if self._size > MAX_ANSWER_BYTES:
                raise NoAnswer(f"the answer is over {MAX_ANSWER_BYTES} bytes")
            if self._size > MAX_HEAD_BYTES and not self._headers:
                raise NoAnswer("server response headers exceeded")
            try:
                self._parser.feed_data(data)
            except self._parse_error as error:
                raise NoAnswer(f"malformed HTTP response: {error}") from error

    async def close(self) -> None:
        """Close it."""
        self.is_reusable = False
        await self._stream.close()


def _is_framed(headers: Mapping[str, str]) -> bool:
    return "content-length" in headers or "transfer-encoding" in headers
