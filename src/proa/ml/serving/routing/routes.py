"""Make HTTPRoutes: which requests go to which component, and how much of them to which of its backends.

Follows gateway.networking.k8s.io/v1, and of KServe what its routes match
(pkg/controller/v1beta1/inferenceservice/reconcilers/ingress/httproute_reconciler.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.ml.serving.kinds import COMPONENT_LABEL, SERVICE_PORT
from proa.ml.serving.records import Object, Share
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import check_host
from proa.ml.serving.routing.parts import GATEWAY_GROUP, GRPC_SERVICE_PORT, Backend, Component
from proa.ml.serving.routing.services import make_metadata
from proa.objects import meta

Json = dict[str, Any]

RETRY_ANNOTATIONS = {"gateway.proa.local/retry-on": "reset,502,503", "gateway.proa.local/retry-attempts": "5"}
"""A prediction changes nothing, and may be asked for again: of our gateway (docs/ingress.md); others do as they do."""
EXPLAIN_PATH = r"^/v1/models/[\w-]+:explain$"
GRPC_TYPE = "^application/grpc.*"
DEFAULT_TIMEOUT_SECONDS, STANDARD_TIMEOUT_SECONDS = 300, 60
SERVICE_HEADER, SERVICE_NAMESPACE_HEADER = "KServe-Isvc-Name", "KServe-Isvc-Namespace"
REVISION_HEADER, NAMESPACE_HEADER = "Knative-Serving-Revision", "Knative-Serving-Namespace"


def make_route(
    service: Object, name: str, kind: str, hosts: Iterable[str], rules: Sequence[Json], config: IngressConfig
) -> Object:
    """Return the HTTPRoute of these hosts."""
    namespace, gateway = config.gateway.split("/")
    metadata = make_metadata(service, name, {COMPONENT_LABEL: kind} if kind else {})
    return {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": metadata | {"annotations": RETRY_ANNOTATIONS},
        "spec": {
            "parentRefs": [
                {"group": GATEWAY_GROUP, "kind": "Gateway", "namespace": namespace, "name": gateway}
            ],
            "hostnames": [check_host(host) for host in dict.fromkeys(hosts)],
            "rules": [*rules],
        },
    }


class Rules:
    """Makes the rules of one InferenceService's routes.

    With `has_revisions` each backend is told which revision a request is for: the activator goes by that.
    """

    def __init__(self, service: Object, config: IngressConfig, *, has_revisions: bool) -> None:
        self._service = service
        self._config = config
        self._has_revisions = has_revisions

    def of_component(
        self, component: Component, shares: Sequence[Share] = (), extra: Sequence[Json] = ()
    ) -> list[Json]:
        """Return the rules for all requests to a component; gRPC to the port that speaks it where there are both.

        `shares` are others than the component's own, `extra` further filters.
        """
        backends = _weights(component, shares or component.shares)
        if not any(backend.ports.http and backend.ports.grpc for backend, _ in backends):
            return [self._rule(component, backends, {"path": _prefix("/")}, extra=extra)]
        by_type = {"type": "RegularExpression", "name": "content-type", "value": GRPC_TYPE}
        grpc = {"path": _prefix("/"), "headers": [by_type]}
        return [
            self._rule(component, backends, grpc, is_grpc=True, extra=extra),
            self._rule(component, backends, {"path": _prefix("/")}, extra=extra),
        ]

    def of_explainer(self, explainer: Component) -> list[Json]:
        """Return the rule for what explainers are asked."""
        match = {"path": {"type": "RegularExpression", "value": EXPLAIN_PATH}}
        return [self._rule(explainer, _weights(explainer, explainer.shares), match)]

    def below_path(self, component: Component, path: str, explainer: Component | None) -> list[Json]:
        """Return the rules for an InferenceService that has a path of its own, which backends do not see."""
        rules = []
        if explainer is not None:
            asked = f"/v1/models/{meta.name(self._service)}:explain"
            match: Json = {"path": {"type": "Exact", "value": path + asked}}
            backends = _weights(explainer, explainer.shares)
            rules.append(self._rule(explainer, backends, match, extra=[_rewrite("ReplaceFullPath", asked)]))
        match = {"path": _prefix(path)}
        backends = _weights(component, component.shares)
        rules.append(
            self._rule(component, backends, match, extra=[_rewrite("ReplacePrefixMatch", "/")]),
        )
        return rules

    def _rule(
        self,
        component: Component,
        backends: Sequence[tuple[Backend, int]],
        match: Json,
        *,
        is_grpc: bool = False,
        extra: Sequence[Json] = (),
    ) -> Json:
        names = [
            {"name": SERVICE_HEADER, "value": meta.name(self._service)},
            {"name": SERVICE_NAMESPACE_HEADER, "value": meta.namespace(self._service)},
        ]
        rule: Json = {
            "matches": [match],
            "filters": [_set_headers(names), *extra],
            "backendRefs": [self._reference(backend, weight, is_grpc) for backend, weight in backends],
        }
        if not self._config.has_no_timeouts:
            default = DEFAULT_TIMEOUT_SECONDS if self._has_revisions else STANDARD_TIMEOUT_SECONDS
            seconds = default if component.timeout_seconds is None else component.timeout_seconds
            rule["timeouts"] = {"request": f"{seconds}s"}
        return rule

    def _reference(self, backend: Backend, weight: int, is_grpc: bool) -> Json:
        has_both = bool(backend.ports.http and backend.ports.grpc)
        reference: Json = {
            "group": "",
            "kind": "Service",
            "name": backend.name,
            "port": GRPC_SERVICE_PORT if is_grpc and has_both else SERVICE_PORT,
            "weight": weight,
        }
        if self._has_revisions:
            headers = [
                {"name": REVISION_HEADER, "value": backend.name},
                {"name": NAMESPACE_HEADER, "value": meta.namespace(self._service)},
            ]
            reference["filters"] = [_set_headers(headers)]
        return reference


def _weights(component: Component, shares: Sequence[Share]) -> list[tuple[Backend, int]]:
    """Return who gets how much, each once; a share of nothing is none, unless there is no other."""
    percents: dict[str, int] = {}
    for share in shares:
        percents[share.revision] = percents.get(share.revision, 0) + share.percent
    named = {name: percent for name, percent in percents.items() if percent} or dict.fromkeys(percents, 1)
    return [(component.backend(name), weight) for name, weight in named.items()]


def _prefix(path: str) -> Json:
    return {"type": "PathPrefix", "value": path}


def _set_headers(headers: Sequence[Json]) -> Json:
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [*headers]}}


def _rewrite(kind: str, path: str) -> Json:
    field = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}[kind]
    return {"type": "URLRewrite", "urlRewrite": {"path": {"type": kind, field: path}}}
