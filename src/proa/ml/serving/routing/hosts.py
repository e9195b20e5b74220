"""Say by which names an InferenceService is reached: from outside by the configured template, inside by its Services'.

Follows KServe's pkg/controller/v1beta1/inferenceservice/reconcilers/ingress (domain.go, path.go). Of Go's templates the
fields are understood: {{ .Name }}, {{ .Namespace }}, {{ .IngressDomain }}, {{ .Labels.x }}, {{ index .Labels "x" }},
and the same of .Annotations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.ml.serving.records import Object
from proa.ml.serving.routing.config import CLUSTER_DOMAIN, IngressConfig
from proa.ml.serving.routing.parts import BadRoute
from proa.objects import meta

VISIBILITY_LABELS = ("networking.knative.dev/visibility", "networking.kserve.io/visibility")
CLUSTER_LOCAL = "cluster-local"

Values = Mapping[str, str | Mapping[str, str]]

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"\.(\w+)(?:\.(\w+))?")
_INDEX = re.compile(r'index\s+\.(\w+)\s+"([^"]*)"')
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_cluster_local(service: Object, config: IngressConfig) -> bool:
    """Tell whether it is to be reached from inside of the cluster only."""
    labels = meta.labels(service)
    return (
        config.is_disabled
        or config.domain == CLUSTER_DOMAIN
        or any(labels.get(label) == CLUSTER_LOCAL for label in VISIBILITY_LABELS)
    )


def external_host(name: str, service: Object, config: IngressConfig) -> str:
    """Return the host of `name` (the InferenceService's, a component's, a revision's); raise BadRoute."""
    values: Values = {
        "Name": name,
        "Namespace": meta.namespace(service),
        "IngressDomain": config.domain,
        "Labels": meta.labels(service),
        "Annotations": meta.annotations(service),
    }
    host = _render("domainTemplate", config.domain_template, values)
    return check_host(host)


def additional_hosts(host: str, config: IngressConfig) -> list[str]:
    """Return the host's other names, below the further domains."""
    if not host.endswith(config.domain):
        return []
    stem = host[: -len(config.domain)]
    return [check_host(stem + domain) for domain in config.additional_domains]


def internal_hosts(name: str, namespace: str) -> list[str]:
    """Return the names of a Service inside of the cluster, the longest first."""
    return [f"{name}.{namespace}.{CLUSTER_DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]


def internal_url(name: str, namespace: str) -> str:
    """Return where a Service is reached inside of the cluster."""
    return f"http://{name}.{namespace}.{CLUSTER_DOMAIN}"


def url_path(service: Object, config: IngressConfig) -> str:
    """Return the path of an InferenceService at the configured domain, without slash at its end; "" it has none."""
    if not config.path_template:
        return ""
    values: Values = {"Name": meta.name(service), "Namespace": meta.namespace(service)}
    path = _render("pathTemplate", config.path_template, values)
    if not path.startswith("/") or "//" in path or any(c in path for c in "?# "):
        raise BadRoute(f"pathTemplate: {path!r} is no absolute path")
    return path.rstrip("/")


def check_host(host: str) -> str:
    """Return the host; raise BadRoute where it is none."""
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        words = "at most 63 lower-case letters, digits and hyphens between dots, 253 in all"
        raise BadRoute(f'invalid domain name "{host}": a host has {words}')
    return host


def _render(what: str, template: str, values: Values) -> str:
    def value_of(action: re.Match[str]) -> str:
        found = _FIELD.fullmatch(action[1]) or _INDEX.fullmatch(action[1])
        value = values.get(found[1]) if found is not None else None
        key = found[2] if found is not None else None
        if isinstance(value, str) and not key:
            return value
        if isinstance(value, Mapping) and key:
            return value.get(key, "")
        known = ", ".join(f".{name}" for name in values)
        raise BadRoute(f"{what}: {action[0]} is not understood; there are {known}")

    return _ACTION.sub(value_of, template)
