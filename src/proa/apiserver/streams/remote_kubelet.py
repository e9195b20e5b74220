"""Reach the kubelets of other machines at their own HTTPS port, as the API server's own user.

A node's certificate must be of the cluster's authority, for the address that is dialled, and its subject that very
node. Streams are handed over whole: the kubelet speaks what the client asked for, and bytes go both ways. Follows
pkg/kubelet/client/kubelet_client.go, pkg/registry/core/pod/strategy.go (LogLocation, streamLocation,
PortForwardLocation) and apimachinery/pkg/util/proxy/upgradeaware.go.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote, urlencode

from proa.apiserver.streams.context import UpgradedConnection
from proa.apiserver.streams.host_stream import HostStream
from proa.apiserver.streams.http_backend import Backend, Head
from proa.apiserver.streams.splice import splice_whole
from proa.apiserver.streams.upgraded import Upgraded
from proa.client.kubelet_api import ByteStream, LogOptions, PodRef
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ServiceUnavailable, error_from_status

CONNECT_SECONDS = 10.0
MAX_PAGE_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
PREFERRED = ("ExternalIP", "InternalIP")
"""A node that has joined answers at its machine's address; the other is of the pods' network."""
_PASSED = ("connection", "upgrade", "x-stream-protocol-version")
_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
Dial = Callable[[str, int], Awaitable[ByteStream]]


class Credentials(NamedTuple):
    """By what kubelets know the API server, and it knows them: PEM files."""

    authority: Path
    certificate: Path
    key: Path


class RemoteKubelets:
    """Kubelets by their nodes' names. `find_node` returns a Node or raises NotFound; `dial` connects to pods."""

    def __init__(
        self, find_node: Callable[[str], Awaitable[Object]], credentials: Credentials, dial: Dial
    ) -> None:
        self._find_node = find_node
        self._credentials = credentials
        self._dial = dial
        self._context: ssl.SSLContext | None = None

    async def find(self, name: str) -> RemoteKubelet:
        """Return the kubelet of a node; raise NotFound, ServiceUnavailable where it does not say where it is."""
        node = await self._find_node(name)
        status = node.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        by_kind = {a.get("type"): a.get("address") for a in reversed(status.get("addresses") or ())}
        address = next((found for kind in PREFERRED if (found := by_kind.get(kind))), "")
        if not address or not port:
            raise ServiceUnavailable(f'the kubelet of node "{name}" cannot be reached')
        return RemoteKubelet(name, str(address), int(port), self._ssl_context(), self._dial)

    def _ssl_context(self) -> ssl.SSLContext:
        if self._context is None:
            context = ssl.create_default_context(cafile=str(self._credentials.authority))
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.load_cert_chain(str(self._credentials.certificate), str(self._credentials.key))
            context.set_alpn_protocols(["http/1.1"])
            self._context = context
        return self._context


