"""The floor of an API server: asyncio, httptools and TLS, and where a body comes, an fdatasync before its answer.

It knows no objects: GET /N answers N bytes, GET /watch never ends, and any body goes to a file that one thread
syncs, a batch at a time, and then to all watchers. `python bare_server.py CERTIFICATE KEY FILE` prints its port.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httptools

PIECE_BYTES = 200 * 1024


@contextmanager
def bare_server(key_pair: tuple[str, str]) -> Iterator[tuple[int, int]]:
    """Yield the (pid, port) of a bare server in a process of its own."""
    with TemporaryDirectory(prefix="proa-bench-") as folder:
        command = [sys.executable, __file__, *key_pair, str(Path(folder) / "log")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.pid, int(process.stdout.readline())
            finally:
                process.terminate()


class Log:
    """Appends bodies; tells each writer when its own is on disk."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.posix_fallocate(self._file, 0, 64 << 20)
        self._waiting: list[tuple[bytes, Connection]] = []
        self._is_syncing = False
        self.watchers: set[asyncio.Transport] = set()

    def append(self, body: bytes, connection: Connection) -> None:
        """Queue a body; its connection is told when it is durable."""
        self._waiting.append((body, connection))
        if not self._is_syncing:
            self._is_syncing = True
            asyncio.get_running_loop().create_task(self._sync())

    async def _sync(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            data = b"".join([body for body, _ in batch])
            await loop.run_in_executor(None, self._write, data)
            for body, connection in batch:
                connection.answer(body)
            for watcher in self.watchers:
                watcher.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._is_syncing = False

    def _write(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fdatasync(self._file)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self._log.watchers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._body:
            self._log.append(self._body, self)
        elif self._url == b"/watch":
            self._log.watchers.add(self._transport)
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            self.answer(b"." * int(self._url[1:]))

    def answer(self, body: bytes) -> None:
        """Send an answer."""
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), PIECE_BYTES):
            self._transport.write(body[start : start + PIECE_BYTES])


async def serve(certificate: str, key: str, path: str) -> None:
    """Serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    log = Log(path)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(log), "127.0.0.1", 0, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(*sys.argv[1:]))
    else:
        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve(*sys.argv[1:]))
