"""End every request that is not long-running within a minute, or within the `timeout` that it asks for.

Follows apiserver/pkg/endpoints/filters/request_deadline.go and server/filters/timeout.go. One timer serves the requests
that ask for nothing: nearly all of them end before it looks.
"""

from __future__ import annotations

import asyncio

from proa.apiserver.filters.chain import InfoHandler
from proa.apiserver.filters.flow_control import is_long_running
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response
from proa.objects.durations import SECOND, parse_duration
from proa.objects.errors import BadRequest, Timeout

REQUEST_SECONDS = 60.0
SWEEP_SECONDS = 5.0


def with_deadline(handler: InfoHandler) -> InfoHandler:
    """Raise Timeout where `handler` takes too long."""
    under_way = UnderWay()

    async def handle(request: Request, info: RequestInfo) -> Response:
        if is_long_running(info):
            return await handler(request, info)
        seconds = REQUEST_SECONDS
        if request.query and (said := request.parameter("timeout")):
            asked = read_timeout(said)
            if 0 < asked < seconds:
                try:
                    async with asyncio.timeout(asked):
                        return await handler(request, info)
                except TimeoutError:
                    raise _timeout() from None
        task = asyncio.current_task()
        assert task is not None
        begun = under_way.begin(task)
        try:
            return await handler(request, info)
        except asyncio.CancelledError:
            if under_way.has_expired(begun):
                task.uncancel()
                raise _timeout() from None
            raise
        finally:
            under_way.end(begun)

    return handle


class UnderWay:
    """The requests under way, each with its task and when it began; those that take too long are cancelled."""

    def __init__(self) -> None:
        self._count = 0
        self._begun: dict[int, tuple[float, asyncio.Task[object]]] = {}
        self._expired: set[int] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop on which the next sweep is due, None while none is."""

    def begin(self, task: asyncio.Task[object]) -> int:
        """Note a request; return its number."""
        self._count += 1
        loop = task.get_loop()
        self._begun[self._count] = loop.time(), task
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return self._count

    def end(self, number: int) -> None:
        """Forget a request."""
        del self._begun[number]
        self._expired.discard(number)

    def has_expired(self, number: int) -> bool:
        """Tell whether a request was cancelled for taking too long."""
        return number in self._expired

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = None
        oldest = loop.time() - REQUEST_SECONDS
        for number, (began, task) in self._begun.items():
            if began > oldest:
                break
            if number not in self._expired:
                self._expired.add(number)
                task.cancel()
        if self._begun:
            self._loop = loop
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)


def read_timeout(text: str) -> float:
    """Return a Go duration in seconds; raise BadRequest in Go's words."""
    try:
        return parse_duration(text) / SECOND
    except ValueError as error:
        raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None


def _timeout() -> Timeout:
    return Timeout("Timeout: request did not complete within the allotted timeout")
