"""Say what is wrong with a rule of a FlowSchema: who asks, and for what (pkg/apis/flowcontrol/validation)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    forbidden,
    invalid,
    not_supported,
    required,
)

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
ORDER = {
    "Group": ("ServiceAccount", "User"),
    "ServiceAccount": ("User", "Group"),
    "User": ("ServiceAccount", "Group"),
}
"""For each kind of subject the others, in the order in which they are forbidden."""
NAMESPACE_INTRO = "each member of this list must be '*' or a DNS-1123 label; "


def validate_rule(rule: Object, path: str) -> list[Cause]:
    """Check one of spec.rules."""
    subjects = rule.get("subjects") or []
    causes: list[Cause] = []
    for index, subject in enumerate(subjects):
        causes += _validate_subject(subject, f"{path}.subjects[{index}]")
    if not subjects:
        causes.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    of_resources, of_paths = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not of_resources and not of_paths:
        why = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(required(path, why))
    for index, resource_rule in enumerate(of_resources):
        causes += _validate_resource_rule(resource_rule, f"{path}.resourceRules[{index}]")
    for index, path_rule in enumerate(of_paths):
        causes += _validate_path_rule(path_rule, f"{path}.nonResourceRules[{index}]")
    return causes


def _validate_subject(subject: Object, path: str) -> list[Cause]:
    kind = subject.get("kind", "")
    if kind not in SUBJECTS:
        return [not_supported(f"{path}.kind", kind, sorted(SUBJECTS))]
    key = SUBJECTS[kind]
    details, field = subject.get(key), f"{path}.{key}"
    if details is None:
        causes = [required(field, f"{key} is required when subject kind is '{kind}'")]
    else:
        causes = _validate_details(details, kind, field)
    for other in ORDER[kind]:
        key = SUBJECTS[other]
        if subject.get(key) is not None:
            causes.append(
                forbidden(f"{path}.{key}", f"{key} is forbidden when subject kind is not '{other}'")
            )
    return causes


def _validate_details(details: Object, kind: str, path: str) -> list[Cause]:
    name = details.get("name", "")
    causes = [] if name else [required(f"{path}.name")]
    if kind != "ServiceAccount":
        return causes
    if name not in ("", "*"):
        causes += all_invalid(f"{path}.name", name, dns_subdomain(name))
    namespace, field = details.get("namespace", ""), f"{path}.namespace"
    if not namespace:
        return [*causes, required(field, "must specify namespace for service account")]
    return causes + all_invalid(field, namespace, dns_label(namespace))


def _validate_verbs(verbs: list[str], field: str) -> list[Cause]:
    if not verbs:
        return [required(field, "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, field, "verbs")
    return [] if set(verbs) <= set(VERBS) else [not_supported(field, verbs, VERBS)]


def _alone(values: list[str], field: str, what: str) -> list[Cause]:
    if len(values) > 1 and "*" in values:
        return [invalid(field, values, f"if '*' is present, must not specify other {what}")]
    return []


def _validate_resource_rule(rule: Object, path: str) -> list[Cause]:
    causes = _validate_verbs(rule.get("verbs") or [], f"{path}.verbs")
    for key, what in (("apiGroups", "api group"), ("resources", "resource")):
        values, field = rule.get(key) or [], f"{path}.{key}"
        missing = required(field, f"resource rules must supply at least one {what}")
        causes += _alone(values, field, f"{what}s") if values else [missing]
    namespaces, field = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(required(field, why))
    elif "*" in namespaces:
        causes += _alone(namespaces, field, "namespaces")
    else:
        for index, namespace in enumerate(namespaces):
            problems = [NAMESPACE_INTRO + problem for problem in dns_label(namespace)]
            causes += all_invalid(f"{field}[{index}]", namespace, problems)
    return causes


def _validate_path_rule(rule: Object, path: str) -> list[Cause]:
    causes = _validate_verbs(rule.get("verbs") or [], f"{path}.verbs")
    urls, field = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    if not urls:
        return [*causes, required(field, "nonResourceURLs must contain at least one value")]
    if "*" in urls:
        return causes + _alone(urls, field, "non-resource URLs")
    for index, url in enumerate(urls):
        problem = _url_problem(url)
        causes += [invalid(f"{field}[{index}]", url, problem)] if problem else []
    return causes


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""
