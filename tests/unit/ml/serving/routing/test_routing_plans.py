"""What an InferenceService gets to be reached: Services, HTTPRoutes, Ingresses."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.serving.kinds import EXPLAINER, PREDICTOR, REVISION_LABEL, TRANSFORMER
from proa.ml.serving.records import Share
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.parts import Backend, Component, Ports, Routing
from proa.ml.serving.routing.revisions import plan_routing
from proa.ml.serving.routing.standard import plan_standard_routing

CONFIG = IngressConfig()
HTTP = Ports()


def make_service(**metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "iris", "namespace": "team", "uid": "u1", **metadata},
        "spec": {"predictor": {}},
    }


def revisions(
    kind: str, *shares: Share, kept: int = 1, ports: Ports = HTTP, timeout: int | None = None
) -> Component:
    names = [f"iris-{kind}-{number:05}" for number in range(1, kept + 1)]
    backends = tuple(Backend(name, ((REVISION_LABEL, name),), ports) for name in names)
    return Component(kind, backends, shares, timeout)


def all_of(kind: str, **more: Any) -> Component:
    return revisions(kind, Share(f"iris-{kind}-00001", 100, True), **more)


def routes_of(routing: Routing) -> dict[str, Any]:
    return {route["metadata"]["name"]: route["spec"] for route in routing.routes}


def shares_of(rule: dict[str, Any]) -> dict[str, int]:
    return {f"{r['name']}:{r['port']}": r["weight"] for r in rule["backendRefs"]}


def test_a_predictor_is_a_host_itself_and_by_its_component_and_revision() -> None:
    routing = plan_routing(make_service(), (all_of(PREDICTOR),), CONFIG, "gateway")

    hosts = {name: spec["hostnames"] for name, spec in routes_of(routing).items()}
    assert hosts == {
        "iris": ["iris.team.proa.localhost", "iris.team.svc.cluster.local", "iris.team.svc", "iris.team"],
        "iris-predictor": [
            "iris-predictor.team.proa.localhost",
            "iris-predictor.team.svc.cluster.local",
            "iris-predictor.team.svc",
            "iris-predictor.team",
        ],
        "iris-predictor-00001": ["iris-predictor-00001.team.proa.localhost"],
    }
    assert {name: [shares_of(r) for r in spec["rules"]] for name, spec in routes_of(routing).items()} == {
        name: [{"iris-predictor-00001:80": 100}] for name in hosts
    }
    assert {s["metadata"]["name"]: s["spec"]["type"] for s in routing.services} == {
        "iris-predictor-00001": "ClusterIP",
        "iris": "ExternalName",
        "iris-predictor": "ExternalName",
    }


def test_each_backend_is_told_its_revision_and_the_rule_has_the_timeout() -> None:
    component = revisions(
        PREDICTOR,
        Share("iris-predictor-00002", 10, True),
        Share("iris-predictor-00001", 90, False),
        kept=2,
        timeout=7,
    )

    rule = routes_of(plan_routing(make_service(), (component,), CONFIG, "gateway"))["iris"]["rules"][0]

    assert shares_of(rule) == {"iris-predictor-00002:80": 10, "iris-predictor-00001:80": 90}
    assert rule["timeouts"] == {"request": "7s"}
    assert [r["filters"][0]["requestHeaderModifier"]["set"] for r in rule["backendRefs"]] == [
        [
            {"name": "Knative-Serving-Revision", "value": name},
            {"name": "Knative-Serving-Namespace", "value": "team"},
        ]
        for name in ("iris-predictor-00002", "iris-predictor-00001")
    ]


SPLITS = [
    pytest.param([("00002", 0), ("00001", 100)], {"iris-predictor-00001:80": 100}, id="nothing is no share"),
    pytest.param([("00001", 30), ("00001", 70)], {"iris-predictor-00001:80": 100}, id="one revision twice"),
    pytest.param([("00002", 0)], {"iris-predictor-00002:80": 1}, id="nothing else there"),
]


@pytest.mark.parametrize(("given", "expected"), SPLITS)
def test_shares_become_weights(given: list[tuple[str, int]], expected: dict[str, int]) -> None:
    shares = [Share(f"iris-predictor-{number}", percent, False) for number, percent in given]
    component = revisions(PREDICTOR, *shares, kept=2)

    routing = plan_routing(make_service(), (component,), CONFIG, "gateway")

    assert shares_of(routes_of(routing)["iris"]["rules"][0]) == expected


def test_requests_come_to_the_transformer_and_explanations_to_the_explainer() -> None:
    components = (all_of(PREDICTOR), all_of(TRANSFORMER), all_of(EXPLAINER))

    rules = routes_of(plan_routing(make_service(), components, CONFIG, "gateway"))["iris"]["rules"]

    assert [(r["matches"][0]["path"]["value"], *shares_of(r)) for r in rules] == [
        (r"^/v1/models/[\w-]+:explain$", "iris-explainer-00001:80"),
        ("/", "iris-transformer-00001:80"),
    ]


def test_what_has_no_share_yet_has_its_service_only() -> None:
    components = (all_of(PREDICTOR), revisions(TRANSFORMER))

    routing = plan_routing(make_service(), components, CONFIG, "gateway")

    assert set(routes_of(routing)) == {"iris-predictor", "iris-predictor-00001"}
    assert {s["metadata"]["name"] for s in routing.services} == {
        "iris-predictor",
        "iris-predictor-00001",
        "iris-transformer-00001",
    }


def test_a_tag_is_an_address_of_its_own() -> None:
    component = revisions(
        PREDICTOR,
        Share("iris-predictor-00002", 10, True, "latest"),
        Share("iris-predictor-00001", 90, False, "prev"),
        kept=2,
    )

    routing = plan_routing(make_service(), (component,), CONFIG, "gateway")

    tagged = routes_of(routing)["latest-iris-predictor"]
    assert tagged["hostnames"][0] == "latest-iris-predictor.team.proa.localhost"
    assert shares_of(tagged["rules"][0]) == {"iris-predictor-00002:80": 100}
    aliases = {s["metadata"]["name"] for s in routing.services if s["spec"]["type"] == "ExternalName"}
    assert aliases == {"iris", "iris-predictor", "latest-iris-predictor", "prev-iris-predictor"}


PORTS = [
    pytest.param(Ports(), [("http1", 80, 8080, None)], [("iris-predictor-00001:80", False)], id="http"),
    pytest.param(
        Ports(0, 9000),
        [("h2c", 80, 9000, "kubernetes.io/h2c")],
        [("iris-predictor-00001:80", False)],
        id="grpc",
    ),
    pytest.param(
        Ports(8080, 8081),
        [("http1", 80, 8080, None), ("h2c", 8081, 8081, "kubernetes.io/h2c")],
        [("iris-predictor-00001:8081", True), ("iris-predictor-00001:80", False)],
        id="both",
    ),
]


@pytest.mark.parametrize(("ports", "service_ports", "rules"), PORTS)
def test_grpc_goes_to_the_port_that_speaks_it(
    ports: Ports, service_ports: list[Any], rules: list[Any]
) -> None:
    routing = plan_routing(make_service(), (all_of(PREDICTOR, ports=ports),), CONFIG, "gateway")

    made = routing.services[0]["spec"]["ports"]
    assert [(p["name"], p["port"], p["targetPort"], p.get("appProtocol")) for p in made] == service_ports
    found = routes_of(routing)["iris"]["rules"]
    assert [(*shares_of(rule), "headers" in rule["matches"][0]) for rule in found] == rules


@pytest.mark.parametrize("label", ["networking.knative.dev/visibility", "networking.kserve.io/visibility"])
def test_what_is_cluster_local_has_no_host_outside(label: str) -> None:
    service = make_service(labels={label: "cluster-local"})

    routing = plan_routing(service, (all_of(PREDICTOR),), CONFIG, "gateway")

    assert set(routes_of(routing)) == {"iris", "iris-predictor"}
    hosts = [host for spec in routes_of(routing).values() for host in spec["hostnames"]]
    assert not [host for host in hosts if host.endswith("localhost")]
    assert plan_routing(service, (all_of(PREDICTOR),), CONFIG, "ingress").ingresses == ()


def test_further_domains_and_a_path_are_addresses_too() -> None:
    config = IngressConfig(additional_domains=("example.org",), path_template="/s/{{ .Namespace }}/{{.Name}}")

    routes = routes_of(
        plan_routing(make_service(), (all_of(PREDICTOR), all_of(EXPLAINER)), config, "gateway")
    )

    assert "iris.team.example.org" in routes["iris"]["hostnames"]
    assert routes["iris-path"]["hostnames"] == ["proa.localhost"]
    explain, rest = routes["iris-path"]["rules"]
    assert explain["matches"][0]["path"] == {
        "type": "Exact",
        "value": "/s/team/iris/v1/models/iris:explain",
    }
    assert rest["matches"][0]["path"] == {"type": "PathPrefix", "value": "/s/team/iris"}
    assert rest["filters"][1]["urlRewrite"]["path"]["replacePrefixMatch"] == "/"


def test_without_gateway_api_there_is_an_ingress_and_names_are_the_main_revisions() -> None:
    component = revisions(
        PREDICTOR,
        Share("iris-predictor-00002", 10, True),
        Share("iris-predictor-00001", 90, False),
        kept=2,
    )

    routing = plan_routing(make_service(), (component,), CONFIG._replace(ingress_class="x"), "ingress")

    assert routing.routes == ()
    (ingress,) = routing.ingresses
    assert ingress["spec"]["ingressClassName"] == "x"
    backends = {
        rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["name"]
        for rule in ingress["spec"]["rules"]
    }
    assert backends == dict.fromkeys(
        ["iris.team.proa.localhost", "iris-predictor.team.proa.localhost"], "iris-predictor-00001"
    )
    names = {s["metadata"]["name"]: s["spec"]["selector"] for s in routing.services}
    assert names["iris"] == {REVISION_LABEL: "iris-predictor-00001"}


def test_without_a_gateway_inside_names_are_the_main_revisions_pods() -> None:
    config = CONFIG._replace(local_gateway_service="")
    local = make_service(labels={"networking.knative.dev/visibility": "cluster-local"})

    routing = plan_routing(make_service(), (all_of(PREDICTOR),), config, "gateway")
    inside = plan_routing(local, (all_of(PREDICTOR),), config, "gateway")

    assert routes_of(routing)["iris"]["hostnames"] == ["iris.team.proa.localhost"]
    names = {s["metadata"]["name"]: s["spec"].get("selector") for s in routing.services}
    assert set(names) == {"iris", "iris-predictor", "iris-predictor-00001"}
    assert all(selector == {REVISION_LABEL: "iris-predictor-00001"} for selector in names.values())
    assert inside.routes == ()
    assert inside.services == routing.services


def test_standard_mode_has_canaries_as_further_backends() -> None:
    stable = Backend("iris-predictor", (("app", "isvc.iris-predictor"),))
    canary = Backend("iris-new-predictor", (("app", "isvc.iris-new-predictor"),))
    shares = (Share(stable.name, 80, False), Share(canary.name, 20, True))
    component = Component(PREDICTOR, (stable, canary), shares)

    routing = plan_standard_routing(make_service(), (component,), CONFIG, "gateway")

    assert {s["metadata"]["name"] for s in routing.services} == {"iris-predictor", "iris-new-predictor"}
    routes = routes_of(routing)
    assert {name: spec["hostnames"] for name, spec in routes.items()} == {
        "iris-predictor": ["iris-predictor.team.proa.localhost"],
        "iris": ["iris.team.proa.localhost"],
    }
    rule = routes["iris"]["rules"][0]
    assert shares_of(rule) == {"iris-predictor:80": 80, "iris-new-predictor:80": 20}
    assert not [r for r in rule["backendRefs"] if "filters" in r]
    assert rule["timeouts"] == {"request": "60s"}
