"""What a pod's status says for each state of the world."""

from __future__ import annotations

from typing import Any

import pytest

from proa.node.backoff import BackOff, next_backoff
from proa.node.pod_status import pod_status
from proa.node.pod_view import Ended, Health, PodView, StartFailure
from proa.node.runtimes.protocol import Container, ContainerConfig, Sandbox, SandboxConfig
from proa.node.status_writer import make_patch
from proa.objects.meta import format_time

NOW = 1_000_000.0
SANDBOX = Sandbox("s0", SandboxConfig("default", "web", "u1", "web"), "10.244.1.2", "Ready", NOW)
INIT = {"name": "setup", "image": "i"}
SIDECAR = {"name": "proxy", "image": "i", "restartPolicy": "Always"}


def make_pod(*names: str, init: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u1", "generation": 3},
        "spec": {
            "containers": [{"name": n, "image": "i"} for n in names or ("app",)],
            "initContainers": init or [],
            **spec,
        },
    }


def make_container(
    name: str = "app", state: str = "Running", code: int = 0, *, attempt: int = 0, **more: Any
) -> Container:
    labels = {"proa.local/image-id": "sha256:abc"}
    config = ContainerConfig(name, "image", ("run",), (), attempt=attempt, labels=labels)
    finished = NOW - 1 if state == "Exited" else 0.0
    return Container(f"{name}-{attempt}", "s0", config, state, NOW - 9, NOW - 8, finished, code, **more)  # type: ignore[arg-type]


def status_of(pod: dict[str, Any], *containers: Container, **more: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "sandbox": SANDBOX,
        "volumes_ready": True,
        "host_ip": "10.243.0.1",
        "started_at": NOW - 10,
    }
    return pod_status(PodView(pod, containers=tuple(containers), **{**defaults, **more}), NOW)


def condition(status: dict[str, Any], type: str) -> tuple[str, str, str]:
    found = next(c for c in status["conditions"] if c["type"] == type)
    return found["status"], found.get("reason", ""), found.get("message", "")


def deleted(pod: dict[str, Any]) -> dict[str, Any]:
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": format_time(NOW)}}


EXIT0, EXIT1 = make_container(state="Exited"), make_container(state="Exited", code=1)
PHASES = [
    ("nothing yet", make_pod(), [], "Pending"),
    ("running", make_pod(), [make_container()], "Running"),
    ("one of two", make_pod("app", "b"), [make_container()], "Pending"),
    ("one ended", make_pod("app", "b", restartPolicy="Never"), [EXIT1, make_container("b")], "Running"),
    ("all succeeded", make_pod(restartPolicy="Never"), [EXIT0], "Succeeded"),
    ("one failed for good", make_pod(restartPolicy="Never"), [EXIT1], "Failed"),
    ("failed but restarts", make_pod(restartPolicy="OnFailure"), [EXIT1], "Running"),
    ("succeeded but restarts", make_pod(restartPolicy="Always"), [EXIT0], "Running"),
    ("succeeded on failure policy", make_pod(restartPolicy="OnFailure"), [EXIT0], "Succeeded"),
    ("initializing", make_pod(init=[INIT]), [make_container("setup")], "Pending"),
    (
        "init failed",
        make_pod(init=[INIT], restartPolicy="Never"),
        [make_container("setup", "Exited", 1)],
        "Failed",
    ),
    ("init restarts", make_pod(init=[INIT]), [make_container("setup", "Exited", 1)], "Pending"),
    ("deleted after success", deleted(make_pod()), [EXIT0], "Succeeded"),
    ("deleted by a signal", deleted(make_pod()), [make_container(state="Exited", code=143)], "Failed"),
    ("deleted and still running", deleted(make_pod()), [make_container()], "Running"),
    (
        "sidecar still ends",
        make_pod(init=[SIDECAR], restartPolicy="Never"),
        [EXIT0, make_container("proxy")],
        "Running",
    ),
    (
        "terminal stays",
        {**make_pod(), "status": {"phase": "Failed"}},
        [make_container()],
        "Failed",
    ),
]


@pytest.mark.parametrize(("pod", "containers", "phase"), [c[1:] for c in PHASES], ids=[c[0] for c in PHASES])
def test_the_phase(pod: dict[str, Any], containers: list[Container], phase: str) -> None:
    assert status_of(pod, *containers)["phase"] == phase


