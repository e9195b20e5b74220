"""Read what autoscalers go by: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

All values are in thousandths, rounded up. Follows pkg/controller/podautoscaler/metrics/client.go and
k8s.io/metrics/pkg/client/custom_metrics/client.go.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlencode

from proa.client.protocol import Client, Object
from proa.objects.durations import SECOND, parse_duration
from proa.objects.errors import ApiError
from proa.objects.meta import name, parse_time
from proa.objects.quantity import to_millis
from proa.objects.resource import Resource

RESOURCE_METRICS = "/apis/metrics.k8s.io/v1beta1"
CUSTOM_METRICS = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL_METRICS = "/apis/external.metrics.k8s.io/v1beta1"
CUSTOM_WINDOW_SECONDS = 60.0
"""Over what a custom metric is measured that does not say so."""


class NoMetrics(Exception):
    """Metrics cannot be had; the message says which and why."""


class PodMetric(NamedTuple):
    """One pod's value, when it was measured (epoch seconds) and over how many seconds before."""

    value: int
    time: float = 0.0
    window: float = 0.0


PodMetrics = dict[str, PodMetric]
"""By the pod's name."""


async def read_resource(
    client: Client, namespace: str, selector: str, resource: str, container: str = ""
) -> PodMetrics:
    """Return what pods use of a resource (or one container of each); raise NoMetrics."""
    query = urlencode({"labelSelector": selector})
    path = f"{RESOURCE_METRICS}/namespaces/{namespace}/pods?{query}"
    items = await _items(client, path, "resource")
    return _known({name(item): _pod_usage(item, resource, container) for item in items})


def _pod_usage(item: Object, resource: str, container: str) -> PodMetric | None:
    """Return a pod's usage, None where that of a container is not known."""
    total = 0
    wanted = [c for c in item.get("containers") or () if not container or c["name"] == container]
    for each in wanted:
        used = (each.get("usage") or {}).get(resource)
        if used is None:
            return None
        total += to_millis(used)
    if container and not wanted:
        return None
    return PodMetric(
        total, parse_time(item["timestamp"]), parse_duration(item.get("window") or "0s") / SECOND
    )


async def read_pods(
    client: Client, namespace: str, selector: str, metric: str, metric_selector: str
) -> PodMetrics:
    """Return a custom metric of pods; raise NoMetrics."""
    query = urlencode({"labelSelector": selector, "metricLabelSelector": metric_selector})
    path = f"{CUSTOM_METRICS}/namespaces/{namespace}/pods/*/{quote(metric, safe='')}?{query}"
    found: PodMetrics = {}
    for item in await _items(client, path, "custom"):
        window = item.get("windowSeconds")
        seconds = CUSTOM_WINDOW_SECONDS if window is None else float(window)
        measured = PodMetric(to_millis(item["value"]), parse_time(item["timestamp"]), seconds)
        found[item["describedObject"]["name"]] = measured
    return found


async def read_object(
    client: Client, namespace: str, resource: Resource, obj: str, metric: str, metric_selector: str
) -> int:
    """Return a custom metric of one object; raise NoMetrics."""
    plural = quote(resource.qualified_name, safe="")
    if resource.qualified_name == "namespaces":
        place = f"namespaces/{quote(obj, safe='')}/metrics"
    elif resource.namespaced:
        place = f"namespaces/{namespace}/{plural}/{quote(obj, safe='')}"
    else:
        place = f"{plural}/{quote(obj, safe='')}"
    query = urlencode({"metricLabelSelector": metric_selector})
    items = await _items(client, f"{CUSTOM_METRICS}/{place}/{quote(metric, safe='')}?{query}", "custom")
    return to_millis(items[0]["value"])


async def read_external(client: Client, namespace: str, metric: str, selector: str) -> int:
    """Return the sum of an external metric's values; raise NoMetrics."""
    query = urlencode({"labelSelector": selector})
    path = f"{EXTERNAL_METRICS}/namespaces/{namespace}/{quote(metric, safe='')}?{query}"
    return sum(to_millis(item["value"]) for item in await _items(client, path, "external"))


async def _items(client: Client, path: str, which: str) -> list[Object]:
    try:
        answer = await client.request("GET", path)
    except ApiError as error:
        raise NoMetrics(f"unable to fetch metrics from {which} metrics API: {error.message}") from error
    items: list[Object] = answer.get("items") or []
    if not items:
        raise NoMetrics(f"no metrics returned from {which} metrics API")
    return items


def _known(found: dict[str, PodMetric | None]) -> PodMetrics:
    return {pod: metric for pod, metric in found.items() if metric is not None}
