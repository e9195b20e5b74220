"""Answer a registry's requests on one connection: OCI distribution 1.1, and Docker's registry API v2 where they differ.

    /v2/                                     GET
    /v2/_catalog?n=&last=                    GET
    /v2/<name>/tags/list?n=&last=            GET
    /v2/<name>/manifests/<tag or digest>     GET HEAD PUT DELETE
    /v2/<name>/blobs/<digest>                GET HEAD DELETE (one Range)
    /v2/<name>/blobs/uploads/[<id>]          POST (whole, chunked, mount), PATCH PUT GET DELETE
    /v2/<name>/referrers/<digest>            GET: always empty, for only images are kept

A browser's requests from other pages are refused: no Origin is good, and Host must be a name of ours (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from proa import __version__
from proa.images.errors import ImageError
from proa.images.media_types import OCI_INDEX
from proa.images.reference import LOCAL_REGISTRY
from proa.registry.access import Access
from proa.registry.bodies import Body
from proa.registry.errors import Refused
from proa.registry.repositories import MAX_MANIFEST_BYTES, Repositories, check_digest, check_name
from proa.registry.uploads import Uploads

IDLE_SECONDS = 60.0
MAX_LISTED = 1000
_ROUTE = re.compile(
    r"/v2/(?P<name>.+?)/(?P<what>manifests|blobs/uploads|blobs|tags|referrers)/(?P<rest>[^/]*)"
)
_READS = ("GET", "HEAD")
_PIECE = 1 << 18
_DRAINED_BYTES = 16 << 20


class Handler(BaseHTTPRequestHandler):
    """One connection. `is_trusted` tells whether its other end may do everything; `hosts` are our names."""

    protocol_version = "HTTP/1.1"
    server_version = f"proa/{__version__}"
    sys_version = ""
    timeout = IDLE_SECONDS

    def __init__(
        self,
        connection: socket.socket,
        repositories: Repositories,
        uploads: Uploads,
        access: Access,
        is_trusted: Callable[[], bool],
        hosts: frozenset[str],
    ) -> None:
        self._repositories = repositories
        self._uploads = uploads
        self._access = access
        self._is_trusted = is_trusted
        self._hosts = hosts
        self._trusted: bool | None = None
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: names of images are nobody else's."""

    def _serve(self) -> None:
        try:
            self._body = Body(self.rfile, self.headers)
        except Refused as refused:
            self.close_connection = True
            self._refuse(refused)
            return
        try:
            self._route()
        except Refused as refused:
            self._refuse(refused)
        except ImageError as error:
            self._refuse(Refused("BLOB_UNKNOWN", str(error)))
        except ConnectionError:
            self.close_connection = True
        if not self._body.is_done:
            self.close_connection = True  # what is left of a body is no next request

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    # Which request it is, and whether it may be

    def _route(self) -> None:
        self._check_origin()
        parts = urlsplit(self.path)
        self._query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.rstrip("/") == "/v2":
            self._allow("", "")
            self._answer(200, b"{}", {"Content-Type": "application/json"})
            return
        if parts.path == "/v2/_catalog":
            self._only("GET")
            self._allow("list", "")
            self._list("repositories", self._repositories.all(), {})
            return
        found = _ROUTE.fullmatch(parts.path)
        if found is None:
            raise Refused("NAME_INVALID", f"{parts.path} is no place of this registry", 404)
        name, what, rest = found["name"], found["what"], found["rest"]
        check_name(name)
        self._allow({"GET": "get", "HEAD": "get", "DELETE": "delete"}.get(self.command, "update"), name, what)
        match what:
            case "tags":
                self._only("GET")
                self._list("tags", self._repositories.tags(name), {"name": name})
            case "referrers":
                self._only("GET")
                self._answer_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, OCI_INDEX)
            case "manifests":
                self._manifest(name, rest)
            case "blobs":
                self._blob(name, check_digest(rest))
            case _:
                self._upload(name, rest)

    def _only(self, *methods: str) -> None:
        if self.command not in methods:
            raise Refused("UNSUPPORTED", f"{self.command} is not supported here")

    def _check_origin(self) -> None:
        host = urlsplit(f"//{self.headers.get('Host') or ''}").hostname or ""
        if host not in self._hosts and not host.endswith(".localhost"):
            raise Refused("DENIED", f"{host!r} is no name of this registry")
        if self.headers.get("Origin") or self.headers.get("Sec-Fetch-Site") not in (None, "none"):
            raise Refused("DENIED", "no web page may use this registry")

    def _allow(self, verb: str, name: str, what: str = "") -> None:
        """Raise Refused unless who asks may do this; without verb it is enough to know who asks."""
        if self._trusted is None:
            self._trusted = self._is_trusted()
        if what == "blobs/uploads":
            verb = "update"
        authorization = self.headers.get("Authorization") or ""
        answer = self._access.decide(
            is_trusted=self._trusted, authorization=authorization, verb=verb or "get", repository=name
        )
        if not answer.is_known:
            realm = {"WWW-Authenticate": f'Basic realm="{LOCAL_REGISTRY}"'}
            raise Refused("UNAUTHORIZED", answer.reason, headers=realm)
        if verb and not answer.allowed:
            raise Refused("DENIED", answer.reason)

    # Manifests and blobs

    def _manifest(self, name: str, reference: str) -> None:
        if self.command == "PUT":
            data = self._body.read(MAX_MANIFEST_BYTES)
            media_type = (self.headers.get("Content-Type") or "").partition(";")[0].strip()
            target = self._repositories.put_manifest(name, reference, data, media_type)
            place = {
                "Location": f"/v2/{name}/manifests/{target.digest}",
                "Docker-Content-Digest": target.digest,
            }
            self._answer(201, b"", place)
            return
        if self.command == "DELETE":
            self._repositories.delete(name, reference)
            self._answer(202, b"")
            return
        self._only(*_READS)
        target = self._repositories.find_manifest(name, reference)
        data = self._repositories.store.blobs.read(target.digest)
        headers = {"Content-Type": target.media_type, "Docker-Content-Digest": target.digest}
        self._answer(200, data, headers)

    def _blob(self, name: str, digest: str) -> None:
        if self.command == "DELETE":
            self._repositories.forget_blob(name, digest)
            self._answer(202, b"")
            return
        self._only(*_READS)
        if not self._repositories.has_blob(name, digest):
            raise Refused("BLOB_UNKNOWN", f"blob {digest} is not in {name}")
        with self._repositories.store.blobs.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            start, end = self._range(size)
            self.send_response(206 if self._has_range() else 200)
            self._send_common({"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"})
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - start))
            if self._has_range():
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            if self.command == "GET":
                file.seek(start)
                self._copy(file, end - start)

    def _copy(self, file: Any, size: int) -> None:
        while size and (piece := file.read(min(_PIECE, size))):
            self.wfile.write(piece)
            size -= len(piece)

    def _has_range(self) -> bool:
        return bool(re.fullmatch(r"bytes=\d{0,18}-\d{0,18}", self.headers.get("Range") or "bytes=x"))

    def _range(self, size: int) -> tuple[int, int]:
        """Return (first byte, byte behind the last) of what is asked for."""
        if not self._has_range():
            return 0, size
        first, _, last = (self.headers["Range"]).removeprefix("bytes=").partition("-")
        start = int(first) if first else max(size - int(last or 0), 0)
        end = min(int(last) + 1, size) if first and last else size
        if not (first or last) or start >= end:
            raise Refused(
                "SIZE_INVALID", "the range is not in the blob", 416, {"Content-Range": f"bytes */{size}"}
            )
        return start, end

    # Uploads

    def _upload(self, name: str, identifier: str) -> None:
        if not identifier:
            self._only("POST")
            self._begin(name)
        elif self.command == "PATCH":
            size = self._uploads.append(name, identifier, self._body.pieces(), self._chunk_start())
            self._tell_upload(name, identifier, size, 202)
        elif self.command == "PUT":
            self._finish(name, identifier, self._digest())
        elif self.command == "DELETE":
            self._uploads.cancel(name, identifier)
            self._answer(204, b"")
        else:
            self._only("GET", "PATCH", "PUT", "DELETE")
            self._tell_upload(name, identifier, self._uploads.size(name, identifier), 204)

    def _begin(self, name: str) -> None:
        mounted, source = self._query.get("mount", ""), self._query.get("from", "")
        if mounted and source and self._mount(name, check_digest(mounted), source):
            return
        digest = self._query.get("digest", "")
        if digest:
            check_digest(digest)
        identifier = self._uploads.begin(name)
        if digest:
            self._finish(name, identifier, digest)
            return
        self._tell_upload(name, identifier, 0, 202)

    def _mount(self, name: str, digest: str, source: str) -> bool:
        """Show a blob of another repository in this one, where whoever asks may see it there."""
        check_name(source)
        try:
            self._allow("get", source)
        except Refused:
            return False
        if not self._repositories.has_blob(source, digest):
            return False
        self._tell_blob(name, digest)
        return True

    def _finish(self, name: str, identifier: str, digest: str) -> None:
        self._uploads.append(name, identifier, self._body.pieces(), self._chunk_start())
        self._uploads.finish(name, identifier, digest)
        self._tell_blob(name, digest)

    def _digest(self) -> str:
        if "digest" not in self._query:
            raise Refused("DIGEST_INVALID", "?digest= is missing")
        return check_digest(self._query["digest"])

    def _chunk_start(self) -> int | None:
        """Return where a chunk is to begin, None where that is not told."""
        told = self.headers.get("Content-Range")
        if not told:
            return None
        found = re.fullmatch(r"(?:bytes )?(\d{1,18})-(\d{1,18})(?:/.*)?", told.strip())
        if found is None:
            raise Refused("BLOB_UPLOAD_INVALID", f"Content-Range {told!r} is not <first>-<last>", 416)
        return int(found[1])

    def _tell_upload(self, name: str, identifier: str, size: int, status: int) -> None:
        place = f"/v2/{name}/blobs/uploads/{identifier}"
        headers = {"Location": place, "Docker-Upload-UUID": identifier, "Range": f"0-{max(size - 1, 0)}"}
        self._answer(status, b"", headers)

    def _tell_blob(self, name: str, digest: str) -> None:
        self._repositories.note(name, digest)
        self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    # Answers

    def _list(self, key: str, names: list[str], more: dict[str, Any]) -> None:
        limit = self._query.get("n", "")
        if not re.fullmatch(r"[0-9]{0,9}", limit):
            raise Refused("SIZE_INVALID", "?n= should be a number of at most 9 digits")
        count = min(int(limit or MAX_LISTED), MAX_LISTED)
        after = [name for name in names if name > self._query.get("last", "")]
        shown = after[:count]
        headers = {"Content-Type": "application/json"}
        if len(after) > count and shown:
            headers["Link"] = f'<{urlsplit(self.path).path}?n={count}&last={shown[-1]}>; rel="next"'
        self._answer(200, json.dumps({**more, key: shown}).encode(), headers)

    def _answer_json(self, document: dict[str, Any], media_type: str) -> None:
        self._answer(200, json.dumps(document).encode(), {"Content-Type": media_type})

    def _refuse(self, refused: Refused) -> None:
        """Refuse, after what little is left of the body was read: who still sends hears no answer."""
        if (body := getattr(self, "_body", None)) is not None and not body.is_done:
            with contextlib.suppress(Refused, ConnectionError):
                left = _DRAINED_BYTES
                for piece in body.pieces():
                    left -= len(piece)
                    if left < 0:
                        break
        self._answer(refused.status, refused.body, {"Content-Type": "application/json", **refused.headers})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if not self._body_is_done():
            self.close_connection = True
        self.send_response(status)
        self._send_common(headers or {})
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body_is_done(self) -> bool:
        body = getattr(self, "_body", None)
        return body is not None and body.is_done

    def _send_common(self, headers: dict[str, str]) -> None:
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name, value)
