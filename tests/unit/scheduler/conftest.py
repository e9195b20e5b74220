"""Builders of nodes and pods for the scheduler's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proa.client.protocol import Object


def make_node(
    name: str,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: Any = None,
    images: Any = (),
    **spec: Any,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}, "images": list(images)},
    }


def make_pod(
    name: str,
    cpu: str = "",
    memory: str = "",
    ports: Any = (),
    labels: Any = None,
    namespace: str = "default",
    **spec: Any,
) -> Object:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "main", "image": "example.com/app:1", "resources": {"requests": requests}}
    container["ports"] = [{"containerPort": port, "hostPort": port} for port in ports]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": dict(labels or {}),
        },
        "spec": {"containers": [container], "schedulerName": "default-scheduler", **spec},
        "status": {"phase": "Pending"},
    }


@pytest.fixture
def node() -> Callable[..., Object]:
    return make_node


@pytest.fixture
def pod() -> Callable[..., Object]:
    return make_pod
