"""Autoscalers against the real API server, with metrics that the tests make up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ServiceUnavailable
from proa.objects.meta import format_time
from proa.objects.resource import DEPLOYMENTS, EVENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from support.control_plane import Cluster, running


class Metrics:
    """One group version of metrics; `value(path, pod names)` gives its items."""

    def __init__(self, group: str, version: str, items: Callable[[Request], Awaitable[list[Object]]]) -> None:
        self.group, self.version = group, version
        self._items = items
        self.asked: list[str] = []

    def document(self) -> Object:
        return {"kind": "APIResourceList", "groupVersion": f"{self.group}/{self.version}", "resources": []}

    async def handle(self, request: Request) -> Response:
        self.asked.append(request.path)
        items = await self._items(request)
        return Response(200, {"Content-Type": "application/json"}, orjson.dumps({"items": items}))


def deployment(name: str, replicas: int, labels: dict[str, str]) -> Object:
    container = {"name": "main", "image": "web:1", "resources": {"requests": {"memory": "100Mi"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def autoscaler(name: str, *metrics: Object, kind: str = "Deployment", **spec: Any) -> Object:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"scaleTargetRef": reference, "maxReplicas": 10, "metrics": list(metrics), **spec},
    }


MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}},
}
REQUESTS = {
    "type": "Pods",
    "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}},
}
QUEUE = {
    "type": "External",
    "external": {
        "metric": {"name": "queue", "selector": {"matchLabels": {"queue": "a"}}},
        "target": {"type": "AverageValue", "averageValue": "5"},
    },
}
ROUTE = {
    "type": "Object",
    "object": {
        "metric": {"name": "hits"},
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "front"},
        "target": {"type": "Value", "value": "100"},
    },
}


async def embed_all(c: Cluster, memory: str = "75Mi") -> dict[str, Metrics]:
    """Serve all three groups: memory of each pod, 12 requests of each, a queue of 30, 250 hits."""

    async def used(_: Request) -> list[Object]:
        now = format_time(time.time())
        usage = [{"name": "main", "usage": {"memory": memory}}]
        return [
            {
                "metadata": {"name": pod["metadata"]["name"]},
                "timestamp": now,
                "window": "15s",
                "containers": usage,
            }
            for pod in await c.all(PODS)
        ]

    async def custom(request: Request) -> list[Object]:
        now = format_time(time.time())
        if "/services/front/" in request.path:
            return [{"describedObject": {"name": "front"}, "timestamp": now, "value": "250"}]
        names = [pod["metadata"]["name"] for pod in await c.all(PODS)]
        return [{"describedObject": {"name": name}, "timestamp": now, "value": "12"} for name in names]

    async def external(_: Request) -> list[Object]:
        return [{"value": "10"}, {"value": "20"}]

    made = {
        "resource": Metrics("metrics.k8s.io", "v1beta1", used),
        "custom": Metrics("custom.metrics.k8s.io", "v1beta2", custom),
        "external": Metrics("external.metrics.k8s.io", "v1beta1", external),
    }
    for api in made.values():
        c.server.aggregator.embed(api)
    return made


async def ready(c: Cluster, count: int) -> bool:
    found = await c.client.get(DEPLOYMENTS, "web", "default")
    return bool((found.get("status") or {}).get("readyReplicas") == count)


async def looked_at(c: Cluster, name: str) -> Object | None:
    found = await c.client.get(HORIZONTAL_POD_AUTOSCALERS, name, "default")
    return found if (found.get("status") or {}).get("conditions") else None


def conditions(found: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}


def test_the_metric_that_asks_for_most_decides(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            made = await embed_all(c)
            await c.client.create(DEPLOYMENTS, deployment("web", 2, {"app": "web"}))
            await c.until(lambda: ready(c, 2))
            await c.client.create(
                HORIZONTAL_POD_AUTOSCALERS, autoscaler("web", MEMORY, REQUESTS, QUEUE, ROUTE)
            )
            await c.until(lambda: ready(c, 4))  # the queue asks for six: twice as many at a time, or four
            found = await c.until(lambda: looked_at(c, "web"))
            assert conditions(found) == {
                "AbleToScale": ("True", "SucceededRescale"),
                "ScalingActive": ("True", "ValidMetricFound"),
                "ScalingLimited": ("True", "ScaleUpLimit"),
            }
            status = found["status"]
            assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
            assert "lastScaleTime" in status
            current = {m["type"]: m for m in status["currentMetrics"]}
            assert current["Resource"]["resource"]["current"] == {
                "averageUtilization": 75,
                "averageValue": str(75 * 1024 * 1024),
            }
            assert current["Pods"]["pods"]["current"] == {"averageValue": "12"}
            assert current["External"]["external"]["current"] == {"averageValue": "15"}
            assert current["Object"]["object"]["current"] == {"value": "250"}
            path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/requests"
            assert path in made["custom"].asked
            message = await c.until(lambda: _reason(c))
            assert message == "New size: 4; reason: external metric queue(queue=a) above target"

    asyncio.run(body())


async def _reason(c: Cluster) -> str:
    return next((e["message"] for e in await c.all(EVENTS) if e["reason"] == "SuccessfulRescale"), "")


def test_with_a_metric_missing_it_only_grows(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            made = await embed_all(c, memory="10Mi")

            async def nothing(_: Request) -> list[Object]:
                return []

            made["external"]._items = nothing
            await c.client.create(DEPLOYMENTS, deployment("web", 4, {"app": "web"}))
            await c.until(lambda: ready(c, 4))
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler("web", MEMORY, QUEUE))
            found = await c.until(lambda: looked_at(c, "web"))
            assert conditions(found)["ScalingActive"] == ("False", "FailedGetExternalMetric")
            assert found["status"]["currentReplicas"] == 4
            messages = await c.until(lambda: _failures(c))
            assert messages == [
                "invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: "
                "failed to get external metric queue: unable to get external metric default/queue/queue=a: "
                "no metrics returned from external metrics API"
            ]
            assert await ready(c, 4)

    asyncio.run(body())


async def _failures(c: Cluster) -> list[str]:
    return [e["message"] for e in await c.all(EVENTS) if e["reason"] == "FailedComputeMetricsReplicas"]


def test_what_is_not_there_or_switched_off_is_said(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            await embed_all(c)
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler("nobody", MEMORY))
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler("odd", MEMORY, kind="Thing"))
            await c.client.create(DEPLOYMENTS, deployment("off", 0, {"app": "off"}))
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler("off", MEMORY))
            nobody, odd, off = [await c.until(lambda n=n: looked_at(c, n)) for n in ("nobody", "odd", "off")]
            assert conditions(nobody) == {"AbleToScale": ("False", "FailedGetScale")}
            assert nobody["status"]["conditions"][0]["message"].endswith(
                'deployments.apps "nobody" not found'
            )
            assert odd["status"]["conditions"][0]["message"].endswith(
                'no matches for kind "Thing" in group "apps"'
            )
            assert conditions(off)["ScalingActive"] == ("False", "ScalingDisabled")

    asyncio.run(body())


def test_two_autoscalers_of_the_same_pods_do_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            await embed_all(c)
            await c.client.create(DEPLOYMENTS, deployment("web", 2, {"app": "web"}))
            await c.until(lambda: ready(c, 2))
            quiet = autoscaler(
                "web",
                {
                    **MEMORY,
                    "resource": {
                        "name": "memory",
                        "target": {"type": "Utilization", "averageUtilization": 75},
                    },
                },
            )
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, quiet)
            await c.until(lambda: looked_at(c, "web"))
            rival = autoscaler("web", MEMORY)
            rival["metadata"]["name"] = "rival"
            await c.client.create(HORIZONTAL_POD_AUTOSCALERS, rival)
            found = await c.until(lambda: looked_at(c, "rival"))
            assert conditions(found)["ScalingActive"] == ("False", "AmbiguousSelector")
            (said,) = [x["message"] for x in found["status"]["conditions"] if x["type"] == "ScalingActive"]
            assert said == (
                "pods by selector app=web are controlled by multiple HPAs: [default/rival default/web]"
            )
            assert await ready(c, 2)

    asyncio.run(body())


def test_a_local_group_version_gives_way_to_a_server_that_is_registered(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            await embed_all(c)
            found = await c.client.request("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
            assert found == {"items": []}
            groups = {g["name"] for g in (await c.client.request("GET", "/apis"))["groups"]}
            assert {"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"} <= groups
            await c.server.aggregator.sync()
            path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
            registered = await c.client.request("GET", path)
            assert "service" not in registered["spec"]
            registered["spec"]["service"] = {
                "namespace": "kube-system",
                "name": "metrics-server",
                "port": 443,
            }
            registered["spec"]["insecureSkipTLSVerify"] = True
            await c.client.request("PUT", path, registered)
            await c.server.aggregator.sync()
            assert "service" in (await c.client.request("GET", path))["spec"]
            with pytest.raises(ServiceUnavailable, match="service unavailable"):
                await c.client.request("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
            await c.client.request("DELETE", path)
            await c.server.aggregator.sync()
            assert await c.client.request("GET", "/apis/metrics.k8s.io/v1beta1/nodes") == {"items": []}

    asyncio.run(body())