def test_a_running_pod_is_ready_and_has_its_addresses() -> None:
    status = status_of(make_pod(), make_container())

    (app,) = status["containerStatuses"]
    assert app["state"] == {"running": {"startedAt": format_time(NOW - 8)}}
    assert (app["ready"], app["started"], app["restartCount"]) == (True, True, 0)
    assert (app["containerID"], app["imageID"]) == ("proa://app-0", "sha256:abc")
    assert (status["podIP"], status["podIPs"]) == ("10.244.1.2", [{"ip": "10.244.1.2"}])
    assert (status["hostIP"], status["hostIPs"]) == ("10.243.0.1", [{"ip": "10.243.0.1"}])
    assert status["startTime"] == format_time(NOW - 10)
    assert status["observedGeneration"] == 3
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }


def test_before_anything_runs_containers_are_being_created() -> None:
    status = status_of(make_pod(), sandbox=None)

    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert condition(status, "Ready") == (
        "False",
        "ContainersNotReady",
        "containers with unready status: [app]",
    )
    assert condition(status, "PodReadyToStartContainers")[0] == "False"
    assert condition(status, "Initialized")[0] == "True"


def test_containers_wait_for_init_containers() -> None:
    status = status_of(make_pod(init=[INIT]), make_container("setup"))

    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert "running" in status["initContainerStatuses"][0]["state"]
    assert condition(status, "Initialized") == (
        "False",
        "ContainersNotInitialized",
        "containers with incomplete status: [setup]",
    )


def test_what_looks_into_a_pod_does_not_count() -> None:
    pod = make_pod(ephemeralContainers=[{"name": "debugger", "image": "i"}])
    status = status_of(pod, make_container(), make_container("debugger", "Exited", 3))

    (debugger,) = status["ephemeralContainerStatuses"]
    assert debugger["state"]["terminated"]["exitCode"] == 3
    assert (debugger["ready"], debugger.get("started")) == (False, None)
    assert (status["phase"], condition(status, "Ready")[0]) == ("Running", "True")


def test_a_finished_init_container_is_ready() -> None:
    status = status_of(make_pod(init=[INIT]), make_container("setup", "Exited"), make_container())

    assert status["initContainerStatuses"][0]["ready"] is True
    assert condition(status, "Initialized")[0] == "True"


def test_a_failing_readiness_probe_shows_in_both_conditions() -> None:
    status = status_of(make_pod(), make_container(), health={"app-0": Health(ready=False)})

    expected = ("False", "ContainersNotReady", "containers with unready status: [app]")
    assert (condition(status, "Ready"), condition(status, "ContainersReady")) == (expected, expected)
    assert (status["containerStatuses"][0]["started"], status["containerStatuses"][0]["ready"]) == (
        True,
        False,
    )


def test_a_container_before_its_startup_probe_is_not_started() -> None:
    status = status_of(make_pod(), make_container(), health={"app-0": Health(started=False, ready=True)})

    assert (status["containerStatuses"][0]["started"], status["containerStatuses"][0]["ready"]) == (
        False,
        False,
    )


def test_a_completed_pod() -> None:
    status = status_of(make_pod(restartPolicy="Never"), EXIT0)

    terminated = status["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("Completed", 0)
    assert condition(status, "Ready") == ("False", "PodCompleted", "")
    assert condition(status, "Initialized") == ("True", "PodCompleted", "")


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (EXIT1, "Error"),
        (make_container(state="Exited", code=137, reason="OOMKilled"), "OOMKilled"),
        (make_container(state="Exited", code=128, reason="StartError"), "StartError"),
    ],
)
def test_the_reason_of_an_end(container: Container, reason: str) -> None:
    status = status_of(make_pod(restartPolicy="Never"), container)

    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == reason


def test_a_crash_loop_says_how_long_it_waits() -> None:
    crashed = make_container(state="Exited", code=1, attempt=2, message="boom")

    status = status_of(make_pod(), crashed, backoffs={"app": BackOff(80, NOW - 2)})

    (app,) = status["containerStatuses"]
    assert app["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 1m20s restarting failed container=app pod=web_default(u1)",
    }
    assert app["lastState"]["terminated"]["exitCode"] == 1
    assert app["lastState"]["terminated"]["message"] == "boom"
    assert app["restartCount"] == 2
    assert status["phase"] == "Running"


