"""What is decoded without managedFields is otherwise the whole, or is decoded whole."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proa.objects.managed_fields.unread import UNREAD, cut_managed_fields

TEXT = st.text(alphabet='],":{}\\\\[a', max_size=8)
FIELDS = st.recursive(st.just({}), lambda inner: st.dictionaries(TEXT, inner, max_size=3), max_leaves=4)
ENTRIES = st.lists(st.fixed_dictionaries({"manager": TEXT, "fieldsV1": FIELDS}), min_size=1, max_size=2)


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any]:
    parts: list[tuple[str, Any]] = [("name", "a"), ("resourceVersion", draw(TEXT))]
    if draw(st.booleans()):
        parts.append(("managedFields", draw(ENTRIES)))
    parts.append(("annotations", {"a": draw(TEXT)}))
    parts.append(("ownerReferences", [{"uid": draw(TEXT)}]))
    usual = [part for part in parts if part[0] != "resourceVersion"] + [parts[1]]
    return dict(draw(st.sampled_from((usual, parts)) | st.permutations(parts)))


def managed(key: str) -> dict[str, Any]:
    return {"managedFields": [{"manager": "m", "fieldsV1": {key: {}}}], "resourceVersion": "1"}


@settings(max_examples=300, deadline=None)
@given(metadata(), st.booleans(), metadata())
@example(managed("f:a],"), False, {})
@example(
    {"resourceVersion": "1", "managedFields": [{"manager": "m", "fieldsV1": {}}]},
    True,
    {"ownerReferences": [{"uid": "u"}], "resourceVersion": "1"},
)
@example({"name": "a", **managed('k:{"name":"a],"}')}, True, {"name": "b", **managed("f:resourceVersion")})
def test_who_finds_the_mark_has_the_whole_but_for_managed_fields(
    outer: dict[str, Any], holds_another: bool, inner: dict[str, Any]
) -> None:
    whole = {"kind": "A", "metadata": outer, "spec": {"metadata": inner} if holds_another else {}}
    cut = cut_managed_fields(orjson.dumps(whole))
    if cut is None:
        return
    found = orjson.loads(cut)
    if found["metadata"].get("managedFields") == UNREAD:
        del found["metadata"]["managedFields"]
        outer.pop("managedFields")
        assert found == whole


def test_what_is_laid_out_as_stored_is_cut() -> None:
    text = orjson.dumps({"metadata": {"name": "a", **managed('k:{"name":"a],"}')}, "spec": {"a": ["b"]}})
    assert cut_managed_fields(text) == (
        b'{"metadata":{"name":"a","managedFields":0,"resourceVersion":"1"},"spec":{"a":["b"]}}'
    )
