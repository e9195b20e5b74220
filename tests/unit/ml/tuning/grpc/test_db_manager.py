"""Who may push and read metrics, and what comes of it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from proa.client.fake import FakeClient
from proa.ml.grpc.connection import Caller
from proa.ml.grpc.status import CallFailed
from proa.ml.tuning.grpc.callers import Callers, addresses_of, is_own_user, newest
from proa.ml.tuning.grpc.db_manager import DbManager
from proa.ml.tuning.grpc.installation import install
from proa.ml.tuning.grpc.messages import CODEC
from proa.ml.tuning.kinds import TRIALS
from proa.ml.tuning.observations.observations import Observations, open_observations
from proa.objects.resource import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES
from proa.reconcile.informer import Informer
from proa.reconcile.reflector import Scope

HOST = Caller(("127.0.0.1", 50000), ("127.0.0.1", 6789), is_host=True)
Body = Callable[[DbManager, FakeClient, Observations], Awaitable[None]]


def at(address: str) -> Caller:
    return Caller((address, 40000), ("10.243.255.1", 6789))


def make_trial(name: str = "t-1", namespace: str = "team", kind: str = "Push", condition: str = "Running"):
    owner = {"kind": "Experiment", "name": "t", "uid": "e-1", "controller": True}
    return {
        "apiVersion": TRIALS.api_version,
        "kind": "Trial",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
        "spec": {"metricsCollector": {"collector": {"kind": kind}} if kind else {}},
        "status": {"conditions": [{"type": condition, "status": "True"}]},
    }


def make_pod(address: str, trial: str = "t-1", namespace: str = "team", phase: str = "Running", **spec):
    labels = {"katib.kubeflow.org/trial": trial} if trial else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{address}-{phase.lower()}", "namespace": namespace, "labels": labels},
        "spec": spec,
        "status": {
            "phase": phase,
            "podIP": address,
            "podIPs": [{"ip": address}, {"ip": f"fd00::{address[-1]}"}],
        },
    }


def make_request(name: str = "t-1", *values: str, time: str = "2026-01-01T00:00:00Z") -> dict:
    logs = [{"time_stamp": time, "metric": {"name": "loss", "value": value}} for value in values]
    request = {"trial_name": name, "observation_log": {"metric_logs": logs}}
    return CODEC.decode("ReportObservationLogRequest", CODEC.encode("ReportObservationLogRequest", request))


def ask_for(name: str = "t-1", **fields: str) -> dict:
    return {"trial_name": name, "metric_name": "", "start_time": "", "end_time": "", **fields}


@pytest.fixture
def with_manager(tmp_path):
    """Return what runs a test's body beside a DBManager of a cluster with some trials and pods."""

    def run(body: Body, *objects: dict, is_own: bool = True) -> None:
        async def is_own_user(caller: Caller) -> bool:
            return is_own

        async def go() -> None:
            client = FakeClient()
            for obj in objects:
                made = await client.create(
                    PODS if obj["kind"] == "Pod" else TRIALS, obj, obj["metadata"]["namespace"]
                )
                await client.update(
                    PODS if obj["kind"] == "Pod" else TRIALS, {**made, "status": obj["status"]}, "status"
                )
            observations = await open_observations(tmp_path / "tuning.db")
            informer = Informer(client, Scope(PODS, label_selector="katib.kubeflow.org/trial"))
            following = asyncio.create_task(informer.run())
            await informer.wait_synced()
            manager = DbManager(client, observations, Callers(client, informer), is_own_user=is_own_user)
            try:
                await body(manager, client, observations)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await observations.close()

        asyncio.run(go())

    return run


