"""[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin]: a test for each line of the conformance suite.

Follows test/e2e/apimachinery/webhook.go; each test's docstring is the line.
"""

from __future__ import annotations

import asyncio

import pytest

from support.tls_server import Authority, reviewed
from unit.apiserver.conftest import Api
from unit.apiserver.webhooks.conftest import Hooks

GROUP = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KINDS = ("mutating", "validating")
DENIED = {"allowed": False, "status": {"message": "this webhook denies all requests", "code": 403}}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory):
    return authority.write_server(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture
def hooks(authority, certificate):
    """An API server with a namespace, and a webhook server."""
    api = Api()
    assert api.post("/api/v1/namespaces", {"metadata": {"name": "default"}}).status == 201
    account = {"metadata": {"name": "default"}}
    assert api.post("/api/v1/namespaces/default/serviceaccounts", account).status == 201
    return Hooks(api, authority, certificate)


def rule(*operations, group="", version="v1", resource="configmaps"):
    return {
        "operations": [*operations],
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": [resource],
    }


def denies(name):
    """Deny what has a key that is not wanted, as the suite's webhook does."""

    def answer(call):
        review = call.review
        seen = review["object"] or review["oldObject"]
        data = seen.get("data") or {}
        if "webhook-e2e-test" in data or "webhook-disallow" in (seen["metadata"].get("labels") or {}):
            return reviewed(
                call, allowed=False, status={"message": f"the {name} contains unwanted key and value"}
            )
        return reviewed(call)

    return answer


def adds(path, value):
    return lambda call: reviewed(call, patch=[{"op": "add", "path": path, "value": value}])


async def define(hooks, *, versions=("v1",), storage="v1", pruning=True):
    """Make a definition of e2e-test-crds and wait until it is served; return the path of its objects."""
    keys = ("mutation-start", "mutation-stage-1", "k")
    data = {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
    if not pruning:
        data["x-kubernetes-preserve-unknown-fields"] = True
    schema = {"type": "object", "properties": {"data": data}}
    body = {
        "metadata": {"name": "tests.stable.example.com"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "tests", "singular": "test", "kind": "Test", "listKind": "TestList"},
            "versions": [
                {"name": v, "served": True, "storage": v == storage, "schema": {"openAPIV3Schema": schema}}
                for v in versions
            ],
        },
    }
    answer = await hooks.ask("POST", CRDS, body)
    assert answer.status == 201, answer.raw
    path = f"/apis/stable.example.com/{versions[0]}/namespaces/default/tests"
    async with asyncio.timeout(60):
        while (await hooks.ask("GET", path)).status != 200:
            await asyncio.sleep(0.01)
    return path


async def merge(hooks, path, patch):
    """Apply a merge patch."""
    return await hooks.ask("PATCH", path, patch, content_type="application/merge-patch+json")


def test_discovery(hooks):
    """[sig-api-machinery] AdmissionWebhook should include webhook resources in discovery documents"""

    async def story(hooks):
        assert "admissionregistration.k8s.io" in str((await hooks.ask("GET", "/apis")).json)
        group = (await hooks.ask("GET", "/apis/admissionregistration.k8s.io")).json
        assert {"groupVersion": "admissionregistration.k8s.io/v1", "version": "v1"} in group["versions"]
        names = {r["name"] for r in (await hooks.ask("GET", GROUP)).json["resources"]}
        assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= names

    hooks.run(reviewed, story)


def test_deny_creation(hooks):
    """[sig-api-machinery] AdmissionWebhook should be able to deny pod and configmap creation"""

    async def story(hooks):
        await hooks.configure(
            "validating", hooks.webhook(rules=[rule("CREATE", "UPDATE"), rule("CREATE", resource="pods")])
        )
        body = {"metadata": {"name": "p", "labels": {"webhook-disallow": "true"}}, "spec": {
            "containers": [{"name": "c", "image": "x:1"}]}}  # fmt: skip
        refused = await hooks.ask("POST", PODS, body)
        assert "the object contains unwanted key and value" in refused.message
        refused = await hooks.make("bad", data={"webhook-e2e-test": "webhook-disallow"})
        assert "denied the request: the object contains unwanted key and value" in refused.message
        assert (await hooks.make("good")).status == 201
        path, patch = f"{CONFIG_MAPS}/good", {"data": {"webhook-e2e-test": "webhook-disallow"}}
        refused = await hooks.ask("PATCH", path, patch, content_type="application/merge-patch+json")
        assert refused.status == 400
        refused = await hooks.ask("PUT", path, {"metadata": {"name": "good"}, **patch})
        assert refused.status == 400

    hooks.run(denies("object"), story)


def test_deny_attach(hooks):
    """[sig-api-machinery] AdmissionWebhook should be able to deny attaching pod"""

    def answer(call):
        review = call.review
        assert (review["operation"], review["subResource"]) == ("CONNECT", "attach")
        assert (review["object"]["kind"], review["object"]["container"]) == ("PodAttachOptions", "container1")
        return reviewed(
            call, allowed=False, status={"message": "attaching to pod 'to-be-attached-pod' is not allowed"}
        )

    async def story(hooks):
        body = {"metadata": {"name": "to-be-attached-pod"}, "spec": {
            "containers": [{"name": "container1", "image": "x:1"}]}}  # fmt: skip
        assert (await hooks.ask("POST", PODS, body)).status == 201
        await hooks.configure("validating", hooks.webhook(rules=[rule("CONNECT", resource="pods/attach")]))
        path = f"{PODS}/to-be-attached-pod/attach?container=container1&stdin=true"
        refused = await hooks.ask("POST", path)
        assert refused.message.endswith("attaching to pod 'to-be-attached-pod' is not allowed")

    hooks.run(answer, story)


def test_deny_custom_resources(hooks):
    """[sig-api-machinery] AdmissionWebhook should be able to deny custom resource creation, update and deletion"""

    async def story(hooks):
        path = await define(hooks, pruning=False)
        bad = {"apiVersion": "stable.example.com/v1", "kind": "Test", "metadata": {"name": "x"}}
        webhook = hooks.webhook(
            rules=[rule("CREATE", "UPDATE", "DELETE", group="stable.example.com", resource="tests")]
        )
        refused_data = {"webhook-e2e-test": "webhook-disallow"}
        assert (await hooks.ask("POST", path, {**bad, "data": {"k": "v"}})).status == 201
        await hooks.configure("validating", webhook)
        other = {**bad, "metadata": {"name": "y"}, "data": refused_data}
        assert (await hooks.ask("POST", path, other)).status == 400
        patch = {"data": refused_data}
        refused = await hooks.ask("PATCH", f"{path}/x", patch, content_type="application/merge-patch+json")
        assert "unwanted key and value" in refused.message
        assert (await hooks.ask("DELETE", f"{path}/x")).status == 200
        assert hooks.server.calls[-1].review["oldObject"]["data"] == {"k": "v"}

    hooks.run(denies("custom resource"), story)


def test_fail_closed(hooks):
    """[sig-api-machinery] AdmissionWebhook should unconditionally reject operations on fail closed webhook"""

    async def story(hooks):
        webhook = hooks.webhook(failurePolicy="Fail")
        webhook["clientConfig"] = {"service": {"namespace": "ops", "name": "none", "path": "/configmaps"}}
        await hooks.configure("validating", webhook)
        refused = await hooks.make()
        assert (refused.status, refused.json["reason"]) == (500, "InternalError")

    hooks.run(reviewed, story)


def test_configurations_are_exempt(hooks):
    """[sig-api-machinery] AdmissionWebhook should not be able to mutate or prevent deletion of webhook configuration
    objects"""

    async def story(hooks):
        everything = {"operations": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"],
                      "resources": ["*"]}  # fmt: skip
        for kind in KINDS:
            await hooks.configure(kind, hooks.webhook(rules=[everything]), name="guard")
        for kind in KINDS:
            await hooks.configure(kind, hooks.webhook("x.y.z"), name="dummy")
            path = f"{GROUP}/{kind}webhookconfigurations/dummy"
            assert "added-label" not in ((await hooks.ask("GET", path)).json["metadata"].get("labels") or {})
            assert (await hooks.ask("DELETE", path)).status == 200

    hooks.run(lambda call: reviewed(call, **DENIED), story)


def test_mutate_configmap(hooks):
    """[sig-api-machinery] AdmissionWebhook should mutate configmap"""

    def answer(call):
        data = call.review["object"]["data"]
        if "mutation-stage-1" in data:
            return adds("/data/mutation-stage-2", "yes")(call)
        return adds("/data/mutation-stage-1", "yes")(call)

    async def story(hooks):
        webhooks = [hooks.webhook(f"{n}.k8s.io.test", rules=[rule("CREATE")]) for n in ("one", "two")]
        await hooks.configure("mutating", *webhooks)
        made = (await hooks.make(data={"mutation-start": "yes"})).json
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}

    hooks.run(answer, story)


