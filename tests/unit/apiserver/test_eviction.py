"""Evictions keep to disruption budgets."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.handlers.eviction import lets_unready_go, matching, needs_no_budget

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SELECTOR = {"matchLabels": {"app": "a"}}


def running_pod(api: Any, name: str = "p", *, ready: bool = True) -> Any:
    body = {
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"},
    }
    assert api.post(PODS, body).status == 201
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return api.patch(
        f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": [condition]}}
    ).json


def budget(api: Any, name: str = "b", allowed: int = 1, **status: Any) -> None:
    assert (
        api.post(
            BUDGETS, {"metadata": {"name": name}, "spec": {"selector": SELECTOR, "minAvailable": 1}}
        ).status
        == 201
    )
    counts = {
        "disruptionsAllowed": allowed,
        "observedGeneration": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
    }
    assert api.patch(f"{BUDGETS}/{name}/status", {"status": {**counts, **status}}).status == 200


def evict(api: Any, name: str = "p", query: str = "", **options: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    if options:
        body["deleteOptions"] = options
    return api.post(f"{PODS}/{name}/eviction{query}", body)


def test_an_eviction_takes_one_disruption_and_says_so_on_the_pod(api):
    running_pod(api)
    budget(api, allowed=1)
    assert evict(api).status == 201
    pod, status = api.get(f"{PODS}/p").json, api.get(f"{BUDGETS}/b").json["status"]
    (target,) = [c for c in pod["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert pod["metadata"]["deletionTimestamp"]
    assert (target["status"], target["reason"]) == ("True", "EvictionByEvictionAPI")
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("DisruptionAllowed", "False", "InsufficientPods")
    ]


REFUSALS = [
    ({"allowed": 0}, 429, "The disruption budget b does not allow evicting pods currently"),
    (
        {"allowed": 0, "currentHealthy": 1},
        429,
        "The disruption budget b needs 1 healthy pods and has 1 currently",
    ),
    ({"observedGeneration": 0}, 429, "The disruption budget b is still being processed by the server."),
    (
        {"disruptedPods": {f"p{i}": "2026-01-02T03:04:05Z" for i in range(2001)}},
        403,
        "The disruption budget b does not allow evicting pods currently: DisruptedPods map too big - "
        "too many evictions not confirmed by PDB controller",
    ),
]


@pytest.mark.parametrize(("status", "code", "message"), REFUSALS, ids=[r[2][-30:] for r in REFUSALS])
def test_a_budget_that_has_none_refuses(api, status, code, message):
    running_pod(api)
    budget(api, **status)
    answer = evict(api)
    assert answer.status == code
    assert answer.json["details"]["causes"] == [{"reason": "DisruptionBudget", "message": message}]
    assert "deletionTimestamp" not in api.get(f"{PODS}/p").json["metadata"]


def test_who_comes_before_the_controller_has_counted_is_told_when_to_come_again(api):
    running_pod(api)
    budget(api, observedGeneration=0)
    answer = evict(api)
    assert (answer.headers["Retry-After"], answer.message) == (
        "10",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    )


def test_two_budgets_of_one_pod_are_an_error(api):
    running_pod(api)
    budget(api, "b")
    budget(api, "c")
    answer = evict(api)
    assert answer.status == 500
    assert answer.message.startswith("This pod has more than one PodDisruptionBudget")


def test_an_unready_pod_goes_without_a_disruption_where_the_others_are_healthy(api):
    running_pod(api, ready=False)
    budget(api, allowed=0, currentHealthy=2, desiredHealthy=2)
    assert evict(api).status == 201
    assert "disruptedPods" not in api.get(f"{BUDGETS}/b").json["status"]


def test_a_pod_that_has_not_started_needs_no_budget(api):
    assert api.post(PODS, {
        "metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}
    }).status == 201  # fmt: skip
    budget(api, allowed=0)
    assert evict(api).status == 201
    assert api.get(f"{PODS}/p").status == 404


def test_a_dry_run_changes_nothing(api):
    running_pod(api)
    budget(api)
    before = api.get(f"{PODS}/p").raw, api.get(f"{BUDGETS}/b").raw
    assert evict(api, query="?dryRun=All").status == 201
    assert (api.get(f"{PODS}/p").raw, api.get(f"{BUDGETS}/b").raw) == before


@pytest.mark.parametrize("wrong", [{"uid": "other"}, {"resourceVersion": "1"}], ids=["uid", "version"])
def test_another_pod_than_the_one_meant_stays(api, wrong):
    running_pod(api)
    assert evict(api, preconditions=wrong).status == 409
    assert "deletionTimestamp" not in api.get(f"{PODS}/p").json["metadata"]


def test_the_names_must_agree(api):
    running_pod(api)
    answer = api.post(f"{PODS}/p/eviction", {"metadata": {"name": "q"}})
    assert (answer.status, answer.message) == (400, "name in URL does not match name in Eviction object")


@pytest.mark.parametrize(
    ("selector", "matches"),
    [(None, False), ({}, True), (SELECTOR, True), ({"matchLabels": {"app": "b"}}, False)],
)
def test_a_budget_without_a_selector_selects_nothing(selector, matches):
    found = {"metadata": {"name": "b"}, "spec": {} if selector is None else {"selector": selector}}
    assert bool(matching([found], {"metadata": {"labels": {"app": "a"}}})) is matches


@pytest.mark.parametrize(
    ("spec", "status", "allowed"),
    [
        ({"unhealthyPodEvictionPolicy": "AlwaysAllow"}, {}, True),
        (
            {"unhealthyPodEvictionPolicy": "IfHealthyBudget"},
            {"currentHealthy": 1, "desiredHealthy": 2},
            False,
        ),
        ({}, {"currentHealthy": 2, "desiredHealthy": 2}, True),
        ({}, {"currentHealthy": 0, "desiredHealthy": 0}, False),
    ],
)
def test_unready_pods_go_as_the_policy_says(spec, status, allowed):
    assert lets_unready_go({"spec": spec, "status": status}) is allowed


@pytest.mark.parametrize(
    ("phase", "free"), [("Pending", True), ("Running", False), ("Succeeded", True), ("Failed", True)]
)
def test_pods_that_do_not_run_need_no_budget(phase, free):
    assert needs_no_budget({"metadata": {}, "status": {"phase": phase}}) is free
