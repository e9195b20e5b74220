"""Why a run has no pod that runs is said from its pods, and from the warnings about it."""

from __future__ import annotations

import asyncio

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.tuning.collector.wire import NO_METRICS, encode_message
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER
from proa.ml.tuning.operator.pod_trouble import describe_failure
from proa.ml.tuning.operator.silence import explain_silence
from proa.objects.resource import EVENTS

RUN = {"kind": "Job", "metadata": {"name": "run", "namespace": "default", "uid": "r"}}
ENDED = {"name": "main", "state": {"terminated": {"exitCode": 1, "message": "no such file"}}}


TOLD = encode_message(NO_METRICS, "Metric a was not found. It ends with: KeyError: 'x'", 0, {})
COLLECTOR = {"name": COLLECTOR_CONTAINER, "state": {"terminated": {"exitCode": 0, "message": TOLD}}}


def test_the_end_of_the_output_is_told_with_how_it_ended() -> None:
    pod = make_pod("Failed", ENDED)
    pod["spec"] = {"initContainers": [{"name": COLLECTOR_CONTAINER, "args": []}]}
    pod["status"]["initContainerStatuses"] = [COLLECTOR]
    words = describe_failure([pod], "main")
    assert words.endswith("ended with exit code 1 - no such file; its output ends with: KeyError: 'x'")


def make_pod(phase: str, *statuses: Object) -> Object:
    metadata = {
        "name": "pod",
        "namespace": "default",
        "uid": "p",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [*statuses]}}


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([], "NoPods", "Job run has no pod: FailedCreate: exceeded quota"),
        ([make_pod("Pending")], "PodPending", "Pod pod does not start: FailedMount: no claim"),
        (
            [make_pod("Failed", ENDED)],
            "PodsFail",
            "Job run tries again, later each time: pod pod: container main ended with exit code 1 - no such file; "
            "spec.backoffLimit of a Job says how often",
        ),
    ],
    ids=["none", "pending", "failing"],
)
def test_the_reason_that_is_nearest_is_told(pods: list[Object], reason: str, words: str) -> None:
    client = FakeClient()
    quota = "(combined from similar events): exceeded quota"
    for uid, why, message in (("r", "FailedCreate", quota), ("p", "FailedMount", "no claim")):
        client.add(
            EVENTS,
            {
                "metadata": {"name": uid, "namespace": "default"},
                "involvedObject": {"uid": uid},
                "type": "Warning",
                "reason": why,
                "message": message,
            },
        )
    found = asyncio.run(explain_silence(client, RUN, pods, "main"))
    assert (found.reason, found.message) == (reason, words)
