"""Ask whether the user may do what was asked. For now every authenticated user may do everything.

`Authorizer` is the seam for RBAC (docs/compatibility.md says what that means until then).
"""

from __future__ import annotations

from collections.abc import Callable

from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import Forbidden

Authorizer = Callable[[User, RequestInfo], str]
"""Returns "" to allow, else the reason for refusing."""


def allow_all(user: User, info: RequestInfo) -> str:
    """Allow everything."""
    return ""


def with_authorization(authorize: Authorizer) -> Filter:
    """Raise Forbidden, in upstream's words, where `authorize` refuses."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            assert request.user is not None
            reason = authorize(request.user, info)
            if reason:
                raise refusal(request.user, info, reason)
            return await handler(request, info)

        return handle

    return wrap


def refusal(user: User, info: RequestInfo, reason: str) -> Forbidden:
    """Return the error in upstream's words."""
    if not info.is_resource:
        return Forbidden(f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}": {reason}')
    what = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    subject = f"{info.plural}.{info.group}" if info.group else info.plural
    named = f'{subject} "{info.name}"' if info.name else subject
    where = f' in the namespace "{info.namespace}"' if info.namespace else " at the cluster scope"
    return Forbidden(
        f'{named} is forbidden: User "{user.name}" cannot {info.verb} resource "{what}" in API group '
        f'"{info.group}"{where}: {reason}',
        name=info.name,
        group=info.group,
        kind=info.plural,
    )
