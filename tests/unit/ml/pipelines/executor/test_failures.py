"""A pod that failed, or never starts, is told in words that name the task and say what would help."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.executor.failures import (
    PATIENCE_SECONDS,
    PULL_PATIENCE_SECONDS,
    describe_waiting,
    explain_end,
    find_stuck,
)

Json = dict[str, Any]


def pod_with(status: Json, **spec: Any) -> Json:
    main = {"name": "main", "image": "registry/app:1", "resources": {"limits": {"memory": "64Mi"}}}
    return {"spec": {"containers": [main], **spec}, "status": {"phase": "Failed", **status}}


def ended(code: int, reason: str = "Error", message: str = "", name: str = "main") -> Json:
    terminated = {"exitCode": code, "reason": reason, "message": message}
    return {"containerStatuses": [{"name": name, "state": {"terminated": terminated}}]}


ENDS = [
    (ended(1, message="line 1\n\nValueError: bad"), {}, ["exit code 1", "ValueError: bad"]),
    (ended(1, message="No module named 'pandas'"), {}, ["exit code 1"]),
    (ended(1, message="ModuleNotFoundError: No module named 'pandas'"), {}, ["pandas", "packages_to_install"]),
    (ended(1, message="ModuleNotFoundError: No module named 'nbclient'"), {}, ["nbclient and ipykernel"]),
    (ended(1, message="/usr/bin/python3: No module named ipykernel"), {}, ["nbclient and ipykernel"]),
    (ended(1, message="OSError: [Errno 28] No space left on device"), {}, ["The disk is full", "larger volume"]),
    (ended(1, message="ERROR: No matching distribution found for x"), {}, ["pip found no such package"]),
    (
        ended(1, message="FileNotFoundError: [Errno 2] No such file or directory: '/minio/mlpipeline/v2/m'"),
        {},
        ["no such file at an artifact's path", "os.makedirs"],
    ),
    (ended(127), {}, ["left no word in its log", "not in the image"]),
    (ended(137), {}, ["often for want of memory"]),
    (ended(137, "OOMKilled"), {}, ["more memory than its limit of 64Mi", ".set_memory_limit()"]),
    (ended(128, "StartError", 'exec: "python3": executable file not found in $PATH'), {}, ["no Python in the image"]),
    (ended(137, "ContainerStatusUnknown"), {}, ["lost with its node"]),
    ({"reason": "DeadlineExceeded"}, {"activeDeadlineSeconds": 5}, ["longer than its 5 seconds", "set_timeout"]),
    (
        {"reason": "Evicted", "message": 'Usage of EmptyDir volume "e" exceeds the limit "1Mi". '},
        {},
        ["evicted", "larger size limit"],
    ),
    ({"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds"}, {}, ["write less outside"]),
    (
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]},
        {},
        ["became unreachable"],
    ),
    ({"reason": "NodeLost"}, {}, ["lost with its node"]),
    ({"reason": "UnexpectedAdmissionError", "message": "no gpu"}, {}, ["UnexpectedAdmissionError: no gpu"]),
    ({}, {}, ["its node did not say why"]),
]  # fmt: skip


@pytest.mark.parametrize(("status", "spec", "words"), ENDS, ids=[" ".join(item[2])[:50] for item in ENDS])
def test_an_end_is_explained(status: Json, spec: Json, words: list[str]) -> None:
    failure = explain_end("train", pod_with(status, **spec))

    assert failure.message.startswith("task 'train': ")
    assert all(word in failure.message for word in words), failure.message
    assert failure.can_retry


def test_an_init_container_that_failed_is_named_and_a_sidecar_that_was_killed_is_not_the_reason() -> None:
    failed = {"terminated": {"exitCode": 3, "reason": "Error", "message": "cannot fetch"}}
    killed = {"terminated": {"exitCode": 137, "reason": "Error"}}
    fetch = pod_with({"initContainerStatuses": [{"name": "fetch", "state": failed}]})
    main = pod_with(
        {
            "initContainerStatuses": [{"name": "deliver", "state": killed}],
            **ended(2, message="the step's own end"),
        }
    )

    assert "container 'fetch' ended with exit code 3" in explain_end("t", fetch).message
    assert explain_end("t", main).exit_code == 2


def test_a_log_counts_more_than_the_message_and_only_its_end_is_told() -> None:
    log = "\n".join(f"line {number}" for number in range(100))

    message = explain_end("t", pod_with(ended(1, message="short")), log).message

    assert "line 99" in message
    assert "line 93" not in message
    assert "short" not in message


def test_what_the_sdk_says_of_inputs_is_no_part_of_a_message() -> None:
    log = '[KFP Executor INFO]: Got executor_input:\n{\n    "inputs": {\n    }\n}\nthe data is bad\n'

    message = explain_end("t", pod_with(ended(1)), log).message

    assert "the data is bad" in message
    assert "inputs" not in message


def test_a_pod_that_is_gone_may_be_tried_again() -> None:
    assert explain_end("t", None).can_retry


def waiting(reason: str, message: str = "") -> Json:
    status = {"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}
    return pod_with({"phase": "Pending", "containerStatuses": [status]})


def crashing_sidecar(message: str) -> Json:
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    status = {"name": "deliver", "state": state, "lastState": last}
    return pod_with({"phase": "Pending", "initContainerStatuses": [status]})


MISSING = 'secret "token" not found'
STUCK = [
    (waiting("InvalidImageName"), 0, ["not the name of an image"], False),
    (waiting("ErrImageNeverPull"), 0, ["pull policy is Never"], False),
    (waiting("ErrImagePull", "manifest unknown"), 0, ["registry/app:1", "cannot be pulled", "manifest unknown"], False),
    (waiting("ImagePullBackOff", "dial tcp: i/o timeout"), PULL_PATIENCE_SECONDS, ["cannot be pulled"], True),
    (waiting("CreateContainerConfigError", MISSING), PATIENCE_SECONDS, ["Secret 'token'", "kubectl create"], True),
    (
        waiting("CreateContainerConfigError", "couldn't find key k in Secret team/token"),
        PATIENCE_SECONDS,
        ["Secret 'token' has no key 'k'"],
        True,
    ),
    (crashing_sidecar("No module named 'obstore'"), PATIENCE_SECONDS, ["'deliver'", "exit code 1", "obstore"], True),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "waited", "words", "can_retry"), STUCK)
def test_what_never_starts_is_told(pod: Json, waited: float, words: list[str], can_retry: bool) -> None:
    failure = find_stuck("train", pod, [], waited)

    assert failure is not None
    assert all(word in failure.message for word in words), failure.message
    assert failure.can_retry == can_retry


PATIENT = [
    (waiting("ContainerCreating"), 1000),
    (waiting("ErrImagePull", "i/o timeout"), 1),
    (waiting("RegistryUnavailable", "name unknown to the resolver"), 1),
    (
        waiting(
            "ImagePullBackOff", "Back-off pulling image: RegistryUnavailable: x: name or service not found"
        ),
        1,
    ),
    (waiting("ErrImagePull", "registry/app:1 of registry/app:1: i/o timeout"), 1),
    (waiting("CreateContainerConfigError", MISSING), 1),
    (pod_with({"phase": "Running"}), 1000),
    (crashing_sidecar("once"), 1),
]


@pytest.mark.parametrize(("pod", "waited"), PATIENT)
def test_what_may_still_come_right_is_waited_for(pod: Json, waited: float) -> None:
    assert find_stuck("train", pod, [], waited) is None


EVENTS = [
    ("FailedMount", f'MountVolume.SetUp failed for volume "token" : {MISSING}', "Secret 'token'"),
    ("FailedMount", 'MountVolume.SetUp failed for volume "c" : configmap "c" not found', "ConfigMap 'c'"),
    (
        "FailedScheduling",
        '0/1 nodes are available: persistentvolumeclaim "data" not found.',
        "PersistentVolumeClaim 'data'",
    ),
]


@pytest.mark.parametrize(("reason", "message", "words"), EVENTS)
def test_what_is_missing_is_found_in_events(reason: str, message: str, words: str) -> None:
    events = [{"reason": "Scheduled", "message": ""}, {"reason": reason, "message": message}]

    failure = find_stuck("train", waiting("ContainerCreating"), events, PATIENCE_SECONDS)

    assert failure is not None
    assert words in failure.message
    assert find_stuck("train", waiting("ContainerCreating"), events, 0) is None


def test_a_setback_that_was_overcome_is_none() -> None:
    missing = 'MountVolume.SetUp failed for volume "kube-api-access" : configmap "kube-root-ca.crt" not found'
    events = [
        {"reason": "FailedMount", "message": missing},
        {"reason": "Pulling", "message": "Pulling image"},
    ]

    assert find_stuck("train", waiting("ContainerCreating"), events, 60) is None


def test_a_pod_that_no_node_takes_says_so_and_waits() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu."}
    pod = pod_with({"phase": "Pending", "conditions": [condition]})
    events = [{"reason": "FailedScheduling", "message": condition["message"]}]

    assert find_stuck("train", pod, events, 1e6) is None
    assert describe_waiting(pod) == "no node takes it yet: 0/1 nodes: Insufficient cpu."
    assert describe_waiting(waiting("ContainerCreating")) == ""
    assert describe_waiting(waiting("ErrImagePull", "why")) == "container 'main': ErrImagePull: why"