def test_a_program_that_cannot_start_ends_in_a_crash_loop_and_says_why() -> None:
    refused = make_container(state="Exited", code=128, attempt=1, reason="StartError", message="not there")
    failures = {"app": StartFailure("RunContainerError", "not there", 0.0)}

    waits = status_of(make_pod(), refused, failures=failures, backoffs={"app": BackOff(20, NOW - 2)})
    tells = status_of(make_pod(), refused, failures=failures)

    assert waits["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert waits["containerStatuses"][0]["lastState"]["terminated"]["message"] == "not there"
    assert tells["containerStatuses"][0]["state"]["waiting"]["reason"] == "RunContainerError"


def test_a_restarted_container_tells_of_its_last_end() -> None:
    before = make_container(state="Exited", code=3)

    status = status_of(make_pod(), make_container(attempt=1), before)

    (app,) = status["containerStatuses"]
    assert app["lastState"]["terminated"]["exitCode"] == 3
    assert app["restartCount"] == 1


def test_a_failed_start_shows_its_reason() -> None:
    failure = StartFailure("CreateContainerConfigError", 'configmap "c" not found', NOW + 10)

    status = status_of(make_pod(), failures={"app": failure})

    assert status["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "c" not found',
    }


def test_a_container_that_the_runtime_lost_is_told_of() -> None:
    old = {"name": "app", "restartCount": 1, "containerID": "proa://x", "state": {"running": {}}}
    pod = {**make_pod(), "status": {"phase": "Running", "containerStatuses": [old]}}

    status = status_of(pod, sandbox=None)

    (app,) = status["containerStatuses"]
    assert app["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert app["lastState"]["terminated"]["exitCode"] == 137
    assert app["restartCount"] == 2
    assert app["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_a_deadline_fails_the_pod_with_its_reason() -> None:
    ended = Ended("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")

    running = status_of({**make_pod(), "status": {"phase": "Running"}}, make_container(), ended=ended)
    done = status_of(make_pod(), make_container(state="Exited", code=143), ended=ended)

    assert running["phase"] == "Running"
    assert (done["phase"], done["reason"]) == ("Failed", "DeadlineExceeded")
    assert condition(done, "Ready") == ("False", "PodFailed", "")


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        (
            [],
            (
                "False",
                "ReadinessGatesNotReady",
                'corresponding condition of pod readiness gate "x/y" does not exist.',
            ),
        ),
        (
            [{"type": "x/y", "status": "False"}],
            (
                "False",
                "ReadinessGatesNotReady",
                'the status of pod readiness gate "x/y" is not "True", but False',
            ),
        ),
        ([{"type": "x/y", "status": "True"}], ("True", "", "")),
    ],
)
def test_readiness_gates_hold_back_ready_alone(gates: list[Any], expected: tuple[str, str, str]) -> None:
    pod = {**make_pod(readinessGates=[{"conditionType": "x/y"}]), "status": {"conditions": gates}}

    status = status_of(pod, make_container())

    assert condition(status, "Ready") == expected
    assert condition(status, "ContainersReady")[0] == "True"


def test_conditions_keep_the_time_of_their_last_change() -> None:
    first = status_of(make_pod(), make_container())
    later = pod_status(
        PodView(
            {**make_pod(), "status": first},
            sandbox=SANDBOX,
            containers=(make_container(),),
            volumes_ready=True,
            host_ip="10.243.0.1",
        ),
        NOW + 60,
    )

    assert later == first
    assert make_patch(first, later) == {}


def test_a_patch_holds_only_what_changed_and_spares_conditions_of_others() -> None:
    known = status_of(make_pod(), make_container())
    known["conditions"].append({"type": "test/gate", "status": "True"})
    wanted = status_of(
        {**make_pod(), "status": known}, make_container(), health={"app-0": Health(ready=False)}
    )

    patch = make_patch(known, wanted)

    assert set(patch) == {"containerStatuses", "conditions"}
    assert [c["type"] for c in patch["conditions"]] == ["Ready", "ContainersReady"]


def test_who_binds_a_pod_need_not_say_that_it_is_scheduled() -> None:
    known = {"conditions": [{"type": "PodScheduled", "status": "True"}]}

    (scheduled,) = [
        c
        for c in status_of({**make_pod(), "status": known}, make_container())["conditions"]
        if c["type"] == "PodScheduled"
    ]

    assert (scheduled["status"], scheduled["observedGeneration"]) == ("True", 3)
    assert scheduled["lastTransitionTime"] == format_time(NOW)


def test_a_patch_takes_back_a_reason_and_replaces_addresses() -> None:
    known = {
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
        "podIPs": [{"ip": "10.244.1.2"}],
    }
    wanted = {"conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "10.244.1.3"}]}

    assert make_patch(known, wanted) == {
        "conditions": [{"type": "Ready", "status": "True", "reason": None}],
        "podIPs": [{"ip": "10.244.1.3"}, {"$patch": "replace"}],
    }


def test_the_back_off_doubles_and_is_forgotten() -> None:
    first = next_backoff(None, NOW, 10, 300)
    delays = [first]
    for _ in range(6):
        delays.append(next_backoff(delays[-1], NOW, 10, 300))

    assert [b.delay_seconds for b in delays] == [10, 20, 40, 80, 160, 300, 300]
    assert next_backoff(delays[-1], NOW + 601, 10, 300).delay_seconds == 10
