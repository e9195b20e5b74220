"""Objects become the bytes that client-go makes of them, and any object comes back from its bytes as it was."""

from __future__ import annotations

import base64
import string
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.apiserver.protobuf.decode import decode_object
from proa.apiserver.protobuf.encode import encode_event, encode_object
from proa.apiserver.protobuf.table import find_message, messages
from proa.objects.schemas.load import definition_names_by_kind

ENCODED = Path(__file__).with_name("encoded-by-client-go-0.36.jsonl").read_bytes().splitlines()
"""Objects as JSON, and what runtime.Encode of client-go 0.36.4 made of them."""
ALL_KINDS = sorted((version, kind) for version, kind, _ in definition_names_by_kind())
KINDS = [found for found in ALL_KINDS if not found[1].endswith("List")]
MAX_DEPTH = 4


@pytest.mark.parametrize("line", ENCODED, ids=lambda line: orjson.loads(line)["object"]["kind"])
def test_an_object_becomes_the_bytes_that_client_go_makes_of_it(line: bytes) -> None:
    known = orjson.loads(line)
    assert encode_object(known["object"]) == base64.b64decode(known["encoded"])


def test_an_event_holds_a_whole_body() -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}
    event = encode_event(orjson.dumps({"type": "ADDED", "object": pod}))
    body = encode_object(pod)
    assert event.startswith(b"\x0a\x05ADDED\x12")
    assert event.endswith(body)
    assert decode_object(body, "Pod") == pod


def test_a_kind_without_a_message_is_told() -> None:
    with pytest.raises(ValueError, match="has no protobuf"):
        encode_object({"apiVersion": "sea.example/v1", "kind": "Boat"})


def test_every_kind_has_a_message() -> None:
    assert [found for found in ALL_KINDS if not find_message(*found)] == []


WORDS = st.text(string.ascii_letters + "é/ ", min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


@cache
def values(type_: str, depth: int) -> st.SearchStrategy[Any] | None:
    """Return values of a type, in JSON; None where they would go too deep. Zeros are among them."""
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": WORDS | st.just(""),
        "bytes": st.binary(max_size=4).map(lambda data: base64.b64encode(data).decode()),
        "bool": st.booleans(),
        "int32": st.integers(-(2**31), 2**31 - 1),
        "int64": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "quantity": st.sampled_from(("0", "1", "100m", "1Gi")),
        "intOrString": st.integers(-(2**31), 2**31 - 1) | WORDS,
        "time": st.sampled_from(("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2026-11-22T09:00:01Z")),
        "microTime": st.sampled_from(("2026-11-22T09:00:01.000001Z", "2026-11-22T09:00:01.000000Z")),
        "json": JSON.filter(lambda value: value is not None),
    }
    if type_ in simple:
        return simple[type_]
    if type_.startswith("[]"):
        item = values(type_[2:].removeprefix("items:"), depth)
        return None if item is None else st.lists(item, min_size=1, max_size=2)
    if type_.startswith("{}"):
        item = values(type_[2:], depth)
        return None if item is None else st.dictionaries(WORDS, item, min_size=1, max_size=2)
    prefix, _, name = type_.rpartition(":")
    if not depth:
        return None
    made = objects(name, depth - 1)
    if prefix == "orBool":
        return made | st.booleans()
    if prefix:
        items: Any = WORDS if prefix == "orStrings" else made
        return made | st.lists(items, min_size=1, max_size=2)
    return made


@cache
def objects(message: str, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of a message: of fields that are no pointers, those that are not zero, which JSON leaves out."""
    fields, inline = {}, []
    for field in messages()[message].values():
        if field.is_inline:
            inline.append(objects(field.type, depth))
        elif (found := values(field.type, depth)) is not None:
            keeps_zero = field.shows_zero or field.type.startswith(("[]", "{}"))
            fields[field.name] = found if keeps_zero else found.filter(bool)
    keys = st.sets(st.sampled_from(sorted(fields)), max_size=4) if fields else st.just(set())
    made = keys.flatmap(lambda some: st.fixed_dictionaries({key: fields[key] for key in some}))
    return st.tuples(made, *inline).map(lambda parts: {k: v for part in parts for k, v in part.items()})


def is_all_of(found: Any, given: Any) -> bool:
    """Tell whether something is what was given, but for zeros that Go's JSON always shows."""
    if isinstance(given, dict) and isinstance(found, dict):
        return given.keys() <= found.keys() and all(
            is_all_of(value, given[key]) if key in given else is_zero(value) for key, value in found.items()
        )
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(map(is_all_of, found, given))
    return bool(given == found)


def is_zero(value: Any) -> bool:
    return all(map(is_zero, value.values())) if isinstance(value, dict) else value in ("", 0, "0")


@pytest.mark.parametrize(("version", "kind"), KINDS)
@settings(max_examples=3, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_object_comes_back_as_it_was(version: str, kind: str, data: st.DataObject) -> None:
    name = find_message(version, kind)
    assert name is not None
    obj = {"kind": kind, "apiVersion": version, **data.draw(objects(name, MAX_DEPTH))}
    body = encode_object(obj)
    found = decode_object(body, kind)
    assert is_all_of(found, obj)
    assert encode_object(found) == body
