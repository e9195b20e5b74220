"""The objects that a cluster starts with."""

from __future__ import annotations

import asyncio

from proa.apiserver.bootstrap import ensure_system_objects
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import User


def start(api, address: str = "10.243.0.1") -> None:
    client = ApiClient(LocalTransport(api.server.handle, User("system:apiserver", ("system:masters",))))
    asyncio.run(ensure_system_objects(client, service_cidr="10.96.0.0/16", address=address, port=6443))


def test_pods_reach_the_api_server_by_the_first_service_address(make_api):
    api = make_api()
    start(api)
    spec = api.get("/api/v1/namespaces/default/services/kubernetes").json["spec"]
    endpoint_slice = api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").json
    assert spec["clusterIP"] == "10.96.0.1"
    assert (spec["ports"][0]["port"], spec["ports"][0]["targetPort"]) == (443, 6443)
    assert endpoint_slice["endpoints"][0]["addresses"] == ["10.243.0.1"]
    names = [n["metadata"]["name"] for n in api.get("/api/v1/namespaces").json["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]


def test_starting_again_changes_only_an_address_that_has_moved(make_api):
    api = make_api()
    start(api)
    revision = api.store.revision
    start(api)
    assert api.store.revision == revision
    start(api, "10.243.0.9")
    assert api.store.revision == revision + 2
    endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes").json
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "10.243.0.9"}]
