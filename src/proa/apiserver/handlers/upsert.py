"""Change what is there or create what is not, whoever else writes in between: PUT of some kinds, and apply.

Follows Update in apiserver/pkg/registry/generic/registry/store.go, and withAuthorization in handlers/update.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.apiserver.filters.authorization import check_also
from proa.apiserver.registry.refusals import conflict
from proa.apiserver.registry.registry import UPDATE_ATTEMPTS, ResourceRegistry
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request
from proa.objects.errors import AlreadyExists, NotFound

Write = Callable[[], Awaitable[bytes]]


async def update_or_create(
    request: Request, registry: ResourceRegistry, namespace: str, name: str, update: Write, create: Write
) -> tuple[bytes, bool]:
    """Return what is stored by one of both, and whether it is new; raise Forbidden where the user may not create."""
    for _ in range(UPDATE_ATTEMPTS):
        if registry.has(namespace, name):
            try:
                return await update(), False
            except NotFound:
                if registry.has(namespace, name):
                    raise  # something else that the write needs is not there
                continue
        _check_creation(request, registry, namespace, name)
        try:
            return await create(), True
        except AlreadyExists:
            continue
    raise conflict(registry.resource, name)


def _check_creation(request: Request, registry: ResourceRegistry, namespace: str, name: str) -> None:
    """Raise Forbidden where who may update or patch may not create."""
    resource = registry.resource
    place = (resource.group, resource.version, namespace, resource.plural, name)
    check_also(registry.authorizer, request, RequestInfo(True, "create", request.path, *place))
