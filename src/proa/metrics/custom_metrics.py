"""Answer custom.metrics.k8s.io: what pods expose, for each pod or for the Service or Namespace that they are in.

Follows the API of k8s.io/metrics/pkg/apis/custom_metrics/v1beta2 and custom-metrics-apiserver's paths:
namespaces/{namespace}/{resource}/{name or *}/{metric}, namespaces/{name}/metrics/{metric}.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object, Request, Response
from proa.metrics.pod_metrics import Measured, PodMetricsReader
from proa.metrics.requests import Target, answer, read_target, refuse, resource_list, unknown
from proa.objects.errors import ApiError, NotFound
from proa.objects.meta import format_time, labels, name, namespace
from proa.objects.quantity import canonicalize
from proa.objects.selectors import LabelSelector, parse_label_selector, selector_from_labels
from proa.reconcile.protocol import Cache

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
GROUP_VERSION = f"{GROUP}/{VERSION}"
KINDS = {"pods": "Pod", "services": "Service", "namespaces": "Namespace"}


class CustomMetrics:
    """The group version."""

    group, version = GROUP, VERSION

    def __init__(self, reader: PodMetricsReader, pods: Cache, services: Cache) -> None:
        self._reader = reader
        self._pods = pods
        self._services = services

    def document(self) -> Object:
        """Return the discovery document: the metrics that were seen lately, of each kind."""
        return resource_list(
            GROUP_VERSION,
            [
                {
                    "name": f"{plural}/{metric}",
                    "singularName": "",
                    "namespaced": plural != "namespaces",
                    "kind": "MetricValueList",
                    "verbs": ["get"],
                }
                for metric in sorted(self._reader.names())
                for plural in KINDS
            ],
        )

    async def handle(self, request: Request) -> Response:
        """Answer a request for the group version."""
        try:
            target = read_target(request, GROUP_VERSION)
            if not target.parts:
                return answer(self.document())
            return answer(await self._values(request, target))
        except ApiError as error:
            return refuse(error)

    async def _values(self, request: Request, target: Target) -> Object:
        chosen = parse_label_selector(request.parameter("labelSelector"))
        wanted = parse_label_selector(request.parameter("metricLabelSelector"))
        match target.parts:
            case ("metrics", metric):
                items = await self._of("namespaces", target.namespace, target.namespace, metric, wanted)
            case ("pods", "*", metric):
                pods = [p for p in self._pods.list(target.namespace) if chosen.matches(labels(p))]
                items = await self._each(pods, metric, wanted)
            case ("services", "*", metric):
                names = [name(s) for s in self._services.list(target.namespace) if chosen.matches(labels(s))]
                found = [await self._of("services", target.namespace, n, metric, wanted) for n in names]
                items = [item for each in found for item in each]
            case (("pods" | "services") as plural, obj, metric):
                items = await self._of(plural, target.namespace, obj, metric, wanted)
                if not items:
                    where = f"{plural} {target.namespace}/{obj}"
                    raise NotFound(f"the server could not find the metric {metric} for {where}")
            case _:
                raise unknown()
        return {"kind": "MetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}

    async def _each(self, pods: Sequence[Object], metric: str, wanted: LabelSelector) -> list[Object]:
        found = []
        for pod, measured in await self._reader.measure(pods):
            value = total([measured], metric, wanted)
            if value is not None:
                found.append(_item("pods", namespace(pod), name(pod), metric, wanted, value, [measured]))
        return sorted(found, key=lambda item: str(item["describedObject"]["name"]))

    async def _of(
        self, plural: str, space: str, obj: str, metric: str, wanted: LabelSelector
    ) -> list[Object]:
        """Return one object's value, none where none of its pods exposes the metric."""
        measured = [m for _, m in await self._reader.measure(self._pods_of(plural, space, obj))]
        value = total(measured, metric, wanted)
        return [] if value is None else [_item(plural, space, obj, metric, wanted, value, measured)]

    def _pods_of(self, plural: str, space: str, obj: str) -> Sequence[Object]:
        if plural == "namespaces":
            return self._pods.list(space)
        if plural == "pods":
            pod = self._pods.get(obj, space)
            return [pod] if pod is not None else []
        service = self._services.get(obj, space)
        if service is None or not service["spec"].get("selector"):
            return []
        selector = selector_from_labels(service["spec"]["selector"])
        return [pod for pod in self._pods.list(space) if selector.matches(labels(pod))]


def total(measured: Sequence[Measured], metric: str, wanted: LabelSelector) -> float | None:
    """Return the sum of a metric's series that have the labels wanted; None where there is none."""
    values = [
        series.value
        for each in measured
        for series in each.metrics.get(metric, ())
        if wanted.matches(dict(series.labels))
    ]
    return sum(values) if values else None


def quantity(value: float) -> str:
    """Return a value as a quantity, in thousandths as upstream's adapters have it."""
    return canonicalize(f"{round(value * 1000)}m")


def _item(
    plural: str,
    space: str,
    obj: str,
    metric: str,
    wanted: LabelSelector,
    value: float,
    measured: Sequence[Measured],
) -> Object:
    described = {"kind": KINDS[plural], "name": obj, "apiVersion": "v1"}
    if plural != "namespaces":
        described["namespace"] = space
    window = max(each.window for each in measured)
    identifier: Object = {"name": metric}
    if not wanted.is_everything:
        identifier["selector"] = {
            "matchExpressions": [
                {"key": r.key, "operator": "In", "values": list(r.values)} for r in wanted.requirements
            ]
        }
    return {
        "describedObject": described,
        "metric": identifier,
        "timestamp": format_time(min(each.time for each in measured)),
        **({"windowSeconds": round(window)} if window else {}),
        "value": quantity(value),
    }
