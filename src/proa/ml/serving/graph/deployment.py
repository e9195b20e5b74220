"""Make the Deployment of a graph's router, and what scales it where that is what its pods use. Pure.

There is one Deployment a graph; in default mode it is a revision that goes on from change to change, rolled so that
requests always find a pod. Source: KServe's pkg/controller/v1alpha1/inferencegraph/{knative_reconciler,raw_ig}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proa.client.protocol import Object
from proa.ml.serving.graph.router import HEADERS_VARIABLE, READY_PATH
from proa.ml.serving.kinds import GRAPH_LABEL, HTTP_PORT, LOAD_PORT, ROUTING_STATE
from proa.ml.serving.operator.configuration import resources_of
from proa.ml.serving.revisions.autoscalers import make_autoscaler
from proa.ml.serving.revisions.names import (
    deployment_name,
    revision_labels,
    revision_name,
    revision_selector,
)
from proa.ml.serving.scaling.annotations import (
    CLASS,
    HPA,
    initial_replicas,
    read_scaling,
    scaling_annotations,
)
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS

KIND_LABEL = "serving.kserve.io/kind"
ROUTER_FIELDS = ("nodes", "routerTimeouts")
"""Of a graph's spec: what the router is told. A change of anything else starts no other pods."""
GRACE_SECONDS = 30
_POD_FIELDS = ("affinity", "tolerations", "nodeSelector", "nodeName", "serviceAccountName")
_NOT_PASSED_ON = ("kubectl.kubernetes.io/last-applied-configuration",)


def revision_of(graph: Object) -> str:
    """Return the name of the graph's one revision."""
    return revision_name(meta.name(graph), 1)


def selector_of(graph: Object, *, has_revisions: bool) -> dict[str, str]:
    """Return what selects the router's pods."""
    return revision_selector(revision_of(graph)) if has_revisions else {"app": f"isvc.{meta.name(graph)}"}


def make_deployment(
    graph: Object, spec: Object, config: Mapping[str, Any], image: str, *, has_revisions: bool
) -> Object:
    """Return the Deployment of the router; `spec` is the graph's with URLs, `config` the section `router`."""
    name = meta.name(graph)
    selector = selector_of(graph, has_revisions=has_revisions)
    labels = {**meta.labels(graph), GRAPH_LABEL: name, KIND_LABEL: "InferenceGraph", **selector}
    annotations: dict[str, str] = {}
    if has_revisions:
        labels |= {**revision_labels(name, 1), ROUTING_STATE: "active"}
        annotations = scaling_annotations(graph["spec"], meta.annotations(graph))
    made: Object = {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {
            "name": deployment_name(revision_of(graph)) if has_revisions else name,
            "labels": labels,
            "annotations": annotations,
        },
    }
    pods = {key: value for key, value in meta.annotations(graph).items() if key not in _NOT_PASSED_ON}
    made["spec"] = {
        "replicas": initial_replicas(read_scaling(made)) if has_revisions else _least(graph),
        "selector": {"matchLabels": selector},
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": labels, "annotations": pods},
            "spec": _make_pod(graph, spec, config, image),
        },
    }
    return made


def make_graph_autoscaler(graph: Object, deployment: Object, *, has_revisions: bool) -> Object | None:
    """Return the HPA of a router that is scaled by what its pods use, None where it is not."""
    spec = graph["spec"]
    is_fixed = meta.annotations(graph).get("serving.kserve.io/autoscalerClass") in {"none", "external"}
    by_use = spec.get("scaleMetric") in {None, "cpu", "memory"} and (spec.get("maxReplicas") or 0) > _least(
        graph
    )
    if has_revisions:
        by_use = meta.annotations(deployment).get(CLASS) == HPA
    if is_fixed or not by_use:
        return None
    made = make_autoscaler(meta.name(graph), meta.name(deployment), spec)
    return {**made, "metadata": {**made["metadata"], "labels": {GRAPH_LABEL: meta.name(graph)}}}


def _least(graph: Object) -> int:
    least = graph["spec"].get("minReplicas")
    return max(1, 1 if least is None else int(least))


def _make_pod(graph: Object, spec: Object, config: Mapping[str, Any], image: str) -> Object:
    told = {field: spec[field] for field in ROUTER_FIELDS if field in spec}
    container: Object = {
        "name": meta.name(graph),
        "image": config.get("image") or image,
        "imagePullPolicy": config.get("imagePullPolicy") or "IfNotPresent",
        "args": ["--graph-json", orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()],
        "ports": [
            {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "load", "containerPort": LOAD_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": READY_PATH, "port": HTTP_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 2,
        },
        "securityContext": {
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if config.get("image"):
        container["securityContext"]["runAsNonRoot"] = True
    else:
        container["command"] = ["python", "-m", "proa.ml.serving.graph.router"]
    if resources := graph["spec"].get("resources") or resources_of(config):
        container["resources"] = resources
    if patterns := (config.get("headers") or {}).get("propagate"):
        container["env"] = [{"name": HEADERS_VARIABLE, "value": ",".join(patterns)}]
    pod: Object = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": max(GRACE_SECONDS, graph["spec"].get("timeout") or 0),
    }
    pod |= {field: graph["spec"][field] for field in _POD_FIELDS if graph["spec"].get(field)}
    if secrets := config.get("imagePullSecrets"):
        pod["imagePullSecrets"] = [{"name": name} for name in secrets]
    return pod
