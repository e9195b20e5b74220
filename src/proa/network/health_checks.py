"""Answer load balancers whether this node has a ready endpoint of a Service: at its healthCheckNodePort.

For Services of type LoadBalancer with externalTrafficPolicy Local. The listeners are at the node's addresses, in its
own network. Follows pkg/proxy/healthcheck/service_health.go.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence

from proa.network.data_path import ServiceKey, ServicePort
from proa.network.protocol import NodeNetwork

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 8192
TIMEOUT_SECONDS = 5.0


def make_answer(service: ServiceKey, endpoints: int) -> bytes:
    """Return the HTTP answer: 200 where there are any, else 503."""
    body = {
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": True,
    }
    data = json.dumps(body, indent=1).encode()
    head = (
        f"HTTP/1.1 {'200 OK' if endpoints else '503 Service Unavailable'}\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Load-Balancing-Endpoint-Weight: {endpoints}\r\n"
        f"Content-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + data


class HealthChecks:
    """A DataPathBackend."""

    def __init__(self, node_network: NodeNetwork, node_ips: Sequence[str]) -> None:
        self._node_network = node_network
        self._node_ips = tuple(node_ips)
        self._ports: dict[ServiceKey, int] = {}
        self._answers: dict[ServiceKey, bytes] = {}
        self._servers: dict[ServiceKey, list[asyncio.Server]] = {}

    async def start(self) -> None:
        """See DataPathBackend: nothing outlives a process that had listeners."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        wanted = {
            key: max((port.health_check_port for port in ports), default=0) for key, ports in changes.items()
        }
        for key, port in wanted.items():
            if port != self._ports.get(key, 0):
                self._close(key)
        for key, port in wanted.items():
            if not port:
                continue
            self._answers[key] = make_answer(key, max(found.local_ready for found in changes[key]))
            if key not in self._servers:
                self._ports[key] = port
                self._servers[key] = [await self._listen(key, ip, port) for ip in self._node_ips]

    async def _listen(self, key: ServiceKey, ip: str, port: int) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answers.get(key) or make_answer(key, 0))
                    await writer.drain()
            except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError) as error:
                logger.debug("health check not answered service=%s/%s error=%s", *key, error)
            finally:
                writer.close()

        sock = await self._node_network.open_socket("tcp-listen", ip, port)
        return await asyncio.start_server(answer, sock=sock, limit=MAX_REQUEST_BYTES)

    def _close(self, key: ServiceKey) -> None:
        self._ports.pop(key, None)
        self._answers.pop(key, None)
        for server in self._servers.pop(key, ()):
            server.close()

    async def stop(self) -> None:
        """See DataPathBackend."""
        for key in [*self._servers]:
            self._close(key)
