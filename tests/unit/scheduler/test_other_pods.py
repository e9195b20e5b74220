"""Affinity to other pods and topology spread, by tables: where a pod may go, and why not elsewhere."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.objects.resource import REPLICA_SETS, SERVICES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Event, Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.ranking import Ranking
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
WEB = {"matchLabels": {"app": "web"}}
NEAR = "node(s) didn't match pod affinity rules"
APART = "node(s) didn't match pod anti-affinity rules"
WANTED = "node(s) didn't satisfy existing pods anti-affinity rules"
SKEW = "node(s) didn't match pod topology spread constraints"
LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
NODES = {"a1": {ZONE: "a"}, "a2": {ZONE: "a"}, "b1": {ZONE: "b"}, "c1": {}}


class World:
    """Four nodes in two zones, one of them in none."""

    def __init__(self) -> None:
        client = FakeClient()
        self.informers = InformerFactory(client)
        self.snapshot = Snapshot()
        self.profile = Profile("test", default_plugins(client, self.informers, self.snapshot))
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(1).random)
        for name, labels in NODES.items():
            self.snapshot.set_node(make_node(name, labels=labels))

    def put(self, name: str, node: str, **kind: Any) -> None:
        self.snapshot.add_pod(make_pod_info(make_pod(name, **kind)), node)

    def ranking(self, **kind: Any) -> Ranking:
        pod = make_pod_info(make_pod("p", **kind))
        facts = self.profile.run_pre_filters(pod)
        assert not isinstance(facts, Status)
        ranking = self.rankings.ranking_for(pod, facts)
        ranking.best()
        return ranking

    def reasons(self, **kind: Any) -> dict[str, str]:
        """Return why nodes do not fit."""
        ranking = self.ranking(**kind)
        found = {name: ranking.status_of(name) for name in NODES}
        return {name: status.reasons[0] for name, status in found.items() if status is not None}

    def best(self, **kind: Any) -> str:
        node = self.ranking(**kind).best()
        assert node is not None
        return node.name


def term(key: str = ZONE, selector: Any = None, **more: Any) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": selector or WEB, **more}


def affinity(*terms: Any, weight: int = 0) -> dict[str, Any]:
    return {"podAffinity": side(*terms, weight=weight)}


def anti(*terms: Any, weight: int = 0) -> dict[str, Any]:
    return {"podAntiAffinity": side(*terms, weight=weight)}


def side(*terms: Any, weight: int = 0) -> dict[str, Any]:
    if not weight:
        return {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}
    entries = [{"weight": weight, "podAffinityTerm": each} for each in terms]
    return {"preferredDuringSchedulingIgnoredDuringExecution": entries}


def constraint(key: str = ZONE, skew: int = 1, action: str = "DoNotSchedule", **more: Any) -> dict[str, Any]:
    return {"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": action, "labelSelector": WEB, **more}


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ({"affinity": affinity(term())}, {"b1": NEAR, "c1": NEAR}),
        ({"affinity": affinity(term(HOST))}, {"a2": NEAR, "b1": NEAR, "c1": NEAR}),
        ({"affinity": affinity(term(), term(HOST))}, {"a2": NEAR, "b1": NEAR, "c1": NEAR}),
        ({"affinity": anti(term())}, {"a1": APART, "a2": APART}),
        ({"affinity": anti(term(HOST))}, {"a1": APART}),
        ({"affinity": affinity(term(namespaces=["other"]))}, dict.fromkeys(NODES, NEAR)),
        ({"affinity": affinity(term(namespaceSelector={})), "namespace": "other"}, {"b1": NEAR, "c1": NEAR}),
        ({"affinity": affinity(term()), "namespace": "other"}, dict.fromkeys(NODES, NEAR)),
        ({"labels": {"app": "hermit"}}, {"b1": WANTED}),
        ({"labels": {"app": "hermit"}, "namespace": "other"}, {}),
    ],
)
def test_a_pod_goes_near_those_it_asks_for_and_away_from_those_it_cannot_stand(kind, reasons):
    world = World()
    world.put("web", "a1", labels={"app": "web"})
    world.put("hermit", "b1", affinity=anti(term(selector={"matchLabels": {"app": "hermit"}})))
    assert world.reasons(**kind) == reasons


def test_the_first_of_pods_that_want_to_be_together_may_go_wherever_the_label_is():
    world = World()
    kind = {"labels": {"app": "web"}, "affinity": affinity(term())}
    assert world.reasons(**kind) == {"c1": NEAR}
    world.put("web", "b1", labels={"app": "web"})
    assert world.reasons(**kind) == {"a1": NEAR, "a2": NEAR, "c1": NEAR}
    assert world.reasons(
        labels={"app": "db"}, affinity=affinity(term(selector={"matchLabels": {"app": "x"}}))
    ) == (dict.fromkeys(NODES, NEAR))


def test_a_namespace_that_gets_a_label_is_meant_from_then_on():
    world = World()
    world.put("web", "a1", labels={"app": "web"}, namespace="other")
    kind = {"affinity": anti(term(HOST, namespaceSelector={"matchLabels": {"team": "x"}}))}
    assert world.reasons(**kind) == {}
    world.snapshot.set_namespace("other", {"metadata": {"name": "other", "labels": {"team": "x"}}})
    assert world.reasons(**kind) == {"a1": APART}


@pytest.mark.parametrize(
    ("there", "kind", "expected"),
    [
        ({}, {"affinity": affinity(term(HOST), weight=50)}, {"a1"}),
        ({}, {"affinity": anti(term(), weight=50)}, {"b1", "c1"}),
        (
            {"affinity": affinity(term(HOST, {"matchLabels": {"app": "db"}}), weight=9)},
            {"labels": {"app": "db"}},
            {"a1"},
        ),
        (
            {"affinity": affinity(term(HOST, {"matchLabels": {"app": "db"}}))},
            {"labels": {"app": "db"}},
            {"a1"},
        ),
        (
            {"affinity": anti(term(HOST, {"matchLabels": {"app": "db"}}), weight=9)},
            {"labels": {"app": "db"}},
            {"a2", "b1", "c1"},
        ),
    ],
)
def test_preferences_of_both_sides_decide_between_nodes(there, kind, expected):
    world = World()
    world.put("web", "a1", labels={"app": "web"}, **there)
    assert world.best(**kind) in expected


@pytest.mark.parametrize(
    ("constraints", "reasons"),
    [
        ([constraint()], {"a1": SKEW, "a2": SKEW, "c1": LABEL}),
        ([constraint(skew=2)], {"c1": LABEL}),
        ([constraint(HOST)], {"a1": SKEW}),
        ([constraint(minDomains=3)], {"a1": SKEW, "a2": SKEW, "c1": LABEL}),
        ([constraint(skew=2, minDomains=3)], {"c1": LABEL}),
        ([constraint("rack")], dict.fromkeys(NODES, LABEL)),
        ([constraint(), constraint(HOST)], {"a1": SKEW, "a2": SKEW, "c1": LABEL}),
        ([constraint(labelSelector={"matchLabels": {"app": "db"}})], {"c1": LABEL}),
        ([constraint(matchLabelKeys=["tier"])], {"c1": LABEL}),
        ([constraint(action="ScheduleAnyway")], {}),
    ],
)
def test_pods_are_spread_within_the_skew(constraints, reasons):
    world = World()
    world.put("web", "a1", labels={"app": "web"})
    labels = {"app": "web", "tier": "x"}
    assert world.reasons(labels=labels, topologySpreadConstraints=constraints) == reasons


def test_pods_that_are_going_or_of_other_namespaces_are_not_counted_when_spreading():
    world = World()
    world.put("theirs", "a1", labels={"app": "web"}, namespace="other")
    going = make_pod("going", labels={"app": "web"})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.snapshot.add_pod(make_pod_info(going), "a1")
    assert world.reasons(labels={"app": "web"}, topologySpreadConstraints=[constraint()]) == {"c1": LABEL}


@pytest.mark.parametrize(
    ("policies", "reasons"),
    [
        ({}, {"a1": SKEW, "a2": "node(s) had untolerated taint(s)", "c1": LABEL}),
        ({"nodeTaintsPolicy": "Honor"}, {"a1": SKEW, "a2": "node(s) had untolerated taint(s)", "c1": LABEL}),
    ],
)
def test_a_tainted_nodes_pods_count_unless_taints_are_honoured(policies, reasons):
    world = World()
    world.snapshot.set_node(
        make_node("a2", labels={ZONE: "a"}, taints=[{"key": "x", "effect": "NoSchedule"}])
    )
    world.put("web", "a1" if policies else "a2", labels={"app": "web"})
    assert world.reasons(labels={"app": "web"}, topologySpreadConstraints=[constraint(**policies)]) == reasons


def test_the_pods_of_a_service_and_of_an_owner_are_spread_without_being_asked():
    world = World()
    world.informers(SERVICES).wrote(
        {
            "metadata": {"name": "s", "namespace": "default", "resourceVersion": "1"},
            "spec": {"selector": {"app": "web"}},
        }
    )
    for index, name in enumerate(("a1", "b1", "b1", *["c1"] * 5)):
        world.put(f"web-{index}", name, labels={"app": "web"})
    assert world.best(labels={"app": "web"}) == "a2"

    world.informers(REPLICA_SETS).wrote(
        {
            "metadata": {"name": "db", "namespace": "default", "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": "db"}}},
        }
    )
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "db", "uid": "u", "controller": True}
    for index, name in enumerate(("a1", "a2", *["c1"] * 5)):
        world.put(f"db-{index}", name, labels={"app": "db"})
    pod = make_pod("p", labels={"app": "db"})
    pod["metadata"]["ownerReferences"] = [owner]
    info = make_pod_info(pod)
    node = world.rankings.ranking_for(info, world.profile.run_pre_filters(info)).best()
    assert node is not None
    assert node.name == "b1"


@pytest.mark.parametrize(
    ("kind", "event", "other", "helps"),
    [
        ({"affinity": affinity(term())}, Event.POD_ADDED, {"labels": {"app": "web"}}, True),
        ({"affinity": affinity(term())}, Event.POD_ADDED, {"labels": {"app": "db"}}, False),
        ({"affinity": anti(term())}, Event.POD_ADDED, {"labels": {"app": "web"}}, False),
        ({"affinity": anti(term())}, Event.POD_REMOVED, {"labels": {"app": "web"}}, True),
        ({"affinity": anti(term())}, Event.POD_REMOVED, {"labels": {"app": "db"}}, False),
        ({"labels": {"app": "web"}}, Event.POD_REMOVED, {"affinity": anti(term())}, True),
        ({"topologySpreadConstraints": [constraint()]}, Event.POD_REMOVED, {"labels": {"app": "web"}}, True),
        ({"topologySpreadConstraints": [constraint()]}, Event.POD_REMOVED, {"labels": {"app": "db"}}, False),
    ],
)
def test_only_pods_that_matter_wake_a_rejected_one(kind, event, other, helps):
    world = World()
    plugins = frozenset({"PodTopologySpread" if "topologySpreadConstraints" in kind else "InterPodAffinity"})
    pod, changed = make_pod_info(make_pod("p", **kind)), make_pod("other", nodeName="a1", **other)
    old, new = (None, changed) if event is Event.POD_ADDED else (changed, None)
    assert world.profile.can_help(event, plugins, pod, old, new) == helps