def test_mutate_pod(hooks):
    """[sig-api-machinery] AdmissionWebhook should mutate pod and apply defaults after mutation"""

    async def story(hooks):
        await hooks.configure("mutating", hooks.webhook(rules=[rule("CREATE", resource="pods")]))
        body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "example", "image": "x:1"}]}}
        (container,) = (await hooks.ask("POST", PODS, body)).json["spec"]["initContainers"]
        assert container["name"] == "webhook-added-init-container"
        assert container["terminationMessagePolicy"] == "File"
        assert container["terminationMessagePath"] == "/dev/termination-log"

    hooks.run(adds("/spec/initContainers", [{"name": "webhook-added-init-container", "image": "y:1"}]), story)


@pytest.mark.parametrize("pruning", [False, True], ids=["whole", "pruned"])
def test_mutate_custom_resources(hooks, pruning):
    """[sig-api-machinery] AdmissionWebhook should mutate custom resource
    [sig-api-machinery] AdmissionWebhook should mutate custom resource with pruning"""

    def answer(call):
        data = call.review["object"]["data"]
        stage = "mutation-stage-2" if "mutation-stage-1" in data else "mutation-stage-1"
        return adds(f"/data/{stage}", "yes")(call)

    async def story(hooks):
        path = await define(hooks, pruning=pruning)
        rules = [rule("CREATE", group="stable.example.com", resource="tests")]
        await hooks.configure("mutating", *[hooks.webhook(f"{n}.a.b", rules=rules) for n in ("one", "two")])
        body = {"metadata": {"name": "x"}, "data": {"mutation-start": "yes"}}
        data = (await hooks.ask("POST", path, body)).json["data"]
        assert data["mutation-stage-1"] == "yes"
        assert ("mutation-stage-2" in data) == (not pruning)

    hooks.run(answer, story)


