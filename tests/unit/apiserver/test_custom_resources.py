"""Custom resources through the API: served when defined, held to their schema, gone when their definition goes."""

from __future__ import annotations

import asyncio
import copy

import pytest
from tests.unit.apiserver.custom_resource_builders import (
    BOATS,
    DEFINITIONS,
    STATUS,
    make_boat,
    make_definition,
    make_schema,
    make_version,
)

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS as KINDS

WHOLE = {
    "subresources": {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.masts",
            "statusReplicasPath": ".status.masts",
            "labelSelectorPath": ".status.port",
        },
    }
}


def define(api, *versions, **spec):
    answer = api.post(DEFINITIONS, make_definition(*versions, **spec))
    assert answer.status == 201, answer.raw
    return answer.json


def conditions(obj):
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]}


def test_a_kind_is_served_by_the_time_that_its_definition_is_made(api):
    made = define(api)
    assert conditions(made) == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert made["status"]["acceptedNames"] == {
        "plural": "boats",
        "singular": "boat",
        "kind": "Boat",
        "listKind": "BoatList",
    }
    assert made["status"]["storedVersions"] == ["v1"]
    boat = api.post(BOATS, make_boat())
    assert boat.status == 201
    assert boat.json["spec"] == {"masts": 1, "hull": "single"}
    assert boat.json["metadata"]["generation"] == 1
    listed = api.get(BOATS).json
    assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == ("BoatList", ["dhow"])
    assert [(item["kind"], item["apiVersion"]) for item in listed["items"]] == [("Boat", "sea.example/v1")]


def test_what_was_defined_is_served_after_a_restart_and_by_other_servers(api):
    other = ApiServer(api.store, KINDS)
    define(api)
    api.post(BOATS, make_boat())
    for server in (other, ApiServer(api.store, KINDS)):
        api.server = server
        assert api.get(f"{BOATS}/dhow").json["spec"]["hull"] == "single"


def test_discovery_and_openapi_tell_of_it_at_once(api):
    define(api, make_version(**WHOLE), names={"shortNames": ["bt"], "categories": ["all"]})
    found = {r["name"]: r for r in api.get("/apis/sea.example/v1").json["resources"]}
    assert set(found) == {"boats", "boats/status", "boats/scale"}
    assert (found["boats"]["shortNames"], found["boats"]["categories"]) == (["bt"], ["all"])
    schemas = api.get("/openapi/v3/apis/sea.example/v1").json["components"]["schemas"]
    assert schemas["example.sea.v1.Boat"]["properties"]["spec"]["properties"]["masts"]["minimum"] == 0


def test_names_that_another_of_the_group_has_are_not_accepted_and_the_kind_not_served(api):
    define(api)
    other = define(api, names={"plural": "yachts"})
    assert conditions(other) == {
        "NamesAccepted": ("False", "ListKindConflict"),
        "Established": ("False", "NotAccepted"),
    }
    assert api.get("/apis/sea.example/v1/namespaces/default/yachts").status == 404


def test_an_invalid_object_is_refused_with_every_reason(api):
    define(api)
    answer = api.post(BOATS, make_boat(masts=-1, crew=["captain", 1]))
    assert answer.message == (
        'Boat.sea.example "dhow" is invalid: [spec.masts: Invalid value: -1: spec.masts in body should be greater than '
        "or equal to 0, spec.crew[0]: Too long: may not be more than 5 bytes, spec.crew[1]: Invalid value: "
        '"integer": spec.crew[1] in body must be of type string: "integer"]'
    )


def test_unknown_fields_are_pruned_and_told_of(api):
    define(api)
    boat = make_boat(colour="red")
    answer = api.post(BOATS, boat)
    assert "colour" not in answer.json["spec"]
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.colour\\""'
    refused = api.post(f"{BOATS}?fieldValidation=Strict", {**boat, "metadata": {"name": "x", "sail": 1}})
    assert refused.message == (
        'Boat in version "v1" cannot be handled as a Boat: strict decoding error: unknown field "metadata.sail", '
        'unknown field "spec.colour"'
    )


