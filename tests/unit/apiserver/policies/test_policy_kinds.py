"""The kinds of admission policies: defaults, rules, tables and everything that clients do with them."""

# ruff: noqa: E501  tables of messages

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.apiserver.policies.conftest import CONFIG_MAPS, GROUP

MATCH = {"resourceRules": [CONFIG_MAPS]}
VALIDATING = {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}
PATCH = {
    "patchType": "JSONPatch",
    "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/a', value: 1}]"},
}
MUTATING = {"matchConstraints": MATCH, "mutations": [PATCH], "reinvocationPolicy": "Never"}
BINDING = {"policyName": "p", "validationActions": ["Deny"]}
MUTATING_BINDING = {"policyName": "p"}


def causes(api: Any, kind: str, spec: dict[str, Any]) -> list[str]:
    answer = api.post(f"{GROUP}/{kind}", {"metadata": {"name": "p"}, "spec": spec})
    assert answer.status == 422, answer.raw
    return [f"{c['field']}: {c['message']}" for c in answer.json["details"]["causes"]]


def test_a_policy_is_defaulted(api) -> None:
    made = api.post(
        f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": VALIDATING}
    ).json
    assert made["metadata"]["generation"] == 1
    assert made["spec"] == {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [{**CONFIG_MAPS, "scope": "*"}],
        },
        "validations": [{"expression": "true"}],
    }


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"failurePolicy": "Other"}, 'spec.failurePolicy: Unsupported value: "Other": supported values: "Fail", "Ignore"'),
        ({"matchConstraints": None}, "spec.matchConstraints: Required value"),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules: Required value"),
        ({"validations": []}, "spec.validations: Required value: validations or auditAnnotations must contain at least one item"),
        ({"paramKind": {"apiVersion": "v1"}}, "spec.paramKind.kind: Required value"),
        ({"paramKind": {"apiVersion": "a/b/c", "kind": "X"}}, 'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'),
        ({"validations": [{"expression": " "}]}, "spec.validations[0].expression: Required value: expression is not specified"),
        ({"validations": [{"expression": "1"}]}, 'spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int'),
        ({"validations": [{"expression": "object.x"}]}, 'spec.validations[0].expression: Invalid value: "object.x": must evaluate to bool but got dyn'),
        ({"validations": [{"expression": "params.x == 1"}]}, 'spec.validations[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to \'params\' (in container \'\')\n | params.x == 1\n | ^'),
        ({"validations": [{"expression": "request.nope == 1"}]}, 'spec.validations[0].expression: Invalid value: "request.nope == 1": compilation failed: ERROR: <input>:1:8: undefined field \'nope\'\n | request.nope == 1\n | .......^'),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, 'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int'),
        ({"validations": [{"expression": "true", "message": "a\nb"}]}, 'spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks'),
        ({"validations": [{"expression": "true", "reason": "No"}]}, 'spec.validations[0].reason: Unsupported value: "No": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"'),
        ({"variables": [{"name": "4ever", "expression": "1"}]}, 'spec.variables[0].name: Invalid value: "4ever": name is not a valid CEL identifier'),
        ({"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]}, 'spec.variables[0].expression: Invalid value: "variables.b": compilation failed: ERROR: <input>:1:10: undefined field \'b\'\n | variables.b\n | .........^'),
        ({"matchConditions": [{"name": "a", "expression": "1"}]}, 'spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int'),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}, 'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int'),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "'a'"}] * 2}, 'spec.auditAnnotations[1].key: Duplicate value: "k"'),
    ],
)  # fmt: skip
def test_a_validating_policy_that_breaks_a_rule(api, change, cause) -> None:
    assert cause in causes(api, "validatingadmissionpolicies", {**VALIDATING, **change})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"mutations": []}, "spec.mutations: Required value: mutations must contain at least one item"),
        ({"reinvocationPolicy": ""}, "spec.reinvocationPolicy: Required value"),
        ({"reinvocationPolicy": "X"}, 'spec.reinvocationPolicy: Unsupported value: "X": supported values: "Never", "IfNeeded"'),
        ({"mutations": [{**PATCH, "patchType": "X"}]}, 'spec.mutations[0].patchType: Unsupported value: "X": supported values: "ApplyConfiguration", "JSONPatch"'),
        ({"mutations": [{"patchType": "ApplyConfiguration"}]}, "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration"),
        ({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}}]}, 'spec.mutations[0].jsonPatch.expression: Invalid value: "Object{}": must evaluate to list(JSONPatch) but got Object'),
        ({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{nope: 1}]"}}]}, 'spec.mutations[0].jsonPatch.expression: Invalid value: "[JSONPatch{nope: 1}]": compilation failed: ERROR: <input>:1:16: undefined field \'nope\'\n | [JSONPatch{nope: 1}]\n | ...............^'),
        ({"matchConstraints": {"resourceRules": [{**CONFIG_MAPS, "operations": ["DELETE"]}]}}, 'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"'),
    ],
)  # fmt: skip
def test_a_mutating_policy_that_breaks_a_rule(api, change, cause) -> None:
    assert cause in causes(api, "mutatingadmissionpolicies", {**MUTATING, **change})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"policyName": ""}, "spec.policyName: Required value"),
        ({"validationActions": []}, "spec.validationActions: Required value: at least one validation action is required"),
        ({"validationActions": ["Log"]}, 'spec.validationActions[0]: Unsupported value: "Log": supported values: "Audit", "Deny", "Warn"'),
        ({"paramRef": {}}, "spec.paramRef: Required value: one of name or selector must be specified"),
        ({"paramRef": {"name": "x"}}, "spec.paramRef.parameterNotFoundAction: Required value"),
        ({"paramRef": {"name": "x", "selector": {}}}, "spec.paramRef.name: Forbidden: name and selector are mutually exclusive"),
    ],
)  # fmt: skip
def test_a_binding_that_breaks_a_rule(api, change, cause) -> None:
    assert cause in causes(api, "validatingadmissionpolicybindings", {**BINDING, **change})


