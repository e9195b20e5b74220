"""Turn every exception into an answer: an ApiError into its Status, anything else into a 500 that is logged once.

Follows apiserver/pkg/server/filters/wrap.go and endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

import logging

import orjson

from proa.apiserver.filters.chain import InfoHandler
from proa.apiserver.handlers.negotiation import PLAIN, answer, negotiate
from proa.apiserver.registry.notes import NOTES
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response
from proa.objects.errors import ApiError, BadRequest, InternalError, NotAcceptable, ServiceUnavailable
from proa.store.protocol import ReadOnly, Unavailable

_log = logging.getLogger(__name__)


def with_errors(handler: InfoHandler) -> InfoHandler:
    """Answer with a Status where `handler` raises."""

    async def handle(request: Request, info: RequestInfo) -> Response:
        accept = request.headers.get("accept", "")
        try:
            return await handler(request, info)
        except ApiError as error:
            return error_response(error, accept)
        except ReadOnly as error:
            return error_response(ServiceUnavailable(f"the store takes no writes: {error}"), accept)
        except Unavailable as error:
            return error_response(
                ServiceUnavailable(f"the store is out of reach: {error}", retry_after_seconds=1), accept
            )
        except RecursionError:
            return error_response(BadRequest("the object is nested too deeply"), accept)
        except Exception as error:
            _log.exception("%s %s failed", request.method, request.path)
            notes = NOTES.get()
            if notes is not None:
                notes.panic = str(error)
            return error_response(InternalError(f"Internal error occurred: {error}"), accept)

    return handle


def error_response(error: ApiError, accept: str) -> Response:
    """Return the answer that tells of an error, as JSON where it cannot be had as the client wants it."""
    try:
        representation = negotiate(accept, has_shapes=False)
    except NotAcceptable:
        representation = PLAIN
    response = answer(orjson.dumps(error.status()), representation, error.code)
    if retry := error.details.get("retryAfterSeconds"):
        response.headers["Retry-After"] = str(retry)
    return response
