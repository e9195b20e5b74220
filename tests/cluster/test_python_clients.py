"""The Python clients list, watch, create, patch, apply, exec and forward, unmodified."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap, Pod
from kubernetes import client, config, stream, watch

from support.clusters import Cluster, run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.filterwarnings(
        "ignore:Kubernetes version",
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]
"""These clients leave connections to the garbage collector; that is theirs."""


def make_pod(name: str, command: list[str]) -> dict[str, Any]:
    """Return a pod that runs a command once."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "proa.local/python", "command": command}],
        },
    }


@pytest.fixture
def core(cluster: Cluster) -> Iterator[Any]:
    """Return the official client's CoreV1Api."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as api:
        yield client.CoreV1Api(api)
    gc.collect()


def test_the_official_client_creates_watches_and_reads_a_pod(core: Any, namespace: str) -> None:
    core.create_namespaced_pod(namespace, make_pod("hello", ["python", "-c", "print('hello')"]))
    phases = []
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=30):
        phases.append(event["object"].status.phase)
        if phases[-1] == "Succeeded":
            break
    assert phases[-1] == "Succeeded"
    assert core.read_namespaced_pod_log("hello", namespace) == "hello\n"
    assert [p.metadata.name for p in core.list_namespaced_pod(namespace).items] == ["hello"]


def test_the_official_client_execs_over_a_websocket(core: Any, namespace: str, cluster: Cluster) -> None:
    core.create_namespaced_pod(namespace, make_pod("shell", ["sleep", "60"]))
    cluster.kubectl("wait", "-n", namespace, "pod/shell", "--for=condition=Ready", "--timeout=120s")
    said = stream.stream(
        core.connect_get_namespaced_pod_exec,
        "shell",
        namespace,
        command=["python", "-c", "print(6 * 7)"],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
    )
    assert said.strip() == "42"


def test_the_official_client_is_told_of_a_missing_object_in_kubernetes_words(
    core: Any, namespace: str
) -> None:
    with pytest.raises(client.ApiException) as refused:
        core.read_namespaced_pod("nobody", namespace)
    assert refused.value.status == 404
    assert 'pods \\"nobody\\" not found' in refused.value.body


def test_kr8s_lists_watches_and_creates(cluster: Cluster, namespace: str) -> None:
    async def main() -> list[str]:
        api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig))
        body = make_pod("from-kr8s", ["sleep", "60"])
        body["metadata"]["namespace"] = namespace
        pod = await Pod(body, api=api)
        await pod.create()
        await pod.wait("condition=Ready", timeout=30)
        assert [p.name async for p in api.get("pods", namespace=namespace)] == ["from-kr8s"]
        seen = []
        async for kind, obj in api.watch("configmaps", namespace=namespace):
            if not seen:
                late = {"metadata": {"name": "late", "namespace": namespace}, "data": {"a": "b"}}
                await (await ConfigMap(late, api=api)).create()
            seen.append(f"{kind} {obj.name}")
            if obj.name == "late":
                break
        await pod.delete()
        return seen

    assert "ADDED late" in asyncio.run(asyncio.wait_for(main(), 60))
    gc.collect()


def test_the_asynchronous_client_creates_watches_and_deletes(cluster: Cluster, namespace: str) -> None:
    async def main() -> list[str]:
        from kubernetes_asyncio import client, config, watch

        await config.load_kube_config(str(cluster.kubeconfig))
        seen = []
        async with client.ApiClient() as api:
            core = client.CoreV1Api(api)
            for name in ("a", "b"):
                await core.create_namespaced_config_map(
                    namespace, {"metadata": {"name": name}, "data": {"k": "v"}}
                )
            await core.patch_namespaced_config_map("a", namespace, {"data": {"k": "w"}})
            await core.delete_namespaced_config_map("b", namespace)
            version = (await core.list_namespaced_config_map(namespace)).metadata.resource_version
            await core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}})
            async with watch.Watch() as watching:
                async for event in watching.stream(
                    core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=20
                ):
                    seen.append(f"{event['type']} {event['object'].metadata.name}")
                    if event["object"].metadata.name == "c":
                        break
        return seen

    assert "ADDED c" in asyncio.run(asyncio.wait_for(main(), 60))
    gc.collect()


def test_lightkube_applies_waits_patches_and_reads_logs(cluster: Cluster, namespace: str) -> None:
    program = str(Path(__file__).parent / "programs" / "with_lightkube.py")
    done = run([sys.executable, program, str(cluster.kubeconfig), namespace])
    assert done.stdout.splitlines() == ["Apply", "4", "409 Conflict", "ready", "[]"]
