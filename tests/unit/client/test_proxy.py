from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path

import pytest

from proa.client.http import HttpTransport
from proa.client.kubeconfig import Cluster, make_ssl_context
from proa.client.protocol import Request
from proa.client.proxy import Proxy, find_proxy, make_proxy
from proa.objects.errors import BadRequest, ServiceUnavailable
from support.tls_server import Authority, http, serve

SERVER = "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("server", "environment", "found"),
    [
        pytest.param(SERVER, {}, "", id="nothing-set"),
        pytest.param(SERVER, {"HTTPS_PROXY": "http://p:1"}, "http://p:1", id="set"),
        pytest.param(SERVER, {"https_proxy": "http://p:1"}, "http://p:1", id="small"),
        pytest.param(SERVER, {"HTTP_PROXY": "http://p:1"}, "", id="for-the-other-scheme"),
        pytest.param("http://a.b", {"HTTP_PROXY": "p:1"}, "p:1", id="in-the-clear"),
        pytest.param("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, "", id="loopback"),
        pytest.param("https://localhost", {"HTTPS_PROXY": "http://p:1"}, "", id="localhost"),
        pytest.param("https://[::1]:1", {"HTTPS_PROXY": "http://p:1"}, "", id="loopback-6"),
    ],
)
def test_the_proxy_of_the_environment_is_found(server, environment, found):
    assert find_proxy(server, environment) == found


@pytest.mark.parametrize(
    ("entry", "is_excepted"),
    [
        ("*", True),
        ("api.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        (".api.example.com", False),
        ("ample.com", False),
        ("api.example.com:6443", True),
        ("api.example.com:443", False),
        ("one, API.example.com", True),
        ("", False),
    ],
)
def test_hosts_that_no_proxy_names_are_reached_directly(entry, is_excepted):
    found = find_proxy(SERVER, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": entry})
    assert (found == "") == is_excepted


def test_networks_may_be_excepted():
    environment = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,2001:db8::/32"}
    assert find_proxy("https://10.1.2.3:6443", environment) == ""
    assert find_proxy("https://[2001:db8::7]:6443", environment) == ""
    assert find_proxy("https://11.1.2.3:6443", environment) == "http://p:1"


def test_a_proxy_is_read_and_its_password_is_not_shown():
    assert make_proxy("http://u:p%40@proxy:3128") == Proxy("proxy", 3128, "Basic dTpwQA==")
    assert make_proxy("proxy") == Proxy("proxy", 80)
    with pytest.raises(BadRequest, match=r"^proxy proxy:1: only http") as refused:
        make_proxy("socks5://u:secret@proxy:1")
    assert "secret" not in str(refused.value)


class ForwardProxy:
    """Tunnels what CONNECT asks for, or answers as it is told."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.heads: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(4096):
                    target.write(data)
            except ConnectionError:
                pass
            finally:
                target.close()

        await asyncio.gather(copy(reader, back), copy(there, writer))


async def through(proxy: ForwardProxy, server: str, context: ssl.SSLContext | None) -> bytes:
    listening = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    transport = HttpTransport(server, context, proxy=Proxy("127.0.0.1", port, "Basic secret"))
    try:
        answer = await transport.send(Request("GET", "/version"))
        assert isinstance(answer.body, bytes)
        return answer.body
    finally:
        await transport.close()
        listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 60)


def test_a_server_with_tls_is_spoken_to_through_a_tunnel(tmp_path: Path):
    async def scenario() -> None:
        authority = Authority()
        context = make_ssl_context(Cluster("https://127.0.0.1", authority=base64.b64decode(authority.bundle)))
        proxy = ForwardProxy()
        certificate = authority.write_server(tmp_path, "127.0.0.1")
        async with serve(certificate, lambda call: http({"path": call.path})) as tls:
            found = await through(proxy, f"https://127.0.0.1:{tls.port}", context)
            assert found == b'{"path": "/version"}'
            (head,) = proxy.heads
            assert head.startswith(f"CONNECT 127.0.0.1:{tls.port} HTTP/1.1\r\n".encode())
            assert b"proxy-authorization: Basic secret\r\n" in head

    asyncio.run(scenario())


def test_in_the_clear_a_proxy_is_told_the_whole_address():
    proxy = ForwardProxy(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert asyncio.run(through(proxy, "http://api.example.com:8001/base", None)) == b"{}"
    assert proxy.heads[0].startswith(b"GET http://api.example.com:8001/base/version HTTP/1.1\r\n")


def test_a_proxy_that_refuses_is_named():
    proxy = ForwardProxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    with pytest.raises(ServiceUnavailable, match=r"refuses api\.example\.com:6443: 407 Proxy Auth"):
        asyncio.run(through(proxy, SERVER, ssl.create_default_context()))
