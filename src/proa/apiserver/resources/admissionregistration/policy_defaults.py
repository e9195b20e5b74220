"""Fill in what admission policies and their bindings leave out: pkg/apis/admissionregistration/v1/defaults.go."""

from __future__ import annotations

from proa.client.protocol import Object


def default_policy(policy: Object) -> None:
    """Failures count, and what is matched is matched in every version."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if spec.get("matchConstraints") is not None:
        _default_match(spec["matchConstraints"])


def default_binding(binding: Object) -> None:
    """A binding without constraints of its own leaves its policy's as they are."""
    spec = binding.setdefault("spec", {})
    if spec.get("matchResources") is not None:
        _default_match(spec["matchResources"])


def _default_match(match: Object) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for key in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(key) or ():
            rule.setdefault("scope", "*")
