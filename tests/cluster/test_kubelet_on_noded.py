"""The kubelet with a real noded below it and a real API server (in this process) above it, as root and as processes."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.kubelet_api import ExecOptions, LogOptions, PodRef
from proa.client.local import LocalTransport
from proa.client.protocol import User
from proa.node.kubelet import Kubelet
from proa.node.noded.client import NodedClient
from proa.node.noded.launch import NodedSettings, ensure_noded, stop_noded
from proa.node.noded.probe import probe_features
from proa.node.runtimes.protocol import ContainerConfig, Mount, RuntimeFailure, SandboxConfig
from proa.node.settings import KubeletSettings
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, EVENTS, NAMESPACES, NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory
from proa.store.memory import MemoryStore

pytestmark = pytest.mark.cluster

DEADLINE_SECONDS = 90.0
ADMIN = User("admin", ("system:masters",))


@pytest.fixture(params=["root", "process"])
def level(request: pytest.FixtureRequest) -> str:
    """Return a rung of the ladder that this machine has."""
    why = dict(probe_features())["root"] if request.param == "root" else ""
    if why:
        pytest.skip(f"not on this machine: {request.param}: {why}")
    return str(request.param)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a short folder: a unix socket's path must fit in 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="proa-kubelet-", ignore_cleanup_errors=True) as path:
        yield Path(path)


class Node:
    """One node: a kubelet that a test may restart, its runtime, and a client of the API."""

    def __init__(self, client: ApiClient, runtime: NodedClient, settings: KubeletSettings) -> None:
        self.client = client
        self.runtime = runtime
        self.settings = settings

    async def start(self) -> None:
        self.informers = InformerFactory(self.client)
        self.events = EventSink(self.client, time.time)
        recorder = self.events.recorder("kubelet", self.settings.node_name)
        self.kubelet = Kubelet(self.client, self.runtime, self.informers, recorder, self.settings)
        await self.kubelet.start()

    async def stop(self) -> None:
        await self.kubelet.stop()
        await self.informers.stop()
        await self.events.stop()

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        await self.client.create(
            PODS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "nodeName": self.settings.node_name,
                    "terminationGracePeriodSeconds": 1,
                    "containers": list(containers),
                    **spec,
                },
            },
        )

    async def pod(self, name: str) -> dict[str, Any] | None:
        try:
            return await self.client.get(PODS, name, "default")
        except NotFound:
            return None

    async def until(self, name: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the pod once the condition on its status holds."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                pod = await self.pod(name)
                if pod is not None and condition(pod.get("status") or {}):
                    return pod
                await asyncio.sleep(0.01)

    async def gone(self, name: str) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self.pod(name) is not None:
                await asyncio.sleep(0.01)

    async def logs(self, name: str, **options: Any) -> str:
        chunks = await self.kubelet.server.container_logs(PodRef("default", name), LogOptions(**options))
        return b"".join([chunk async for chunk in chunks]).decode()

    async def exec(self, name: str, *command: str) -> tuple[int, str]:
        session = await self.kubelet.server.exec(PodRef("default", name), ExecOptions(command=command))
        output = b"".join([data async for _, data in session.output()])
        code = await session.wait()
        await session.close()
        return code, output.decode()


@contextlib.asynccontextmanager
async def running_node(directory: Path, level: Any) -> AsyncIterator[Node]:
    store = MemoryStore()
    server = ApiServer(store, DEFINITIONS)
    client = ApiClient(LocalTransport(server.handle, ADMIN))
    await client.create(NAMESPACES, {"metadata": {"name": "default"}})
    account = {"metadata": {"name": "default"}, "automountServiceAccountToken": False}
    await client.create(SERVICE_ACCOUNTS, account, "default")
    runtime = await ensure_noded(directory, NodedSettings(node_name="kubelet-test", level=level))
    node = Node(client, runtime, KubeletSettings("kubelet-test", directory))
    try:
        await node.start()
        yield node
        await node.stop()
    finally:
        await runtime.close()
        await stop_noded(directory)
        await client.close()
        await store.close()


def run(directory: Path, level: str, scenario: Callable[[Node], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running_node(directory, level) as node:
            await scenario(node)

    asyncio.run(main())


def python(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "proa.local/python", "command": ["python3", "-u", "-c", script], **more}


def test_a_pod_runs_answers_and_goes(directory: Path, level: str) -> None:
    async def scenario(node: Node) -> None:
        await node.create("web", {"name": "app", "image": "python:3.11", "command": ["sleep", "1000"]})
        pod = await node.until("web", lambda status: status.get("phase") == "Running")
        assert pod["status"]["containerStatuses"][0]["containerID"].startswith("proa://")
        assert pod["status"]["qosClass"] == "BestEffort"

        assert await node.exec("web", "sh", "-c", "echo $HOSTNAME; exit 3") == (3, "web\n")

        await node.client.delete(PODS, "web", "default")
        await node.gone("web")
        assert await node.runtime.list_sandboxes() == []
        assert list(node.settings.pods_directory.iterdir()) == []
        await node.events.flush()
        reasons = [e["reason"] for e in (await node.client.list(EVENTS, "default")).items]
        assert {"ImageAlias", "Pulled", "Created", "Started", "Killing"} <= set(reasons)

    run(directory, level, scenario)


def test_configuration_and_last_words(directory: Path, level: str) -> None:
    if level == "process":
        pytest.skip("not on this machine: processes see no mounts: volumes are at their own paths there")
    script = (
        "import os; print(open('/etc/c/a').read(), open('/one').read(), os.environ['P']); "
        "open('/data/x', 'w').write('y'); open('/dev/termination-log', 'w').write('bye'); raise SystemExit(4)"
    )

    async def scenario(node: Node) -> None:
        await node.client.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}}, "default")
        await node.client.create(
            SECRETS, {"metadata": {"name": "s"}, "stringData": {"p": "secret"}}, "default"
        )
        mounts = [
            {"name": "c", "mountPath": "/etc/c"},
            {"name": "c", "mountPath": "/one", "subPath": "a"},
            {"name": "d", "mountPath": "/data", "subPath": "deep/er"},
        ]
        env = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}]
        volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "d", "emptyDir": {}}]
        container = python("app", script, env=env, volumeMounts=mounts)
        await node.create("job", container, restartPolicy="Never", volumes=volumes)

        pod = await node.until("job", lambda status: status.get("phase") == "Failed")

        assert await node.logs("job") == "1 1 secret\n"
        terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (4, "Error", "bye")

    run(directory, level, scenario)


def test_a_link_swapped_into_a_subpath_leads_nowhere_else(directory: Path, level: str) -> None:
    if level == "process":
        pytest.skip("not on this machine: processes see no mounts")

    async def main() -> None:
        volume = directory / "volume"
        volume.mkdir()
        (directory / "secret").mkdir()
        (directory / "secret" / "key").write_text("stolen")
        (volume / "sub").symlink_to("../secret")
        runtime = await ensure_noded(directory, NodedSettings(node_name="kubelet-test"))
        try:
            sandbox = await runtime.run_sandbox(SandboxConfig("default", "x", "u-x", "x"))
            mount = Mount(str(volume / "sub"), "/data", within=str(volume))
            config = ContainerConfig("app", "proa.local/python", ("cat", "/data/key"), (), mounts=(mount,))
            container = await runtime.create_container(sandbox.id, config)
            with pytest.raises(RuntimeFailure, match="No such file"):
                await runtime.start_container(container)
        finally:
            await runtime.close()
            await stop_noded(directory)

    asyncio.run(main())


def test_probes_reach_the_pod(directory: Path, level: str) -> None:
    if level == "process":
        pytest.skip("not on this machine: processes share the host's ports")
    server = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"

    async def scenario(node: Node) -> None:
        probes = {
            "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30},
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
            "livenessProbe": {
                "exec": {"command": ["test", "!", "-e", "/tmp/dead"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
        }
        await node.create("web", python("app", server, **probes))
        await node.until("web", lambda status: any(c["ready"] for c in status.get("containerStatuses", [])))

        await node.exec("web", "touch", "/tmp/dead")
        pod = await node.until("web", lambda status: status["containerStatuses"][0]["restartCount"] == 1)

        assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] in (137, 143)

    run(directory, level, scenario)


def test_a_new_kubelet_finds_pods_with_their_exit_codes(directory: Path, level: str) -> None:
    async def scenario(node: Node) -> None:
        flag = str(directory / "go")
        wait = f"import os, time\nwhile not os.path.exists({flag!r}): time.sleep(0.01)\nraise SystemExit(9)"
        hold = {"name": "d", "hostPath": {"path": str(directory)}}
        mount = {"name": "d", "mountPath": str(directory)}
        await node.create(
            "ends", python("app", wait, volumeMounts=[mount]), restartPolicy="Never", volumes=[hold]
        )
        await node.create(
            "stays", {"name": "app", "image": "proa.local/python", "command": ["sleep", "1000"]}
        )
        await node.until("ends", lambda status: status.get("phase") == "Running")
        before = await node.until("stays", lambda status: status.get("phase") == "Running")
        await node.stop()

        (directory / "go").touch()
        containers = await node.runtime.list_containers()
        job = next(c for c in containers if c.config.labels["io.kubernetes.pod.name"] == "ends")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await node.runtime.get_container(job.id)).state != "Exited":  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        await node.start()

        ended = await node.until("ends", lambda status: status.get("phase") == "Failed")
        assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 9
        after = await node.pod("stays")
        assert after is not None
        assert after["status"] == before["status"]

    run(directory, level, scenario)


def test_the_node_says_what_it_cannot_do(directory: Path, level: str) -> None:
    async def scenario(node: Node) -> None:
        found = await node.client.get(NODES, "kubelet-test")
        ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")

        assert found["metadata"]["annotations"]["proa.local/isolation"] == level
        if level == "process":
            assert "does not enforce" in ready["message"]

    run(directory, level, scenario)
