"""The proxies pass requests and answers through, and say in upstream's words why they cannot."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proa.apiserver.streams.options import find_container, log_options
from proa.apiserver.streams.proxy import is_allowed, split_name
from proa.client.protocol import Request
from proa.objects.errors import ApiError

SERVICE = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]},
}


def make_slice(port_name: str, port: int, *, ready: bool = True) -> dict[str, Any]:
    endpoints = [{"addresses": ["10.244.1.5"], "nodeName": "proa-1", "conditions": {"ready": ready}}]
    return {"ports": [{"name": port_name, "port": port}], "endpoints": endpoints}


async def http(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            body = b""
            if b"chunked" in head.lower():
                while size := int(await reader.readline(), 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
            elif b"101" not in head[:12]:
                body = await reader.readexactly(
                    int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
                )
            else:
                writer.write(b"ping")
                body = await reader.readexactly(4)
            return head + body
    finally:
        writer.close()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


UNREACHABLE = "error trying to reach service: dial tcp 10.244.1.5:1"
BASE = "/api/v1/namespaces/default"


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the request's head, in chunks; /go redirects, /up upgrades and echoes."""
    head = await reader.readuntil(b"\r\n\r\n")
    path = head.split(b" ")[1]
    if path == b"/go":
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: /there?a=1\r\nContent-Length: 0\r\nKeep-Alive: x\r\n\r\n"
        )
    elif path == b"/up":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        writer.write(await reader.read(100))
    else:
        body = head + await reader.read(0)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Own: 1\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    await writer.drain()


def with_backend(streams: SimpleNamespace, *requests: bytes, slices: list[Any] | None = None) -> list[bytes]:
    async def scenario() -> list[bytes]:
        async with streams.listening(mirror) as backend:
            kubelet = streams.FakeKubelet(ports={80: backend, 8080: backend})
            objects = {("pods", "web"): streams.POD, ("services", "web"): SERVICE}
            stub = streams.StubServer(
                kubelet, objects, slices if slices is not None else [make_slice("http", 8080)]
            )
            async with streams.serving(stub):
                return [await http(stub.port, request) for request in requests]

    return asyncio.run(scenario())


def test_path_query_and_headers_go_through_without_hops_and_credentials(streams: SimpleNamespace) -> None:
    request = get(
        f"{BASE}/services/http:web:http/proxy/a%20b/?q=1&q=2",
        "X-Mine: 1",
        "Authorization: Bearer s",
        "TE: trailers",
    )
    (answer,) = with_backend(streams, request)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"X-Own: 1" in answer
    body = answer.lower().split(b"\r\n\r\n", 1)[1]
    assert body.startswith(b"get /a%20b/?q=1&q=2 http/1.1\r\n")
    assert b"x-mine: 1" in body
    assert b"authorization" not in body
    assert b"te:" not in body


def test_redirects_stay_inside_of_the_proxy(streams: SimpleNamespace) -> None:
    (answer,) = with_backend(streams, get(f"{BASE}/pods/web:8080/proxy/go"))
    assert f"Location: {BASE}/pods/web:8080/proxy/there?a=1".encode() in answer
    assert b"Keep-Alive" not in answer


def test_an_upgrade_is_joined_to_the_backends_connection(streams: SimpleNamespace) -> None:
    (answer,) = with_backend(
        streams, get(f"{BASE}/pods/web/proxy/up", "Connection: Upgrade", "Upgrade: echo")
    )
    assert answer.startswith(b"HTTP/1.1 101")
    assert answer.endswith(b"ping")


@pytest.mark.parametrize(
    ("path", "slices", "code", "message"),
    [
        ("services/web:http/proxy/", [], 503, 'no endpoints available for service \\"web\\"'),
        ("services/web:http/proxy/", [make_slice("http", 8080, ready=False)], 503, "no endpoints available"),
        ("services/web:9/proxy/", [], 503, 'no service port \\"9\\" found for service \\"web\\"'),
        ("services/a:b:c:d/proxy/", [], 400, 'invalid service request \\"a:b:c:d\\"'),
        ("services/nope:80/proxy/", [], 404, 'services \\"nope\\" not found'),
        (
            "services/web:http/proxy/",
            [make_slice("http", 1)],
            503,
            "error trying to reach service: dial tcp 10.244.1.5:1",
        ),
        ("pods/web:1/proxy/", [], 503, "error trying to reach service: dial tcp 10.244.1.5:1"),
        ("pods/x:y:z/proxy/", [], 400, 'invalid pod request \\"x:y:z\\"'),
    ],
)
def test_refusals(streams: SimpleNamespace, path: str, slices: list[Any], code: int, message: str) -> None:
    (answer,) = with_backend(streams, get(f"{BASE}/{path}"), slices=slices)
    assert answer.startswith(f"HTTP/1.1 {code}".encode())
    assert message.encode() in answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("", "web", "")),
        ("web:80", ("", "web", "80")),
        ("https:web:", ("https", "web", "")),
        ("https:web:443", ("https", "web", "443")),
        ("ftp:web:1", None),
        (":80", None),
    ],
)
def test_names_of_proxied_objects(text: str, expected: Any) -> None:
    assert split_name(text) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": ["x"]}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"tailLines": ["-1"]}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": ["0"]}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": ["0"]}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"sinceTime": ["noon"]}, 'parsing time "noon"'),
    ],
)
def test_log_options_that_make_no_sense(query: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ApiError) as raised:
        log_options(Request("GET", "/", query), "web")
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("containers", "name", "expected"),
    [
        (["app"], "", "app"),
        (["app", "side"], "side", "side"),
        (
            ["app", "side"],
            "",
            "a container name must be specified for pod web, choose one of: [init app side]",
        ),
        (["app"], "nope", "container nope is not valid for pod web"),
    ],
)
def test_the_container_that_is_meant(containers: list[str], name: str, expected: str) -> None:
    spec = {"initContainers": [{"name": "init"}], "containers": [{"name": c} for c in containers]}
    pod = {"metadata": {"name": "web"}, "spec": spec}
    try:
        found = find_container(pod, name)
    except ApiError as error:
        found = error.message
    assert found == expected


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.244.1.5", True), ("192.168.1.1", True), ("fd00::1", True), ("127.0.0.1", False), ("::1", False),
        ("169.254.169.254", False), ("fe80::1", False), ("224.0.0.1", False), ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False), ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_the_proxy_reaches_no_address_that_is_the_hosts_alone(address: str, allowed: bool) -> None:
    assert is_allowed(address) is allowed