def test_a_trials_pod_pushes_and_its_namespace_reads(with_manager):
    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        await manager.report(make_request("t-1", "0.5"), at("10.244.1.5"))
        await manager.report(
            make_request("t-1", "0.25", time="2026-01-01T00:00:01.5Z"), at("::ffff:10.244.1.5")
        )
        await manager.report(make_request("t-1", "0.1", time=""), at("10.244.1.5"))  # upstream skips it
        answer = await manager.get(ask_for(), at("10.244.1.6"))
        assert answer["observation_log"]["metric_logs"] == [
            {"time_stamp": "2026-01-01T00:00:00Z", "metric": {"name": "loss", "value": "0.5"}},
            {"time_stamp": "2026-01-01T00:00:01.5Z", "metric": {"name": "loss", "value": "0.25"}},
        ]
        answer = await manager.get(ask_for(start_time="2026-01-01T01:00:01+01:00"), HOST)
        assert [log["metric"]["value"] for log in answer["observation_log"]["metric_logs"]] == ["0.25"]
        assert await observations.experiment_uids() == {"e-1"}
        await manager.delete(ask_for("team/t-1"), HOST)
        assert (await manager.get(ask_for(), HOST))["observation_log"]["metric_logs"] == []

    with_manager(body, make_trial(), make_pod("10.244.1.5"), make_pod("10.244.1.6", trial=""))


CASES = {
    "another trial's pod": (at("10.244.1.7"), "t-1", "pod team/pod-10.244.1.7-running is of trial t-2"),
    "another namespace's pod": (at("10.244.1.8"), "t-1", "NOT_FOUND: there is no trial other/t-1"),
    "another namespace by its name": (at("10.244.1.8"), "team/t-1", "pod other/.* may not ask for trials of team"),
    "a pod that has ended": (at("10.244.1.9"), "t-1", "PERMISSION_DENIED: 10.244.1.9 is no pod's address"),
    "a node": (at("10.243.0.1"), "t-1", "PERMISSION_DENIED: 10.243.0.1 is no pod's address"),
    "no name": (at("10.244.1.5"), "", "INVALID_ARGUMENT: trial_name is empty"),
    "a trial that is over": (at("10.244.1.6"), "over", "FAILED_PRECONDITION: trial team/over is over: it is Succeeded"),
    "a trial with a collector": (at("10.244.1.6"), "stdout", "has the collector StdOut: set spec.metricsCollectorSpec"),
    "no such trial": (HOST, "t-9", "NOT_FOUND: there is no trial t-9 in any namespace"),
    "several of the name": (HOST, "twice", "2 trials are called twice: ask for one as other/twice, team/twice"),
}  # fmt: skip


@pytest.mark.parametrize(("caller", "name", "message"), CASES.values(), ids=CASES.keys())
def test_who_may_not_push_is_told_why(with_manager, monkeypatch, caller, name, message):
    monkeypatch.setattr("proa.ml.tuning.grpc.callers.NEW_POD_SECONDS", 0.01)

    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        with pytest.raises(CallFailed, match=message):
            await manager.report(make_request(name, "1"), caller)
        assert await observations.experiment_uids() == set()

    objects = [
        make_trial(), make_trial("over", condition="Succeeded"), make_trial("stdout", kind=""),
        make_trial("twice"), make_trial("twice", "other"),
        make_pod("10.244.1.5"), make_pod("10.244.1.6", trial=""), make_pod("10.244.1.7", trial="t-2"),
        make_pod("10.244.1.8", namespace="other"), make_pod("10.244.1.9", phase="Succeeded"),
        make_pod("10.243.0.1", hostNetwork=True),
    ]  # fmt: skip
    with_manager(body, *objects)


def test_pods_delete_nothing_and_other_users_of_the_machine_are_refused(with_manager):
    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        with pytest.raises(CallFailed, match="PERMISSION_DENIED: what a trial told goes with the trial"):
            await manager.delete(ask_for(), at("10.244.1.5"))
        for method in (manager.get, manager.delete):
            with pytest.raises(CallFailed, match="PERMISSION_DENIED: this address answers the user who runs"):
                await method(ask_for(), HOST)

    with_manager(body, make_trial(), make_pod("10.244.1.5"), is_own=False)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (make_request("t-1", "1", time="today"), r"metric_logs\[0\].time_stamp: 'today' is no time such as"),
        (make_request("t-1", "1" * 2000), "INVALID_ARGUMENT: metric loss: a value has up to 1024 characters"),
    ],
)
def test_points_that_are_none_are_refused(with_manager, request_, message):
    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        with pytest.raises(CallFailed, match=message):
            await manager.methods["/api.v1.beta1.DBManager/ReportObservationLog"](request_, at("10.244.1.5"))

    with_manager(body, make_trial(), make_pod("10.244.1.5"))


