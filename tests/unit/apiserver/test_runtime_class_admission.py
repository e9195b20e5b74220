"""Pods of a RuntimeClass: what the class says becomes part of them."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.admission.runtime_class import merge_tolerations

PODS = "/api/v1/namespaces/default/pods"
CLASS = {
    "metadata": {"name": "vm"},
    "handler": "kata",
    "overhead": {"podFixed": {"cpu": "250m", "memory": "64Mi"}},
    "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
}


def make_pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


@pytest.fixture
def api_with_class(api: Any) -> Any:
    assert api.post("/apis/node.k8s.io/v1/runtimeclasses", CLASS).status == 201
    return api


def test_the_class_gives_overhead_and_place(api_with_class: Any) -> None:
    given = [{"key": "a", "operator": "Exists"}]
    spec = api_with_class.post(PODS, make_pod(runtimeClassName="vm", tolerations=given)).json["spec"]
    assert spec["overhead"] == {"cpu": "250m", "memory": "64Mi"}
    assert spec["nodeSelector"] == {"vm": "yes"}
    assert [toleration["key"] for toleration in spec["tolerations"]][:2] == [
        "a",
        "node.kubernetes.io/not-ready",
    ]
    assert "vm" in [toleration["key"] for toleration in spec["tolerations"]]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "other"}, 'pod rejected: RuntimeClass "other" not found'),
        ({"overhead": {"cpu": "1"}}, "pod rejected: Pod Overhead set without corresponding RuntimeClass"),
        (
            {"runtimeClassName": "vm", "overhead": {"cpu": "1"}},
            "doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
        ),
    ],
)
def test_what_the_class_does_not_allow_is_refused(
    api_with_class: Any, spec: dict[str, Any], why: str
) -> None:
    refused = api_with_class.post(PODS, make_pod(**spec))
    assert refused.status == 403
    assert why in refused.message


def test_the_same_overhead_in_another_spelling_is_the_same(api_with_class: Any) -> None:
    overhead = {"cpu": "0.25", "memory": "65536Ki"}
    assert api_with_class.post(PODS, make_pod(runtimeClassName="vm", overhead=overhead)).status == 201


EQUAL = {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}
EXISTS = {"key": "a", "operator": "Exists"}
SHORT = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
LONG = {**SHORT, "tolerationSeconds": 9}


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ([EQUAL], [EQUAL], [EQUAL]),
        ([EQUAL], [EXISTS], [EXISTS]),
        ([EXISTS], [EQUAL], [EXISTS]),
        ([SHORT], [LONG], [LONG]),
        ([EQUAL], [SHORT], [EQUAL, SHORT]),
        ([EQUAL], [{"operator": "Exists"}], [{"operator": "Exists"}]),
    ],
)
def test_tolerations_that_another_makes_needless_go(first: Any, second: Any, merged: Any) -> None:
    assert merge_tolerations(first, second) == merged
