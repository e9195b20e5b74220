"""A StatefulSet's pods come, go and change in order, under their names, with their claims."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.controllers.statefulset import controller as statefulset
from proa.controllers.statefulset import retention
from proa.controllers.statefulset.identity import find_member, make_pod, ordinal_of
from proa.controllers.statefulset.plan import Revisions, plan
from proa.objects import meta
from proa.objects.errors import Forbidden
from proa.objects.pods import is_ready, is_terminated
from proa.objects.resource import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
)
from proa.reconcile.controller_revisions import make_hash, make_revision

NOW = 1_750_000_000.0
LABELS = {"app": "db"}
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def make_template(image: str = "db:1") -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "db", "image": image}]}}


def make_set(replicas: int = 3, image: str = "db:1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": "dbs",
            "selector": {"matchLabels": LABELS},
            "template": make_template(image),
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


async def create(w: Any, **spec: Any) -> None:
    await w.client.create(STATEFUL_SETS, make_set(**spec), "default")
    await w.settle()


async def change(w: Any, **spec: Any) -> None:
    existing = w.client.peek(STATEFUL_SETS, "db", "default")
    await w.client.update(STATEFUL_SETS, {**existing, "spec": {**existing["spec"], **spec}})
    await w.settle()


async def make_all_ready(w: Any) -> None:
    for _ in range(50):
        waiting = [pod for pod in w.pods() if not is_ready(pod) and not is_terminated(pod)]
        if not waiting:
            return
        for pod in waiting:
            w.set_pod(pod)
        await w.settle()
    raise AssertionError("pods keep coming")


def names(w: Any) -> list[str]:
    return sorted(map(meta.name, w.pods()))


def images(w: Any) -> dict[str, str]:
    return {meta.name(pod): pod["spec"]["containers"][0]["image"] for pod in w.pods()}


def status(w: Any) -> dict[str, Any]:
    return dict(w.client.peek(STATEFUL_SETS, "db", "default")["status"])


def revisions(w: Any) -> dict[str, int]:
    """Return the numbers of the revisions by the image that they keep."""
    return {
        one["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: one["revision"]
        for one in w.client.all(CONTROLLER_REVISIONS)
    }


def claims(w: Any) -> dict[str, list[str]]:
    """Return the kinds that own each claim."""
    return {
        meta.name(claim): [ref["kind"] for ref in meta.owner_references(claim)]
        for claim in w.client.all(PERSISTENT_VOLUME_CLAIMS)
    }


def test_an_ordered_set_makes_each_pod_when_the_one_before_is_ready(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            for count in (1, 2, 3):
                assert names(w) == [f"db-{ordinal}" for ordinal in range(count)]
                w.set_pod(w.client.peek(PODS, f"db-{count - 1}", "default"))
                await w.settle()
            assert w.events == [
                ("Normal", "SuccessfulCreate", f"create Pod db-{ordinal} in StatefulSet db successful")
                for ordinal in range(3)
            ]
            found = status(w)
            assert found.pop("currentRevision") == found.pop("updateRevision")
            assert found == {
                "observedGeneration": 1,
                "replicas": 3,
                "readyReplicas": 3,
                "currentReplicas": 3,
                "updatedReplicas": 3,
                "availableReplicas": 3,
                "collisionCount": 0,
            }

    asyncio.run(scenario())


def test_a_pod_has_a_name_a_hostname_and_labels_of_its_own() -> None:
    stateful_set = make_set(volumeClaimTemplates=[CLAIM])
    stateful_set["spec"]["template"]["spec"]["volumes"] = [{"name": "data"}, {"name": "tmp"}]
    revision = make_revision(stateful_set, STATEFUL_SETS, 1, statefulset.HASH_LABEL, 0)
    pod = make_pod(stateful_set, revision, 2)
    assert pod["metadata"]["labels"] == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-2",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": meta.name(revision),
    }
    assert (meta.name(pod), pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-2", "db-2", "dbs")
    assert pod["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-2"}},
        {"name": "tmp"},
    ]
    assert meta.name(revision) == f"db-{meta.labels(revision)['controller.kubernetes.io/hash']}"
    assert revision["data"]["spec"]["template"]["$patch"] == "replace"


def test_names_of_members_end_in_an_ordinal() -> None:
    assert find_member("my-db-10") == ("my-db", 10)
    assert [find_member(name) for name in ("db", "db-", "db-01", "db-x", "db-1a")] == [None] * 5


def test_hashes_are_letters_and_differ_by_collisions() -> None:
    hashes = {make_hash({"a": 1}, collisions) for collisions in range(50)}
    assert len(hashes) == 50
    assert all(set(one) <= set(meta.SUFFIX_ALPHABET) for one in hashes)


def test_a_parallel_set_makes_and_deletes_all_at_once(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, replicas=4, podManagementPolicy="Parallel", ordinals={"start": 5})
            assert names(w) == ["db-5", "db-6", "db-7", "db-8"]
            await change(w, replicas=1)
            assert names(w) == ["db-5"]

    asyncio.run(scenario())


def test_pods_without_number_are_made_some_at_a_time() -> None:
    stateful_set = make_set(2**31 - 1, podManagementPolicy="Parallel")
    revision = make_revision(stateful_set, STATEFUL_SETS, 1, "h", 0)
    decided = plan(stateful_set, [], Revisions(revision, revision), lambda _: None, NOW)
    assert len(decided.create) == 500


def test_a_name_that_another_template_has_is_counted_and_varied(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            taken = make_revision(make_set(), STATEFUL_SETS, 1, "h", 0)
            taken = {**taken, "data": {}, "metadata": {"name": meta.name(taken), "namespace": "default"}}
            w.client.add(CONTROLLER_REVISIONS, taken)
            await create(w)
            assert status(w)["collisionCount"] == 1
            assert status(w)["updateRevision"] != meta.name(taken)

    asyncio.run(scenario())


def test_an_ordered_set_scales_down_from_the_top_and_waits_for_what_is_below(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            await make_all_ready(w)
            w.set_pod(w.client.peek(PODS, "db-0", "default"), ready=False)
            await change(w, replicas=1)
            assert names(w) == ["db-0", "db-1", "db-2"]
            w.client.calls.clear()
            await make_all_ready(w)
            assert [call.name for call in w.client.calls if call.verb == "delete"] == ["db-2", "db-1"]
            assert names(w) == ["db-0"]

    asyncio.run(scenario())


def test_a_rollout_goes_from_the_top_and_waits_for_each_pod(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            await make_all_ready(w)
            before = status(w)["currentRevision"]
            await change(w, template=make_template("db:2"))
            assert images(w) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
            found = status(w)
            assert found["currentRevision"] == before != found["updateRevision"]
            assert (found["currentReplicas"], found["updatedReplicas"]) == (2, 1)
            await make_all_ready(w)
            assert set(images(w).values()) == {"db:2"}
            found = status(w)
            assert found["currentRevision"] == found["updateRevision"] != before
            assert ("Normal", "SuccessfulDelete", "delete Pod db-2 in StatefulSet db successful") in w.events

    asyncio.run(scenario())


def test_a_partition_keeps_lower_ordinals_as_they_are_even_when_made_anew(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            await make_all_ready(w)
            rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
            await change(w, template=make_template("db:2"), updateStrategy=rolling)
            await make_all_ready(w)
            assert images(w) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
            for name in ("db-0", "db-2"):
                await w.client.delete(PODS, name, "default")
            await w.settle()
            await make_all_ready(w)
            assert images(w) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
            assert status(w)["currentRevision"] != status(w)["updateRevision"]

    asyncio.run(scenario())


def test_on_delete_only_what_is_deleted_is_updated(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, updateStrategy={"type": "OnDelete"})
            await make_all_ready(w)
            await change(w, template=make_template("db:2"))
            assert set(images(w).values()) == {"db:1"}
            await w.client.delete(PODS, "db-1", "default")
            await w.settle()
            await make_all_ready(w)
            assert images(w) == {"db-0": "db:1", "db-1": "db:2", "db-2": "db:1"}

    asyncio.run(scenario())


def test_an_ordered_set_stays_with_a_broken_revision_until_its_pod_is_deleted(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            await make_all_ready(w)
            await change(w, template=make_template("db:broken"))
            await change(w, template=make_template("db:1"))
            assert images(w)["db-2"] == "db:broken"
            await w.client.delete(PODS, "db-2", "default")
            await w.settle()
            assert images(w)["db-2"] == "db:1"

    asyncio.run(scenario())


def test_a_parallel_set_replaces_pods_of_a_broken_revision(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, podManagementPolicy="Parallel")
            await make_all_ready(w)
            await change(w, template=make_template("db:broken"))
            await change(w, template=make_template("db:1"))
            await make_all_ready(w)
            assert set(images(w).values()) == {"db:1"}

    asyncio.run(scenario())


def test_failed_and_succeeded_pods_are_made_anew(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w)
            await make_all_ready(w)
            uids = {meta.name(pod): meta.uid(pod) for pod in w.pods()}
            for name, phase in (("db-0", "Failed"), ("db-1", "Succeeded")):
                w.set_pod(w.client.peek(PODS, name, "default"), phase=phase, ready=False)
            await w.settle()
            await make_all_ready(w)
            assert names(w) == ["db-0", "db-1", "db-2"]
            assert [meta.uid(pod) != uids[meta.name(pod)] for pod in w.pods()].count(True) == 2

    asyncio.run(scenario())


def test_a_pod_counts_only_when_it_has_been_ready_for_min_ready_seconds(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, minReadySeconds=30)
            w.set_pod(w.pods()[0])
            await w.settle()
            assert names(w) == ["db-0"]
            assert (status(w)["readyReplicas"], status(w)["availableReplicas"]) == (1, 0)
            w.advance(30)
            await w.reconcile_all()
            assert names(w) == ["db-0", "db-1"]
            assert status(w)["availableReplicas"] == 1

    asyncio.run(scenario())


def test_undoing_a_rollout_renumbers_the_old_revision_and_old_ones_are_forgotten(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, revisionHistoryLimit=1, podManagementPolicy="Parallel")
            await make_all_ready(w)
            for image in ("db:2", "db:1", "db:3"):
                await change(w, template=make_template(image))
                await make_all_ready(w)
                await w.reconcile_all()
            assert revisions(w) == {"db:1": 3, "db:3": 4}

    asyncio.run(scenario())


def test_each_ordinal_has_claims_that_outlive_its_pods(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, replicas=2, podManagementPolicy="Parallel", volumeClaimTemplates=[CLAIM])
            assert claims(w) == {"data-db-0": [], "data-db-1": []}
            made = w.client.peek(PERSISTENT_VOLUME_CLAIMS, "data-db-0", "default")
            assert (meta.labels(made), made["spec"]) == (LABELS, CLAIM["spec"])
            event = "create Claim data-db-0 Pod db-0 in StatefulSet db success"
            assert ("Normal", "SuccessfulCreate", event) in w.events
            await change(w, replicas=0)
            assert claims(w) == {"data-db-0": [], "data-db-1": []}

    asyncio.run(scenario())


def test_a_claim_that_goes_while_its_pod_waits_is_made_again(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, replicas=1, volumeClaimTemplates=[CLAIM])
            await w.client.delete(PERSISTENT_VOLUME_CLAIMS, "data-db-0", "default")
            await w.settle()
            assert claims(w) == {"data-db-0": []}

    asyncio.run(scenario())


def test_claims_go_with_the_set_or_with_pods_scaled_away(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
            await create(
                w,
                replicas=2,
                volumeClaimTemplates=[CLAIM],
                persistentVolumeClaimRetentionPolicy=policy,
            )
            await make_all_ready(w)
            assert claims(w) == {"data-db-0": ["StatefulSet"], "data-db-1": ["StatefulSet"]}
            await change(w, replicas=1)
            assert claims(w) == {"data-db-0": ["StatefulSet"], "data-db-1": ["Pod"]}
            await change(w, replicas=2)
            assert names(w) == ["db-0"]  # the claim of the pod that is gone must not be taken over
            await w.client.delete(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "default")
            await w.settle()
            assert names(w) == ["db-0", "db-1"]
            await change(
                w, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"}
            )
            await make_all_ready(w)
            assert claims(w) == {"data-db-0": [], "data-db-1": []}

    asyncio.run(scenario())


SET = {**make_set(), "metadata": {"name": "db", "uid": "set"}}
POD = {"metadata": {"name": "db-0", "uid": "pod"}}
BY_SET = meta.make_owner_reference(SET, STATEFUL_SETS)
BY_POD = meta.make_owner_reference(POD, PODS)
BY_OTHER = {"apiVersion": "v1", "kind": "Thing", "name": "t", "uid": "t", "controller": True}
OWNERS = [
    ("nobody", "Retain", "Retain", True, [BY_SET, BY_POD], []),
    ("the set", "Delete", "Retain", False, [BY_POD], [BY_SET]),
    ("nobody until it is scaled away", "Retain", "Delete", True, [BY_SET], []),
    ("the pod that is scaled away", "Retain", "Delete", False, [], [BY_POD]),
    ("the set while it is wanted", "Delete", "Delete", True, [BY_POD], [BY_SET]),
    ("the pod once it is not", "Delete", "Delete", False, [BY_SET], [BY_POD]),
    ("others besides", "Delete", "Retain", True, [{**BY_OTHER, "controller": False}],
     [{**BY_OTHER, "controller": False}, BY_SET]),
    ("another controller alone", "Delete", "Retain", True, [BY_OTHER, BY_SET], [BY_OTHER]),
    ("a set that is gone, still", "Delete", "Retain", True, [{**BY_SET, "uid": "old"}], [{**BY_SET, "uid": "old"}]),
    ("an owner that is made the controller", "Delete", "Retain", True, [{**BY_SET, "controller": False}], [BY_SET]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_name", "when_deleted", "when_scaled", "is_wanted", "before", "after"),
    OWNERS,
    ids=[case[0] for case in OWNERS],
)
def test_who_owns_a_claim(
    _name: str, when_deleted: str, when_scaled: str, is_wanted: bool, before: Any, after: Any
) -> None:
    policy = {"whenDeleted": when_deleted, "whenScaled": when_scaled}
    of = {**SET, "spec": {**SET["spec"], "persistentVolumeClaimRetentionPolicy": policy}}
    claim = {"metadata": {"name": "data-db-0", "ownerReferences": before}}
    owned = retention.with_owners(of, POD, claim, is_wanted)
    assert meta.owner_references(owned) == after
    assert retention.with_owners(of, POD, owned, is_wanted) is owned


def test_orphans_with_the_sets_names_are_adopted_and_strays_released(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            for name in ("db-0", "other-1", "db-x"):
                w.client.add(PODS, {"metadata": {"name": name, "labels": LABELS}, "spec": {}})
            await create(w, replicas=1)
            owners = {meta.name(pod): meta.controller_of(pod) for pod in w.pods()}
            assert owners["db-0"] is not None
            assert (owners["other-1"], owners["db-x"]) == (None, None)
            await w.client.patch(PODS, "db-0", {"metadata": {"labels": {"app": "x"}}}, "default")
            await w.settle()
            assert meta.controller_of(w.client.peek(PODS, "db-0", "default")) is None

    asyncio.run(scenario())


def test_what_is_refused_is_told(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            w.client.fail_next(Forbidden("exceeded quota"), "create", PERSISTENT_VOLUME_CLAIMS)
            await create(w, replicas=1, volumeClaimTemplates=[CLAIM])
            refused = "failed error: exceeded quota"
            assert w.events[:2] == [
                (
                    "Warning",
                    "FailedCreate",
                    f"create Claim data-db-0 for Pod db-0 in StatefulSet db {refused}",
                ),
                (
                    "Warning",
                    "FailedCreate",
                    "create Pod db-0 in StatefulSet db failed error: "
                    "failed to create PVC data-db-0: exceeded quota",
                ),
            ]
            for _ in range(20):
                await w.reconcile_all()
            assert names(w) == ["db-0"]

    asyncio.run(scenario())


def test_reconciling_again_changes_nothing(world: Any) -> None:
    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, volumeClaimTemplates=[CLAIM])
            await make_all_ready(w)
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


@given(
    replicas=st.integers(0, 4),
    partition=st.integers(0, 4),
    states=st.lists(st.sampled_from(["", "pending", "ready", "failed", "going"]), max_size=6),
    outdated=st.sets(st.integers(0, 5)),
)
def test_an_ordered_set_takes_one_step_and_none_past_what_it_waits_for(
    replicas: int, partition: int, states: list[str], outdated: set[int]
) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    stateful_set = make_set(replicas, updateStrategy=rolling)
    old, new = (make_revision(make_set(image=i), STATEFUL_SETS, 1, "h", 0) for i in ("db:1", "db:2"))
    pods = [
        make_state(make_pod(stateful_set, old if ordinal in outdated else new, ordinal), state)
        for ordinal, state in enumerate(states)
        if state
    ]
    decided = plan(stateful_set, pods, Revisions(old, new), lambda _: None, NOW)
    steps = [birth.pod for birth in decided.create] + list(decided.delete)
    assert len(steps) <= 1
    there = {ordinal_of(pod): pod for pod in pods}
    waited_for = [
        ordinal for ordinal in range(replicas) if ordinal not in there or states[ordinal] != "ready"
    ]
    if waited_for:
        assert [ordinal_of(pod) for pod in steps] in ([], waited_for[:1])
    elif not decided.delete and {*states} <= {"", "ready"}:
        assert {*there} == {*range(replicas)}
        assert not {ordinal for ordinal in outdated & {*there} if ordinal >= partition}


def make_state(pod: dict[str, Any], state: str) -> dict[str, Any]:
    pod = {**pod, "metadata": {**pod["metadata"], "uid": meta.name(pod)}}
    if state == "going":
        pod["metadata"]["deletionTimestamp"] = meta.format_time(NOW)
    phase = {"pending": "Pending", "failed": "Failed"}.get(state, "Running")
    ready = {"type": "Ready", "status": str(state in ("ready", "going"))}
    return {**pod, "status": {"phase": phase, "conditions": [ready]}}


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_set_ends_as_it_is_wanted(world: Any, seed: int, policy: str) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        async with world([statefulset]) as w:
            await create(w, podManagementPolicy=policy, volumeClaimTemplates=[CLAIM])
            replicas, image = 3, "db:1"
            for _ in range(60):
                act = chance.randrange(5)
                if act == 0:
                    replicas = chance.randrange(6)
                    await change(w, replicas=replicas)
                elif act == 1:
                    image = f"db:{chance.randrange(3)}"
                    await change(w, template=make_template(image))
                elif w.pods():
                    pod = chance.choice(w.pods())
                    if act == 2:
                        await w.client.delete(PODS, meta.name(pod), "default")
                    elif act == 3:
                        w.set_pod(pod, phase="Failed", ready=False)
                    else:
                        w.set_pod(pod, ready=chance.random() < 0.7)
                await w.settle()
            await make_all_ready(w)
            await w.reconcile_all()
            assert images(w) == {f"db-{ordinal}": image for ordinal in range(replicas)}
            assert status(w)["currentRevision"] == status(w)["updateRevision"]
            assert len(w.client.all(CONTROLLER_REVISIONS)) <= 11

    asyncio.run(scenario())
