"""Find out where a Service can be reached from the API server, and open a connection to it.

The server runs on the host, pods in the network of their node: a ClusterIP leads nowhere from here, so a ready endpoint
is taken and dialled through its node's kubelet, as the service proxy does. Words of the refusals follow
apiserver/pkg/util/proxy/proxy.go (ResolveEndpoint).
"""

from __future__ import annotations

import asyncio
import random

import orjson

from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.streams.host_stream import HostStream
from proa.client.kubelet_api import ByteStream, KubeletDialer
from proa.client.protocol import Object
from proa.objects.errors import ApiError
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import ENDPOINT_SLICES, SERVICES

MAX_ATTEMPTS = 3
"""Endpoints that are tried for one connection."""


class CannotConnect(Exception):
    """No connection could be made; the message says why, in Go's words."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect; `node` is the one whose network has the address, "" for the host's own."""

    node: str
    host: str
    port: int


class ServiceResolver:
    """Knows the addresses of services by what is stored."""

    def __init__(self, catalog: Catalog, kubelet: KubeletDialer) -> None:
        self._catalog = catalog
        self._kubelet = kubelet

    def find(self, namespace: str, name: str, port: int) -> list[Address]:
        """Return the ready endpoints of a service's port in random order; raise CannotConnect."""
        service = self._catalog.of(SERVICES).find(namespace, name)
        if service is None:
            raise CannotConnect(f'service "{name}" not found')
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return [Address("", spec.get("externalName", ""), port)]
        offered = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if offered is None:
            raise CannotConnect(f'no service port {port} found for service "{name}"')
        found = _ready(self.slices(namespace, name), offered.get("name") or "")
        if not found:
            raise CannotConnect(f'no endpoints available for service "{name}"')
        random.shuffle(found)
        return found

    def slices(self, namespace: str, name: str) -> list[Object]:
        """Return the EndpointSlices of a service."""
        registry = self._catalog.of(ENDPOINT_SLICES)
        marker = b'"kubernetes.io/service-name":' + orjson.dumps(name)
        return [
            orjson.loads(entry.value)
            for entry in registry.store.range(registry.scope(namespace)).entries
            if marker in entry.value
        ]

    async def connect(self, namespace: str, name: str, port: int) -> ByteStream:
        """Return a connection to one of a service's endpoints; raise CannotConnect."""
        refusal = CannotConnect(f'no endpoints available for service "{name}"')
        for address in self.find(namespace, name, port)[:MAX_ATTEMPTS]:
            try:
                return await self.dial(address)
            except CannotConnect as error:
                refusal = error
        raise refusal

    async def dial(self, address: Address) -> ByteStream:
        """Return a connection to an address; raise CannotConnect."""
        if not address.node:
            return await dial(address.host, address.port)
        try:
            kubelet = await self._kubelet(address.node)
            return await kubelet.dial(address.host, address.port)
        except (ApiError, OSError) as error:
            reason = error.message if isinstance(error, ApiError) else str(error)
            raise CannotConnect(f"dial tcp {address.host}:{address.port}: {reason}") from error


def _ready(slices: list[Object], port_name: str) -> list[Address]:
    return [
        Address(endpoint.get("nodeName") or "", endpoint["addresses"][0], port["port"])
        for slice_ in slices
        for port in slice_.get("ports") or ()
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in slice_.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]


async def dial(host: str, port: int) -> ByteStream:
    """Return a connection from the host itself; raise CannotConnect."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except UnicodeError:  # no name that DNS could have: an empty or overlong part
        raise CannotConnect(f"dial tcp: lookup {host}: no such host") from None
    except OSError as error:
        raise CannotConnect(_dial_words(host, port, error)) from error
    return HostStream(reader, writer)


def _dial_words(host: str, port: int, error: OSError) -> str:
    import errno
    import socket

    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return f"dial tcp {at}: connect: connection refused"
    return f"dial tcp {at}: connect: {(error.strerror or str(error)).lower()}"
