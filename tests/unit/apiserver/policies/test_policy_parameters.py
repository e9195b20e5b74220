"""Nobody reads by a policy's parameters what they may not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.client.protocol import User

GROUP = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CURATOR = User("curator", ("system:authenticated",))
WRITES = {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}
READS_MAPS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
READS_ONE = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["open"], "verbs": ["get"]}
CONFIG_MAPS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["configmaps"],
}


def policy(kind: str) -> Any:
    return {
        "metadata": {"name": "p"},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": kind},
            "matchConstraints": {"resourceRules": [CONFIG_MAPS]},
            "validations": [{"expression": "false", "messageExpression": "string(params.data.k)"}],
        },
    }


def binding(name: str) -> Any:
    ref = {"name": name, "namespace": "default", "parameterNotFoundAction": "Deny"}
    return {
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": ref},
    }


def grant(api: Any, *rules: Any) -> None:
    role = {"metadata": {"name": "curator"}, "rules": list(rules)}
    assert api.post(f"{RBAC}/clusterroles", role).status == 201
    bound = {
        "metadata": {"name": "curator"},
        "roleRef": {"kind": "ClusterRole", "name": "curator"},
        "subjects": [{"kind": "User", "name": CURATOR.name}],
    }
    assert api.post(f"{RBAC}/clusterrolebindings", bound).status == 201


def ask(api: Any, method: str, path: str, body: Any) -> Any:
    return asyncio.run(api.ask(method, f"{GROUP}/{path}", body, user=CURATOR))


def test_a_policy_takes_parameters_of_a_kind_that_its_author_may_read(secured_api: Any) -> None:
    api = secured_api
    grant(api, WRITES, READS_MAPS, READS_ONE)
    refused = ask(api, "POST", "validatingadmissionpolicies", policy("Secret"))
    assert refused.status == 422
    assert refused.message.endswith(
        'spec.paramKind: Forbidden: user &{curator  [system:authenticated] map[]} must have "get" permission on all '
        "objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
    )
    assert ask(api, "POST", "validatingadmissionpolicies", policy("ConfigMap")).status == 201
    made = api.get(f"{GROUP}/validatingadmissionpolicies/p").json
    assert ask(api, "PUT", "validatingadmissionpolicies/p", made).status == 200
    made["spec"]["paramKind"]["kind"] = "Secret"
    assert ask(api, "PUT", "validatingadmissionpolicies/p", made).status == 422


@pytest.mark.parametrize(("name", "status"), [("open", 201), ("closed", 422)])
def test_a_binding_names_a_parameter_that_its_author_may_read(
    secured_api: Any, name: str, status: int
) -> None:
    api = secured_api
    grant(api, WRITES, READS_ONE)
    assert api.post(f"{GROUP}/validatingadmissionpolicies", policy("Secret")).status == 201
    answer = ask(api, "POST", "validatingadmissionpolicybindings", binding(name))
    assert answer.status == status, answer.raw
    if status == 422:
        assert 'does not have "get" permission on the object referenced by paramRef' in answer.message


def test_a_policy_that_somebody_else_made_may_be_changed_but_for_its_parameters(secured_api: Any) -> None:
    api = secured_api
    grant(api, WRITES)
    made = api.post(f"{GROUP}/validatingadmissionpolicies", policy("Secret")).json
    made["spec"]["failurePolicy"] = "Ignore"
    assert ask(api, "PUT", "validatingadmissionpolicies/p", made).status == 200