def test_the_status_is_a_subresource_where_the_definition_says_so(api):
    define(api, make_version(**WHOLE))
    boat = api.post(BOATS, {**make_boat(), "status": {"port": "x"}}).json
    assert "status" not in boat
    changed = copy.deepcopy(boat)
    changed["metadata"]["labels"] = {"a": "b"}
    changed["spec"]["masts"], changed["status"] = 9, {"port": "home"}
    written = api.put(f"{BOATS}/dhow/status", changed).json
    assert (written["spec"], written["status"]) == ({"masts": 1, "hull": "single"}, {"port": "home"})
    assert "labels" not in written["metadata"]
    assert written["metadata"]["generation"] == 1
    kept = api.patch(f"{BOATS}/dhow", {"spec": {"masts": 2}, "status": {"port": "away"}}).json
    assert (kept["status"], kept["metadata"]["generation"]) == ({"port": "home"}, 2)
    assert api.patch(f"{BOATS}/dhow/status", {"status": {"port": 1}}).message == (
        'Boat.sea.example "dhow" is invalid: [status.port: Invalid value: "integer": port in body must be of type '
        'string: "integer", .status.port: Invalid value: "": .status.port accessor error: 1 is of the type int64, '
        "expected string]"
    )


def test_a_status_that_is_no_subresource_counts_for_the_generation(api):
    define(api)
    api.post(BOATS, make_boat())
    assert api.patch(f"{BOATS}/dhow", {"status": {"port": "x"}}).json["metadata"]["generation"] == 2


def test_scale(api):
    define(api, make_version(**WHOLE))
    api.post(BOATS, make_boat())
    api.patch(f"{BOATS}/dhow/status", {"status": {"masts": 3, "port": "a=b"}})
    scale = api.get(f"{BOATS}/dhow/scale").json
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 3, "selector": "a=b"})
    assert api.patch(f"{BOATS}/dhow/scale", {"spec": {"replicas": 4}}).json["spec"] == {"replicas": 4}
    assert api.get(f"{BOATS}/dhow").json["spec"]["masts"] == 4


def test_an_update_must_say_what_it_replaces(api):
    define(api)
    api.post(BOATS, make_boat())
    assert api.put(f"{BOATS}/dhow", make_boat()).message == (
        'Boat.sea.example "dhow" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an '
        "update"
    )


def test_strategic_merge_is_not_for_custom_resources(api):
    define(api)
    api.post(BOATS, make_boat())
    answer = api.patch(f"{BOATS}/dhow", {"spec": {}}, "strategic-merge")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")


def test_server_side_apply_merges_lists_by_their_types(api):
    crew = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name", "rank"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "rank": {"type": "string", "default": "mate"},
                "age": {"type": "integer"},
            },
        },
    }
    spec = {
        "type": "object",
        "properties": {"crew": crew, "any": {"x-kubernetes-preserve-unknown-fields": True}},
    }
    define(api, make_version(schema=make_schema(spec)))

    def apply(manager, members, **rest):
        boat = {**make_boat(), "spec": {"crew": members, **rest}}
        path = f"{BOATS}/dhow?fieldManager={manager}"
        kind = "application/apply-patch+yaml"
        return asyncio.run(api.ask("PATCH", path, boat, content_type=kind)).json["spec"]

    apply("one", [{"name": "ann", "age": 30}], any={"a": 1})
    both = apply("two", [{"name": "bob"}], any={"b": 2})
    assert both == {
        "crew": [{"name": "ann", "age": 30, "rank": "mate"}, {"name": "bob", "rank": "mate"}],
        "any": {"a": 1, "b": 2},
    }
    assert apply("one", [], any={})["crew"] == [{"name": "bob", "rank": "mate"}]


