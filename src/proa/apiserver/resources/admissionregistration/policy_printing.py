"""Show admission policies and their bindings in `kubectl get`: pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age
from proa.client.protocol import Object
from proa.objects.selectors import selector_from_dict


def policy_columns(counted: str, description: str) -> tuple[Column, ...]:
    """Return the columns of policies; `counted` is e.g. Validations."""
    return (
        NAME,
        Column(counted, "integer", description=description),
        Column(
            "ParamKind",
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    )


BINDING_COLUMNS = (
    NAME,
    Column(
        "PolicyName",
        description="PolicyName indicates the policy definition which the policy binding binded to",
    ),
    Column(
        "ParamRef",
        description="ParamRef indicates the param resource which sets the configration param",
    ),
    AGE,
)


def policy_cells(counted: str) -> Callable[[Object, float], Sequence[Any]]:
    """Return what makes a policy's row; `counted` is the field that is counted."""

    def cells(policy: Object, now: float) -> Sequence[Any]:
        spec = policy.get("spec") or {}
        kind = spec.get("paramKind")
        shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
        return policy["metadata"]["name"], len(spec.get(counted) or ()), shown, age(policy, now)

    return cells


def binding_cells(binding: Object, now: float) -> Sequence[Any]:
    """Return a binding's row."""
    spec = binding.get("spec") or {}
    name = binding["metadata"]["name"]
    return name, spec.get("policyName", ""), _shown(spec.get("paramRef")), age(binding, now)


def _shown(ref: Object | None) -> str:
    if ref is None:
        return UNSET
    if ref.get("name"):
        return f"{ref.get('namespace') or '*'}/{ref['name']}"
    return str(selector_from_dict(ref["selector"])) if ref.get("selector") is not None else UNSET
