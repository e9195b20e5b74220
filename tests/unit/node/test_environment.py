"""Environment variables, their references and their expansion."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.node.downward import DownwardSource, FieldError, field_value, format_map
from proa.node.environment import ConfigError, expand, make_environment, service_variables
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, SECRETS, Resource

SOURCE = DownwardSource("10.243.0.1", "10.244.1.7", {"cpu": "2", "memory": "4Gi"})
KNOWN = {"A": "1", "B": "two", "E": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x-$(A)-$(B)", "x-1-two"),
        ("$(E)", ""),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("a$", "a$"),
        ("$()", "$()"),
        ("$(A))", "1)"),
        ("f$(A$(B", "f$(A$(B"),
        ("{}$(A)%", "{}1%"),
    ],
)
def test_references_are_expanded_as_upstream_does(text: str, expected: str) -> None:
    assert expand(text, KNOWN) == expected


@given(st.text(alphabet="ab{}% \n"))
def test_text_without_a_dollar_stays(text: str) -> None:
    assert expand(text, KNOWN) == text


def make_service(name: str, namespace: str = "default", ip: str = "10.96.0.9", **spec: Any) -> dict[str, Any]:
    ports = spec.pop("ports", [{"port": 80, "protocol": "TCP"}])
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": ports}}


def test_a_service_is_known_by_its_variables() -> None:
    ports = [{"name": "web-ui", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]

    variables = service_variables([make_service("my-app", ports=ports)], "default", links=True)

    assert variables == {
        "MY_APP_SERVICE_HOST": "10.96.0.9",
        "MY_APP_SERVICE_PORT": "80",
        "MY_APP_SERVICE_PORT_WEB_UI": "80",
        "MY_APP_SERVICE_PORT_DNS": "53",
        "MY_APP_PORT": "tcp://10.96.0.9:80",
        "MY_APP_PORT_80_TCP": "tcp://10.96.0.9:80",
        "MY_APP_PORT_80_TCP_PROTO": "tcp",
        "MY_APP_PORT_80_TCP_PORT": "80",
        "MY_APP_PORT_80_TCP_ADDR": "10.96.0.9",
        "MY_APP_PORT_53_UDP": "udp://10.96.0.9:53",
        "MY_APP_PORT_53_UDP_PROTO": "udp",
        "MY_APP_PORT_53_UDP_PORT": "53",
        "MY_APP_PORT_53_UDP_ADDR": "10.96.0.9",
    }


@pytest.mark.parametrize(
    ("service", "links", "is_known"),
    [
        (make_service("a"), True, True),
        (make_service("a"), False, False),
        (make_service("a", "other"), True, False),
        (make_service("a", ip="None"), True, False),
        (make_service("a", ip=""), True, False),
        (make_service("kubernetes", "default"), False, True),
    ],
)
def test_which_services_a_pod_learns_of(service: dict[str, Any], links: bool, is_known: bool) -> None:
    assert bool(service_variables([service], "default", links)) == is_known


def test_kubernetes_is_known_in_every_namespace() -> None:
    variables = service_variables([make_service("kubernetes", ip="10.96.0.1")], "team", links=True)

    assert variables["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


POD = {
    "metadata": {
        "name": "web",
        "namespace": "default",
        "uid": "u1",
        "labels": {"app": "x"},
        "annotations": {"a": 'q"\n'},
    },
    "spec": {"nodeName": "proa-1", "serviceAccountName": "sa", "containers": []},
}


async def lookup(resource: Resource, namespace: str, name: str) -> dict[str, Any]:
    objects: dict[tuple[Resource, str], dict[str, Any]] = {
        (CONFIG_MAPS, "c"): {"data": {"A": "1", "b.c": "2", "=": "3"}},
        (SECRETS, "s"): {"data": {"P": "c2VjcmV0"}},
    }
    if (resource, name) not in objects:
        raise NotFound(f'{resource.plural} "{name}" not found')
    return objects[resource, name]


def variables_of(container: dict[str, Any], pod: dict[str, Any] = POD) -> dict[str, str]:
    services = [make_service("a")]
    return asyncio.run(make_environment(pod, container, services, lookup, SOURCE, {})).variables


@pytest.mark.parametrize(
    ("value_from", "expected"),
    [
        ({"configMapKeyRef": {"name": "c", "key": "A"}}, "1"),
        ({"secretKeyRef": {"name": "s", "key": "P"}}, "secret"),
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "web"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "10.243.0.1"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "x"),
        ({"resourceFieldRef": {"resource": "limits.memory"}}, str(64 << 20)),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "64"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
        ({"resourceFieldRef": {"resource": "requests.cpu"}}, "1"),
        ({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}, "250"),
    ],
)
def test_a_variable_takes_its_value_from_elsewhere(value_from: dict[str, Any], expected: str) -> None:
    resources = {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}
    container = {"name": "app", "resources": resources, "env": [{"name": "X", "valueFrom": value_from}]}

    assert variables_of(container)["X"] == expected


@pytest.mark.parametrize(
    ("value_from", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "A"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "A"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "c", "key": "Z"}}, "couldn't find key Z in ConfigMap default/c"),
        ({"secretKeyRef": {"name": "s", "key": "Z"}}, "couldn't find key Z in Secret default/s"),
    ],
)
def test_what_is_missing_is_said_in_upstreams_words(value_from: dict[str, Any], message: str) -> None:
    container = {"name": "app", "env": [{"name": "X", "valueFrom": value_from}]}
    with pytest.raises(ConfigError, match=f"^{message}$".replace("(", r"\(")):
        variables_of(container)
    for reference in value_from.values():
        optional = {**reference, "optional": True}
        kind = next(iter(value_from))
        assert "X" not in variables_of({"name": "app", "env": [{"name": "X", "valueFrom": {kind: optional}}]})


def test_all_of_a_config_map_with_a_prefix_and_without_what_cannot_be_a_name() -> None:
    container = {"name": "app", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}]}

    made = asyncio.run(make_environment(POD, container, [], lookup, SOURCE, {}))

    assert made.variables == {"P_A": "1", "P_b.c": "2"}
    assert made.skipped == {"ConfigMap default/c": ["="]}


def test_own_variables_win_over_services_and_see_those_before_them() -> None:
    env = [
        {"name": "A_SERVICE_PORT", "value": "1"},
        {"name": "B", "value": "$(A_SERVICE_PORT)/$(A_SERVICE_HOST)"},
    ]

    variables = variables_of({"name": "app", "env": env})

    assert (variables["A_SERVICE_PORT"], variables["B"]) == ("1", "1/10.96.0.9")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(FieldError, match=r"unsupported fieldPath: spec\.nope"):
        field_value(POD, "spec.nope", SOURCE)


def test_maps_are_quoted_line_by_line() -> None:
    assert format_map({"b": "2", "a": 'q"\n'}) == 'a="q\\"\\n"\nb="2"'


def test_a_missing_limit_is_the_pods_before_the_nodes() -> None:
    reference = {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}
    container = {"name": "app", "env": [{"name": "V", "valueFrom": reference}]}
    pod = {**POD, "spec": {**POD["spec"], "resources": {"limits": {"memory": "96Mi"}}}}

    assert variables_of(container, pod)["V"] == "96"
    assert variables_of(container)["V"] != "96"
