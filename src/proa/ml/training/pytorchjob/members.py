"""The pods of a PyTorchJob and the headless Services by whose names they find one another.

Pure. Source: pkg/controller.v1/common/pod.go and service.go, pkg/controller.v1/pytorch/initcontainer.go of
kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.client.protocol import Object
from proa.ml.training.kinds import PYTORCH_JOBS
from proa.ml.training.pytorchjob.environment import make_environment, with_environment
from proa.ml.training.pytorchjob.gang import is_gang
from proa.ml.training.pytorchjob.roles import (
    Role,
    has_master,
    main_container,
    member_labels,
    member_name,
    pod_labels,
    ports_of,
    run_policy,
)
from proa.ml.training.pytorchjob.words import MASTER, PORT, PORT_NAME, WORKER
from proa.objects import meta
from proa.objects.pod_groups import LABEL as POD_GROUP_LABEL

WAITING = "init-pytorch"
_WAIT = """trap 'exit 143' TERM
tries=0
until getent hosts "$0" >/dev/null 2>&1 || nslookup "$0" >/dev/null 2>&1; do
  tries=$((tries+1)); [ $tries = 50 ] && echo "waiting for $0 to have an address"
  if [ $tries -lt 50 ]; then sleep 0.1; else sleep 1; fi
done"""
"""Looks ten times a second at first. It ends when the name is known: rendezvous itself waits for the port."""


def make_pod(job: Object, role: Role, index: int) -> Object:
    """Return the pod of one replica."""
    given = role.template.get("metadata") or {}
    labels = {**(given.get("labels") or {}), **pod_labels(job, role, index)}
    if is_gang(job):
        labels[POD_GROUP_LABEL] = meta.name(job)
    metadata: dict[str, Any] = {
        "name": member_name(job, role, index),
        "namespace": meta.namespace(job),
        "labels": labels,
        "ownerReferences": [meta.make_owner_reference(job, PYTORCH_JOBS)],
    }
    for field in ("annotations", "finalizers"):
        if given.get(field):
            metadata[field] = given[field]
    spec = _make_spec(job, role, make_environment(job, role, index))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def make_service(job: Object, role: Role, index: int) -> Object:
    """Return the Service that leads to one replica's pod, ready or not: only together do they become so."""
    labels = member_labels(job, role, index)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": member_name(job, role, index),
            "namespace": meta.namespace(job),
            "labels": labels,
            "ownerReferences": [meta.make_owner_reference(job, PYTORCH_JOBS)],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels,
            "ports": [{"name": name, "port": port} for name, port in ports_of(role).items()],
        },
    }


def _make_spec(job: Object, role: Role, variables: dict[str, str]) -> Object:
    given: Object = role.template.get("spec") or {}
    containers = [with_environment(one, variables) for one in _with_port(role)]
    policy = "Never" if role.restart_policy == "ExitCode" else role.restart_policy
    spec = {**given, "containers": containers, "restartPolicy": policy}
    if role.name == WORKER and has_master(job):
        master = member_name(job, Role(MASTER, 1, "", {}), 0)
        spec["initContainers"] = [*(given.get("initContainers") or ()), _make_waiting(role, master)]
    priority = (run_policy(job).get("schedulingPolicy") or {}).get("priorityClass")
    if priority and not given.get("priorityClassName"):
        spec["priorityClassName"] = priority
    return spec


def _with_port(role: Role) -> Sequence[Object]:
    """Return the containers; the one that trains says that it has the job's port."""
    main = main_container(role.template)
    containers: Sequence[Object] = (role.template.get("spec") or {}).get("containers") or ()
    if any(port.get("name") == PORT_NAME for port in main.get("ports") or ()):
        return containers
    ports = [*(main.get("ports") or ()), {"name": PORT_NAME, "containerPort": PORT}]
    return [{**one, "ports": ports} if one is main else one for one in containers]


def _make_waiting(role: Role, master: str) -> Object:
    """Return the container that waits for the master's address: of the image that is needed anyway.

    It asks for what the training asks for, which costs nothing: a pod needs the most of its init containers and of
    all others together.
    """
    main = main_container(role.template)
    kept = {
        field: main[field] for field in ("image", "imagePullPolicy", "securityContext") if main.get(field)
    }
    resources = {
        kind: amounts
        for kind, amounts in (main.get("resources") or {}).items()
        if kind in ("limits", "requests")
    }
    return {"name": WAITING, **kept, "command": ["sh", "-c", _WAIT, master], "resources": resources}
