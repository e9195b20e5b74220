"""Let an ASGI application answer exchanges: limits, load, metrics and the end in order are the server's.

The application is started and stopped by ASGI's lifespan, where it has one. Source: asgi.readthedocs.io, HTTP 2.3.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.exchange import Exchange, Header, run_for
from proa.ml.serving.server.inference import refuse

if TYPE_CHECKING:
    from proa.ml.serving.server.repository import Served

App = Callable[..., Awaitable[None]]
Event = dict[str, Any]

LIFESPAN_SECONDS = 300.0
_NOT_PASSED_ON = (b"connection", b"transfer-encoding", b"date", b"server")
_VERSION = {"version": "3.0", "spec_version": "2.3"}

logger = logging.getLogger(__name__)


class Lifespan:
    """Starts an application, keeps what it shares with requests, and stops it."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: asyncio.Queue[Event | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application has started, or has no lifespan; raise RuntimeError where it fails."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        await self._ask("startup")

    async def stop(self) -> None:
        """Return when the application has stopped."""
        if self._task is not None and not self._task.done():
            try:
                await self._ask("shutdown")
            except RuntimeError as error:
                logger.error("%s", error)
            self._task.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, step: str) -> None:
        await self._events.put({"type": f"lifespan.{step}"})
        async with asyncio.timeout(LIFESPAN_SECONDS):
            answer = await self._answers.get()
        if answer is not None and answer["type"] == f"lifespan.{step}.failed":
            raise RuntimeError(f"the application's {step} has failed: {answer.get('message', '')}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSION, "state": self.state}
        try:
            await self._app(scope, self._events.get, self._answers.put)
        except Exception as error:  # as the specification has it: such an application has no lifespan
            logger.debug("the application has no lifespan: %s", error)
        finally:
            self._answers.put_nowait(None)


def answer_by_application(served: Served, exchange: Exchange) -> None:
    """Have the application answer."""
    task = asyncio.get_running_loop().create_task(_answer(served, exchange), name="application")
    run_for(exchange, task)


async def _answer(served: Served, exchange: Exchange) -> None:
    assert served.lifespan is not None
    call = _Call(exchange)
    began = time.perf_counter()
    model: Any = served.model
    try:
        await model.app(make_scope(exchange, served.lifespan.state), call.receive, call.send)
        if not exchange.is_done and not exchange.is_gone:
            raise RuntimeError("the application has not answered all of it")
    except ConnectionError:
        return  # the client has gone
    except Exception as error:
        if exchange.has_begun:
            logger.error("the application has failed within its answer", exc_info=error)
            exchange.abort()
        else:
            refuse(exchange, error)
    finally:
        served.measures.predict(time.perf_counter() - began)


def make_scope(exchange: Exchange, state: dict[str, Any]) -> dict[str, Any]:
    """Return what ASGI tells an application of a request."""
    path, _, query = exchange.url.partition(b"?")
    return {
        "type": "http",
        "asgi": _VERSION,
        "http_version": "1.0" if exchange.is_old else "1.1",
        "method": exchange.method.decode("ascii"),
        "scheme": "http",
        "path": exchange.path,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": exchange.headers,
        "client": None,
        "server": None,
        "state": state.copy(),
    }


class _Call:
    """One request's way into an application and out of it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_read = False
        self._start: Event | None = None

    async def receive(self) -> Event:
        """Give the whole body; then wait for the client to go, or the answer to be out."""
        exchange = self._exchange
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": exchange.body, "more_body": False}
        if not exchange.is_done and not exchange.is_gone:
            ended = asyncio.get_running_loop().create_future()
            before = exchange.on_end

            def end() -> None:
                if before is not None:
                    before()
                if not ended.done():
                    ended.set_result(None)

            exchange.on_end = end
            await ended
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """Take the answer's head, then its body, whole or in pieces."""
        exchange = self._exchange
        if event["type"] == "http.response.start":
            self._start = event
            return
        if event["type"] != "http.response.body" or self._start is None:
            raise RuntimeError(f"the application has sent {event['type']!r} out of turn")
        body, has_more = event.get("body", b""), event.get("more_body", False)
        if not exchange.has_begun:
            headers = _passed_on(self._start.get("headers", ()))
            if not has_more:
                known = [header for header in headers if header[0].lower() != b"content-length"]
                exchange.answer(self._start["status"], bytes(body), b"", known)
                return
            exchange.begin(self._start["status"], b"", headers)
        if body:
            await exchange.write(bytes(body))
        if not has_more:
            exchange.end()


def _passed_on(headers: Any) -> list[Header]:
    return [(bytes(k), bytes(v)) for k, v in headers if bytes(k).lower() not in _NOT_PASSED_ON]