def test_columns(api):
    columns = [
        {"name": "Masts", "type": "integer", "jsonPath": ".spec.masts"},
        {"name": "First", "type": "string", "jsonPath": ".spec.crew[0]", "priority": 1},
        {"name": "Crew", "type": "string", "jsonPath": ".spec.crew"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Port", "type": "string", "jsonPath": ".status.port"},
    ]
    define(api, make_version(additionalPrinterColumns=columns))
    api.post(BOATS, make_boat(crew=["ann", "bob"]))
    api.time += 65
    table = api.get(BOATS, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
    assert table["rows"][0]["cells"] == ["dhow", 1, "ann", '["ann","bob"]', "65s", None]
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]][:3] == [
        ("Name", 0),
        ("Masts", 0),
        ("First", 1),
    ]


def test_selectable_fields(api):
    define(api, make_version(selectableFields=[{"jsonPath": ".spec.hull"}]))
    api.post(BOATS, make_boat("a"))
    api.post(BOATS, make_boat("b", hull="twin"))
    found = api.get(f"{BOATS}?fieldSelector=spec.hull%3Dtwin").json
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    assert api.get(f"{BOATS}?fieldSelector=spec.masts%3D1").status == 400


def two_versions(storage="v1"):
    return (
        make_version("v1", storage=storage == "v1"),
        make_version(
            "v2",
            storage=storage == "v2",
            schema=make_schema(
                {
                    "type": "object",
                    "properties": {"hull": {"type": "string", "default": "twin"}, "keel": {"type": "string"}},
                }
            ),
        ),
    )


def test_versions_are_read_and_written_in_each(api):
    define(api, *two_versions())
    api.post(BOATS, make_boat())
    second = BOATS.replace("/v1/", "/v2/")
    boat = api.get(f"{second}/dhow").json
    assert (boat["apiVersion"], boat["spec"]) == ("sea.example/v2", {"hull": "single"})
    assert [item["spec"] for item in api.get(second).json["items"]] == [{"hull": "single"}]
    versions = api.get("/apis/sea.example").json
    assert [v["version"] for v in versions["versions"]] == ["v2", "v1"]


def test_a_new_storage_version_is_remembered_beside_the_old_one(api):
    made = define(api, *two_versions())
    api.post(BOATS, make_boat())
    made["spec"]["versions"] = list(two_versions("v2"))
    updated = api.put(f"{DEFINITIONS}/boats.sea.example", made).json
    assert updated["status"]["storedVersions"] == ["v1", "v2"]
    assert api.get(f"{BOATS}/dhow").json["apiVersion"] == "sea.example/v1"
    assert api.patch(f"{BOATS}/dhow", {"spec": {"hull": "x"}}).json["spec"] == {"hull": "x"}
    updated["spec"]["versions"] = [make_version("v2")]
    refused = api.put(f"{DEFINITIONS}/boats.sea.example", updated)
    assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in refused.message


def test_a_version_that_is_not_served_is_not_there(api):
    first, second = two_versions()
    made = define(api, first, second)
    made["spec"]["versions"][1]["served"] = False
    api.put(f"{DEFINITIONS}/boats.sea.example", made)
    assert api.get("/apis/sea.example/v2").status == 404
    assert api.get(BOATS).status == 200


def test_a_deprecated_version_warns(api):
    first, second = two_versions()
    define(api, {**first, "deprecated": True}, second)
    warning = api.get(BOATS).headers["Warning"]
    assert warning == '299 - "sea.example/v1 Boat is deprecated; use sea.example/v2 Boat"'


