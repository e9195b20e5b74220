"""A strategic merge patch merges lists as the schema says, with upstream's directives and order."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.errors import ApiError, BadRequest
from proa.objects.patch.strategic_merge import apply_strategic_merge
from proa.objects.schemas.load import schema_named
from proa.objects.schemas.schema import Schema

STRING = Schema("string")
PORT = Schema("object", properties={"containerPort": Schema("integer"), "name": STRING})
CONTAINER = Schema(
    "object",
    properties={
        "name": STRING,
        "image": STRING,
        "args": Schema("array", items=STRING),
        "ports": Schema("array", items=PORT, merge_key="containerPort", patch_strategy=("merge",)),
    },
)
VOLUME = Schema(
    "object", properties={"name": STRING, "emptyDir": Schema("object"), "hostPath": Schema("object")}
)
SCHEMA = Schema(
    "object",
    properties={
        "labels": Schema("object", values=STRING),
        "finalizers": Schema("array", items=STRING, patch_strategy=("merge",)),
        "containers": Schema("array", items=CONTAINER, merge_key="name", patch_strategy=("merge",)),
        "volumes": Schema("array", items=VOLUME, merge_key="name", patch_strategy=("merge", "retainKeys")),
        "strategy": Schema(
            "object",
            properties={"type": STRING, "rollingUpdate": Schema("object", values=STRING)},
            patch_strategy=("retainKeys",),
        ),
        "selector": Schema("object", values=STRING, patch_strategy=("replace",)),
        "matrix": Schema("array", items=Schema("array", items=STRING), patch_strategy=("merge",)),
    },
)


def named(*names: str) -> list[dict[str, str]]:
    """Make list elements that have only a name."""
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("original", "patch", "expected"),
    [
        pytest.param(
            {"labels": {"a": "1", "b": "2"}},
            {"labels": {"a": None, "c": "3"}},
            {"labels": {"b": "2", "c": "3"}},
            id="maps merge and null deletes",
        ),
        pytest.param(
            {}, {"labels": {"a": None, "b": "1"}, "x": None}, {"labels": {"b": "1"}}, id="nulls do not create"
        ),
        pytest.param(
            {"containers": [{"name": "c", "image": "x", "args": ["1"]}]},
            {"containers": [{"name": "c", "args": ["2", "3"]}]},
            {"containers": [{"name": "c", "image": "x", "args": ["2", "3"]}]},
            id="elements merge by key, lists without a strategy are replaced",
        ),
        pytest.param(
            {"containers": named("a", "b")},
            {"containers": [{"name": "b", "image": "y"}, {"name": "n"}]},
            {"containers": [{"name": "a"}, {"name": "b", "image": "y"}, {"name": "n"}]},
            id="new elements come after",
        ),
        pytest.param(
            {"containers": named("a", "b", "c")},
            {"containers": named("n", "b")},
            {"containers": named("n", "a", "b", "c")},
            id="the patch's order counts, the server's fits in",
        ),
        pytest.param(
            {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]},
            {
                "containers": [
                    {"name": "a", "ports": [{"containerPort": 1, "name": "p"}, {"containerPort": 2}]}
                ]
            },
            {
                "containers": [
                    {"name": "a", "ports": [{"containerPort": 1, "name": "p"}, {"containerPort": 2}]}
                ]
            },
            id="lists in lists",
        ),
        pytest.param(
            {"containers": named("a", "b")},
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": named("b")},
            id="delete an element",
        ),
        pytest.param(
            {"containers": named("a", "b")},
            {"containers": [{"$patch": "replace"}, {"name": "z"}]},
            {"containers": named("z")},
            id="replace a list",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x"}]},
            {"containers": [{"name": "a", "$patch": "replace"}]},
            {"containers": []},
            id="replace as upstream: the element only marks",
        ),
        pytest.param(
            {"labels": {"a": "1"}},
            {"labels": {"$patch": "replace", "b": "2"}},
            {"labels": {"b": "2"}},
            id="replace a map",
        ),
        pytest.param(
            {"labels": {"a": "1"}, "x": 1},
            {"labels": {"$patch": "delete"}},
            {"labels": {}, "x": 1},
            id="delete a map's members",
        ),
        pytest.param(
            {},
            {"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]},
            {"containers": named("b")},
            id="directives do not stay in new lists",
        ),
        pytest.param(
            {"selector": {"a": "1"}},
            {"selector": {"b": "2"}},
            {"selector": {"b": "2"}},
            id="the replace strategy",
        ),
        pytest.param(
            {"finalizers": ["a", "b"]},
            {"finalizers": ["b", "c"]},
            {"finalizers": ["a", "b", "c"]},
            id="primitives merge as a set",
        ),
        pytest.param(
            {"finalizers": ["a", "b", "c"]},
            {"$deleteFromPrimitiveList/finalizers": ["b"]},
            {"finalizers": ["a", "c"]},
            id="delete primitives",
        ),
        pytest.param(
            {}, {"$deleteFromPrimitiveList/finalizers": ["b"]}, {}, id="delete primitives from nothing"
        ),
        pytest.param(
            {"finalizers": ["a", "b", "c"]},
            {
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["d", "c", "b"],
                "finalizers": ["d"],
            },
            {"finalizers": ["d", "c", "b"]},
            id="delete, add and order primitives",
        ),
        pytest.param(
            {"containers": named("a", "b", "c")},
            {"$setElementOrder/containers": named("c", "a")},
            {"containers": named("b", "c", "a")},
            id="order alone",
        ),
        pytest.param(
            {"containers": named("c", "only")},
            {"$setElementOrder/containers": named("e", "c"), "containers": [{"name": "e", "image": "z"}]},
            {"containers": [{"name": "e", "image": "z"}, {"name": "c"}, {"name": "only"}]},
            id="order with an addition",
        ),
        pytest.param(
            {},
            {"$setElementOrder/containers": named("b", "a"), "containers": named("b", "a")},
            {"containers": named("b", "a")},
            id="order of a new list",
        ),
        pytest.param({}, {"$setElementOrder/containers": named("a")}, {}, id="order of nothing"),
        pytest.param(
            {"containers": named("a", "b")},
            {"$setElementOrder/containers": named("b"), "containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": named("b")},
            id="order with a deletion, as kubectl apply sends",
        ),
        pytest.param(
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "1"}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
            id="retain keys",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]},
            id="retain keys in an element",
        ),
        pytest.param(
            {"labels": "odd"}, {"labels": {"a": "1"}}, {"labels": {"a": "1"}}, id="another type replaces"
        ),
        pytest.param({"a": 1, "b": 2}, {"$patch": "replace", "c": 3}, {"c": 3}, id="replace everything"),
        pytest.param(
            {"unknown": {"a": [1], "b": 1}},
            {"unknown": {"a": [2]}},
            {"unknown": {"a": [2], "b": 1}},
            id="unknown fields merge as maps",
        ),
    ],
)
def test_patches_merge_as_upstream(
    original: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy((original, patch))
    result = apply_strategic_merge(original, patch, SCHEMA)
    assert (original, patch, result) == (*before, expected)
    _scramble(result)
    assert patch == before[1]


def _scramble(value: Any) -> None:
    """Change every dict and list of a value."""
    if isinstance(value, dict | list):
        for item in list(value.values() if isinstance(value, dict) else value):
            _scramble(item)
        value.clear()


@pytest.mark.parametrize(
    ("original", "patch", "code", "message"),
    [
        (
            {"containers": named("a")},
            {"containers": [{"image": "x"}]},
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            {"labels": {}},
            {"labels": {"$patch": "twirl"}},
            500,
            "unknown patch type: twirl in map: map[$patch:twirl]",
        ),
        (
            {"containers": named("a")},
            {"containers": [{"$patch": "merge"}]},
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            {"containers": named("a")},
            {"containers": ["a"]},
            500,
            "list element types are not identical: [[map[name:a]] [a]]",
        ),
        (
            {"containers": named("a")},
            {"$setElementOrder/containers": "x"},
            500,
            "expected a []interface {}, but received a string",
        ),
        (
            {"containers": named("a")},
            {"$setElementOrder/containers": named("a"), "containers": named("b")},
            500,
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        ({}, {"$setElementOrder": []}, 400, "invalid patch format of setElementOrder list"),
        ({}, {"$deleteFromPrimitiveList": []}, 400, "invalid patch format of primitive list"),
        ({}, {"$retainKeys": "x"}, 400, "invalid patch format of retainKeys"),
        ({}, {"$retainKeys": ["a"], "b": 1}, 400, "invalid patch format of retainKeys"),
        (
            {"matrix": [["a"]]},
            {"matrix": [["b"]]},
            422,
            "the server rejected our request due to an error in our request",
        ),
    ],
)
def test_bad_patches_are_refused_in_upstreams_words(
    original: dict[str, Any], patch: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        apply_strategic_merge(original, patch, SCHEMA)
    assert (refused.value.code, refused.value.message) == (code, message)


def test_the_real_schema_of_a_deployment_merges_containers_env_and_ports() -> None:
    container = {"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}], "args": ["a", "b"]}
    deployment = {"spec": {"template": {"spec": {"containers": [container]}}}}
    change = {
        "name": "c",
        "env": [{"name": "B", "value": "2"}],
        "args": ["c"],
        "ports": [{"containerPort": 80}],
    }
    patch = {"spec": {"template": {"spec": {"containers": [change, {"name": "d", "image": "y"}]}}}}
    schema = schema_named("io.k8s.api.apps.v1.Deployment")
    result = apply_strategic_merge(deployment, patch, schema)["spec"]["template"]["spec"]["containers"]
    env = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    expected = {"name": "c", "image": "x", "env": env, "args": ["c"], "ports": [{"containerPort": 80}]}
    assert result == [expected, {"name": "d", "image": "y"}]


def test_only_an_object_is_a_strategic_merge_patch() -> None:
    with pytest.raises(BadRequest, match="cannot unmarshal array"):
        apply_strategic_merge({}, [], SCHEMA)


names = st.lists(st.sampled_from("abcdef"), unique=True).map(lambda chosen: named(*chosen))


@given(names, names)
def test_a_merge_keeps_every_element_once_and_both_orders(
    original: list[dict[str, str]], patch: list[dict[str, str]]
) -> None:
    merged = apply_strategic_merge({"containers": original}, {"containers": patch}, SCHEMA)["containers"]
    result = [element["name"] for element in merged]
    ours, theirs = [e["name"] for e in original], [e["name"] for e in patch]
    assert sorted(result) == sorted({*ours, *theirs})
    assert [name for name in result if name in theirs] == theirs
    assert [name for name in result if name not in theirs] == [name for name in ours if name not in theirs]


@given(names, names)
def test_set_element_order_and_deletions_lead_to_any_list(
    original: list[dict[str, str]], wanted: list[dict[str, str]]
) -> None:
    gone = [{**element, "$patch": "delete"} for element in original if element not in wanted]
    added = [element for element in wanted if element not in original]
    patch = {"$setElementOrder/containers": wanted, "containers": added + gone}
    result = apply_strategic_merge({"containers": original}, patch, SCHEMA)
    assert result["containers"] == wanted


def test_large_lists_merge_in_linear_time() -> None:
    original = {"finalizers": [f"f{number}" for number in range(100_000)]}
    patch = {"finalizers": [f"f{number}" for number in range(50_000, 150_000)]}
    assert len(apply_strategic_merge(original, patch, SCHEMA)["finalizers"]) == 150_000
