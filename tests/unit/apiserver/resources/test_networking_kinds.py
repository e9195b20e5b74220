"""What is right and wrong with an Ingress, an IngressClass, a NetworkPolicy, an IPAddress, a ServiceCIDR."""

from __future__ import annotations

from typing import Any

import pytest

Object = dict[str, Any]


def make(kind: str, **fields: Any) -> Object:
    return {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, **fields}


def backend(name: str = "web", **port: Any) -> Object:
    return {"service": {"name": name, "port": port or {"number": 80}}}


def make_ingress(*paths: Object, host: str = "", **spec: Any) -> Object:
    rule = {"http": {"paths": list(paths)}, **({"host": host} if host else {})}
    return make("Ingress", spec={"rules": [rule], **spec})


def path(path: str = "/", path_type: str = "Prefix", **to: Any) -> Object:
    return {"path": path, "pathType": path_type, "backend": to or backend()}


def make_policy(**spec: Any) -> Object:
    return make("NetworkPolicy", spec={"podSelector": {}, **spec})


def make_cidr(*cidrs: str) -> Object:
    return make("ServiceCIDR", spec={"cidrs": list(cidrs)})


SERVICE = {"resource": "services", "namespace": "default", "name": "web"}
PATH = "spec.rules[0].http.paths[0]"
RULES: list[tuple[Object, list[str]]] = [
    (make_ingress(path()), []),
    (make_ingress(path(), host="*.example.com"), []),
    (make("Ingress", spec={"defaultBackend": backend()}), []),
    (
        make("Ingress"),
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    ),
    (make_ingress(path("x")), [f'{PATH}.path: Invalid value: "x": must be an absolute path']),
    (make_ingress(path("", "ImplementationSpecific")), []),
    (make_ingress(path("/a//b")), [f"{PATH}.path: Invalid value: \"/a//b\": must not contain '//'"]),
    (make_ingress(path("/a/..")), [f"{PATH}.path: Invalid value: \"/a/..\": cannot end with '/..'"]),
    (
        make_ingress(path("/", "Some")),
        [
            f'{PATH}.pathType: Unsupported value: "Some": supported values: "Exact", '
            '"ImplementationSpecific", "Prefix"'
        ],
    ),
    (
        make_ingress(path(service={"name": "web"})),
        [f"{PATH}.backend: Required value: port name or number is required"],
    ),
    (
        make_ingress(path(**backend(name="b", number=80), resource={"kind": "A", "name": "b"})),
        [f'{PATH}.backend: Invalid value: "": cannot set both resource and service backends'],
    ),
    (
        make_ingress(path(), host="10.0.0.1"),
        ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
    ),
    (
        make_ingress(path(), host="a.*.b"),
        [
            "spec.rules[0].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with '*.', "
            "followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' "
            "and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is "
            r"'\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ],
    ),
    (make("IngressClass", spec={"controller": "acme.io/x"}), []),
    (make("IngressClass"), ["spec.controller: Required value"]),
    (
        make("IngressClass", spec={"controller": "acme"}),
        [
            'spec.controller: Invalid value: "acme": must be a domain-prefixed path (such as "acme.io/foo")',
        ],
    ),
    (
        make(
            "IngressClass",
            spec={
                "controller": "a.b/c",
                "parameters": {"kind": "K", "name": "n", "namespace": "default"},
            },
        ),
        ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
    ),
    (
        make(
            "IngressClass",
            spec={"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}},
        ),
        ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    ),
    (make_policy(), []),
    (make_policy(ingress=[{"ports": [{"port": 80, "endPort": 90}]}]), []),
    (
        make_policy(ingress=[{"ports": [{"port": 80, "endPort": 79}]}]),
        [
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
        ],
    ),
    (
        make_policy(egress=[{"ports": [{"port": "web", "endPort": 79}]}]),
        [
            "spec.egress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric",
        ],
    ),
    (make_policy(ingress=[{"from": [{}]}]), ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
    (
        make_policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]),
        [
            'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`'
        ],
    ),
    (
        make_policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]),
        [
            'spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.1/8": '
            "must not have bits set beyond the prefix length"
        ],
    ),
    (
        make_policy(policyTypes=["Sideways"]),
        ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'],
    ),
    (make("IPAddress", spec={"parentRef": SERVICE}), []),
    (make("IPAddress"), ["spec.parentRef: Required value"]),
    (make("IPAddress", spec={"parentRef": {"name": "a"}}), ["spec.parentRef.resource: Required value"]),
    (make_cidr("10.0.0.0/16", "2001:db8::/64"), []),
    (make_cidr(), ["spec.cidrs: Required value: at least one CIDR required"]),
    (
        make_cidr("10.0.0.0/16", "10.1.0.0/16"),
        [
            'spec.cidrs: Invalid value: ["10.0.0.0/16","10.1.0.0/16"]: may specify no more than one IP for each IP '
            "family, i.e 192.168.0.0/24 and 2001:db8::/64"
        ],
    ),
    (
        make_cidr("2001:DB8::/64"),
        ['spec.cidrs[0]: Invalid value: "2001:DB8::/64": must be in canonical form ("2001:db8::/64")'],
    ),
]


@pytest.mark.parametrize(
    ("obj", "expected"), RULES, ids=[f"{o['kind']}-{i}" for i, (o, _) in enumerate(RULES)]
)
def test_networking_objects_are_accepted_or_refused_in_upstreams_words(
    kinds: Any, obj: Object, expected: list[str]
) -> None:
    assert kinds.problems(obj) == expected


