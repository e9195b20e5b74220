"""Answer external.metrics.k8s.io: each series of a metric that pods of a namespace expose, whichever pods they are.

Made for exporters, whose pods speak of something else (a queue, a database). Follows the API of
k8s.io/metrics/pkg/apis/external_metrics/v1beta1: namespaces/{namespace}/{metric}?labelSelector=….
"""

from __future__ import annotations

from proa.client.protocol import Object, Request, Response
from proa.metrics.custom_metrics import quantity
from proa.metrics.pod_metrics import PodMetricsReader
from proa.metrics.requests import answer, read_target, refuse, resource_list, unknown
from proa.objects.errors import ApiError
from proa.objects.meta import format_time
from proa.objects.selectors import parse_label_selector
from proa.reconcile.protocol import Cache

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"


class ExternalMetrics:
    """The group version."""

    group, version = GROUP, VERSION

    def __init__(self, reader: PodMetricsReader, pods: Cache) -> None:
        self._reader = reader
        self._pods = pods

    def document(self) -> Object:
        """Return the discovery document: the metrics that were seen lately."""
        return resource_list(
            GROUP_VERSION,
            [
                {
                    "name": metric,
                    "singularName": "",
                    "namespaced": True,
                    "kind": "ExternalMetricValueList",
                    "verbs": ["get"],
                }
                for metric in sorted(self._reader.names())
            ],
        )

    async def handle(self, request: Request) -> Response:
        """Answer a request for the group version."""
        try:
            target = read_target(request, GROUP_VERSION)
            if not target.parts:
                return answer(self.document())
            if not target.namespace or len(target.parts) != 1:
                raise unknown()
            return answer(await self._values(request, target.namespace, target.parts[0]))
        except ApiError as error:
            return refuse(error)

    async def _values(self, request: Request, namespace: str, metric: str) -> Object:
        wanted = parse_label_selector(request.parameter("labelSelector"))
        items = []
        for _, measured in await self._reader.measure(self._pods.list(namespace)):
            for series in measured.metrics.get(metric, ()):
                labels = dict(series.labels)
                if not wanted.matches(labels):
                    continue
                item: Object = {
                    "metricName": metric,
                    "metricLabels": labels,
                    "timestamp": format_time(measured.time),
                    "value": quantity(series.value),
                }
                if measured.window:
                    item["window"] = round(measured.window)
                items.append(item)
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": items,
        }
