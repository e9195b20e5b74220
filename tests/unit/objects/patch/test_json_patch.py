"""A JSON patch does what RFC 6902 says, all or nothing, within upstream's bounds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.errors import BadRequest, RequestEntityTooLarge
from proa.objects.patch.json_patch import apply_json_patch
from proa.objects.patch.refusals import DoesNotApply


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        pytest.param(
            {"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}, id="add a member"
        ),
        pytest.param(
            {"f": ["a", "c"]}, [("add", "/f/1", "b")], {"f": ["a", "b", "c"]}, id="insert an element"
        ),
        pytest.param({"f": ["a"]}, [("add", "/f/-", "b")], {"f": ["a", "b"]}, id="append with a dash"),
        pytest.param({"f": ["a"]}, [("add", "/f/-1", "b")], {"f": ["a", "b"]}, id="add counts from the end"),
        pytest.param({"f": ["a"]}, [("add", "/f/1", "b")], {"f": ["a", "b"]}, id="append by the length"),
        pytest.param({"a": 1}, [("add", "/a", None)], {"a": None}, id="add replaces a member, with null too"),
        pytest.param({"a": 1, "b": 2}, [("remove", "/a")], {"b": 2}, id="remove a member"),
        pytest.param({"f": ["a", "b"]}, [("remove", "/f/0")], {"f": ["b"]}, id="remove an element"),
        pytest.param({"f": ["a", "b"]}, [("remove", "/f/-1")], {"f": ["a"]}, id="remove counts from the end"),
        pytest.param({"a": 1}, [("replace", "/a", 2)], {"a": 2}, id="replace"),
        pytest.param({"a": 1}, [("replace", "", {"b": 2})], {"b": 2}, id="replace everything"),
        pytest.param(
            {"a": {"x": 1}, "b": {}}, [("move", "/b/y", "/a/x")], {"a": {}, "b": {"y": 1}}, id="move a member"
        ),
        pytest.param(
            {"f": ["a", "b", "c"]}, [("move", "/f/2", "/f/0")], {"f": ["b", "c", "a"]}, id="move an element"
        ),
        pytest.param({"a": {"x": 1}}, [("copy", "/b", "/a")], {"a": {"x": 1}, "b": {"x": 1}}, id="copy"),
        pytest.param(
            {"a/b": 1, "m~n": 2}, [("replace", "/a~1b", 3), ("remove", "/m~0n")], {"a/b": 3}, id="escapes"
        ),
        pytest.param({"~1": 10}, [("replace", "/~01", 3)], {"~1": 3}, id="an escaped tilde before a digit"),
        pytest.param({"": {"": 1}}, [("replace", "//", 2)], {"": {"": 2}}, id="empty names"),
        pytest.param(
            {"a": [1, {"b": None}]}, [("test", "/a", [1, {"b": None}])], {"a": [1, {"b": None}]}, id="test"
        ),
        pytest.param({"a": 1}, [("test", "/b", None)], {"a": 1}, id="test for null where there is nothing"),
    ],
)
def test_operations_do_what_the_rfc_says(
    target: dict[str, Any], operations: list[tuple[Any, ...]], expected: dict[str, Any]
) -> None:
    assert apply_json_patch(target, [operation(*each) for each in operations]) == expected


@pytest.mark.parametrize(
    ("target", "operations", "why"),
    [
        ({"a": 1}, [("test", "/a", 2)], "testing value /a failed: test failed"),
        ({"a": 1}, [("test", "/a", True)], "testing value /a failed"),
        ({"a": "1"}, [("test", "/a", 1)], "testing value /a failed"),
        ({}, [("add", "/a/b", 1)], 'add operation does not apply: doc is missing path: "/a/b"'),
        ({}, [("replace", "/a", 1)], "replace operation does not apply: doc is missing key: /a"),
        ({}, [("remove", "/a")], "Unable to remove nonexistent key: a"),
        ({"a": []}, [("add", "/a/1", 1)], "Unable to access invalid index: 1"),
        ({"a": [1]}, [("add", "/a/x", 1)], "Unable to access invalid index: x"),
        ({"a": [1]}, [("remove", "/a/1")], "nonexistent"),
        ({"a": 1}, [("add", "/a/b", 1)], "doc is missing path"),
        ({"a": {"b": 1}}, [("move", "/a/b/c", "/a")], "inside of what moves"),
        ({}, [("copy", "/b", "/a")], "error in copy for from: '/a'"),
        ({}, [("replace", "a", 1)], "doc is missing path"),
        ({}, [("twirl", "/a", 1)], "Unexpected kind: twirl"),
        ({"a": 1}, [("replace", "", 1)], "leaves no object"),
        ({"a": 1}, [("add", "/b", 1), ("test", "/a", 3)], "testing value /a failed"),
    ],
)
def test_what_does_not_apply_is_refused_whole(
    target: dict[str, Any], operations: list[tuple[Any, ...]], why: str
) -> None:
    before = copy.deepcopy(target)
    with pytest.raises(DoesNotApply) as refused:
        apply_json_patch(target, [operation(*each) for each in operations])
    assert why in refused.value.why
    assert target == before


def test_clients_get_upstreams_status() -> None:
    with pytest.raises(DoesNotApply) as refused:
        apply_json_patch({}, [{"op": "remove", "path": "/a"}])
    assert refused.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({}, "cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ([1], "cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        ([{"op": "add", "path": 3}], "jsonPatchOp.path of type string"),
    ],
)
def test_what_is_no_patch_is_a_bad_request(patch: Any, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        apply_json_patch({}, patch)
    assert message in refused.value.message


def test_operations_are_counted() -> None:
    many = [operation("test", "/a", None)] * 10_001
    with pytest.raises(RequestEntityTooLarge, match="operations in a JSON patch is 10000, got 10001"):
        apply_json_patch({}, many)


def test_copies_cannot_double_without_end() -> None:
    doubling = [operation("copy", "/a/-", "/a")] * 100
    with pytest.raises(DoesNotApply) as refused:
        apply_json_patch({"a": ["x" * 1000]}, doubling)
    assert "exceeding the limit 3145728" in refused.value.why


@given(
    st.dictionaries(st.text("a~/0", max_size=3), st.lists(st.integers(), max_size=3), max_size=3), st.data()
)
def test_removing_and_adding_again_is_the_identity(target: dict[str, Any], data: st.DataObject) -> None:
    target = {**target, "k": [1]}
    before = copy.deepcopy(target)
    name = data.draw(st.sampled_from(sorted(target)))
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    patch = [
        operation("test", path, target[name]),
        operation("remove", path),
        operation("add", path, target[name]),
    ]
    result = apply_json_patch(target, patch)
    assert result == before
    result[name].append("changed")
    assert target == before


def operation(name: str, path: str, operand: Any = None) -> dict[str, Any]:
    """Make one operation; the operand is where a move or copy comes from, else the value."""
    return {"op": name, "path": path, "from" if name in ("move", "copy") else "value": operand}
