"""The official Python client and kr8s list, watch, create, exec and forward, unmodified."""

from __future__ import annotations

import threading
from typing import Any

import kr8s
import pytest
from kr8s.objects import ConfigMap, Pod
from kubernetes import client, config, stream, watch

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


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
def core(cluster: Cluster) -> Any:
    """Return the official client's CoreV1Api."""
    return client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))


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
    cluster.kubectl("wait", "-n", namespace, "pod/shell", "--for=condition=Ready", "--timeout=30s")
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
    api = kr8s.api(kubeconfig=str(cluster.kubeconfig))
    pod = Pod(
        {**make_pod("from-kr8s", ["sleep", "60"]), "metadata": {"name": "from-kr8s", "namespace": namespace}},
        api=api,
    )
    pod.create()
    pod.wait("condition=Ready", timeout=30)
    assert [p.name for p in api.get("pods", namespace=namespace)] == ["from-kr8s"]
    seen: list[str] = []

    def follow() -> None:
        for kind, obj in api.watch("configmaps", namespace=namespace):
            seen.append(f"{kind} {obj.name}")
            if obj.name == "late":
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    ConfigMap({"metadata": {"name": "late", "namespace": namespace}, "data": {"a": "b"}}, api=api).create()
    follower.join(20)
    assert "ADDED late" in seen
    pod.delete()
