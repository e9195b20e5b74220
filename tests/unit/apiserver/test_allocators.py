"""ClusterIPs and node ports are handed out once, and come back when a write fails or an object goes."""

from __future__ import annotations

import pytest

from proa.apiserver.allocators import ClusterAllocators
from proa.apiserver.app import ApiServer
from proa.apiserver.registry.allocation import Allocation
from proa.apiserver.resources import DEFINITIONS
from proa.objects.errors import Invalid

SERVICES = "/api/v1/namespaces/default/services"


def service(name: str, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}


def test_a_small_range_is_handed_out_whole_and_then_is_full():
    allocators = ClusterAllocators("10.96.0.0/29")
    taken = {allocators.allocate_cluster_ip() for _ in range(6)}
    assert taken == {f"10.96.0.{n}" for n in range(1, 7)}
    with pytest.raises(Invalid, match="range is full"):
        allocators.allocate_cluster_ip()
    allocators.release_cluster_ip("10.96.0.3")
    assert allocators.allocate_cluster_ip() == "10.96.0.3"


@pytest.mark.parametrize("wanted", ["10.97.0.1", "10.96.0.0", "10.96.0.7", "::1", "x"])
def test_an_address_outside_of_the_range_is_refused(wanted):
    with pytest.raises(Invalid, match="not in the valid range"):
        ClusterAllocators("10.96.0.0/29").allocate_cluster_ip(wanted)


def test_a_node_port_is_taken_once_a_protocol():
    allocators = ClusterAllocators()
    assert allocators.allocate_node_port(30080) == 30080
    assert allocators.allocate_node_port(30080, "UDP") == 30080
    with pytest.raises(Invalid, match="provided port is already allocated"):
        allocators.allocate_node_port(30080)
    with pytest.raises(Invalid, match="The range of valid ports is 30000-32767"):
        allocators.allocate_node_port(80)
    assert allocators.allocate_node_port() in range(30086, 32768)


def test_rolling_back_gives_back_what_was_taken_and_keeps_what_was_given_back():
    allocators = ClusterAllocators()
    allocators.allocate_cluster_ip("10.96.0.5")
    allocation = Allocation(allocators)
    allocation.allocate_cluster_ip("10.96.0.6")
    allocation.release_cluster_ip("10.96.0.5")
    allocation.roll_back()
    assert allocators.allocate_cluster_ip("10.96.0.6") == "10.96.0.6"
    with pytest.raises(Invalid):
        allocators.allocate_cluster_ip("10.96.0.5")


class TestThroughTheApi:
    def test_an_address_that_is_taken_is_refused_with_its_field(self, api):
        assert api.post(SERVICES, service("a", clusterIP="10.96.0.7")).status == 201
        answer = api.post(SERVICES, service("b", clusterIP="10.96.0.7"))
        assert answer.status == 422
        assert answer.message == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: '
            "provided IP is already allocated"
        )

    def test_a_refused_service_takes_nobodys_address(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7", ports=[])).status == 422
        assert api.post(SERVICES, service("c", clusterIP="10.96.0.7")).status == 422

    def test_a_write_that_fails_takes_nothing(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        assert api.post(SERVICES, service("a", clusterIP="10.96.0.8")).status == 409
        assert api.post(f"{SERVICES}?dryRun=All", service("b", clusterIP="10.96.0.8")).status == 201
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.8")).status == 201

    def test_a_deleted_service_gives_back_what_it_had(self, api):
        ports = [{"port": 80, "nodePort": 30080}]
        body = service("a", clusterIP="10.96.0.7", type="NodePort", ports=ports)
        assert api.post(SERVICES, body).status == 201
        assert api.delete(f"{SERVICES}/a").status == 200
        assert api.post(SERVICES, body).status == 201

    def test_after_a_restart_what_is_stored_is_taken(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        api.server = ApiServer(api.store, DEFINITIONS)
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7")).status == 422
