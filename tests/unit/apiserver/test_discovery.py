"""Discovery, health, version, metrics and the paths that lead nowhere."""

from __future__ import annotations

import asyncio

import pytest

from proa.apiserver.app import ApiSettings
from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.objects.resource import Resource
from proa.objects.schemas.schema import Schema

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList,application/json"


def test_each_resource_is_told_with_its_subresources(api):
    resources = {r["name"]: r for r in api.get("/apis/apps/v1").json["resources"]}
    assert resources["deployments"]["shortNames"] == ["deploy"]
    assert resources["deployments"]["storageVersionHash"] == "8aSe+NMegvE=", "as a real server has it"
    assert resources["deployments/scale"]["kind"] == "Scale"
    assert (resources["deployments/scale"]["group"], resources["deployments/scale"]["version"]) == (
        "autoscaling",
        "v1",
    )


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_comes_in_the_version_asked_for(api, version):
    answer = api.get("/apis", accept=AGGREGATED.format(version))
    assert answer.json["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    names = [item["metadata"]["name"] for item in answer.json["items"]]
    assert [name for name in names if name in ("apps", "batch")] == ["apps", "batch"]
    again = api.get("/apis", accept=AGGREGATED.format(version), if_none_match=answer.headers["ETag"])
    assert (again.status, again.raw) == (304, b"")


def test_clients_that_do_not_ask_get_the_old_documents(api):
    assert api.get("/api").json["versions"] == ["v1"]
    assert api.get("/apis", accept="application/json").json["kind"] == "APIGroupList"
    assert api.get("/apis/apps").json["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


@pytest.mark.parametrize(
    "path", ["/nope", "/apis/none.example", "/apis/none.example/v1/x", "/api/v9", "/api/v9/pods"]
)
def test_paths_that_lead_nowhere(api, path):
    answer = api.get(path)
    assert (answer.status, answer.raw) == (404, b"404 page not found\n")


@pytest.mark.parametrize("path", ["/api/v1/boats", "/api/v1/namespaces/default/nodes", "/api/v1/pods/p",
                                  "/api/v1/namespaces/default/configmaps/a/status"])  # fmt: skip
def test_resources_that_are_not_there(api, path):
    answer = api.get(path)
    assert (answer.status, answer.json["details"]) == (404, {})
    assert answer.message == "the server could not find the requested resource"


def test_readiness_waits_for_what_it_is_told_to_wait_for(make_api):
    problems = {"node": "not ready yet"}
    api = make_api(ApiSettings(ready_checks={"node": lambda: problems.get("node", "")}))
    failed = api.get("/readyz")
    assert (failed.status, b"[-]node failed: not ready yet" in failed.raw) == (500, True)
    assert api.get("/readyz?exclude=node").status == 200
    assert api.get("/livez").raw == b"ok"
    problems.clear()
    assert api.get("/readyz?verbose").raw == b"[+]ping ok\n[+]etcd ok\n[+]node ok\nreadyz check passed\n"


def test_a_server_whose_store_takes_no_writes_is_not_well(make_api):
    api = make_api()
    asyncio.run(api.store.close())
    for path in ("/healthz", "/livez", "/readyz"):
        answer = api.get(path)
        assert (answer.status, b"[-]etcd failed: the store is closed" in answer.raw) == (500, True)


def test_the_version_is_one_that_clients_understand(api):
    version = api.get("/version").json
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "36", "v1.36.2+proa")


def test_requests_are_counted_under_upstreams_names(api):
    api.get("/api/v1/pods")
    lines = api.get("/metrics").raw.decode().splitlines()
    series = 'verb="LIST",group="",version="v1",resource="pods",subresource="",scope="cluster",component="apiserver"'
    assert f'apiserver_request_total{{{series},dry_run="",code="200"}} 1' in lines
    assert f'apiserver_request_duration_seconds_bucket{{{series},dry_run="",le="+Inf"}} 1' in lines
    assert f'apiserver_request_duration_seconds_count{{{series},dry_run=""}} 1' in lines
    assert 'apiserver_current_inflight_requests{request_kind="readOnly"} 1' in lines
    assert 'apiserver_storage_objects{resource="namespaces"} 1' in lines
    names = {line.partition(" ")[0] for line in lines}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names


def test_paths_without_end_are_counted_as_one(api, monkeypatch):
    monkeypatch.setattr("proa.apiserver.filters.metrics.MAX_SERIES", 4)
    for index in range(10):
        api.get(f"/apis/none.example/v{index}/x")
    text = api.get("/metrics").raw.decode()
    assert "none.example" in text
    assert 'apiserver_request_total{verb="other"' in text
    assert text.count("apiserver_request_total{") <= 5


def test_every_answer_has_an_audit_id_and_is_not_cached(api):
    headers = asyncio.run(api.ask("GET", "/api/v1/pods", audit_id="mine")).headers
    assert headers["Audit-Id"] == "mine"
    assert headers["Cache-Control"] == "no-cache, private"
    assert len(api.get("/nope").headers["Audit-Id"]) == 36


def test_a_deprecated_kind_says_so(api):
    warning = api.get("/api/v1/endpoints").headers["Warning"]
    assert warning == '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


def add_boats(api, *versions, **facts):
    """Serve a custom kind in each of the versions."""
    for version in versions:
        definition = ResourceDefinition(
            resource=Resource("sea.example.com", version, "boats", "Boat"),
            singular="boat",
            schema=Schema("object", preserve_unknown=True),
            subresources=(
                Subresource("status", "Boat", ("get", "patch", "update")),
                Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
            ),
            **{"openapi": {}, **facts},
        )
        api.server.catalog.add(definition)


def test_versions_are_in_the_order_of_their_age(api):
    add_boats(api, "v1beta2", "v1", "foo", "v2alpha1", "v11", "v1beta10", "v2")
    group = api.get("/apis/sea.example.com").json
    order = ["v11", "v2", "v1", "v1beta10", "v1beta2", "v2alpha1", "foo"]
    assert [version["version"] for version in group["versions"]] == order
    assert group["preferredVersion"]["version"] == "v11"
    last = api.get("/apis", accept=AGGREGATED.format("v2")).json["items"][-1]
    assert last["metadata"]["name"] == "sea.example.com", "custom groups come after the built-in ones"
    assert [version["version"] for version in last["versions"]] == order


def test_a_custom_kind_is_told_of_with_its_group_and_version(api):
    before = api.get("/apis", accept=AGGREGATED.format("v2")).headers["ETag"]
    add_boats(api, "v1")
    answer = api.get("/apis", accept=AGGREGATED.format("v2"), if_none_match=before)
    (boats,) = answer.json["items"][-1]["versions"][0]["resources"]
    assert boats["responseKind"] == {"group": "sea.example.com", "version": "v1", "kind": "Boat"}
    assert [s["subresource"] for s in boats["subresources"]] == ["status", "scale"]
    assert boats["subresources"][1]["responseKind"] == {
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
    }
    api.server.catalog.remove(Resource("sea.example.com", "v1", "boats", "Boat"))
    assert api.get("/apis", accept=AGGREGATED.format("v2"), if_none_match=before).status == 304


def test_the_root_names_every_path(api):
    add_boats(api, "v1")
    paths = api.get("/").json["paths"]
    assert {"/api", "/api/v1", "/apis", "/apis/apps/v1", "/apis/sea.example.com", "/version"} <= {*paths}
    assert paths == sorted(paths)


def test_the_documents_of_a_custom_kind_say_what_its_author_said(api):
    parts = {"spec": {"type": "object", "description": "what it is", "properties": {
        "size": {"type": "integer", "minimum": 1}, "any": {"x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True}, "crew": {"type": "string", "nullable": True}}}}  # fmt: skip
    add_boats(api, "v1", openapi={"type": "object", "properties": parts}, list_kind="Fleet")
    url = api.get("/openapi/v3").json["paths"]["apis/sea.example.com/v1"]["serverRelativeURL"]
    document = api.get(url).json
    schemas = document["components"]["schemas"]
    boat = schemas["com.example.sea.v1.Boat"]
    assert boat["properties"]["spec"]["properties"]["size"] == {"type": "integer", "minimum": 1}
    assert boat["properties"]["spec"]["properties"]["port"]["anyOf"]
    assert boat["x-kubernetes-group-version-kind"] == [
        {"group": "sea.example.com", "version": "v1", "kind": "Boat"}
    ]
    assert schemas["com.example.sea.v1.Fleet"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/com.example.sea.v1.Boat"
    }
    patch = document["paths"]["/apis/sea.example.com/v1/namespaces/{namespace}/boats/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert patch["operationId"] == "patchSeaExampleComV1NamespacedBoat"
    swagger = api.get("/openapi/v2").json
    spec = swagger["definitions"]["com.example.sea.v1.Boat"]["properties"]["spec"]["properties"]
    assert "type" not in spec["crew"]
    assert swagger["paths"]["/apis/sea.example.com/v1/boats"]["get"]["operationId"]


def test_what_did_not_change_is_not_made_again(api):
    first = api.get("/openapi/v3").json["paths"]
    body = api.get(first["apis/apps/v1"]["serverRelativeURL"]).raw
    add_boats(api, "v1")
    second = api.get("/openapi/v3").json["paths"]
    assert second["apis/apps/v1"] == first["apis/apps/v1"]
    assert api.get(second["apis/apps/v1"]["serverRelativeURL"]).raw is body
    add_boats(api, "v1", openapi={"type": "object", "description": "new"})
    third = api.get("/openapi/v3").json["paths"]
    assert third["apis/sea.example.com/v1"] != second["apis/sea.example.com/v1"]


def test_swagger_has_the_parameters_that_old_clients_look_for(api):
    paths = api.get("/openapi/v2").json["paths"]
    patch = paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert {"fieldValidation", "body"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
