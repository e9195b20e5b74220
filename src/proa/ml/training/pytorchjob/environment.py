"""What a PyTorchJob's containers find in their environment, by which they find one another.

Pure. MASTER_ADDR and its kin are torch.distributed's, PET_* torchrun's. Source: pkg/controller.v1/pytorch/envvar.go,
master.go and elastic.go of kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.training.pytorchjob.roles import (
    Role,
    elastic_policy,
    member_name,
    ports_of,
    processes_per_node,
    roles_of,
)
from proa.ml.training.pytorchjob.words import MASTER, PORT_NAME, WORKER


def make_environment(job: Object, role: Role, index: int) -> dict[str, str]:
    """Return the variables of one pod's containers."""
    roles = roles_of(job)
    total = sum(one.replicas for one in roles)
    master = next((one for one in roles if one.name == MASTER), None)
    found = {"PYTHONUNBUFFERED": "1"}
    if master is not None:
        found |= _of_the_master(job, master)
        rank = str(index + 1 if role.name == WORKER else index)
        found |= {"WORLD_SIZE": str(total * _count(processes_per_node(job))), "RANK": rank}
        found["PET_NODE_RANK"] = rank
    found["PET_NPROC_PER_NODE"] = processes_per_node(job)
    elastic = elastic_policy(job)
    if elastic is None:
        return {**found, "PET_NNODES": str(total)}
    return found | _of_the_elastic(job, elastic, next(one for one in roles if one.name == WORKER))


def with_environment(container: Object, variables: dict[str, str]) -> Object:
    """Return the container with these variables: they count, whatever it says of them itself."""
    own = [entry for entry in container.get("env") or () if entry.get("name") not in variables]
    return {
        **container,
        "env": [*own, *({"name": name, "value": value} for name, value in variables.items())],
    }


def _of_the_master(job: Object, master: Role) -> dict[str, str]:
    port, address = str(ports_of(master)[PORT_NAME]), member_name(job, master, 0)
    return {
        "MASTER_PORT": port,
        "PET_MASTER_PORT": port,
        "MASTER_ADDR": address,
        "PET_MASTER_ADDR": address,
    }


def _of_the_elastic(job: Object, elastic: Object, workers: Role) -> dict[str, str]:
    host = elastic.get("rdzvHost") or member_name(job, workers, 0)
    port = elastic.get("rdzvPort") or ports_of(workers)[PORT_NAME]
    found = {
        "PET_RDZV_ENDPOINT": f"{host}:{port}",
        "PET_RDZV_BACKEND": elastic.get("rdzvBackend") or "c10d",
        "PET_NNODES": f"{elastic['minReplicas']}:{elastic['maxReplicas']}",
    }
    if elastic.get("maxRestarts") is not None:
        found["PET_MAX_RESTARTS"] = str(elastic["maxRestarts"])
    if elastic.get("rdzvId") is not None:
        found["PET_RDZV_ID"] = elastic["rdzvId"]
    if elastic.get("rdzvConf"):
        pairs = (f"{one.get('key', '')}={one.get('value', '')}" for one in elastic["rdzvConf"])
        found["PET_RDZV_CONF"] = ",".join(pairs)
    if elastic.get("standalone"):
        found["PET_STANDALONE"] = ""
    return found


def _count(processes: str) -> int:
    return int(processes) if processes.isascii() and processes.isdigit() else 1
