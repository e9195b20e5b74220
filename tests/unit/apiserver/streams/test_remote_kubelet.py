"""Kubelets of other machines are asked by TLS, for what they are, and nobody is taken for another node's."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proa.apiserver.pki import Pki, ensure_pki
from proa.apiserver.streams.remote_kubelet import Credentials, RemoteKubelet, RemoteKubelets
from proa.client.kubelet_api import LogOptions, PodRef
from proa.client.protocol import Request, Response
from proa.controllers.certificates.authority import sign
from proa.httpd.server import HttpServer, make_server_context
from proa.objects.certificate_request import read_request
from proa.objects.errors import ApiError, BadRequest, ServiceUnavailable

POD = PodRef("default", "web", "u1")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return ensure_pki(tmp_path_factory.mktemp("pki"), ["localhost"], datetime.datetime.now(datetime.UTC))


def make_certificate(pki: Pki, folder: Path, node: str) -> Path:
    """Return a file with a kubelet's serving certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
    ])  # fmt: skip
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    )
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    asked = read_request(base64.b64encode(pem).decode())
    authority = pki.authority
    now = datetime.datetime.now(datetime.UTC).timestamp()
    signed = sign(
        asked, ["digital signature", "server auth"], None, authority.certificate, authority.key, now
    )
    format_ = serialization.PrivateFormat.PKCS8
    own = key.private_bytes(serialization.Encoding.PEM, format_, serialization.NoEncryption())
    file = folder / f"{node}.pem"
    file.write_bytes(own + signed)
    return file


async def kubelet(request: Request) -> Response:
    """A kubelet that says who asks for what."""
    assert request.user is not None
    assert request.user.name == "kube-apiserver-kubelet-client"
    match request.path:
        case "/containerLogs/default/web/main":

            async def chunks() -> Any:
                yield b"one\n"
                yield f"{sorted(request.query.items())}".encode()

            return Response(stream=chunks())
        case "/containerLogs/default/web/none":
            error = BadRequest("there are no logs")
            return Response(400, {"Content-Type": "application/json"}, _json(error.status()))
        case "/healthz":
            return Response(200, {"Content-Type": "text/plain"}, b"ok")
        case "/broken":
            return Response(500, {"Content-Type": "text/plain"}, b"broken\n")
        case "/exec/default/web/u1/main":

            async def echo(connection: Any) -> None:
                await connection.write(f"{request.method} {sorted(request.query.items())}\n".encode())
                while data := await connection.read():
                    await connection.write(data.upper())

            return Response(
                101, {"Connection": "Upgrade", "Upgrade": request.headers["upgrade"]}, upgrade=echo
            )
    return Response(404, {"Content-Type": "text/plain"}, b"404 page not found\n")


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)


def ask(
    pki: Pki, folder: Path, scenario: Callable[[RemoteKubelet], Awaitable[None]], *, shown: str = "far"
) -> None:
    """Run the scenario with the kubelet of node `far`, where the certificate of `shown` is shown."""

    async def main() -> None:
        import socket

        file = str(make_certificate(pki, folder, shown))
        server = HttpServer(kubelet, make_server_context(file, file, str(pki.authority.certificate)))
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        await server.serve(listener)
        addresses = [
            {"type": "InternalIP", "address": "192.0.2.9"},
            {"type": "ExternalIP", "address": "127.0.0.1"},
        ]
        status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}

        async def find_node(name: str) -> Any:
            return {"metadata": {"name": name}, "status": status}

        files = Credentials(pki.authority.certificate, pki.kubelet_client.certificate, pki.kubelet_client.key)
        try:
            async with asyncio.timeout(60):
                await scenario(await RemoteKubelets(find_node, files, None).find("far"))  # type: ignore[arg-type]
        finally:
            await server.close(0)

    asyncio.run(main())


def test_logs_stream_and_refusals_are_the_kubelets(pki: Pki, tmp_path: Path) -> None:
    async def scenario(far: RemoteKubelet) -> None:
        stream = await far.container_logs(POD, LogOptions("main", follow=True, tail_lines=0, since_seconds=5))
        assert b"".join([chunk async for chunk in stream]) == (
            b"one\n[('follow', ['true']), ('sinceSeconds', ['5']), ('tailLines', ['0'])]"
        )
        with pytest.raises(BadRequest, match="there are no logs"):
            await far.container_logs(POD, LogOptions("none"))

    ask(pki, tmp_path, scenario)


def test_pages_are_shown(pki: Pki, tmp_path: Path) -> None:
    async def scenario(far: RemoteKubelet) -> None:
        assert await far.document("/healthz") == ("text/plain", b"ok")
        assert await far.document("/nothing") is None
        with pytest.raises(ApiError, match="broken"):
            await far.document("/broken")

    ask(pki, tmp_path, scenario)


class Client:
    """A client's connection: what it says, and what it is told."""

    def __init__(self, *said: bytes) -> None:
        self._said = [*said]
        self.told = b""
        self._wants = asyncio.Event()

    async def read(self) -> bytes:
        if self._said:
            return self._said.pop(0)
        await self._wants.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.told += data
        if b"HELLO" in self.told:
            self._wants.set()

    async def close(self) -> None:
        self._wants.set()


def test_streams_are_handed_over_whole_without_the_clients_credentials(pki: Pki, tmp_path: Path) -> None:
    async def scenario(far: RemoteKubelet) -> None:
        headers = {
            "connection": "Upgrade",
            "upgrade": "SPDY/3.1",
            "authorization": "Bearer secret",
            "x-other": "1",
        }
        query = {"command": ["sh", "-c"], "stdin": ["true"], "stdout": ["1"], "tty": ["false"]}
        answer = await far.hand_over(Request("POST", "/", query, headers), "exec", POD, "main")
        assert (answer.status, answer.headers["Upgrade"]) == (101, "SPDY/3.1")
        assert answer.upgrade is not None
        client = Client(b"hello")
        await answer.upgrade(client)
        assert client.told == b"POST [('command', ['sh', '-c']), ('input', ['1']), ('output', ['1'])]\nHELLO"
        with pytest.raises(ApiError, match="404 page not found"):
            await far.hand_over(Request("POST", "/", query, headers), "attach", POD, "main")

    ask(pki, tmp_path, scenario)


def test_another_nodes_certificate_is_refused(pki: Pki, tmp_path: Path) -> None:
    async def scenario(far: RemoteKubelet) -> None:
        with pytest.raises(
            ServiceUnavailable, match="shows the certificate of system:node:sly, not node far's"
        ):
            await far.document("/healthz")

    ask(pki, tmp_path, scenario, shown="sly")


def test_a_kubelet_that_is_not_there_is_unavailable(pki: Pki) -> None:
    async def find_node(name: str) -> Any:
        return {"status": {"addresses": [{"type": "Hostname", "address": name}]}}

    files = Credentials(pki.authority.certificate, pki.kubelet_client.certificate, pki.kubelet_client.key)
    kubelets = RemoteKubelets(find_node, files, None)  # type: ignore[arg-type]
    with pytest.raises(ServiceUnavailable, match='the kubelet of node "far" cannot be reached'):
        asyncio.run(kubelets.find("far"))
