"""What must happen next to a pod, for one state of the world after another."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import pytest

from proa.node.backoff import BackOff
from proa.node.pod_lifecycle import decide
from proa.node.pod_steps import (
    Decision,
    Finish,
    KillContainer,
    MakeSandbox,
    MountVolumes,
    RemoveContainer,
    StartContainer,
    StopSandbox,
    UnmountVolumes,
)
from proa.node.pod_view import Ended, Health, PodView, StartFailure
from proa.node.runtimes.protocol import Container, ContainerConfig, Sandbox, SandboxConfig
from proa.objects.meta import format_time

NOW = 1_000_000.0
SANDBOX = Sandbox("s0", SandboxConfig("default", "web", "u1", "web"), "10.244.1.2", "Ready", NOW - 100)
LOST_SANDBOX = Sandbox(
    "s0", SandboxConfig("default", "web", "u1", "web"), "10.244.1.2", "NotReady", NOW - 100
)


def make_pod(
    *names: str, init: tuple[dict[str, Any], ...] = (), deleted: int | None = None, **spec: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "web", "namespace": "default", "uid": "u1"}
    if deleted is not None:
        metadata |= {"deletionTimestamp": format_time(NOW + deleted), "deletionGracePeriodSeconds": deleted}
    containers = [{"name": n, "image": "i"} for n in names or ("app",)]
    return {"metadata": metadata, "spec": {"containers": containers, "initContainers": list(init), **spec}}


def make_container(
    name: str = "app",
    state: str = "Running",
    code: int = 0,
    *,
    attempt: int = 0,
    ago: float = 1,
    sandbox: str = "s0",
) -> Container:
    config = ContainerConfig(name, "i", ("run",), (), attempt=attempt)
    finished = NOW - ago if state == "Exited" else 0.0
    identifier = f"{name}-{attempt}"
    return Container(identifier, sandbox, config, state, NOW - 50 + attempt, NOW - 50, finished, code)  # type: ignore[arg-type]


def look(pod: dict[str, Any], *containers: Container, **more: Any) -> PodView:
    defaults: dict[str, Any] = {"sandbox": SANDBOX, "volumes_ready": True, "started_at": NOW - 60}
    return PodView(pod, containers=tuple(containers), **{**defaults, **more})


INIT = ({"name": "one", "image": "i"}, {"name": "two", "image": "i"})
SIDECAR = {"name": "proxy", "image": "i", "restartPolicy": "Always"}
DEBUGGER = {"name": "debugger", "image": "i"}

PROGRESS: Mapping[str, tuple[PodView, Decision]] = {
    "volumes come first": (
        look(make_pod(), sandbox=None, volumes_ready=False),
        Decision((MountVolumes(),)),
    ),
    "volumes that failed are tried later": (
        look(make_pod(), sandbox=None, volumes_ready=False, volumes_retry_at=NOW + 2),
        Decision(wake_at=NOW + 2),
    ),
    "then the sandbox": (look(make_pod(), sandbox=None), Decision((MakeSandbox(0),))),
    "a sandbox that failed is tried later": (
        look(make_pod(), sandbox=None, sandbox_retry_at=NOW + 5),
        Decision(wake_at=NOW + 5),
    ),
    "then all containers at once": (
        look(make_pod("a", "b")),
        Decision((StartContainer("a", 0), StartContainer("b", 0))),
    ),
    "what runs is left alone": (look(make_pod(), make_container()), Decision()),
    "a container that was never started is made anew": (
        look(make_pod(), make_container(state="Created")),
        Decision((RemoveContainer("app-0"), StartContainer("app", 0))),
    ),
    "init containers run one by one": (
        look(make_pod(init=INIT)),
        Decision((StartContainer("one", 0),)),
    ),
    "the next init container waits for the first": (
        look(make_pod(init=INIT), make_container("one")),
        Decision(),
    ),
    "the next init container follows the first": (
        look(make_pod(init=INIT), make_container("one", "Exited")),
        Decision((StartContainer("two", 0),)),
    ),
    "containers follow the last init container": (
        look(make_pod(init=INIT), make_container("one", "Exited"), make_container("two", "Exited")),
        Decision((StartContainer("app", 0),)),
    ),
    "an init container that failed is restarted": (
        look(make_pod(init=INIT), make_container("one", "Exited", 1)),
        Decision((StartContainer("one", 1, is_restart=True),)),
    ),
    "a sidecar must have started before the containers": (
        look(make_pod(init=(SIDECAR,)), make_container("proxy"), health={"proxy-0": Health(started=False)}),
        Decision(),
    ),
    "containers follow a sidecar that started": (
        look(make_pod(init=(SIDECAR,)), make_container("proxy")),
        Decision((StartContainer("app", 0),)),
    ),
    "a sidecar that ended is restarted beside its containers": (
        look(
            make_pod(init=(SIDECAR,), restartPolicy="Never"),
            make_container(),
            make_container("proxy", "Exited"),
        ),
        Decision((StartContainer("proxy", 1, is_restart=True),)),
    ),
    "what is to look into the pod is started while it initializes": (
        look(make_pod(init=INIT, ephemeralContainers=[DEBUGGER]), make_container("one")),
        Decision((StartContainer("debugger", 0),)),
    ),
    "what looked into the pod is not started again": (
        look(
            make_pod(ephemeralContainers=[DEBUGGER]),
            make_container(),
            make_container("debugger", "Exited", 1),
        ),
        Decision(),
    ),
    "nor when the runtime has forgotten it": (
        look(
            {
                **make_pod(ephemeralContainers=[DEBUGGER]),
                "status": {"ephemeralContainerStatuses": [{"name": "debugger", "state": {"running": {}}}]},
            },
            make_container(),
        ),
        Decision(),
    ),
    "init containers are not run again once containers exist": (
        look(make_pod(init=INIT), make_container()),
        Decision(),
    ),
    "a postStart hook holds back the next container": (
        look(make_pod("a", "b"), make_container("a"), hooks_pending=frozenset({"a-0"})),
        Decision(),
    ),
    "a failed start waits": (
        look(make_pod(), failures={"app": StartFailure("ErrImagePull", "no", NOW + 3)}),
        Decision(wake_at=NOW + 3),
    ),
    "a failed start is tried again": (
        look(make_pod(), failures={"app": StartFailure("ErrImagePull", "no", NOW)}),
        Decision((StartContainer("app", 0),)),
    ),
    "the API remembers an attempt that the runtime forgot": (
        look(
            {
                **make_pod(),
                "status": {
                    "containerStatuses": [{"name": "app", "restartCount": 4, "containerID": "proa://x"}]
                },
            }
        ),
        Decision((StartContainer("app", 5),)),
    ),
    "a container that fails its liveness probe is killed": (
        look(
            make_pod(terminationGracePeriodSeconds=7),
            make_container(),
            health={
                "app-0": Health(restart_message="Container app failed liveness probe, will be restarted")
            },
        ),
        Decision(
            (KillContainer("app-0", "app", 7, "Container app failed liveness probe, will be restarted"),)
        ),
    ),
    "the probe's own grace wins": (
        look(make_pod(), make_container(), health={"app-0": Health(restart_message="x", grace_seconds=3)}),
        Decision((KillContainer("app-0", "app", 3, "x"),)),
    ),
    "it is killed once": (
        look(
            make_pod(),
            make_container(),
            health={"app-0": Health(restart_message="x")},
            killing=frozenset({"app-0"}),
        ),
        Decision(),
    ),
    "a lost sandbox is made anew": (
        look(make_pod(), make_container(state="Exited", code=137), sandbox=LOST_SANDBOX),
        Decision((MakeSandbox(1),)),
    ),
    "what runs in a lost sandbox is killed first": (
        look(make_pod(), make_container(), sandbox=LOST_SANDBOX),
        Decision(
            (KillContainer("app-0", "app", 0, "Pod sandbox changed, it will be killed and re-created."),)
        ),
    ),
    "init containers run again in a new sandbox": (
        look(
            make_pod(init=INIT),
            make_container("one", "Exited", sandbox="old"),
            make_container("two", "Exited", sandbox="old"),
            make_container(state="Exited", code=137, sandbox="old"),
        ),
        Decision((StartContainer("one", 1),)),
    ),
    "a deadline wakes the pod": (
        look(make_pod(activeDeadlineSeconds=100), make_container()),
        Decision(wake_at=NOW + 40),
    ),
}


@pytest.mark.parametrize(("view", "expected"), PROGRESS.values(), ids=PROGRESS.keys())
def test_a_pod_progresses(view: PodView, expected: Decision) -> None:
    assert decide(view, NOW) == expected


RESTARTS = [
    ("Always", 0, True),
    ("Always", 1, True),
    ("OnFailure", 0, False),
    ("OnFailure", 1, True),
    ("Never", 0, False),
    ("Never", 1, False),
]


@pytest.mark.parametrize(("policy", "code", "restarts"), RESTARTS)
def test_the_restart_policy_decides(policy: str, code: int, restarts: bool) -> None:
    view = look(make_pod(restartPolicy=policy), make_container(state="Exited", code=code))

    steps = decide(view, NOW).steps

    assert (StartContainer("app", 1, is_restart=True) in steps) == restarts
    assert (StopSandbox("s0") in steps) != restarts


def test_a_containers_own_rules_come_before_the_policy() -> None:
    pod = make_pod(restartPolicy="Never")
    pod["spec"]["containers"][0]["restartPolicyRules"] = [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    ]

    assert decide(look(pod, make_container(state="Exited", code=42)), NOW).steps == (
        StartContainer("app", 1, is_restart=True),
    )
    assert StopSandbox("s0") in decide(look(pod, make_container(state="Exited", code=1)), NOW).steps


def test_a_crash_loop_waits_from_the_time_of_the_crash() -> None:
    crashed = make_container(state="Exited", code=1, attempt=1, ago=4)
    view = look(make_pod(), crashed, backoffs={"app": BackOff(10, NOW - 5)})

    assert decide(view, NOW) == Decision(wake_at=NOW + 6)
    assert decide(view, NOW + 6).steps == (StartContainer("app", 2, is_restart=True),)


def test_what_crashed_long_ago_is_no_crash_loop() -> None:
    """A server that failed a few times as it started, and ran for an hour since, is back at once."""
    crashed = make_container(state="Exited", code=1, attempt=5, ago=0)
    view = look(make_pod(), crashed, backoffs={"app": BackOff(300, NOW - 3600)})

    assert decide(view, NOW).steps == (StartContainer("app", 6, is_restart=True),)


def test_only_the_last_attempt_is_kept_for_its_logs() -> None:
    attempts = [make_container(state="Exited", code=1, attempt=n) for n in (2, 1, 0)]

    steps = decide(look(make_pod(), *attempts), NOW).steps

    assert steps == (
        RemoveContainer("app-1"),
        RemoveContainer("app-0"),
        StartContainer("app", 3, is_restart=True),
    )


ENDS: Mapping[str, tuple[PodView, Decision]] = {
    "running containers are killed within the grace": (
        look(make_pod("a", "b", deleted=30), make_container("a"), make_container("b")),
        Decision(
            (
                KillContainer("a-0", "a", 30, "Stopping container a"),
                KillContainer("b-0", "b", 30, "Stopping container b"),
            )
        ),
    ),
    "what is being killed is waited for": (
        look(make_pod(deleted=30), make_container(), killing=frozenset({"app-0"})),
        Decision(),
    ),
    "sidecars end after the containers": (
        look(make_pod(init=(SIDECAR,), deleted=30), make_container(), make_container("proxy")),
        Decision(
            (
                KillContainer("app-0", "app", 30, "Stopping container app"),
                KillContainer("proxy-0", "proxy", 30, "Stopping container proxy", after=("app-0",)),
            )
        ),
    ),
    "sidecars end from the last to the first": (
        look(
            make_pod(init=({**SIDECAR, "name": "one"}, {**SIDECAR, "name": "two"}), deleted=30),
            make_container("one"),
            make_container("two"),
        ),
        Decision(
            (
                KillContainer("one-0", "one", 30, "Stopping container one", after=("two-0",)),
                KillContainer("two-0", "two", 30, "Stopping container two"),
            )
        ),
    ),
    "sidecars end last": (
        look(make_pod(init=(SIDECAR,), deleted=30), make_container(state="Exited"), make_container("proxy")),
        Decision((KillContainer("proxy-0", "proxy", 30, "Stopping container proxy"),)),
    ),
    "then all is freed and the object goes": (
        look(make_pod(deleted=30), make_container(state="Exited", code=143)),
        Decision((StopSandbox("s0"), UnmountVolumes(), Finish())),
    ),
    "a pod deleted before it began just goes": (
        look(make_pod(deleted=30), sandbox=None, volumes_ready=False),
        Decision((Finish(),)),
    ),
    "a pod past its deadline is killed": (
        look(make_pod(), make_container(), ended=Ended("DeadlineExceeded", "late")),
        Decision((KillContainer("app-0", "app", 30, "Stopping container app"),)),
    ),
    "a pod past its deadline keeps its object": (
        look(make_pod(), make_container(state="Exited", code=143), ended=Ended("DeadlineExceeded", "late")),
        Decision((StopSandbox("s0"), UnmountVolumes())),
    ),
    "sidecars end when the job is done": (
        look(
            make_pod(init=(SIDECAR,), restartPolicy="Never"),
            make_container(state="Exited"),
            make_container("proxy"),
        ),
        Decision((KillContainer("proxy-0", "proxy", 30, "Stopping container proxy"),)),
    ),
    "an init container that failed for good ends the pod": (
        look(make_pod(init=INIT, restartPolicy="Never"), make_container("one", "Exited", 1)),
        Decision((StopSandbox("s0"), UnmountVolumes())),
    ),
    "a finished pod is left alone": (
        look(
            {**make_pod(restartPolicy="Never"), "status": {"phase": "Succeeded"}},
            make_container(state="Exited"),
            sandbox=LOST_SANDBOX,
            volumes_ready=False,
        ),
        Decision(),
    ),
}


@pytest.mark.parametrize(("view", "expected"), ENDS.values(), ids=ENDS.keys())
def test_a_pod_ends(view: PodView, expected: Decision) -> None:
    assert decide(view, NOW) == expected


def test_a_deletion_that_began_before_this_server_has_only_the_rest_of_its_grace() -> None:
    pod = make_pod(deleted=30)

    (kill,) = decide(look(pod, make_container()), NOW + 20).steps

    assert isinstance(kill, KillContainer)
    assert kill.grace_seconds == pytest.approx(10, abs=1)


def test_nothing_to_do_means_no_timer() -> None:
    assert decide(look(make_pod(), make_container()), NOW).wake_at == inf
