"""Ask whether the user may do what was asked, before anything is done: endpoints/filters/authorization.go."""

from __future__ import annotations

from proa.apiserver.authorization.decision import Authorizer
from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.registry.notes import NOTES
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import Forbidden
from proa.objects.validation import quote


def with_authorization(authorizer: Authorizer) -> Filter:
    """Raise Forbidden, in upstream's words, where the authorizer does not allow."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            assert request.user is not None
            preparation = authorizer.preparation(request.user, info)
            if preparation is not None:
                await preparation
            decision = authorizer.authorize(request.user, info)
            notes = NOTES.get()
            if notes is not None and notes.is_audited:
                said = notes.audit_annotations
                said["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
                said["authorization.k8s.io/reason"] = decision.reason
            if not decision.allowed:
                raise refusal(request.user, info, decision.reason)
            return await handler(request, info)

        return handle

    return wrap


def check_also(authorizer: Authorizer, request: Request, needed: RequestInfo) -> None:
    """Raise Forbidden unless the user may do this too: a request may turn out to do more than it said.

    A request without a user comes from the server itself.
    """
    if request.user is None:
        return
    decision = authorizer.authorize(request.user, needed)
    if not decision.allowed:
        raise refusal(request.user, needed, decision.reason)


def refusal(user: User, info: RequestInfo, reason: str) -> Forbidden:
    """Return the error in upstream's words (responsewriters/errors.go)."""
    why = f": {reason}" if reason else ""
    if not info.is_resource:
        said = _sanitized(f"User {quote(user.name)} cannot {info.verb} path {quote(info.path)}")
        return Forbidden(f"forbidden: {said}{why}")
    what = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    subject = f"{info.plural}.{info.group}" if info.group else info.plural
    name = info.name or info.selected_name
    named = f'{subject} "{name}"' if name else subject
    where = f"in the namespace {quote(info.namespace)}" if info.namespace else "at the cluster scope"
    said = _sanitized(
        f"User {quote(user.name)} cannot {info.verb} resource {quote(what)} in API group {quote(info.group)} {where}"
    )
    return Forbidden(
        f"{named} is forbidden: {said}{why}",
        name=name,
        group=info.group,
        kind=info.plural,
    )


def _sanitized(text: str) -> str:
    """What a client has sent is shown to others: nothing that looks like valid HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
