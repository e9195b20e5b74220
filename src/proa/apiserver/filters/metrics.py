"""Count requests, measure how long they take and how many are under way: apiserver/pkg/endpoints/metrics.

The names and labels are upstream's, for the dashboards and alerts that there are.
"""

from __future__ import annotations

from time import perf_counter

from proa.apiserver.filters.chain import InfoHandler
from proa.apiserver.filters.flow_control import is_long_running
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response
from proa.observability.metrics import Counter, Gauge, Histogram, Metric

_BOUNDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
)  # fmt: skip
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component")
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_READING = frozenset(("get", "list", "watch", "head"))
_COMPONENT = "apiserver"
MAX_SERIES = 4096
"""Of paths that lead nowhere there is no end: what is beyond is counted as one."""


class RequestMetrics:
    """What is known of all requests."""

    def __init__(self) -> None:
        self.total = Counter(
            "apiserver_request_total", "Counter of apiserver requests broken out for each verb, dry run value, "
            "group, version, resource, scope, component, and HTTP response code.", (*_LABELS, "dry_run", "code"),
        )  # fmt: skip
        self.duration = Histogram(
            "apiserver_request_duration_seconds", "Response latency distribution in seconds for each verb, dry run "
            "value, group, version, resource, subresource, scope and component.", (*_LABELS, "dry_run"), _BOUNDS,
        )  # fmt: skip
        self.in_flight = {"readOnly": 0, "mutating": 0}
        self._in_flight = Gauge(
            "apiserver_current_inflight_requests",
            "Number of requests under way per request kind.",
            label="request_kind",
            read_all=lambda: self.in_flight,
        )

    @property
    def all(self) -> tuple[Metric, ...]:
        """Return every metric."""
        return self.total, self.duration, self._in_flight

    def wrap(self, handler: InfoHandler) -> InfoHandler:
        """Measure what goes through a handler. Long-running requests are counted when their answer begins."""
        total, duration, in_flight = self.total, self.duration, self.in_flight

        async def handle(request: Request, info: RequestInfo) -> Response:
            kind = "readOnly" if info.verb in _READING else "mutating"
            in_flight[kind] += 1
            began = perf_counter()
            try:
                response = await handler(request, info)
            finally:
                in_flight[kind] -= 1
            series = _series(request, info)
            if series not in duration.values and len(duration.values) >= MAX_SERIES:
                series = ("other", "", "", "", "", "", _COMPONENT, "")
            if not is_long_running(info):
                duration.observe(series, perf_counter() - began)
            total.add((*series, response.status))
            return response

        return handle


def _series(request: Request, info: RequestInfo) -> tuple[str, ...]:
    verb = info.verb
    if not info.is_resource:
        return verb.upper(), "", "", "", "", "", _COMPONENT, ""
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    shown = _VERBS.get(verb) or verb.upper()
    if verb == "patch" and "apply-patch" in request.headers.get("content-type", ""):
        shown = "APPLY"
    dry_run = "All" if request.query and "dryRun" in request.query else ""
    return shown, info.group, info.version, info.plural, info.subresource, scope, _COMPONENT, dry_run