def test_mutate_custom_resource_of_another_stored_version(hooks):
    """[sig-api-machinery] AdmissionWebhook should mutate custom resource with different stored version"""

    async def story(hooks):
        path = await define(hooks, versions=("v1", "v2"), storage="v1")
        rules = [rule("CREATE", "UPDATE", group="stable.example.com", resource="tests")]
        await hooks.configure("mutating", hooks.webhook(rules=rules))
        assert (await hooks.ask("POST", path, {"metadata": {"name": "x"}, "data": {"k": "v"}})).status == 201
        definition = (await hooks.ask("GET", f"{CRDS}/tests.stable.example.com")).json
        for version in definition["spec"]["versions"]:
            version["storage"] = version["name"] == "v2"
        assert (await hooks.ask("PUT", f"{CRDS}/tests.stable.example.com", definition)).status == 200
        answer = await merge(hooks, f"{path}/x", {"data": {"k": "w"}})
        assert answer.json["data"] == {"k": "w", "mutation-stage-1": "yes"}
        second = path.replace("/v1/", "/v2/")
        assert (await merge(hooks, f"{second}/x", {"data": {"k": "z"}})).json["data"]["k"] == "z"
        shown = hooks.server.calls[-1].review
        assert shown["requestKind"]["version"] == "v2"
        assert (shown["kind"]["version"], shown["object"]["apiVersion"]) == ("v1", "stable.example.com/v1")

    hooks.run(adds("/data/mutation-stage-1", "yes"), story)


