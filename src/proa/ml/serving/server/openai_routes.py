"""OpenAI's routes for models of language: completions, chat, embeddings; whole, or as server-sent events.

Source: python/kserve/kserve/protocol/rest/openai/endpoints.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.exchange import Exchange, run_for
from proa.ml.serving.server.inference import to_refusal
from proa.ml.serving.wire import openai
from proa.ml.serving.wire.refusals import Refused, bad_request
from proa.ml.serving.wire.v2 import read_json

if TYPE_CHECKING:
    from proa.ml.serving.server.repository import Repository

Answer = Callable[[Exchange], None]
Work = Callable[[Exchange], Awaitable[None]]

logger = logging.getLogger(__name__)


class OpenAiRoutes:
    """The routes below /openai/v1, and below /v1 where V1 has no such path."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._created = int(time.time())

    def find(self, method: bytes, parts: list[str]) -> Answer | None:
        """Return what answers, None where there is no such path."""
        match method == b"POST", parts:
            case True, ["completions"]:
                return _as_task(self._complete)
            case True, ["chat", "completions"]:
                return _as_task(self._chat)
            case True, ["embeddings"]:
                return _as_task(self._embed)
            case False, ["models"]:
                return self._list
            case False, ["models", name]:
                return lambda exchange: self._say_health(exchange, name)
        return None

    def _list(self, exchange: Exchange) -> None:
        exchange.answer_json(openai.write_models(self._repository.names(), self._created))

    def list_for_both(self) -> bytes:
        """Return the models as V1 and as OpenAI's clients read them."""
        return openai.write_models(self._repository.names(), self._created, also_v1=True)

    def _say_health(self, exchange: Exchange, name: str) -> None:
        self._repository.find(name)
        exchange.answer_json(b"null")

    async def _complete(self, exchange: Exchange) -> None:
        request = openai.read_completion(read_json(exchange.body))
        model = self._find(request["model"], "complete")
        prompts = request["prompt"] if isinstance(request["prompt"], list) else [request["prompt"]]
        if request.get("stream") and len(prompts) > 1:
            raise bad_request("prompt must be one text where stream is true")
        pieces = [model.complete({**request, "prompt": prompt}) for prompt in prompts]
        await _answer(exchange, openai.Completion(request["model"], is_chat=False), pieces, request)

    async def _chat(self, exchange: Exchange) -> None:
        request = openai.read_chat(read_json(exchange.body))
        model = self._find(request["model"], "chat")
        await _answer(
            exchange, openai.Completion(request["model"], is_chat=True), [model.chat(request)], request
        )

    async def _embed(self, exchange: Exchange) -> None:
        request, texts = openai.read_embedding(read_json(exchange.body))
        vectors = await self._find(request["model"], "embed").embed(texts)
        encoding = request.get("encoding_format", "float")
        exchange.answer_json(openai.write_embeddings(request["model"], vectors, encoding))

    def _find(self, name: str, verb: str) -> Any:
        served = self._repository.find(name)
        if not hasattr(served.model, verb):
            raise bad_request(f"Model {name} is no model of language: ask by V1 or V2")
        return served.model


async def _answer(
    exchange: Exchange,
    completion: openai.Completion,
    answers: list[AsyncIterator[str]],
    request: dict[str, Any],
) -> None:
    if not request.get("stream"):
        texts = ["".join([piece async for piece in pieces]) for pieces in answers]
        exchange.answer_json(completion.write_whole(texts))
        return
    [pieces] = answers
    first = await anext(
        pieces, None
    )  # what is wrong with a request is told with a status, not within a stream
    exchange.begin(200, b"text/event-stream; charset=utf-8", [(b"Cache-Control", b"no-cache")])
    if first is not None:
        await exchange.write(completion.write_piece(first))
    async for piece in pieces:
        await exchange.write(completion.write_piece(piece))
    await exchange.write(completion.write_end())
    exchange.end()


def _as_task(work: Work) -> Answer:
    def begin(exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(_guard(exchange, work), name="openai")
        run_for(exchange, task)

    return begin


async def _guard(exchange: Exchange, work: Work) -> None:
    try:
        await work(exchange)
    except ConnectionError:
        return  # the client has gone
    except Exception as error:
        refused = to_refusal(error)
        if exchange.has_begun:
            await _end_with(exchange, refused)
            return
        again = [(b"Retry-After", b"%d" % refused.retry_after)] if refused.retry_after else []
        exchange.answer(refused.status, openai.write_refusal(refused), headers=again)


async def _end_with(exchange: Exchange, refused: Refused) -> None:
    try:
        await exchange.write(openai.write_error_event(refused))
        exchange.end()
    except ConnectionError:
        return  # the client has gone
