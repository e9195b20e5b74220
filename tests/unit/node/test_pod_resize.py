"""A running pod's resources change as it asks, when there is room, or by a restart where it wants one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proa.node.resize import ALLOWED, judge
from proa.objects.pods import resource_requests
from proa.objects.resource import PODS
from support.kubelet import Node, harness, make_container, make_pod


def resources(cpu: str = "100m", memory: str = "64Mi", **limits_of: str) -> dict[str, Any]:
    limits = {key.removeprefix("max_"): amount for key, amount in limits_of.items()}
    return {"requests": {"cpu": cpu, "memory": memory}, **({"limits": limits} if limits else {})}


async def begin(node: Node, name: str = "web", *containers: dict[str, Any]) -> None:
    await node.client.create(PODS, make_pod(name, *(containers or (make_container(resources=resources()),))))
    await node.until(lambda: node.status(name).get("phase") == "Running")


async def ask(node: Node, wanted: dict[str, Any], name: str = "web") -> None:
    """Change what the first container asks for, as the resize subresource does."""
    pod = node.pod(name)
    assert pod is not None
    first, *others = pod["spec"]["containers"]
    metadata = {**pod["metadata"], "generation": pod["metadata"].get("generation", 1) + 1}
    spec = {**pod["spec"], "containers": [{**first, "resources": wanted}, *others]}
    await node.client.update(PODS, {**pod, "metadata": metadata, "spec": spec})


def conditions(node: Node, name: str = "web") -> dict[str, str]:
    found = node.status(name).get("conditions") or []
    return {c["type"]: c.get("reason", "") for c in found if c["type"].startswith("PodResize")}


def given(node: Node, name: str = "app") -> Any:
    return node.runtime.newest(name).config.resources


def test_a_container_gets_what_the_pod_asks_for_without_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            await ask(node, resources("200m", "64Mi", max_cpu="500m"))
            await node.until(lambda: given(node).cpu_quota_millis == 500)
            await node.until(
                lambda: node.container_status().get("resources") == resources("200m", "64Mi", max_cpu="500m")
            )
            assert given(node).cpu_shares == 204
            assert node.container_status()["allocatedResources"] == {"cpu": "200m", "memory": "64Mi"}
            assert node.container_status()["restartCount"] == 0
            await node.until(lambda: node.events.messages("ResizeCompleted"))
            (started,) = node.events.messages("ResizeStarted")
            assert started.startswith('Pod resize started: {"containers":[{"name":"app","resources":{')
            assert conditions(node) == {}

    asyncio.run(main())


def test_the_whole_pod_gets_what_it_asks_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            had = {"requests": {"cpu": "200m"}, "limits": {"cpu": "1", "memory": "256Mi"}}
            await node.client.create(PODS, make_pod("web", make_container(), resources=had))
            await node.until(lambda: node.status().get("phase") == "Running")
            (sandbox,) = node.runtime.sandboxes
            assert node.status()["resources"] == had

            async def ask_all(wanted: dict[str, Any]) -> None:
                pod = node.pod()
                assert pod is not None
                await node.client.update(PODS, {**pod, "spec": {**pod["spec"], "resources": wanted}})

            has = {"requests": {"cpu": "400m"}, "limits": {"cpu": "2", "memory": "512Mi"}}
            await ask_all(has)
            await node.until(lambda: node.status().get("resources") == has)
            limits = node.runtime.sandboxes[sandbox].config.resources
            assert (limits.cpu_quota_millis, limits.memory_limit_bytes) == (2000, 512 << 20)
            assert node.status()["allocatedResources"] == {"cpu": "400m"}
            assert node.container_status()["restartCount"] == 0

            await ask_all({**has, "requests": {"cpu": "1000"}})
            await node.until(lambda: conditions(node) == {"PodResizePending": "Infeasible"})
            assert node.status()["resources"] == has

    asyncio.run(main())


def test_a_policy_may_ask_for_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
            await begin(node, "web", make_container(resources=resources(), resizePolicy=policy))
            await ask(node, resources("150m", "64Mi"))
            await node.until(lambda: given(node).cpu_shares == 153)
            assert node.container_status()["restartCount"] == 0
            await ask(node, resources("150m", "128Mi", max_memory="128Mi"))
            await node.until(lambda: node.container_status().get("restartCount") == 1)
            await node.until(lambda: given(node).memory_limit_bytes == 128 << 20)
            assert "Container app resize requires restart" in node.events.messages("Killing")

    asyncio.run(main())


def test_what_never_fits_is_infeasible_and_the_container_keeps_what_it_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            await ask(node, resources("1000"))
            await node.until(lambda: conditions(node) == {"PodResizePending": "Infeasible"})
            assert given(node).cpu_shares == 102
            assert node.container_status()["allocatedResources"]["cpu"] == "100m"
            (said,) = node.events.messages("ResizeInfeasible")
            assert "Node didn't have enough capacity: cpu, requested: 1000000, capacity: " in said
            pod = node.pod()
            assert pod is not None
            assert resource_requests(pod)["cpu"] == 100
            node.runtime.exit(node.runtime.newest("app").id, 1)
            await node.until(lambda: node.container_status().get("restartCount") == 1)
            assert given(node).cpu_shares == 102  # it starts again with what it had
            await ask(node, resources("100m"))
            await node.until(lambda: conditions(node) == {})

    asyncio.run(main())


def test_what_does_not_fit_now_waits_for_another_pod_to_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            cores = int(node.kubelet._node.machine.allocatable["cpu"])
            await begin(node)
            await begin(node, "other", make_container("big", resources=resources(f"{cores * 1000 - 200}m")))
            await ask(node, resources("300m"))
            await node.until(lambda: conditions(node) == {"PodResizePending": "Deferred"})
            pod = node.pod()
            assert pod is not None
            assert resource_requests(pod)["cpu"] == 300  # the scheduler keeps the room for it
            await node.client.delete(PODS, "other", "default", grace_period_seconds=0)
            await node.until(lambda: given(node).cpu_shares == 307)
            await node.until(lambda: conditions(node) == {})

    asyncio.run(main())


def test_what_the_runtime_refuses_is_told_and_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            node.runtime.fail_next("update_container", "ResizeError", "below current usage")
            await ask(node, resources("100m", "64Mi", max_memory="64Mi"))
            await node.until(lambda: conditions(node) == {"PodResizeInProgress": "Error"})
            assert node.events.messages("ResizeError") == ["Pod resize error: below current usage"]
            node.advance(11)
            await node.until(lambda: given(node).memory_limit_bytes == 64 << 20)
            await node.until(lambda: conditions(node) == {})

    asyncio.run(main())


def test_another_kubelet_goes_on_with_what_containers_were_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            await node.kubelet.stop()
            await node.informers.stop()
            await ask(node, resources("200m"))
            await node.start()
            await node.until(lambda: given(node).cpu_shares == 204)
            assert node.container_status()["restartCount"] == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("asked", "others", "reason"),
    [
        ("1500m", (), ""),
        ("1500m", ("500m",), ""),
        ("1501m", ("500m",), "Deferred"),
        ("2001m", (), "Infeasible"),
    ],
)
def test_whether_a_change_fits(asked: str, others: tuple[str, ...], reason: str) -> None:
    def pod(cpu: str) -> dict[str, Any]:
        return make_pod("p", make_container(resources=resources(cpu)))

    verdict = judge(pod(asked), [pod(cpu) for cpu in others], {"cpu": 2000, "memory": 1 << 30})
    assert verdict.reason == reason
    assert (verdict == ALLOWED) == (not reason)
