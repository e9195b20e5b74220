"""Who creates, replaces or patches an object owns what it changed."""

from __future__ import annotations

import copy

import orjson

from proa.objects.managed_fields.entries import Writer, is_timing_alone
from proa.objects.managed_fields.typed import node_of
from proa.objects.managed_fields.update import EMPTY_OBJECT, created, ownable, replaced
from proa.objects.schemas.load import schema_named

CONFIG_MAP = schema_named("io.k8s.api.core.v1.ConfigMap")
POD = schema_named("io.k8s.api.core.v1.Pod")


def at(second):
    return f"2026-01-01T00:00:{second:02}Z"


def writer(manager, second=0, subresource=""):
    return Writer(manager, "v1", at(second), subresource)


def make(**data):
    obj = {"metadata": {"name": "a", "uid": "u"}, "data": data}
    obj["metadata"]["managedFields"] = created(obj, None, CONFIG_MAP, writer("one"))
    return obj


def write(old, data, by, **metadata):
    """Return what is stored when `by` replaces the data."""
    new = {"metadata": {**old["metadata"], **metadata}, "data": data}
    new["metadata"]["managedFields"] = replaced(old, new, CONFIG_MAP, by)
    return new


def owners(obj):
    return [(e["manager"], e["time"], e["fieldsV1"]) for e in obj["metadata"]["managedFields"]]


def test_the_creator_owns_everything_but_what_only_the_system_sets():
    obj = make(a="1")
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Update",
            "apiVersion": "v1",
            "time": at(0),
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
        }
    ]


def test_a_change_moves_the_field_and_nothing_else():
    obj = write(make(a="1", b="1"), {"a": "2", "b": "1"}, writer("two", 5))
    assert owners(obj) == [
        ("one", at(0), {"f:data": {".": {}, "f:b": {}}}),
        ("two", at(5), {"f:data": {"f:a": {}}}),
    ]


def test_a_removed_field_is_nobodys():
    obj = write(make(a="1", b="1"), {"b": "1"}, writer("two", 5))
    assert owners(obj) == [("one", at(0), {"f:data": {".": {}, "f:b": {}}})]


def test_a_write_that_changes_nothing_leaves_the_times_alone():
    obj = make(a="1")
    assert write(obj, {"a": "1"}, writer("one", 9)) == obj


def test_the_same_manager_has_one_entry_a_subresource():
    obj = write(make(a="1"), {"a": "2"}, writer("one", 5))
    obj = write(obj, {"a": "2", "b": "1"}, writer("one", 7, "status"))
    found = [(e["manager"], e.get("subresource")) for e in obj["metadata"]["managedFields"]]
    assert found == [("one", None), ("one", "status")]


def test_an_empty_entry_resets_and_nobody_owns_from_then_on():
    obj = write(make(a="1"), {"a": "2"}, writer("two"), managedFields=[{}])
    assert obj["metadata"]["managedFields"] == []
    del obj["metadata"]["managedFields"]
    assert write(obj, {"a": "3"}, writer("two"))["metadata"]["managedFields"] == []


def test_entries_that_cannot_be_read_are_not_taken():
    old = make(a="1")
    broken = write(old, {"a": "1"}, writer("two"), managedFields=[{"manager": "x", "operation": "Steal"}])
    assert owners(broken) == owners(old)


def test_entries_that_a_client_edits_are_taken():
    entry = {
        "manager": "x",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {".": {}}}},
    }
    obj = write(make(a="1"), {"a": "1"}, writer("two"), managedFields=[entry])
    assert obj["metadata"]["managedFields"] == [{**entry, "fieldsV1": {"f:data": {"f:a": {}}}}]


def test_the_oldest_of_more_than_ten_updaters_become_one():
    obj = make(**{f"k{i}": "0" for i in range(15)})
    data = obj["data"]
    for i in range(15):
        data = {**data, f"k{i}": "1"}
        obj = write(obj, data, writer(f"m{i:02}", 10 + i))
    managers = [entry["manager"] for entry in obj["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert managers == ["ancient-changes", *(f"m{i:02}" for i in range(6, 15))]
    ancient = obj["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]
    assert {f"f:k{i}" for i in range(6)} <= set(ancient)


def test_duplicate_items_of_a_keyed_list_are_owned_together():
    container = {"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [container]}}
    fields = created(pod, None, POD, writer("one"))[0]["fieldsV1"]
    env = fields["f:spec"]["f:containers"]['k:{"name":"c"}']["f:env"]
    assert env == {".": {}, 'k:{"name":"A"}': {}}


def test_times_alone_make_no_new_version():
    old = make(a="1")
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = at(30)
    assert is_timing_alone(new, old)
    assert not is_timing_alone({**new, "data": {"a": "2"}}, old)
    assert not is_timing_alone(old, old)


def test_pods_of_one_template_are_owned_alike_whatever_was_created_before():
    def pod(name, image, **more):
        mounts = [{"name": f"volume-{n}", "mountPath": f"/a/path/{n}"} for n in range(8)]
        spec = {"containers": [{"name": "c", "image": image, "volumeMounts": mounts}], **more}
        return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}

    asked = [pod("a", "x"), pod("b", "x"), pod("c", "y"), pod("d", "x", hostNetwork=True), pod("e", "x")]
    for obj in asked:
        changed, _ = node_of(POD).diff(EMPTY_OBJECT, ownable(obj))
        (entry,) = created(obj, None, POD, writer("one"))
        assert list(entry["fieldsV1"].items()) == list(changed.items())
        assert orjson.dumps(entry["fieldsV1"]) == orjson.dumps(changed)
