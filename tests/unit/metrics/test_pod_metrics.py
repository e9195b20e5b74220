"""What pods expose, as numbers that an autoscaler can go by."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from proa.client.protocol import Request, Response
from proa.metrics.custom_metrics import CustomMetrics
from proa.metrics.external_metrics import ExternalMetrics
from proa.metrics.pod_metrics import (
    MAX_BYTES,
    PodMetricsReader,
    Series,
    is_scraped,
    measure,
    path_of,
    port_of,
    read_exposition,
)
from proa.objects.errors import ServiceUnavailable

FIRST = """
# TYPE queue_depth gauge
queue_depth{queue="a"} 3
queue_depth{queue="b"} 4
# TYPE http_requests_total counter
http_requests_total{code="200"} 100
# TYPE latency_seconds histogram
latency_seconds_bucket{le="+Inf"} 5
latency_seconds_sum 2.5
latency_seconds_count 5
plain 7
"""
SECOND = FIRST.replace("} 100", "} 150").replace("count 5", "count 25")


def pod(name: str, **annotations: str) -> dict[str, Any]:
    said = {f"prometheus.io/{key}": value for key, value in annotations.items()}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"app": "web"},
            "annotations": {"prometheus.io/scrape": "true", **said},
        },
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running"},
    }


class Pods:
    """A cache of objects."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = objects

    def get(self, name: str, namespace: str = "") -> dict[str, Any] | None:
        return next((o for o in self.objects if o["metadata"]["name"] == name), None)

    def list(self, namespace: str | None = None) -> tuple[dict[str, Any], ...]:
        return self.objects


class Api:
    """Answers pods' proxies with a text for each."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.asked: list[tuple[str, int]] = []

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        self.asked.append((path, limit_bytes))
        name = path.split("/")[6].split(":")[0]
        if name not in self.texts:
            raise ServiceUnavailable("nobody listens")
        return self.texts[name].encode()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def reader(api: Api, clock: Clock) -> PodMetricsReader:
    return PodMetricsReader(api, clock)  # type: ignore[arg-type]


def get(api: CustomMetrics | ExternalMetrics, path: str, **query: str) -> Any:
    request = Request("GET", path, {key: [value] for key, value in query.items()})
    response: Response = asyncio.run(api.handle(request))
    assert isinstance(response.body, bytes)
    return orjson.loads(response.body)


def test_gauges_are_as_they_are_and_counters_grow_a_second() -> None:
    first = measure(read_exposition(FIRST, 100), None)
    assert set(first.metrics) == {"queue_depth", "plain"}
    second = measure(read_exposition(SECOND, 110), read_exposition(FIRST, 100))
    assert second.metrics["http_requests"] == [Series((("code", "200"),), 5.0)]
    assert second.metrics["http_requests_per_second"] == second.metrics["http_requests"]
    assert second.metrics["latency_seconds_count"] == [Series((), 2.0)]
    assert second.window == 10


def test_a_counter_that_went_back_began_anew() -> None:
    again = FIRST.replace("} 100", "} 20")
    measured = measure(read_exposition(again, 110), read_exposition(FIRST, 100))
    assert measured.metrics["http_requests"] == [Series((("code", "200"),), 2.0)]


def test_what_follows_something_malformed_is_left_out() -> None:
    assert read_exposition("plain 7\nbroken{ 3\nmore 4", 0).gauges == {"plain": [Series((), 7.0)]}


@pytest.mark.parametrize(
    ("annotations", "is_read", "port", "path"),
    [
        pytest.param({}, True, "8080", "metrics", id="the first port declared"),
        pytest.param({"port": "9100", "path": "/m/x?y#z"}, True, "9100", "m/x%3Fy%23z", id="as annotated"),
        pytest.param({"scrape": "false"}, False, "8080", "metrics", id="it does not want to"),
        pytest.param({"port": "80/../../secrets"}, False, "", "metrics", id="no port"),
    ],
)
def test_where_a_pods_metrics_are(annotations: dict[str, str], is_read: bool, port: str, path: str) -> None:
    found = pod("web", **annotations)
    assert (is_scraped(found), port_of(found), path_of(found)) == (is_read, port, path)


def test_pods_are_read_once_for_all_who_ask_at_a_time_and_no_further_than_a_bound() -> None:
    async def body() -> None:
        api, clock = Api(web=FIRST), Clock()
        scrapes = reader(api, clock)
        await scrapes.measure([pod("web"), pod("silent")])
        await scrapes.measure([pod("web")])
        read = [asked for asked in api.asked if "web" in asked[0]]
        assert read == [("/api/v1/namespaces/default/pods/web:8080/proxy/metrics", MAX_BYTES)]
        clock.seconds += 10
        api.texts["web"] = SECOND
        ((_, measured),) = await scrapes.measure([pod("web")])
        assert measured.metrics["http_requests"][0].value == 5.0

    asyncio.run(body())


def test_custom_metrics_of_pods_services_and_namespaces() -> None:
    api = Api(one=FIRST, two="queue_depth 10\n")
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    pods = Pods(pod("one"), pod("two"))
    custom = CustomMetrics(reader(api, Clock()), pods, Pods(service))  # type: ignore[arg-type]
    base = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"

    def values(path: str, **query: str) -> dict[str, str]:
        items = get(custom, f"{base}/{path}", **query)["items"]
        return {item["describedObject"]["name"]: item["value"] for item in items}

    assert values("pods/*/queue_depth") == {"one": "7", "two": "10"}
    assert values("pods/*/queue_depth", metricLabelSelector="queue=a") == {"one": "3"}
    assert values("pods/*/queue_depth", labelSelector="app=other") == {}
    assert values("pods/two/queue_depth") == {"two": "10"}
    assert values("services/web/queue_depth") == {"web": "17"}
    assert values("metrics/queue_depth") == {"default": "17"}
    refused = get(custom, f"{base}/pods/two/nothing")
    assert refused["message"] == "the server could not find the metric nothing for pods default/two"
    listed = {r["name"] for r in get(custom, "/apis/custom.metrics.k8s.io/v1beta2")["resources"]}
    assert {"pods/queue_depth", "services/plain", "namespaces/plain"} <= listed


def test_external_metrics_are_each_series_with_its_labels() -> None:
    external = ExternalMetrics(reader(Api(one=FIRST), Clock()), Pods(pod("one")))  # type: ignore[arg-type]
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue_depth"
    (item,) = get(external, path, labelSelector="queue in (b)")["items"]
    assert (item["metricName"], item["metricLabels"], item["value"]) == ("queue_depth", {"queue": "b"}, "4")
    assert get(external, path + "/more")["code"] == 404
