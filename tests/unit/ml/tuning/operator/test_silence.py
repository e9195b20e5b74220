"""Why a run has no pod that runs is said from its pods, and from the warnings about it."""

from __future__ import annotations

import asyncio

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.tuning.operator.silence import explain_silence
from proa.objects.resource import EVENTS

RUN = {"kind": "Job", "metadata": {"name": "run", "namespace": "default", "uid": "r"}}
ENDED = {"name": "main", "state": {"terminated": {"exitCode": 1, "message": "no such file"}}}


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
    for uid, why, message in (("r", "FailedCreate", "exceeded quota"), ("p", "FailedMount", "no claim")):
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
