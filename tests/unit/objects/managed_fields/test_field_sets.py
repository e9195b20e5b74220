"""Sets of fields do what sets of paths do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.managed_fields.elements import in_order, key_element, printed, value_element
from proa.objects.managed_fields.sets import (
    LEAF,
    difference,
    from_client,
    intersection,
    ordered,
    paths,
    union,
)
from proa.objects.managed_fields.typed import node_of
from proa.objects.schemas.load import schema_named

STEPS = ["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"s"']
PATHS = st.frozensets(st.lists(st.sampled_from(STEPS), min_size=1, max_size=4).map(tuple), max_size=12)


def make(wanted):
    """Return the set of exactly these paths."""
    out = {}
    for path in wanted:
        node = {path[-1]: LEAF}
        for step in reversed(path[:-1]):
            node = {step: node}
        out = union(out, node)
    return out


@given(PATHS)
def test_a_set_holds_the_paths_that_were_put_in(wanted):
    assert set(paths(make(wanted))) == wanted


@given(PATHS, PATHS)
def test_the_algebra_is_that_of_sets(a, b):
    one, other = make(a), make(b)
    assert set(paths(union(one, other))) == a | b
    assert set(paths(intersection(one, other))) == a & b
    assert set(paths(difference(one, other))) == a - b


@given(PATHS, PATHS)
def test_no_operation_changes_what_it_is_given_or_leaves_empty_branches(a, b):
    one, other = make(a), make(b)
    for operation in (union, intersection, difference):
        result = operation(one, other)
        assert ordered(result) == ordered(make(set(paths(result))))
    assert set(paths(one)) == a
    assert set(paths(other)) == b


@given(PATHS)
def test_what_is_written_is_read_back(wanted):
    made = ordered(make(wanted))
    assert from_client(made) == made
    assert list(from_client(made)) == list(made)


def test_what_changes_nothing_is_the_same_set():
    one = make({("f:a", "f:b"), ("f:c",)})
    assert union(one, make({("f:c",)})) is one
    assert difference(one, make({("f:b",)})) is one


def test_a_set_that_is_too_deep_is_refused():
    deep = {}
    for _ in range(500):
        deep = {"f:a": deep}
    with pytest.raises(ValueError, match="not too deep"):
        from_client(deep)


def test_long_keys_are_no_different():
    item = {"name": "x" * 1000}
    names = node_of(schema_named("io.k8s.api.core.v1.PodSpec")).child("containers")
    assert names.step_of(item) == key_element(("name",), "x" * 1000)


def test_steps_are_ordered_by_kind_and_value():
    ports = [key_element(("containerPort", "protocol"), port, "TCP") for port in (443, 80, 8080)]
    steps = [value_element(10), value_element(9), *ports, "f:z", "f:a"]
    assert in_order(steps) == ["f:a", "f:z", ports[1], ports[0], ports[2], "v:9", "v:10"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("f:spec", "f:containers", 'k:{"name":"c"}', "f:image"), '.spec.containers[name="c"].image'),
        (("f:a", 'k:{"containerPort":80,"protocol":"TCP"}'), '.a[containerPort=80,protocol="TCP"]'),
        (("f:metadata", "f:finalizers", 'v:"x/y"'), '.metadata.finalizers[="x/y"]'),
    ],
)
def test_a_path_is_shown_as_upstream_does(path, shown):
    assert printed(path) == shown


@pytest.mark.parametrize(
    "fields", [{"x": {}}, {"g:a": {}}, {"k:[]": {}}, {"v:": {}}, {"f:a": 1}, [], {"i:x": {}}]
)
def test_what_is_no_set_is_refused(fields):
    with pytest.raises(ValueError):  # noqa: PT011 each kind of step says it in its own words
        from_client(fields)
