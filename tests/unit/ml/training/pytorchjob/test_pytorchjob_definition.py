"""What the API server says to a PyTorchJob, by its CustomResourceDefinition alone."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

import proa.ml.training.pytorchjob
from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Object, User
from proa.ml.training.kinds import PYTORCH_JOBS
from proa.objects.errors import ApiError
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from proa.store.memory import MemoryStore

DEFINITION = Path(proa.ml.training.pytorchjob.__path__[0]) / "crd.yaml"


def replica(**fields: Any) -> Object:
    return {"template": {"spec": {"containers": [{"name": "pytorch", "image": "torch", "x": 1}]}}, **fields}


def job(name: str = "train", **spec: Any) -> Object:
    specs = {"Master": replica(), "Worker": replica(replicas=2)}
    return {"metadata": {"name": name}, "spec": {"pytorchReplicaSpecs": specs, **spec}}


class Server:
    def __init__(self) -> None:
        server = ApiServer(MemoryStore(), DEFINITIONS)
        self.client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))

    async def create(self, obj: Object) -> Object:
        return await self.client.create(
            PYTORCH_JOBS, {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", **obj}, "default"
        )


@pytest.fixture(scope="module")
def server() -> Server:
    made = Server()

    async def prepare() -> None:
        await made.client.create(NAMESPACES, {"metadata": {"name": "default"}})
        await made.client.create(CUSTOM_RESOURCE_DEFINITIONS, orjson.loads(DEFINITION.read_bytes()))

    asyncio.run(prepare())
    return made


def test_a_job_gets_its_defaults_and_keeps_its_templates_as_written(server: Server) -> None:
    made = asyncio.run(server.create(job("plain")))

    assert made["spec"]["runPolicy"] == {"cleanPodPolicy": "None", "suspend": False}
    master, worker = (made["spec"]["pytorchReplicaSpecs"][role] for role in ("Master", "Worker"))
    assert (master["replicas"], master["restartPolicy"], worker["replicas"]) == (1, "OnFailure", 2)
    assert master["template"] == replica()["template"]


ELASTIC = {"minReplicas": 1, "maxReplicas": 3}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (job("1train"), "must be a DNS label"),
        (job("t" * 60), "name is too long"),
        (job(pytorchReplicaSpecs={"Chief": replica()}), "supported roles: Master, Worker"),
        (job(pytorchReplicaSpecs={}), "pytorchReplicaSpecs"),
        (job(pytorchReplicaSpecs={"Master": replica(replicas=2)}), "Master: replicas must be 1"),
        (job(pytorchReplicaSpecs={"Worker": replica(replicas=0)}), "greater than or equal to 1"),
        (job(pytorchReplicaSpecs={"Worker": {"template": {}}}), "at least one container with name pytorch"),
        (
            job(
                pytorchReplicaSpecs={"Worker": {"template": {"spec": {"containers": [{"name": "pytorch"}]}}}}
            ),
            "must have an image",
        ),
        (job(pytorchReplicaSpecs={"Worker": replica(restartPolicy="Sometimes")}), "Unsupported value"),
        (job(pytorchReplicaSpecs={"Master": replica()}, elasticPolicy={}), "must be configured if elastic"),
        (job(elasticPolicy={"nProcPerNode": 2}, nprocPerNode="2"), "must not be used with spec.nprocPerNode"),
        (job(elasticPolicy={"minReplicas": 3, "maxReplicas": 2}), "cannot be smaller than minReplicas"),
        (job(runPolicy={"managedBy": "me"}), "Unsupported value"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field_and_what_would_work(
    server: Server, bad: Object, says: str
) -> None:
    with pytest.raises(ApiError, match=re.escape(says)):
        asyncio.run(server.create(bad))


def test_who_manages_a_job_and_its_queue_stay_as_they_are(server: Server) -> None:
    policy = {"managedBy": "kueue.x-k8s.io/multikueue", "schedulingPolicy": {"queue": "a"}}
    asyncio.run(server.create(job("managed", runPolicy=policy)))
    asyncio.run(server.create(job("free")))

    for name, changed, says in (
        ("managed", {"managedBy": "kubeflow.org/training-operator"}, "field is immutable"),
        ("managed", {"managedBy": None}, "managedBy is immutable"),
        ("managed", {"schedulingPolicy": {"queue": "b"}}, "queue is immutable"),
        ("free", {"managedBy": "kueue.x-k8s.io/multikueue"}, "managedBy is immutable"),
    ):
        patch = {"spec": {"runPolicy": changed}}
        with pytest.raises(ApiError, match=says):
            asyncio.run(server.client.patch(PYTORCH_JOBS, name, patch, "default"))


def test_an_elastic_job_is_scaled_by_its_workers(server: Server) -> None:
    asyncio.run(server.create(job("elastic", elasticPolicy=ELASTIC)))

    patch = {"spec": {"replicas": 3}}
    scaled = server.client.patch(PYTORCH_JOBS, "elastic", patch, "default", subresource="scale")
    assert asyncio.run(scaled)["spec"]["replicas"] == 3
    found = asyncio.run(server.client.get(PYTORCH_JOBS, "elastic", "default"))
    assert found["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 3
