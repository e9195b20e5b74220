"""Reading part of a stored object gives what decoding it whole gives."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proa.apiserver.registry.stored_bytes import metadata_bytes, to_look_at, without_managed_fields
from proa.store.protocol import Entry

HEAD = b'{"kind":"Pod","apiVersion":"v1",'
MANAGED = [{"manager": "m", "fieldsV1": {"f:spec": {'k:{"name":"a}],"}': {"f:resourceVersion": {}}}}}]
EMBEDDED = {"metadata": {"name": "inner", "managedFields": MANAGED, "resourceVersion": "7"}}


def make_entry(metadata: dict[str, Any], **rest: Any) -> Entry:
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, **rest}
    return Entry("k", orjson.dumps(obj), 7)


CASES = {
    "as stored": make_entry({"name": "a", "managedFields": MANAGED, "resourceVersion": "7"}, spec={"a": 1}),
    "nobody manages": make_entry({"name": "a", "resourceVersion": "7"}, spec={}),
    "an object within has managers": make_entry({"name": "a", "resourceVersion": "7"}, spec=EMBEDDED),
    "both have": make_entry({"name": "a", "managedFields": MANAGED, "resourceVersion": "7"}, spec=EMBEDDED),
    "words in strings": make_entry(
        {"annotations": {"a": ',"managedFields":[}],"resourceVersion":"7"}'}, "resourceVersion": "7"}
    ),
    "the revision is not last": make_entry(
        {"resourceVersion": "7", "name": "a", "managedFields": MANAGED}, spec={}
    ),
    "spec and status": make_entry(
        {"name": "a", "managedFields": MANAGED, "resourceVersion": "7"}, spec={"a": 1}, status={"b": [2]}
    ),
    "a status within the spec": make_entry(
        {"name": "a", "resourceVersion": "7"}, spec={"a": {"b": 1, "status": {"c": 1}}}, status={"b": [2]}
    ),
    "a status within the spec alone": make_entry(
        {"name": "a", "resourceVersion": "7"}, spec={"a": {"b": 1, "status": {"c": 1}}}
    ),
    "more than a spec": make_entry(
        {"name": "a", "resourceVersion": "7"}, spec={"a": 1}, more={"b": 1}, status={"b": [2]}
    ),
    "more after the status": make_entry(
        {"name": "a", "resourceVersion": "7"}, spec={"a": 1}, status={"b": [2]}, more=1
    ),
    "a list after the managers": make_entry(
        {"name": "a", "managedFields": MANAGED, "ownerReferences": [{"uid": "u"}], "resourceVersion": "7"},
        spec={"a": 1},
        status={"b": [2]},
    ),
    "a word after the managers": make_entry(
        {"name": "a", "managedFields": MANAGED, "deletionTimestamp": "t", "resourceVersion": "7"},
        spec={"a": 1},
        status={"b": [2]},
    ),
    "another revision": make_entry({"name": "a", "managedFields": MANAGED, "resourceVersion": "6"}),
}


@pytest.mark.parametrize("entry", CASES.values(), ids=CASES)
def test_an_object_without_managed_fields_is_otherwise_the_whole_object(entry: Entry) -> None:
    found, whole = without_managed_fields(entry), orjson.loads(entry.value)

    found["metadata"].pop("managedFields", None)
    whole["metadata"].pop("managedFields", None)
    assert found == whole


@pytest.mark.parametrize("entry", [*CASES.values()] * 2)
def test_an_object_to_look_at_is_the_whole_object_but_for_its_kind(entry: Entry) -> None:
    found, whole = to_look_at(entry, HEAD, metadata_bytes(entry, HEAD)), orjson.loads(entry.value)

    found["metadata"].pop("managedFields", None)
    whole["metadata"].pop("managedFields", None)
    assert {**found, "kind": "Pod", "apiVersion": "v1"} == whole


@pytest.mark.parametrize("entry", CASES.values(), ids=CASES)
def test_the_bytes_of_metadata_are_the_metadata_or_none(entry: Entry) -> None:
    found = metadata_bytes(entry, HEAD)

    assert found is None or orjson.loads(found) == orjson.loads(entry.value)["metadata"]


def test_metadata_is_found_in_what_is_stored_now() -> None:
    assert metadata_bytes(CASES["as stored"], HEAD) is not None
    assert "managedFields" not in without_managed_fields(CASES["as stored"])["metadata"]


def test_metadata_of_another_version_is_not_found() -> None:
    assert metadata_bytes(CASES["as stored"], b'{"kind":"Pod","apiVersion":"v2",') is None
