"""GPUs are found, offered and handed out, each to one pod; claims without a driver here keep their pods waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.node.device_manager import DEVICES_LABEL, DeviceManager
from proa.node.gpus import Gpu, find_gpus
from proa.objects.resource import NODES, PODS, RESOURCE_CLAIMS
from support.kubelet import Node, harness, make_container, make_pod

NVIDIA = "nvidia.com/gpu"


def make_files(directory: Path, *names: str) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return directory


def test_the_gpus_of_both_makers_are_found_by_their_files(tmp_path: Path) -> None:
    sys = tmp_path / "sys"
    for number, vendor in ((128, "0x1002"), (129, "0x8086")):
        file = sys / f"class/drm/renderD{number}/device/vendor"
        file.parent.mkdir(parents=True)
        file.write_text(f"{vendor}\n")
    names = (
        "nvidia10",
        "nvidia2",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-caps",
        "kfd",
        "dri/renderD128",
        "dri/renderD129",
    )
    dev = make_files(tmp_path / "dev", *names)
    found = find_gpus(dev, sys)
    assert {resource: [gpu.id for gpu in gpus] for resource, gpus in found.items()} == {
        NVIDIA: ["2", "10"],
        "amd.com/gpu": ["128"],
    }
    assert found[NVIDIA][0].files == (
        ("/dev/nvidia2", str(dev / "nvidia2")),
        ("/dev/nvidiactl", str(dev / "nvidiactl")),
        ("/dev/nvidia-uvm", str(dev / "nvidia-uvm")),
    )


@pytest.mark.parametrize("names", [(), ("nvidiactl",), ("dri/renderD128",)])
def test_a_machine_without_gpus_offers_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert find_gpus(make_files(tmp_path / "dev", *names)) == {}


def asking(name: str, count: int, **more: Any) -> dict[str, Any]:
    amount = {NVIDIA: str(count)}
    return make_container(name, resources={"limits": amount, "requests": amount}, **more)


def with_uid(uid: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    pod = make_pod(uid, *containers, **spec)
    pod["metadata"]["uid"] = uid
    return pod


def make_manager(count: int, alive: Callable[[str], bool] = lambda uid: True) -> DeviceManager:
    return DeviceManager({NVIDIA: tuple(Gpu(str(i), ()) for i in range(count))}, alive)


def ids(manager: DeviceManager, uid: str, name: str) -> list[str]:
    return [gpu.id for gpu in manager.given(uid, name).get(NVIDIA, ())]


def test_containers_of_a_pod_take_over_what_its_init_containers_had() -> None:
    manager = make_manager(3)
    pod = with_uid(
        "a", asking("x", 1), asking("y", 1), initContainers=[asking("first", 2), asking("second", 1)]
    )
    assert manager.admit(pod) == ""
    assert [ids(manager, "a", name) for name in ("first", "second", "x", "y")] == [
        ["0", "1"],
        ["0"],
        ["1"],
        ["0"],
    ]
    assert manager.admit(with_uid("b", asking("x", 1))) == ""
    assert ids(manager, "b", "x") == ["2"]


def test_what_a_pod_had_is_free_when_it_is_gone() -> None:
    gone: set[str] = set()
    manager = make_manager(1, lambda uid: uid not in gone)
    assert manager.admit(with_uid("a", asking("x", 1))) == ""
    why = (
        "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
        "Requested: 1, Available: 0, which is unexpected"
    )
    assert manager.admit(with_uid("b", asking("x", 1))) == why
    gone.add("a")
    assert manager.admit(with_uid("b", asking("x", 1))) == ""


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), max_size=20))
def test_no_gpu_is_ever_given_to_two_pods(changes: list[tuple[int, bool, int]]) -> None:
    alive: set[str] = set()
    manager = make_manager(4, lambda uid: uid in alive)
    for pod, comes, count in changes:
        uid = str(pod)
        if not comes:
            alive.discard(uid)
            continue
        if uid in alive:
            continue
        alive.add(uid)
        manager.admit(with_uid(uid, asking("x", count), asking("y", 1), initContainers=[asking("i", 2)]))
        owners: dict[str, set[str]] = {}
        for other in alive:
            for name in ("x", "y", "i"):
                for gpu in ids(manager, other, name):
                    owners.setdefault(gpu, set()).add(other)
            assert not set(ids(manager, other, "x")) & set(ids(manager, other, "y"))
        assert all(len(pods) == 1 for pods in owners.values())


Scenario = Callable[[Node], Awaitable[None]]


def run(directory: Path, scenario: Scenario, **given_settings: Any) -> None:
    async def main() -> None:
        async with harness(directory, **given_settings) as node:
            await scenario(node)

    asyncio.run(main())


def test_a_node_offers_its_gpus_and_containers_get_their_files(tmp_path: Path) -> None:
    dev = make_files(tmp_path / "dev", "nvidia0", "nvidia1", "nvidiactl")

    async def scenario(node: Node) -> None:
        status = (node.client.peek(NODES, "proa-1") or {})["status"]
        assert (status["capacity"][NVIDIA], status["allocatable"][NVIDIA]) == ("2", "2")
        await node.client.create(PODS, make_pod("web", asking("app", 1), make_container("other")))
        await node.until(lambda: node.status().get("phase") == "Running")
        config = node.runtime.newest("app").config
        mounts = [(m.host_path, m.container_path, m.is_device) for m in config.mounts if m.is_device]
        files = ("nvidia0", "nvidiactl")
        assert mounts == [(str(dev / name), f"/dev/{name}", True) for name in files]
        assert dict(config.env)["NVIDIA_VISIBLE_DEVICES"] == "0"
        assert config.labels[DEVICES_LABEL] == f"{NVIDIA}=0"
        other = node.runtime.newest("other").config
        assert not any(m.is_device for m in other.mounts)
        assert "NVIDIA_VISIBLE_DEVICES" not in dict(other.env)
        assert node.events.messages("NotSupported") == []

        await node.restart()
        await node.client.create(PODS, make_pod("next", asking("next", 1)))
        await node.until(lambda: node.status("next").get("phase") == "Running")
        assert dict(node.runtime.newest("next").config.env)["NVIDIA_VISIBLE_DEVICES"] == "1"
        await node.client.create(PODS, make_pod("third", asking("third", 1)))
        await node.until(lambda: node.status("third").get("phase") == "Failed")
        assert node.status("third")["reason"] == f"OutOf{NVIDIA}"
        await node.client.delete(PODS, "web", "default")
        await node.until(lambda: node.pod("web") is None)
        await node.client.create(PODS, make_pod("fourth", asking("fourth", 1)))
        await node.until(lambda: node.status("fourth").get("phase") == "Running")
        assert dict(node.runtime.newest("fourth").config.env)["NVIDIA_VISIBLE_DEVICES"] == "0"

    run(tmp_path / "node", scenario, devices_directory=dev)


def test_a_claim_whose_driver_is_not_here_keeps_its_pod_waiting(tmp_path: Path) -> None:
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "p", "device": "0"}
    entry = {"name": "gpu", "resourceClaimName": "c"}

    async def scenario(node: Node) -> None:
        pod = await node.client.create(PODS, make_pod("web", resourceClaims=[entry]))
        before = "Failed to prepare dynamic resources: prepare dynamic resources: "
        await node.until(lambda: node.events.messages("FailedPrepareDynamicResources"))
        (message,) = node.events.messages("FailedPrepareDynamicResources")
        assert message == f'{before}fetch ResourceClaim c: resourceclaims.resource.k8s.io "c" not found'
        consumer = {"resource": "pods", "name": "web", "uid": pod["metadata"]["uid"]}
        status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
        claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {}, "status": status}
        node.client.add(RESOURCE_CLAIMS, claim)
        node.advance(20)
        wanted = f"{before}DRA driver gpu.example.com is not registered"
        await node.until(lambda: wanted in node.events.messages("FailedPrepareDynamicResources"))
        assert node.status().get("phase") == "Pending"
        assert node.runtime.sandboxes == {}
        await node.client.update(RESOURCE_CLAIMS, {**claim, "status": {"reservedFor": [consumer]}}, "status")
        node.advance(20)
        await node.until(lambda: node.status().get("phase") == "Running")

    run(tmp_path, scenario)
