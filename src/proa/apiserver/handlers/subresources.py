"""List the handlers of subresources that are not objects of their own, and serve the small one: finalize.

Follows pkg/registry/core/namespace/storage. `scale` (scale.py) is
routed for every kind that has it; `status` is a write like others (write.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.apiserver.handlers.binding import bind_pod
from proa.apiserver.handlers.bodies import read_object
from proa.apiserver.handlers.eviction import evict_pod
from proa.apiserver.handlers.field_managers import tracker
from proa.apiserver.handlers.negotiation import answer, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run
from proa.apiserver.registry.refusals import method_not_allowed
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response

SubresourceHandler = Callable[[Request, ResourceRegistry, str, str], Awaitable[Response]]


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

    representation = negotiate(request.headers.get("accept", ""))
    value = await registry.update(
        "",
        name,
        transform,
        request.user,
        subresource="finalize",
        dry_run=dry_run,
        unconditional=True,
        options=write_options(request, "UpdateOptions"),
        track=tracker(request, registry, "UpdateOptions", "finalize"),
    )
    return answer(value, representation)


HANDLERS: dict[tuple[str, str], SubresourceHandler] = {
    ("pods", "binding"): bind_pod,
    ("pods", "eviction"): evict_pod,
    ("namespaces", "finalize"): finalize_namespace,
}
"""By (plural, subresource); `scale` is generic."""
