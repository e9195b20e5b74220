"""A certificate authority of a test, and an HTTPS server on loopback that answers as the test says."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates of servers."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._certificate = (
            _builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> str:
        """The authority's certificate as a caBundle."""
        return base64.b64encode(self._certificate.public_bytes(serialization.Encoding.PEM)).decode()

    def write_server(self, directory: Path, *names: str) -> Path:
        """Write a key and certificate for a server of these names into one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [_alternative(name) for name in names]
        certificate = (
            _builder(x509.Name([]), self._certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        path = directory / f"{names[0]}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Call:
    """One request that the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def review(self) -> Any:
        """The request of an AdmissionReview."""
        return json.loads(self.body)["request"]


Answer = Callable[[Call], "bytes | Awaitable[bytes]"]
"""Returns the whole HTTP answer."""


@dataclass
class TlsServer:
    """A server that is running; `calls` are those that it got."""

    port: int
    calls: list[Call] = field(default_factory=list)
    connections: int = 0

    def url(self, path: str = "/") -> str:
        """Return a URL of the server."""
        return f"https://127.0.0.1:{self.port}{path}"


def http(body: Any, status: int = 200, kind: str = "application/json", *, close: bool = False) -> bytes:
    """Return an HTTP answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    ending = "Connection: close\r\n" if close else ""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{ending}\r\n"
    return head.encode() + data


def reviewed(call: Call, *, allowed: bool = True, patch: Any = None, **response: Any) -> bytes:
    """Return an AdmissionReview that answers a call."""
    answer: dict[str, Any] = {"uid": call.review["uid"], "allowed": allowed, **response}
    if patch is not None:
        answer["patchType"] = "JSONPatch"
        answer["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    return http({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})


@asynccontextmanager
async def serve(certificate: Path, answer: Answer, client_authority: str = ""):  # type: ignore[no-untyped-def]
    """Run a server on a free port of loopback within the block."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if client_authority:
        context.load_verify_locations(cadata=client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    tasks: set[asyncio.Task[None]] = set()
    server = TlsServer(0)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        number = server.connections
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while (call := await _read(reader, number)) is not None:
                server.calls.append(call)
                found = answer(call)
                data = found if isinstance(found, bytes) else await found
                writer.write(data)
                await writer.drain()
                if b"Connection: close" in data:
                    break
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader, connection: int) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ", 2)
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(method, path, headers, body, connection)
