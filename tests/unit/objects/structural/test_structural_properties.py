"""What holds of pruning, defaulting and validation for every schema and every value."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.objects.structural.kind import CustomKind
from proa.objects.structural.node import ABSENT
from proa.objects.structural.value_rules import _Inspector
from proa.objects.structural.value_tests import ValueTests

KEYS = st.sampled_from("abcd")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([0.5, 2.0]),
    st.sampled_from(["", "x", "xyz"]),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(KEYS, v, max_size=4)), max_leaves=8
)
BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "minimum": st.integers(0, 3),
        "maximum": st.integers(3, 6),
        "maxLength": st.integers(0, 2),
        "minItems": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "required": st.lists(KEYS, max_size=2, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=2),
    },
)
LEAVES = st.builds(
    lambda kind, rest, bounds: {"type": kind, **rest, **bounds},
    st.sampled_from(["string", "integer", "number", "boolean"]),
    st.fixed_dictionaries({}, optional={"nullable": st.booleans(), "default": st.integers(0, 3)}),
    BOUNDS,
)


def _parents(schemas):
    flags = st.fixed_dictionaries(
        {}, optional={"x-kubernetes-preserve-unknown-fields": st.just(True), "nullable": st.booleans()}
    )
    structs = st.builds(
        lambda properties, flags, bounds: {"type": "object", "properties": properties, **flags, **bounds},
        st.dictionaries(KEYS, schemas, max_size=3),
        flags,
        BOUNDS,
    )
    maps = st.builds(lambda s, b: {"type": "object", "additionalProperties": s, **b}, schemas, BOUNDS)
    lists = st.builds(lambda s, b: {"type": "array", "items": s, **b}, schemas, BOUNDS)
    junctors = st.builds(
        lambda s, key, values: {**s, key: values},
        schemas,
        st.sampled_from(["anyOf", "oneOf", "allOf"]),
        st.lists(BOUNDS, min_size=1, max_size=2),
    )
    return st.one_of(structs, maps, lists, junctors)


SCHEMAS = st.recursive(LEAVES, _parents, max_leaves=6)
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _kind(schema):
    root = {"type": "object", "properties": {"spec": schema}}
    return CustomKind(lambda: root)


@QUICK
@given(SCHEMAS, VALUES)
def test_pruning_and_defaulting_twice_is_as_good_as_once(schema, value):
    kind = _kind(schema)
    obj = {"metadata": {}, "spec": copy.deepcopy(value)}
    kind.decode(obj)
    kind.default(obj)
    once = copy.deepcopy(obj)
    assert kind.decode(obj) is None
    kind.default(obj)
    assert obj == once


@QUICK
@given(SCHEMAS, VALUES)
def test_the_fast_test_says_no_exactly_where_the_slow_walk_finds_a_fault(schema, value):
    fast = ValueTests().of(schema)(value)
    slow = not _Inspector("").walk(value, schema, "", ABSENT).faults
    assert fast == slow


@QUICK
@given(SCHEMAS, VALUES)
def test_an_object_that_is_left_as_it_was_is_forgiven_everything(schema, value):
    kind = _kind(schema)
    obj = {"metadata": {}, "spec": value}
    assert kind.validate_update(obj, copy.deepcopy(obj), lambda metadata, field: []) == []
