"""Say of each request which FlowSchema it is of, and so at which priority level it is served.

Pure. Follows apiserver/pkg/util/flowcontrol/rule.go and apf_controller.go (immediateRequest). The two objects that
upstream cannot be without, `exempt` and `catch-all`, are there even while the store has none; only then do requests
wait at `catch-all`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass

_ACCOUNT = "system:serviceaccount:"
_ALL = ("*",)
_EVERYTHING = {
    "resourceRules": [
        {"verbs": _ALL, "apiGroups": _ALL, "resources": _ALL, "clusterScope": True, "namespaces": _ALL}
    ],
    "nonResourceRules": [{"verbs": _ALL, "nonResourceURLs": _ALL}],
}
MANDATORY_SCHEMAS: tuple[Object, ...] = (
    {
        "metadata": {"name": "exempt"},
        "spec": {
            "matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": "exempt"},
            "rules": [{"subjects": [{"kind": "Group", "group": {"name": "system:masters"}}], **_EVERYTHING}],
        },
    },
    {
        "metadata": {"name": "catch-all"},
        "spec": {
            "matchingPrecedence": 10000,
            "priorityLevelConfiguration": {"name": "catch-all"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "Group", "group": {"name": "*"}}], **_EVERYTHING}],
        },
    },
)
MANDATORY_LEVELS: tuple[Object, ...] = (
    {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt"}},
    {
        "metadata": {"name": "catch-all"},
        "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Queue"}},
        },
    },
)


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """What a PriorityLevelConfiguration comes to. Seats are requests under way; `borrowed` is the most of others'."""

    name: str
    uid: str
    is_exempt: bool
    seats: int = 0
    lendable: int = 0
    borrowed: int | None = None
    queues: int = 0
    """0: who finds no seat is sent away."""
    hand_size: int = 1
    queue_length: int = 0


@dataclass(frozen=True, slots=True)
class FlowSchema:
    """One FlowSchema, whose rules are those of its spec."""

    name: str
    uid: str
    level: str
    distinguisher: str
    rules: Sequence[Any]

    def flow_of(self, user: User, info: RequestInfo) -> str:
        """Return what tells this request's flow from others of the schema."""
        if self.distinguisher == "ByUser":
            return user.name
        return info.namespace if self.distinguisher == "ByNamespace" else ""

    def matches(self, user: User, info: RequestInfo) -> bool:
        """Tell whether a request is of this schema."""
        return any(
            any(_is_subject(subject, user) for subject in rule.get("subjects") or ())
            and _has_rule(rule, info)
            for rule in self.rules
        )


def read_schemas(objects: Sequence[Object], levels: Sequence[LevelSettings]) -> list[FlowSchema]:
    """Return the schemas in the order in which they are tried; those of unknown levels are left out."""
    found = {obj["metadata"]["name"]: obj for obj in (*MANDATORY_SCHEMAS, *objects)}
    known = {level.name for level in levels}
    in_order = sorted(
        found.values(), key=lambda o: (o["spec"].get("matchingPrecedence") or 1000, o["metadata"]["name"])
    )
    return [schema for schema in map(_read_schema, in_order) if schema.level in known]


def _read_schema(obj: Object) -> FlowSchema:
    metadata, spec = obj["metadata"], obj["spec"]
    distinguisher = (spec.get("distinguisherMethod") or {}).get("type", "")
    level = spec["priorityLevelConfiguration"]["name"]
    return FlowSchema(
        metadata["name"], metadata.get("uid", ""), level, distinguisher, spec.get("rules") or ()
    )


def read_levels(objects: Sequence[Object], total_seats: int) -> list[LevelSettings]:
    """Return the levels with their parts of the server's seats."""
    found = {obj["metadata"]["name"]: obj for obj in (*MANDATORY_LEVELS, *objects)}
    shares = sum(_shares(obj) for obj in found.values())
    return [_read_level(obj, total_seats, shares) for obj in found.values()]


def _shares(obj: Object) -> int:
    spec = obj["spec"]
    if spec["type"] == "Exempt":
        return (spec.get("exempt") or {}).get("nominalConcurrencyShares") or 0
    shares = (spec.get("limited") or {}).get("nominalConcurrencyShares")
    return 30 if shares is None else shares


def _read_level(obj: Object, total_seats: int, shares: int) -> LevelSettings:
    metadata, spec = obj["metadata"], obj["spec"]
    name, uid = metadata["name"], metadata.get("uid", "")
    seats = ceil(total_seats * _shares(obj) / shares) if shares else 0
    if spec["type"] == "Exempt":
        return LevelSettings(name, uid, True, seats)
    limited = spec.get("limited") or {}
    percent = limited.get("borrowingLimitPercent")
    response = limited.get("limitResponse") or {}
    queuing = response.get("queuing") or {} if response.get("type") == "Queue" else {}
    return LevelSettings(
        name,
        uid,
        False,
        seats,
        round(seats * (limited.get("lendablePercent") or 0) / 100),
        None if percent is None else round(seats * percent / 100),
        (queuing.get("queues") or 64) if response.get("type") == "Queue" else 0,
        queuing.get("handSize") or 8,
        queuing.get("queueLengthLimit") or 50,
    )


def _is_subject(subject: Any, user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        return (subject.get("user") or {}).get("name") in ("*", user.name)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == "*" or name in user.groups
    account = subject.get("serviceAccount")
    if kind != "ServiceAccount" or not account:
        return False
    prefix = f"{_ACCOUNT}{account.get('namespace', '')}:"
    return user.name.startswith(prefix) and account.get("name") in ("*", user.name[len(prefix) :])


def _has_rule(rule: Any, info: RequestInfo) -> bool:
    if info.is_resource:
        return any(_is_resource_rule(found, info) for found in rule.get("resourceRules") or ())
    return any(_is_path_rule(found, info) for found in rule.get("nonResourceRules") or ())


def _is_resource_rule(rule: Any, info: RequestInfo) -> bool:
    resource = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    return (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("apiGroups"), info.group)
        and (
            _has(rule.get("namespaces"), info.namespace) if info.namespace else bool(rule.get("clusterScope"))
        )
    )


def _is_path_rule(rule: Any, info: RequestInfo) -> bool:
    return _has(rule.get("verbs"), info.verb) and any(
        url in ("*", info.path) or info.path.startswith(url.removesuffix("*").rstrip("/") + "/")
        for url in rule.get("nonResourceURLs") or ()
    )


def _has(values: Sequence[str] | None, value: str) -> bool:
    return values is not None and (value in values or (len(values) == 1 and values[0] == "*"))
