"""Discovery, health, version, metrics and the paths that lead nowhere."""

from __future__ import annotations

import asyncio

import pytest

from proa.apiserver.app import ApiSettings

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


def test_requests_are_counted(api):
    api.get("/api/v1/pods")
    text = api.get("/metrics").raw.decode()
    line = 'apiserver_request_total{verb="list",group="",version="v1",resource="pods",subresource="",code="200"} 1'
    assert line in text.splitlines()


def test_every_answer_has_an_audit_id_and_is_not_cached(api):
    headers = asyncio.run(api.ask("GET", "/api/v1/pods", audit_id="mine")).headers
    assert headers["Audit-Id"] == "mine"
    assert headers["Cache-Control"] == "no-cache, private"
    assert len(api.get("/nope").headers["Audit-Id"]) == 36


def test_a_deprecated_kind_says_so(api):
    warning = api.get("/api/v1/endpoints").headers["Warning"]
    assert warning == '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
