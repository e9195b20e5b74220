"""Ask servers by HTTP, one connection a request, by way of the proxy that the environment names.

Blocking: it runs in threads of who pulls, and ends at once when the pull is called off (`Stop`). Redirects are
followed, with the credentials left behind at another host, and never from TLS to plain HTTP.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from proa import __version__
from proa.images.errors import Cancelled, RegistryError
from proa.images.registries import Registries

CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""Upstream's image-pull-progress-deadline: a download that gives nothing for so long is cut."""
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class Stop:
    """Call something off from another thread: its connections are cut."""

    def __init__(self) -> None:
        self._calls: set[Callable[[], None]] = set()
        self._children: list[Stop] = []
        self._lock = threading.Lock()
        self.event = threading.Event()

    def child(self) -> Stop:
        """Return what is called off with this, and may be alone."""
        made = Stop()
        with self._lock:
            self._children.append(made)
            if self.event.is_set():
                made.event.set()
        return made

    def set(self) -> None:
        """Call it off."""
        with self._lock:
            self.event.set()
            children = [*self._children]
            calls = [*self._calls]
        for call in calls:
            with contextlib.suppress(OSError):
                call()
        for child in children:
            child.set()

    def check(self) -> None:
        """Raise Cancelled once it is called off."""
        if self.event.is_set():
            raise Cancelled("the pull was called off")

    @contextlib.contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Have something called when it is called off during this context."""
        with self._lock:
            self.check()
            self._calls.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)


class Answer:
    """An answer whose body is being read. `url` is where it came from in the end."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self._response = response
        self.url = url
        self.status = response.status
        self.headers = response.headers

    def read(self, size: int) -> bytes:
        """Return up to this many bytes, b"" at the end; raise OSError or HTTPException when it is cut."""
        return self._response.read1(size)

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; raise RegistryError when it is larger."""
        data = self._response.read(limit + 1)
        if len(data) > limit:
            raise RegistryError(f"{self.url} answers with more than {limit} bytes")
        return data


class Transport:
    """Connections as the registries' configuration says they are to be made."""

    def __init__(self, registries: Registries, stop: Stop) -> None:
        self._registries = registries
        self.stop = stop
        self._plain: set[str] = set()

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | None = None,
        *,
        may_be_plain: bool = False,
    ) -> Iterator[Answer]:
        """Yield the answer; raise OSError or HTTPException where there is none."""
        sent = {"User-Agent": f"proa/{__version__}", **headers}
        for _ in range(_MAX_REDIRECTS):
            with self._once(method, url, sent, body, may_be_plain=may_be_plain) as answer:
                target = answer.headers.get("Location")
                if answer.status not in _REDIRECTS or not target or method not in ("GET", "HEAD"):
                    yield answer
                    return
            target = urljoin(answer.url, target)
            here, there = urlsplit(answer.url), urlsplit(target)
            if there.scheme not in ("http", "https") or (here.scheme, there.scheme) == ("https", "http"):
                raise RegistryError(
                    f"{here.netloc} redirects to {there.scheme}://{there.netloc}, which is not safe"
                )
            if here.netloc != there.netloc:
                sent = {key: value for key, value in sent.items() if key != "Authorization"}
                may_be_plain = False
            url = target
        raise RegistryError(f"{urlsplit(url).netloc} redirects more than {_MAX_REDIRECTS} times")

    @contextlib.contextmanager
    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | None,
        *,
        may_be_plain: bool,
    ) -> Iterator[Answer]:
        host = urlsplit(url).netloc
        if host in self._plain:
            url = "http:" + url.partition(":")[2]
        try:
            connection, target = self._connect(url, may_be_plain=may_be_plain)
        except ssl.SSLError:
            if not may_be_plain:
                raise
            self._plain.add(host)
            url = "http:" + url.partition(":")[2]
            connection, target = self._connect(url, may_be_plain=False)
        try:
            with self.stop.calling(functools.partial(connection.sock.shutdown, socket.SHUT_RDWR)):
                connection.request(method, target, body=body, headers=dict(headers))
                connection.sock.settimeout(SILENCE_SECONDS)
                yield Answer(connection.getresponse(), url)
        except (OSError, http.client.HTTPException):
            self.stop.check()
            raise
        finally:
            connection.close()

    def _connect(self, url: str, *, may_be_plain: bool) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection that is made, and what to ask it for."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        connection: http.client.HTTPConnection
        if is_tls:
            context = self._registries.context(parts.netloc, may_be_plain=may_be_plain)
            to, at = _proxy_address(proxy) if proxy else (host, port)
            connection = http.client.HTTPSConnection(to, at, timeout=CONNECT_SECONDS, context=context)
            if proxy:
                connection.set_tunnel(host, port, headers=_proxy_headers(proxy))
        else:
            to, at = _proxy_address(proxy) if proxy else (host, port)
            connection = http.client.HTTPConnection(to, at, timeout=CONNECT_SECONDS)
            path = url if proxy else path
        self.stop.check()
        connection.connect()
        return connection, path


def _proxy_address(proxy: str) -> tuple[str, int]:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or 3128


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + b64encode(user.encode()).decode()}
