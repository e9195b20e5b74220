"""What Gateways and routes ask of the proxy, and what is said of them."""

from __future__ import annotations

import pytest

from proa.network.gateway.model import BackendKey, DoorKey, ObjectKey
from proa.network.gateway.plan import Objects, plan_all
from proa.network.gateway.statuses import gateway_status, moved_status, route_status
from support.gateway import (
    FakeWorld,
    make,
    make_gateway,
    make_listener,
    make_route,
    make_service,
    make_tls_secret,
    to,
)

CLASS = make("GatewayClass", "proa", "", spec={"controllerName": "proa.local/gateway"})
GW = ObjectKey("default", "gw")
SERVICES = (make_service("a"), make_service("b"), make_service("c", "other"))
PLAIN = make_gateway("gw", make_listener())


def plan(gateways, routes=(), *world):
    by_kind = {kind: [r for r in routes if r["kind"] == kind] for kind in ("HTTPRoute", "GRPCRoute")}
    objects = Objects(gateway_classes=[CLASS], gateways=gateways, routes=by_kind)
    return plan_all(objects, FakeWorld(*SERVICES, *world), ["127.0.0.1"])


def conditions(entries):
    return {c.type: (c.is_true, c.reason) for c in entries}


def listener(planned, number=0):
    return conditions(planned.gateways[GW].listeners[number].conditions)


def parents(planned, name="r", kind="HTTPRoute"):
    found = planned.routes[kind, ObjectKey("default", name)]
    return [conditions(entries) for _, entries in found.parents]


def grant(namespace, kind, to_kind, name=None):
    return make(
        "ReferenceGrant",
        "g",
        namespace,
        spec={
            "from": [{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "default"}],
            "to": [{"group": "", "kind": to_kind, **({"name": name} if name else {})}],
        },
    )


def tls(*names, **fields):
    return make_listener("s", 443, "HTTPS", tls={"certificateRefs": [*names], **fields})


@pytest.mark.parametrize(
    ("entry", "world", "wanted"),
    [
        pytest.param(make_listener(), (), {"Accepted": (True, "Accepted")}, id="plain"),
        pytest.param(
            make_listener("t", 5000, "TCP"), (), {"Accepted": (False, "UnsupportedProtocol")}, id="TCP"
        ),
        pytest.param(
            tls({"name": "cert"}),
            (make_tls_secret("cert"),),
            {"Programmed": (True, "Programmed"), "ResolvedRefs": (True, "ResolvedRefs")},
            id="TLS",
        ),
        pytest.param(
            tls({"name": "cert"}),
            (),
            {"Programmed": (False, "Invalid"), "ResolvedRefs": (False, "InvalidCertificateRef")},
            id="TLS without its Secret",
        ),
        pytest.param(
            tls({"name": "cert", "namespace": "other"}),
            (make_tls_secret("cert", "other"),),
            {"ResolvedRefs": (False, "RefNotPermitted")},
            id="a Secret elsewhere",
        ),
        pytest.param(
            tls({"name": "cert", "namespace": "other"}),
            (make_tls_secret("cert", "other"), grant("other", "Gateway", "Secret")),
            {"ResolvedRefs": (True, "ResolvedRefs")},
            id="a Secret elsewhere, granted",
        ),
        pytest.param(
            tls({"name": "cert", "namespace": "other"}),
            (make_tls_secret("cert", "other"), grant("other", "Gateway", "Secret", "another")),
            {"ResolvedRefs": (False, "RefNotPermitted")},
            id="another Secret granted",
        ),
        pytest.param(
            tls({"name": "cert"}, mode="Passthrough"),
            (make_tls_secret("cert"),),
            {"Accepted": (False, "UnsupportedValue")},
            id="passthrough",
        ),
        pytest.param(
            make_listener(allowedRoutes={"kinds": [{"kind": "TCPRoute"}, {"kind": "HTTPRoute"}]}),
            (),
            {"ResolvedRefs": (False, "InvalidRouteKinds"), "Programmed": (True, "Programmed")},
            id="kinds that cannot be",
        ),
    ],
)
def test_a_listener_says_whether_it_can_be(entry, world, wanted):
    found = listener(plan([make_gateway("gw", entry)], (), *world))

    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        pytest.param(make_listener("second"), "HostnameConflict", id="same hostname"),
        pytest.param(make_listener("second", 80, "HTTPS"), "ProtocolConflict", id="other protocol"),
    ],
)
def test_listeners_that_do_not_fit_together_are_conflicted(second, reason):
    planned = plan([make_gateway("gw", make_listener(), second)])

    assert listener(planned)["Conflicted"] == (True, reason)
    assert conditions(planned.gateways[GW].conditions)["Accepted"] == (False, "ListenersNotValid")


