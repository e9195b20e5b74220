"""Services, endpoints, nodes, namespaces, volumes and claims: what is refused, new and on a change."""

from __future__ import annotations

from typing import Any

import pytest

Object = dict[str, Any]
ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"
NO_SHRINKING = "field can not be less than status.capacity"


def make(kind: str, **fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, **fields}


def service(**spec: Any) -> Object:
    return make("Service", spec={"ports": [{"port": 80}], **spec})


def volume(**spec: Any) -> Object:
    known = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    source = {} if {"csi", "nfs", "local"} & spec.keys() else {"hostPath": {"path": "/v"}}
    return make("PersistentVolume", spec={**known, **source, **spec})


def claim(**spec: Any) -> Object:
    known = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return make("PersistentVolumeClaim", spec={**known, **spec})


def endpoints(**address: Any) -> Object:
    return make("Endpoints", subsets=[{"addresses": [address], "ports": [{"port": 80}]}])


RULES: list[tuple[Object, list[str]]] = [
    (service(clusterIP="None", type="NodePort"),
     ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]),
    (service(clusterIP="None", clusterIPs=["None", "10.96.0.9"]),
     ["spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.9\"]: 'None' must be the first and only value"]),
    (service(clusterIPs=["10.96.0.9"]),
     ['spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified']),
    (service(ipFamilies=["IPv5"]),
     ['spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"']),
    (service(ipFamilies=["IPv4", "IPv4"]), ['spec.ipFamilies[1]: Duplicate value: "IPv4"']),
    (service(ipFamilyPolicy="Both"),
     ['spec.ipFamilyPolicy: Unsupported value: "Both": supported values: "PreferDualStack", "RequireDualStack", '
      '"SingleStack"']),
    (service(clusterIP="10.96.0.9", ipFamilies=["IPv6"]),
     ['spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`']),
    (service(externalIPs=["127.0.0.1"]),
     ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
    (service(loadBalancerSourceRanges=["10.0.0.1/24"]),
     [f"spec.LoadBalancerSourceRanges: Forbidden: {ONLY_BALANCER}",
      'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix '
      "length"]),
    (service(loadBalancerClass="a.io/b"), [f"spec.loadBalancerClass: Forbidden: {ONLY_BALANCER}"]),
    (service(allocateLoadBalancerNodePorts=True),
     [f"spec.allocateLoadBalancerNodePorts: Forbidden: {ONLY_BALANCER}"]),
    (service(externalTrafficPolicy="Local"),
     ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services']),
    (service(type="LoadBalancer", healthCheckNodePort=30000),
     ["spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and "
      "`externalTrafficPolicy` is 'Local'"]),
    (service(trafficDistribution="Far"),
     ['spec.trafficDistribution: Unsupported value: "Far": supported values: "PreferClose", "PreferSameNode", '
      '"PreferSameZone"']),
    (service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 90000}}),
     ["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than "
      "86400"]),
    (endpoints(ip="169.254.1.1"),
     ['subsets[0].addresses[0].ip: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, '
      "fe80::/10)"]),
    (endpoints(ip="127.0.0.1"), []),
    (make("Node", spec={"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}),
     ['spec.podCIDRs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one CIDR for each IP '
      "family"]),
    (make("Node", spec={"taints": [{"key": "a", "effect": "NoSchedule"}] * 2}),
     ['metadata.taints[1]: Duplicate value: {"Effect":"NoSchedule","Key":"a","TimeAdded":null,"Value":""}: taints must '
      "be unique by key and effect pair"]),
    (make("Namespace", spec={"finalizers": ["mine"]}),
     ['spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified']),
    (volume(capacity={"storage": "0"}),
     ['spec.capacity[storage]: Invalid value: "0": must be greater than zero']),
    (volume(hostPath={"path": "/.."}), ["spec.hostPath.path: Invalid value: \"/..\": must not contain '..'"]),
    (volume(hostPath={"path": "/"}, persistentVolumeReclaimPolicy="Recycle"),
     ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"]),
    (volume(volumeAttributesClassName="fast"),
     ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"]),
    (volume(csi={"driver": "a.io", "volumeHandle": "h", "nodePublishSecretRef": {"name": "s"}}),
     ["spec.csi.nodePublishSecretRef.namespace: Required value"]),
    (volume(local={"path": "/x"}), ["spec.nodeAffinity: Required value: Local volume requires node affinity"]),
    (claim(dataSource={"kind": "VolumeSnapshot", "name": "s"}),
     ['spec.dataSource: Invalid value: "VolumeSnapshot": must be \'PersistentVolumeClaim\' when referencing the '
      "default apiGroup",
      'spec.dataSourceRef: Invalid value: "VolumeSnapshot": must be \'PersistentVolumeClaim\' when referencing the '
      "default apiGroup"]),
    (claim(dataSource={"kind": "PersistentVolumeClaim", "name": "a"},
           dataSourceRef={"kind": "PersistentVolumeClaim", "name": "b"}),
     ['spec: Invalid value: "spec.dataSource": must match dataSourceRef']),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), RULES, ids=range(len(RULES)))
def test_an_object_is_refused_for(obj: Object, expected: list[str], kinds: Any) -> None:
    definition = kinds.definition_of(obj["kind"])
    new = kinds.create(obj)
    if obj["kind"] == "Service":  # as it is before an address is given
        new["spec"] |= {key: obj["spec"][key] for key in ("clusterIP", "clusterIPs") if key in obj["spec"]}
        if "clusterIPs" in obj["spec"] and "clusterIP" not in obj["spec"]:
            new["spec"].pop("clusterIP", None)
    causes = [*definition.validate(new), *definition.validate_create(new)]
    assert [f"{c.field}: {c.message}" for c in causes] == expected


def spec_change(**fields: Any) -> Any:
    return lambda obj: obj["spec"].update(fields)


def bound(obj: Object, capacity: str = "1Gi") -> Object:
    return {**obj, "status": {"phase": "Bound", "capacity": {"storage": capacity}}}


def sized(storage: str) -> Any:
    return spec_change(resources={"requests": {"storage": storage}})


BALANCER = service(type="LoadBalancer")
ON_NODE: Object = {"required": {"nodeSelectorTerms": [{"matchExpressions": [
    {"key": "beta.kubernetes.io/os", "operator": "Exists"}]}]}}  # fmt: skip
CHANGES: list[tuple[Object, Any, list[str]]] = [
    (BALANCER, spec_change(type="ClusterIP"), []),
    (BALANCER, spec_change(loadBalancerClass="a.io/b"),
     ['spec.loadBalancerClass: Invalid value: "a.io/b": may not change once set']),
    (service(), spec_change(ipFamilies=["IPv6"]),
     ['spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set']),
    (volume(), spec_change(volumeMode="Block"), ['volumeMode: Invalid value: "Block": field is immutable']),
    (volume(), spec_change(hostPath={"path": "/w"}),
     ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]),
    (volume(nodeAffinity=ON_NODE), spec_change(nodeAffinity={"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "Exists"}]}]}}), []),
    (claim(), sized("2Gi"),
     ["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
      "bound claims"]),
    (claim(), spec_change(storageClassName="fast"), []),
    (claim(volumeAttributesClassName="a"), lambda obj: obj["spec"].pop("volumeAttributesClassName"),
     ["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
      "bound claims",
      "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"]),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "change", "expected"), CHANGES, ids=range(len(CHANGES)))
def test_a_change_is_refused_for(obj: Object, change: Any, expected: list[str], kinds: Any) -> None:
    problems = [
        p for p in kinds.update_problems(obj, change) if not p.startswith("spec.clusterIPs[0]: Invalid value")
    ]
    assert problems == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [("4Gi", []), ("2Gi", []), ("1Gi", [f"spec.resources.requests.storage: {NO_SHRINKING}"])],
)
def test_a_bound_claim_grows_and_takes_back_what_it_did_not_get(
    size: str, expected: list[str], kinds: Any
) -> None:
    old = bound(kinds.create(claim(resources={"requests": {"storage": "3Gi"}})))
    new = {**old, "spec": {**old["spec"], "resources": {"requests": {"storage": size}}}}
    causes = kinds.definition_of("PersistentVolumeClaim").validate_update(new, old)
    assert [f"{c.field}: {c.message.removeprefix('Forbidden: ')}" for c in causes] == expected


def test_a_load_balancer_says_where_it_is_in_a_form_of_its_own(kinds: Any) -> None:
    new = kinds.create(BALANCER)
    ingress = [{"ip": "10.0.0.300", "ipMode": "VIP"}, {"hostname": "10.0.0.1"}]
    new["status"] = {"loadBalancer": {"ingress": ingress}}
    causes = kinds.definition_of("Service").validate_status_update(new, new)
    assert [c.field for c in causes] == [
        "status.loadBalancer.ingress[0].ip",
        "status.loadBalancer.ingress[1].hostname",
    ]