class RemoteKubelet:
    """`client.kubelet_api.DistantKubelet` at an address."""

    def __init__(self, node: str, address: str, port: int, context: ssl.SSLContext, dial: Dial) -> None:
        self._node = node
        self._address = address
        self._port = port
        self._context = context
        self._dial = dial

    async def container_logs(self, pod: PodRef, options: LogOptions) -> AsyncIterator[bytes]:
        """See NodeApi."""
        asked = {
            "follow": "true" if options.follow else "",
            "previous": "true" if options.previous else "",
            "timestamps": "true" if options.timestamps else "",
            "sinceSeconds": options.since_seconds,
            "sinceTime": options.since_time,
            "tailLines": options.tail_lines,
            "limitBytes": options.limit_bytes,
        }
        query = urlencode({name: value for name, value in asked.items() if value not in ("", None)})
        path = "/".join(quote(part, safe="") for part in (pod.namespace, pod.name, options.container))
        backend, head = await self._ask("GET", f"/containerLogs/{path}?{query}", {})
        await _raise_for(backend, head)
        return backend.body()

    async def dial(self, host: str, port: int) -> ByteStream:
        """See NodeApi: by the network of pods, whichever node of it is near."""
        return await self._dial(host, port)

    async def document(self, path: str) -> tuple[str, bytes] | None:
        """See NodeApi."""
        backend, head = await self._ask("GET", quote(path, safe="/"), {})
        if head.status == 404:
            await backend.close()
            return None
        await _raise_for(backend, head)
        content_type = head.headers.get("Content-Type", "text/plain; charset=utf-8")
        return content_type, await _read(backend, MAX_PAGE_BYTES)

    async def hand_over(
        self, request: Request, what: Literal["exec", "attach", "portForward"], pod: PodRef, container: str
    ) -> Response:
        """See DistantKubelet."""
        parts = [
            pod.namespace,
            pod.name,
            *([pod.uid] if pod.uid else []),
            *([container] if container else []),
        ]
        path = "/".join([what, *(quote(part, safe="") for part in parts)])
        query = urlencode(_stream_query(request, what), doseq=True)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in _PASSED or (name.startswith("sec-websocket-") and name != "sec-websocket-extensions")
        }
        if protocols := headers.get("sec-websocket-protocol"):
            headers["sec-websocket-protocol"] = _without_token(protocols)
        backend, head = await self._ask(request.method, f"/{path}?{query}", headers)
        if head.status != 101:
            await _raise_for(backend, head)
            raise ServiceUnavailable(
                f"the kubelet of node {self._node} answers {head.status} where 101 is due"
            )

        async def upgrade(connection: UpgradedConnection) -> None:
            await splice_whole(Upgraded(connection), backend.raw_stream())

        return Response(status=101, headers=head.headers, upgrade=upgrade)

    async def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[Backend, Head]:
        backend = Backend(await self._connect())
        host = f"[{self._address}]" if ":" in self._address else self._address
        framing = {"content-length": "0"} if method == "POST" else {}
        sent = {"host": f"{host}:{self._port}", "connection": "close", **framing, **headers}
        try:
            await backend.send(method, path, sent, b"")
            return backend, await backend.read_head(method)
        except (OSError, ValueError) as error:
            await backend.close()
            raise self._unreachable(error) from error
        except BaseException:
            await backend.close()
            raise

    async def _connect(self) -> ByteStream:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self._address, self._port, ssl=self._context)
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        stream = HostStream(reader, writer)
        shown = writer.get_extra_info("peercert") or {}
        names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
        if names != [f"system:node:{self._node}"]:
            await stream.close()
            raise ServiceUnavailable(
                f"{self._address}:{self._port} shows the certificate of {', '.join(names) or 'nobody'}, "
                f"not node {self._node}'s"
            )
        return stream

    def _unreachable(self, error: BaseException) -> ServiceUnavailable:
        why = str(error) or f"no answer within {CONNECT_SECONDS:.0f} s"
        return ServiceUnavailable(f"dial tcp {self._address}:{self._port}: {why}")


async def connect_tcp(host: str, port: int) -> ByteStream:
    """Connect to an address by the network of this process; raise OSError, TimeoutError."""
    async with asyncio.timeout(CONNECT_SECONDS):
        return HostStream(*await asyncio.open_connection(host, port))


def _stream_query(request: Request, what: str) -> dict[str, list[str]]:
    """Return what the kubelet is asked, by its own names; the API server has judged the values."""
    if what == "portForward":
        return {"port": request.query["ports"]} if request.query.get("ports") else {}
    query = {"command": list(request.query.get("command", ()))} if what == "exec" else {}
    for theirs, ours in _FLAGS.items():
        if (request.query.get(theirs) or ["false"])[0].lower() not in ("false", "0"):
            query[ours] = ["1"]
    return query


def _without_token(protocols: str) -> str:
    """Return the subprotocols without the client's bearer token, which is for the API server alone."""
    offered = [part.strip() for part in protocols.split(",")]
    return ", ".join(
        part for part in offered if not part.startswith("base64url.bearer.authorization.k8s.io.")
    )


async def _raise_for(backend: Backend, head: Head) -> None:
    """Raise what the kubelet says where it refuses."""
    if head.status < 400:
        return
    text = (await _read(backend, MAX_ERROR_BYTES)).decode(errors="replace")
    status: Object = {"message": text.strip() or f"the kubelet answers {head.status}"}
    if head.headers.get("Content-Type", "").startswith("application/json"):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        status = found if isinstance(found, dict) else status
    raise error_from_status(status, head.status)


async def _read(backend: Backend, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in backend.body():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            await backend.close()
            raise ServiceUnavailable(f"the kubelet's answer is over {limit} bytes")
    return b"".join(chunks)
