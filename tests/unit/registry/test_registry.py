"""The cluster's registry as clients speak to it: OCI distribution over real connections, without a cluster."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import io
import json
import os
import socket
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.images.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from proa.images.store import ImageStore
from proa.registry.access import Answer, is_own_process, read_token
from proa.registry.server import RegistryServer

HOSTS = frozenset({"127.0.0.1", "proa.local"})
ABSENT = "sha256:" + "0" * 64


class Rules:
    """Lets everybody do everything while it `trusts`, else `token` what `allowed` has: (verb, repository)."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str]] = set()
        self.trusts = True

    def decide(self, *, is_trusted: bool, authorization: str, verb: str, repository: str) -> Answer:
        if self.trusts:
            return Answer(True, True)
        if read_token(authorization) != "token":
            return Answer(False, False, "who are you?")
        return Answer((verb, repository) in self.allowed, True, "no")


class Client:
    """A client of one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body; `Content_Range` names the header Content-Range."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, sent, encode_chunked=not isinstance(body, bytes | None))
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def port(tmp_path: Path, rules: Rules) -> Iterator[int]:
    """Serve a registry in a thread's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = socket.create_server(("127.0.0.1", 0))

    def no_tls() -> ssl.SSLContext:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def start() -> tuple[RegistryServer, Any]:
        server = RegistryServer(tmp_path / "images", lambda: rules, no_tls, HOSTS)
        return server, server.listen(listener, is_host=True)

    server, on = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield on.port

    async def stop() -> None:
        on.close()
        await server.close()

    asyncio.run_coroutine_threadsafe(stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    found = Client(port)
    yield found
    found.close()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def code_of(body: bytes) -> str:
    return str(json.loads(body)["errors"][0]["code"])


def make_layer(name: str = "file") -> tuple[bytes, str]:
    """Return a layer's blob and its diff_id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 2
        archive.addfile(info, io.BytesIO(b"hi"))
    return gzip.compress(buffer.getvalue(), mtime=0), digest_of(buffer.getvalue())


def push_blob(client: Client, name: str, data: bytes) -> str:
    """Push a blob in one request."""
    digest = digest_of(data)
    status, headers, _ = client("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data)
    assert (status, headers["Docker-Content-Digest"]) == (201, digest)
    return digest


def make_manifest(client: Client, name: str, layer_name: str = "file") -> bytes:
    """Push the blobs of an image, and return its manifest."""
    layer, diff_id = make_layer(layer_name)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    ).encode()
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": push_blob(client, name, config), "size": len(config)},
        "layers": [
            {"mediaType": f"{OCI_LAYER}+gzip", "digest": push_blob(client, name, layer), "size": len(layer)}
        ],
    }).encode()  # fmt: skip


def push(client: Client, name: str, tag: str, layer_name: str = "file") -> str:
    """Push an image and return its digest."""
    manifest = make_manifest(client, name, layer_name)
    status, headers, body = client("PUT", f"/v2/{name}/manifests/{tag}", manifest, Content_Type=OCI_MANIFEST)
    assert status == 201, body
    return str(headers["Docker-Content-Digest"])


def test_a_pushed_image_is_in_the_store_whole_and_is_pulled_as_it_was(client: Client, tmp_path: Path) -> None:
    digest = push(client, "team/app", "1")
    image = ImageStore(tmp_path / "images").resolve("proa.local:5000/team/app:1")
    assert image is not None
    assert image.manifest.digest == digest
    assert (ImageStore(tmp_path / "images").layers.path(image.layers[0].diff_id) / "file").read_text() == "hi"
    for reference in ("1", digest):
        status, headers, body = client("GET", f"/v2/team/app/manifests/{reference}")
        assert (status, headers["Content-Type"], digest_of(body)) == (200, OCI_MANIFEST, digest)
        status, headers, body = client("HEAD", f"/v2/team/app/manifests/{reference}")
        assert (status, headers["Docker-Content-Digest"], body) == (200, digest, b"")
    layer = image.layers[0].digest
    assert digest_of(client("GET", f"/v2/team/app/blobs/{layer}")[2]) == layer
    assert client("HEAD", f"/v2/team/app/blobs/{layer}")[1]["Content-Length"] == str(image.layers[0].size)


def test_a_blob_comes_in_chunks_that_follow_one_another(client: Client) -> None:
    data = bytes(range(256)) * 8
    status, headers, _ = client("POST", "/v2/app/blobs/uploads/", b"")
    assert (status, headers["Range"]) == (202, "0-0")
    place = headers["Location"]
    status, headers, _ = client("PATCH", place, data[:1000], Content_Range="0-999")
    assert (status, headers["Range"]) == (202, "0-999")
    status, headers, body = client("PATCH", place, data[1500:], Content_Range="1500-2047")
    assert (status, headers["Range"], code_of(body)) == (416, "0-999", "BLOB_UPLOAD_INVALID")
    status, headers, _ = client("PATCH", place, iter([data[1000:1400], data[1400:1500]]))
    assert (status, headers["Range"]) == (202, "0-1499")
    assert client("GET", place)[0] == 204
    status, headers, _ = client("PUT", f"{place}?digest={digest_of(data)}", data[1500:])
    assert (status, headers["Location"]) == (201, f"/v2/app/blobs/{digest_of(data)}")
    status, headers, body = client("GET", f"/v2/app/blobs/{digest_of(data)}", None, Range="bytes=10-19")
    assert (status, headers["Content-Range"], body) == (206, "bytes 10-19/2048", data[10:20])
    status, _, body = client("GET", f"/v2/app/blobs/{digest_of(data)}", None, Range="bytes=-5")
    assert (status, body) == (206, data[-5:])
    assert client("GET", f"/v2/app/blobs/{digest_of(data)}", None, Range="bytes=5000-")[0] == 416


def test_a_blob_with_another_digest_is_refused_and_forgotten(client: Client) -> None:
    place = client("POST", "/v2/app/blobs/uploads/", b"")[1]["Location"]
    status, _, body = client("PUT", f"{place}?digest={ABSENT}", b"data")
    assert (status, code_of(body)) == (400, "DIGEST_INVALID")
    status, _, body = client("GET", place)
    assert (status, code_of(body)) == (404, "BLOB_UPLOAD_UNKNOWN")
    place = client("POST", "/v2/app/blobs/uploads/", b"")[1]["Location"]
    assert client("DELETE", place)[0] == 204
    assert client("GET", place)[0] == 404


def test_a_blob_is_mounted_from_a_repository_that_has_it(client: Client) -> None:
    digest = push_blob(client, "one", b"shared")
    assert client("HEAD", f"/v2/two/blobs/{digest}")[0] == 404
    assert client("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one", b"")[0] == 201
    assert client("GET", f"/v2/two/blobs/{digest}")[2] == b"shared"
    assert client("POST", f"/v2/two/blobs/uploads/?mount={ABSENT}&from=one", b"")[0] == 202


def test_what_the_store_has_besides_is_not_to_be_had(client: Client, tmp_path: Path) -> None:
    push_blob(client, "app", b"x")
    store = ImageStore(tmp_path / "images")
    secret = store.blobs.add(b"of an image that was pulled with a password")
    assert client("GET", f"/v2/app/blobs/{secret}")[0] == 404
    manifest = json.loads(make_manifest(client, "app"))
    manifest["layers"][0] |= {"digest": secret, "size": store.blobs.size(secret)}
    status, _, body = client(
        "PUT", "/v2/app/manifests/1", json.dumps(manifest).encode(), Content_Type=OCI_MANIFEST
    )
    assert (status, code_of(body)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_needs_its_manifests_and_serves_them(client: Client) -> None:
    manifest = make_manifest(client, "multi")
    child = {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    child["platform"] = {"os": "linux", "architecture": "amd64"}  # type: ignore[assignment]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    status, _, body = client("PUT", "/v2/multi/manifests/1", index, Content_Type=OCI_INDEX)
    assert (status, code_of(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    place = f"/v2/multi/manifests/{digest_of(manifest)}"
    assert client("PUT", place, manifest, Content_Type=OCI_MANIFEST)[0] == 201
    assert client("PUT", "/v2/multi/manifests/1", index, Content_Type=OCI_INDEX)[0] == 201
    assert client("GET", place)[2] == manifest


@pytest.mark.parametrize("kind", [OCI_MANIFEST, OCI_INDEX])
def test_what_could_be_a_manifest_and_an_index_shows_no_blobs_of_others(client: Client, kind: str) -> None:
    push(client, "mine", "1")
    manifest = json.loads(make_manifest(client, "mine"))
    other = push(client, "theirs", "1", "secret")
    del manifest["mediaType"]
    manifest["manifests"] = [{"mediaType": OCI_MANIFEST, "digest": other, "size": 1}]
    if kind == OCI_INDEX:
        manifest["manifests"] = []
    status, _, body = client("PUT", "/v2/mine/manifests/2", json.dumps(manifest).encode(), Content_Type=kind)
    assert (status, code_of(body)) == (400, "MANIFEST_INVALID")
    assert client("HEAD", f"/v2/mine/blobs/{other}")[0] == 404


def test_tags_and_repositories_are_listed_page_by_page(client: Client) -> None:
    for tag in ("a", "b", "c"):
        push(client, "app", tag)
    push(client, "team/other", "1")
    assert json.loads(client("GET", "/v2/app/tags/list")[2]) == {"name": "app", "tags": ["a", "b", "c"]}
    _, headers, body = client("GET", "/v2/app/tags/list?n=2")
    assert json.loads(body)["tags"] == ["a", "b"]
    assert headers["Link"] == '</v2/app/tags/list?n=2&last=b>; rel="next"'
    assert json.loads(client("GET", "/v2/app/tags/list?n=2&last=b")[2])["tags"] == ["c"]
    assert json.loads(client("GET", "/v2/_catalog")[2]) == {"repositories": ["app", "team/other"]}
    assert code_of(client("GET", "/v2/none/tags/list")[2]) == "NAME_UNKNOWN"
    for number in ("9" * 5000, "x", "-1"):
        assert code_of(client("GET", f"/v2/app/tags/list?n={number}")[2]) == "SIZE_INVALID"


def test_a_tag_is_deleted_alone_and_a_digest_with_all_its_tags(client: Client) -> None:
    digest = push(client, "app", "a")
    push(client, "app", "b")
    assert client("DELETE", "/v2/app/manifests/a")[0] == 202
    assert client("GET", "/v2/app/manifests/a")[0] == 404
    assert client("GET", "/v2/app/manifests/b")[0] == 200
    assert client("DELETE", f"/v2/app/manifests/{digest}")[0] == 202
    assert code_of(client("GET", "/v2/app/manifests/b")[2]) == "NAME_UNKNOWN"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v2/UPPER/tags/list", None, 400, "NAME_INVALID"),
        ("GET", "/v2/../x/tags/list", None, 400, "NAME_INVALID"),
        ("GET", "/other", None, 404, "NAME_INVALID"),
        ("GET", "/v2/app/blobs/md5:1", None, 400, "DIGEST_INVALID"),
        ("GET", f"/v2/app/blobs/{ABSENT}", None, 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/app/blobs/uploads/x", None, 404, "BLOB_UPLOAD_UNKNOWN"),
        (
            "PATCH",
            "/v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000",
            b"x",
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("PUT", "/v2/app/manifests/1", b"no json", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/app/manifests/1", b"{}", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/app/manifests/1", b"x" * (4 << 20) + b"x", 413, "SIZE_INVALID"),
        ("POST", "/v2/app/tags/list", b"", 405, "UNSUPPORTED"),
    ],
    ids=[f"{number}" for number in range(11)],
)
def test_what_makes_no_sense_is_refused_in_the_specification_s_codes(
    client: Client, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    found, _, answer = client(method, path, body)
    assert (found, code_of(answer)) == (status, code)
    assert client("GET", "/v2/")[0] == 200


def test_a_hostile_layer_is_refused_when_its_manifest_comes(client: Client) -> None:
    manifest = make_manifest(client, "bad", "../outside")
    status, _, body = client("PUT", "/v2/bad/manifests/1", manifest, Content_Type=OCI_MANIFEST)
    assert (status, code_of(body)) == (400, "MANIFEST_INVALID")
    assert "leads out of the layer" in json.loads(body)["errors"][0]["message"]


def test_who_is_not_trusted_shows_a_token_and_may_do_what_is_allowed(client: Client, rules: Rules) -> None:
    digest = push(client, "app", "1")
    rules.trusts = False
    basic = {"Authorization": "Basic eDp0b2tlbg=="}
    status, headers, body = client("GET", "/v2/")
    assert (status, code_of(body)) == (401, "UNAUTHORIZED")
    assert headers["WWW-Authenticate"] == 'Basic realm="proa.local:5000"'
    assert client("GET", "/v2/", None, **basic)[0] == 200
    assert client("GET", "/v2/app/manifests/1", None, **basic)[0] == 403
    rules.allowed = {("get", "app"), ("update", "mine")}
    assert client("GET", "/v2/app/manifests/1", None, **basic)[0] == 200
    assert client("DELETE", "/v2/app/manifests/1", None, **basic)[0] == 403
    assert client("POST", "/v2/app/blobs/uploads/", b"", **basic)[0] == 403
    assert client("POST", "/v2/mine/blobs/uploads/", b"", Authorization="Bearer token")[0] == 202
    assert client("POST", f"/v2/mine/blobs/uploads/?mount={digest}&from=app", b"", **basic)[0] == 201
    rules.allowed = {("update", "mine")}
    assert client("POST", f"/v2/mine/blobs/uploads/?mount={digest}&from=app", b"", **basic)[0] == 202


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://127.0.0.1"}, {"Sec_Fetch_Site": "cross-site"}],
    ids=lambda headers: next(iter(headers)),
)
def test_no_web_page_gets_anything(client: Client, headers: dict[str, str]) -> None:
    assert client("GET", "/v2/", None, **headers)[0] == 403


def test_what_is_left_of_a_request_is_never_read_as_the_next_one(port: int) -> None:
    smuggled = b"GET /v2/_catalog HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    request = b"POST /v2/app/tags/list HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for framing in (
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(smuggled),
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(request + framing + smuggled)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert answer.count(b"HTTP/1.1 ") == 1


def test_a_connection_that_its_client_has_closed_is_nobody_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"DELETE /v2/app/manifests/latest HTTP/1.1\r\n\r\n")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(6) == b"DELETE"
            assert not is_own_process(accepted)


def test_whose_a_connection_is_the_kernel_says_and_our_own_may_carry_a_pod_s() -> None:
    connect = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            with accepted:
                assert not is_own_process(accepted)
        users = [(os.geteuid(), True), *([(20001, False)] if os.geteuid() == 0 else [])]
        for user, trusted in users:
            command = ["/usr/bin/python3", "-I", "-c", connect, str(port)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, user=user) as process:
                accepted, _ = listener.accept()
                with accepted:
                    assert is_own_process(accepted) is trusted
                process.kill()
