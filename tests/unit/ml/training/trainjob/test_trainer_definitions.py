"""What the API server says to TrainJobs, runtimes and JobSets, by their CustomResourceDefinitions alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

import proa.ml.training
from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Object, User
from proa.ml.training.kinds import CLUSTER_TRAINING_RUNTIMES, JOB_SETS, TRAIN_JOBS
from proa.ml.training.runtimes.shipped import make_runtimes
from proa.objects.errors import ApiError
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Resource
from proa.store.memory import MemoryStore

FOLDER = Path(proa.ml.training.__path__[0])


class Server:
    def __init__(self) -> None:
        server = ApiServer(MemoryStore(), DEFINITIONS)
        self.client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))

    def create(self, resource: Resource, obj: Object) -> Object:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        namespace = "default" if resource.namespaced else None
        return asyncio.run(self.client.create(resource, body, namespace))

    def update(self, resource: Resource, obj: Object) -> Object:
        return asyncio.run(self.client.update(resource, obj))

    def refusal(self, resource: Resource, obj: Object) -> str:
        with pytest.raises(ApiError) as refused:
            self.create(resource, obj)
        return refused.value.message


@pytest.fixture(scope="module")
def server() -> Server:
    made = Server()

    async def prepare() -> None:
        await made.client.create(NAMESPACES, {"metadata": {"name": "default"}})
        for file in sorted(FOLDER.glob("[jt]*/*.yaml")):
            await made.client.create(CUSTOM_RESOURCE_DEFINITIONS, orjson.loads(file.read_bytes()))

    asyncio.run(prepare())
    return made


def make_replicated(name: str = "node", **fields: Any) -> Object:
    pods = {"spec": {"containers": [{"name": "main", "image": "i", "anything": 1}]}}
    return {"name": name, "template": {"spec": {"completions": 2, "template": pods}}, **fields}


def make_jobset(name: str, *replicated: Object, **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"replicatedJobs": list(replicated) or [make_replicated()], **spec},
    }


def test_a_jobset_gets_what_upstreams_webhook_fills_in_and_keeps_its_pods_as_written(server: Server) -> None:
    spec = server.create(JOB_SETS, make_jobset("plain"))["spec"]

    (job,) = spec.pop("replicatedJobs")
    assert spec == {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "successPolicy": {"operator": "All"},
        "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
    }
    assert (job["replicas"], job["groupName"], job["template"]["spec"]["completionMode"]) == (
        1,
        "default",
        "Indexed",
    )
    pods = job["template"]["spec"]["template"]["spec"]
    assert pods == {
        "containers": [{"name": "main", "image": "i", "anything": 1}],
        "restartPolicy": "OnFailure",
    }


@pytest.mark.parametrize(
    ("jobset", "words"),
    [
        (make_jobset("x", make_replicated(dependsOn=[{"name": "a", "status": "Ready"}])), "DependsOn can't be set"),
        (
            make_jobset(
                "x",
                make_replicated("a"),
                make_replicated("b", dependsOn=[{"name": "a", "status": "Ready"}]),
                startupPolicy={"startupPolicyOrder": "InOrder"},
            ),
            "mutually exclusive",
        ),
        (make_jobset("x", successPolicy={"operator": "Any", "targetReplicatedJobs": ["z"]}), "targetReplicatedJobs"),
        (make_jobset("x", successPolicy={"operator": "Some"}), "successPolicy.operator"),
        (make_jobset("x", make_replicated(replicas=-1)), "replicas"),
        (make_jobset("x", network={"subdomain": "A.b"}), "subdomain"),
        (make_jobset("x", failurePolicy={"rules": [{"action": "Shrug"}]}), "failurePolicy.rules[0].action"),
        (
            make_jobset("x", failurePolicy={"rules": [{"action": "FailJobSet", "onJobFailureReasons": ["Odd"]}]}),
            "onJobFailureReasons",
        ),
    ],
)  # fmt: skip
def test_a_jobset_that_cannot_be_is_refused(server: Server, jobset: Object, words: str) -> None:
    assert words in server.refusal(JOB_SETS, jobset)


def _pods(spec: Object) -> Object:
    found: Object = spec["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return found


CHANGES: dict[str, tuple[Callable[[Object], object], bool]] = {
    "replicas": (lambda spec: spec["replicatedJobs"][0].update(replicas=2), False),
    "another replicated job": (lambda spec: spec["replicatedJobs"].append(make_replicated("z")), False),
    "image": (lambda spec: _pods(spec)["containers"][0].update(image="j"), False),
    "success policy": (lambda spec: spec.update(successPolicy={"operator": "Any"}), False),
    "network": (lambda spec: spec["network"].update(subdomain="z"), False),
    "manager": (lambda spec: spec.update(managedBy="me.org/x"), False),
    "where pods may run": (lambda spec: _pods(spec).update(nodeSelector={"a": "b"}), True),
    "ttl": (lambda spec: spec.update(ttlSecondsAfterFinished=1), True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_of_a_jobset_may_change_while_it_rests(server: Server, what: str) -> None:
    change, may_change = CHANGES[what]
    made = server.create(JOB_SETS, make_jobset(f"rests-{list(CHANGES).index(what)}", suspend=True))
    changed = deepcopy(made)
    change(changed["spec"])
    if may_change:
        assert server.update(JOB_SETS, changed)["spec"] == changed["spec"]
        return
    with pytest.raises(ApiError, match="immutable"):
        server.update(JOB_SETS, changed)


def test_where_pods_may_run_does_not_change_while_they_do(server: Server) -> None:
    made = deepcopy(server.create(JOB_SETS, make_jobset("runs")))
    _pods(made["spec"])["nodeSelector"] = {"a": "b"}
    with pytest.raises(ApiError, match="immutable"):
        server.update(JOB_SETS, made)


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("Upper", {}, "RFC 1123"),
        ("1st", {}, "RFC 1035"),
        ("a" * 64, {}, "no more than 63 characters"),
        ("x", {"runtimeRef": {}}, "runtimeRef.name"),
        ("x", {"trainer": {"numProcPerNode": 0}}, "numProcPerNode must be greater than or equal to 1"),
        ("x", {"trainer": {"numNodes": -1}}, "numNodes"),
        ("x", {"managedBy": "somebody"}, "ManagedBy must be trainer.kubeflow.org/trainjob-controller"),
        ("x", {"initializer": {"model": {"storageUri": "no uri"}}}, "must be a valid URI"),
        ("x", {"activeDeadlineSeconds": 0}, "activeDeadlineSeconds"),
        ("x", {"runtimePatches": [], "podTemplateOverrides": []}, "mutually exclusive"),
    ],
)
def test_a_trainjob_that_cannot_be_is_refused(server: Server, name: str, spec: Object, words: str) -> None:
    trainjob = {"metadata": {"name": name}, "spec": {"runtimeRef": {"name": "plain"}, **spec}}

    assert words in server.refusal(TRAIN_JOBS, trainjob)


def test_a_trainjob_names_a_cluster_wide_runtime_unless_it_says_otherwise(server: Server) -> None:
    made = server.create(
        TRAIN_JOBS, {"metadata": {"name": "plain"}, "spec": {"runtimeRef": {"name": "plain"}}}
    )

    assert made["spec"] == {
        "runtimeRef": {"name": "plain", "kind": "ClusterTrainingRuntime", "apiGroup": "trainer.kubeflow.org"},
        "managedBy": "trainer.kubeflow.org/trainjob-controller",
        "suspend": False,
    }


def test_shipped_runtimes_are_taken_as_they_are(server: Server) -> None:
    for runtime in make_runtimes():
        (job,) = server.create(CLUSTER_TRAINING_RUNTIMES, runtime)["spec"]["template"]["spec"][
            "replicatedJobs"
        ]
        (written,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        assert job == {**written, "groupName": "default", "replicas": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec["template"]["spec"]["replicatedJobs"][0].update(replicas=2), "always must be 1"),
        (
            lambda spec: _pods(spec["template"]["spec"])["containers"][0].update(name="x"),
            "must have the container",
        ),
        (lambda spec: spec["mlPolicy"].update(torch={}, jax={}), "Only one of the policy can be configured"),
    ],
    ids=["replicas", "container", "policies"],
)
def test_a_runtime_that_cannot_be_is_refused(
    server: Server, change: Callable[[Object], object], words: str
) -> None:
    runtime = deepcopy(make_runtimes()[1])
    runtime["metadata"]["name"] = "own"
    change(runtime["spec"])

    assert words in server.refusal(CLUSTER_TRAINING_RUNTIMES, runtime)