def test_of_two_gateways_that_want_a_port_for_different_protocols_the_older_one_has_it():
    young = make_gateway(
        "gw",
        make_listener("s", 80, "HTTPS", tls={"certificateRefs": [{"name": "cert"}]}),
        created="2026-02-01T00:00:00Z",
    )
    old = make_gateway("old", make_listener())

    planned = plan([young, old], (), make_tls_secret("cert"))

    assert listener(planned)["Conflicted"] == (True, "ProtocolConflict")
    assert [door.key for door in planned.doors] == [DoorKey(80, "HTTP")]


def test_clients_certificates_that_cannot_be_asked_for_let_nobody_in():
    gateway = make_gateway("gw", tls({"name": "cert"}), tls={"frontend": {"default": {"validation": {}}}})

    assert listener(plan([gateway], (), make_tls_secret("cert")))["Accepted"] == (False, "UnsupportedValue")


@pytest.mark.parametrize(
    ("route", "listener", "reason"),
    [
        pytest.param({}, {}, "Accepted", id="fits"),
        pytest.param(
            {"parentRefs": [{"name": "gw", "sectionName": "nope"}]}, {}, "NoMatchingParent", id="no section"
        ),
        pytest.param({"parentRefs": [{"name": "gw", "port": 81}]}, {}, "NoMatchingParent", id="no port"),
        pytest.param(
            {"hostnames": ["x.io"]}, {"hostname": "*.y.io"}, "NoMatchingListenerHostname", id="hostnames"
        ),
        pytest.param({"hostnames": ["a.y.io"]}, {"hostname": "*.y.io"}, "Accepted", id="wildcard"),
        pytest.param({"hostnames": ["*.io"]}, {"hostname": "a.y.io"}, "Accepted", id="route's wildcard"),
        pytest.param(
            {},
            {"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}},
            "NotAllowedByListeners",
            id="kinds",
        ),
        pytest.param(
            {"namespace": "other", "parentRefs": [{"name": "gw", "namespace": "default"}]},
            {},
            "NotAllowedByListeners",
            id="another namespace",
        ),
        pytest.param(
            {"namespace": "other", "parentRefs": [{"name": "gw", "namespace": "default"}]},
            {"allowedRoutes": {"namespaces": {"from": "All"}}},
            "Accepted",
            id="all namespaces",
        ),
        pytest.param(
            {"namespace": "other", "parentRefs": [{"name": "gw", "namespace": "default"}]},
            {
                "allowedRoutes": {
                    "namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}
                }
            },
            "Accepted",
            id="selected namespaces",
        ),
        pytest.param(
            {"namespace": "other", "parentRefs": [{"name": "gw", "namespace": "default"}]},
            {
                "allowedRoutes": {
                    "namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "y"}}}
                }
            },
            "NotAllowedByListeners",
            id="other namespaces selected",
        ),
    ],
)
def test_a_route_is_attached_where_it_fits(route, listener, reason):
    made = make_route("r", {"backendRefs": [to("a")]}, **route)
    space = make("Namespace", "other", "", labels={"team": "x"})

    planned = plan([make_gateway("gw", make_listener(**listener))], [made], space)

    found = planned.routes["HTTPRoute", ObjectKey(route.get("namespace", "default"), "r")]
    assert [c.reason for _, entries in found.parents for c in entries if c.type == "Accepted"] == [reason]
    assert planned.attached[GW, "http"] == (reason == "Accepted")


def test_routes_of_others_gateways_are_left_alone():
    route = make_route("r", {"backendRefs": [to("a")]}, parentRefs=[{"name": "elsewhere"}])

    assert plan([PLAIN], [route]).routes == {}


@pytest.mark.parametrize(
    ("reference", "world", "wanted"),
    [
        pytest.param(to("nope"), (), (False, "BackendNotFound"), id="no Service"),
        pytest.param(to("a", port=81), (), (False, "BackendNotFound"), id="no port"),
        pytest.param(to("a", kind="Pod"), (), (False, "InvalidKind"), id="no Service's kind"),
        pytest.param(
            to("t"),
            (make_service("t", "default", {"port": 80, "appProtocol": "https"}),),
            (False, "UnsupportedProtocol"),
            id="TLS to the backend",
        ),
        pytest.param(to("c", namespace="other"), (), (False, "RefNotPermitted"), id="not granted"),
        pytest.param(
            to("c", namespace="other"),
            (grant("other", "HTTPRoute", "Service"),),
            (True, "ResolvedRefs"),
            id="granted",
        ),
        pytest.param(
            to("c", namespace="other"),
            (grant("other", "GRPCRoute", "Service"),),
            (False, "RefNotPermitted"),
            id="granted to another kind",
        ),
    ],
)
def test_a_reference_is_resolved_or_its_share_is_answered_with_500(reference, world, wanted):
    planned = plan([PLAIN], [make_route("r", {"backendRefs": [to("a"), reference]})], *world)

    (route,) = planned.doors[0].sites[""]
    assert parents(planned)[0]["ResolvedRefs"] == wanted
    assert [target.backend is None for target in route.targets] == [False, not wanted[0]]


def test_rules_come_in_the_order_that_the_specification_has():
    matches = [
        {"path": {"value": "/"}},
        {"path": {"value": "/foo"}, "headers": [{"name": "x", "value": "1"}]},
        {"path": {"value": "/foo"}},
        {"path": {"value": "/foo"}, "method": "GET"},
        {
            "path": {"value": "/foo"},
            "headers": [{"name": "x", "value": "1"}, {"name": "y", "value": "1"}],
        },
        {"path": {"value": "/foo"}, "queryParams": [{"name": "q", "value": "1"}]},
        {"path": {"type": "Exact", "value": "/f"}},
        {"path": {"value": "/foo/bar"}},
    ]
    route = make_route("r", *({"matches": [m], "backendRefs": [to("a")]} for m in matches))

    routes = plan([PLAIN], [route]).doors[0].sites[""]

    assert [r.order.rule for r in routes] == [6, 7, 3, 4, 1, 5, 2, 0]


def test_the_older_route_wins_then_the_first_by_name():
    routes = [
        make_route("b", {"backendRefs": [to("b")]}),
        make_route("a", {"backendRefs": [to("a")]}),
        make_route("z", {"backendRefs": [to("b")]}, created="2025-01-01T00:00:00Z"),
    ]

    found = plan([PLAIN], routes).doors[0].sites[""]

    assert [r.name for r in found] == [
        "HTTPRoute/default/z/0",
        "HTTPRoute/default/a/0",
        "HTTPRoute/default/b/0",
    ]


def test_requests_go_to_the_listener_that_is_closest_to_their_hostname():
    gateway = make_gateway(
        "gw",
        make_listener("any"),
        make_listener("wide", hostname="*.x.io"),
        make_listener("close", hostname="a.x.io"),
    )
    routes = [
        make_route("r", {"backendRefs": [to("a")]}, parentRefs=[{"name": "gw", "sectionName": "any"}]),
        make_route(
            "s",
            {"backendRefs": [to("b")]},
            parentRefs=[{"name": "gw", "sectionName": "wide"}],
            hostnames=["a.x.io", "b.x.io"],
        ),
    ]

    sites = plan([gateway], routes).doors[0].sites

    assert {host: [r.name for r in found] for host, found in sites.items()} == {
        "": ["HTTPRoute/default/r/0"],
        "*.x.io": [],
        "a.x.io": [],
        "b.x.io": ["HTTPRoute/default/s/0"],
    }


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param(
            {"matches": [{"path": {"type": "RegularExpression", "value": "/(a"}}]},
            "no regular expression",
            id="regex",
        ),
        pytest.param(
            {"filters": [{"type": "ExtensionRef", "extensionRef": {}}]}, "type ExtensionRef", id="extension"
        ),
        pytest.param(
            {
                "filters": [
                    {
                        "type": "RequestHeaderModifier",
                        "requestHeaderModifier": {"set": [{"name": "Host", "value": "x"}]},
                    }
                ]
            },
            "Host header",
            id="host",
        ),
        pytest.param(
            {
                "filters": [
                    {
                        "type": "ResponseHeaderModifier",
                        "responseHeaderModifier": {"set": [{"name": "x", "value": "a\r\nb: c"}]},
                    }
                ]
            },
            "control characters",
            id="a header within a header",
        ),
        pytest.param(
            {"backendRefs": [to("a", filters=[{"type": "URLRewrite", "urlRewrite": {}}])]},
            "single backends",
            id="a backend's rewrite",
        ),
    ],
)
def test_what_cannot_be_carried_out_makes_the_route_not_accepted(rule, words):
    planned = plan([PLAIN], [make_route("r", rule)])

    (_, (accepted, _)) = planned.routes["HTTPRoute", ObjectKey("default", "r")].parents[0]
    assert (accepted.is_true, accepted.reason) == (False, "UnsupportedValue")
    assert words in accepted.message
    assert planned.doors[0].sites == {}


