"""Serve the scale subresource: how many replicas an object wants and has, whatever its kind (autoscaling/v1 Scale).

Follows pkg/registry/apps/deployment/storage (ScaleREST).
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.apiserver.handlers.bodies import check_auxiliary, read_auxiliary
from proa.apiserver.handlers.field_managers import scale_tracker
from proa.apiserver.handlers.negotiation import answer_object, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run, read_patch
from proa.apiserver.registry.admission import Face
from proa.apiserver.registry.refusals import invalid, method_not_allowed
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import InternalError
from proa.objects.selectors import selector_from_dict
from proa.objects.validation import validate_non_negative


async def serve_scale(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> Response:
    """Answer GET, PUT and PATCH of the scale subresource."""
    representation = negotiate(request.headers.get("accept", ""))
    if request.method in ("GET", "HEAD"):
        obj = orjson.loads(await registry.read(namespace, name))
        return answer_object(make_scale(obj, registry), representation)
    dry_run = is_dry_run(request, "UpdateOptions")
    if request.method not in ("PUT", "PATCH"):
        raise method_not_allowed()
    body = read_auxiliary(request, "Scale") if request.method == "PUT" else {}
    apply = read_patch(request, None) if request.method == "PATCH" else lambda old: body
    spec_path = _paths(registry)[0]

    options = "UpdateOptions" if request.method == "PUT" else "PatchOptions"
    track = scale_tracker(request, registry, options, spec_path)

    def transform(old: Object) -> Object:
        said = check_auxiliary(apply(make_scale(old, registry)), "Scale")
        replicas = (said.get("spec") or {}).get("replicas") or 0
        if causes := validate_non_negative(replicas, "spec.replicas"):
            raise invalid("Scale", "autoscaling", name, causes)
        version = (said.get("metadata") or {}).get("resourceVersion")
        if version:
            old["metadata"]["resourceVersion"] = version
        _set_path(old, spec_path, replicas)
        return old

    value = await registry.update(
        namespace,
        name,
        transform,
        request.user,
        dry_run=dry_run,
        unconditional=True,
        track=track,
        options=write_options(request, "UpdateOptions"),
        face=Face(
            "scale",
            lambda obj: make_scale(obj, registry),
            lambda obj, scale: _set_path(obj, spec_path, (scale.get("spec") or {}).get("replicas") or 0),
        ),
    )
    return answer_object(make_scale(orjson.loads(value), registry), representation)


def make_scale(obj: Object, registry: ResourceRegistry) -> Object:
    """Return an object's autoscaling/v1 Scale."""
    spec_path, status_path, selector_path = _paths(registry)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = _get_path(obj, spec_path)
    selector = _get_path(obj, selector_path) if selector_path else None
    if registry.definition.is_custom and replicas is None:
        raise InternalError(f'Internal error occurred: the spec replicas field "{spec_path}" does not exist')
    status: Object = {"replicas": _get_path(obj, status_path) or 0}
    if isinstance(selector, str):
        if selector:
            status["selector"] = selector
    elif selector:
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
