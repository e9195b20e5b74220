"""Ask a server over HTTP/1.1 and await the whole answer: bounded in time and in size.

A request that a kept connection turns out to be closed for, before any answer, is sent once more by a new one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.ml.serving.wire.http1_client import ClientConnection, ClosedEarly, Headers
from proa.ml.serving.wire.http1_pool import Pool

MAX_ANSWER_BYTES = 64 * 1024 * 1024


class AskError(Exception):
    """There is no answer: why. `is_late` where time was up."""

    def __init__(self, message: str, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Return the first value of a header, by its name in lower case."""
        return next((value for key, value in self.headers if key == name), b"")


async def ask(
    pool: Pool,
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "",
    seconds: float | None = None,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """Return the answer; raise AskError. `host` is the Host header's value, unless the headers have one."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    data = make_request(method, target, pairs, body, host or _host_of(pool))
    try:
        async with asyncio.timeout(seconds):
            connection = pool.take()
            if connection is not None:
                try:
                    return await _Whole(max_bytes).receive(pool, connection, method, data)
                except ClosedEarly:
                    pass
            connection = await pool.connect()
            return await _Whole(max_bytes).receive(pool, connection, method, data)
    except TimeoutError:
        raise AskError(
            f"no answer within {seconds:g} s" if seconds else "no connection in time", True
        ) from None
    except OSError as error:
        number = error.errno or 0
        raise AskError(os.strerror(number) if number > 0 else str(error)) from None


def make_request(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes, host: str
) -> bytes:
    """Return the bytes of a request; raise AskError for what would be more than one header."""
    lines = [f"{method} {target} HTTP/1.1\r\n"]
    names = set()
    for name, value in headers:
        if "\n" in name or "\r" in name or "\n" in value or "\r" in value:
            raise AskError(f"header {name!r}: must be one line")
        names.add(name.lower())
        lines.append(f"{name}: {value}\r\n")
    if "host" not in names:
        lines.append(f"Host: {host}\r\n")
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}\r\n")
    return "".join([*lines, "\r\n"]).encode("latin-1", "replace") + body


def _host_of(pool: Pool) -> str:
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    return host if pool.port in {80, 443} else f"{host}:{pool.port}"


class _Whole:
    """Receives one answer whole."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self, pool: Pool, connection: ClientConnection, method: str, data: bytes) -> Answer:
        connection.send(self, method, data)
        try:
            await self._ended
        except BaseException:
            connection.abort()
            raise
        pool.give_back(connection)
        return Answer(self._status, self._headers, b"".join(self._pieces))

    def answer_began(self, status: int, reason: bytes, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def answer_data(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            self.answer_failed(ConnectionError(f"the answer is longer than {self._max_bytes} bytes"))
        else:
            self._pieces.append(data)

    def answer_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def answer_failed(self, error: ConnectionError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def answer_flush(self) -> None: ...

    def pause_sending(self) -> None: ...

    def resume_sending(self) -> None: ...
