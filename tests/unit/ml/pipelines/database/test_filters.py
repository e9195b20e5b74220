"""Filters of lists are read as upstream reads them, and what is none is refused in upstream's words."""

import json

import pytest

from proa.ml.database.errors import Invalid
from proa.ml.pipelines.database.filters import (
    Predicate,
    decode_predicates,
    encode_predicates,
    parse_filter,
)


def one(**predicate) -> str:
    return json.dumps({"predicates": [predicate]})


READ = {
    "as the SDK writes it": (
        one(operation=1, key="display_name", stringValue="n"),
        ("EQUALS", "display_name", "n", "string"),
    ),
    "as the proto writes it": (
        one(operation="NOT_EQUALS", key="state", string_value="FAILED"),
        ("NOT_EQUALS", "state", "FAILED", "string"),
    ),
    "v1beta1's op": (one(op="EQUALS", key="name", string_value="n"), ("EQUALS", "name", "n", "string")),
    "an int64 as text": (one(operation=6, key="x", longValue="12"), ("LESS_THAN", "x", 12, "int64")),
    "an int32": (one(operation=5, key="x", int_value=-3), ("GREATER_THAN_EQUALS", "x", -3, "int32")),
    "a time to its second": (
        one(operation=3, key="created_at", timestampValue="1970-01-01T00:01:00.999Z"),
        ("GREATER_THAN", "created_at", 60, "int64"),
    ),
    "a time in a zone": (
        one(operation=3, key="created_at", timestamp_value="1970-01-01T01:00:00+01:00"),
        ("GREATER_THAN", "created_at", 0, "int64"),
    ),
    "a list of texts": (
        one(operation="IN", key="state", stringValues={"values": ["A", "B"]}),
        ("IN", "state", ["A", "B"], "[]string"),
    ),
    "a list of numbers": (
        one(operation=8, key="x", longValues={"values": ["1", 2]}),
        ("IN", "x", [1, 2], "[]int64"),
    ),
    "an empty list": (one(operation=8, key="x", intValues={}), ("IN", "x", [], "[]int32")),
    "a part of a text": (one(operation=9, key="n", stringValue="a%"), ("IS_SUBSTRING", "n", "a%", "string")),
    "escaped once more than needed": (
        "%7B%22predicates%22%3A+%5B%7B%22operation%22%3A1%2C%22key%22%3A%22n%22%2C%22stringValue%22%3A%22x%22%7D%5D%7D",
        ("EQUALS", "n", "x", "string"),
    ),
}


@pytest.mark.parametrize(("text", "expected"), READ.values(), ids=READ)
def test_a_filter_is_read(text: str, expected: tuple) -> None:
    assert parse_filter(text) == (Predicate(*expected),)


def test_no_filter_holds_for_everything() -> None:
    assert parse_filter("") == parse_filter("{}") == parse_filter('{"predicates": []}') == ()


REFUSED = {
    "no JSON": ("{predicates", "failed to parse valid filter from"),
    "no object": ("[]", "failed to parse valid filter from"),
    "an unknown field": ('{"predicate": []}', 'unknown field "predicate"'),
    "an unknown kind of value": (one(operation=1, key="n", doubleValue=1.5), 'unknown field "double_value"'),
    "no operation": (one(key="n", stringValue="x"), "invalid predicate operation: 0"),
    "an unknown operation": (
        one(operation="LIKE", key="n", stringValue="x"),
        "invalid predicate operation: LIKE",
    ),
    "the number that is left out": (
        one(operation=4, key="n", stringValue="x"),
        "invalid predicate operation: 4",
    ),
    "no key": (
        one(operation=1, stringValue="x"),
        "Predicate key cannot be empty for operation EQUALS and value x",
    ),
    "no value": (one(operation=1, key="n"), "a predicate has one value, and this has 0"),
    "two values": (one(operation=1, key="n", intValue=1, stringValue="x"), "and this has 2"),
    "IN with one": (
        one(operation=8, key="n", stringValue="x"),
        "cannot use IN operator with scalar type string",
    ),
    "EQUALS with a list": (
        one(operation=1, key="n", stringValues={"values": ["x"]}),
        "cannot use scalar operator EQUALS on array type []string",
    ),
    "a part of a number": (
        one(operation=9, key="n", intValue=3),
        "cannot use non string value type int32 with operator IS_SUBSTRING",
    ),
    "a number that is too great": (
        one(operation=1, key="n", intValue=1 << 31),
        "invalid value for int32 field",
    ),
    "a time that is none": (
        one(operation=1, key="n", timestampValue="yesterday"),
        "google.protobuf.Timestamp",
    ),
    "a day that is none": (
        one(operation=1, key="n", timestampValue="2026-02-30T00:00:00Z"),
        "failed to parse",
    ),
    "a text that no engine holds": (one(operation=1, key="n", stringValue="a\0"), "it has a NUL"),
    "deep nesting": ("[" * 60_000, "failed to parse valid filter"),
    "length": ("{" + " " * 70_000 + "}", "the filter is too long"),
    "too many": (json.dumps({"predicates": [{}] * 51}), "no list of up to 50"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_filter(text)
    assert message in str(refused.value)


def test_predicates_survive_a_page_token() -> None:
    predicates = tuple(parse_filter(text)[0] for text, _ in READ.values())
    assert decode_predicates(json.loads(json.dumps(encode_predicates(predicates)))) == predicates
