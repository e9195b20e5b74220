"""The environment by which a framework's processes find one another: torch, jax and xgboost; none needs none.

Pure. Follows pkg/runtime/framework/plugins/torch, jax and xgboost of kubeflow/trainer. Where upstream sets it only for
TrainJobs that have a `trainer`, here every TrainJob of such a runtime has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proa.client.protocol import Object
from proa.ml.training.trainjob.torchtune import is_torchtune
from proa.ml.training.trainjob.words import NODE, PORT, TRAINER, find_container, steps
from proa.objects import meta
from proa.objects.quantity import to_units

_RANK = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
RESERVED: Mapping[str, frozenset[str]] = {
    "torch": frozenset(
        {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
    ),
    "xgboost": frozenset({"DMLC_TRACKER_URI", "DMLC_TRACKER_PORT", "DMLC_TASK_ID", "DMLC_NUM_WORKER"}),
}
"""What a framework's users may not set themselves."""


def find_framework(runtime: Object) -> str:
    """Return which policy a runtime has: torch, jax, xgboost, or "" for none."""
    policy = runtime["spec"].get("mlPolicy") or {}
    return next((key for key in ("torch", "jax", "xgboost") if policy.get(key) is not None), "")


def make_environment(trainjob: Object, runtime: Object, spec: Object, nodes: int) -> list[Object]:
    """Return the environment of the trainer's container for `nodes` nodes; `spec` is the JobSet's."""
    leader = f"{meta.name(trainjob)}-{NODE}-0-0.{meta.name(trainjob)}"
    resources = _resources_of_node(spec)
    framework = find_framework(runtime)
    if framework == "torch":
        return [
            _variable("PET_NNODES", nodes),
            _variable("PET_NPROC_PER_NODE", count_processes(trainjob, spec)),
            {"name": "PET_NODE_RANK", "valueFrom": _RANK},
            *(() if is_torchtune(trainjob) else _leader_of(leader)),
        ]
    if framework == "jax":
        return [
            _variable("JAX_NUM_PROCESSES", nodes),
            {"name": "JAX_PROCESS_ID", "valueFrom": _RANK},
            _variable("JAX_COORDINATOR_ADDRESS", f"{leader}:{PORT}"),
        ]
    if framework == "xgboost":
        return [
            _variable("DMLC_TRACKER_URI", leader),
            _variable("DMLC_TRACKER_PORT", PORT),
            {"name": "DMLC_TASK_ID", "valueFrom": _RANK},
            _variable("DMLC_NUM_WORKER", nodes * max(1, _gpus(resources))),
        ]
    return []


def count_devices(trainjob: Object, spec: Object) -> str:
    """Return `count_processes`, but "1" where the one process is the only GPU's."""
    processes = count_processes(trainjob, spec)
    return "1" if processes == "auto" and _gpus(_resources_of_node(spec)) == 1 else processes


def with_environment(container: Object, *variables: Iterable[Object]) -> Object:
    """Return the container with variables set; the later of two of one name counts."""
    entries = {entry["name"]: entry for entry in container.get("env") or ()}
    for more in variables:
        entries.update({entry["name"]: entry for entry in more})
    return {**container, "env": list(entries.values())} if entries else container


def with_port(container: Object) -> Object:
    """Return the container with the port by which nodes find one another."""
    ports: Sequence[Object] = container.get("ports") or ()
    if any(port.get("containerPort") == PORT for port in ports):
        return container
    return {**container, "ports": [*ports, {"containerPort": PORT, "protocol": "TCP"}]}


def _leader_of(leader: str) -> list[Object]:
    return [_variable("PET_MASTER_ADDR", leader), _variable("PET_MASTER_PORT", PORT)]


def _variable(name: str, value: object) -> Object:
    return {"name": name, "value": str(value)}


def _resources_of_node(spec: Object) -> Object:
    for replicated in steps(spec, TRAINER):
        if (container := find_container(replicated, NODE)) is not None:
            return container.get("resources") or {}
    return {}


def count_processes(trainjob: Object, spec: Object) -> str:
    """Return how many processes a node has: a number, or "auto" for as many as there are GPUs."""
    resources = _resources_of_node(spec)
    asked = (trainjob["spec"].get("trainer") or {}).get("numProcPerNode")
    if asked is not None:
        return str(asked)
    if _gpus(resources):
        return "auto"
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    return str(max(1, to_units(requests.get("cpu") or limits.get("cpu") or 0)))


def _gpus(resources: Object) -> int:
    for key in ("requests", "limits"):
        for name, amount in (resources.get(key) or {}).items():
            if "gpu" in name.lower() and to_units(amount):
                return to_units(amount)
    return 0
