"""Disruption budgets counted against a fake API with the real manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.controllers.disruption.controller import DisruptionController, show_selector
from proa.controllers.disruption.plan import count, desired_healthy, seconds_until_stale, status_of
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS

NOW = 1_750_000_000.0
LABELS = {"app": "web"}


def make_budget(status: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {"selector": {"matchLabels": LABELS}, **spec},
        "status": status or {},
    }


def make_pod(name: str, owner: Any = None, *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    owners = [meta.make_owner_reference(*owner)] if owner else []
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": LABELS,
            "ownerReferences": owners,
            **metadata,
        },
        "spec": {},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


@pytest.mark.parametrize(
    ("spec", "expected", "desired"),
    [
        ({"minAvailable": 2}, 5, 2),
        ({"minAvailable": 0}, 5, 0),
        ({"minAvailable": "50%"}, 5, 3),
        ({"minAvailable": "30%"}, 10, 3),
        ({"minAvailable": "100%"}, 7, 7),
        ({"maxUnavailable": 1}, 5, 4),
        ({"maxUnavailable": 9}, 5, 0),
        ({"maxUnavailable": "30%"}, 10, 7),
        ({"maxUnavailable": "10%"}, 5, 4),
        ({}, 0, 0),
    ],
)
def test_so_many_pods_must_stay_healthy(spec: Any, expected: int, desired: int) -> None:
    assert desired_healthy(make_budget(**spec), expected) == desired


def test_a_pod_that_was_let_go_is_not_healthy_until_two_minutes_have_passed() -> None:
    noted = {"young": NOW - 30, "old": NOW - 121, "going": NOW - 5, "gone": NOW - 5}
    budget = make_budget({"disruptedPods": {k: meta.format_time(v) for k, v in noted.items()}})
    pods = [
        make_pod("young"),
        make_pod("old"),
        make_pod("going", deletionTimestamp=meta.format_time(NOW)),
        make_pod("other"),
        make_pod("unready", ready=False),
    ]
    counted = count(budget, pods, NOW)
    assert (counted.healthy, [*counted.disrupted], counted.requeue_after) == (2, ["young"], 90.0)
    assert [meta.name(pod) for pod in counted.kept] == ["old"]


@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.one_of(st.integers(0, 25), st.integers(0, 100).map("{}%".format)),
    st.sampled_from(["minAvailable", "maxUnavailable"]),
)
def test_what_is_allowed_never_breaks_the_budget(healthy: int, expected: int, value: Any, key: str) -> None:
    budget = make_budget(**{key: value})
    pods = [make_pod(f"p{i}") for i in range(healthy)]
    status = status_of(budget, expected, count(budget, pods, NOW), NOW)
    allowed, desired = status["disruptionsAllowed"], status["desiredHealthy"]
    assert allowed == 0 or (healthy - allowed >= desired and expected > 0)
    assert status_of({**budget, "status": status}, expected, count(budget, pods, NOW), NOW + 9) is status
    reason = "SufficientPods" if allowed else "InsufficientPods"
    assert [(c["reason"], c["message"], c["observedGeneration"]) for c in status["conditions"]] == [
        (reason, "", 1)
    ]


@pytest.mark.parametrize(
    ("condition", "metadata", "expected"),
    [
        ({"status": "True", "reason": "EvictionByEvictionAPI"}, {}, 60.0),
        ({"status": "True", "reason": "TerminationByKubelet"}, {}, None),
        ({"status": "False"}, {}, None),
        ({"status": "True"}, {"deletionTimestamp": "2025-01-01T00:00:00Z"}, None),
        (None, {}, None),
    ],
)
def test_a_pod_that_is_not_deleted_is_no_target_for_long(
    condition: Any, metadata: Any, expected: Any
) -> None:
    pod = make_pod("p", **metadata)
    if condition:
        since = meta.format_time(NOW - 60)
        pod["status"]["conditions"].append(
            {"type": "DisruptionTarget", "lastTransitionTime": since, **condition}
        )
    assert seconds_until_stale(pod, NOW) == expected
    assert seconds_until_stale({**pod, "status": {**pod["status"], "phase": "Failed"}}, NOW) is None


def test_a_selector_is_shown_as_go_shows_it() -> None:
    expression = {"key": "tier", "operator": "In", "values": ["a", "b"]}
    assert show_selector({"matchLabels": LABELS, "matchExpressions": [expression]}) == (
        "&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{"
        "LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},}"
    )


def run(world: Any, scenario: Callable[[Any], Any]) -> None:
    async def all_of_it() -> None:
        async with world([DisruptionController()]) as w:
            await scenario(w)

    asyncio.run(all_of_it())


def stored(w: Any) -> Any:
    return w.client.peek(POD_DISRUPTION_BUDGETS, "web", "default")["status"]


def numbers(w: Any) -> tuple[int, ...]:
    keys = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    return tuple(stored(w)[key] for key in keys)


def add(w: Any, resource: Any, name: str, replicas: int, owner: Any = None) -> Any:
    owners = [meta.make_owner_reference(*owner)] if owner else []
    metadata = {"name": name, "namespace": "default", "ownerReferences": owners}
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    return w.client.add(resource, {**obj, "spec": {"replicas": replicas}}), resource


def test_pods_are_expected_of_their_controllers(world: Any) -> None:
    async def scenario(w: Any) -> None:
        deployment = add(w, DEPLOYMENTS, "web", 6)
        old = add(w, REPLICA_SETS, "web-1", 2, deployment)
        new = add(w, REPLICA_SETS, "web-2", 5, deployment)
        lone = add(w, REPLICA_SETS, "lone", 3)
        stateful = add(w, STATEFUL_SETS, "db", 1)
        for name, owner in (("a", old), ("b", new), ("c", new), ("d", lone), ("e", stateful)):
            w.client.add(PODS, make_pod(name, owner))
        w.client.add(POD_DISRUPTION_BUDGETS, make_budget(maxUnavailable="50%"))
        await w.settle()
        assert numbers(w) == (10, 5, 5, 0)
        w.client.add(PODS, make_pod("f", lone))
        await w.settle()
        assert numbers(w) == (10, 5, 6, 1)
        assert w.conditions(POD_DISRUPTION_BUDGETS, "web") == {
            "DisruptionAllowed": ("True", "SufficientPods")
        }
        calls = len(w.client.calls)
        await w.reconcile_all()
        assert w.client.calls[calls:] == []

    run(world, scenario)


def test_a_number_that_must_be_there_asks_for_no_controller(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(POD_DISRUPTION_BUDGETS, make_budget(minAvailable=1))
        await w.settle()
        assert numbers(w) == (0, 1, 0, 0)
        assert ("Normal", "NoPods", "No matching pods found") in w.events
        for name in "ab":
            w.client.add(PODS, make_pod(name))
        await w.settle()
        assert numbers(w) == (2, 1, 2, 1)
        assert stored(w)["observedGeneration"] == 1

    run(world, scenario)


def test_pods_without_a_controller_are_told_of(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(PODS, make_pod("a"))
        w.client.add(POD_DISRUPTION_BUDGETS, make_budget(maxUnavailable=1))
        await w.settle()
        assert numbers(w) == (0, 0, 1, 0)
        message = next(message for _, reason, message in w.events if reason == "UnmanagedPods")
        assert "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,}" in message

    run(world, scenario)


def test_a_budget_that_cannot_be_counted_allows_nothing(world: Any) -> None:
    async def scenario(w: Any) -> None:
        stranger = {
            "apiVersion": "example.com/v1",
            "kind": "Fleet",
            "name": "f",
            "uid": "f",
            "controller": True,
        }
        pod = make_pod("a")
        pod["metadata"]["ownerReferences"] = [stranger]
        w.client.add(PODS, pod)
        w.client.add(POD_DISRUPTION_BUDGETS, make_budget({"disruptionsAllowed": 2}, maxUnavailable=1))
        await w.settle()
        why = 'no matches for kind "Fleet" in version "example.com/v1"'
        (condition,) = stored(w)["conditions"]
        assert (condition["reason"], condition["message"]) == ("SyncFailed", why)
        assert stored(w)["disruptionsAllowed"] == 0
        told = f"Failed to calculate the number of expected pods: {why}"
        assert ("Warning", "CalculateExpectedPodCountFailed", told) in w.events

    run(world, scenario)


def test_a_pod_of_two_budgets_is_told_of(world: Any) -> None:
    async def scenario(w: Any) -> None:
        for name in ("one", "two"):
            budget = make_budget(minAvailable=1)
            budget["metadata"]["name"] = name
            w.client.add(POD_DISRUPTION_BUDGETS, budget)
        await w.settle()
        w.client.add(PODS, make_pod("a"))
        await w.settle()
        message = 'Pod "default"/"a" matches multiple PodDisruptionBudgets.  Chose "one" arbitrarily.'
        assert ("Warning", "MultiplePodDisruptionBudgets", message) in w.events

    run(world, scenario)


def test_a_disruption_that_did_not_come_is_taken_back(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pod = make_pod("a")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": meta.format_time(w.time),
        }
        pod["status"]["conditions"].append(condition)
        w.client.add(PODS, pod)
        noted = {"disruptedPods": {"a": meta.format_time(w.time)}}
        w.client.add(POD_DISRUPTION_BUDGETS, make_budget(noted, minAvailable=0))
        await w.settle()
        assert numbers(w) == (1, 0, 0, 0)
        w.advance(121)
        await w.reconcile_all()
        assert numbers(w) == (1, 0, 1, 1)
        assert "disruptedPods" not in stored(w)
        found = meta.find_condition(w.client.peek(PODS, "a", "default"), "DisruptionTarget")
        now = meta.format_time(w.time)
        assert found == {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": now}
        message = "Pod was expected by PDB default/web to be deleted but it wasn't"
        assert ("Warning", "NotDeleted", message) in w.events

    run(world, scenario)
