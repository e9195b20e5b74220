"""Where in a run its pods are described, and whether those could be the primary ones.

A pod template is any dict with `spec.containers`, one of which has the primary container's name: so kinds that nobody
here knows are found too. Which labels its pods will have is known in part: those in the template, and what operators
add by role. What is not known is for the collector to find out in its pod (`unknown`).

Source of the roles: pkg/controller.v1 of kubeflow/training-operator (JobRoleLabel, ReplicaTypeLabel), JobSet's labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.objects.quick_dataclass import dataclass

MAX_DEPTH = 12
JOB_ROLE_LABEL = "training.kubeflow.org/job-role"
REPLICA_TYPE_LABEL = "training.kubeflow.org/replica-type"
REPLICATED_JOB_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
MASTER_ROLES = ("Master", "Chief", "Launcher")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A pod template at a path of the run, what is known of its pods' labels, and which they will not have."""

    path: Path
    template: Mapping[str, Any]
    labels: Mapping[str, str]
    absent: frozenset[str]

    def is_excluded(self, primary: Mapping[str, str]) -> bool:
        """Tell whether no pod of this template can have these labels."""
        return any(
            key in self.absent or (key in self.labels and self.labels[key] != value)
            for key, value in primary.items()
        )

    def unknown(self, primary: Mapping[str, str]) -> dict[str, str]:
        """Return those of the primary labels of which only the pod itself can tell whether it has them."""
        return {key: value for key, value in primary.items() if key not in self.labels}


def find_places(run: Mapping[str, Any], container: str) -> list[Place]:
    """Return the pod templates of a run that have the container."""
    return list(_search(run, container, (), {}, frozenset()))


def find_container(template: Mapping[str, Any], name: str) -> int | None:
    """Return the index of a container in a pod template."""
    containers = template["spec"].get("containers")
    for index, container in enumerate(containers if isinstance(containers, list) else ()):
        if isinstance(container, dict) and container.get("name") == name:
            return index
    return None


def get(value: Any, path: Path) -> Any:
    """Return what is at a path that is known to be there."""
    for step in path:
        value = value[step]
    return value


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return a copy with something else at the path; all that is beside the path is shared with the old."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    copy: Any = list(value) if isinstance(value, list) else dict(value)
    copy[step] = replaced(value[step], rest, new)
    return copy


def as_field(path: Path) -> str:
    """Return a path as a field of an Experiment."""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"spec.trialTemplate.trialSpec{words}"


def _search(
    value: Any, container: str, path: Path, labels: Mapping[str, str], absent: frozenset[str]
) -> Iterator[Place]:
    if len(path) > MAX_DEPTH:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _search(item, container, (*path, index), {**labels, **_of_job(path, item)}, absent)
        return
    if not isinstance(value, dict):
        return
    if isinstance(value.get("spec"), dict) and find_container(value, container) is not None:
        own = (value.get("metadata") or {}).get("labels") or {}
        known = {**{k: v for k, v in own.items() if isinstance(v, str)}, **labels}
        yield Place(path, value, known, absent)
        return
    for key, item in value.items():
        of_role, never = _of_role(path, key, value)
        yield from _search(item, container, (*path, key), {**labels, **of_role}, absent | never)


def _of_role(path: Path, role: str, roles: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """Return what the training operator adds to pods of a role (`pytorchReplicaSpecs.Worker`), and what it does not.

    Where no role is a master by its name, one of the workers is, or none: the pod will know.
    """
    if not path or not str(path[-1]).endswith("ReplicaSpecs"):
        return {}, frozenset()
    labels = {REPLICA_TYPE_LABEL: role.lower()}
    if role in MASTER_ROLES:
        return {**labels, JOB_ROLE_LABEL: "master"}, frozenset()
    return labels, frozenset({JOB_ROLE_LABEL}) if any(r in roles for r in MASTER_ROLES) else frozenset()


def _of_job(path: Path, job: Any) -> dict[str, str]:
    """Return what JobSet adds to pods of one of its replicated jobs."""
    if path and path[-1] == "replicatedJobs" and isinstance(job, dict) and isinstance(job.get("name"), str):
        return {REPLICATED_JOB_LABEL: job["name"]}
    return {}
