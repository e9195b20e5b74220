"""Applying brings an object to what its managers say, and takes away only what nobody says any more."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.errors import ApiError, BadRequest, Conflict
from proa.objects.managed_fields.apply import _Work, apply, check_config
from proa.objects.managed_fields.entries import Writer
from proa.objects.managed_fields.update import created, replaced
from proa.objects.schemas.load import schema_named
from proa.objects.schemas.patched import check_patched

CONFIG_MAP = schema_named("io.k8s.api.core.v1.ConfigMap")
DEPLOYMENT = schema_named("io.k8s.api.apps.v1.Deployment")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def deployment(*containers, **spec):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec},
    }


def run(live, config, manager, *, schema=CONFIG_MAP, force=False, now=NOW):
    """Return the object after an apply, with its entries, as the server would store it."""
    writer = Writer(manager, config["apiVersion"], now)
    new, entries = apply(live, config, schema, writer, force=force)
    stored = check_patched(copy.deepcopy(new), schema, "Ignore").obj
    stored["metadata"]["managedFields"] = entries
    return stored


def owners(obj):
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


DATA = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2"]), min_size=1, max_size=4)


@given(DATA, DATA)
def test_applying_again_changes_nothing(first, second):
    once = run(run(None, config_map(**first), "one"), config_map(**second), "two", force=True)
    again = run(once, config_map(**second), "two", now=LATER)
    assert again == once


@given(DATA, DATA)
def test_managers_of_different_fields_never_conflict(first, second):
    second = {f"x-{key}": value for key, value in second.items()}
    both = run(run(None, config_map(**first), "one"), config_map(**second), "two")
    assert both["data"] == {**first, **second}


@given(DATA, DATA, DATA)
def test_a_field_goes_when_the_last_that_said_it_no_longer_does(first, second, third):
    live = run(run(None, config_map(**first), "one"), config_map(**second), "two", force=True)
    live = run(live, config_map(**third), "one", force=True)
    said = {**second, **third}
    assert live["data"] == said
    mine = set(owners(live)["one"]["f:data"]) - {"."}
    assert mine == {f"f:{key}" for key in third}


ENV = st.lists(st.sampled_from("xyz"), unique=True).map(
    lambda names: [{"name": n, "value": "1"} for n in names]
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("ab")},
        optional={
            "image": st.sampled_from("ij"),
            "env": ENV,
            "resources": st.sampled_from(({}, {"limits": {}})),
        },
    ),
    unique_by=lambda container: container["name"],
)
METADATA = st.fixed_dictionaries(
    {"name": st.just("a")},
    optional={"labels": DATA | st.just({}), "finalizers": st.lists(st.sampled_from("pqr"), unique=True)},
)


@given(st.lists(st.tuples(st.sampled_from(("one", "two", "put")), METADATA, CONTAINERS), max_size=6))
def test_nothing_goes_of_what_is_all_applied_again(steps):
    """The short way through `_pruned` leads where the long one does."""
    short, live = _Work._pruned, None

    def both(work, merged, mine):
        last = next((e["fieldsV1"] for e in [work._last or {}] if e), {})
        made = short(work, merged, mine)
        assert made == (work._without_abandoned(merged, mine, last) if last else merged)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Work, "_pruned", both)
        for manager, metadata, containers in steps:
            config = {**deployment(*containers), "metadata": metadata}
            if manager != "put":
                live = run(live, config, manager, schema=DEPLOYMENT, force=True)
            elif live is not None:
                new = {**config, "metadata": {**metadata, "managedFields": live["metadata"]["managedFields"]}}
                writer = Writer("put", "apps/v1", NOW)
                new["metadata"]["managedFields"] = replaced(live, new, DEPLOYMENT, writer)
                live = new


def test_a_conflict_names_the_manager_and_the_field():
    live = run(None, deployment(replicas=1), "one", schema=DEPLOYMENT)
    update = copy.deepcopy(live)
    update["spec"]["replicas"] = 3
    update["metadata"]["managedFields"] = replaced(live, update, DEPLOYMENT, Writer("hand", "apps/v1", NOW))
    with pytest.raises(Conflict) as refused:
        run(update, deployment(replicas=1), "one", schema=DEPLOYMENT)
    assert refused.value.message == (
        'Apply failed with 1 conflict: conflict with "hand" using apps/v1: .spec.replicas'
    )
    assert refused.value.details["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "hand" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_several_conflicts_are_listed_by_manager():
    live = run(run(None, config_map(a="1", b="1"), "one"), config_map(c="1"), "two")
    with pytest.raises(Conflict) as refused:
        run(live, config_map(a="2", b="2", c="2"), "three")
    assert refused.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.c'
    )


def test_items_of_a_keyed_list_have_owners_of_their_own():
    live = run(None, deployment({"name": "c", "image": "x"}), "one", schema=DEPLOYMENT)
    live = run(live, deployment({"name": "d", "image": "y"}), "two", schema=DEPLOYMENT)
    assert [c["name"] for c in live["spec"]["template"]["spec"]["containers"]] == ["c", "d"]
    live = run(live, deployment(), "one", schema=DEPLOYMENT)
    assert [c["name"] for c in live["spec"]["template"]["spec"]["containers"]] == ["d"]


def test_the_order_of_a_keyed_list_is_that_of_who_applies_last():
    live = run(None, deployment(*({"name": n, "image": n} for n in "abc")), "one", schema=DEPLOYMENT)
    config = deployment(*({"name": n, "image": n} for n in "cxa"))
    live = run(live, config, "two", schema=DEPLOYMENT)
    assert [c["name"] for c in live["spec"]["template"]["spec"]["containers"]] == ["b", "c", "x", "a"]


def test_an_atomic_field_is_owned_whole():
    live = run(None, deployment(), "one", schema=DEPLOYMENT)
    assert owners(live)["one"]["f:spec"]["f:selector"] == {}


def test_an_object_that_was_never_tracked_belongs_to_before_first_apply():
    live = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "uid": "u"},
        "data": {"a": "1"},
    }
    live = run(live, config_map(b="1"), "one")
    assert owners(live) == {
        "before-first-apply": {"f:data": {".": {}, "f:a": {}}},
        "one": {"f:data": {"f:b": {}}},
    }


def test_kubectl_takes_what_it_applied_on_the_clients_side():
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1"}}'
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": last}
    live = {**config_map(a="1"), "metadata": {"name": "a", "annotations": annotations}}
    live["metadata"]["managedFields"] = created(
        live, None, CONFIG_MAP, Writer("kubectl-client-side-apply", "v1", NOW)
    )
    applied = run(live, config_map(a="2"), "kubectl")
    assert applied["data"] == {"a": "2"}
    assert '"a":"2"' in applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    with pytest.raises(Conflict):
        run(live, config_map(a="2"), "another")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"spec": {"replicaz": 1}}, ".spec.replicaz: field not declared in schema"),
        ({"spec": {"replicas": "1"}}, ".spec.replicas: expected numeric (int or float), got"),
        ({"spec": []}, ".spec: expected map, got"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}},
            '.spec.template.spec.containers: duplicate entries for key [name="c"]',
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(config, complaint):
    metadata = {"name": "a", "namespace": "default"}
    with pytest.raises(ApiError) as refused:
        check_config(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, **config}, DEPLOYMENT
        )
    assert refused.value.message.startswith(
        f"failed to create typed patch object (default/a; apps/v1, Kind=Deployment): {complaint}"
    )


def test_managed_fields_cannot_be_applied():
    config = config_map(a="1")
    config["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        run(None, config, "one")
