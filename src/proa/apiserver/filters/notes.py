"""Give every request a place for warnings (registry/notes.py), and send them with the answer, also with a refusal."""

from __future__ import annotations

from proa.apiserver.filters.chain import InfoHandler
from proa.apiserver.handlers.negotiation import join_warnings
from proa.apiserver.registry.notes import NOTES, Notes
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response


def with_notes(handler: InfoHandler) -> InfoHandler:
    """Add a Warning header for each thing that was said."""

    async def handle(request: Request, info: RequestInfo) -> Response:
        notes = Notes()
        token = NOTES.set(notes)
        try:
            response = await handler(request, info)
        finally:
            NOTES.reset(token)
        if notes.warnings:
            said = join_warnings(notes.warnings)
            had = response.headers.get("Warning")
            response.headers["Warning"] = f"{had}\n{said}" if had else said
        return response

    return handle
