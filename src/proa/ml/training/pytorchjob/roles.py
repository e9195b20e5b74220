"""What a PyTorchJob asks for, read with upstream's defaults: its roles, their pods' names, labels and port.

Pure. Where upstream's definition is in place of ours it sets no defaults, so they are applied here as well. Source:
pkg/apis/kubeflow.org/v1/pytorch_defaults.go, pkg/controller.v1/pytorch/envvar.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.ml.training.pytorchjob.words import (
    CONTAINER,
    JOB_NAME_LABEL,
    JOB_ROLE_LABEL,
    MANAGER,
    MASTER,
    OPERATOR,
    OPERATOR_NAME_LABEL,
    PORT,
    PORT_NAME,
    REPLICA_INDEX_LABEL,
    REPLICA_TYPE_LABEL,
    WORKER,
)
from proa.objects import meta


class Role(NamedTuple):
    """One of a job's roles. `restart_policy` is the job's word: ExitCode is none of a pod's."""

    name: str
    replicas: int
    restart_policy: str
    template: Object

    @property
    def lower_name(self) -> str:
        """Return the name as labels and names have it."""
        return self.name.lower()


def roles_of(job: Object) -> list[Role]:
    """Return a job's roles, the master first."""
    specs = job["spec"].get("pytorchReplicaSpecs") or {}
    return [_role(name, specs[name]) for name in (MASTER, WORKER) if specs.get(name) is not None]


def _role(name: str, spec: Object) -> Role:
    replicas = spec.get("replicas")
    return Role(
        name,
        1 if replicas is None else replicas,
        spec.get("restartPolicy") or "OnFailure",
        spec.get("template") or {},
    )


def run_policy(job: Object) -> dict[str, Any]:
    """Return spec.runPolicy."""
    return job["spec"].get("runPolicy") or {}


def is_ours(job: Object) -> bool:
    """Tell whether the job is to be reconciled here."""
    return (run_policy(job).get("managedBy") or MANAGER) == MANAGER


def is_suspended(job: Object) -> bool:
    """Tell whether the job is to have no pods for now."""
    return bool(run_policy(job).get("suspend"))


def elastic_policy(job: Object) -> dict[str, Any] | None:
    """Return spec.elasticPolicy with its bounds: each is the other, or the number of workers, if not said."""
    policy = job["spec"].get("elasticPolicy")
    if policy is None:
        return None
    workers = next((role.replicas for role in roles_of(job) if role.name == WORKER), 1)
    least, most = policy.get("minReplicas"), policy.get("maxReplicas")
    return {**policy, "minReplicas": least or most or workers, "maxReplicas": most or least or workers}


def processes_per_node(job: Object) -> str:
    """Return PET_NPROC_PER_NODE: a number, auto, cpu or gpu."""
    of_elastic = (job["spec"].get("elasticPolicy") or {}).get("nProcPerNode")
    said = job["spec"].get("nprocPerNode") or of_elastic
    return str(said) if said else "auto"


def has_master(job: Object) -> bool:
    """Tell whether the job has a Master."""
    return any(role.name == MASTER for role in roles_of(job))


def member_name(job: Object, role: Role, index: int) -> str:
    """Return what a pod, and the Service that leads to it, are called."""
    return f"{meta.name(job)}-{role.lower_name}-{index}"


def job_labels(job: Object) -> dict[str, str]:
    """Return the labels that all pods and Services of a job have."""
    return {OPERATOR_NAME_LABEL: OPERATOR, JOB_NAME_LABEL: meta.name(job)}


def role_labels(job: Object, role: Role) -> dict[str, str]:
    """Return the labels of all pods and Services of a role."""
    return {**job_labels(job), REPLICA_TYPE_LABEL: role.lower_name}


def member_labels(job: Object, role: Role, index: int) -> dict[str, str]:
    """Return the labels of a Service, by which it finds its pod."""
    return {**role_labels(job, role), REPLICA_INDEX_LABEL: str(index)}


def pod_labels(job: Object, role: Role, index: int) -> dict[str, str]:
    """Return the labels of a pod: the first of them all is the job's master, whatever its role."""
    leads = role.name == MASTER if has_master(job) else index == 0
    return {**member_labels(job, role, index), **({JOB_ROLE_LABEL: "master"} if leads else {})}


def index_of(member: Object) -> int | None:
    """Return which of its role's replicas a pod or Service is; None where it does not say."""
    text = meta.labels(member).get(REPLICA_INDEX_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() else None


def main_container(template: Object) -> Object:
    """Return the container that trains: the one called pytorch, or the first."""
    containers: list[Object] = (template.get("spec") or {}).get("containers") or [{}]
    return next((one for one in containers if one.get("name") == CONTAINER), containers[0])


def ports_of(role: Role) -> dict[str, int]:
    """Return the named ports of the container that trains, by name; the job's own is among them."""
    said = main_container(role.template).get("ports") or ()
    named = {
        port["name"]: port["containerPort"] for port in said if port.get("name") and "containerPort" in port
    }
    return named if PORT_NAME in named else {**named, PORT_NAME: PORT}