def test_stored_objects_get_the_defaults_of_a_newer_schema_when_they_are_read(api):
    made = define(api)
    api.post(BOATS, make_boat())
    spec = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["flag"] = {"type": "string", "default": "blue"}
    del spec["hull"]
    api.put(f"{DEFINITIONS}/boats.sea.example", made)
    expected = {"masts": 1, "flag": "blue"}
    assert api.get(f"{BOATS}/dhow").json["spec"] == expected
    assert api.get(BOATS).json["items"][0]["spec"] == expected
    api.server = ApiServer(api.store, KINDS)
    assert api.get(f"{BOATS}/dhow").json["spec"] == expected


def test_what_an_older_schema_let_pass_stays_until_it_is_changed(api):
    made = define(api)
    api.post(BOATS, make_boat(crew=["ann"]))
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["masts"]["minimum"] = 5
    api.put(f"{DEFINITIONS}/boats.sea.example", made)
    assert api.patch(f"{BOATS}/dhow", {"spec": {"crew": ["bob"]}}).status == 200
    assert api.patch(f"{BOATS}/dhow", {"spec": {"masts": 2}}).status == 422


def test_a_definition_that_is_deleted_waits_for_its_objects_and_takes_no_new_ones(api):
    define(api)
    answer = api.delete(f"{DEFINITIONS}/boats.sea.example").json
    assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert conditions(answer)["Terminating"] == ("True", "InstanceDeletionPending")
    refused = api.post(BOATS, make_boat())
    assert (refused.status, refused.message) == (
        403,
        'boats.sea.example "dhow" is forbidden: create not allowed while custom resource definition is terminating',
    )


def test_a_definition_that_is_gone_is_not_served(api):
    made = define(api)
    deleted = api.delete(f"{DEFINITIONS}/boats.sea.example").json
    del deleted["metadata"]["finalizers"]
    api.put(f"{DEFINITIONS}/boats.sea.example", deleted)
    assert api.get(f"{DEFINITIONS}/boats.sea.example").status == 404
    assert api.get(BOATS).status == 404
    assert "sea.example" not in [group["name"] for group in api.get("/apis").json["groups"]]
    assert define(api)["metadata"]["uid"] != made["metadata"]["uid"]


@pytest.mark.parametrize("change", ["another schema", "deleted"])
def test_a_watch_ends_when_its_kind_is_served_otherwise_or_no_more(api, change):
    made = define(api)

    async def run():
        response = await api.send("GET", f"{BOATS}?watch=true")
        await api.ask("POST", BOATS, make_boat())
        first = await anext(response.stream)
        if change == "deleted":
            await api.ask("DELETE", f"{BOATS}/dhow")
            deleted = (await api.ask("DELETE", f"{DEFINITIONS}/boats.sea.example")).json
            del deleted["metadata"]["finalizers"]
            await api.ask("PUT", f"{DEFINITIONS}/boats.sea.example", deleted)
        else:
            made["spec"]["versions"][0]["schema"] = make_schema()
            made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "x"
            await api.ask("PUT", f"{DEFINITIONS}/boats.sea.example", made)
        await api.ask("GET", BOATS)
        return first, [chunk async for chunk in response.stream]

    first, rest = asyncio.run(run())
    assert b'"ADDED"' in first
    assert (b'"DELETED"' in b"".join(rest)) == (change == "deleted")


def test_a_cluster_scoped_kind(api):
    define(api, scope="Cluster")
    path = "/apis/sea.example/v1/boats"
    assert api.post(path, make_boat()).status == 201
    assert api.get(BOATS).status == 404


@pytest.mark.parametrize("schema", [{"type": "object", "x-kubernetes-preserve-unknown-fields": True}, STATUS])
def test_every_field_of_a_status_that_may_hold_anything_is_kept(api, schema):
    version = make_version()
    version["schema"]["openAPIV3Schema"]["properties"]["status"] = schema
    define(api, version)
    boat = api.post(BOATS, {**make_boat(), "status": {"port": "x", "deep": {"er": [1]}}}).json
    kept = {"port": "x", "deep": {"er": [1]}} if "properties" not in schema else {"port": "x"}
    assert boat["status"] == kept
