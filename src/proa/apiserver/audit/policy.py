"""Read an audit policy, and say what of a request it wants: the first rule that fits counts.

Follows apiserver/pkg/audit/policy (reader.go, checker.go) and pkg/apis/audit/validation. Answers are kept by kind of
request, so that a request costs one look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import dns_subdomain

API_VERSION = "audit.k8s.io/v1"
NONE, METADATA, REQUEST, REQUEST_RESPONSE = LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES = (
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "Panic",
)
MAX_POLICY_BYTES = 1 << 20
MAX_KNOWN = 4096
DEFAULT = "default"
"""In place of a file's name: Metadata of every request, once it is answered. No body, so no Secret and no token."""
_DEFAULT_POLICY = {
    "apiVersion": API_VERSION,
    "kind": "Policy",
    "omitStages": [RECEIVED],
    "rules": [{"level": METADATA}],
}
_FIELDS = frozenset(
    ("level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages")
) | {"omitManagedFields"}


class BadPolicy(Exception):
    """The policy cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is written of a request: the level, at which stages, and whether without managedFields."""

    level: str
    stages: frozenset[str]
    omits_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy; an empty list is for all."""

    wanted: Wanted
    users: tuple[str, ...]
    groups: tuple[str, ...]
    verbs: tuple[str, ...]
    namespaces: tuple[str, ...]
    resources: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    """(API group, resources, names)"""
    paths: tuple[str, ...]

    def fits(self, user: User, info: RequestInfo) -> bool:
        """Tell whether the rule is about a request."""
        if self.users and user.name not in self.users:
            return False
        if self.groups and not any(group in self.groups for group in user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return info.is_resource and self._fits_resource(info)
        return not self.paths or (not info.is_resource and any(_fits(p, info.path) for p in self.paths))

    def _fits_resource(self, info: RequestInfo) -> bool:
        if self.namespaces and info.namespace not in self.namespaces:
            return False
        if not self.resources:
            return True
        return any(
            group == info.group
            and (not plurals or any(_names(plural, info) for plural in plurals))
            and (not plurals or not names or info.name in names)
            for group, plurals, names in self.resources
        )


def _names(said: str, info: RequestInfo) -> bool:
    whole = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    if said in (whole, "*"):
        return True
    if info.subresource and said == f"*/{info.subresource}":
        return True
    return said == f"{info.plural}/*"


def _fits(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


class AuditPolicy:
    """Rules in order; what none is about is not written."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._by_name = any(names for rule in rules for _, _, names in rule.resources)
        self._known: dict[tuple[str, ...], Wanted | None] = {}

    def wanted(self, user: User, info: RequestInfo) -> Wanted | None:
        """Return what to write of a request, None for nothing."""
        key = (
            user.name,
            *user.groups,
            info.verb,
            info.group,
            info.plural,
            info.subresource,
            info.namespace,
            info.name if self._by_name else "",
            "" if info.is_resource else info.path,
        )
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = next((rule.wanted for rule in self._rules if rule.fits(user, info)), None)
            self._known[key] = None if found is None or found.level == NONE else found
            return self._known[key]


