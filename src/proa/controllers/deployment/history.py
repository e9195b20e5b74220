"""Tell a Deployment's ReplicaSets apart: which is the new one, and which revision each of them is.

The new ReplicaSet is the one whose pod template equals the Deployment's (so that undoing a change finds the
old one again); revisions count up in annotations. Follows upstream's pkg/controller/deployment/util/
deployment_util.go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
MAX_HISTORY_CHARACTERS = 2000
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    ROLLBACK_TO,
}
UNLIMITED = 2**31 - 1


def by_age(replica_sets: Iterable[Object]) -> list[Object]:
    """Return the ReplicaSets, the oldest first, and by name where they are of one age."""
    return sorted(replica_sets, key=lambda rs: (rs["metadata"].get("creationTimestamp", ""), meta.name(rs)))


def find_new(deployment: Object, replica_sets: Iterable[Object]) -> Object | None:
    """Return the (oldest) ReplicaSet that has the Deployment's own pod template."""
    wanted = _comparable(deployment["spec"]["template"])
    matching = (rs for rs in by_age(replica_sets) if _comparable(rs["spec"]["template"]) == wanted)
    return next(matching, None)


def revision_of(obj: Object) -> int:
    """Return the revision that the annotation tells, 0 where there is none."""
    text = meta.annotations(obj).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def next_revision(old: Iterable[Object]) -> int:
    """Return the revision of a ReplicaSet that is newer than all of `old`."""
    return max((revision_of(rs) for rs in old), default=0) + 1


def template_hash(deployment: Object) -> str:
    """Return what tells this template from others in names and labels; collisionCount varies it."""
    template = _comparable(deployment["spec"]["template"])
    collisions = (deployment.get("status") or {}).get("collisionCount") or 0
    text = json.dumps([template, collisions], sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    alphabet = meta.SUFFIX_ALPHABET
    digits = []
    for _ in range(10):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(digits)


def make_replica_set(deployment: Object, replicas: int, max_replicas: int, revision: int) -> Object:
    """Return the ReplicaSet for the Deployment's present template, with `replicas` to begin with."""
    spec, digest = deployment["spec"], template_hash(deployment)
    template = dict(spec["template"])
    template_metadata = dict(template.get("metadata") or {})
    template_metadata["labels"] = {**(template_metadata.get("labels") or {}), HASH_LABEL: digest}
    selector = dict(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    noted = {
        **copied_annotations(deployment),
        **replica_annotations(_replicas(deployment), max_replicas),
        REVISION: str(revision),
    }
    body: dict[str, Any] = {
        "replicas": replicas,
        "selector": selector,
        "template": {**template, "metadata": template_metadata},
    }
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name(deployment)}-{digest}",
            "namespace": meta.namespace(deployment),
            "labels": template_metadata["labels"],
            "annotations": noted,
            "ownerReferences": [meta.make_owner_reference(deployment, DEPLOYMENTS)],
        },
        "spec": body,
    }


def replica_annotations(desired: int, max_replicas: int) -> dict[str, str]:
    """Return the annotations by which a later scaling keeps the ReplicaSets' proportions."""
    return {DESIRED_REPLICAS: str(desired), MAX_REPLICAS: str(max_replicas)}


def with_revision(deployment: Object, new: Object, revision: int) -> Object:
    """Return the new ReplicaSet brought up to date: the Deployment's annotations, the revision, its history.

    The very same object comes back when nothing changes. A revision is only ever raised; the one that an
    old ReplicaSet had before it became the new one again goes to its history.
    """
    before = meta.annotations(new)
    after = {**before, **copied_annotations(deployment)}
    if revision_of(new) < revision:
        after[REVISION] = str(revision)
        if before.get(REVISION):
            after[REVISION_HISTORY] = _with_past(before.get(REVISION_HISTORY, ""), before[REVISION])
    min_ready_seconds = deployment["spec"].get("minReadySeconds", 0)
    if after == before and new["spec"].get("minReadySeconds", 0) == min_ready_seconds:
        return new
    return {
        **new,
        "metadata": {**new["metadata"], "annotations": after},
        "spec": {**new["spec"], "minReadySeconds": min_ready_seconds},
    }


def plan_cleanup(deployment: Object, old: Sequence[Object]) -> tuple[Object, ...]:
    """Return the old ReplicaSets beyond revisionHistoryLimit that are empty, lowest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit == UNLIMITED:
        return ()
    alive = [rs for rs in old if not meta.is_deleting(rs)]
    surplus = max(0, len(alive) - limit)
    return tuple(rs for rs in sorted(alive, key=revision_of)[:surplus] if _is_settled_empty(rs))


def _is_settled_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    observed = status.get("observedGeneration", 0) >= meta.generation(replica_set)
    return observed and not status.get("replicas") and not _replicas(replica_set)


def _with_past(history: str, revision: str) -> str:
    """Return the history with one more revision, the oldest dropped while it is too long."""
    entries = [*history.split(","), revision] if history else [revision]
    while len(entries) > 1 and len(",".join(entries)) > MAX_HISTORY_CHARACTERS:
        entries.pop(0)
    return ",".join(entries)


def copied_annotations(obj: Object) -> dict[str, str]:
    """Return the annotations that a Deployment and its ReplicaSets share."""
    given = meta.annotations(obj)
    return {key: value for key, value in given.items() if key not in NOT_COPIED}


def without_hash(template: Object) -> Object:
    """Return the template without the label that tells ReplicaSets apart."""
    metadata = template.get("metadata") or {}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _comparable(template: Object) -> Object:
    """Return the template without its hash label and without fields set to null."""
    template = without_hash(template)
    kept = {key: value for key, value in template["metadata"].items() if value}
    without_nulls: Object = _without_nulls({**template, "metadata": kept})
    return without_nulls


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _replicas(obj: Object) -> int:
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)
