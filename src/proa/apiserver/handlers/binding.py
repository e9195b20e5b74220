"""Serve the binding subresource of pods: assign a pod, once, to the node that a Binding names.

Follows pkg/registry/core/pod/storage/storage.go (BindingREST).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.apiserver.handlers.bodies import read_auxiliary
from proa.apiserver.handlers.negotiation import answer_success, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run
from proa.apiserver.registry.refusals import conflict, invalid, method_not_allowed, uid_conflict
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response, User
from proa.objects.errors import Cause, Conflict
from proa.objects.meta import is_deleting, with_condition
from proa.objects.resource import PODS
from proa.objects.validation import not_supported, required


async def bind_pod(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer POST pods/{name}/binding; raise Conflict where the pod cannot be assigned, Invalid."""
    if request.method != "POST":
        raise method_not_allowed()
    representation = negotiate(request.headers.get("accept", ""))
    dry_run = is_dry_run(request, "CreateOptions")
    binding = read_auxiliary(request, "Binding")
    options = write_options(request, "CreateOptions")
    await registry.admit_other(
        "CREATE", namespace, name, "binding", binding, request.user, dry_run=dry_run, options=options
    )
    await assign(registry, namespace, name, binding, request.user, dry_run=dry_run)
    return answer_success(201, representation)


async def assign(
    registry: ResourceRegistry,
    namespace: str,
    name: str,
    binding: Object,
    user: User | None,
    *,
    dry_run: bool = False,
) -> None:
    """Assign a pod as an admitted Binding says; raise Conflict, Invalid, NotFound. `registry` is the pods'."""
    metadata, target = binding.get("metadata") or {}, binding.get("target") or {}
    if causes := _validate_target(target):
        raise invalid("Binding", "", metadata.get("name", name), causes)

    def transform(pod: Object) -> Object:
        _check_preconditions(pod, name, metadata)
        _check_assignable(pod, name)
        _assign(pod, target["name"], metadata, registry.now())
        return pod

    await registry.update(
        namespace,
        name,
        transform,
        user,
        subresource="binding",
        dry_run=dry_run,
        unconditional=True,
        is_admitted=True,
    )


def _validate_target(target: Mapping[str, Any]) -> list[Cause]:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(required("target.name"))
    return causes


def _check_preconditions(pod: Object, name: str, metadata: Mapping[str, Any]) -> None:
    """Raise Conflict where the Binding means another pod, or an older one."""
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != pod["metadata"]["uid"]:
        raise uid_conflict(PODS, name, uid, pod["metadata"]["uid"])
    if version and version != pod["metadata"]["resourceVersion"]:
        raise conflict(PODS, name)


def _check_assignable(pod: Object, name: str) -> None:
    """Raise Conflict where the pod has a node, waits for its gates, or goes."""
    spec = pod.get("spec") or {}
    if is_deleting(pod):
        raise _refusal(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _refusal(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _refusal(name, f"pod {name} has non-empty .spec.schedulingGates")


def _assign(pod: Object, node: str, metadata: Mapping[str, Any], now: float) -> None:
    """Set the node, PodScheduled, and the labels and annotations that the Binding brings."""
    pod.setdefault("spec", {})["nodeName"] = node
    for key in ("annotations", "labels"):
        if metadata.get(key):
            pod["metadata"][key] = {**(pod["metadata"].get(key) or {}), **metadata[key]}
    status = pod.setdefault("status", {})
    conditions = list(status.get("conditions") or [])
    status["conditions"] = with_condition(conditions, "PodScheduled", "True", "", "", now)
    status.pop("nominatedNodeName", None)


def _refusal(name: str, why: str) -> Conflict:
    """Upstream names the subresource in these, and only in these."""
    error = conflict(PODS, name, why)
    error.message = error.message.replace("on pods ", "on pods/binding ", 1)
    error.details["kind"] = "pods/binding"
    return error
