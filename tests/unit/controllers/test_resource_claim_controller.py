"""Pods' ResourceClaims are made of templates and given back, against a fake API with the real manager."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import resource_claim, resource_claim_release
from proa.objects import meta
from proa.objects.resource import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from proa.objects.resource_claims import FINALIZER, POD_CLAIM_ANNOTATION

SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
TEMPLATE = {
    "metadata": {"name": "one-gpu", "namespace": "default"},
    "spec": {"metadata": {"labels": {"a": "b"}, "annotations": {"note": "x"}}, "spec": SPEC},
}
ALLOCATION = {"devices": {"results": [{"request": "gpu", "driver": "d", "pool": "p", "device": "0"}]}}


def make_pod(name: str = "p", **entry: str) -> dict[str, Any]:
    claims = [{"name": "gpu", **(entry or {"resourceClaimTemplateName": "one-gpu"})}]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"resourceClaims": claims}}


def make_claim(*consumers: dict[str, Any], finalizers: tuple[str, ...] = (FINALIZER,)) -> dict[str, Any]:
    reserved = [{"resource": "pods", "name": meta.name(pod), "uid": meta.uid(pod)} for pod in consumers]
    metadata = {"name": "shared", "namespace": "default", "finalizers": [*finalizers]}
    return {"metadata": metadata, "spec": SPEC, "status": {"allocation": ALLOCATION, "reservedFor": reserved}}


def run(world: Any, scenario: Any) -> None:
    async def all_of_it() -> None:
        async with world([resource_claim, resource_claim_release]) as w:
            await scenario(w)

    asyncio.run(all_of_it())


def test_a_claim_is_made_of_the_template_owned_by_the_pod_and_noted_in_its_status(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
        w.client.add(PODS, make_pod())
        await w.settle()
        (claim,) = w.client.all(RESOURCE_CLAIMS)
        (pod,) = w.client.all(PODS)
        assert claim["metadata"]["generateName"] == "p-gpu-"
        assert meta.labels(claim) == {"a": "b"}
        assert meta.annotations(claim) == {"note": "x", POD_CLAIM_ANNOTATION: "gpu"}
        assert claim["spec"] == SPEC
        assert meta.is_controlled_by(claim, pod)
        noted = {"name": "gpu", "resourceClaimName": meta.name(claim)}
        assert pod["status"]["resourceClaimStatuses"] == [noted]
        calls = len(w.client.calls)
        await w.reconcile_all()
        assert w.client.calls[calls:] == []
        await w.client.delete(RESOURCE_CLAIMS, meta.name(claim), "default")
        await w.settle()
        assert len(w.client.all(RESOURCE_CLAIMS)) == 1  # made again

    run(world, scenario)


def test_a_claim_that_was_made_but_not_noted_is_found_again(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pod = w.client.add(PODS, make_pod())
        template = TEMPLATE
        orphan = resource_claim.make_claim(pod, "gpu", template)
        orphan["metadata"]["name"] = "p-gpu-abcde"
        w.client.add(RESOURCE_CLAIMS, orphan)
        await w.settle()
        (pod,) = w.client.all(PODS)
        assert pod["status"]["resourceClaimStatuses"] == [{"name": "gpu", "resourceClaimName": "p-gpu-abcde"}]

    run(world, scenario)


def test_a_missing_template_is_told_as_upstream_does(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(PODS, make_pod())
        await w.settle()
        why = (
            'PodResourceClaim gpu: resource claim template "one-gpu": '
            'resourceclaimtemplate.resource.k8s.io "one-gpu" not found'
        )
        assert ("Warning", "FailedResourceClaimCreation", why) in w.events

    run(world, scenario)


def test_a_shared_claim_is_freed_when_its_last_pod_has_ended(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pods = [w.client.add(PODS, make_pod(name, resourceClaimName="shared")) for name in ("p", "q")]
        w.client.add(RESOURCE_CLAIMS, make_claim(*pods))
        await w.settle()
        for pod, left in zip(pods, (["q"], []), strict=True):
            await w.client.update(PODS, {**pod, "status": {"phase": "Succeeded"}}, "status")
            await w.settle()
            (claim,) = w.client.all(RESOURCE_CLAIMS)
            assert [each["name"] for each in claim["status"].get("reservedFor") or ()] == left
        assert "allocation" not in claim["status"]
        assert meta.finalizers(claim) == []

    run(world, scenario)


@pytest.mark.parametrize(
    ("pod", "pod_claim", "expected"),
    [
        ("web", "gpu", "web-gpu-"),
        ("p" * 50, "c" * 50, f"{'p' * 27}-{'c' * 27}"),
        ("p" * 100, "c", f"{'p' * 55}-"),
    ],
)
def test_generated_names_leave_room_for_the_suffix(pod: str, pod_claim: str, expected: str) -> None:
    assert resource_claim.base_name(pod, pod_claim) == expected
    assert len(expected) <= resource_claim.MAX_BASE


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
POD = {"metadata": {"name": "p", "namespace": "default", "uid": "1"}, "spec": {}, "status": {}}
OTHER = {"metadata": {"name": "q", "namespace": "default", "uid": "2"}, "spec": {}, "status": {}}
OWNED = {"ownerReferences": [{"kind": "Pod", "name": "p", "uid": "1", "controller": True}]}


@pytest.mark.parametrize(
    ("claim", "gone", "owner", "expected"),
    [
        pytest.param(make_claim(POD), (), None, (None, None, False), id="in use"),
        pytest.param(make_claim(POD, OTHER), ("1",), None, (["q"], None, False), id="one of two is gone"),
        pytest.param(make_claim(POD), ("1",), None, ("freed", [], False), id="the last is gone"),
        pytest.param(
            make_claim(POD, finalizers=("x",)), ("1",), None, ([], None, False), id="given by somebody else"
        ),
        pytest.param(make_claim(), (), None, (None, None, False), id="never used"),
    ],
)
def test_what_becomes_of_a_claim(
    claim: dict[str, Any], gone: tuple[str, ...], owner: dict[str, Any] | None, expected: Any
) -> None:
    decided = resource_claim_release.plan(claim, frozenset(gone), owner)
    status: Any = None
    if decided.status is not None:
        kept = decided.status.get("reservedFor")
        status = "freed" if "allocation" not in decided.status else [each["name"] for each in kept]
    assert (status, decided.finalizers, decided.delete) == expected


def test_a_claim_that_is_deleted_unused_is_freed_and_let_go() -> None:
    claim = make_claim()
    claim["metadata"].update(GOING)
    decided = resource_claim_release.plan(claim, frozenset(), None)
    assert decided == resource_claim_release.Plan({}, [], False)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        pytest.param(POD, False, id="will run"),
        pytest.param({**POD, "status": {"phase": "Failed"}}, True, id="has ended"),
        pytest.param({**POD, "metadata": {**POD["metadata"], "uid": "9"}}, True, id="replaced"),
        pytest.param(None, False, id="gone: left to the garbage collector"),
    ],
)
def test_the_unused_claim_of_a_pod_goes_with_it(owner: dict[str, Any] | None, expected: bool) -> None:
    claim = make_claim()
    claim["metadata"].update(OWNED)
    assert resource_claim_release.plan(claim, frozenset(), owner).delete is expected
