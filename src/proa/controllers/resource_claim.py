"""Make the ResourceClaims that pods ask for by a template, and reserve claims for pods that have a node already.

A claim that is made for a pod is owned by it, named after it, and noted in status.resourceClaimStatuses, which is what
scheduler and kubelet read. Watches pods, claims and templates; writes claims and status of pods and claims. Follows
upstream's pkg/controller/resourceclaim/controller.go (syncPod); resource_claim_release.py is its other half.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Object
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.pods import node_name
from proa.objects.resource import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from proa.objects.resource_claims import (
    POD_CLAIM_ANNOTATION,
    allocation_of,
    can_be_reserved,
    claim_names,
    consumer,
    consumers_of,
    is_reserved_for,
    made_claims,
    not_for_pod,
    pod_claims,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch, no_keys

NAME = "resourceclaim"
COMPONENT = "resource_claim"
ACCOUNT = "resource-claim-controller"
MAX_BASE = 57
"""Of 63 characters of a name, a hyphen and five at random are the server's."""


class Plan(NamedTuple):
    """What a pod lacks: claims to make, by the pod's name for them, and those to note in its status.

    `create` has the name of each claim's template; `note` what was made before.
    """

    create: tuple[tuple[str, str], ...]
    note: dict[str, str]


def _keys_of_pod(pod: Object) -> Iterable[Key]:
    if pod_claims(pod) and not meta.is_deleting(pod):
        yield Key(meta.namespace(pod), meta.name(pod))


def _keys_of_claim(claim: Object, caches: Caches) -> Iterable[Key]:
    """A claim that is gone is made again; one that has devices is reserved for pods that have a node."""
    for pod in caches(PODS).by_index("resource-claim", f"{meta.namespace(claim)}/{meta.name(claim)}"):
        yield from _keys_of_pod(pod)


def _is_old(old: Object, new: Object) -> bool:
    """What matters of a pod: which claims it has, and whether it has a node."""
    return node_name(old) == node_name(new) and made_claims(old) == made_claims(new)


WATCHES: Sequence[Watch] = (
    Watch(PODS, keys_of=_keys_of_pod, ignores=_is_old),
    Watch(RESOURCE_CLAIMS, find_keys=_keys_of_claim),
    Watch(RESOURCE_CLAIM_TEMPLATES, keys_of=no_keys),
)


def plan(pod: Object, claims: dict[str, Object], owned: Sequence[Object]) -> Plan:
    """Decide about a pod. `claims` are those of its namespace that it names, `owned` those that it owns."""
    create, note, made = [], {}, made_claims(pod)
    orphans = {
        meta.annotations(claim).get(POD_CLAIM_ANNOTATION, ""): meta.name(claim) for claim in reversed(owned)
    }
    for pod_claim in pod_claims(pod):
        name, template = pod_claim["name"], pod_claim.get("resourceClaimTemplateName")
        if not template:
            continue
        if name in made:
            known = made[name]
            if known is None or (known in claims and not not_for_pod(pod, claims[known])):
                continue
        if name in orphans:
            note[name] = orphans[name]
        else:
            create.append((name, template))
    return Plan(tuple(create), note)


def make_claim(pod: Object, pod_claim: str, template: Object) -> Object:
    """Return the claim that a template describes, for a pod's claim of that name."""
    given = template["spec"].get("metadata") or {}
    metadata = {
        "generateName": base_name(meta.name(pod), pod_claim),
        "namespace": meta.namespace(pod),
        "ownerReferences": [meta.make_owner_reference(pod, PODS)],
        "annotations": {**(given.get("annotations") or {}), POD_CLAIM_ANNOTATION: pod_claim},
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    return {
        "apiVersion": RESOURCE_CLAIMS.api_version,
        "kind": RESOURCE_CLAIMS.kind,
        "metadata": metadata,
        "spec": template["spec"]["spec"],
    }


def base_name(pod: str, pod_claim: str) -> str:
    """Return what the claim's name begins with: both names, each shortened in proportion where they are long."""
    base = f"{pod}-{pod_claim}-"
    if len(base) <= MAX_BASE:
        return base
    return f"{pod[: len(pod) * MAX_BASE // len(base)]}-{pod_claim[: len(pod_claim) * MAX_BASE // len(base)]}"


async def reconcile(context: Context, key: Key) -> Result:
    """Make what a pod lacks, note it in its status, and reserve what it has for it where nobody else will."""
    pod = context.caches(PODS).get(key.name, key.namespace)
    if pod is None or meta.is_deleting(pod):
        return DONE
    cache = context.caches(RESOURCE_CLAIMS)
    named = {name: cache.get(name, key.namespace) for name, _ in claim_names(pod)}
    found = {name: claim for name, claim in named.items() if claim is not None}
    decided = plan(pod, found, cache.by_index("controller", meta.uid(pod)))
    note = dict(decided.note)
    for pod_claim, template in decided.create:
        try:
            note[pod_claim] = await _create(context, pod, pod_claim, template)
        except ApiError as error:
            message = f"PodResourceClaim {pod_claim}: {error.message}"
            context.events.event(pod, "Warning", "FailedResourceClaimCreation", message)
            raise
    if note:
        await _note(context, pod, note)
    if node_name(pod):
        await _reserve(context, pod, found)
    return DONE


async def _create(context: Context, pod: Object, pod_claim: str, template_name: str) -> str:
    template = context.caches(RESOURCE_CLAIM_TEMPLATES).get(template_name, meta.namespace(pod))
    if template is None:
        what = f'resourceclaimtemplate.resource.k8s.io "{template_name}" not found'
        raise ApiError(f'resource claim template "{template_name}": {what}')
    try:
        claim = await context.client.create(
            RESOURCE_CLAIMS, make_claim(pod, pod_claim, template), meta.namespace(pod)
        )
    except ApiError as error:
        error.message = f"create ResourceClaim : {error.message}"
        raise
    return meta.name(claim)


async def _note(context: Context, pod: Object, note: dict[str, str]) -> None:
    statuses = [{"name": name, "resourceClaimName": claim} for name, claim in note.items()]
    patch = {"metadata": {"uid": meta.uid(pod)}, "status": {"resourceClaimStatuses": statuses}}
    await context.client.patch(
        PODS, meta.name(pod), patch, meta.namespace(pod),
        patch_type=STRATEGIC_MERGE_PATCH, subresource="status",
    )  # fmt: skip


async def _reserve(context: Context, pod: Object, claims: dict[str, Object]) -> None:
    """Reserve claims that have devices for a pod that got its node from somebody else than the scheduler."""
    for name, is_own in claim_names(pod):
        claim = claims.get(name)
        if claim is None or (is_own and not_for_pod(pod, claim)):
            return
        if allocation_of(claim) is not None and not is_reserved_for(claim, pod) and can_be_reserved(claim):
            status = {**claim["status"], "reservedFor": [*consumers_of(claim), consumer(pod)]}
            await context.client.update(RESOURCE_CLAIMS, {**claim, "status": status}, "status")
