"""See by its Deployment and pods whether a revision is ready, was, or cannot be. Pure.

Ready is a revision that had its first pods ready once, and does not fail now; scaled to zero it stays so. Source:
Knative Serving's pkg/apis/serving/v1/revision_lifecycle.go and pkg/reconciler/revision/reconcile_resources.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import REVISION_LABEL
from proa.ml.serving.operator.conditions import FALSE, TRUE, UNKNOWN
from proa.ml.serving.operator.pod_trouble import RUNTIME_UNHEALTHY, Trouble, find_trouble
from proa.ml.serving.revisions.names import READY_ANNOTATION, number_of
from proa.ml.serving.scaling.annotations import initial_replicas, read_scaling
from proa.objects import meta
from proa.objects.pods import is_ready

DEPLOYING = "Deploying"


class RevisionState(NamedTuple):
    """A revision as it is now; `status` is that of a condition."""

    name: str
    deployment: Object
    pods: Sequence[Object]
    status: str
    reason: str = ""
    message: str = ""
    trouble: Trouble | None = None
    is_first_ready: bool = False
    """It was never ready before, and nobody has noted yet that it is."""

    @property
    def number(self) -> int:
        """Return its number."""
        return number_of(self.name)


def see_revisions(deployments: Iterable[Object], pods: Iterable[Object]) -> list[RevisionState]:
    """Return the state of each revision that has a Deployment, the oldest first."""
    by_revision: dict[str, list[Object]] = {}
    for pod in pods:
        if not meta.is_deleting(pod):
            by_revision.setdefault(meta.labels(pod).get(REVISION_LABEL, ""), []).append(pod)
    states = [
        see_revision(deployment, by_revision.get(revision, []))
        for deployment in deployments
        if (revision := meta.labels(deployment).get(REVISION_LABEL)) and not meta.is_deleting(deployment)
    ]
    return sorted(states, key=lambda state: state.number)


def see_revision(deployment: Object, pods: Sequence[Object]) -> RevisionState:
    """Return the state of one revision; `pods` are its own."""
    name = meta.labels(deployment)[REVISION_LABEL]
    ready = sum(1 for pod in pods if is_ready(pod))
    wanted = deployment["spec"].get("replicas", 1)
    was_ready = READY_ANNOTATION in meta.annotations(deployment)
    becomes_ready = not was_ready and ready >= initial_replicas(read_scaling(deployment))
    trouble = find_trouble(deployment, pods) if wanted > 0 and ready == 0 else None
    if trouble is None and not was_ready and not becomes_ready and wanted == 0:
        trouble = Trouble(RUNTIME_UNHEALTHY, "ProgressDeadlineExceeded", "Initial scale was never achieved")
    if trouble is not None:
        words = trouble.message
        if trouble.reason.startswith("ExitCode"):
            words = f"Container failed with: {words}"
        return RevisionState(name, deployment, pods, FALSE, trouble.reason, words, trouble)
    if was_ready or becomes_ready:
        return RevisionState(name, deployment, pods, TRUE, is_first_ready=becomes_ready)
    return RevisionState(name, deployment, pods, UNKNOWN, DEPLOYING)
