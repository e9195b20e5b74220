"""Read how addresses are made: `ingress` of the ConfigMap kserve/inferenceservice-config.

Follows KServe's IngressConfig (pkg/apis/serving/v1beta1/configmap.go); what is about Istio means nothing here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

GATEWAY = "kserve/kserve-ingress-gateway"
GATEWAY_CLASS = "proa"
LOCAL_GATEWAY_SERVICE = "proa-gateway.kube-system.svc.cluster.local"
DOMAIN = "proa.localhost"
DOMAIN_TEMPLATE = "{{ .Name }}.{{ .Namespace }}.{{ .IngressDomain }}"
CLUSTER_DOMAIN = "svc.cluster.local"


class BadConfig(Exception):
    """The configuration cannot be used; the message says what is wrong with it."""


class IngressConfig(NamedTuple):
    """How addresses are made."""

    domain: str = DOMAIN
    domain_template: str = DOMAIN_TEMPLATE
    additional_domains: tuple[str, ...] = ()
    path_template: str = ""
    """"" none: every InferenceService has a host of its own; else they have a path at `domain` too."""
    url_scheme: str = "http"
    gateway: str = GATEWAY
    """namespace/name of the Gateway that HTTPRoutes name."""
    local_gateway_service: str = LOCAL_GATEWAY_SERVICE
    """The DNS name, inside of the cluster, of what carries HTTPRoutes out; "" where nothing does."""
    ingress_class: str = ""
    has_gateway_api: bool = True
    is_disabled: bool = False
    """Nothing is reached from outside of the cluster."""
    has_no_timeouts: bool = False
    """HTTPRoutes have no timeouts, for gateways that do not know such."""


def make_default_config() -> dict[str, Any]:
    """Return `ingress` as it is shipped, for the embedded cluster."""
    return {
        "enableGatewayApi": True,
        "kserveIngressGateway": GATEWAY,
        "localGatewayService": LOCAL_GATEWAY_SERVICE,
        "ingressDomain": DOMAIN,
        "ingressClassName": GATEWAY_CLASS,
        "domainTemplate": DOMAIN_TEMPLATE,
        "urlScheme": "http",
        "disableIngressCreation": False,
        "disableHTTPRouteTimeout": False,
    }


def read_ingress_config(text: str) -> IngressConfig:
    """Return what the JSON says, "" for all by default; raise BadConfig."""
    try:
        given = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise BadConfig(f"ingress of inferenceservice-config is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadConfig("ingress of inferenceservice-config is no JSON object")
    known = make_default_config() | {"ingressClassName": ""} | given
    gateway = _text(known, "kserveIngressGateway")
    if gateway.count("/") != 1 or not all(gateway.split("/")):
        raise BadConfig(f"kserveIngressGateway: {gateway!r} is not of the form namespace/name")
    return IngressConfig(
        domain=_text(known, "ingressDomain"),
        domain_template=_text(known, "domainTemplate") or DOMAIN_TEMPLATE,
        additional_domains=tuple(dict.fromkeys(str(d) for d in known.get("additionalIngressDomains") or ())),
        path_template=_text(known, "pathTemplate"),
        url_scheme=_text(known, "urlScheme") or "http",
        gateway=gateway,
        local_gateway_service=_text(known, "localGatewayService"),
        ingress_class=_text(known, "ingressClassName"),
        has_gateway_api=_flag(known, "enableGatewayApi"),
        is_disabled=_flag(known, "disableIngressCreation"),
        has_no_timeouts=_flag(known, "disableHTTPRouteTimeout"),
    )


def _text(given: dict[str, Any], field: str) -> str:
    value = given.get(field) or ""
    if not isinstance(value, str):
        raise BadConfig(f"{field}: {value!r} is no string")
    return value


def _flag(given: dict[str, Any], field: str) -> bool:
    value = given.get(field) or False
    if not isinstance(value, bool):
        raise BadConfig(f"{field}: {value!r} is neither true nor false")
    return value
