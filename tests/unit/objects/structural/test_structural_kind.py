"""What the schema of a custom resource does to its objects."""

from __future__ import annotations

import copy

import pytest

from proa.objects.errors import RequestEntityTooLarge
from proa.objects.structural.kind import CustomKind


def kind_of(spec, **root):
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}, **root}
    return CustomKind(lambda: schema)


def wrong(spec, value, old=None):
    """Return what is wrong with `spec: value`, as "field: message"."""
    kind = kind_of(spec)
    if old is None:
        causes = kind.validate({"spec": value}, lambda metadata, field: [])
    else:
        causes = kind.validate_update({"spec": value}, {"spec": old}, lambda metadata, field: [])
    return [f"{cause.field}: {cause.message}" for cause in causes]


def bad(field, value, text):
    return f"{field}: Invalid value: {value}: {field} in body {text}"


VALUES = {
    "type": ({"type": "integer"}, "x", [bad("spec", '"string"', 'must be of type integer: "string"')]),
    "a whole float is an integer": ({"type": "integer"}, 2.0, []),
    "an integer is a number": ({"type": "number"}, 2, []),
    "a fraction is no integer": (
        {"type": "integer"},
        2.5,
        [
            bad("spec", '"number"', 'must be of type integer: "number"'),
            '<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec',
        ],
    ),
    "true is no integer": (
        {"type": "integer"},
        True,
        [bad("spec", '"boolean"', 'must be of type integer: "boolean"')],
    ),
    "null": ({"type": "string"}, None, [bad("spec", '"null"', 'must be of type string: "null"')]),
    "nullable": ({"type": "string", "nullable": True}, None, []),
    "int-or-string": ({"x-kubernetes-int-or-string": True}, "50%", []),
    "neither": (
        {"x-kubernetes-int-or-string": True},
        1.5,
        [bad("spec", '"number"', 'must be of type integer,string: "number"')],
    ),
    "minimum": (
        {"type": "integer", "minimum": 1},
        0,
        [bad("spec", 0, "should be greater than or equal to 1")],
    ),
    "exclusive minimum": (
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        1,
        [bad("spec", 1, "should be greater than 1")],
    ),
    "maximum": (
        {"type": "number", "maximum": 1.5},
        2.5,
        [bad("spec", 2.5, "should be less than or equal to 1.5")],
    ),
    "multipleOf": ({"type": "integer", "multipleOf": 5}, 7, [bad("spec", 7, "should be a multiple of 5")]),
    "int32": (
        {"type": "integer", "format": "int32"},
        2**31,
        ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec'],
    ),
    "minLength counts characters": (
        {"type": "string", "minLength": 2},
        "é",
        [bad("spec", '"é"', "should be at least 2 chars long")],
    ),
    "maxLength": (
        {"type": "string", "maxLength": 2},
        "abc",
        ["spec: Too long: may not be more than 2 bytes"],
    ),
    "pattern": ({"type": "string", "pattern": "^a+$"}, "ab", [bad("spec", '"ab"', "should match '^a+$'")]),
    "a pattern is Go's: $ ends the text": (
        {"type": "string", "pattern": "^a$"},
        "a\n",
        [bad("spec", '"a\\n"', "should match '^a$'")],
    ),
    "enum": (
        {"type": "string", "enum": ["a", "b"]},
        "c",
        ['spec: Unsupported value: "c": supported values: "a", "b"'],
    ),
    "format": (
        {"type": "string", "format": "date-time"},
        "today",
        [bad("spec", '"today"', 'must be of type date-time: "today"')],
    ),
    "a format that nobody knows": ({"type": "string", "format": "colour"}, "x", []),
    "required": ({"type": "object", "required": ["a"]}, {}, ["spec.a: Required value"]),
    "minItems": (
        {"type": "array", "minItems": 1, "items": {}},
        [],
        [bad("spec", 0, "should have at least 1 items")],
    ),
    "maxItems": (
        {"type": "array", "maxItems": 1, "items": {}},
        [1, 2],
        ["spec: Too many: 2: must have at most 1 item"],
    ),
    "items": (
        {"type": "array", "items": {"type": "string"}},
        ["a", 1],
        [bad("spec[1]", '"integer"', 'must be of type string: "integer"')],
    ),
    "maxProperties": (
        {"type": "object", "maxProperties": 1},
        {"a": 1, "b": 2},
        ["spec: Too many: 2: must have at most 1 item"],
    ),
    "additionalProperties": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"a": "x"},
        [bad("spec.a", '"string"', 'must be of type integer: "string"')],
    ),
    "not": (
        {"type": "integer", "not": {"enum": [3]}},
        3,
        ['<nil>: Invalid value: "": "spec" must not validate the schema (not)'],
    ),
    "oneOf, none": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {},
        [
            '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
            "spec.a: Required value",
        ],
    ),
    "oneOf, both": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"a": 1, "b": 1},
        [
            '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'
        ],
    ),
    "anyOf": (
        {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
        3,
        [
            '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)',
            bad("spec", 3, "should be greater than or equal to 5"),
        ],
    ),
    "allOf": (
        {"type": "integer", "allOf": [{"minimum": 5}]},
        3,
        [
            bad("spec", 3, "should be greater than or equal to 5"),
            '<nil>: Invalid value: "": "spec" must validate all the schemas (allOf). None validated',
        ],
    ),
    "a set": (
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        ["a", "b", "a", "a"],
        ['spec[2]: Duplicate value: "a"'],
    ),
    "a map": (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n"],
        },
        [{"n": "a"}, {"n": "a"}],
        ['spec[1]: Duplicate value: {"n":"a"}'],
    ),
}


