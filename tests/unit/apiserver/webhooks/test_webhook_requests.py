"""Every kind of request goes through admission once, with the right kind and object."""

from __future__ import annotations

import pytest

from support.tls_server import reviewed

EVERYTHING = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]},
    },
}
SCALE = {
    "apiVersion": "autoscaling/v1",
    "kind": "Scale",
    "metadata": {"name": "d", "namespace": "default"},
    "spec": {"replicas": 3},
}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
BINDING = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}


@pytest.mark.parametrize(
    ("method", "path", "body", "operation", "kind", "subresource", "has"),
    [
        ("PUT", f"{PODS}/p/status", POD, "UPDATE", "v1 Pod", "status", "on"),
        ("POST", f"{PODS}/p/binding", BINDING, "CREATE", "v1 Binding", "binding", "n"),
        ("POST", f"{PODS}/p/eviction", EVICTION, "CREATE", "policy/v1 Eviction", "eviction", "n"),
        ("PUT", f"{DEPLOYMENTS}/d/scale", SCALE, "UPDATE", "autoscaling/v1 Scale", "scale", "on"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", TOKEN, "CREATE",
         "authentication.k8s.io/v1 TokenRequest", "token", "n"),
        ("GET", f"{PODS}/p/exec?command=sh&command=-c&stdin=true&container=c", None, "CONNECT",
         "v1 PodExecOptions", "exec", "n"),
        ("GET", f"{PODS}/p/attach?stdout=true", None, "CONNECT", "v1 PodAttachOptions", "attach", "n"),
        ("GET", f"{PODS}/p/portforward?ports=80", None, "CONNECT", "v1 PodPortForwardOptions", "portforward", "n"),
        ("GET", f"{PODS}/p/proxy/x", None, "CONNECT", "v1 PodProxyOptions", "proxy", "n"),
        ("GET", "/api/v1/nodes/n/proxy/x", None, "CONNECT", "v1 NodeProxyOptions", "proxy", "n"),
        ("GET", "/api/v1/namespaces/default/services/s/proxy/x", None, "CONNECT", "v1 ServiceProxyOptions",
         "proxy", "n"),
        ("DELETE", f"{PODS}/p", None, "DELETE", "v1 Pod", None, "o"),
        ("DELETE", PODS, None, "DELETE", "v1 Pod", None, "o"),
        ("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 4}}, "UPDATE", "apps/v1 Deployment", None, "on"),
    ],
)  # fmt: skip
def test_a_request_is_shown_once_with_its_kind(hooks, method, path, body, operation, kind, subresource, has):
    async def story(hooks):
        await hooks.ask("POST", PODS, POD)
        await hooks.ask("POST", DEPLOYMENTS, DEPLOYMENT)
        await hooks.configure("validating", hooks.webhook(rules=[EVERYTHING]))
        headers = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        answer = await hooks.ask(method, path, body, **headers)
        assert (answer.status, answer.message) == (
            403,
            'admission webhook "one.test.example" denied the request: no',
        )
        (review,) = (call.review for call in hooks.server.calls)
        shown = review["kind"]
        group = f"{shown['group']}/" if shown["group"] else ""
        assert f"{group}{shown['version']} {shown['kind']}" == kind
        assert (review["operation"], review.get("subResource")) == (operation, subresource)
        for key, objects in (("o", review["oldObject"]), ("n", review["object"])):
            assert (objects is not None) == (key in has), key
            if objects is not None:
                assert f"{objects['apiVersion']} {objects['kind']}" == kind

    denied = {"allowed": False, "status": {"message": "no", "code": 403}}
    hooks.run(lambda call: reviewed(call, **denied), story)


def test_exec_says_what_is_to_be_run(hooks):
    async def story(hooks):
        await hooks.ask("POST", PODS, POD)
        await hooks.configure("validating", hooks.webhook(rules=[EVERYTHING]))
        await hooks.ask("GET", f"{PODS}/p/exec?command=sh&command=-c&stdin=true&container=c")
        assert hooks.server.calls[0].review["object"] == {
            "kind": "PodExecOptions", "apiVersion": "v1", "stdin": True, "container": "c", "command": ["sh", "-c"],
        }  # fmt: skip

    hooks.run(lambda call: reviewed(call, allowed=False), story)


def test_a_scale_that_is_changed_scales_to_that(hooks):
    async def story(hooks):
        await hooks.ask("POST", DEPLOYMENTS, DEPLOYMENT)
        await hooks.configure("mutating", hooks.webhook(rules=[EVERYTHING]))
        answer = await hooks.ask("PUT", f"{DEPLOYMENTS}/d/scale", SCALE)
        assert answer.json["spec"] == {"replicas": 2}
        assert (await hooks.ask("GET", f"{DEPLOYMENTS}/d")).json["spec"]["replicas"] == 2

    hooks.run(
        lambda call: reviewed(call, patch=[{"op": "replace", "path": "/spec/replicas", "value": 2}]), story
    )


@pytest.mark.parametrize(
    ("method", "query", "options"),
    [
        (
            "POST",
            "?fieldManager=me&fieldValidation=Strict",
            {"kind": "CreateOptions", "fieldManager": "me", "fieldValidation": "Strict"},
        ),
        ("PATCH", "?dryRun=All", {"kind": "UpdateOptions", "dryRun": ["All"]}),
        ("DELETE", "?propagationPolicy=Orphan", {"kind": "DeleteOptions", "propagationPolicy": "Orphan"}),
    ],
)
def test_the_requests_options_are_shown(hooks, method, query, options):
    async def story(hooks):
        await hooks.make("there")
        await hooks.configure("validating", hooks.webhook())
        path = "/api/v1/namespaces/default/configmaps" + ("" if method == "POST" else "/there")
        body = {"metadata": {"name": "new"}, "data": {"a": "c"}} if method == "POST" else {"data": {"a": "c"}}
        headers = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        await hooks.ask(method, path + query, None if method == "DELETE" else body, **headers)
        assert hooks.server.calls[0].review["options"] == {"apiVersion": "meta.k8s.io/v1", **options}

    hooks.run(reviewed, story)


def test_the_systems_part_of_an_object_is_not_for_webhooks(hooks):
    async def story(hooks):
        await hooks.configure("mutating", hooks.webhook(rules=[EVERYTHING]))
        made = (await hooks.ask("POST", PODS, POD)).json
        assert made["metadata"]["uid"] != "mine"
        assert made["metadata"]["namespace"] == "default"
        assert "message" not in made["status"]
        assert made["metadata"]["labels"] == {"l": "v"}

    patch = [
        {"op": "add", "path": "/metadata/uid", "value": "mine"},
        {"op": "add", "path": "/metadata/namespace", "value": "kube-system"},
        {"op": "add", "path": "/metadata/labels", "value": {"l": "v"}},
        {"op": "add", "path": "/status", "value": {"message": "x"}},
    ]
    hooks.run(lambda call: reviewed(call, patch=patch), story)


def test_a_changed_pod_gets_its_defaults(hooks):
    async def story(hooks):
        await hooks.configure("mutating", hooks.webhook(rules=[EVERYTHING]))
        made = (await hooks.ask("POST", PODS, POD)).json
        (added,) = made["spec"]["initContainers"]
        assert added["terminationMessagePath"] == "/dev/termination-log"

    patch = [{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "x:1"}]}]
    hooks.run(lambda call: reviewed(call, patch=patch), story)


def test_what_configures_admission_is_not_subject_to_it(hooks):
    async def story(hooks):
        await hooks.configure("mutating", hooks.webhook(rules=[EVERYTHING]))
        await hooks.configure("validating", hooks.webhook(rules=[EVERYTHING]))
        await hooks.configure("validating", hooks.webhook(), name="another")
        for kind in ("mutating", "validating"):
            path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/hooks"
            assert (await hooks.ask("DELETE", path)).status == 200
        assert hooks.server.calls == []

    hooks.run(lambda call: reviewed(call, allowed=False), story)
