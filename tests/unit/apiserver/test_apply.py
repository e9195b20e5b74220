"""PATCH with application/apply-patch+yaml, and whom the server takes for the manager of a write."""

from __future__ import annotations

import asyncio

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
YAML = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n"


def apply(api, path, body, query="fieldManager=one"):
    return asyncio.run(api.ask("PATCH", f"{path}?{query}", body, content_type="application/apply-patch+yaml"))


def config(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def deployment(**spec):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}


def managers(answer):
    return {
        (e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"]
        for e in answer.json["metadata"].get("managedFields", [])
    }


def test_what_is_not_there_is_created_and_again_is_the_same(api):
    first = apply(api, f"{CONFIG_MAPS}/a", YAML)
    api.time += 60
    again = apply(api, f"{CONFIG_MAPS}/a", YAML)
    assert (first.status, again.status) == (201, 200)
    assert again.raw == first.raw
    assert managers(first) == {("one", "Apply", ""): {"f:data": {"f:x": {}}}}


def test_a_dry_run_stores_nothing(api):
    assert apply(api, f"{CONFIG_MAPS}/a", YAML, "fieldManager=one&dryRun=All").status == 201
    assert api.get(f"{CONFIG_MAPS}/a").status == 404


def test_a_conflict_changes_nothing_unless_forced(api):
    first = apply(api, f"{CONFIG_MAPS}/a", config(x="1"))
    refused = apply(api, f"{CONFIG_MAPS}/a", config(x="2"), "fieldManager=two")
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert refused.message == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert api.get(f"{CONFIG_MAPS}/a").raw == first.raw
    forced = apply(api, f"{CONFIG_MAPS}/a", config(x="2"), "fieldManager=two&force=true")
    assert managers(forced) == {("two", "Apply", ""): {"f:data": {"f:x": {}}}}


@pytest.mark.parametrize(
    ("body", "query", "status", "message"),
    [
        (
            YAML,
            "",
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply',
        ),
        (YAML, "fieldManager=" + "x" * 129, 422, "Too long: may not be more than 128 bytes"),
        (YAML, "fieldManager=a%0ab", 422, "invalid character U+000A (at position 1)"),
        (b"kind: Secret\napiVersion: v1\n", "fieldManager=one", 400, "invalid object type: /v1, Kind=Secret"),
        (b"- a\n", "fieldManager=one", 400, "error decoding patch"),
        (b"{", "fieldManager=one", 400, ""),
        (
            config(x=1),
            "fieldManager=one",
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.x",
        ),
        (
            {**config(), "metadata": {"name": "b"}},
            "fieldManager=one",
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        ({**config(), "metadata": {"name": "a", "uid": "u"}}, "fieldManager=one", 409, "uid mismatch"),
        ({**config(), "metadata": {"name": "a", "namespace": "x"}}, "fieldManager=one", 400, "namespace"),
        (
            {**config(), "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}},
            "fieldManager=one",
            400,
            "metadata.managedFields must be nil",
        ),
    ],
)
def test_what_cannot_be_applied_is_refused(api, body, query, status, message):
    answer = apply(api, f"{CONFIG_MAPS}/a", body, query)
    assert (answer.status, message in answer.message) == (status, True), answer.message


def test_force_is_for_apply(api):
    api.config_map("a")
    answer = api.patch(f"{CONFIG_MAPS}/a?force=true", {})
    assert (answer.status, "may not be specified for non-apply patch" in answer.message) == (422, True)


def test_defaults_are_nobodys_and_stay(api):
    found = apply(api, f"{DEPLOYMENTS}/a", deployment()).json
    assert found["spec"]["replicas"] == 1
    assert "f:replicas" not in found["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]


def test_the_status_is_applied_through_its_subresource_alone(api):
    apply(api, f"{DEPLOYMENTS}/a", deployment(replicas=2))
    condition = {"type": "X", "status": "True"}
    body = {**deployment(replicas=5), "status": {"conditions": [condition]}}
    answer = apply(api, f"{DEPLOYMENTS}/a/status", body, "fieldManager=two")
    assert (answer.status, answer.json["spec"]["replicas"]) == (200, 2)
    steps = {".": {}, "f:status": {}, "f:type": {}}
    fields = {"f:status": {"f:conditions": {'k:{"type":"X"}': steps}}}
    assert managers(answer)["two", "Apply", "status"] == fields
    plain = apply(api, f"{DEPLOYMENTS}/a", {**deployment(replicas=2), "status": {"replicas": 9}})
    assert "replicas" not in plain.json["status"]
    assert "f:status" not in managers(plain)["one", "Apply", ""]


def test_the_status_of_what_is_not_there_is_not_found(api):
    assert apply(api, f"{DEPLOYMENTS}/a/status", deployment()).status == 404


def test_the_manager_is_the_parameter_or_the_start_of_the_user_agent(api):
    body = {"metadata": {"name": "a"}, "data": {"x": "1"}}
    named = api.post(f"{CONFIG_MAPS}?fieldManager=hand", body, user_agent="kubectl/v1.36 (linux)")
    body["metadata"]["name"] = "b"
    other = api.post(CONFIG_MAPS, body, user_agent="kubectl/v1.36 (linux)")
    body["metadata"]["name"] = "c"
    nobody = api.post(CONFIG_MAPS, body)
    assert [next(iter(managers(a)))[0] for a in (named, other, nobody)] == ["hand", "kubectl", "unknown"]


def test_a_scale_moves_the_replicas(api):
    apply(api, f"{DEPLOYMENTS}/a", deployment(replicas=1))
    api.patch(f"{DEPLOYMENTS}/a/scale?fieldManager=scaler", {"spec": {"replicas": 3}})
    found = managers(api.get(f"{DEPLOYMENTS}/a"))
    assert found["scaler", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["one", "Apply", ""]["f:spec"]


def test_a_put_without_managed_fields_keeps_them(api):
    apply(api, f"{CONFIG_MAPS}/a", config(x="1"))
    answer = api.put(f"{CONFIG_MAPS}/a?fieldManager=hand", config(x="1", y="1"))
    assert managers(answer) == {
        ("one", "Apply", ""): {"f:data": {"f:x": {}}},
        ("hand", "Update", ""): {"f:data": {"f:y": {}}},
    }


@pytest.mark.parametrize("nothing", [[{}], []], ids=["one empty", "none"])
def test_an_empty_entry_or_list_resets_them(api, nothing):
    apply(api, f"{CONFIG_MAPS}/a", config(x="1"))
    answer = api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": nothing}})
    assert "managedFields" not in answer.json["metadata"]
    apply(api, f"{CONFIG_MAPS}/b", {**config(x="1"), "metadata": {"name": "b"}})
    body = {**config(x="1"), "metadata": {"name": "b", "managedFields": nothing}}
    assert "managedFields" not in api.put(f"{CONFIG_MAPS}/b", body).json["metadata"]


def test_a_key_given_twice_is_refused_where_fields_are_strict(api):
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: '1'\n  y: '1'\n  x: '2'\n"
    strict = apply(api, f"{CONFIG_MAPS}/a", body, "fieldManager=one&fieldValidation=Strict")
    assert (strict.status, strict.message) == (
        400,
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 7: key "x" already set in map',
    )
    assert apply(api, f"{CONFIG_MAPS}/a", body).json["data"] == {"x": "2", "y": "1"}


def test_taking_everything_back_leaves_what_others_say(api):
    apply(api, f"{CONFIG_MAPS}/a", config(x="1"))
    apply(api, f"{CONFIG_MAPS}/a", config(y="1"), "fieldManager=two")
    answer = apply(
        api, f"{CONFIG_MAPS}/a", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    )
    assert answer.json["data"] == {"y": "1"}
    assert [key[0] for key in managers(answer)] == ["two"]
