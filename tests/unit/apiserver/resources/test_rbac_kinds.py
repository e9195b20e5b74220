"""Roles and bindings: what they default to, what is refused in upstream's words, how they are shown."""

from __future__ import annotations

from typing import Any

import pytest

V1 = "rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
Object = dict[str, Any]
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
URLS = {"nonResourceURLs": ["/x"], "verbs": ["get"]}


def role(*rules: Object, kind: str = "Role", **fields: Any) -> Object:
    return {"apiVersion": V1, "kind": kind, "metadata": {"name": "x"}, "rules": list(rules), **fields}


def binding(*subjects: Object, kind: str = "RoleBinding", **ref: str) -> Object:
    ref = {"kind": "ClusterRole", "name": "r", **ref}
    return {
        "apiVersion": V1,
        "kind": kind,
        "metadata": {"name": "x"},
        "roleRef": ref,
        "subjects": list(subjects),
    }


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (role(PODS), []),
        (role({**PODS, "verbs": []}), ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        (role(PODS, {"verbs": ["get"]}),
         ["rules[1].apiGroups: Required value: resource rules must supply at least one api group",
          "rules[1].resources: Required value: resource rules must supply at least one resource"]),
        (role(URLS),
         ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs']),
        (role(URLS, kind="ClusterRole"), []),
        (role({**PODS, **URLS}, kind="ClusterRole"),
         ['rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and '
          "non-resource URLs"]),
        (role(kind="ClusterRole", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}), []),
        (role(kind="ClusterRole", aggregationRule={}),
         ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
          "aggregationRule is non-nil"]),
        (binding({"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "a"}), []),
        (binding({"kind": "ServiceAccount", "name": "a"}, kind="ClusterRoleBinding"),
         ["subjects[0].namespace: Required value"]),
        (binding({"kind": "ServiceAccount", "name": "A_b", "namespace": "n"}),
         ['subjects[0].name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of lower case '
          "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
          "'example.com', regex used for validation is "
          "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"]),
        (binding({"kind": "Group", "name": ""}),
         ["subjects[0].name: Required value",
          'subjects[0].name: Invalid value: "": group name cannot be empty']),
        (binding({"kind": "User", "name": "u", "apiGroup": "x"}),
         [f'subjects[0].apiGroup: Unsupported value: "x": supported values: "{GROUP}"']),
        (binding({"kind": "Robot", "name": "u"}),
         ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"']),
        (binding(apiGroup="x", name=""),
         [f'roleRef.apiGroup: Unsupported value: "x": supported values: "{GROUP}"', "roleRef.name: Required value"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_upstreams_words(kinds: Any, obj: Object, expected: list[str]) -> None:
    assert kinds.problems(obj) == expected


def test_a_binding_for_the_cluster_is_of_a_cluster_role(kinds: Any) -> None:
    obj = binding(kind="ClusterRoleBinding")
    obj["roleRef"]["kind"] = "Role"
    assert kinds.problems(obj) == ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']


def test_the_groups_of_roles_users_and_groups_are_filled_in(kinds: Any) -> None:
    subjects = [{"kind": kind, "name": "a"} for kind in ("User", "Group", "ServiceAccount")]
    made = kinds.create(binding(*subjects))
    assert made["roleRef"]["apiGroup"] == GROUP
    assert [subject.get("apiGroup", "") for subject in made["subjects"]] == [GROUP, GROUP, ""]


def test_the_role_of_a_binding_cannot_change(kinds: Any) -> None:
    def change(obj: Object) -> None:
        obj["roleRef"] = {**obj["roleRef"], "name": "other"}

    assert kinds.update_problems(binding(), change) == [
        f'roleRef: Invalid value: {{"APIGroup":"{GROUP}","Kind":"ClusterRole","Name":"other"}}: cannot change roleRef'
    ]


def test_a_role_without_rules_has_null(kinds: Any) -> None:
    obj = role()
    del obj["rules"]
    assert kinds.create(obj)["rules"] is None


def test_a_binding_shows_its_role_and_subjects(kinds: Any) -> None:
    subjects = [{"kind": "User", "name": "ann"}, {"kind": "User", "name": "bob"},
                {"kind": "ServiceAccount", "name": "a", "namespace": "n"}]  # fmt: skip
    made = kinds.create(binding(*subjects))
    made["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    shown = kinds.definition_of("RoleBinding").cells(made, 1767225605.0)
    assert shown == ("x", "ClusterRole/r", "5s", "ann, bob", "", "n/a")
