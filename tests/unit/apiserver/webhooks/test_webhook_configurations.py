"""What a webhook configuration is by default, and which ones are refused with which words."""

from __future__ import annotations

import pytest

from support.tls_server import reviewed

PATH = "/apis/admissionregistration.k8s.io/v1"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}


def configuration(**fields):
    webhook = {
        "name": "a.example.com",
        "clientConfig": {"service": {"namespace": "n", "name": "s"}},
        "rules": [dict(RULE)],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **fields,
    }
    return {"metadata": {"name": "x"}, "webhooks": [{k: v for k, v in webhook.items() if v is not None}]}


@pytest.mark.parametrize(
    ("kind", "more"), [("mutating", {"reinvocationPolicy": "Never"}), ("validating", {})]
)
def test_defaults(api, kind, more):
    made = api.post(f"{PATH}/{kind}webhookconfigurations", configuration()).json
    assert made["webhooks"] == [
        {
            "name": "a.example.com",
            "clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443}},
            "rules": [{**RULE, "scope": "*"}],
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"],
            **more,
        }
    ]
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name: Required value"),
        ({"name": "a.b"},
         'name: Invalid value: "a.b": should be a domain with at least three segments separated by dots'),
        ({"sideEffects": None}, "sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        ({"sideEffects": "Some"}, 'sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        ({"timeoutSeconds": 31},
         "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
        ({"failurePolicy": "X"}, 'failurePolicy: Unsupported value: "X": supported values: "Fail", "Ignore"'),
        ({"clientConfig": {}}, "clientConfig: Required value: exactly one of url or service is required"),
        ({"clientConfig": {"url": "http://h/"}},
         "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed "
         "URL scheme; desired format: https://host[/path]"),
        ({"clientConfig": {"url": "https://h/?a=b"}},
         'clientConfig.url: Invalid value: "a=b": query parameters are not '
         "permitted in the URL"),
        ({"clientConfig": {"service": {"name": "s", "namespace": "n", "path": "x"}}},
         "clientConfig.service.path: Invalid value: \"x\": must start with a '/'"),
        ({"admissionReviewVersions": ["v2"]},
         'admissionReviewVersions: Invalid value: ["v2"]: must include at least one '
         "of v1, v1beta1"),
        ({"admissionReviewVersions": None}, "admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
        ({"rules": [{**RULE, "operations": ["*", "CREATE"]}]},
         'rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other operations'),
        ({"rules": [{**RULE, "resources": ["*/*", "pods"]}]},
         'rules[0].resources: Invalid value: ["*/*","pods"]: if \'*/*\' is present, must not specify other resources'),
        ({"rules": [{**RULE, "resources": ["pods/*", "pods/status"]}]},
         "rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"),
        ({"rules": [{**RULE, "scope": "None"}]},
         'rules[0].scope: Unsupported value: "None": supported values: "*", "Cluster", "Namespaced"'),
    ],
)  # fmt: skip
def test_wrong_ones_are_refused(api, fields, message):
    answer = api.post(f"{PATH}/validatingwebhookconfigurations", configuration(**fields))
    assert answer.status == 422
    assert f"webhooks[0].{message}" in answer.message


@pytest.mark.parametrize(
    ("rules", "selectors", "called"),
    [
        ([{"operations": ["UPDATE"]}], {}, False),
        ([{"apiGroups": ["apps"]}], {}, False),
        ([{"apiVersions": ["v2"]}], {}, False),
        ([{"resources": ["configmaps/status"]}], {}, False),
        ([{"resources": ["*"]}], {}, True),
        ([{"scope": "Cluster"}], {}, False),
        ([{"scope": "Namespaced"}], {}, True),
        ([{}], {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ([{}], {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}, False),
        ([{}], {"objectSelector": {"matchLabels": {"l": "v"}}}, True),
        ([{}], {"objectSelector": {"matchExpressions": [{"key": "l", "operator": "DoesNotExist"}]}}, False),
    ],
)
def test_rules_and_selectors_pick_requests(hooks, rules, selectors, called):
    base = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}

    async def story(hooks):
        await hooks.configure("validating", hooks.webhook(rules=[{**base, **r} for r in rules], **selectors))
        assert (await hooks.make(metadata={"name": "c", "labels": {"l": "v"}})).status == 201
        assert len(hooks.server.calls) == called

    hooks.run(reviewed, story)


def test_a_namespace_is_picked_by_its_own_labels(hooks):
    async def story(hooks):
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["*"]}]
        selector = {"matchLabels": {"watched": "yes"}}
        await hooks.configure("validating", hooks.webhook(rules=rules, namespaceSelector=selector))
        for name, labels in (("a", {"watched": "yes"}), ("b", {})):
            await hooks.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        (review,) = (call.review for call in hooks.server.calls)
        assert (review["name"], review["namespace"]) == ("a", "a")

    hooks.run(reviewed, story)
