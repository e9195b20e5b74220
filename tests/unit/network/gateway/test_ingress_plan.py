"""What Ingresses ask of the proxy."""

from __future__ import annotations

import pytest

from proa.network.gateway.ingress import DEFAULT_CERTIFICATE, make_doors, plan_ingress
from proa.network.gateway.model import BackendKey, DoorKey, ObjectKey, PathMatch
from support.gateway import (
    FakeWorld,
    make_ingress,
    make_path,
    make_service,
    make_tls_secret,
)

WORLD = FakeWorld(make_service("a"), make_service("b"), make_tls_secret("cert"))
A, B = (BackendKey(ObjectKey("default", name), 80) for name in "ab")


def plan(*ingresses, world=WORLD):
    return {door.key: door for door in make_doors([plan_ingress(i, world) for i in ingresses])}


def test_the_longest_path_comes_first_and_exact_ones_before_prefixes():
    ingress = make_ingress(
        "i",
        {
            "x.io": [
                make_path("/", "a"),
                make_path("/foo", "a"),
                make_path("/foo/bar/", "b"),
                make_path("/foo", "b", "Exact"),
                make_path("/foo/b", "a", "ImplementationSpecific"),
            ]
        },
    )

    routes = plan(ingress)[DoorKey(80, "HTTP")].sites["x.io"]

    assert [(r.path, r.targets[0].backend) for r in routes] == [
        (PathMatch("exact", "/foo"), B),
        (PathMatch("prefix", "/foo/bar"), B),
        (PathMatch("prefix", "/foo/b"), A),
        (PathMatch("prefix", "/foo"), A),
        (PathMatch("prefix", "/"), A),
    ]


def test_of_two_ingresses_with_the_same_path_the_older_one_has_it():
    new = make_ingress("a-new", {"x.io": [make_path("/", "b")]}, created="2026-02-01T00:00:00Z")
    old = make_ingress("z-old", {"x.io": [make_path("/", "a")]}, created="2026-01-01T00:00:00Z")

    routes = plan(new, old)[DoorKey(80, "HTTP")].sites["x.io"]

    assert [r.targets[0].backend for r in routes] == [A, B]


def test_the_default_backend_gets_what_no_rule_of_any_host_takes():
    ingress = make_ingress(
        "i",
        {"x.io": [make_path("/a", "a")]},
        defaultBackend={"service": {"name": "b", "port": {"name": "http"}}},
    )

    sites = plan(ingress)[DoorKey(80, "HTTP")].sites

    assert [r.targets[0].backend for r in sites["x.io"]] == [A, B]
    assert [r.targets[0].backend for r in sites[""]] == [B]


def test_a_wildcard_stands_for_one_label():
    sites = plan(make_ingress("i", {"*.x.io": [make_path("/", "a")]}))[DoorKey(80, "HTTP")].sites

    assert [r.label_only for r in sites["*.x.io"]] == ["x.io"]


@pytest.mark.parametrize(
    ("paths", "fields", "reason", "message"),
    [
        pytest.param(
            [make_path("/", "nope")],
            {},
            "BackendNotFound",
            'Service "default/nope" not found',
            id="no such service",
        ),
        pytest.param(
            [make_path("/", "a", port=81)],
            {},
            "BackendNotFound",
            'Service "default/a" has no TCP port 81',
            id="no such port",
        ),
        pytest.param(
            [make_path("/", "a", port="grpc")],
            {},
            "BackendNotFound",
            'Service "default/a" has no TCP port "grpc"',
            id="no port of that name",
        ),
        pytest.param(
            [{"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "X", "name": "x"}}}],
            {},
            "UnsupportedBackend",
            "backends that are resources are not supported: name a service",
            id="a resource",
        ),
        pytest.param(
            [make_path("/", "a")],
            {"tls": [{"hosts": ["x.io"], "secretName": "nope"}]},
            "SecretNotFound",
            'Secret "default/nope" not found',
            id="no such secret",
        ),
        pytest.param(
            [make_path("/", "a")],
            {"annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/", "other": "x"}},
            "UnsupportedAnnotation",
            "not carried out by ingress class 'proa': nginx.ingress.kubernetes.io/rewrite-target",
            id="a foreign annotation",
        ),
    ],
)
def test_what_is_wrong_is_told(paths, fields, reason, message):
    planned = plan_ingress(make_ingress("i", {"x.io": paths}, **fields), WORLD)

    assert [(p.reason, p.message) for p in planned.problems] == [(reason, message)]


def test_a_backend_that_is_missing_is_answered_with_503_and_the_rest_works():
    ingress = make_ingress("i", {"x.io": [make_path("/", "a"), make_path("/gone", "nope")]})

    routes = plan(ingress)[DoorKey(80, "HTTP")].sites["x.io"]

    assert [(r.path.value, bool(r.targets), r.status) for r in routes] == [
        ("/gone", False, 503),
        ("/", True, 503),
    ]


def test_each_name_with_a_secret_has_a_door_of_its_own_and_others_our_certificate():
    ingress = make_ingress(
        "i",
        {"x.io": [make_path("/", "a")], "*.y.io": [make_path("/", "b")]},
        tls=[{"hosts": ["x.io", "z.y.io"], "secretName": "cert"}],
    )

    doors = plan(ingress)

    assert {key: door.certificates for key, door in doors.items()} == {
        DoorKey(80, "HTTP"): (),
        DoorKey(443, "HTTPS"): (DEFAULT_CERTIFICATE,),
        DoorKey(443, "HTTPS", "x.io"): (ObjectKey("default", "cert"),),
        DoorKey(443, "HTTPS", "z.y.io"): (ObjectKey("default", "cert"),),
    }


def test_a_secret_that_is_no_certificate_leaves_the_host_with_ours():
    broken = make_tls_secret("cert")
    broken["data"] = {**broken["data"], "tls.key": make_tls_secret("other", number=1)["data"]["tls.key"]}
    ingress = make_ingress(
        "i", {"x.io": [make_path("/", "a")]}, tls=[{"hosts": ["x.io"], "secretName": "cert"}]
    )

    planned = plan_ingress(ingress, FakeWorld(make_service("a"), broken))

    assert [p.message for p in planned.problems] == [
        'Secret "default/cert" has a tls.key that does not belong to its tls.crt'
    ]
    assert planned.certificates == {"x.io": DEFAULT_CERTIFICATE}
