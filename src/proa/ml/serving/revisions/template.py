"""Make a component's pod template: what was merged, with its model's files, probes, our server's flags or the agent.

Pure. `fingerprint` tells of what a revision is made; what is injected here may change with a version of Proa, which
makes no new revision. Source: KServe's pkg/webhook/admission/pod and …/reconcilers/deployment/deployment_reconciler.go
(setDefaultPodSpec); Knative Serving's pkg/reconciler/revision/resources/deploy.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    GRPC_PORT,
    HTTP_PORT,
    MAIN_CONTAINER,
    MODELS_FOLDER,
    TRANSFORMER_CONTAINER,
)
from proa.ml.serving.revisions.agent_container import (
    AgentNeeds,
    add_agent,
    component_port,
    find_component_container,
    speaks_only_grpc,
)
from proa.ml.serving.revisions.conversions import add_conversions
from proa.ml.serving.revisions.merging import Merged
from proa.ml.serving.revisions.model_files import Access, ModelFiles
from proa.ml.serving.revisions.payload_arguments import (
    POD_NAME_VARIABLE,
    Identity,
    make_batcher_arguments,
    make_logger_arguments,
)
from proa.ml.serving.revisions.sources import STORAGE_VARIABLE, Sources
from proa.objects import meta

SERVER_MODULE = "proa.ml.serving.server"
HASH_LENGTH = 16
GRACE_SECONDS = 30
_PROBED = (MAIN_CONTAINER, TRANSFORMER_CONTAINER)


class TemplateSettings(NamedTuple):
    """What of the installation a pod depends on. `image` has Python and Proa."""

    image: str
    agent_resources: Mapping[str, Any] = {}
    log_url: str = ""
    """Where payloads go of a logger that names no URL."""


class PodFiles(NamedTuple):
    """A model's files, and the volume for what our server makes of them; neither where there is no model to fetch."""

    model: ModelFiles = ModelFiles()
    conversions: Object | None = None
    log_access: Access = Access()
    """What lets the payload logger write to its store."""


class PodPorts(NamedTuple):
    """Where a pod is asked: HTTP/1.1, and HTTP/2 without TLS; 0 for none of that."""

    http: int
    grpc: int


