"""Put the agent before a container that is not our model server: limits, load, logger, batcher, readiness, drain.

A revision's Service then leads to the agent's port. The agent asks the container by its own readiness probe whether
it is ready, ever again until it is, so that a pod is ready as soon as its container; and the container is not told to
end before the agent has seen off what is in hand. Not for gRPC (a port called h2c, or 8081): the agent speaks HTTP/1.1.
Source: KServe's pkg/webhook/admission/pod/agent_injector.go; Knative's pkg/reconciler/revision/resources/queue.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.ml.serving.kinds import (
    AGENT_CONTAINER,
    AGENT_PORT,
    HTTP_PORT,
    LOAD_PORT,
    MAIN_CONTAINER,
    TRANSFORMER_CONTAINER,
)
from proa.ml.serving.revisions.payload_arguments import (
    POD_NAME_VARIABLE,
    Identity,
    make_batcher_arguments,
    make_logger_arguments,
)

Object = dict[str, Any]
PROBE_HEADER = {"name": "K-Network-Probe", "value": "queue"}
_ASKED_BY_AGENT = ("httpGet", "tcpSocket")


class AgentNeeds(NamedTuple):
    """What the agent of one component is to do. `timeout_seconds` and `concurrency` 0: none."""

    image: str
    identity: Identity
    concurrency: int = 0
    timeout_seconds: int = 0
    logger: Mapping[str, Any] | None = None
    batcher: Mapping[str, Any] | None = None
    annotations: Mapping[str, str] = {}
    """The InferenceService's."""
    default_log_url: str = ""
    pull_policy: str = "IfNotPresent"
    resources: Mapping[str, Any] = {}
    env: Sequence[Object] = ()
    mounts: Sequence[Object] = ()
    """Of the logger, to write to its store."""


def find_component_container(containers: Sequence[Object]) -> Object:
    """Return the container that answers requests: a transformer beside its predictor, else the main one."""
    by_name = {container.get("name"): container for container in containers}
    return by_name.get(TRANSFORMER_CONTAINER) or by_name.get(MAIN_CONTAINER) or containers[0]


def component_port(container: Object) -> int:
    """Return the port that a container answers HTTP on."""
    ports = container.get("ports") or [{}]
    return int(ports[0].get("containerPort") or HTTP_PORT)


def speaks_only_grpc(container: Object) -> bool:
    """Tell whether a container's first port is one for HTTP/2 without TLS, as Knative names it."""
    ports = container.get("ports") or [{}]
    return str(ports[0].get("name") or "").startswith("h2c")


def add_agent(pod_spec: Object, needs: AgentNeeds) -> Object:
    """Return the pod spec with the agent before its component's container."""
    containers = pod_spec["containers"]
    target = find_component_container(containers)
    agent = make_agent(target, needs)
    others = [_behind_agent(one) if one is target else one for one in containers]
    return {**pod_spec, "containers": [*others, agent]}


def make_agent(container: Object, needs: AgentNeeds) -> Object:
    """Return the agent's container for the one that it stands before."""
    arguments = ["--component-port", str(component_port(container))]
    if needs.concurrency:
        arguments += ["--container-concurrency", str(needs.concurrency)]
    if needs.timeout_seconds:
        arguments += ["--timeout", str(needs.timeout_seconds)]
    if needs.batcher is not None:
        arguments += make_batcher_arguments(needs.batcher)
    if needs.logger is not None:
        arguments += make_logger_arguments(
            needs.logger, needs.identity, needs.annotations, needs.default_log_url
        )
    environment: list[Object] = [POD_NAME_VARIABLE, *needs.env]
    probe = _agents_probe(container)
    if probe is not None:
        environment.append({"name": "SERVING_READINESS_PROBE", "value": json.dumps(probe)})
    made: Object = {
        "name": AGENT_CONTAINER,
        "image": needs.image,
        "imagePullPolicy": needs.pull_policy,
        "command": ["python", "-m", "proa.ml.serving.agent"],
        "args": arguments,
        "env": environment,
        "ports": [
            {"name": "agent-port", "containerPort": AGENT_PORT, "protocol": "TCP"},
            {"name": "load", "containerPort": LOAD_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/", "port": AGENT_PORT, "httpHeaders": [PROBE_HEADER]},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }
    if needs.mounts:
        made["volumeMounts"] = [*needs.mounts]
    if needs.resources:
        made["resources"] = dict(needs.resources)
    if container.get("securityContext"):
        made["securityContext"] = container["securityContext"]
    return made


def _agents_probe(container: Object) -> Object | None:
    probe: Object | None = container.get("readinessProbe")
    return probe if probe and any(kind in probe for kind in _ASKED_BY_AGENT) else None


def _behind_agent(container: Object) -> Object:
    """Return the container without the probe that the agent asks by, and ending only after what is in hand."""
    changed = dict(container)
    if _agents_probe(container) is not None:
        del changed["readinessProbe"]
    lifecycle = container.get("lifecycle") or {}
    if "preStop" not in lifecycle:
        wait = {"httpGet": {"path": "/wait-for-drain", "port": LOAD_PORT}}
        changed["lifecycle"] = {**lifecycle, "preStop": wait}
    return changed
