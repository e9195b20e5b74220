"""Policies and bindings in a few words."""

from __future__ import annotations

from typing import Any

import pytest

GROUP = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = {
    "apiGroups": ["apps"],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["deployments"],
}
CONFIG_MAPS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["configmaps"],
}


class Policies:
    """Writes policies of both kinds; each has a binding of its name."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def create(self, kind: str, body: dict[str, Any]) -> Any:
        answer = self.api.post(f"{GROUP}/{kind}", body)
        assert answer.status == 201, answer.raw
        return answer.json

    def validating(
        self,
        *validations: str | dict[str, Any],
        name: str = "p",
        rule: dict[str, Any] = CONFIG_MAPS,
        actions: tuple[str, ...] = ("Deny",),
        binding: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Create a ValidatingAdmissionPolicy and its binding, named `b`."""
        said = [v if isinstance(v, dict) else {"expression": v} for v in validations]
        body = {"matchConstraints": {"resourceRules": [rule]}, "validations": said, **spec}
        self.create("validatingadmissionpolicies", {"metadata": {"name": name}, "spec": body})
        bound = {"policyName": name, "validationActions": list(actions), **(binding or {})}
        self.create("validatingadmissionpolicybindings", {"metadata": {"name": f"{name}-b"}, "spec": bound})

    def mutating(
        self,
        *expressions: str,
        name: str = "m",
        rule: dict[str, Any] = CONFIG_MAPS,
        json_patch: bool = False,
        binding: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Create a MutatingAdmissionPolicy and its binding."""
        kind, key = ("JSONPatch", "jsonPatch") if json_patch else ("ApplyConfiguration", "applyConfiguration")
        mutations = [{"patchType": kind, key: {"expression": e}} for e in expressions]
        body = {
            "matchConstraints": {"resourceRules": [rule]},
            "reinvocationPolicy": "Never",
            "mutations": mutations,
            **spec,
        }
        self.create("mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": body})
        bound = {"policyName": name, **(binding or {})}
        self.create("mutatingadmissionpolicybindings", {"metadata": {"name": f"{name}-b"}, "spec": bound})

    def config_map(self, name: str = "c", namespace: str = "default", **fields: Any) -> Any:
        """Ask for a ConfigMap and return the answer."""
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.api.post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": metadata, **fields})

    def deployment(self, name: str = "d", replicas: int = 1) -> Any:
        """Ask for a Deployment and return the answer."""
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        body = {"metadata": {"name": name}, "spec": spec}
        return self.api.post("/apis/apps/v1/namespaces/default/deployments", body)


@pytest.fixture
def policies(api):
    return Policies(api)
