"""Pods of a real cluster that pass artifacts on: by the folder of this machine, and by a real object store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proa.client.kubeconfig import connect
from proa.client.protocol import Client, Object
from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.choice import ArtifactStores, StoreSettings
from proa.ml.pipelines.artifacts.endpoints import Outside
from proa.ml.pipelines.artifacts.placement import DELIVER, FETCH
from proa.ml.pipelines.artifacts.protocol import ArtifactError, ArtifactStore, Placement
from proa.ml.pipelines.records import Artifact
from proa.objects import meta
from proa.objects.resource import PODS
from support.clusters import Cluster
from support.seaweedfs import ACCESS_KEY, SECRET_KEY, run_seaweedfs_in

pytestmark = pytest.mark.cluster
DEADLINE_SECONDS = 120.0


class Attempts:
    """What the operator does for attempts, of the namespace's own store."""

    def __init__(self, client: Client, namespace: str, store: ArtifactStore) -> None:
        self.client = client
        self.namespace = namespace
        self.store = store

    def root(self, task: str) -> str:
        return uris.make_task_root(self.store.root, "pipe", "run-1", task, "salt")

    def artifact(self, task: str, name: str) -> Artifact:
        return Artifact(name, name, f"{self.root(task)}/{name}", run_id="run-1")

    async def start(self, task: str, script: str, inputs: Sequence[Artifact] = (), user: int = 0) -> None:
        placement = await self.store.prepare(inputs, self.root(task))
        pod = make_pod(task, placement, script, user)
        await self.client.create(PODS, pod, self.namespace)

    async def finish(self, task: str, script: str, inputs: Sequence[Artifact] = (), user: int = 0) -> Object:
        """Run an attempt to its end; return its pod."""
        await self.start(task, script, inputs, user)
        return await self.wait(task, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))

    async def wait(self, task: str, is_met: Callable[[Object], bool]) -> Object:
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await self.client.get(PODS, task, self.namespace)
            while not is_met(found):
                watch = self.client.watch(
                    PODS,
                    self.namespace,
                    field_selector=f"metadata.name={task}",
                    resource_version=meta.resource_version(found),
                )
                async for event in watch:
                    if event.type != "BOOKMARK":
                        found = event.object
                    if is_met(found):
                        break
        return found

    async def log(self, task: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{task}/log?container=main"
        return (await self.client.read(path)).decode()


def make_pod(name: str, placement: Placement, script: str, user: int) -> Object:
    main = {
        "name": "main",
        "image": "proa.local/python",
        "command": ["sh", "-ec", script],
        "env": list(placement.env),
        "volumeMounts": list(placement.mounts),
        "securityContext": {"runAsUser": user},
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": max(30, placement.grace_seconds),
        "initContainers": [*placement.init_containers, *placement.sidecars],
        "containers": [main],
        "volumes": list(placement.volumes),
    }
    metadata = {"name": name, "finalizers": ["example.org/record"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@asynccontextmanager
async def attempts_of(cluster: Cluster, namespace: str) -> AsyncIterator[Attempts]:
    client = connect(cluster.kubeconfig)
    folder = cluster.proa.home / "pipelines" / "artifacts"
    stores = ArtifactStores(client, StoreSettings(folder, outside=Outside(node_ports="127.0.0.1")))
    try:
        yield Attempts(client, namespace, await stores.of(namespace))
        for pod in (await client.list(PODS, namespace)).items:
            if meta.finalizers(pod):
                await client.patch(PODS, meta.name(pod), {"metadata": {"finalizers": None}}, namespace)
    finally:
        await stores.close()
        await client.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await body()

    asyncio.run(whole())


def test_attempts_pass_on_what_they_wrote_whoever_they_run_as(cluster: Cluster, namespace: str) -> None:
    async def body() -> None:
        async with attempts_of(cluster, namespace) as attempts:
            data = attempts.artifact("load", "data")
            path = uris.local_path(data.uri)
            script = (
                f"umask 077; mkdir {path}; echo 1,2 > {path}/x.csv; printf 0.5 > /tmp/kfp/outputs/accuracy"
            )

            pod = await attempts.finish("load", script, user=12345)

            assert pod["status"]["phase"] == "Succeeded"
            await attempts.store.seal(attempts.root("load"))
            assert (
                await attempts.store.read_output(attempts.root("load"), "/tmp/kfp/outputs/accuracy", 9)
                == b"0.5"
            )
            assert await attempts.store.read(f"{data.uri}/x.csv", 9) == b"1,2\n"

            own = uris.local_path(attempts.root("train"))
            imported = Artifact("1", "imported", "minio://sets/day/imported.txt")
            around = Artifact("2", "around", "minio://mlpipeline/v2")
            await attempts.store.write(imported.uri, b"imported")
            script = f"""
                cat {path}/x.csv {uris.local_path(imported.uri)} > {own}/model
                if touch {path}/y; then exit 9; fi
            """
            pod = await attempts.finish("train", script, [data, imported, around], user=777)

            assert pod["status"]["phase"] == "Succeeded", await attempts.log("train")
            assert await attempts.store.read(f"{attempts.root('train')}/model", 99) == b"1,2\nimported"
            claim = cluster.get("pvc", "pipeline-artifacts", "-n", namespace)
            assert claim["status"]["phase"] == "Bound"

    run(body)


def test_what_a_step_has_downloaded_with_pip_the_next_ones_of_its_namespace_have(
    cluster: Cluster, namespace: str
) -> None:
    async def body() -> None:
        async with attempts_of(cluster, namespace) as attempts:
            program = (Path(__file__).parent / "programs" / "pip_from_an_index.py").read_text()
            script = f"python3 - <<'END'\n{program}\nEND"
            for task, downloads in (("first", 1), ("second", 0)):
                pod = await attempts.finish(task, script)

                log = await attempts.log(task)
                assert pod["status"]["phase"] == "Succeeded", log
                assert log == f"wheels downloaded: {downloads}\nhello of a wheel\n"

    run(body)


def test_a_step_cannot_lead_the_operator_out_of_its_folder(cluster: Cluster, namespace: str) -> None:
    async def body() -> None:
        async with attempts_of(cluster, namespace) as attempts:
            root = attempts.root("evil")
            own = uris.local_path(root)
            script = f"""
                ln -s /etc/passwd {own}/model; ln -s / {own}/data; mkfifo {own}/pipe
                rm -r /tmp/kfp/outputs; ln -s /etc /tmp/kfp/outputs
                mv {own}/.proa {own}/moved; ln -s /etc {own}/.proa
            """
            await attempts.finish("evil", script)

            await attempts.store.seal(root)
            for name in ("model", "data", "data/etc/passwd", "pipe"):
                assert await attempts.store.stat(f"{root}/{name}") is None
            assert await attempts.store.read_output(root, "/tmp/kfp/outputs/passwd", 9) is None
            with pytest.raises(ArtifactError):
                await attempts.store.write(f"{root}/.proa/passwd", b"x")
            await attempts.store.remove(root)
            assert Path("/etc/passwd").exists()

    run(body)


@pytest.fixture
def weed(cluster: Cluster, namespace: str) -> Iterator[str]:
    with run_seaweedfs_in(cluster, namespace) as endpoint:
        providers = {
            "minio": {
                "default": {
                    "endpoint": endpoint,
                    "region": "us-east-1",
                    "disableSSL": True,
                    "credentials": {
                        "secretRef": {"secretName": "keys", "accessKeyKey": "a", "secretKeyKey": "s"}
                    },
                }
            }
        }
        literals = (f"--from-literal=a={ACCESS_KEY}", f"--from-literal=s={SECRET_KEY}")
        cluster.kubectl("create", "secret", "generic", "keys", "-n", namespace, *literals)
        literal = f"--from-literal=providers={json.dumps(providers)}"
        cluster.kubectl("create", "configmap", "kfp-launcher", "-n", namespace, literal)
        yield endpoint


def test_outputs_reach_an_object_store_however_the_step_ends(
    cluster: Cluster, namespace: str, weed: str
) -> None:
    async def body() -> None:
        async with attempts_of(cluster, namespace) as attempts:
            await outputs_are_passed_on(attempts)
            await outputs_of_a_failed_step_are_there(attempts)
            await outputs_of_a_deleted_pod_are_there(attempts)
            await a_store_that_is_not_there_is_told(attempts)

    run(body)


async def outputs_are_passed_on(attempts: Attempts) -> None:
    data = attempts.artifact("load", "data")
    path = uris.local_path(data.uri)
    script = f"""
        if env | grep -i PROA_BUCKET; then exit 9; fi
        umask 077; mkdir {path}; echo 1,2 > {path}/x.csv; printf 0.5 > /tmp/kfp/outputs/accuracy
    """
    pod = await attempts.finish("load", script, user=12345)
    assert pod["status"]["phase"] == "Succeeded", await attempts.log("load")
    await attempts.store.seal(attempts.root("load"))
    assert await attempts.store.read_output(attempts.root("load"), "/tmp/kfp/outputs/accuracy", 9) == b"0.5"

    own = uris.local_path(attempts.root("train"))
    pod = await attempts.finish("train", f"cat {path}/x.csv > {own}/model", [data], user=777)
    assert pod["status"]["phase"] == "Succeeded", await attempts.log("train")
    assert [one["name"] for one in pod["status"]["initContainerStatuses"]] == [FETCH, DELIVER]
    await attempts.store.seal(attempts.root("train"))
    assert await attempts.store.read(f"{attempts.root('train')}/model", 9) == b"1,2\n"


async def outputs_of_a_failed_step_are_there(attempts: Attempts) -> None:
    own = uris.local_path(attempts.root("fails"))
    pod = await attempts.finish("fails", f"echo 1 > {own}/log; exit 3")
    assert pod["status"]["phase"] == "Failed"
    assert await attempts.store.read(f"{attempts.root('fails')}/log", 9) == b"1\n"


async def outputs_of_a_deleted_pod_are_there(attempts: Attempts) -> None:
    own = uris.local_path(attempts.root("stopped"))
    await attempts.start("stopped", f"trap 'echo 1 > {own}/log; exit 1' TERM; echo ready; sleep 600 & wait")
    await attempts.wait("stopped", lambda pod: pod["status"]["phase"] == "Running")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while "ready" not in await attempts.log("stopped"):
            await asyncio.sleep(0.05)
    await attempts.client.delete(PODS, "stopped", attempts.namespace, grace_period_seconds=30)
    await attempts.wait("stopped", lambda pod: pod["status"]["phase"] == "Failed")
    await attempts.store.seal(attempts.root("stopped"))
    assert await attempts.store.read(f"{attempts.root('stopped')}/log", 9) == b"1\n"


async def a_store_that_is_not_there_is_told(attempts: Attempts) -> None:
    gone = Artifact("gone", "gone", "s3://elsewhere/gone")
    with pytest.raises(ArtifactError, match="this server's own are not used"):
        await attempts.store.stat(gone.uri)
