"""A healthCheckNodePort answers how many ready pods of the service the node has."""

from __future__ import annotations

import asyncio
import json
import socket

from proa.network.data_path import ServiceKey, ServicePort
from proa.network.health_checks import HealthChecks

WEB = ServiceKey("default", "web")


class Node:
    """A NodeNetwork that is this machine's."""

    port = 0

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        assert (kind, port) == ("tcp-listen", 32000)
        made = socket.create_server((host, 0))
        made.setblocking(False)
        self.port = made.getsockname()[1]
        return made


def make_port(ready: int) -> ServicePort:
    return ServicePort(WEB, "", "TCP", (), 80, 0, 0, (), (), health_check_port=32000, local_ready=ready)


async def ask(port: int) -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


def test_a_node_says_how_many_pods_it_has() -> None:
    async def main() -> None:
        node = Node()
        checks = HealthChecks(node, ["127.0.0.1"])  # type: ignore[arg-type]
        await checks.start()
        await checks.apply({WEB: (make_port(2),)})
        expected = {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 2}
        assert await ask(node.port) == (200, {**expected, "serviceProxyHealthy": True})
        await checks.apply({WEB: (make_port(0),)})
        assert (await ask(node.port))[0] == 503
        await checks.apply({WEB: ()})
        try:
            await ask(node.port)
        except ConnectionRefusedError:
            return
        finally:
            await checks.stop()
        raise AssertionError("it goes on listening")

    asyncio.run(main())
