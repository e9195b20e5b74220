"""A registry in this process that goes wrong as it is told to: cuts, lies, is busy, asks who is there."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.images import digest, make_archive

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass
class FakeRegistry:
    """What it has: documents by tag or digest, blobs by digest. `asked` are the requests: method, path, headers."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """By blob: after how many bytes of each answer the connection is cut."""
    has_ranges: bool = True
    busy: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    users: dict[str, str] = field(default_factory=dict)
    scheme: str = "bearer"
    redirect: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    host: str = ""

    def add_image(self, tag: str, layers: list[bytes] | None = None, **config: Any) -> str:
        """Make an image of layers' archives; return the digest of its manifest."""
        layers = [make_archive({"file": b"content"})] if layers is None else layers
        diff_ids = [digest(layer) for layer in layers]
        document = {"architecture": "amd64", "os": "linux", "config": config}
        encoded = json.dumps({**document, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(encoded), "size": len(encoded)},
            "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)} for layer in layers],
        }
        self.blobs |= {digest(blob): blob for blob in (encoded, *layers)}
        return self.add_manifest(tag, MANIFEST, manifest)

    def add_manifest(self, tag: str, media_type: str, document: Any) -> str:
        """Have a document under a tag; return its digest."""
        data = json.dumps(document).encode()
        self.manifests[tag] = self.manifests[digest(data)] = (media_type, data)
        return digest(data)

    def paths(self, method: str = "GET") -> list[str]:
        """Return what was asked for."""
        return [path for asked, path, _ in self.asked if asked == method]


@contextlib.contextmanager
def serve(registry: FakeRegistry) -> Iterator[FakeRegistry]:
    """Serve it on loopback; `host` is where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            registry.asked.append((self.command, self.path, dict(self.headers)))
            if parts.path == "/token":
                self._token(parse_qs(parts.query))
            elif registry.busy:
                self._answer(registry.busy.pop(0), b'{"errors": [{"code": "BUSY", "message": "later"}]}')
            elif registry.users and not self._is_allowed():
                scheme = f'Bearer realm="http://{registry.host}/token",service="harbour",scope="repository:app:pull"'
                challenge = scheme if registry.scheme == "bearer" else 'Basic realm="harbour"'
                self._answer(401, b"{}", {"WWW-Authenticate": challenge})
            elif "/manifests/" in parts.path:
                self._manifest(parts.path.rpartition("/")[2])
            elif "/blobs/" in parts.path:
                self._blob(parts.path.rpartition("/")[2])
            else:
                self._answer(404, b"{}")

        def _is_allowed(self) -> bool:
            sent = self.headers.get("Authorization") or ""
            if registry.scheme == "basic":
                return self._user(sent) is not None
            return sent == "Bearer good"

        def _user(self, sent: str) -> str | None:
            name, _, password = base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")
            return name if sent and registry.users.get(name) == password else None

        def _token(self, query: dict[str, list[str]]) -> None:
            if self._user(self.headers.get("Authorization") or "") is None:
                self._answer(401, b'{"details": "incorrect username or password"}')
            else:
                self._answer(
                    200, json.dumps({"token": "good", "expires_in": 300, "scope": query["scope"]}).encode()
                )

        def _manifest(self, name: str) -> None:
            if name not in registry.manifests:
                self._answer(
                    404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
                )
                return
            media_type, data = registry.manifests[name]
            self._answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest(data)})

        def _blob(self, name: str) -> None:
            if registry.redirect:
                self._answer(307, b"", {"Location": f"{registry.redirect}{self.path}"})
                return
            data = registry.blobs[name]
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and registry.has_ranges else 0
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
            cuts = registry.cuts.get(name) or []
            cut = cuts.pop(0) if cuts else -1
            self._answer(206 if start else 200, data[start:], headers, cut)

        def _answer(
            self, status: int, data: bytes, headers: dict[str, str] | None = None, cut: int = -1
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(data if cut < 0 else data[:cut])
            if cut == 0:
                registry.stalled.set()
                self.rfile.read(1)  # until the client goes
            if cut >= 0:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
