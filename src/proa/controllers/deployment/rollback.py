"""Carry out what the annotation deprecated.deployment.rollback.to asks for: go back to a revision's template.

It is how extensions/v1beta1's rollback subresource was kept in apps/v1; `kubectl rollout undo` patches the
template instead. Follows upstream's pkg/controller/deployment/rollback.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.deployment import history
from proa.controllers.deployment.history import ROLLBACK_TO
from proa.objects import meta


class Rollback(NamedTuple):
    """The Deployment as it is to be written, without the annotation, and the event that tells of it."""

    deployment: Object
    event: tuple[str, str, str]


def plan_rollback(deployment: Object, replica_sets: Sequence[Object]) -> Rollback | None:
    """Return what to write where a rollback is asked for; revision 0 is the one before the last."""
    asked = meta.annotations(deployment).get(ROLLBACK_TO, "")
    if not re.fullmatch(r"[+-]?[0-9]+", asked):
        return None
    revision = int(asked) or _last_but_one(replica_sets)
    if revision == 0:
        return _give_up(deployment, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
    target = next((rs for rs in replica_sets if history.revision_of(rs) == revision), None)
    if target is None:
        message = "Unable to find the revision to rollback to."
        return _give_up(deployment, "DeploymentRollbackRevisionNotFound", message)
    name = meta.name(deployment)
    if history.find_new(deployment, [target]) is not None:
        message = f'The rollback revision contains the same template as current deployment "{name}"'
        return _give_up(deployment, "DeploymentRollbackTemplateUnchanged", message)
    message = f'Rolled back deployment "{name}" to revision {revision}'
    return Rollback(_rolled_back(deployment, target), ("Normal", "DeploymentRollback", message))


def _last_but_one(replica_sets: Iterable[Object]) -> int:
    revisions = sorted((history.revision_of(rs) for rs in replica_sets), reverse=True)
    return revisions[1] if len(revisions) > 1 else 0


def _give_up(deployment: Object, reason: str, message: str) -> Rollback:
    annotations = {k: v for k, v in meta.annotations(deployment).items() if k != ROLLBACK_TO}
    return Rollback(_with_annotations(deployment, annotations), ("Warning", reason, message))


def _rolled_back(deployment: Object, target: Object) -> Object:
    """Take over the template, and the annotations of then but for those that are about revisions."""
    own = {k: v for k, v in meta.annotations(deployment).items() if k in history.NOT_COPIED}
    own.pop(ROLLBACK_TO, None)
    template = history.without_hash(target["spec"]["template"])
    changed = _with_annotations(deployment, {**own, **history.copied_annotations(target)})
    return {**changed, "spec": {**deployment["spec"], "template": template}}


def _with_annotations(deployment: Object, annotations: dict[str, str]) -> Object:
    return {**deployment, "metadata": {**deployment["metadata"], "annotations": annotations}}