def fingerprint(isvc: Object, component: str, merged: Merged, sources: Sources) -> str:
    """Return a short hash of all that makes a revision of the component."""
    spec = isvc["spec"][component]
    made_of = [
        merged.labels,
        merged.annotations,
        merged.spec,
        [list(pair) for pair in sources.uris],
        sources.storage,
        {key: spec[key] for key in ("logger", "batcher", "timeout", "containerConcurrency") if key in spec},
    ]
    encoded = orjson.dumps(made_of, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(encoded).hexdigest()[:HASH_LENGTH]


def make_template(
    isvc: Object,
    component: str,
    merged: Merged,
    files: PodFiles,
    settings: TemplateSettings,
    *,
    labels: Mapping[str, str],
    has_revisions: bool,
) -> Object:
    """Return the pod template of a component; `labels` are those of its revision, or Deployment.

    With `has_revisions` each pod tells its load, by our server or else by the agent.
    """
    model = files.model
    spec = {**merged.spec, "containers": [_with_files(one, model) for one in merged.spec["containers"]]}
    if model.containers:
        spec["containers"] = [*(_of_many(one) for one in spec["containers"]), *model.containers]
    if model.init_containers:
        spec["initContainers"] = [*model.init_containers, *(spec.get("initContainers") or ())]
    if model.volumes:
        spec["volumes"] = [*(spec.get("volumes") or ()), *model.volumes]
    spec["containers"] = [_with_defaults(container) for container in spec["containers"]]
    said = isvc["spec"][component]
    spec.setdefault("terminationGracePeriodSeconds", max(GRACE_SECONDS, said.get("timeout") or 0))
    spec.setdefault("automountServiceAccountToken", False)
    spec.setdefault("enableServiceLinks", False)
    target = find_component_container(spec["containers"])
    if files.conversions is not None and is_our_server(target):
        spec = add_conversions(spec, target, files.conversions)
    if files.log_access.volumes:
        known = {volume["name"] for volume in spec.get("volumes") or ()}
        more = [volume for volume in files.log_access.volumes if volume["name"] not in known]
        spec["volumes"] = [*(spec.get("volumes") or ()), *more]
    spec = _add_data_plane(isvc, component, spec, settings, files.log_access, has_revisions)
    metadata: Object = {"labels": {**merged.labels, **labels}}
    if merged.annotations:
        metadata["annotations"] = dict(merged.annotations)
    return {"metadata": metadata, "spec": spec}


def pod_ports(pod_spec: Object) -> PodPorts:
    """Return where pods of such a spec are asked: the agent's port where there is one."""
    containers = pod_spec["containers"]
    agent = next((one for one in containers if one.get("name") == "agent"), None)
    target = agent or find_component_container(containers)
    if agent is None and speaks_only_grpc(target):
        return PodPorts(0, component_port(target))
    return PodPorts(component_port(target), GRPC_PORT if agent is None and is_our_server(target) else 0)


def is_our_server(container: Object) -> bool:
    """Tell whether a container runs the model server of Proa: it counts, limits, logs and batches by itself."""
    return SERVER_MODULE in [*(container.get("command") or ()), *(container.get("args") or ())]


def _add_data_plane(
    isvc: Object,
    component: str,
    spec: Object,
    settings: TemplateSettings,
    access: Access,
    has_revisions: bool,
) -> Object:
    said = isvc["spec"][component]
    identity = Identity(meta.name(isvc), meta.namespace(isvc), component)
    target = find_component_container(spec["containers"])
    needs = AgentNeeds(
        settings.image,
        identity,
        concurrency=said.get("containerConcurrency") or 0,
        timeout_seconds=said.get("timeout") or 0,
        logger=said.get("logger"),
        batcher=said.get("batcher"),
        annotations=meta.annotations(isvc),
        default_log_url=settings.log_url,
        resources=settings.agent_resources,
        env=access.env,
        mounts=access.mounts,
    )
    if is_our_server(target):
        changed = _tell_server(target, needs)
        others = [changed if one is target else one for one in spec["containers"]]
        return {**spec, "containers": others}
    wants_agent = has_revisions or needs.logger is not None or needs.batcher is not None
    return add_agent(spec, needs) if wants_agent and not speaks_only_grpc(target) else spec


def _tell_server(container: Object, needs: AgentNeeds) -> Object:
    """Return our server's container with the flags for what the agent would do elsewhere."""
    flags: list[str] = []
    if needs.concurrency:
        flags += ["--container-concurrency", str(needs.concurrency)]
    if needs.timeout_seconds:
        flags += ["--timeout", str(needs.timeout_seconds)]
    if needs.batcher is not None:
        flags += make_batcher_arguments(needs.batcher)
    if needs.logger is None:
        return {**container, "args": [*(container.get("args") or ()), *flags]} if flags else container
    flags += make_logger_arguments(needs.logger, needs.identity, needs.annotations, needs.default_log_url)
    given = {POD_NAME_VARIABLE["name"], *(one["name"] for one in needs.env)}
    others = [one for one in container.get("env") or () if one["name"] not in given]
    changed: Object = {
        **container,
        "args": [*(container.get("args") or ()), *flags],
        "env": [POD_NAME_VARIABLE, *needs.env, *others],
    }
    if needs.mounts:
        changed["volumeMounts"] = [*(container.get("volumeMounts") or ()), *needs.mounts]
    return changed


def _of_many(container: Object) -> Object:
    """Return our server's container as one of many models: each folder is one."""
    if not is_our_server(container) or "--repository" in (container.get("args") or ()):
        return container
    return {**container, "args": [*(container.get("args") or ()), "--repository"]}


def _with_files(container: Object, files: ModelFiles) -> Object:
    """Return a container that sees the model's files, if it is one of those that do."""
    if container.get("name") not in _PROBED or not files.mounts:
        return container
    paths = {mount["mountPath"] for mount in container.get("volumeMounts") or ()}
    more = [mount for mount in files.mounts if mount["mountPath"] not in paths]
    env = [
        {**entry, "value": MODELS_FOLDER}
        if entry.get("name") == STORAGE_VARIABLE and entry.get("value")
        else entry
        for entry in container.get("env") or ()
    ]
    changed = {**container, "volumeMounts": [*(container.get("volumeMounts") or ()), *more]}
    return {**changed, "env": env} if env else changed


def _with_defaults(container: Object) -> Object:
    """Return a container whose last words are kept, with the probe that KServe gives those that answer requests."""
    changed = {"terminationMessagePolicy": "FallbackToLogsOnError", **container}
    if container.get("name") in _PROBED and "readinessProbe" not in container:
        port = (container.get("ports") or [{}])[0].get("containerPort") or HTTP_PORT
        how: Object = {"tcpSocket": {"port": port}}
        if is_our_server(container):  # it listens before its models are loaded
            how = {"httpGet": {"path": "/v2/health/ready", "port": port}}
        changed["readinessProbe"] = {
            **how,
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
    return changed
