"""What `plan` decides for a PyTorchJob, over a world of pods that a table or chance changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.client.protocol import Object
from proa.ml.training.pytorchjob.plan import Plan, Snapshot, plan
from proa.objects import meta

NOW = 1_750_000_000.0
START = meta.format_time(NOW)


def replica(replicas: int = 1, policy: str = "OnFailure", **spec: Any) -> Object:
    containers = [{"name": "pytorch", "image": "torch", "env": [{"name": "RANK", "value": "me"}]}]
    return {
        "replicas": replicas,
        "restartPolicy": policy,
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers, **spec}},
    }


def job(master: str = "OnFailure", workers: int = 2, policy: str = "OnFailure", **spec: Any) -> Object:
    """Return a job; without a master where `master` is ""."""
    roles = {"Master": replica(1, master)} if master else {}
    if workers:
        roles["Worker"] = replica(workers, policy)
    metadata = {"name": "train", "namespace": "ml", "uid": "u-1"}
    return {"metadata": metadata, "spec": {"pytorchReplicaSpecs": roles, "runPolicy": {}, **spec}}


class World:
    """Pods and Services as they would be, and the job's status; `step` plans and carries it out."""

    def __init__(self, made: Object) -> None:
        self.job = made
        self.pods: dict[str, Object] = {}
        self.services: dict[str, Object] = {}
        self.autoscaler: Object | None = None
        self.group: Object | None = None
        self.is_deleted = False
        self.now = NOW
        self.count = 0

    def step(self) -> Plan:
        seen = Snapshot(self.job, [*self.pods.values()], [*self.services.values()], self.autoscaler)
        decided = plan(seen, self.now)
        for pod in decided.delete_pods:
            del self.pods[meta.name(pod)]
        for service in decided.delete_services:
            del self.services[meta.name(service)]
        self.group = None if decided.delete_group else decided.group or self.group
        self.autoscaler = None if decided.delete_autoscaler else decided.autoscaler or self.autoscaler
        for service in decided.create_services:
            assert meta.name(service) not in self.services
            self.services[meta.name(service)] = service
        for pod in decided.create_pods:
            assert meta.name(pod) not in self.pods
            self.count += 1
            metadata = {**pod["metadata"], "uid": f"p-{self.count}"}
            self.pods[meta.name(pod)] = {**pod, "metadata": metadata, "status": {"phase": "Pending"}}
        if decided.status is not None:
            self.job = {**self.job, "status": decided.status}
        self.is_deleted = decided.delete_job
        return decided

    def settle(self) -> list[Plan]:
        done: list[Plan] = []
        for _ in range(20):
            done.append(self.step())
            if not any(done[-1]._replace(requeue_after=0.0, notes=(), group=None)):
                return done
        raise AssertionError(f"never at rest: {done[-1]}")

    def set(self, name: str, phase: str, code: int | None = None, restarts: int = 0) -> None:
        state = {} if code is None else {"terminated": {"exitCode": code}}
        container = {"name": "pytorch", "restartCount": restarts, "state": state}
        status = {"phase": phase, "containerStatuses": [container]}
        self.pods[name] = {**self.pods[name], "status": status}

    def run_all(self) -> None:
        for name in self.pods:
            self.set(name, "Running")
        self.settle()

    def change(self, **policy: Any) -> None:
        spec = self.job["spec"]
        self.job = {**self.job, "spec": {**spec, "runPolicy": {**spec["runPolicy"], **policy}}}

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(c["type"], c["status"]) for c in self.job["status"]["conditions"]]

    def condition(self, type: str) -> Object:
        return next(one for one in self.job["status"]["conditions"] if one["type"] == type)


def started(made: Object | None = None) -> World:
    world = World(made or job())
    world.settle()
    return world


def environment(pod: Object) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}


