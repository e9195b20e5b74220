"""How the pods of a PyTorchJob are: by role and index, counted, and which have failed for good or for now.

Pure. Source: pkg/core/pod.go and status.go, pkg/controller.v1/common/pod.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.pytorchjob.roles import Role, index_of, role_labels
from proa.ml.training.pytorchjob.words import CONTAINER, REPLICA_TYPE_LABEL
from proa.objects import meta, pods
from proa.objects.pods import phase

UNKNOWN_EXIT = 255
"""Of a container that never said how it ended: its pod was evicted, or its node is gone. That is worth another try."""
RETRYABLE_EXIT = 128


class Members(NamedTuple):
    """The pods, or Services, of one role: by index, and those beyond it."""

    by_index: Mapping[int, Object]
    surplus: Sequence[Object]


class Counts(NamedTuple):
    """The pods of one role. `failed` has those that are being stopped while they run."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0


def members_of(role: Role, found: Iterable[Object]) -> Members:
    """Sort what belongs to a role."""
    by_index: dict[int, Object] = {}
    surplus: list[Object] = []
    for one in found:
        if meta.labels(one).get(REPLICA_TYPE_LABEL) != role.lower_name:
            continue
        index = index_of(one)
        if index is None or index >= role.replicas or index in by_index:
            surplus.append(one)
        else:
            by_index[index] = one
    return Members(by_index, surplus)


def count(found: Iterable[Object]) -> Counts:
    """Count pods."""
    active = succeeded = failed = 0
    for pod in found:
        match phase(pod):
            case "Running":
                active += not meta.is_deleting(pod)
                failed += meta.is_deleting(pod)
            case "Succeeded":
                succeeded += 1
            case "Failed":
                failed += 1
    return Counts(active, succeeded, failed)


def make_status(job: Object, role: Role, counts: Counts) -> Object:
    """Return the entry of status.replicaStatuses; what is 0 is left out, as upstream does."""
    selector = ",".join(f"{key}={value}" for key, value in sorted(role_labels(job, role).items()))
    return {**{name: n for name, n in counts._asdict().items() if n}, "selector": selector}


def is_retried(role: Role, pod: Object) -> bool:
    """Tell whether a pod that has failed is to be replaced."""
    if role.restart_policy == "ExitCode":
        return exit_code(pod) >= RETRYABLE_EXIT
    return role.restart_policy in ("OnFailure", "Always")


def exit_code(pod: Object) -> int:
    """Return what the container that trains ended with."""
    for status in pods.container_statuses(pod):
        ended = (status.get("state") or {}).get("terminated")
        if status.get("name") == CONTAINER and ended is not None:
            return int(ended.get("exitCode", UNKNOWN_EXIT))
    return UNKNOWN_EXIT


def container_restarts(role: Role, found: Iterable[Object]) -> int:
    """Return how often the containers of running pods were restarted, where the role restarts them."""
    if role.restart_policy == "Never":
        return 0
    return sum(
        status.get("restartCount", 0)
        for pod in found
        if phase(pod) == "Running"
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in (pod.get("status") or {}).get(kind) or ()
    )
