"""For any JSON at all: checking answers or refuses, agrees with itself, and finds each duplicate."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.objects.errors import BadRequest
from proa.objects.schemas.check import check
from proa.objects.schemas.duplicates import find_duplicate_fields
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
    assert find_duplicate_fields(body, obj) == []
    twice = b'{"nobody":1,"nobody":' + body + b"}"
    assert find_duplicate_fields(twice, orjson.loads(twice)) == ["nobody"]
