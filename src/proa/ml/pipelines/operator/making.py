"""Choose how a launch is carried out: the kinds of tasks that have no children, as one table."""

from __future__ import annotations

from collections.abc import Callable

from proa.client.protocol import Object
from proa.ml.pipelines.operator.attempt import Attempt
from proa.ml.pipelines.operator.claim_attempt import CreateClaimAttempt, DeleteClaimAttempt
from proa.ml.pipelines.operator.container_attempt import ContainerAttempt
from proa.ml.pipelines.operator.importer_attempt import ImporterAttempt
from proa.ml.pipelines.operator.inbox import Inbox
from proa.ml.pipelines.operator.notes import Notes
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Run, TaskKind

KINDS: dict[TaskKind, type[Attempt]] = {
    TaskKind.CONTAINER: ContainerAttempt,
    TaskKind.IMPORTER: ImporterAttempt,
    TaskKind.CREATE_PVC: CreateClaimAttempt,
    TaskKind.DELETE_PVC: DeleteClaimAttempt,
}


def make_attempt(
    around: Surroundings,
    run: Run,
    owner: Object,
    launch: Launch,
    notes: Notes,
    inbox: Inbox,
    touch: Callable[[], None],
) -> Attempt:
    """Return the attempt that carries a launch out."""
    return KINDS[launch.kind](around, run, owner, launch, notes, inbox, touch)
