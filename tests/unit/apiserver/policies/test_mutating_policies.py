"""MutatingAdmissionPolicies change objects, by the examples of Kubernetes' documentation."""

# ruff: noqa: E501  tables of messages

from __future__ import annotations

import pytest
from tests.unit.apiserver.policies.conftest import DEPLOYMENTS, GROUP


def test_a_deployment_is_changed(policies) -> None:
    """[sig-api-machinery] MutatingAdmissionPolicy should mutate a Deployment [Conformance]"""
    policies.mutating("Object{spec: Object.spec{replicas: object.spec.replicas + 100}}", rule=DEPLOYMENTS)
    answer = policies.deployment("d", 1)
    assert answer.status == 201, answer.raw
    assert answer.json["spec"]["replicas"] == 101
    assert answer.json["spec"]["template"]["spec"]["containers"][0]["image"] == "x:1"


def test_annotations_are_added(policies) -> None:
    """[sig-api-machinery] MutatingAdmissionPolicy should mutate a Deployment with annotations [Conformance]"""
    policies.mutating(
        "Object{metadata: Object.metadata{annotations: {'my-foo-annotation': 'myAnnotationValue'}}}", rule=DEPLOYMENTS
    )  # fmt: skip
    annotations = policies.deployment().json["metadata"]["annotations"]
    assert annotations["my-foo-annotation"] == "myAnnotationValue"


def test_an_init_container_is_merged_by_its_name(policies, api) -> None:
    pods = {**DEPLOYMENTS, "apiGroups": [""], "resources": ["pods"], "operations": ["CREATE"]}
    policies.mutating(
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh:1', "
        "args: ['proxy'], restartPolicy: 'Always'}]}}",
        rule=pods,
        matchConditions=[{"name": "once", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh')"}],
    )  # fmt: skip
    refused = api.post(
        "/api/v1/namespaces/default/pods",
        {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}},
    )
    assert "may not mutate atomic arrays, maps or structs: .spec.initContainers[0].args" in refused.message
    assert refused.json["reason"] == "Invalid"


def test_json_patches_are_applied_in_order(policies) -> None:
    policies.mutating(
        "[JSONPatch{op: 'add', path: '/metadata/labels', value: {}}, "
        "JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/env'), value: 'test'}]",
        "[JSONPatch{op: 'test', path: '/metadata/labels/example.com~1env', value: 'other'}, "
        "JSONPatch{op: 'remove', path: '/data'}]",
        "[JSONPatch{op: 'replace', path: '/data/a', value: object.data.a + '!'}]",
        json_patch=True,
    )
    made = policies.config_map(data={"a": "b"}).json
    assert made["metadata"]["labels"] == {"example.com/env": "test"}
    assert made["data"] == {"a": "b!"}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Object{spec: Object.wrong{}}", 'type mismatch: unexpected type name "Object.wrong", expected "Object.spec"'),
        ("Object{metadata: Object.metadata{labels: {'a': 1}}}", "error applying patch"),
        ("Object{data: {'a': object.nope}}", "resulted in error: no such key: nope"),
    ],
)  # fmt: skip
def test_a_mutation_that_fails_refuses(policies, expression, said) -> None:
    policies.mutating(expression)
    refused = policies.config_map()
    assert refused.status == 403
    assert refused.message.startswith("policy 'm' with binding 'm-b' denied request: ")
    assert said in refused.message


def test_a_mutation_that_fails_may_be_ignored(policies) -> None:
    policies.mutating("Object{data: {'a': object.nope}}", failurePolicy="Ignore")
    assert policies.config_map().status == 201


def test_policies_run_in_order_and_again_where_they_ask_for_it(policies) -> None:
    policies.mutating(
        "Object{metadata: Object.metadata{annotations: {'seen': string(object.metadata.?labels.hasValue())}}}",
        name="a-first",
        reinvocationPolicy="IfNeeded",
    )
    policies.mutating("Object{metadata: Object.metadata{labels: {'x': 'y'}}}", name="b-second")
    assert policies.config_map().json["metadata"]["annotations"] == {"seen": "true"}


def test_a_policy_runs_once_unless_it_asks_for_more(policies) -> None:
    policies.mutating(
        "Object{metadata: Object.metadata{annotations: {'seen': string(object.metadata.?labels.hasValue())}}}",
        name="a-first",
    )
    policies.mutating("Object{metadata: Object.metadata{labels: {'x': 'y'}}}", name="b-second")
    assert policies.config_map().json["metadata"]["annotations"] == {"seen": "false"}


def test_variables_and_parameters(policies, api) -> None:
    api.config_map("defaults")
    policies.mutating(
        "Object{data: {'from': variables.value}}",
        variables=[{"name": "value", "expression": "params.data.a"}],
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        binding={"paramRef": {"name": "defaults", "parameterNotFoundAction": "Deny"}},
    )
    assert policies.config_map().json["data"] == {"from": "b"}


def test_what_a_policy_changes_is_validated(policies) -> None:
    policies.mutating("Object{metadata: Object.metadata{labels: {'x': 'not a label value'}}}")
    assert policies.config_map().status == 422


def test_the_systems_part_of_an_object_stays(policies) -> None:
    policies.mutating("Object{metadata: Object.metadata{uid: 'mine'}}")
    assert policies.config_map().json["metadata"]["uid"] != "mine"


def test_a_dry_run_shows_the_change(policies, api) -> None:
    policies.mutating("Object{data: {'a': 'b'}}")
    answer = api.post("/api/v1/namespaces/default/configmaps?dryRun=All", {"metadata": {"name": "dry"}})
    assert answer.json["data"] == {"a": "b"}
    assert api.get(f"{GROUP}/mutatingadmissionpolicies/m").status == 200
