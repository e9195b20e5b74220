"""An HTTP server for tests of downloads: files with tags and ranges; it breaks off and refuses as it is told."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Asked:
    """A request that came; headers by names as `If-Range`."""

    path: str
    query: str
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


@dataclass
class FileServer:
    """What is served, and what was asked for; `break_after` ends so many answers' bodies after so many bytes."""

    files: dict[str, bytes] = field(default_factory=dict)
    routes: dict[str, Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    break_after: list[int] = field(default_factory=list)
    has_tags: bool = True
    hold_after_break: bool = False
    """Whether the connection stays open, and silent, until `released`."""
    broken: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def ranges(self, path: str) -> list[str]:
        """Return the ranges that were asked for at a path; "" where all was."""
        return [one.headers.get("Range", "") for one in self.asked if one.path == path]


@contextmanager
def run_file_server(tls: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """Run one, empty, on loopback until the block ends; with `tls` it speaks HTTPS."""
    served = FileServer(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer_to(b"")

        def _answer_to(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                unquote(parts.path),
                parts.query,
                {name.title(): value for name, value in self.headers.items()},
                self.command,
                body,
            )
            served.asked.append(asked)
            route = next(
                (made for prefix, made in served.routes.items() if asked.path.startswith(prefix)), None
            )
            if route is not None:
                self._answer(*route(asked))
            elif asked.path in served.files:
                self._file(served.files[asked.path], asked)
            else:
                self._answer(404, {}, b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self._answer_to(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _file(self, data: bytes, asked: Asked) -> None:
            headers = {"Content-Type": "application/octet-stream"}
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            if served.has_tags:
                headers["ETag"] = tag
            wanted = asked.headers.get("Range", "")
            if wanted and asked.headers.get("If-Range", tag) == tag:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self._answer(206, headers, data[start:])
            else:
                self._answer(200, headers, data)

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if served.break_after and len(body) > served.break_after[0]:
                self.wfile.write(body[: served.break_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                if served.hold_after_break:
                    served.broken.set()
                    served.released.wait(60)
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
