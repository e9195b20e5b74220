"""Answer metrics.k8s.io: what nodes and pods use, which `kubectl top` shows and autoscalers go by.

Objects exist while the usage is known; there is nothing to watch. Follows metrics-server's pkg/api/{node,pod,table}.go
and the types of k8s.io/metrics/pkg/apis/metrics/v1beta1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proa.client.protocol import Object, Request, Response
from proa.metrics.requests import Target, answer, not_found, read_target, refuse, resource_list, unknown
from proa.metrics.scraper import Scraper
from proa.metrics.usage import Usage
from proa.objects.errors import ApiError, BadRequest
from proa.objects.meta import format_time, labels, name, namespace
from proa.objects.quantity import canonicalize, format_bytes
from proa.objects.selectors import FieldSelector, LabelSelector, parse_field_selector, parse_label_selector
from proa.reconcile.protocol import Cache

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
VERBS = ["get", "list"]
RESOURCES: Sequence[Mapping[str, Any]] = (
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": VERBS},
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": VERBS},
)


class ResourceMetrics:
    """The group version. `now` returns epoch seconds; labels are those of the nodes and pods in the caches."""

    group, version = GROUP, VERSION

    def __init__(self, scraper: Scraper, nodes: Cache, pods: Cache, now: Callable[[], float]) -> None:
        self._scraper = scraper
        self._nodes = nodes
        self._pods = pods
        self._now = now

    def document(self) -> Object:
        """Return the discovery document."""
        return resource_list(GROUP_VERSION, RESOURCES)

    async def handle(self, request: Request) -> Response:
        """Answer a request for the group version."""
        try:
            target = read_target(request, GROUP_VERSION)
            return answer(self._answer(request, target))
        except ApiError as error:
            return refuse(error)

    def _answer(self, request: Request, target: Target) -> Object:
        if not target.parts:
            return self.document()
        plural, *rest = target.parts
        if plural == "nodes" and not target.namespace and len(rest) < 2:
            made = self._node_metrics()
        elif plural == "pods" and len(rest) < 2:
            made = self._pod_metrics(target.namespace)
        else:
            raise unknown()
        kind = "NodeMetrics" if plural == "nodes" else "PodMetrics"
        if rest:
            if plural == "pods" and not target.namespace:
                raise unknown()
            return _one(made, rest[0], kind)
        return _listed(made, request, kind)

    def _node_metrics(self) -> list[Object]:
        found = []
        for node in self._nodes.list():
            usage = self._scraper.node(name(node))
            if usage is not None:
                found.append({**self._head("NodeMetrics", node), **_when(usage), "usage": _quantities(usage)})
        return sorted(found, key=name)

    def _pod_metrics(self, wanted: str) -> list[Object]:
        found = []
        for (its_namespace, its_name), containers in self._scraper.pods():
            if wanted and its_namespace != wanted:
                continue
            pod = self._pods.get(its_name, its_namespace)
            if pod is None:
                continue
            oldest = min(containers.values(), key=lambda usage: usage.time - usage.window)
            shown = [{"name": key, "usage": _quantities(usage)} for key, usage in containers.items()]
            found.append({**self._head("PodMetrics", pod), **_when(oldest), "containers": shown})
        return sorted(found, key=lambda obj: (namespace(obj), name(obj)))

    def _head(self, kind: str, of: Object) -> Object:
        metadata: Object = {"name": name(of), "creationTimestamp": format_time(self._now())}
        if namespace(of):
            metadata["namespace"] = namespace(of)
        if labels(of):
            metadata["labels"] = dict(labels(of))
        return {"kind": kind, "apiVersion": GROUP_VERSION, "metadata": metadata}


def _one(made: list[Object], wanted: str, kind: str) -> Object:
    for obj in made:
        if name(obj) == wanted:
            return obj
    raise not_found(f"{kind.lower()}.{GROUP}", wanted)


def _listed(made: list[Object], request: Request, kind: str) -> Object:
    chosen, fields = _selectors(request)
    items = [
        {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        for obj in made
        if chosen.matches(labels(obj))
        and fields.matches({"metadata.name": name(obj), "metadata.namespace": namespace(obj)})
    ]
    return {"kind": f"{kind}List", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}


def _selectors(request: Request) -> tuple[LabelSelector, FieldSelector]:
    fields = parse_field_selector(request.parameter("fieldSelector"))
    for field, _, _ in fields.requirements:
        if field not in ("metadata.name", "metadata.namespace"):
            raise BadRequest(f"field label not supported: {field}")
    return parse_label_selector(request.parameter("labelSelector")), fields


def _when(usage: Usage) -> Object:
    return {"timestamp": format_time(usage.time), "window": f"{usage.window:.3f}s"}


def _quantities(usage: Usage) -> Object:
    return {"cpu": canonicalize(f"{usage.cpu_nanocores}n"), "memory": format_bytes(usage.memory_bytes)}
