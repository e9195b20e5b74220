"""A group version that a server behind a Service has is served, found and listed as if it were this server's own."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from proa.apiserver.aggregation.identity import ProxyIdentity
from proa.apiserver.aggregation.registrations import MANAGED, make_api_service, plan
from proa.apiserver.app import ApiSettings
from proa.apiserver.pki import ensure_pki
from proa.client.protocol import User
from support.tls_server import Authority, http, serve

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "wardle.example.com/v1alpha1",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get"],
        },
        {
            "name": "flunders/status",
            "singularName": "",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get"],
        },
    ],
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory):
    return authority.write_server(tmp_path_factory.mktemp("tls"), "sample-api.wardle.svc")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), ["localhost"], datetime.now(UTC))


class Sample:
    """An API server, and the server of an aggregated API on loopback behind the Service wardle/sample-api."""

    def __init__(self, make_api, authority, certificate, pki):
        identity = ProxyIdentity(pki.front_proxy_client.certificate, pki.front_proxy_client.key)
        self.api = make_api(ApiSettings(proxy_identity=identity))
        self.ask, self.send = self.api.ask, self.api.send
        self.aggregator = self.api.server.aggregator
        self._authority, self._certificate = authority, certificate
        self._client_authority = pki.front_proxy_authority.certificate.read_text()
        self.is_down = False

    def run(self, story, answer=None):
        async def told():
            def answered(call):
                if self.is_down:
                    return http(b"", 500)
                if answer is not None and (found := answer(call)) is not None:
                    return found
                if call.path == "/apis/wardle.example.com/v1alpha1":
                    return http(RESOURCES)
                return http({"path": call.path})

            async with serve(self._certificate, answered, self._client_authority) as self.server:
                try:
                    await story(self)
                finally:
                    await self.api.server.close()

        asyncio.run(told())

    async def make_service(self, *, endpoints=True):
        await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "wardle"}})
        ports = [{"name": "api", "port": 7443, "protocol": "TCP"}]
        body = {"metadata": {"name": "sample-api"}, "spec": {"ports": ports}}
        assert (await self.ask("POST", "/api/v1/namespaces/wardle/services", body)).status == 201
        slice_ = {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": "s", "namespace": "wardle", "labels": {"kubernetes.io/service-name": "sample-api"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}] if endpoints else [],
            "ports": [{"name": "api", "port": self.server.port, "protocol": "TCP"}],
        }  # fmt: skip
        data = json.dumps(slice_, separators=(",", ":")).encode()
        await self.api.store.put("/registry/discovery.k8s.io/endpointslices/wardle/s", lambda revision: data)

    async def register(self, **spec):
        body = {
            "metadata": {"name": "v1alpha1.wardle.example.com"},
            "spec": {
                "group": "wardle.example.com",
                "version": "v1alpha1",
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
                "service": {"namespace": "wardle", "name": "sample-api", "port": 7443},
                "caBundle": self._authority.bundle,
                **spec,
            },
        }
        answer = await self.ask("POST", API_SERVICES, body)
        assert answer.status == 201, answer.raw
        return answer.json

    async def condition(self):
        found = (await self.ask("GET", f"{API_SERVICES}/v1alpha1.wardle.example.com")).json
        (condition,) = found["status"]["conditions"]
        return condition["status"], condition["reason"], condition["message"]


@pytest.fixture
def sample(make_api, authority, certificate, pki):
    return Sample(make_api, authority, certificate, pki)


async def read(response):
    return b"".join([piece async for piece in response.stream])


class TestRemote:
    def test_a_request_is_passed_on_in_the_name_of_who_asks(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register()
            assert await sample.aggregator.sync()
            user = User("jane", ("devs", "system:masters"), "u1", {"scopes": ("a", "b")})
            path = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders"
            response = await sample.send(
                "POST", f"{path}?dryRun=All", {"x": 1}, user,
                authorization="Bearer secret", x_remote_user="admin", x_remote_extra_y="z",
            )  # fmt: skip
            assert (response.status, json.loads(await read(response))) == (
                200,
                {"path": f"{path}?dryRun=All"},
            )
            call = sample.server.calls[-1]
            assert (call.method, json.loads(call.body)) == ("POST", {"x": 1})
            assert call.headers["host"] == "sample-api.wardle.svc:7443"
            told = {name: value for name, value in call.headers.items() if name.startswith("x-remote-")}
            assert told == {
                "x-remote-user": "jane", "x-remote-uid": "u1", "x-remote-group": "system:masters",
                "x-remote-extra-scopes": "b",
            }  # fmt: skip
            assert "authorization" not in call.headers

        sample.run(story)

    def test_who_may_not_is_refused_here(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register()
            await sample.aggregator.sync()
            path = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders"
            before = len(sample.server.calls)
            answer = await sample.ask("GET", path, user=User("jane", ("system:authenticated",)))
            assert (answer.status, len(sample.server.calls)) == (403, before)

        sample.run(story)

    def test_it_is_in_discovery(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register()
            await sample.aggregator.sync()
            groups = [g["name"] for g in (await sample.ask("GET", "/apis")).json["groups"]]
            assert "wardle.example.com" in groups
            group = (await sample.ask("GET", "/apis/wardle.example.com")).json
            assert group["preferredVersion"]["groupVersion"] == "wardle.example.com/v1alpha1"
            response = await sample.send("GET", "/apis/wardle.example.com/v1alpha1")
            assert json.loads(await read(response)) == RESOURCES
            found = await aggregated(sample)
            assert found["freshness"] == "Current"
            (flunders,) = found["resources"]
            assert (flunders["resource"], flunders["responseKind"]["kind"]) == ("flunders", "Flunder")
            assert [s["subresource"] for s in flunders["subresources"]] == ["status"]
            sample.is_down = True
            await sample.aggregator.sync()
            found = await aggregated(sample)
            assert (found["freshness"], len(found["resources"])) == ("Stale", 1)

        sample.run(story)

    def test_its_openapi_is_listed_and_passed_on(self, sample):
        def answer(call):
            if call.path == "/openapi/v3":
                url = "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=AB"
                return http({"paths": {"apis/wardle.example.com/v1alpha1": {"serverRelativeURL": url}}})
            return None

        async def story(sample):
            await sample.make_service()
            await sample.register()
            await sample.aggregator.sync()
            index = (await sample.ask("GET", "/openapi/v3")).json["paths"]
            url = index["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"]
            assert json.loads(await read(await sample.send("GET", url))) == {"path": url}

        sample.run(story, answer)

    def test_a_watch_streams(self, sample):
        async def answer_slowly(call):
            return (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n"
            )

        async def story(sample):
            await sample.make_service()
            await sample.register()
            await sample.aggregator.sync()
            path = "/apis/wardle.example.com/v1alpha1/flunders?watch=true"
            response = await sample.send("GET", path)
            assert response.stream is not None
            assert await anext(response.stream) == b"abc"
            await response.stream.aclose()

        sample.run(story, lambda call: answer_slowly(call) if "watch" in call.path else None)


async def aggregated(sample):
    groups = (await sample.ask("GET", "/apis", accept=AGGREGATED)).json["items"]
    (group,) = [g for g in groups if g["metadata"]["name"] == "wardle.example.com"]
    return group["versions"][0]


class TestAvailability:
    def test_one_that_answers_is_available(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register()
            assert await sample.aggregator.sync()
            assert await sample.condition() == ("True", "Passed", "all checks passed")
            rows = (
                await sample.ask("GET", API_SERVICES, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
            ).json
            cells = [row["cells"] for row in rows["rows"] if row["cells"][1] != "Local"]
            assert [row[:3] for row in cells] == [
                ["v1alpha1.wardle.example.com", "wardle/sample-api", "True"]
            ]

        sample.run(story)

    def test_one_without_a_service_is_not_and_says_so_to_clients(self, sample):
        async def story(sample):
            await sample.register()
            assert not await sample.aggregator.sync()
            why = 'service/sample-api in "wardle" is not present'
            assert await sample.condition() == ("False", "ServiceNotFound", why)
            answer = await sample.ask("GET", "/apis/wardle.example.com/v1alpha1/flunders")
            assert (answer.status, answer.raw) == (503, b"service unavailable\n")

        sample.run(story)

    @pytest.mark.parametrize(
        ("endpoints", "port", "reason", "message"),
        [
            (True, 1, "ServicePortError", 'service/sample-api in "wardle" is not listening on port 1'),
            (
                False, 7443, "MissingEndpoints",
                'endpointslices for service/sample-api in "wardle" have no addresses with port name "api"',
            ),
        ],
    )  # fmt: skip
    def test_one_whose_service_leads_nowhere_is_not(self, sample, endpoints, port, reason, message):
        async def story(sample):
            await sample.make_service(endpoints=endpoints)
            await sample.register(service={"namespace": "wardle", "name": "sample-api", "port": port})
            await sample.aggregator.sync()
            assert await sample.condition() == ("False", reason, message)

        sample.run(story)

    def test_one_that_answers_badly_is_not(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register()
            sample.is_down = True
            await sample.aggregator.sync()
            url = "https://sample-api.wardle.svc:7443/apis/wardle.example.com/v1alpha1"
            why = f"failing or missing response from {url}: bad status from {url}: 500"
            assert await sample.condition() == ("False", "FailedDiscoveryCheck", why)

        sample.run(story)

    def test_one_that_is_not_trusted_is_not(self, sample):
        async def story(sample):
            await sample.make_service()
            await sample.register(caBundle="")
            await sample.aggregator.sync()
            status, reason, message = await sample.condition()
            assert (status, reason) == ("False", "FailedDiscoveryCheck")
            assert message.endswith("x509: certificate signed by unknown authority")

        sample.run(story)

    def test_the_task_notices_a_service_that_comes(self, sample):
        async def story(sample):
            task = asyncio.create_task(sample.aggregator.run())
            await sample.register()
            await sample.make_service()
            async with asyncio.timeout(60):
                path = f"{API_SERVICES}/v1alpha1.wardle.example.com"
                while b'"Passed"' not in (await sample.ask("GET", path)).raw:
                    await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        sample.run(story)


class TestLocal:
    def test_each_group_version_has_one_and_its_own_priority(self, api):
        async def story():
            await api.server.aggregator.sync()
            return await api.ask("GET", API_SERVICES)

        found = {o["metadata"]["name"]: o for o in asyncio.run(story()).json["items"]}
        assert found["v1."]["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
        apps = found["v1.apps"]
        assert apps["metadata"]["labels"] == {MANAGED: "onstart"}
        assert apps["spec"] == {
            "group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15,
        }  # fmt: skip
        (condition,) = apps["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")

    def test_those_of_custom_resources_come_and_go_with_them(self):
        served = [("", "v1"), ("stable.example.com", "v1")]
        done = plan(served, {})
        assert [o["metadata"]["name"] for o in done.create] == ["v1.", "v1.stable.example.com"]
        assert done.create[1]["metadata"]["labels"] == {MANAGED: "true"}
        found = {o["metadata"]["name"]: o for o in done.create}
        gone = plan([("", "v1")], found)
        assert (gone.create, gone.update, gone.delete) == ((), (), ("v1.stable.example.com",))

    def test_one_that_somebody_made_is_left_alone(self):
        mine = make_api_service("apps", "v1")
        del mine["metadata"]["labels"]
        mine["spec"]["versionPriority"] = 3
        done = plan([("apps", "v1")], {"v1.apps": mine, "v1.x": {"metadata": {"name": "v1.x"}}})
        assert (done.create, done.update, done.delete) == ((), (), ())


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("v1.x", {"group": "y", "version": "v1"}, 'metadata.name: Invalid value: "v1.x": must be '
         '`spec.version+"."+spec.group`: "v1.y"'),
        ("v1.y", {"groupPriorityMinimum": 0}, "spec.groupPriorityMinimum: Invalid value: 0: must be positive and "
         "less than 20000"),
        ("v1.y", {"versionPriority": 1001}, "spec.versionPriority: Invalid value: 1001: must be positive and less "
         "than 1000"),
        ("v1.y", {"service": {"name": "s"}}, "spec.service.namespace: Required value"),
        ("v1.y", {"caBundle": "YQ=="}, 'spec.caBundle: Invalid value: "1 bytes": local APIServices may not have a '
         "caBundle"),
        ("v1.y", {"service": {"name": "s", "namespace": "n"}, "caBundle": "YQ==", "insecureSkipTLSVerify": True},
         "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"),
    ],
)  # fmt: skip
def test_one_that_is_wrong_is_refused(api, name, spec, message):
    whole = {"group": "y", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10, **spec}
    answer = api.post(API_SERVICES, {"metadata": {"name": name}, "spec": whole})
    assert (answer.status, answer.message) == (
        422,
        f'APIService.apiregistration.k8s.io "{name}" is invalid: {message}',
    )
