"""A ValidatingAdmissionPolicy's status says what its expressions get wrong about the types they are for."""

from __future__ import annotations

from typing import Any

import pytest

from proa.controllers import validating_admission_policy as controller
from proa.objects.resource import DEPLOYMENTS, REPLICA_SETS
from proa.reconcile.discovery import ServedResource

SERVED = [ServedResource(resource, frozenset()) for resource in (REPLICA_SETS, DEPLOYMENTS)]
RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}


def make_policy(*validations: dict[str, str], rule: dict[str, Any] = RULE, **spec: Any) -> dict[str, Any]:
    body = {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations), **spec}
    return {"metadata": {"name": "p", "generation": 2}, "spec": body, "status": {"observedGeneration": 1}}


def warnings_of(policy: dict[str, Any]) -> list[dict[str, str]]:
    planned = controller.plan(policy, SERVED)
    assert planned is not None
    assert planned["status"]["observedGeneration"] == 2
    return list(planned["status"]["typeChecking"].get("expressionWarnings", ()))


def test_a_field_that_does_not_exist_is_warned_of() -> None:
    (warning,) = warnings_of(make_policy({"expression": "object.replicas > 1"}))
    assert warning == {
        "fieldRef": "spec.validations[0].expression",
        "warning": "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:7: undefined field 'replicas'\n"
        " | object.replicas > 1\n | ......^\n",
    }


def test_each_kind_is_checked_and_message_expressions_too() -> None:
    rule = {**RULE, "resources": ["replicasets", "deployments"]}
    validation = {"expression": "true", "messageExpression": "object.spec.strategy.type"}
    (warning,) = warnings_of(make_policy(validation, rule=rule))
    assert warning["fieldRef"] == "spec.validations[0].messageExpression"
    assert warning["warning"].startswith("apps/v1, Kind=ReplicaSet: ")
    assert "Deployment" not in warning["warning"]


@pytest.mark.parametrize(
    "policy",
    [
        make_policy({"expression": "object.spec.replicas > 1 && has(object.metadata.labels)"}),
        make_policy(
            {"expression": "variables.many"},
            variables=[{"name": "many", "expression": "object.spec.replicas > 1"}],
        ),
        make_policy({"expression": "object.nope"}, rule={**RULE, "resources": ["*"]}),
        make_policy(
            {"expression": "params.data.a == 'b'"}, paramKind={"apiVersion": "v1", "kind": "ConfigMap"}
        ),
    ],
)
def test_what_fits_is_not_warned_of(policy: dict[str, Any]) -> None:
    assert warnings_of(policy) == []


def test_parameters_have_a_type_too() -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    (warning,) = warnings_of(make_policy({"expression": "params.nope == 'b'"}, paramKind=kind))
    assert "undefined field 'nope'" in warning["warning"]


def test_what_was_looked_at_is_left_alone() -> None:
    planned = controller.plan(make_policy({"expression": "true"}), SERVED)
    assert planned is not None
    assert controller.plan(planned, SERVED) is None
