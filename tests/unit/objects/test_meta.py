from __future__ import annotations

import pytest

from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS

OWNER = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}}


def test_missing_fields_read_as_empty():
    for obj in ({}, {"metadata": None}, {"metadata": {"labels": None}}):
        assert (meta.name(obj), meta.namespace(obj), meta.uid(obj), meta.resource_version(obj)) == (
            "",
            "",
            "",
            "",
        )
        assert (meta.labels(obj), meta.annotations(obj), meta.finalizers(obj)) == ({}, {}, [])
        assert meta.controller_of(obj) is None
        assert not meta.is_deleting(obj)
        assert meta.find_condition(obj, "Ready") is None


def test_a_key_has_the_namespace_where_there_is_one():
    assert meta.key_of(OWNER) == "default/web"
    assert meta.key_of({"metadata": {"name": "node-1"}}) == "node-1"


def test_an_owner_reference_makes_its_owner_the_controller():
    reference = meta.make_owner_reference(OWNER, DEPLOYMENTS)
    child = {"metadata": {"ownerReferences": [{"uid": "other"}, reference]}}
    assert reference == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u1", "controller": True,
        "blockOwnerDeletion": True,
    }  # fmt: skip
    assert meta.controller_of(child) == reference
    assert meta.is_controlled_by(child, OWNER)
    assert not meta.is_controlled_by(child, {"metadata": {"uid": "other"}})


def test_a_transition_time_changes_only_with_the_status():
    first = meta.with_condition([], "Ready", "False", "Starting", "not yet", 0.0)
    second = meta.with_condition(first, "Ready", "False", "Waiting", "still not", 60.0)
    third = meta.with_condition(second, "Ready", "True", "", "", 120.0)
    assert [c[0]["lastTransitionTime"][14:19] for c in (first, second, third)] == ["00:00", "00:00", "02:00"]
    assert second[0]["reason"] == "Waiting"
    assert third == [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:02:00Z"}]
    assert first[0]["reason"] == "Starting"


def test_a_condition_leaves_the_others_and_its_other_fields():
    before = [{"type": "A", "status": "True"}, {"type": "B", "status": "True", "observedGeneration": 3}]
    after = meta.with_condition(before, "B", "False", "Why", "because", 0.0)
    assert after[0] == before[0]
    assert after[1]["observedGeneration"] == 3
    assert meta.has_condition({"status": {"conditions": after}}, "B", "False")


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T03:04:05.25Z", 1767323045.25),
        ("2026-01-02T04:04:05+01:00", 1767323045.0),
    ],
)
def test_times_are_read(text, epoch):
    assert meta.parse_time(text) == epoch


def test_times_are_written():
    assert meta.format_time(1767323045.9) == "2026-01-02T03:04:05Z"
    assert meta.format_time(2.0**63) == "9999-12-31T23:59:59Z"
    assert meta.format_micro_time(1767323045.25) == "2026-01-02T03:04:05.250000Z"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02T03:04:05"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        meta.parse_time(text)


def test_a_random_suffix_has_no_vowels():
    assert set(meta.random_suffix(200)) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert len(meta.random_suffix()) == 5
