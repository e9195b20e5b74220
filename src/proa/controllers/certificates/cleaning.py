"""Delete certificate signing requests that have been answered for an hour, or lain unanswered for a day.

Watches certificate signing requests and deletes them. Follows pkg/controller/certificates/cleaner/cleaner.go.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import NotFound
from proa.objects.meta import parse_time, uid
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "csrcleaner"
ACCOUNT = "certificate-controller"
WATCHES = (Watch(CERTIFICATE_SIGNING_REQUESTS),)
ANSWERED_SECONDS = 3600.0
PENDING_SECONDS = 24 * 3600.0


def due(request: Object) -> float:
    """Return when (epoch seconds) the request is to be deleted, as it is now."""
    status = request.get("status") or {}
    due = parse_time(request["metadata"]["creationTimestamp"]) + PENDING_SECONDS
    for condition in status.get("conditions") or ():
        kind, said = condition.get("type"), condition.get("lastUpdateTime")
        is_answer = kind in ("Denied", "Failed") or (kind == "Approved" and status.get("certificate"))
        if is_answer and said:
            due = min(due, parse_time(said) + ANSWERED_SECONDS)
    return due


async def reconcile(context: Context, key: Key) -> Result:
    """Delete the request `key.name` when it is due."""
    request = context.caches(CERTIFICATE_SIGNING_REQUESTS).get(key.name)
    if request is None:
        return DONE
    left = due(request) - context.now()
    if left > 0:
        return Result(requeue_after=left)
    try:
        await context.client.delete(CERTIFICATE_SIGNING_REQUESTS, key.name, uid=uid(request))
    except NotFound:
        return DONE
    return DONE
