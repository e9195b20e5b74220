"""A real Envoy on this machine's loopback, with backends that say what they were sent."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from proa.network.data_path import Endpoint
from proa.network.gateway.certificates import Certificate
from proa.network.gateway.model import BackendKey, Door, ObjectKey
from proa.network.gateway.proxy import Proxy, Snapshot


class HostPlace:
    """A `Place` without namespaces: Envoy runs as we do, on loopback."""

    address = "127.0.0.1"
    namespaces: Sequence[str] = ()
    can_change_user = False
    supervisor = 0

    async def open_listener(self, address: str, port: int) -> socket.socket:
        listener = socket.create_server((address, port))
        listener.setblocking(False)
        return listener


class Answer:
    """What came back for a request."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def seen(self) -> dict[str, Any]:
        """Return what the backend says that it was sent."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def fetch(
    port: int,
    path: str = "/",
    host: str = "x.io",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    tls: str = "",
) -> Answer:
    """Send one request on a connection of its own; `tls` is the server name to ask for."""
    connection = connect(port, tls)
    try:
        connection.request(method, path, headers={"Host": host, **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def connect(port: int, tls: str = "") -> http.client.HTTPConnection:
    """Return a connection; `tls` is the server name to ask for, "" for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection.sock = context.wrap_socket(connection.sock, server_hostname=tls)
    return connection


def served_certificate(port: int, server_name: str) -> str:
    """Return the certificate that is shown to those who ask for that name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        with context.wrap_socket(plain, server_hostname=server_name) as wrapped:
            found = wrapped.getpeercert(True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found)


class Backend:
    """A server that answers each request with what it was sent; `requests` are the paths so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[str] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                backend.requests.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if "x-sleep" in headers:
                    backend.stopping.wait(float(headers["x-sleep"]))
                body = json.dumps({"backend": backend.name, "path": self.path, "headers": headers}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_OPTIONS = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                return

        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint(self) -> Endpoint:
        """Return where it listens."""
        return Endpoint("127.0.0.1", self._server.server_address[1])

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def running_backends(*names: str) -> Iterator[dict[str, Backend]]:
    """Have backends of these names."""
    backends = {name: Backend(name) for name in names}
    for backend in backends.values():
        backend.start()
    try:
        yield backends
    finally:
        for backend in backends.values():
            backend.stop()


@contextlib.asynccontextmanager
async def running_proxy(
    folder: Path, snapshot: Snapshot, place: HostPlace | None = None
) -> AsyncIterator[Proxy]:
    """Have an Envoy that does as the snapshot says."""
    proxy = Proxy(folder, place or HostPlace(), "127.0.0.1")
    try:
        await proxy.start(snapshot)
        yield proxy
    finally:
        await proxy.stop()


def make_snapshot(
    doors: Sequence[Door],
    backends: Mapping[str, Backend],
    certificates: Mapping[ObjectKey, Certificate] | None = None,
) -> Snapshot:
    """Return a snapshot in which the Service of a backend's name leads to it; others have no endpoints."""
    keys = {
        key for door in doors for routes in door.sites.values() for route in routes for key in route.backends
    }
    endpoints: dict[BackendKey, tuple[Endpoint, ...]] = {
        key: (backends[key.service.name].endpoint,) if key.service.name in backends else () for key in keys
    }
    return Snapshot(tuple(doors), endpoints, certificates or {})


class Load:
    """Requests without end, on kept connections and on new ones; `failures` says what became of those that failed."""

    def __init__(self, port: int, workers: int = 3, tls: str = "") -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._port = port
        self._tls = tls
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(workers)]

    async def __aenter__(self) -> Load:
        self.start()
        await self.more()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once what is under way is answered."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    async def more(self, requests: int = 25) -> None:
        """Return when so many more requests were answered."""
        wanted = self.answered + requests
        async with asyncio.timeout(60):
            while self.answered < wanted:
                await asyncio.sleep(0.005)

    def _work(self, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._ending.is_set():
            try:
                connection = connection or connect(self._port, self._tls)
                connection.request("POST", "/load", body=b"x" * 100, headers={"Host": "x.io"})
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(f"{response.status} {dict(response.getheaders())}")
                if number == 0 or response.will_close:
                    connection.close()
                    connection = None
            except OSError as error:
                self.failures.append(repr(error))
                connection = None
            except http.client.HTTPException as error:
                self.failures.append(repr(error))
                connection = None
            self.answered += 1
        if connection is not None:
            connection.close()