def test_pods_and_services_are_named_labelled_and_told_of_one_another() -> None:
    world = started(job(nprocPerNode="2"))

    names = ["train-master-0", "train-worker-0", "train-worker-1"]
    assert sorted(world.pods) == sorted(world.services) == names
    master, worker = world.pods["train-master-0"], world.pods["train-worker-1"]
    labels = {
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
        "training.kubeflow.org/job-name": "train",
        "training.kubeflow.org/replica-type": "worker",
        "training.kubeflow.org/replica-index": "1",
    }
    assert worker["metadata"]["labels"] == {"a": "b", **labels}
    assert master["metadata"]["labels"]["training.kubeflow.org/job-role"] == "master"
    service = world.services["train-worker-1"]
    assert service["spec"]["selector"] == labels
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"] == [{"name": "pytorchjob-port", "port": 23456}]
    assert environment(worker) == {
        "PYTHONUNBUFFERED": "1",
        "MASTER_PORT": "23456",
        "PET_MASTER_PORT": "23456",
        "MASTER_ADDR": "train-master-0",
        "PET_MASTER_ADDR": "train-master-0",
        "WORLD_SIZE": "6",
        "RANK": "2",
        "PET_NODE_RANK": "2",
        "PET_NPROC_PER_NODE": "2",
        "PET_NNODES": "3",
    }
    assert environment(master)["RANK"] == "0"


def test_only_workers_with_a_master_wait_for_it_with_the_image_that_they_have() -> None:
    world = started()

    assert "initContainers" not in world.pods["train-master-0"]["spec"]
    (waiting,) = world.pods["train-worker-0"]["spec"]["initContainers"]
    assert (waiting["name"], waiting["image"], waiting["command"][-1]) == (
        "init-pytorch",
        "torch",
        "train-master-0",
    )
    assert "initContainers" not in started(job(master="")).pods["train-worker-0"]["spec"]


def test_workers_of_an_elastic_job_find_one_another_by_the_first() -> None:
    conf = [{"key": "timeout", "value": "30"}, {"key": "x", "value": "y"}]
    policy = {"minReplicas": 1, "maxReplicas": 3, "maxRestarts": 5, "rdzvConf": conf}
    world = started(job(master="", elasticPolicy=policy))

    assert environment(world.pods["train-worker-1"]) == {
        "RANK": "me",
        "PYTHONUNBUFFERED": "1",
        "PET_NPROC_PER_NODE": "auto",
        "PET_RDZV_ENDPOINT": "train-worker-0:23456",
        "PET_RDZV_BACKEND": "c10d",
        "PET_NNODES": "1:3",
        "PET_MAX_RESTARTS": "5",
        "PET_RDZV_CONF": "timeout=30,x=y",
    }


def test_a_job_runs_and_succeeds_with_its_master() -> None:
    world = started()
    assert world.states == [("Created", "True")]
    world.run_all()
    assert world.states == [("Created", "True"), ("Running", "True")]
    assert world.condition("Running")["message"] == "PyTorchJob train is running."

    world.set("train-master-0", "Succeeded", 0)
    world.settle()

    assert world.states == [("Created", "True"), ("Running", "False"), ("Succeeded", "True")]
    status = world.job["status"]
    assert status["completionTime"] == status["startTime"] == status["lastReconcileTime"] == START
    assert status["replicaStatuses"]["Worker"]["succeeded"] == 2
    assert status["replicaStatuses"]["Worker"]["selector"] == (
        "training.kubeflow.org/job-name=train,"
        "training.kubeflow.org/operator-name=pytorchjob-controller,"
        "training.kubeflow.org/replica-type=worker"
    )
    assert len(world.pods) == 3


@pytest.mark.parametrize(
    ("made", "first_is_enough"),
    [(job(master=""), False), (job(master="", elasticPolicy={}), True)],
    ids=["all workers", "any worker of an elastic job"],
)
def test_without_a_master_workers_decide(made: Object, first_is_enough: bool) -> None:
    world = started(made)
    world.run_all()

    world.set("train-worker-1", "Succeeded", 0)
    world.settle()
    assert (("Succeeded", "True") in world.states) == first_is_enough
    world.set("train-worker-0", "Succeeded", 0)
    world.settle()
    assert ("Succeeded", "True") in world.states
    assert world.condition("Succeeded")["message"] == "PyTorchJob ml/train successfully completed."


