"""The authorizer decides as a reading of all bindings, one by one, does; and who holds rules may do what they allow."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.apiserver.authorization.bindings import PREFIX
from proa.apiserver.authorization.rbac import RbacAuthorizer
from proa.apiserver.authorization.rules import Matcher, find_uncovered
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.store.memory import MemoryStore

Object = dict[str, Any]
NAMESPACES, NAMES = ("a", "b"), ("x", "y")


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


RULES = st.one_of(
    st.fixed_dictionaries(
        {
            "verbs": some("get", "list", "*"),
            "apiGroups": some("", "apps", "*"),
            "resources": some("pods", "pods/log", "*/log", "*"),
        },
        optional={"resourceNames": some(*NAMES)},
    ),
    st.fixed_dictionaries({"verbs": some("get", "*"), "nonResourceURLs": some("/p", "/p/*", "*")}),
)
SUBJECTS = st.sampled_from(
    [
        {"kind": "User", "name": "ann"},
        {"kind": "Group", "name": "dev"},
        {"kind": "ServiceAccount", "name": "s"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "b"},
    ]
)
USERS = (
    User("ann"),
    User("bob", ("dev", "ops")),
    *(User(f"system:serviceaccount:{n}:s") for n in NAMESPACES),
)
QUESTIONS = [
    *(
        RequestInfo(True, verb, "", group, "v1", namespace, "pods", name, sub)
        for verb in ("get", "list")
        for group in ("", "apps")
        for namespace in ("", *NAMESPACES)
        for name in ("", "x")
        for sub in ("", "log")
    ),
    *(RequestInfo(False, "get", path) for path in ("/p", "/p/q", "/q")),
]


@st.composite
def worlds(draw: st.DrawFn) -> list[tuple[str, Object]]:
    """Return writes: roles (some of which no binding names, or none is there) and bindings, changed and deleted."""
    found = []
    for _ in range(draw(st.integers(1, 10))):
        namespace, name = draw(st.sampled_from(["", *NAMESPACES])), draw(st.sampled_from(NAMES))
        metadata = {"name": name, "namespace": namespace}
        scope, place = (f"{namespace}/", "") if namespace else ("", "cluster")
        if draw(st.booleans()):
            rules = draw(st.lists(RULES, max_size=2))
            found.append((f"{PREFIX}{place}roles/{scope}{name}", {"metadata": metadata, "rules": rules}))
        else:
            kind = draw(st.sampled_from(["Role", "ClusterRole"] if namespace else ["ClusterRole"]))
            ref = {"kind": kind, "name": draw(st.sampled_from(NAMES))}
            subjects = draw(st.lists(SUBJECTS, max_size=2))
            binding = {"metadata": metadata, "roleRef": ref, "subjects": subjects}
            found.append(
                (f"{PREFIX}{place}rolebindings/{scope}{name}", binding if draw(st.booleans()) else {})
            )
    return found


def allows(rule: Object, info: RequestInfo) -> bool:
    """Judge by one rule, as pkg/apis/rbac/v1/evaluation_helpers.go says it."""

    def has(key: str, *values: str) -> bool:
        return bool({"*", *values} & set(rule.get(key, ())))

    if not has("verbs", info.verb):
        return False
    if not info.is_resource:
        urls = rule.get("nonResourceURLs", ())
        return any(u in ("*", info.path) or (u[-1] == "*" and info.path.startswith(u[:-1])) for u in urls)
    wanted = [f"pods/{info.subresource}", f"*/{info.subresource}"] if info.subresource else ["pods"]
    names = rule.get("resourceNames")
    return has("apiGroups", info.group) and has("resources", *wanted) and (not names or info.name in names)


def decide(objects: dict[str, Object], user: User, info: RequestInfo) -> bool:
    """Read every binding and judge by every rule."""
    for key, binding in objects.items():
        namespace = binding["metadata"]["namespace"]
        if "bindings/" not in key or namespace not in ("", info.namespace):
            continue
        is_bound = False
        for subject in binding["subjects"]:
            account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
            name = {"User": subject["name"], "ServiceAccount": account}.get(subject["kind"])
            is_bound |= user.name == name or (subject["kind"] == "Group" and subject["name"] in user.groups)
        ref = binding["roleRef"]
        place = f"roles/{namespace}/" if ref["kind"] == "Role" else "clusterroles/"
        role = objects.get(f"{PREFIX}{place}{ref['name']}", {})
        if is_bound and any(allows(rule, info) for rule in role.get("rules", ())):
            return True
    return False


@settings(max_examples=60, deadline=None, derandomize=True)
@given(worlds())
def test_decisions_are_those_of_reading_everything_after_each_write(writes: list[tuple[str, Object]]) -> None:
    async def main() -> None:
        store, objects = MemoryStore(), dict[str, Object]()
        authorizer = RbacAuthorizer(store)
        for key, obj in writes:
            if obj:
                objects[key] = obj
                await store.put(key, lambda revision, obj=obj: orjson.dumps(obj))  # type: ignore[misc]
            elif objects.pop(key, None):
                await store.delete(key)
            for user in USERS:
                for info in QUESTIONS:
                    decision = authorizer.authorize(user, info)
                    assert decision.allowed == decide(objects, user, info), (user, info, decision)

    asyncio.run(main())


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(RULES, max_size=3), st.lists(RULES, max_size=2))
def test_who_holds_rules_that_cover_others_may_do_all_that_they_allow(
    held: list[Object], wanted: list[Object]
) -> None:
    if find_uncovered(held, wanted):
        return
    for info in QUESTIONS:
        if any(allows(rule, info) for rule in wanted):
            assert any(allows(rule, info) for rule in held)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RULES)
def test_a_matcher_judges_as_its_rule_says(rule: Object) -> None:
    matcher = Matcher(rule)
    for info in QUESTIONS:
        if info.is_resource:
            concerns = matcher.concerns(info.verb, info.group, info.plural, info.subresource)
            assert (concerns and matcher.names(info.name)) == allows(rule, info)
        else:
            assert matcher.allows_path(info.verb, info.path) == allows(rule, info)