def test_deny_crd_creation(hooks):
    """[sig-api-machinery] AdmissionWebhook should deny crd creation"""

    async def story(hooks):
        rules = [
            rule("CREATE", group="apiextensions.k8s.io", version="*", resource="customresourcedefinitions")
        ]
        await hooks.configure("validating", hooks.webhook(rules=rules))
        body = {
            "metadata": {"name": "tests.stable.example.com", "labels": {"webhook-disallow": "x"}},
            "spec": {
                "group": "stable.example.com", "scope": "Namespaced",
                "names": {"plural": "tests", "kind": "Test"},
                "versions": [{"name": "v1", "served": True, "storage": True,
                              "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        }  # fmt: skip
        assert "unwanted key and value" in (await hooks.ask("POST", CRDS, body)).message

    hooks.run(denies("crd"), story)


def test_timeout(hooks):
    """[sig-api-machinery] AdmissionWebhook should honor timeout"""
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return reviewed(call)

    async def story(hooks):
        await hooks.configure(
            "validating", hooks.webhook(timeoutSeconds=1, failurePolicy="Fail"), name="fail"
        )
        assert "context deadline exceeded" in (await hooks.make("a")).message
        await hooks.ask("DELETE", f"{GROUP}/validatingwebhookconfigurations/fail")
        await hooks.configure(
            "validating", hooks.webhook(timeoutSeconds=1, failurePolicy="Ignore"), name="ignore"
        )
        assert (await hooks.make("b")).status == 201
        await hooks.ask("DELETE", f"{GROUP}/validatingwebhookconfigurations/ignore")
        await hooks.configure("validating", hooks.webhook(), name="default")
        stored = await hooks.ask("GET", f"{GROUP}/validatingwebhookconfigurations/default")
        assert stored.json["webhooks"][0]["timeoutSeconds"] == 10
        gate.set()
        assert (await hooks.make("c")).status == 201

    hooks.run(slow, story)


@pytest.mark.parametrize("kind", KINDS)
def test_patching_and_updating(hooks, kind):
    """[sig-api-machinery] AdmissionWebhook patching/updating a mutating webhook should work
    [sig-api-machinery] AdmissionWebhook patching/updating a validating webhook should work"""

    async def story(hooks):
        path = f"{GROUP}/{kind}webhookconfigurations/hooks"
        await hooks.configure(kind, hooks.webhook(rules=[rule("CREATE")]))
        assert (await hooks.make("a")).status == 400
        stored = (await hooks.ask("GET", path)).json
        stored["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
        updated = await hooks.ask("PUT", path, stored)
        assert (updated.status, updated.json["metadata"]["generation"]) == (200, 2)
        assert (await hooks.make("b")).status == 201
        stored["webhooks"][0]["rules"][0]["operations"] = ["CREATE"]
        patch = {"webhooks": stored["webhooks"]}
        patched = await hooks.ask("PATCH", path, patch, content_type="application/strategic-merge-patch+json")
        assert patched.status == 200
        assert (await hooks.make("c")).status == 400

    hooks.run(lambda call: reviewed(call, allowed=False), story)


@pytest.mark.parametrize("kind", KINDS)
def test_listing(hooks, kind):
    """[sig-api-machinery] AdmissionWebhook listing mutating webhooks should work
    [sig-api-machinery] AdmissionWebhook listing validating webhooks should work"""

    async def story(hooks):
        path = f"{GROUP}/{kind}webhookconfigurations"
        for index in range(10):
            body = {"metadata": {"name": f"w{index}", "labels": {"run": "x"}}, "webhooks": [hooks.webhook()]}
            assert (await hooks.ask("POST", path, body)).status == 201
        assert len((await hooks.ask("GET", f"{path}?labelSelector=run%3Dx")).json["items"]) == 10
        assert (await hooks.make("a")).status == 400
        assert (await hooks.ask("DELETE", f"{path}?labelSelector=run%3Dx")).status == 200
        assert (await hooks.make("a")).status == 201

    hooks.run(lambda call: reviewed(call, allowed=False), story)


@pytest.mark.parametrize("kind", KINDS)
def test_match_conditions(hooks, kind):
    """[sig-api-machinery] AdmissionWebhook should be able to create and update mutating webhook configurations with
    match conditions
    [sig-api-machinery] AdmissionWebhook should be able to create and update validating webhook configurations with
    match conditions"""

    async def story(hooks):
        first = [{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]
        await hooks.configure(kind, hooks.webhook(matchConditions=first))
        path = f"{GROUP}/{kind}webhookconfigurations/hooks"
        stored = (await hooks.ask("GET", path)).json
        assert stored["webhooks"][0]["matchConditions"] == first
        second = [*first, {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]
        stored["webhooks"][0]["matchConditions"] = second
        assert (await hooks.ask("PUT", path, stored)).json["webhooks"][0]["matchConditions"] == second

    hooks.run(reviewed, story)


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_match_conditions(hooks, kind):
    """[sig-api-machinery] AdmissionWebhook should reject mutating webhook configurations with invalid match conditions
    [sig-api-machinery] AdmissionWebhook should reject validating webhook configurations with invalid match
    conditions"""

    async def story(hooks):
        wrong = [{"name": "invalid-expression-1", "expression": "... [] bad expression"}]
        body = {"metadata": {"name": "x"}, "webhooks": [hooks.webhook(matchConditions=wrong)]}
        refused = await hooks.ask("POST", f"{GROUP}/{kind}webhookconfigurations", body)
        assert (refused.status, "compilation failed" in refused.message) == (422, True)

    hooks.run(reviewed, story)


def test_skip_me(hooks):
    """[sig-api-machinery] AdmissionWebhook should mutate everything except 'skip-me' configmaps"""

    async def story(hooks):
        conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
        await hooks.configure("mutating", hooks.webhook(rules=[rule("CREATE")], matchConditions=conditions))
        assert (await hooks.make("in-scope", data={"mutation-start": "yes"})).json["data"]["mutation-stage-1"]
        assert (await hooks.make("skip-me", data={"mutation-start": "yes"})).json["data"] == {
            "mutation-start": "yes"
        }

    hooks.run(adds("/data/mutation-stage-1", "yes"), story)