@pytest.mark.parametrize(("schema", "value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_a_value_is_held_to_its_schema_in_upstreams_words(schema, value, expected):
    assert wrong(schema, value) == expected


PART = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "integer"}}}
LIST = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"n": {"type": "string"}, "v": {"type": "integer", "minimum": 5}},
    },
}
MAP = {**LIST, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}
RATCHETING = {
    "what is unchanged may stay": (PART, {"a": 1, "b": 2}, {"a": 1, "b": 1}, []),
    "what changes may not": (
        PART,
        {"a": 2},
        {"a": 1},
        [bad("spec.a", 2, "should be greater than or equal to 5")],
    ),
    "an item of a map is known by its key": (
        MAP,
        [{"n": "y", "v": 9}, {"n": "x", "v": 1}],
        [{"n": "x", "v": 1}],
        [],
    ),
    "an item of a plain list is not": (
        LIST,
        [{"n": "y", "v": 9}, {"n": "x", "v": 1}],
        [{"n": "x", "v": 1}],
        [bad("spec[1].v", 1, "should be greater than or equal to 5")],
    ),
    "a list that is the same as a whole may stay": (LIST, [{"n": "x", "v": 1}], [{"n": "x", "v": 1}], []),
}


@pytest.mark.parametrize(("schema", "new", "old", "expected"), RATCHETING.values(), ids=RATCHETING.keys())
def test_an_update_is_forgiven_what_it_left_as_it_was(schema, new, old, expected):
    assert wrong(schema, new, old) == expected


PRUNED = {
    "unknown fields go": (
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"a": "x", "b": {"c": 1}},
        {"a": "x"},
        ["spec.b"],
    ),
    "in items and values too": (
        {
            "type": "object",
            "properties": {
                "l": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
                "m": {"type": "object", "additionalProperties": {"type": "object"}},
            },
        },
        {"l": [{"a": 1, "x": 1}], "m": {"k": {"y": 1}}},
        {"l": [{"a": 1}], "m": {"k": {}}},
        ["spec.l[0].x", "spec.m.k.y"],
    ),
    "unless they are to be kept": (
        {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"a": {"type": "object"}},
        },
        {"z": {"y": 1}, "a": {"x": 1}},
        {"z": {"y": 1}, "a": {}},
        ["spec.a.x"],
    ),
    "additionalProperties: true keeps scalars": (
        {"type": "object", "additionalProperties": True},
        {"a": 1, "b": {"c": 2}},
        {"a": 1, "b": {}},
        ["spec.b.c"],
    ),
    "a null that stands for nothing goes": (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string", "nullable": True}},
        },
        {"a": None, "b": None},
        {"b": None},
        [],
    ),
    "metadata within is that of an object": (
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "colour": "red"}, "spec": {"a": 1}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": 1}},
        ["spec.metadata.colour"],
    ),
}


@pytest.mark.parametrize(("schema", "value", "expected", "unknown"), PRUNED.values(), ids=PRUNED.keys())
def test_what_the_schema_does_not_know_goes(schema, value, expected, unknown):
    obj = {"metadata": {"name": "x"}, "spec": copy.deepcopy(value)}
    faults = kind_of(schema).decode(obj)
    assert obj["spec"] == expected
    assert (faults.unknown if faults else []) == unknown


DEFAULTED = {
    "absent": ({"a": {"default": 1}}, {}, {"a": 1}),
    "there": ({"a": {"default": 1}}, {"a": 2}, {"a": 2}),
    "null": ({"a": {"default": 1}}, {"a": None}, {"a": 1}),
    "null where it may be": ({"a": {"default": 1, "nullable": True}}, {"a": None}, {"a": None}),
    "within a default": (
        {"a": {"type": "object", "default": {}, "properties": {"b": {"default": 2}}}},
        {},
        {"a": {"b": 2}},
    ),
    "not within what is absent": ({"a": {"type": "object", "properties": {"b": {"default": 2}}}}, {}, {}),
    "in items": (
        {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {"default": 2}}}}},
        {"a": [{}, {"b": 3}]},
        {"a": [{"b": 2}, {"b": 3}]},
    ),
    "in values": (
        {
            "a": {
                "type": "object",
                "additionalProperties": {"type": "object", "properties": {"b": {"default": 2}}},
            }
        },
        {"a": {"x": {}}},
        {"a": {"x": {"b": 2}}},
    ),
}


@pytest.mark.parametrize(("properties", "value", "expected"), DEFAULTED.values(), ids=DEFAULTED.keys())
def test_defaults_are_filled_in(properties, value, expected):
    obj = {"metadata": {}, "spec": copy.deepcopy(value)}
    kind_of({"type": "object", "properties": properties}).default(obj)
    assert obj["spec"] == expected


def test_a_default_is_no_objects_own():
    kind = kind_of({"type": "object", "properties": {"a": {"type": "object", "default": {"b": []}}}})
    first, second = {"spec": {}}, {"spec": {}}
    kind.default(first)
    first["spec"]["a"]["b"].append(1)
    kind.default(second)
    assert second == {"spec": {"a": {"b": []}}}


def test_the_schema_is_not_read_before_an_object_comes():
    def refuse():
        raise AssertionError

    CustomKind(refuse)


@pytest.mark.parametrize("default", ["x" * 50, {"a": ["b"] * 20}, 7], ids=["text", "object", "number"])
def test_no_more_is_defaulted_than_could_be_stored(default):
    fields = {f"field{index}": {"default": default} for index in range(100)}
    items = {"type": "object", "properties": fields, "x-kubernetes-preserve-unknown-fields": True}
    kind = kind_of({"type": "array", "items": items})
    few, many = {"spec": [{} for _ in range(3)]}, {"spec": [{} for _ in range(20_000)]}
    kind.default(few)
    assert all(len(item) == 100 for item in few["spec"])
    with pytest.raises(RequestEntityTooLarge):
        kind.default(many)