def change(*path: str, to: Any) -> Any:
    def apply(obj: Object) -> None:
        for key in path[:-1]:
            obj = obj[key]
        obj[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("obj", "edit", "expected"),
    [
        (
            make("IngressClass", spec={"controller": "a.b/c"}),
            change("spec", "controller", to="a.b/d"),
            ['spec.controller: Invalid value: "a.b/d": field is immutable'],
        ),
        (
            make("IPAddress", spec={"parentRef": SERVICE}),
            change("spec", "parentRef", "name", to="other"),
            ["spec.parentRef"],
        ),
        (
            make_cidr("10.0.0.0/16"),
            change("spec", "cidrs", to=["10.1.0.0/16"]),
            ['spec.cidrs[0]: Invalid value: "10.1.0.0/16": field is immutable'],
        ),
        (make_cidr("10.0.0.0/16"), change("spec", "cidrs", to=["10.0.0.0/16", "2001:db8::/64"]), []),
        (
            make_policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]),
            change("metadata", "labels", to={"a": "b"}),
            [],
        ),
    ],
)
def test_updates_keep_what_is_set_once(kinds: Any, obj: Object, edit: Any, expected: list[str]) -> None:
    found = kinds.update_problems(obj, edit)
    assert len(found) == len(expected)
    assert all(problem.startswith(wanted) for problem, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("spec", "types"),
    [({}, ["Ingress"]), ({"egress": [{}]}, ["Ingress", "Egress"]), ({"policyTypes": ["Egress"]}, ["Egress"])],
)
def test_a_network_policy_is_about_what_it_has_rules_for(kinds: Any, spec: Object, types: list[str]) -> None:
    stored = kinds.create(make("NetworkPolicy", spec=spec))
    assert (stored["spec"]["policyTypes"], stored["spec"]["podSelector"]) == (types, {})


ROWS = [
    (
        make_ingress(path(), host="a.b", tls=[{"hosts": ["a.b"]}], ingressClassName="nginx"),
        {"loadBalancer": {"ingress": [{"hostname": "z.b"}, {"ip": "10.0.0.9"}]}},
        ("x", "nginx", "a.b", "10.0.0.9,z.b", "80, 443"),
    ),
    (make_ingress(path()), None, ("x", "<none>", "*", "", "80")),
    (
        make("IngressClass", spec={"controller": "a.b/c", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}),
        None,
        ("x", "a.b/c", "K.g/n"),
    ),
    (make("IPAddress", spec={"parentRef": SERVICE}), None, ("x", "services/default/web")),
    (make_cidr("10.0.0.0/16", "2001:db8::/64"), None, ("x", "10.0.0.0/16,2001:db8::/64")),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "status", "row"), ROWS)
def test_kubectl_get_shows_networking_objects_as_upstream_does(
    kinds: Any, obj: Object, status: Object | None, row: tuple[Any, ...]
) -> None:
    stored = kinds.create(obj)
    if status is not None:
        stored["status"] = status
    assert tuple(kinds.definition_of(obj["kind"]).cells(stored, 0.0))[: len(row)] == row


class TestOnTheServer:
    def test_an_address_must_be_spelled_as_its_name(self, api: Any) -> None:
        where = "/apis/networking.k8s.io/v1/ipaddresses"
        body = {"metadata": {"name": "2001:DB8::1"}, "spec": {"parentRef": SERVICE}}
        refused = api.post(where, body)
        assert refused.status == 422
        assert 'must be in canonical form ("2001:db8::1")' in refused.message
        assert api.post(where, {**body, "metadata": {"name": "2001:db8::1"}}).status == 201

    def test_the_old_way_of_naming_a_class_is_warned_of(self, api: Any) -> None:
        body = make_ingress(path())
        body["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "nginx"}
        made = api.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", body)
        warned = next(v for k, v in made.headers.items() if k.lower() == "warning")
        assert "kubernetes.io/ingress.class" in str(warned)
        assert made.json["status"] == {"loadBalancer": {}}


def make_slice(kind: str, *addresses: str, **endpoint: Any) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "x"},
        "addressType": kind,
        "endpoints": [{"addresses": list(addresses), **endpoint}],
    }


ADDRESS = "endpoints[0].addresses[0]: Invalid value"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (make_slice("IPv4", "10.0.0.1"), []),
        (make_slice("FQDN", "a.example."), []),
        (make_slice("IPv4", "127.0.0.1"), []),
        (make_slice("IPv4", "0.0.0.0"), [f'{ADDRESS}: "0.0.0.0": may not be unspecified (0.0.0.0)']),
        (
            make_slice("IPv6", "fe80::1"),
            [f'{ADDRESS}: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
        ),
        (make_slice("IPv4", "010.0.0.1"), [f'{ADDRESS}: "010.0.0.1": must not have leading 0s']),
        (
            make_slice("FQDN", "a"),
            [f'{ADDRESS}: "a": should be a domain with at least two segments separated by dots'],
        ),
        (
            make_slice("IPv4", "10.0.0.1", hints={"forZones": [{"name": "a"}, {"name": "a"}]}),
            ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"'],
        ),
    ],
)
def test_endpoints_are_addresses_that_others_can_reach(kinds: Any, obj: Object, expected: list[str]) -> None:
    assert kinds.problems(obj) == expected