@pytest.mark.parametrize(
    ("policy", "code", "ends"),
    [
        ("Never", 1, "Failed"),
        ("OnFailure", 1, "Restarting"),
        ("Always", 1, "Restarting"),
        ("ExitCode", 1, "Failed"),
        ("ExitCode", 127, "Failed"),
        ("ExitCode", 128, "Restarting"),
        ("ExitCode", 137, "Restarting"),
        ("ExitCode", None, "Restarting"),
    ],
)
def test_what_follows_a_failed_worker_is_its_roles_word(policy: str, code: int | None, ends: str) -> None:
    world = started(job(policy=policy))
    world.run_all()

    world.set("train-worker-1", "Failed", code)
    first = world.step()

    assert world.states[-1] == (ends, "True")
    assert world.condition(ends)["reason"] == f"PyTorchJob{ends}"
    assert [note.reason for note in first.notes if note.reason.startswith("PyTorch")] == [f"PyTorchJob{ends}"]
    world.settle()
    if ends == "Restarting":
        assert world.pods["train-worker-1"]["status"]["phase"] == "Pending"
        assert world.job["status"]["restarts"] == 1
        world.run_all()
        assert world.states == [("Created", "True"), ("Running", "True")]
    else:
        assert world.job["status"]["completionTime"] == START
        assert world.pods["train-worker-1"]["status"]["phase"] == "Failed"
        how = (
            f"failed. Container pytorch of Pod train-worker-1 ended with exit code {code}; its log says more"
        )
        assert world.condition("Failed")["message"].endswith(how)


def test_a_pod_that_somebody_deletes_comes_back_when_it_is_gone() -> None:
    world = started()
    world.run_all()
    pod = world.pods["train-worker-0"]
    world.pods["train-worker-0"] = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": START}}

    world.settle()
    assert world.states[-1] == ("Restarting", "True")
    assert world.count == 3
    del world.pods["train-worker-0"]
    world.settle()
    world.run_all()
    assert world.count == 4
    assert world.states[-1] == ("Running", "True")


@pytest.mark.parametrize(
    ("limit", "restarts", "fails"), [(0, 0, False), (0, 1, True), (2, 1, False), (2, 2, True)]
)
def test_too_many_restarts_of_containers_end_a_job_and_its_pods(
    limit: int, restarts: int, fails: bool
) -> None:
    world = started(job(runPolicy={"backoffLimit": limit}))
    world.run_all()

    world.set("train-worker-0", "Running", restarts=restarts)
    world.settle()

    assert (world.states[-1] == ("Failed", "True")) == fails
    if fails:
        assert (world.pods, world.services) == ({}, {})
        message = "Job train has failed because it has reached the specified backoff limit"
        assert world.condition("Failed")["message"] == message


def test_replaced_pods_count_against_the_limit() -> None:
    world = started(job(policy="ExitCode", runPolicy={"backoffLimit": 3}))
    for _ in range(2):
        world.run_all()
        world.set("train-worker-1", "Failed", 137)
        world.settle()
        assert ("Failed", "True") not in world.states
    world.run_all()
    world.set("train-worker-1", "Failed", 137)
    world.settle()
    assert world.states[-1] == ("Failed", "True")


def test_a_job_that_runs_for_too_long_fails() -> None:
    world = World(job(runPolicy={"activeDeadlineSeconds": 60}))
    world.settle()
    world.run_all()
    world.now += 59.5
    assert world.settle()[-1].requeue_after == pytest.approx(0.5)
    world.now += 1
    world.settle()
    assert world.condition("Failed")["message"].endswith("active longer than specified deadline")
    assert world.pods == {}


@pytest.mark.parametrize(
    ("policy", "left"),
    [("None", {"master-0", "worker-0", "worker-1"}), ("Running", {"master-0"}), ("All", set())],
)
def test_what_is_cleaned_up_when_a_job_has_ended(policy: str, left: set[str]) -> None:
    world = started(job(runPolicy={"cleanPodPolicy": policy}))
    world.run_all()
    world.set("train-master-0", "Succeeded", 0)
    world.settle()

    assert {name.removeprefix("train-") for name in world.pods} == left
    assert set(world.services) == set(world.pods)


def test_a_job_is_deleted_when_its_time_is_over() -> None:
    world = started(job(runPolicy={"ttlSecondsAfterFinished": 30}))
    world.set("train-master-0", "Succeeded", 0)
    assert world.settle()[-1].requeue_after == 30
    world.now += 30
    assert world.step().delete_job