@pytest.mark.parametrize(
    ("protocol", "is_http2"), [("kubernetes.io/h2c", True), ("grpc", True), ("http", False), ("", False)]
)
def test_a_services_port_says_whether_it_speaks_http2(protocol, is_http2):
    service = make_service("s", "default", {"port": 80, "appProtocol": protocol})

    planned = plan([PLAIN], [make_route("r", {"backendRefs": [to("s")]})], service)

    assert planned.backends == {BackendKey(ObjectKey("default", "s"), 80, is_http2)}


@pytest.mark.parametrize(
    ("method", "kind", "value"),
    [
        pytest.param({"service": "s.S", "method": "M"}, "exact", "/s.S/M", id="method"),
        pytest.param({"service": "s.S"}, "prefix", "/s.S", id="service"),
        pytest.param({"method": "M"}, "regex", "/[^/]+/M", id="method of any service"),
        pytest.param(None, "prefix", "/", id="anything"),
        pytest.param(
            {"type": "RegularExpression", "service": "s.*"}, "regex", "/(?:s.*)/(?:[^/]+)", id="regex"
        ),
    ],
)
def test_a_grpc_method_is_a_path_of_a_backend_that_speaks_http2(method, kind, value):
    rule = {"matches": [{"method": method}] if method else [{}], "backendRefs": [to("a")]}
    planned = plan([PLAIN], [make_route("r", rule, kind="GRPCRoute")])

    (route,) = planned.doors[0].sites[""]
    assert (route.path.kind, route.path.value, route.is_grpc) == (kind, value, True)
    assert planned.backends == {BackendKey(ObjectKey("default", "a"), 80, True)}


