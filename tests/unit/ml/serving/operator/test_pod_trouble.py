"""What keeps pods from becoming ready, in words, and what the model's status makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.serving.operator.conditions import Conditions
from proa.ml.serving.operator.model_status import model_status
from proa.ml.serving.operator.pod_trouble import find_trouble

MAIN, INIT = "kserve-container", "storage-initializer"


def make_pod(name: str = "p", made: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": made}, "status": status}


def container(name: str = MAIN, *, last: Any = None, ready: bool = False, **state: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ready": ready,
        "image": "img",
        "state": state,
        **({"lastState": {"terminated": last}} if last else {}),
    }


ENDED = {"exitCode": 3, "reason": "Error", "message": "what was wrong", "finishedAt": "2026-01-01T00:00:09Z"}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(
            make_pod(containerStatuses=[container(terminated=ENDED)]),
            ("ModelLoadFailed", "ExitCode3", "what was wrong", 3),
            id="ended",
        ),
        pytest.param(
            make_pod(containerStatuses=[container(last=ENDED, running={})]),
            ("ModelLoadFailed", "ExitCode3", "what was wrong", 3),
            id="tried again",
        ),
        pytest.param(
            make_pod(
                initContainerStatuses=[container(INIT, last=ENDED, waiting={"reason": "CrashLoopBackOff"})],
                containerStatuses=[container(waiting={"reason": "PodInitializing"})],
            ),
            ("ModelLoadFailed", "ExitCode3", "what was wrong", 3),
            id="download",
        ),
        pytest.param(
            make_pod(containerStatuses=[container(terminated={"exitCode": 137, "reason": "OOMKilled"})]),
            (
                "ModelLoadFailed",
                "ExitCode137",
                "container kserve-container ended with exit code 137 (OOMKilled) and said nothing",
                137,
            ),
            id="killed",
        ),
        pytest.param(
            make_pod(
                containerStatuses=[
                    container(
                        waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"},
                        last={"exitCode": 0, "reason": "Completed"},
                    )
                ]
            ),
            (
                "ModelLoadFailed",
                "ExitCode0",
                "container kserve-container ended with exit code 0 and said nothing; "
                "it has to go on, and answer requests",
                0,
            ),
            id="a server that ends well, again and again",
        ),
        pytest.param(
            make_pod(
                initContainerStatuses=[
                    container(INIT, waiting={"reason": "CreateContainerError", "message": "no such folder"})
                ]
            ),
            (
                "RuntimeUnhealthy",
                "CreateContainerError",
                "no such folder; correct the storageUri, or what the containers mount",
                0,
            ),
            id="a folder of the node that is not there",
        ),
        pytest.param(
            make_pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient cpu.",
                    }
                ]
            ),
            (
                "",
                "Unschedulable",
                "0/1 nodes are available: 1 Insufficient cpu; "
                "lower what its containers request, or add nodes",
                0,
            ),
            id="no node",
        ),
        pytest.param(
            make_pod(
                containerStatuses=[container(waiting={"reason": "ErrImagePull", "message": "no such host"})]
            ),
            (
                "RuntimeUnhealthy",
                "ImagePullBackOff",
                'Unable to fetch image "img": no such host; '
                "correct the image, or give its registry's imagePullSecrets",
                0,
            ),
            id="image",
        ),
        pytest.param(
            make_pod(
                containerStatuses=[
                    container(
                        waiting={"reason": "ErrImagePull", "message": 'pulling image "model:1": no host'}
                    )
                ]
            ),
            (
                "RuntimeUnhealthy",
                "ImagePullBackOff",
                'Unable to fetch image: pulling image "model:1": no host; '
                "correct the image, or give its registry's imagePullSecrets",
                0,
            ),
            id="image of a volume",
        ),
        pytest.param(
            make_pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": 'persistentvolumeclaim "m" not found',
                    }
                ]
            ),
            (
                "",
                "Unschedulable",
                'persistentvolumeclaim "m" not found; make the claim, or name another',
                0,
            ),
            id="claim",
        ),
    ],
)
def test_trouble_is_told_in_the_words_of_whoever_has_it(pod, expected):
    found = find_trouble(None, [pod])

    assert found is not None
    assert (found.kind, found.reason, found.message, found.exit_code) == expected


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(containerStatuses=[container(waiting={"reason": "ContainerCreating"})]),
        make_pod(containerStatuses=[container(running={})]),
        make_pod(
            initContainerStatuses=[
                container(INIT, ready=True, terminated={"exitCode": 0, "reason": "Completed"})
            ],
            containerStatuses=[container(running={})],
        ),
        make_pod(
            conditions=[{"type": "Ready", "status": "True"}],
            containerStatuses=[container(last=ENDED, ready=True, running={})],
        ),
    ],
    ids=["creating", "starting", "files are there", "recovered"],
)
def test_what_may_still_become_ready_is_no_trouble(pod):
    assert find_trouble(None, [pod]) is None


def test_a_deployment_that_may_make_no_pods_says_so():
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: q",
    }

    found = find_trouble({"status": {"conditions": [failure]}}, [])

    assert found is not None
    assert (found.reason, found.message) == ("FailedCreate", "exceeded quota: q")


def test_a_models_state_follows_its_pods_and_a_failure_stays_told():
    now = 1_750_000_000.0
    loading = make_pod(initContainerStatuses=[container(INIT, running={})])

    status = model_status({}, [loading], revision="r", is_loaded=False, trouble=None, now=now)
    assert status["states"] == {"activeModelState": "", "targetModelState": "Loading"}

    failed = make_pod(containerStatuses=[container(terminated=ENDED)])
    trouble = find_trouble(None, [failed])
    status = model_status(status, [failed], revision="r", is_loaded=False, trouble=trouble, now=now)
    assert status["transitionStatus"] == "BlockedByFailedLoad"
    assert status["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "message": "what was wrong",
        "location": "p",
        "modelRevisionName": "r",
        "exitCode": 3,
        "time": "2026-01-01T00:00:09Z",
    }

    ready = make_pod(conditions=[{"type": "Ready", "status": "True"}])
    status = model_status(status, [ready], revision="r", is_loaded=True, trouble=None, now=now)
    assert status["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
    assert status["copies"] == {"failedCopies": 0, "totalCopies": 1}
    assert status["lastFailureInfo"]["message"] == "what was wrong"


def test_conditions_are_sorted_and_ready_has_the_words_of_what_is_not():
    conditions = Conditions((), 0.0)
    conditions.set("PredictorReady", "False", "Why", "words")
    conditions.set("Stopped", "False")

    found = conditions.as_list()

    assert [one["type"] for one in found] == ["IngressReady", "PredictorReady", "Ready", "Stopped"]
    assert {key: found[2][key] for key in ("status", "reason", "message")} == {
        "status": "False",
        "reason": "Why",
        "message": "words",
    }
    assert found[3]["severity"] == "Info"

    later = Conditions(found, 60.0)
    later.set("PredictorReady", "False", "Why", "words")
    assert later.as_list() == found
