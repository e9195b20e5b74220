from __future__ import annotations

import pytest

from proa.controllers.pod_group import plan
from proa.objects.pod_groups import LABEL


def make_group(wanted=2, **status):
    return {
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"minMember": wanted},
        **({"status": status} if status else {}),
    }


def make_members(*phases):
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "u"}
    return [
        {
            "metadata": {
                "name": f"p{i}",
                "namespace": "default",
                "labels": {LABEL: "g"},
                "ownerReferences": [owner],
            },
            "status": {"phase": phase},
        }
        for i, phase in enumerate(phases)
    ]


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ((), {"phase": "Pending"}),
        (("Pending",), {"phase": "Pending"}),
        (("Pending", "Pending"), {"phase": "Scheduling", "occupiedBy": "default/train"}),
        (("Running", "Pending"), {"phase": "Scheduling", "running": 1, "occupiedBy": "default/train"}),
        (("Running", "Running"), {"phase": "Running", "running": 2, "occupiedBy": "default/train"}),
        (
            ("Running", "Succeeded"),
            {"phase": "Running", "running": 1, "succeeded": 1, "occupiedBy": "default/train"},
        ),
        (("Succeeded", "Succeeded"), {"phase": "Finished", "succeeded": 2, "occupiedBy": "default/train"}),
        (
            ("Failed", "Running"),
            {"phase": "Failed", "running": 1, "failed": 1, "occupiedBy": "default/train"},
        ),
    ],
)
def test_a_group_is_as_far_as_its_pods(phases, expected):
    members = make_members(*phases)
    assert plan(make_group(), members) == expected
    assert plan(make_group(**expected), members) is None


def test_counts_that_were_written_go_back_to_zero():
    status = {"phase": "Running", "running": 2, "occupiedBy": "default/train"}
    assert plan(make_group(**status), make_members("Pending", "Pending")) == {
        "phase": "Scheduling",
        "running": 0,
        "occupiedBy": "default/train",
    }


@pytest.mark.parametrize("phase", ["Finished", "Failed"])
def test_a_group_that_has_ended_stays_as_it_is(phase):
    assert plan(make_group(phase=phase), make_members("Running", "Running")) is None
