"""Say what is wrong with where a pod wants to run: tolerations, affinity, spreading (pkg/apis/core/validation)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    label_value,
    not_supported,
    qualified_name,
    required,
)
from proa.objects.validation_selectors import validate_label_selector

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
NODE_POLICIES = ("Honor", "Ignore")
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
REQUIRED_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED_TERMS = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_tolerations(tolerations: Iterable[Object], field: str) -> list[Cause]:
    """Check keys, operators, values and effects."""
    causes: list[Cause] = []
    for index, toleration in enumerate(tolerations):
        causes += _validate_toleration(toleration, f"{field}[{index}]")
    return causes


def _validate_toleration(toleration: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    if key:
        causes += all_invalid(f"{path}.key", key, qualified_name(key))
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(invalid(f"{path}.operator", operator, detail))
    if "tolerationSeconds" in toleration and effect != "NoExecute":
        causes.append(
            invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        )
    if operator in ("", "Equal"):
        problems = label_value(value)
        causes += [invalid(f"{path}.operator", value, ";".join(problems))] if problems else []
    elif operator == "Exists":
        if value:
            causes.append(
                invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
            )
    else:
        causes.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in EFFECTS:
        causes.append(not_supported(f"{path}.effect", effect, EFFECTS))
    return causes


def validate_affinity(affinity: Object, field: str) -> list[Cause]:
    """Check node, pod and anti-affinity."""
    causes: list[Cause] = []
    if "nodeAffinity" in affinity:
        causes += _validate_node_affinity(affinity["nodeAffinity"], f"{field}.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        terms, path = affinity.get(kind) or {}, f"{field}.{kind}"
        for index, term in enumerate(terms.get(REQUIRED_TERMS, ())):
            causes += _validate_pod_term(term, f"{path}.{REQUIRED_TERMS}[{index}]")
        for index, weighted in enumerate(terms.get(PREFERRED_TERMS, ())):
            here = f"{path}.{PREFERRED_TERMS}[{index}]"
            causes += _validate_weight(weighted, here)
            causes += _validate_pod_term(weighted.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return causes


def _validate_node_affinity(affinity: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if REQUIRED_TERMS in affinity:
        causes += validate_node_selector(affinity[REQUIRED_TERMS], f"{path}.{REQUIRED_TERMS}")
    for index, weighted in enumerate(affinity.get(PREFERRED_TERMS, ())):
        here = f"{path}.{PREFERRED_TERMS}[{index}]"
        causes += _validate_weight(weighted, here)
        causes += _validate_node_term(weighted.get("preference") or {}, f"{here}.preference", lenient=True)
    return causes


def validate_node_selector(selector: Object, path: str) -> list[Cause]:
    """Check the terms of a NodeSelector."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        c for i, term in enumerate(terms) for c in _validate_node_term(term, f"{path}.nodeSelectorTerms[{i}]")
    ]