def test_a_suspended_job_has_no_pods_and_begins_anew() -> None:
    world = started()
    world.run_all()
    world.change(suspend=True)
    world.settle()

    assert (world.pods, world.services) == ({}, {})
    assert world.states == [("Created", "True"), ("Running", "False"), ("Suspended", "True")]
    assert "active" not in world.job["status"]["replicaStatuses"]["Worker"]

    world.now += 100
    world.change(suspend=False)
    world.settle()
    assert len(world.pods) == 3
    assert world.condition("Suspended")["reason"] == "PyTorchJobResumed"
    assert world.job["status"]["startTime"] == meta.format_time(NOW + 100)


def test_a_gang_is_as_large_as_the_job_or_as_it_says() -> None:
    world = started(job(runPolicy={"schedulingPolicy": {"priorityClass": "high"}}))
    assert world.group is not None
    assert world.group["spec"] == {"minMember": 3}
    pod = world.pods["train-master-0"]
    assert pod["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "train"
    assert pod["spec"]["priorityClassName"] == "high"
    world.set("train-master-0", "Succeeded", 0)
    world.settle()
    assert world.group is None

    smaller = started(job(runPolicy={"schedulingPolicy": {"minAvailable": 2}}))
    assert smaller.group is not None
    assert smaller.group["spec"] == {"minMember": 2}


def test_why_a_pod_has_no_place_is_said_where_people_look() -> None:
    world = started()
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    pod = world.pods["train-worker-0"]
    world.pods["train-worker-0"] = {**pod, "status": {"phase": "Pending", "conditions": [refused]}}

    notes = world.step().notes
    assert notes == [("Warning", "Unschedulable", "Error pod train-worker-0 condition message: no room")]
    expected = "PyTorchJob train is created. Pod train-worker-0 waits: no room"
    assert world.condition("Created")["message"] == expected
    world.run_all()
    assert world.condition("Created")["message"] == "PyTorchJob train is created."


def test_an_autoscaler_follows_the_elastic_policy() -> None:
    metrics = [{"type": "Resource", "resource": {"name": "cpu"}}]
    policy = {"minReplicas": 1, "maxReplicas": 3, "metrics": metrics}
    world = started(job(master="", elasticPolicy=policy))

    assert world.autoscaler is not None
    assert world.autoscaler["spec"] == {
        "scaleTargetRef": {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train"},
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": metrics,
    }
    defaulted = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]
    world.autoscaler = {**world.autoscaler, "spec": {**world.autoscaler["spec"], "metrics": defaulted}}
    assert world.step().autoscaler is None
    world.job["spec"]["elasticPolicy"]["maxReplicas"] = 4
    assert world.step().autoscaler is not None
    world.change(suspend=True)
    world.settle()
    assert world.autoscaler is None


def test_fewer_workers_lose_the_last_pods_and_services() -> None:
    world = started()
    world.run_all()
    world.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = 1
    world.settle()
    assert sorted(world.pods) == sorted(world.services) == ["train-master-0", "train-worker-0"]
    assert world.states[-1] == ("Running", "True")


POLICIES = st.sampled_from(["Never", "OnFailure", "Always", "ExitCode"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([0, 1, 127, 128, 137])),
        st.tuples(st.just("vanish"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("scale"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("suspend"), st.integers(0, 1), st.just(0)),
    ),
    max_size=15,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.booleans(), POLICIES, POLICIES, st.integers(1, 4), EVENTS)
def test_whatever_becomes_of_pods_a_job_comes_to_rest_with_no_more_of_them_than_asked(
    with_master: bool, master: str, policy: str, workers: int, events: list[tuple[str, int, int]]
) -> None:
    world = World(job(master if with_master else "", workers, policy))
    for event, number, code in events:
        world.settle()
        wanted = with_master + world.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"]
        ended = ("Succeeded", "True") in world.states or ("Failed", "True") in world.states
        suspended = world.job["spec"]["runPolicy"].get("suspend", False)
        assert ended or len(world.pods) == (0 if suspended else wanted)
        assert len(world.pods) <= 5
        assert world.settle()[0].status is None
        names = sorted(world.pods)
        name = names[number % len(names)] if names else ""
        if event == "scale":
            world.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = number
        elif event == "suspend":
            world.change(suspend=bool(number))
        elif name and event == "vanish":
            del world.pods[name]
        elif name and world.pods[name]["status"]["phase"] in ("Pending", "Running"):
            if event == "run":
                world.set(name, "Running")
            elif event == "end":
                world.set(name, "Failed" if code else "Succeeded", code)
    world.settle()
