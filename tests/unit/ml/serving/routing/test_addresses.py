"""Where InferenceServices are reached, how that is configured, and whether requests get there."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proa.ml.serving.routing.addresses import (
    address_of,
    are_carried_out,
    config_for,
    make_gateway,
    routes_readiness,
    service_url,
    url_of,
)
from proa.ml.serving.routing.config import BadConfig, IngressConfig, make_default_config, read_ingress_config
from proa.ml.serving.routing.hosts import external_host
from proa.ml.serving.routing.parts import BadRoute

SERVICE = {
    "metadata": {
        "name": "iris",
        "namespace": "team",
        "labels": {"zone": "eu"},
        "annotations": {"a/b": "x"},
    },
    "spec": {"predictor": {}},
}
LOCAL = {
    **SERVICE,
    "metadata": {
        **SERVICE["metadata"],
        "labels": {"networking.knative.dev/visibility": "cluster-local"},
    },
}


def gateway_at(**ports: int) -> dict[str, Any]:
    addresses = [{"type": "IPAddress", "value": "127.0.0.1"}]
    addresses += [
        {"type": f"gateway.proa.local/port-{port[1:]}", "value": f"127.0.0.1:{n}"}
        for port, n in ports.items()
    ]
    return {"status": {"addresses": addresses}}


HOSTS = [
    ("{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}", "iris-team.proa.localhost"),
    ("{{.Name}}.{{ .Labels.zone }}.{{- .IngressDomain -}}", "iris.eu.proa.localhost"),
    ('{{ index .Annotations "a/b" }}.{{ .IngressDomain }}', "x.proa.localhost"),
]


@pytest.mark.parametrize(("template", "host"), HOSTS)
def test_hosts_follow_the_template(template: str, host: str) -> None:
    assert external_host("iris", SERVICE, IngressConfig(domain_template=template)) == host


BAD = ["{{ .Nmae }}.x", "{{ if .Name }}.x", "{{ .Name }}_{{ .Namespace }}", "a." * 130 + "b"]


@pytest.mark.parametrize("template", BAD)
def test_a_template_that_gives_no_host_is_refused(template: str) -> None:
    with pytest.raises(BadRoute):
        external_host("iris", SERVICE, IngressConfig(domain_template=template))


def test_urls_have_the_hosts_port_where_that_is_another() -> None:
    config = IngressConfig()

    assert service_url(SERVICE, config, None) == "http://iris.team.proa.localhost"
    assert service_url(SERVICE, config, gateway_at(p443=8443)) == "http://iris.team.proa.localhost"
    assert service_url(SERVICE, config, gateway_at(p80=8080)) == "http://iris.team.proa.localhost:8080"
    revision = url_of(SERVICE, "iris-predictor-00001", config, gateway_at(p80=8080))
    assert revision == "http://iris-predictor-00001.team.proa.localhost:8080"
    with_path = config._replace(path_template="/{{ .Name }}", url_scheme="https")
    assert service_url(SERVICE, with_path, gateway_at(p443=8443)) == "https://proa.localhost:8443/iris"


def test_what_is_cluster_local_has_its_name_inside_as_url() -> None:
    config = IngressConfig(path_template="/{{ .Name }}")

    assert service_url(LOCAL, config, gateway_at(p80=8080)) == "http://iris.team.svc.cluster.local"


STANDARD = [
    ({"predictor": {}}, "iris-predictor"),
    ({"predictor": {"name": "new"}}, "iris-new-predictor"),
    ({"predictor": {}, "transformer": {}}, "iris-transformer"),
]


@pytest.mark.parametrize(("spec", "name"), STANDARD)
def test_the_address_inside_is_the_first_component_in_standard_mode(spec: dict[str, Any], name: str) -> None:
    service = {**SERVICE, "spec": spec}

    assert address_of(service, is_standard=True) == f"http://{name}.team.svc.cluster.local"
    assert address_of(service) == "http://iris.team.svc.cluster.local"


def test_the_configuration_that_is_shipped_is_the_default() -> None:
    shipped = read_ingress_config(orjson.dumps(make_default_config()).decode())

    assert shipped == IngressConfig(ingress_class="proa")
    assert read_ingress_config("") == IngressConfig()


WRONG = [
    ("[", "no JSON"),
    ("[]", "no JSON object"),
    ('{"kserveIngressGateway": "x"}', "namespace/name"),
    ('{"ingressDomain": 1}', "no string"),
    ('{"enableGatewayApi": "yes"}', "neither true nor false"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_configuration_that_cannot_be_used_says_why(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_ingress_config(text)


def conditions(*entries: tuple[str, str], generation: int = 1) -> list[dict[str, Any]]:
    return [
        {"type": t, "status": s, "reason": "R", "message": "M", "observedGeneration": generation}
        for t, s in entries
    ]


def test_a_gateway_that_nothing_carries_out_is_none_inside() -> None:
    missing = {"status": {"conditions": [{"type": "Programmed", "status": "False", "reason": "NoResources"}]}}

    assert config_for(IngressConfig(), missing).local_gateway_service == ""
    assert config_for(IngressConfig(), a_gateway("False")) == IngressConfig()
    assert config_for(IngressConfig(), None) == IngressConfig()


def a_gateway(programmed: str = "True") -> dict[str, Any]:
    made = make_gateway(IngressConfig(), "proa")
    made["metadata"]["generation"] = 1
    return made | {"status": {"conditions": conditions(("Accepted", "True"), ("Programmed", programmed))}}


def a_route(resolved: str = "True", generation: int = 1, weight: int = 100) -> dict[str, Any]:
    parent = {
        "parentRef": {"namespace": "kserve", "name": "kserve-ingress-gateway"},
        "conditions": conditions(("Accepted", "True"), ("ResolvedRefs", resolved)),
    }
    return {
        "metadata": {"name": "iris", "namespace": "team", "generation": generation},
        "spec": {
            "rules": [{"backendRefs": [{"name": "iris-predictor-00001", "port": 80, "weight": weight}]}]
        },
        "status": {"parents": [parent]},
    }


READY = [
    pytest.param([a_route()], a_gateway(), "True", "", id="all is well"),
    pytest.param([], a_gateway(), "False", "HTTPRoute iris not created", id="no route"),
    pytest.param([a_route()], None, "False", "does not exist", id="no gateway"),
    pytest.param([a_route()], a_gateway("False"), "False", "ingress-gateway: M", id="not programmed"),
    pytest.param([a_route("False")], a_gateway(), "False", "HTTPRoute iris: M", id="no backend"),
    pytest.param([a_route(weight=90)], a_gateway(), "Unknown", "being changed", id="as it was before"),
    pytest.param([a_route(generation=2)], a_gateway(), "Unknown", "not told", id="not seen yet"),
]


@pytest.mark.parametrize(("found", "gateway", "status", "words"), READY)
def test_readiness_is_what_the_statuses_say(
    found: list[Any], gateway: dict[str, Any] | None, status: str, words: str
) -> None:
    told = routes_readiness([a_route()], found, gateway, "gateway")

    assert told.status == status
    assert words in told.message


def test_what_is_over_may_go_once_routes_lead_elsewhere_or_nobody_follows_them() -> None:
    wanted = [a_route()]
    missing = a_gateway("False")
    missing["status"]["conditions"][1]["reason"] = "NoResources"

    assert are_carried_out(wanted, [a_route()], a_gateway(), "gateway")
    assert are_carried_out(wanted, [a_route()], missing, "gateway")
    assert are_carried_out(wanted, [], None, "gateway")
    assert not are_carried_out(wanted, [a_route(weight=90)], a_gateway(), "gateway")
    assert not are_carried_out(wanted, [a_route()], a_gateway("False"), "gateway")