def _validate_node_term(term: Object, path: str, *, lenient: bool = False) -> list[Cause]:
    """Check one term; what is only preferred may have values that no label can have."""
    causes: list[Cause] = []
    for index, expression in enumerate(term.get("matchExpressions", ())):
        here = f"{path}.matchExpressions[{index}]"
        causes += _validate_operator(expression, here)
        causes += all_invalid(
            f"{here}.key", expression.get("key", ""), qualified_name(expression.get("key", ""))
        )
        for number, value in enumerate(() if lenient else expression.get("values") or ()):
            causes += all_invalid(f"{here}.values[{number}]", value, label_value(value))
    for index, expression in enumerate(term.get("matchFields", ())):
        here = f"{path}.matchFields[{index}]"
        operator, values = expression.get("operator", ""), expression.get("values", ())
        if operator not in ("In", "NotIn"):
            causes.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif len(values) != 1:
            causes.append(
                required(
                    f"{here}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
            )
        if expression.get("key") != "metadata.name":
            causes.append(invalid(f"{here}.key", expression.get("key", ""), "not a valid field selector key"))
            continue
        for number, value in enumerate(values):
            causes += all_invalid(f"{here}.values[{number}]", value, dns_subdomain(value))
    return causes


def _validate_operator(expression: Object, path: str) -> list[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values", ())
    if operator not in OPERATORS:
        return [invalid(f"{path}.operator", operator, "not a valid selector operator")]
    if operator in ("In", "NotIn") and not values:
        return [required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [forbidden(f"{path}.values", detail)]
    if operator in ("Gt", "Lt") and len(values) != 1:
        return [required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")]
    return []


def _validate_pod_term(term: Object, path: str) -> list[Cause]:
    causes = validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    causes += validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        causes += all_invalid(f"{path}.namespace", name, dns_label(name))
    if term.get("matchLabelKeys") or term.get("mismatchLabelKeys"):
        causes += _validate_label_keys(term, path)
    key = term.get("topologyKey", "")
    if not key:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    return causes + all_invalid(f"{path}.topologyKey", key, qualified_name(key))


def _validate_label_keys(term: Object, path: str) -> list[Cause]:
    """Check matchLabelKeys and mismatchLabelKeys (KEP-3633).

    By now the selector has what these keys stand for, as an expression: a key that is there twice was there before.
    """
    selector, causes = term.get("labelSelector"), list[Cause]()
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, keys in ((f"{path}.matchLabelKeys", match), (f"{path}.mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            causes.append(forbidden(field, "must not be specified when labelSelector is not set"))
            continue
        for index, key in enumerate(keys):
            causes += all_invalid(f"{field}[{index}]", key, qualified_name(key))
    seen = set((selector or {}).get("matchLabels") or ())
    for expression in (selector or {}).get("matchExpressions") or ():
        key = expression.get("key", "")
        if key in match and key in seen:
            here = f"{path}[{match.index(key)}]"
            causes.append(invalid(here, key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(key)
    for index, key in enumerate(match):
        if key in mismatch:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            causes.append(invalid(f"{path}.matchLabelKeys[{index}]", key, detail))
    return causes


def _validate_weight(weighted: Object, path: str) -> list[Cause]:
    weight = weighted.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def validate_topology_spread(constraints: Sequence[Object], field: str) -> list[Cause]:
    """Check spread constraints; a topology key may stand once for each action."""
    causes: list[Cause] = []
    kinds = [(c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints]
    for index, constraint in enumerate(constraints):
        path, (key, action) = f"{field}[{index}]", kinds[index]
        skew = constraint.get("maxSkew", 0)
        if skew <= 0:
            causes.append(invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
        if not key:
            causes.append(required(f"{path}.topologyKey", "can not be empty"))
        if action not in ACTIONS:
            causes.append(not_supported(f"{path}.whenUnsatisfiable", action, ACTIONS))
        if kinds[index] in kinds[index + 1 :]:
            causes.append(duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        causes += _validate_spread_options(constraint, action, path)
        causes += validate_label_selector(constraint.get("labelSelector"), f"{path}.labelSelector")
    return causes


def _validate_spread_options(constraint: Object, action: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    domains = constraint.get("minDomains")
    if domains is not None:
        field = f"{path}.minDomains"
        if domains <= 0:
            causes.append(invalid(field, domains, "must be greater than zero"))
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            causes.append(invalid(field, domains, detail))
    for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if constraint.get(policy) not in (None, *NODE_POLICIES):
            causes.append(not_supported(f"{path}.{policy}", constraint[policy], NODE_POLICIES))
    keys = constraint.get("matchLabelKeys") or ()
    if keys:
        causes += _validate_spread_keys(keys, constraint.get("labelSelector"), f"{path}.matchLabelKeys")
    return causes


def _validate_spread_keys(keys: Sequence[str], selector: Object | None, field: str) -> list[Cause]:
    causes: list[Cause] = []
    if selector is None:
        causes.append(forbidden(field, "must not be specified when labelSelector is not set"))
    expressions = (selector or {}).get("matchExpressions") or ()
    selected = {*((selector or {}).get("matchLabels") or ()), *(e.get("key", "") for e in expressions)}
    for index, key in enumerate(keys):
        causes += all_invalid(f"{field}[{index}]", key, qualified_name(key))
        if key in selected:
            detail = "exists in both matchLabelKeys and labelSelector"
            causes.append(invalid(f"{field}[{index}]", key, detail))
    return causes