def read_policy(source: str) -> AuditPolicy:
    """Read a policy's file, or DEFAULT; raise BadPolicy."""
    if source == DEFAULT:
        return make_policy(_DEFAULT_POLICY)
    import yaml

    try:
        with Path(source).open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
        if len(data) > MAX_POLICY_BYTES:
            raise BadPolicy(f"{source}: larger than {MAX_POLICY_BYTES} bytes")
        document = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 a safe one
    except OSError as error:
        raise BadPolicy(f"{source}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise BadPolicy(f"{source}: {error}") from None
    try:
        return make_policy(document)
    except BadPolicy as error:
        raise BadPolicy(f"{source}: {error}") from None


def make_policy(document: Any) -> AuditPolicy:
    """Return the policy that a document says; raise BadPolicy with all that is wrong."""
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise BadPolicy('kind: must be "Policy"')
    if document.get("apiVersion") != API_VERSION:
        raise BadPolicy(f'apiVersion: must be "{API_VERSION}"')
    rules = document.get("rules") or []
    if not isinstance(rules, list) or not rules:
        raise BadPolicy("loaded illegal policy with 0 rules")
    problems = list(_stage_problems(document, "omitStages"))
    for index, rule in enumerate(rules):
        problems += _rule_problems(rule, f"rules[{index}]")
    if problems:
        raise BadPolicy("; ".join(problems))
    return AuditPolicy(tuple(_read_rule(rule, document) for rule in rules))


def _rule_problems(rule: Any, path: str) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield f"{path}: must be an object"
        return
    for key in rule.keys() - _FIELDS:
        yield f"{path}.{key}: unknown field"
    level = rule.get("level")
    if not level:
        yield f"{path}.level: Required value"
    elif level not in LEVELS:
        listed = ", ".join(f'"{each}"' for each in LEVELS)
        yield f'{path}.level: Unsupported value: "{level}": supported values: {listed}'
    for key in ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages"):
        if not _is_list_of_text(rule.get(key) or []):
            yield f"{path}.{key}: must be a list of strings"
            return
    paths, resources = rule.get("nonResourceURLs") or [], rule.get("resources") or []
    if paths and (resources or rule.get("namespaces")):
        why = "rules cannot apply to both regular resources and non-resource URLs"
        yield f"{path}.nonResourceURLs: Invalid value: {why}"
    for index, url in enumerate(paths):
        if url != "*" and not url.startswith("/"):
            why = "non-resource URL rules must begin with a '/' character"
            yield f'{path}.nonResourceURLs[{index}]: Invalid value: "{url}": {why}'
        elif url != "*" and "*" in url[:-1]:
            why = "non-resource URL wildcards '*' must be the final character of the rule"
            yield f'{path}.nonResourceURLs[{index}]: Invalid value: "{url}": {why}'
    for index, entry in enumerate(resources if isinstance(resources, list) else [None]):
        yield from _resource_problems(entry, f"{path}.resources[{index}]")
    yield from _stage_problems(rule, f"{path}.omitStages")


def _resource_problems(entry: Any, path: str) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{path}: must be an object"
        return
    group = entry.get("group") or ""
    if not isinstance(group, str) or (group and dns_subdomain(group)):
        yield f'{path}.group: Invalid value: "{group}": must be a valid API group'
    for key in ("resources", "resourceNames"):
        if not _is_list_of_text(entry.get(key) or []):
            yield f"{path}.{key}: must be a list of strings"
    if entry.get("resourceNames") and not entry.get("resources"):
        yield f"{path}.resourceNames: Invalid value: using resourceNames requires at least one resource"


def _stage_problems(holder: Mapping[str, Any], path: str) -> Iterator[str]:
    for index, stage in enumerate(holder.get("omitStages") or []):
        if stage not in STAGES:
            allowed = ", ".join(STAGES)
            yield f'{path}[{index}]: Invalid value: "{stage}": allowed stages are {allowed}'


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _read_rule(rule: Mapping[str, Any], policy: Mapping[str, Any]) -> Rule:
    omitted = {*(policy.get("omitStages") or ()), *(rule.get("omitStages") or ())}
    said = rule.get("omitManagedFields")
    wanted = Wanted(
        rule["level"],
        frozenset(STAGES) - omitted,
        bool(policy.get("omitManagedFields") if said is None else said),
    )
    return Rule(
        wanted,
        tuple(rule.get("users") or ()),
        tuple(rule.get("userGroups") or ()),
        tuple(rule.get("verbs") or ()),
        tuple(rule.get("namespaces") or ()),
        tuple(
            (
                each.get("group") or "",
                tuple(each.get("resources") or ()),
                tuple(each.get("resourceNames") or ()),
            )
            for each in rule.get("resources") or ()
        ),
        tuple(rule.get("nonResourceURLs") or ()),
    )
