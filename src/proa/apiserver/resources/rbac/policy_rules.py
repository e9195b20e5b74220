"""What roles and bindings have in common: their defaults, their rules, and how bindings are printed.

Follows pkg/apis/rbac/v1/defaults.go, pkg/apis/rbac/validation/validation.go and pkg/printers/internalversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, dns_subdomain, invalid, not_supported, path_segment, required

GROUP = "rbac.authorization.k8s.io"

# --- roles ------------------------------------------------------------------------------------------------------


def keep_rules(role: Object, old: Object | None = None) -> None:
    """A role without rules has null, as Go writes a field that is never left out."""
    role.setdefault("rules", None)


def validate_rules(role: Object, *, is_namespaced: bool) -> list[Cause]:
    """Check each rule."""
    causes: list[Cause] = []
    for index, rule in enumerate(role.get("rules") or ()):
        causes += _rule_causes(rule, f"rules[{index}]", is_namespaced)
    return causes


def _rule_causes(rule: Object, field: str, is_namespaced: bool) -> list[Cause]:
    causes = []
    if not rule.get("verbs"):
        causes.append(required(f"{field}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if is_namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            causes.append(invalid(f"{field}.nonResourceURLs", urls, why))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            causes.append(invalid(f"{field}.nonResourceURLs", urls, why))
        return causes
    if not rule.get("apiGroups"):
        causes.append(required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(required(f"{field}.resources", "resource rules must supply at least one resource"))
    return causes


ROLE_COLUMNS = (
    NAME,
    Column("Created At", type="date", description=doc("meta.v1.ObjectMeta.creationTimestamp")),
)


def role_cells(role: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`: upstream has no printer for roles, but the one for any object."""
    return role["metadata"]["name"], role["metadata"].get("creationTimestamp")


# --- bindings ---------------------------------------------------------------------------------------------------


def default_binding(binding: Object) -> None:
    """Fill in the groups of the role and of users and groups."""
    ref = binding.get("roleRef")
    if ref is not None and not ref.get("apiGroup"):
        ref["apiGroup"] = GROUP
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def validate_binding(binding: Object, role_kinds: Sequence[str], *, is_namespaced: bool) -> list[Cause]:
    """Check the role's reference and each subject."""
    causes: list[Cause] = []
    ref = binding.get("roleRef") or {}
    group, kind, name = ref.get("apiGroup", ""), ref.get("kind", ""), ref.get("name", "")
    if group != GROUP:
        causes.append(not_supported("roleRef.apiGroup", group, (GROUP,)))
    if kind not in role_kinds:
        causes.append(not_supported("roleRef.kind", kind, role_kinds))
    if name:
        causes += all_invalid("roleRef.name", name, path_segment(name))
    else:
        causes.append(required("roleRef.name"))
    for index, subject in enumerate(binding.get("subjects") or ()):
        causes += _subject_causes(subject, f"subjects[{index}]", is_namespaced)
    return causes


def _subject_causes(subject: Object, field: str, is_namespaced: bool) -> list[Cause]:
    kind, name, group = (subject.get(key) or "" for key in ("kind", "name", "apiGroup"))
    causes = [] if name else [required(f"{field}.name")]
    if kind == "ServiceAccount":
        causes += all_invalid(f"{field}.name", name, dns_subdomain(name) if name else ())
        if group:
            causes.append(not_supported(f"{field}.apiGroup", group, ("",)))
        if not is_namespaced and not subject.get("namespace"):
            causes.append(required(f"{field}.namespace"))
    elif kind in ("User", "Group"):
        if not name:
            causes.append(invalid(f"{field}.name", name, f"{kind.lower()} name cannot be empty"))
        if group != GROUP:
            causes.append(not_supported(f"{field}.apiGroup", group, (GROUP,)))
    else:
        causes.append(not_supported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def validate_binding_update(new: Object, old: Object) -> list[Cause]:
    """The role of a binding stays."""
    ref = new["roleRef"]
    if ref == old["roleRef"]:
        return []
    shown = {"APIGroup": ref.get("apiGroup", ""), "Kind": ref.get("kind", ""), "Name": ref.get("name", "")}
    return [invalid("roleRef", shown, "cannot change roleRef")]


def binding_columns(kind: str, role: str) -> tuple[Column, ...]:
    """Return the columns of `kubectl get`; `role` describes the roleRef of a roleBinding or clusterRoleBinding.

    Upstream describes it as v1beta1 did, which did not say that it cannot change.
    """
    of = f"in the {kind}"
    return (
        NAME,
        Column("Role", description=role.removesuffix(" This field is immutable.")),
        Column("Age", description=doc("meta.v1.ObjectMeta.creationTimestamp")),
        Column("Users", description=f"Users {of}", priority=1),
        Column("Groups", description=f"Groups {of}", priority=1),
        Column("ServiceAccounts", description=f"ServiceAccounts {of}", priority=1),
    )


def binding_cells(binding: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        named.setdefault(subject.get("kind", ""), []).append(name)
    ref = binding.get("roleRef") or {}
    return (
        binding["metadata"]["name"],
        f"{ref.get('kind', '')}/{ref.get('name', '')}",
        age(binding, now),
        *(", ".join(named[kind]) for kind in ("User", "Group", "ServiceAccount")),
    )
