"""What a rule allows, what rules cover, and how they are said."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.authorization.rules import Matcher, compact, describe, find_uncovered


def rule(
    verbs: str, groups: str = "", resources: str = "", names: str = "", urls: str = ""
) -> dict[str, Any]:
    """Make a rule of lists with spaces; "-" is the core group."""
    said = {
        "verbs": verbs.split(),
        "apiGroups": [g.replace("-", "") for g in groups.split()],
        "resources": resources.split(),
        "resourceNames": names.split(),
        "nonResourceURLs": urls.split(),
    }
    return {key: value for key, value in said.items() if value}


@pytest.mark.parametrize(
    ("allowed", "verb", "group", "resource", "subresource", "name", "expected"),
    [
        (rule("get list", "-", "pods"), "get", "", "pods", "", "a", True),
        (rule("get list", "-", "pods"), "create", "", "pods", "", "", False),
        (rule("get", "apps", "pods"), "get", "", "pods", "", "", False),
        (rule("get", "-", "pods"), "get", "", "pods", "log", "", False),
        (rule("get", "-", "pods/log"), "get", "", "pods", "log", "", True),
        (rule("get", "-", "pods/log"), "get", "", "pods", "", "", False),
        (rule("get", "*", "*/scale"), "get", "apps", "deployments", "scale", "", True),
        (rule("get", "*", "*/scale"), "get", "apps", "deployments", "", "", False),
        (rule("*", "*", "*"), "escalate", "x.io", "boats", "sail", "a", True),
        (rule("get", "-", "configmaps", names="a b"), "get", "", "configmaps", "", "b", True),
        (rule("get", "-", "configmaps", names="a b"), "get", "", "configmaps", "", "c", False),
        (rule("list", "-", "configmaps", names="a b"), "list", "", "configmaps", "", "", False),
        (rule("get", urls="*"), "get", "", "pods", "", "", False),
    ],
)
def test_rules_for_resources(
    allowed: Any, verb: str, group: str, resource: str, subresource: str, name: str, expected: bool
) -> None:
    matcher = Matcher(allowed)
    assert (matcher.concerns(verb, group, resource, subresource) and matcher.names(name)) is expected


@pytest.mark.parametrize(
    ("urls", "path", "expected"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/", False),
        ("/apis/*", "/apis/apps/v1", True),
        ("/apis/*", "/apis", False),
        ("*", "/anything", True),
        ("", "/anything", False),
    ],
)
def test_rules_for_paths(urls: str, path: str, expected: bool) -> None:
    assert Matcher(rule("get", urls=urls)).allows_path("get", path) is expected
    assert not Matcher(rule("get", urls=urls)).allows_path("post", path)


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        ([rule("get list", "-", "pods")], [rule("get", "-", "pods")], []),
        ([rule("*", "*", "*")], [rule("get", "-", "pods/log"), rule("use", "x.io", "boats", names="a")], []),
        ([rule("get", "-", "pods")], [rule("get list", "-", "pods")], [rule("list", "-", "pods")]),
        ([rule("get", "-", "pods"), rule("list", "-", "pods")], [rule("get list", "-", "pods")], []),
        ([rule("get", "-", "pods", names="a")], [rule("get", "-", "pods")], [rule("get", "-", "pods")]),
        ([rule("get", "-", "pods")], [rule("get", "-", "pods", names="a")], []),
        ([rule("get", "-", "pods", names="a b")], [rule("get", "-", "pods", names="b c")],
         [rule("get", "-", "pods", names="c")]),
        ([rule("get", "*", "*/scale")], [rule("get", "apps", "deployments/scale")], []),
        ([rule("get", "*", "*/scale")], [rule("get", "apps", "deployments")], [rule("get", "apps", "deployments")]),
        ([rule("get", urls="/apis/*")], [rule("get", urls="/apis/a /apis")], [rule("get", urls="/apis")]),
        ([rule("*", "*", "*")], [rule("get", urls="/x")], [rule("get", urls="/x")]),
        ([], [rule("get", "-", "pods")], [rule("get", "-", "pods")]),
    ],
)  # fmt: skip
def test_what_is_not_covered_is_found(held: Any, wanted: Any, missing: Any) -> None:
    assert find_uncovered(held, wanted) == missing


def test_missing_rules_are_said_in_one_line_a_resource() -> None:
    parts = find_uncovered(
        [], [rule("get list", "-", "pods"), rule("get", "-", "secrets", names="s"), rule("get", urls="/x")]
    )
    assert sorted(map(describe, compact(parts))) == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["s"], Verbs:["get"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]