def test_a_pod_whose_address_is_not_in_its_status_yet_is_waited_for(with_manager):
    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        pushing = asyncio.create_task(manager.report(make_request("t-1", "1"), at("10.244.1.5")))
        await asyncio.sleep(0)
        pod = make_pod("10.244.1.5")
        made = await client.create(PODS, pod, "team")
        await client.update(PODS, {**made, "status": pod["status"]}, "status")
        await pushing

    with_manager(body, make_trial())


def test_health_is_that_of_the_database(with_manager):
    async def body(manager: DbManager, client: FakeClient, observations: Observations) -> None:
        check = manager.methods["/grpc.health.v1.Health/Check"]
        assert await check({"service": ""}, at("10.9.9.9")) == {"status": "SERVING"}
        with pytest.raises(CallFailed, match="can only be accepted"):
            await check({"service": "x"}, at("10.9.9.9"))
        await observations.close()
        assert await check({"service": "grpc.health.v1.Health"}, HOST) == {"status": "NOT_SERVING"}

    with_manager(body)


def test_an_address_is_the_newest_running_pods():
    phases = {
        "2026-01-01T00:00:00Z": "Running",
        "2026-01-02T00:00:00Z": "Running",
        "2026-01-03T00:00:00Z": "Failed",
    }
    pods = [
        {
            "metadata": {"creationTimestamp": time, "name": time},
            "status": {"phase": phase, "podIP": "10.0.0.1"},
        }
        for time, phase in phases.items()
    ]
    found = newest(pods)
    assert found is not None
    assert found["metadata"]["name"] == "2026-01-02T00:00:00Z"
    assert newest(pods[2:]) is None
    assert addresses_of(make_pod("10.0.0.2")) == ["10.0.0.2", "fd00::2"]


CONNECT = (
    "import encodings.idna, os, socket, sys\n"
    "os.setuid(int(sys.argv[2]))\n"
    "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[3] else socket.AF_INET)\n"
    "s.connect((sys.argv[3], int(sys.argv[1])))\n"
    "s.sendall(b'x'); s.recv(1)"
)


@pytest.mark.parametrize("is_own", [True, False], ids=["this user", "another user"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_the_kernel_says_whose_a_connection_is(is_own, address):
    if not is_own and os.geteuid() != 0:
        pytest.skip("not on this machine: only root becomes another user")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        arguments = [CONNECT, str(server.getsockname()[1]), str(os.geteuid() if is_own else 65534), address]
        with subprocess.Popen([sys.executable, "-c", *arguments]) as process:
            connection, peer = server.accept()
            with connection:
                connection.recv(1)
                caller = Caller(peer, connection.getsockname(), is_host=True)
                assert asyncio.run(is_own_user(caller)) is is_own
        assert process.returncode == 0


def test_a_connection_of_this_process_is_nobodys():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            caller = Caller(client.getsockname(), server.getsockname(), is_host=True)
            assert not asyncio.run(is_own_user(caller))
        assert not asyncio.run(is_own_user(caller))  # closed: the kernel does not say any more


def test_the_service_is_made_once_and_follows_the_address():
    async def go() -> None:
        client = FakeClient()
        await install(client, "10.243.255.1", 6789)
        service = await client.get(SERVICES, "katib-db-manager", "kubeflow")
        assert (service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]) == ("None", 6789)
        await client.get(NAMESPACES, "kubeflow")
        await client.delete(SERVICES, "katib-db-manager", "kubeflow")
        for port in (7000, 7000):
            await install(client, "10.0.0.9", port)
            found = await client.get(ENDPOINT_SLICES, "katib-db-manager", "kubeflow")
            assert (found["endpoints"][0]["addresses"], found["ports"][0]["port"]) == (["10.0.0.9"], port)
        assert (await client.list(SERVICES)).items == []  # who took it away wants it so

    asyncio.run(go())
