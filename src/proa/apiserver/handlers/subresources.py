"""Serve the subresources that are not objects of their own: scale, binding, eviction, finalize, token.

Follows pkg/registry/core/pod/storage, pkg/registry/apps/deployment/storage (ScaleREST), pkg/registry/core/namespace
and pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from proa.apiserver.handlers.bodies import check_auxiliary, read_auxiliary, read_object
from proa.apiserver.handlers.negotiation import answer_object, negotiate
from proa.apiserver.handlers.write import is_dry_run, read_patch
from proa.apiserver.registry.deletion import DeleteOptions, read_options
from proa.apiserver.registry.refusals import conflict, invalid, method_not_allowed
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import BadRequest, Cause
from proa.objects.meta import with_condition
from proa.objects.selectors import selector_from_dict

SubresourceHandler = Callable[[Request, ResourceRegistry, str, str], Awaitable[Response]]


async def serve_scale(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer GET, PUT and PATCH of the scale subresource."""
    representation = negotiate(request.headers.get("accept", ""))
    if request.method in ("GET", "HEAD"):
        obj = orjson.loads(registry.get(namespace, name))
        return answer_object(make_scale(obj, registry), representation)
    dry_run = is_dry_run(request, "UpdateOptions")
    if request.method not in ("PUT", "PATCH"):
        raise method_not_allowed()
    body = read_auxiliary(request, "Scale") if request.method == "PUT" else {}
    apply = read_patch(request, None) if request.method == "PATCH" else lambda old: body
    spec_path = _paths(registry)[0]

    def transform(old: Object) -> Object:
        said = check_auxiliary(apply(make_scale(old, registry)), "Scale")
        replicas = (said.get("spec") or {}).get("replicas") or 0
        if replicas < 0:
            raise invalid(
                "Scale",
                "autoscaling",
                name,
                [
                    Cause(
                        "FieldValueInvalid",
                        f"Invalid value: {replicas}: must be greater than or equal to 0",
                        "spec.replicas",
                    )
                ],
            )
        version = (said.get("metadata") or {}).get("resourceVersion")
        if version:
            old["metadata"]["resourceVersion"] = version
        _set_path(old, spec_path, replicas)
        return old

    value = await registry.update(
        namespace, name, transform, request.user, dry_run=dry_run, unconditional=True
    )
    return answer_object(make_scale(orjson.loads(value), registry), representation)


def make_scale(obj: Object, registry: ResourceRegistry) -> Object:
    """Return an object's autoscaling/v1 Scale."""
    spec_path, status_path, selector_path = _paths(registry)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = _get_path(obj, spec_path)
    selector = _get_path(obj, selector_path)
    status: Object = {"replicas": _get_path(obj, status_path) or 0}
    if selector:
        is_label_selector = "matchLabels" in selector or "matchExpressions" in selector
        status["selector"] = str(
            selector_from_dict(selector if is_label_selector else {"matchLabels": selector})
        )
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _paths(registry: ResourceRegistry) -> tuple[str, str, str]:
    paths = registry.definition.scale_paths
    if paths is None:
        raise method_not_allowed()
    return paths


def _get_path(obj: Object, path: str) -> Any:
    found: Any = obj
    for part in path.strip(".").split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _set_path(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


async def bind_pod(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Assign a pod to the node that a Binding names; raise Conflict where it has one."""
    if request.method != "POST":
        raise method_not_allowed()
    dry_run = is_dry_run(request, "CreateOptions")
    binding = read_auxiliary(request, "Binding")
    target = binding.get("target") or {}
    metadata = binding.get("metadata") or {}
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"',
                "target.kind",
            )
        )
    if not target.get("name"):
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    if causes:
        raise invalid("Binding", "", metadata.get("name", name), causes)
    now = registry.now()

    def transform(pod: Object) -> Object:
        meta, spec = pod["metadata"], pod.setdefault("spec", {})
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        if uid and uid != meta["uid"]:
            raise conflict(
                registry.resource,
                name,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}",
            )
        if version and version != meta["resourceVersion"]:
            raise conflict(registry.resource, name)
        if meta.get("deletionTimestamp"):
            raise _binding_conflict(
                registry, name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if spec.get("nodeName"):
            raise _binding_conflict(
                registry, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"'
            )
        if spec.get("schedulingGates"):
            raise _binding_conflict(registry, name, f"pod {name} has non-empty .spec.schedulingGates")
        spec["nodeName"] = target["name"]
        for key in ("annotations", "labels"):
            if metadata.get(key):
                meta[key] = {**(meta.get(key) or {}), **metadata[key]}
        status = pod.setdefault("status", {})
        status["conditions"] = with_condition(
            list(status.get("conditions") or []), "PodScheduled", "True", "", "", now
        )
        status.pop("nominatedNodeName", None)
        return pod

    await registry.update(
        namespace,
        name,
        transform,
        request.user,
        subresource="binding",
        dry_run=dry_run,
        unconditional=True,
    )
    return _success(201)


def _binding_conflict(registry: ResourceRegistry, name: str, why: str) -> Exception:
    error = conflict(registry.resource, name, why)
    error.message = error.message.replace("on pods ", "on pods/binding ", 1)
    error.details["kind"] = "pods/binding"
    return error


async def evict_pod(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Delete a pod as its Eviction says. Disruption budgets are not served yet, so none can refuse."""
    if request.method != "POST":
        raise method_not_allowed()
    eviction = read_auxiliary(request, "Eviction")
    registry.get(namespace, name)
    said = (eviction.get("metadata") or {}).get("name")
    if said and said != name:
        raise BadRequest(
            f"name in URL does not match name in Eviction object: name={name!r}, eviction={said!r}"
        )
    options: DeleteOptions = read_options(eviction.get("deleteOptions") or {}, request.query)
    await registry.delete(namespace, name, options, request.user)
    return _success(201)


def _success(code: int) -> Response:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
    return answer_object(status, status=code)


async def finalize_namespace(
    request: Request, registry: ResourceRegistry, namespace: str, name: str
) -> Response:
    """Set a namespace's spec.finalizers; when the last goes from one that is being deleted, it is gone."""
    if request.method != "PUT":
        raise method_not_allowed()
    dry_run = is_dry_run(request, "UpdateOptions")
    checked = read_object(request, registry.definition).obj
    finalizers = (checked.get("spec") or {}).get("finalizers") or []
    version = (checked.get("metadata") or {}).get("resourceVersion")

    def transform(old: Object) -> Object:
        old["spec"] = {"finalizers": finalizers} if finalizers else {}
        if version:
            old["metadata"]["resourceVersion"] = version
        return old

    value = await registry.update(
        "", name, transform, request.user, subresource="finalize", dry_run=dry_run, unconditional=True
    )
    return answer_object(orjson.loads(value), negotiate(request.headers.get("accept", "")))


HANDLERS: dict[tuple[str, str], SubresourceHandler] = {
    ("pods", "binding"): bind_pod,
    ("pods", "eviction"): evict_pod,
    ("namespaces", "finalize"): finalize_namespace,
}
"""By (plural, subresource); `scale` is generic."""
