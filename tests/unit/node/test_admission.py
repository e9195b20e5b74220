"""Which pods a node refuses that were bound to it, and with which words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proa.node.admission import Rejection, find_victims, why_rejected
from proa.objects.resource import NODES, PODS
from support.kubelet import harness, make_container

NODE: dict[str, Any] = {
    "metadata": {"name": "proa-1", "labels": {"disk": "ssd", "kubernetes.io/os": "linux"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "nvidia.com/gpu": "1"}},
}
TAINTED = {**NODE, "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}}
AFFINITY = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"


def make_pod(name: str = "web", *, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    requests = spec.pop("requests", {})
    container = {
        "name": "app",
        "image": "i",
        "resources": {"requests": requests},
        "ports": spec.pop("ports", []),
    }
    return {
        "metadata": {"name": name, "uid": name, "namespace": "default", **(metadata or {})},
        "spec": {"containers": [container], **spec},
    }


def critical(name: str = "system", **spec: Any) -> dict[str, Any]:
    return make_pod(name, priority=2_000_000_000, **spec)


HOST_PORT = [{"containerPort": 80, "hostPort": 8080}]
HALF = make_pod("other", requests={"cpu": "1500m", "memory": "512Mi"})

REJECTED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str, str]] = {
    "cpu": (
        make_pod(requests={"cpu": "1"}),
        [HALF],
        "OutOfcpu",
        "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000",
    ),
    "memory": (
        make_pod(requests={"memory": "600Mi"}),
        [HALF],
        "OutOfmemory",
        "Node didn't have enough resource: memory, requested: 629145600, used: 536870912, capacity: 1073741824",
    ),
    "pods": (
        make_pod(),
        [make_pod("a"), make_pod("b"), make_pod("c")],
        "OutOfpods",
        "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
    ),
    "devices": (
        make_pod(requests={"nvidia.com/gpu": "2"}),
        [],
        "OutOfnvidia.com/gpu",
        "Node didn't have enough resource: nvidia.com/gpu, requested: 2, used: 0, capacity: 1",
    ),
    "labels": (make_pod(nodeSelector={"disk": "hdd"}), [], "NodeAffinity", AFFINITY),
    "ports": (
        make_pod(ports=HOST_PORT),
        [make_pod("other", ports=[{"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.1"}])],
        "NodePorts",
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
    ),
    "system": (
        make_pod(os={"name": "windows"}),
        [],
        "PodOSNotSupported",
        "Failed to admit pod as the OS field doesn't match node OS",
    ),
    "label of a system": (
        make_pod(metadata={"labels": {"kubernetes.io/os": "windows"}}),
        [],
        "PodOSSelectorNodeLabelDoesNotMatch",
        "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    ),
    "sysctl": (
        make_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        [],
        "SysctlForbidden",
        'forbidden sysctl: "kernel.msgmax" not allowlisted',
    ),
    "groups": (
        make_pod(securityContext={"supplementalGroupsPolicy": "Strict"}),
        [],
        "SupplementalGroupsPolicyNotSupported",
        "SupplementalGroupsPolicy=Strict is not supported in this node",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_the_node_cannot_run_is_rejected(name: str) -> None:
    pod, others, reason, message = REJECTED[name]
    found = why_rejected(pod, others, NODE)

    assert found is not None
    assert (found.reason, found.message) == (reason, message)


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(requests={"cpu": "500m", "memory": "512Mi"}),
        make_pod(requests={"example.com/elsewhere": "5"}),
        make_pod(nodeSelector={"disk": "ssd"}),
        make_pod(ports=[{"containerPort": 80}]),
        make_pod(os={"name": "linux"}),
    ],
    ids=["what is left", "resources of the cluster", "labels", "ports of its own", "system"],
)
def test_what_fits_is_let_in(pod: dict[str, Any]) -> None:
    assert why_rejected(pod, [HALF], NODE) is None


def test_taints_keep_out_who_does_not_tolerate_them() -> None:
    found = why_rejected(make_pod(), [], TAINTED)

    words = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    assert found == Rejection("TaintToleration", words)
    assert why_rejected(make_pod(tolerations=[{"operator": "Exists"}]), [], TAINTED) is None
    static = make_pod(metadata={"annotations": {"kubernetes.io/config.source": "file"}})
    assert why_rejected(static, [], TAINTED) is None


@pytest.mark.parametrize(
    ("pod", "pressures", "is_rejected"),
    [
        (make_pod(), {"MemoryPressure"}, True),
        (make_pod(requests={"cpu": "1"}), {"MemoryPressure"}, False),
        (make_pod(requests={"cpu": "1"}), {"DiskPressure"}, True),
        (critical(), {"DiskPressure"}, False),
    ],
    ids=["best effort, memory", "burstable, memory", "burstable, disk", "critical"],
)
def test_pressure_keeps_pods_out(pod: dict[str, Any], pressures: set[str], is_rejected: bool) -> None:
    found = why_rejected(pod, [], NODE, pressures)

    words = f"The node had condition: [{' '.join(pressures)}]. "
    assert found == (Rejection("Evicted", words) if is_rejected else None)


def test_the_least_worthy_go_for_a_critical_pod() -> None:
    small, large = make_pod("small", requests={"cpu": "100m"}), make_pod("large", requests={"cpu": "1500m"})
    idle = make_pod("idle")

    assert find_victims(critical(requests={"cpu": "600m"}), [small, large], NODE) == [large]
    assert find_victims(critical(), [small, large, idle], NODE) == [idle]
    assert find_victims(critical(requests={"cpu": "3"}), [small, large], NODE) == []
    assert find_victims(critical(requests={"cpu": "2"}), [critical("b", requests={"cpu": "1"})], NODE) == []


def bound(name: str, cpu: int, **spec: Any) -> dict[str, Any]:
    container = make_container(resources={"requests": {"cpu": str(cpu)}})
    spec = {"nodeName": "proa-1", "containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_of_two_pods_that_do_not_fit_together_one_fails_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness(tmp_path) as node:
            cpus = int((await node.client.get(NODES, "proa-1"))["status"]["allocatable"]["cpu"])
            await node.client.create(PODS, bound("first", cpus))
            await node.client.create(PODS, bound("second", cpus))
            await node.until(lambda: node.status("second").get("phase") == "Failed")
            await node.until(lambda: node.status("first").get("phase") == "Running")

            status = node.status("second")
            numbers = f"requested: {cpus}000, used: {cpus}000, capacity: {cpus}000"
            message = f"Node didn't have enough resource: cpu, {numbers}"
            assert (status["reason"], status["message"]) == ("OutOfcpu", f"Pod was rejected: {message}")
            assert "containerStatuses" not in status
            assert node.events.messages("OutOfcpu") == [message]

            await node.restart()
            await node.settle()
            assert node.status("first")["phase"] == "Running"

            await node.client.create(PODS, bound("critical", cpus, priority=2_000_001_000))
            await node.until(lambda: node.status("critical").get("phase") == "Running")
            await node.until(lambda: node.status("first").get("phase") == "Failed")
            assert node.status("first")["reason"] == "Preempting"

    asyncio.run(scenario())
