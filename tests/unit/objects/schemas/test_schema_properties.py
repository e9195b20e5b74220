"""For any JSON at all: checking answers or refuses, agrees with itself, and finds each duplicate."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.objects.errors import BadRequest
from proa.objects.schemas.check import check
from proa.objects.schemas.duplicates import find_duplicate_fields, may_have_duplicates
from proa.objects.schemas.load import schema_for_kind

POD = schema_for_kind("v1", "Pod")
KEYS = st.sampled_from(
    ["metadata", "labels", "name", "spec", "containers", "volumes", "resources", "limits", "cpu", "ports",
     "containerPort", "nodeSelector", "creationTimestamp", "livenessProbe", "httpGet", "port", "managedFields",
     "fieldsV1", "nobody", "knows"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**33), 2**33)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(KEYS, ANY_JSON, max_size=4)


@given(OBJECTS)
@settings(max_examples=300, deadline=None)
def test_any_json_is_checked_or_refused_and_once_is_enough(obj: dict[str, Any]) -> None:
    try:
        once = check(obj, POD).obj
    except BadRequest:
        return
    assert check(copy.deepcopy(once), POD, "Strict").obj == once


@given(st.dictionaries(KEYS, ANY_JSON, max_size=4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_duplicates_are_found_only_where_they_are(obj: dict[str, Any], spaced: bool) -> None:
    body = orjson.dumps(obj, option=orjson.OPT_INDENT_2) if spaced else orjson.dumps(obj)
    assert find_duplicate_fields(body) == []
    twice = b'{"nobody":1,"nobody":' + body + b"}"
    assert find_duplicate_fields(twice) == ["nobody"]


TRICKY = st.text(alphabet='":\\\\ ,{}a', max_size=6)

COLONS = st.sampled_from((b":", b": ", b" :", b" \t:", b"\n:", b"\r\n:"))


def write(value: Any, draw: st.DrawFn) -> tuple[bytes, bool]:
    """Return a value as JSON with spaces, escapes and repeated keys anywhere, and whether a key is repeated."""
    if not isinstance(value, dict):
        text = json.dumps(value) if draw(st.booleans()) else orjson.dumps(value).decode()
        if isinstance(value, str) and draw(st.booleans()):
            text = text.replace("a", "\\u0061").replace(":", "\\u003a")
        return text.encode(), False
    members, is_repeated = [], False
    for key, item in value.items():
        for again in (False, draw(st.sampled_from((False, False, True)))):
            if again or not members or members[-1][0] != key:
                text, repeats = write(item, draw)
                name = write(key, draw)[0]
                members.append((key, name + draw(COLONS) + text))
                is_repeated |= repeats
    is_repeated |= len({key for key, _ in members}) != len(members)
    return b"{" + b",".join(member for _, member in members) + b"}", is_repeated


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_body_that_repeats_a_field_is_never_passed_over(data: st.DataObject) -> None:
    values = st.recursive(TRICKY, lambda inner: st.dictionaries(TRICKY, inner, max_size=3), max_leaves=6)
    obj = data.draw(st.dictionaries(TRICKY, values, max_size=3))
    body, is_repeated = write(obj, data.draw)
    assert may_have_duplicates(body, orjson.loads(body)) or not is_repeated


def test_the_bodies_of_usual_clients_are_passed_over() -> None:
    managed = {"f:containers": {'k:{"name":"c"}': {"f:name": {}}, 'v:"a":': {}}}
    for body in (
        orjson.dumps({"metadata": {"creationTimestamp": None, "managedFields": [{"fieldsV1": managed}]}}),
        json.dumps({"a": {"b": 'a "quoted": word', "c": None}, "d": {}}).encode(),
    ):
        assert not may_have_duplicates(body, orjson.loads(body))
