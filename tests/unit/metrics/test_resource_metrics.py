"""metrics.k8s.io shows what the scraper found."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from proa.client.protocol import Request
from proa.metrics.resource_metrics import ResourceMetrics
from proa.metrics.scraper import Scraper
from proa.objects.errors import ServiceUnavailable
from proa.objects.meta import format_time

START = 1_000_000.0
BASE = "/apis/metrics.k8s.io/v1beta1"


class Cache:
    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = objects

    def get(self, name: str, namespace: str = "") -> dict[str, Any] | None:
        return next((o for o in self.objects if o["metadata"]["name"] == name), None)

    def list(self, namespace: str | None = None) -> tuple[dict[str, Any], ...]:
        return self.objects


def counted(cpu_seconds: float) -> dict[str, Any]:
    return {
        "name": "c",
        "startTime": format_time(START - 1000),
        "cpu": {"usageCoreNanoSeconds": round(cpu_seconds * 1e9)},
        "memory": {"workingSetBytes": 20 << 20},
    }


class Kubelets:
    """Every reading is 1.5 seconds of CPU later than the last; `lost` do not answer."""

    def __init__(self) -> None:
        self.readings = 0
        self.lost: set[str] = set()

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        node = path.split("/")[4]
        if node in self.lost:
            raise ServiceUnavailable("the kubelet cannot be reached")
        self.readings += 1
        now = counted(self.readings * 1.5)
        pods = [{"podRef": {"namespace": "default", "name": "web"}, "containers": [now]}]
        return {"node": now, "pods": pods}


NODE = {"metadata": {"name": "n1", "labels": {"zone": "a"}}}
POD = {"metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}}}


async def scraped(kubelets: Kubelets, times: int) -> ResourceMetrics:
    seconds = iter(START + 15 * n for n in range(100))
    nodes = Cache(NODE)
    scraper = Scraper(kubelets, nodes, lambda: next(seconds))  # type: ignore[arg-type]
    for _ in range(times):
        await scraper.scrape()
    return ResourceMetrics(scraper, nodes, Cache(POD), lambda: START + 100)  # type: ignore[arg-type]


def get(api: ResourceMetrics, path: str, method: str = "GET", **query: str) -> Any:
    request = Request(method, BASE + path, {key: [value] for key, value in query.items()})
    response = asyncio.run(api.handle(request))
    assert isinstance(response.body, bytes)
    return orjson.loads(response.body)


def test_what_nodes_and_pods_use() -> None:
    api = asyncio.run(scraped(Kubelets(), 2))
    (node,) = get(api, "/nodes")["items"]
    assert node["usage"] == {"cpu": "100m", "memory": "20Mi"}
    assert (node["window"], node["metadata"]["labels"]) == ("15.000s", {"zone": "a"})
    (pod,) = get(api, "/namespaces/default/pods", labelSelector="app=web")["items"]
    assert pod["containers"] == [{"name": "c", "usage": {"cpu": "100m", "memory": "20Mi"}}]
    assert get(api, "/namespaces/default/pods/web")["kind"] == "PodMetrics"
    assert get(api, "/pods", labelSelector="app=other")["items"] == []
    assert get(api, "/pods", fieldSelector="metadata.name=other")["items"] == []


@pytest.mark.parametrize(
    ("path", "method", "query", "code", "message"),
    [
        ("/namespaces/default/pods/x", "GET", {}, 404, 'podmetrics.metrics.k8s.io "x" not found'),
        ("/nodes/x", "GET", {}, 404, 'nodemetrics.metrics.k8s.io "x" not found'),
        ("/services", "GET", {}, 404, "the server could not find the requested resource"),
        ("/nodes", "DELETE", {}, 405, "the server does not allow this method on the requested resource"),
        (
            "/nodes",
            "GET",
            {"watch": "1"},
            405,
            "the server does not allow this method on the requested resource",
        ),
        ("/pods", "GET", {"fieldSelector": "spec.x=1"}, 400, "field label not supported: spec.x"),
    ],
)
def test_what_is_refused(path: str, method: str, query: dict[str, str], code: int, message: str) -> None:
    answer = get(asyncio.run(scraped(Kubelets(), 2)), path, method, **query)
    assert (answer["code"], answer["message"]) == (code, message)


def test_a_node_that_does_not_answer_has_no_usage() -> None:
    kubelets = Kubelets()
    kubelets.lost = {"n1"}
    assert get(asyncio.run(scraped(kubelets, 2)), "/nodes")["items"] == []
