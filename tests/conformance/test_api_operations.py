"""Kinds that upstream's conformance suite takes through all operations of the API, each line by its name."""

from __future__ import annotations

from typing import Any

from proa.client.api import ApiClient
from proa.objects.resource import Resource
from support.api_operations import check_api_operations, resource_of, run_with_api

NETWORK, STORAGE, FLOW = "networking.k8s.io", "storage.k8s.io", "flowcontrol.apiserver.k8s.io"
DEVICES = "resource.k8s.io"
CONDITION = {
    "type": "StatusPatched",
    "status": "True",
    "reason": "E2E",
    "message": "Set by a test",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
}


def test_ingresses() -> None:
    """[sig-network] Ingress API should support creating Ingress API operations [Conformance]"""
    backend = {"service": {"name": "default-backend", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "ImplementationSpecific", "backend": backend}
    spec = {"defaultBackend": backend, "rules": [{"host": "foo.bar.com", "http": {"paths": [path]}}]}
    status = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    check_api_operations(resource_of(NETWORK, "ingresses"), {"spec": spec}, status=status)


def test_ingress_classes() -> None:
    """[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"""
    spec = {"controller": "example.com/controller"}
    check_api_operations(resource_of(NETWORK, "ingressclasses"), {"spec": spec})


def test_ip_addresses() -> None:
    """[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"""
    spec = {"parentRef": {"resource": "services", "namespace": "default", "name": "dummy"}}
    names = ("2001:db8::1", "2001:db8::2", "2001:db8::3")
    check_api_operations(resource_of(NETWORK, "ipaddresses"), {"spec": spec}, names=names)


def test_service_cidrs() -> None:
    """[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"""
    status = {"conditions": [CONDITION]}
    cidrs = resource_of(NETWORK, "servicecidrs")
    check_api_operations(cidrs, {"spec": {"cidrs": ["2001:db8::/64"]}}, status=status)

    async def scenario(client: ApiClient) -> None:
        assert (await client.get(cidrs, "kubernetes"))["spec"]["cidrs"] == ["10.96.0.0/16"]

    run_with_api(scenario)


def test_endpoint_slices() -> None:
    """[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]"""
    endpoint = {"addresses": ["1.2.3.4", "5.6.7.8"], "conditions": {"ready": True}}
    body = {"addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "http", "port": 80}]}
    check_api_operations(resource_of("discovery.k8s.io", "endpointslices"), body)


def test_runtime_classes() -> None:
    """[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]"""
    check_api_operations(resource_of("node.k8s.io", "runtimeclasses"), {"handler": "conf"})


def test_flow_schemas() -> None:
    """[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]"""
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
    }
    spec = {
        "matchingPrecedence": 10000,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [rule],
    }
    status = {"conditions": [{**CONDITION, "type": "TestCondition"}]}
    check_api_operations(resource_of(FLOW, "flowschemas"), {"spec": spec}, status=status)


def test_priority_levels() -> None:
    """[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations
    [Conformance]"""
    limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}
    status = {"conditions": [CONDITION]}
    levels = resource_of(FLOW, "prioritylevelconfigurations")
    check_api_operations(levels, {"spec": {"type": "Limited", "limited": limited}}, status=status)


def test_csi_drivers() -> None:
    """[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]"""
    spec = {"podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}
    check_api_operations(resource_of(STORAGE, "csidrivers"), {"spec": spec})


def test_csi_nodes() -> None:
    """[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"""
    spec = {"drivers": [{"name": "e2e.driver", "nodeID": "n-1", "topologyKeys": ["a.b/zone"]}]}
    check_api_operations(resource_of(STORAGE, "csinodes"), {"spec": spec})


def test_csi_storage_capacities() -> None:
    """[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"""
    body = {"nodeTopology": {}, "storageClassName": "e2e", "capacity": "1Gi"}
    check_api_operations(resource_of(STORAGE, "csistoragecapacities"), body)


def test_volume_attachments() -> None:
    """[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment, and
    [sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"""
    spec = {"attacher": "e2e.attacher", "nodeName": "node-1", "source": {"persistentVolumeName": "pv-1"}}
    status = {"attached": True}
    check_api_operations(resource_of(STORAGE, "volumeattachments"), {"spec": spec}, status=status)


def test_volume_attributes_classes() -> None:
    """[sig-storage] VolumeAttributesClass should run through the lifecycle of a VolumeAttributesClass [Conformance]"""
    body = {"driverName": "e2e.driver", "parameters": {"iops": "100"}}
    check_api_operations(resource_of(STORAGE, "volumeattributesclasses"), body)


def test_leases() -> None:
    """[sig-node] Lease lease API should be available [Conformance]"""
    spec = {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0}
    check_api_operations(resource_of("coordination.k8s.io", "leases"), {"spec": spec})


def make_request() -> dict[str, Any]:
    return {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "class"}}]}}


def test_device_classes() -> None:
    """[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]"""
    check_api_operations(resource_of(DEVICES, "deviceclasses"), {"spec": {}})


def test_resource_claims() -> None:
    """[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]"""
    result = {"request": "req-0", "driver": "e2e.driver", "pool": "pool", "device": "dev-0"}
    status = {"allocation": {"devices": {"results": [result]}}}
    check_api_operations(resource_of(DEVICES, "resourceclaims"), {"spec": make_request()}, status=status)


def test_resource_claim_templates() -> None:
    """[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]"""
    templates = resource_of(DEVICES, "resourceclaimtemplates")
    check_api_operations(templates, {"spec": {"spec": make_request()}})


def test_resource_slices() -> None:
    """[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]"""
    pool = {"name": "pool", "generation": 0, "resourceSliceCount": 1}
    spec = {"driver": "e2e.driver", "pool": pool, "nodeName": "node-1", "devices": [{"name": "dev-0"}]}
    check_api_operations(resource_of(DEVICES, "resourceslices"), {"spec": spec})


def make_event() -> dict[str, Any]:
    return {
        "eventTime": "2027-01-02T03:04:05.000006Z",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "note": "This is a test event",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }


def test_events_of_the_group() -> None:
    """[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed, and
    [sig-instrumentation] Events API should delete a collection of events [Conformance]"""
    events = resource_of("events.k8s.io", "events")
    check_api_operations(events, make_event())

    async def scenario(client: ApiClient) -> None:
        body = {"metadata": {"name": "e"}, **make_event()}
        await client.create(events, {"apiVersion": "events.k8s.io/v1", "kind": "Event", **body}, "default")
        core = await client.get(Resource("", "v1", "events", "Event"), "e", "default")
        assert core["message"] == "This is a test event"
        query = "fieldSelector=reportingController%3Dtest-controller"
        found = await client.request("GET", f"{events.path()}?{query}")
        assert len(found["items"]) == 1

    run_with_api(scenario)
