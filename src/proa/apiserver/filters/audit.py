"""Note each request in the audit log, at the level and stages that the policy says: endpoints/filters/audit.go.

Sits between authentication, so that there is a user to judge by, and impersonation, so that it sees both. Who could not
be authenticated is noted by `with_failed_authentication`: endpoints/filters/authn_audit.go.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from proa.apiserver.audit.events import Seen, Visit
from proa.apiserver.audit.log import AuditLog
from proa.apiserver.audit.policy import COMPLETE, METADATA, PANIC, RECEIVED, STARTED, AuditPolicy
from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.filters.flow_control import is_long_running
from proa.apiserver.registry.notes import NOTES
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import ApiError, Unauthorized

_NOBODY = User("")


def with_audit(policy: AuditPolicy, log: AuditLog, now: Callable[[], float] = time.time) -> Filter:
    """Note the stages of each request in `log`."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            user = request.user
            assert user is not None
            wanted = policy.wanted(user, info)
            if wanted is None:
                return await handler(request, info)
            if log.is_full:
                await log.room()
            audit_id, stages = request.headers.get("audit-id", ""), wanted.stages
            visit = Visit(wanted, request, info, audit_id, user, now())
            if RECEIVED in stages:
                log.add(Seen(visit, RECEIVED, visit.received))
            notes = NOTES.get()
            if notes is not None:
                notes.is_audited = True
                notes.audits_bodies = wanted.level != METADATA
                visit.annotations = notes.audit_annotations

            def note(stage: str, code: int, body: bytes = b"", message: str = "") -> None:
                if stage in stages:
                    acting_as = None if request.user is user else request.user
                    log.add(Seen(visit, stage, now(), acting_as, code, body, message))

            try:
                response = await handler(request, info)
            except ApiError as error:
                note(COMPLETE, error.code, orjson.dumps(error.status()))
                raise
            except Exception as error:
                note(PANIC, 500, message=f"APIServer panic'd: {error}")
                raise
            if notes is not None and notes.panic:
                note(PANIC, 500, message=f"APIServer panic'd: {notes.panic}")
            elif response.stream is not None or response.upgrade is not None:
                _follow(response, info, note)
            else:
                body = response.body if wanted.level != METADATA or response.status >= 400 else b""
                note(COMPLETE, response.status, body if isinstance(body, bytes) else b"".join(body))
            return response

        return handle

    return wrap


def _follow(response: Response, info: RequestInfo, note: Callable[[str, int], None]) -> None:
    """Note that a long answer begins, and later that it has ended."""
    status = 101 if response.upgrade is not None else response.status
    if is_long_running(info):
        note(STARTED, status)
    if response.stream is not None:
        response.stream = _noted_stream(response.stream, lambda: note(COMPLETE, status))
    elif response.upgrade is not None:
        response.upgrade = _noted_upgrade(response.upgrade, lambda: note(COMPLETE, status))


async def _noted_stream(stream: AsyncIterator[bytes], ended: Callable[[], None]) -> AsyncIterator[bytes]:
    try:
        async for chunk in stream:
            yield chunk
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
        ended()


def _noted_upgrade(
    upgrade: Callable[[Any], Awaitable[None]], ended: Callable[[], None]
) -> Callable[[Any], Awaitable[None]]:
    async def run(connection: Any) -> None:
        try:
            await upgrade(connection)
        finally:
            ended()

    return run


def with_failed_authentication(
    policy: AuditPolicy, log: AuditLog, now: Callable[[], float] = time.time
) -> Filter:
    """Note who could not be authenticated."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            try:
                return await handler(request, info)
            except Unauthorized as error:
                wanted = policy.wanted(_NOBODY, info)
                if request.user is None and wanted is not None and STARTED in wanted.stages:
                    moment, audit_id = now(), request.headers.get("audit-id", "")
                    visit = Visit(wanted, request, info, audit_id, None, moment)
                    why = "Authentication failed, attempted: bearer"
                    body = orjson.dumps(error.status())
                    log.add(Seen(visit, STARTED, moment, None, error.code, body, why))
                raise

        return handle

    return wrap