@pytest.mark.parametrize(
    ("kind", "spec", "columns", "row"),
    [
        ("validatingadmissionpolicies", VALIDATING, ["Name", "Validations", "ParamKind", "Age"], ["p", 1, "<unset>"]),
        ("mutatingadmissionpolicies", MUTATING, ["Name", "Mutations", "ParamKind", "Age"], ["p", 1, "<unset>"]),
        ("validatingadmissionpolicybindings", {**BINDING, "paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}},
         ["Name", "PolicyName", "ParamRef", "Age"], ["p", "p", "*/x"]),
        ("mutatingadmissionpolicybindings", MUTATING_BINDING, ["Name", "PolicyName", "ParamRef", "Age"], ["p", "p", "<unset>"]),
    ],
)  # fmt: skip
def test_clients_do_everything_with_policies(api, kind, spec, columns, row) -> None:
    """[sig-api-machinery] ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations [Conformance]
    [sig-api-machinery] ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations [Conformance]
    [sig-api-machinery] MutatingAdmissionPolicy should support MutatingAdmissionPolicy API operations [Conformance]
    [sig-api-machinery] MutatingAdmissionPolicy should support MutatingAdmissionPolicyBinding API operations [Conformance]"""
    path = f"{GROUP}/{kind}"
    assert kind in {r["name"] for r in api.get(GROUP).json["resources"]}
    made = api.post(path, {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec})
    assert made.status == 201, made.raw
    table = api.get(path, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
    assert [c["name"] for c in table["columnDefinitions"]] == columns
    assert table["rows"][0]["cells"][:3] == row
    assert api.get(f"{path}?labelSelector=a%3Db").json["items"][0]["metadata"]["name"] == "p"
    patched = api.patch(f"{path}/p", {"metadata": {"annotations": {"patched": "true"}}}).json
    assert (patched["metadata"]["generation"], patched["metadata"]["annotations"]) == (1, {"patched": "true"})
    updated = api.put(
        f"{path}/p", {**patched, "metadata": {**patched["metadata"], "annotations": {"u": "v"}}}
    )
    assert updated.status == 200
    assert api.delete(f"{path}/p").status == 200
    assert api.delete(path).status == 200
    assert api.get(path).json["items"] == []


def test_the_status_is_a_subresource(api) -> None:
    path = f"{GROUP}/validatingadmissionpolicies"
    api.post(path, {"metadata": {"name": "p"}, "spec": VALIDATING})
    status = {
        "observedGeneration": 1,
        "typeChecking": {"expressionWarnings": [{"fieldRef": "a", "warning": "w"}]},
    }
    assert api.patch(f"{path}/p/status", {"status": status}).json["status"] == status
    assert api.patch(f"{path}/p", {"status": {"observedGeneration": 7}}).json["status"] == status
    wrong = {"typeChecking": {"expressionWarnings": [{"fieldRef": "a", "warning": ""}]}}
    assert api.patch(f"{path}/p/status", {"status": wrong}).status == 422
