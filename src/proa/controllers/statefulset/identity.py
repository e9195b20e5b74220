"""Say who the pod of an ordinal is: its name, its labels and hostname, and the claims that stay with it.

Follows upstream's pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import STATEFUL_SETS
from proa.reconcile.controller_revisions import POD_HASH_LABEL, template_of
from proa.reconcile.pod_control import pod_from_template

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_MEMBER = re.compile(r"(.*)-(0|[1-9][0-9]{0,9})")


class Member(NamedTuple):
    """What the name of a pod (or the end of a claim's) says: of which set it is, and which ordinal it has."""

    set_name: str
    ordinal: int


def find_member(name: str) -> Member | None:
    """Read `web-3` as ordinal 3 of `web`; None where the name has no ordinal."""
    found = _MEMBER.fullmatch(name)
    return Member(found[1], int(found[2])) if found else None


def is_member(stateful_set: Object, pod: Object) -> bool:
    """Tell whether the pod's name is one that the set gives."""
    member = find_member(meta.name(pod))
    return member is not None and member.set_name == meta.name(stateful_set)


def ordinal_of(pod: Object) -> int:
    """Return the ordinal of a member."""
    member = find_member(meta.name(pod))
    assert member is not None
    return member.ordinal


def ordinals(stateful_set: Object) -> range:
    """Return the ordinals that the set wants."""
    spec = stateful_set["spec"]
    start = int((spec.get("ordinals") or {}).get("start") or 0)
    return range(start, start + replicas_of(stateful_set))


def replicas_of(stateful_set: Object) -> int:
    """Return spec.replicas, by default 1."""
    replicas = stateful_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def revision_name(pod: Object) -> str:
    """Return the name of the revision that the pod was made of."""
    return meta.labels(pod).get(POD_HASH_LABEL, "")


def make_pod(stateful_set: Object, revision: Object, ordinal: int) -> Object:
    """Return the pod of an ordinal, as the revision's template describes it."""
    pod = pod_from_template(template_of(revision), stateful_set, STATEFUL_SETS)
    name = f"{meta.name(stateful_set)}-{ordinal}"
    metadata = {key: value for key, value in pod["metadata"].items() if key != "generateName"}
    own = {**_own_labels(name, ordinal), POD_HASH_LABEL: meta.name(revision)}
    metadata |= {"name": name, "labels": {**(metadata.get("labels") or {}), **own}}
    spec = {**pod["spec"], "hostname": name, "volumes": _volumes(stateful_set, pod, ordinal)}
    if subdomain := stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = subdomain
    if not spec["volumes"]:
        del spec["volumes"]
    return {**pod, "metadata": metadata, "spec": spec}


def corrected(stateful_set: Object, pod: Object, ordinal: int) -> Object:
    """Return the pod with its labels and volumes as they must be; the very same object where they are."""
    if meta.labels(pod).get(POD_NAME_LABEL) != meta.name(pod):
        labels = {**meta.labels(pod), **_own_labels(meta.name(pod), ordinal)}
        pod = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
    names = claim_names(stateful_set, ordinal)
    if names and not names.items() <= _claims_of(pod).items():
        pod = {**pod, "spec": {**pod["spec"], "volumes": _volumes(stateful_set, pod, ordinal)}}
    return pod


def _claims_of(pod: Object) -> dict[str, str]:
    """Return the claims that the pod uses, by volume."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return {one["name"]: (one.get("persistentVolumeClaim") or {}).get("claimName", "") for one in volumes}


def claim_names(stateful_set: Object, ordinal: int) -> Mapping[str, str]:
    """Return the claims of an ordinal by the volume that each of them is."""
    owner = meta.name(stateful_set)
    templates = stateful_set["spec"].get("volumeClaimTemplates") or ()
    return {meta.name(one): f"{meta.name(one)}-{owner}-{ordinal}" for one in templates}


def make_claims(stateful_set: Object, ordinal: int) -> list[Object]:
    """Return the claims of an ordinal, as the templates describe them."""
    names = claim_names(stateful_set, ordinal)
    selected = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
    claims = []
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        metadata = {
            **template["metadata"],
            "name": names[meta.name(template)],
            "namespace": meta.namespace(stateful_set),
            "labels": {**meta.labels(template), **selected},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
        claims.append({**claim, "spec": template.get("spec") or {}})
    return claims


def _own_labels(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}


def _volumes(stateful_set: Object, pod: Object, ordinal: int) -> list[Object]:
    """Return the claims as volumes, which replace those of the template that have their names."""
    names = claim_names(stateful_set, ordinal)
    given = (pod.get("spec") or {}).get("volumes") or ()
    return [
        *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in names.items()),
        *(volume for volume in given if volume["name"] not in names),
    ]