def test_a_status_changes_its_times_only_with_its_conditions():
    route = make_route("r", {"backendRefs": [to("nope")]})
    gateway = {**PLAIN}
    first = plan([gateway], [route])
    status = route_status(route, first.routes["HTTPRoute", ObjectKey("default", "r")], 1000.0)
    gateway_first = gateway_status(gateway, first.gateways[GW], first, ["127.0.0.1"], "", 1000.0)

    again = {**route, "status": status}
    unchanged = route_status(again, first.routes["HTTPRoute", ObjectKey("default", "r")], 2000.0)
    fixed = plan([gateway], [{**again, "spec": {**route["spec"], "rules": [{"backendRefs": [to("a")]}]}}])
    changed = route_status(again, fixed.routes["HTTPRoute", ObjectKey("default", "r")], 2000.0)

    assert unchanged is None
    assert changed is not None
    assert [c["lastTransitionTime"] for c in changed["parents"][0]["conditions"]] == [
        "1970-01-01T00:16:40Z",
        "1970-01-01T00:33:20Z",
    ]
    assert gateway_first is not None
    assert gateway_first["listeners"][0]["attachedRoutes"] == 1
    assert (
        gateway_status(
            {**gateway, "status": gateway_first}, first.gateways[GW], first, ["127.0.0.1"], "", 9.0
        )
        is None
    )


def test_entries_of_other_controllers_stay_and_ours_go_with_their_parent():
    other = {"parentRef": {"name": "x"}, "controllerName": "example.com/x", "conditions": []}
    mine = {"parentRef": {"name": "gw"}, "controllerName": "proa.local/gateway", "conditions": []}
    route = {**make_route("r", parentRefs=[{"name": "x"}]), "status": {"parents": [other, mine]}}

    assert route_status(route, None, 0.0) == {"parents": [other]}


def test_a_gateway_tells_which_ports_are_others_on_the_host():
    planned = plan([PLAIN])

    status = gateway_status(PLAIN, planned.gateways[GW], planned, ["127.0.0.1"], "", 0.0, {80: 8080})
    itself = gateway_status(PLAIN, planned.gateways[GW], planned, ["127.0.0.1"], "", 0.0, {80: 80})

    assert status is not None
    assert itself is not None
    address = {"type": "IPAddress", "value": "127.0.0.1"}
    assert status["addresses"] == [
        address,
        {"type": "gateway.proa.local/port-80", "value": "127.0.0.1:8080"},
    ]
    assert itself["addresses"] == [address]


def test_a_gateway_that_was_reached_elsewhere_before_tells_where_it_is_now_and_nothing_else():
    planned = plan([PLAIN])
    told = gateway_status(PLAIN, planned.gateways[GW], planned, ["127.0.0.1"], "not there", 0.0, {80: 8080})
    known = {**PLAIN, "status": told}

    moved = moved_status(known, planned.gateways[GW], ["127.0.0.1"], {80: 40000})

    assert told is not None
    assert moved is not None
    assert moved["addresses"][1]["value"] == "127.0.0.1:40000"
    assert {**moved, "addresses": told["addresses"]} == told
    assert moved_status(known, planned.gateways[GW], ["127.0.0.1"], {80: 8080}) is None
    assert moved_status(PLAIN, planned.gateways[GW], ["127.0.0.1"], {80: 8080}) is None
