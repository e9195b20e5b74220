"""Ask a model what a request asks, by V1 or V2, and write its answer; errors are KServe's `{"error": …}`."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from proa.ml.serving.server.exchange import Exchange, run_for
from proa.ml.serving.wire import cloudevents, v1, v2
from proa.ml.serving.wire.refusals import Refused, bad_request

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import TensorModel
    from proa.ml.serving.server.repository import Served
    from proa.ml.serving.wire.tensors import Arrays

logger = logging.getLogger(__name__)

_ID_START = str(uuid.uuid4())[:24]
_numbers = count()


def make_id() -> str:
    """Return an id for a request that has none, a UUID by its form: this process' start of one, and a number."""
    return f"{_ID_START}{next(_numbers):012x}"


def refuse(exchange: Exchange, error: Exception) -> None:
    """Answer with an error; of what is nobody's fault but the model's, the log has more."""
    refused = to_refusal(error)
    again = [(b"Retry-After", b"%d" % refused.retry_after)] if refused.retry_after else []
    exchange.answer(refused.status, orjson.dumps({"error": refused.message}), headers=again)


def to_refusal(error: Exception) -> Refused:
    """Return how an error is answered."""
    if isinstance(error, Refused):
        return error
    from proa.ml.serving.server.formats.protocol import InputError

    if isinstance(error, InputError):
        return bad_request(str(error))
    if isinstance(error, NotImplementedError):
        return Refused(501, str(error) or "the model has no such method")
    logger.error("a model has failed", exc_info=error)
    return Refused(500, f"{type(error).__name__} : {error}")


def infer(served: Served, exchange: Exchange) -> None:
    """Answer V2's POST …/infer."""
    json_length = exchange.header(b"inference-header-content-length")
    if served.batcher is None:
        _begin(exchange, lambda: _infer_payload(served, exchange, json_length))
        return
    began = time.perf_counter()
    request = v2.read_request(exchange.body, json_length)
    measures = served.measures
    measures.preprocess(time.perf_counter() - began)

    def finish(outputs: Arrays | None, error: Exception | None) -> None:
        try:
            if outputs is None:
                raise error or Refused(500, "the model has not answered")
            began = time.perf_counter()
            body, length = v2.write_response(
                served.name, served.version, request.id or make_id(), outputs, request
            )
            measures.postprocess(time.perf_counter() - began)
        except Exception as failed:
            refuse(exchange, failed)
            return
        if not length:
            exchange.answer_json(body)
        else:
            headers = [(v2.JSON_LENGTH_HEADER.encode(), b"%d" % length)]
            exchange.answer(200, body, b"application/octet-stream", headers)

    served.batcher.submit(request.inputs, finish)


def predict(served: Served, exchange: Exchange) -> None:
    """Answer V1's POST …:predict."""
    if served.batcher is None:
        _begin(exchange, lambda: _predict_payload(served, exchange, is_explain=False))
        return
    began = time.perf_counter()
    model: Any = served.model
    document, event = read_document(exchange)
    arrays = v1.read_arrays(document, _first_input(model))
    measures = served.measures
    measures.preprocess(time.perf_counter() - began)

    def finish(outputs: Arrays | None, error: Exception | None) -> None:
        try:
            if outputs is None:
                raise error or Refused(500, "the model has not answered")
            began = time.perf_counter()
            body = v1.write_response(outputs)
            measures.postprocess(time.perf_counter() - began)
        except Exception as failed:
            refuse(exchange, failed)
            return
        answer_document(exchange, served.name, body, event)

    served.batcher.submit(arrays, finish)


def explain(served: Served, exchange: Exchange) -> None:
    """Answer V1's POST …:explain."""
    if not hasattr(served.model, "explain"):
        raise Refused(501, f"Model with name {served.name} explains nothing: deploy an explainer.")
    _begin(exchange, lambda: _predict_payload(served, exchange, is_explain=True))


def read_document(exchange: Exchange) -> tuple[Any, cloudevents.Event | None]:
    """Return a V1 body's JSON, and the CloudEvent it came in; raise Refused."""
    for name, _ in exchange.headers:
        if name == b"ce-specversion":
            event = cloudevents.read_binary(exchange.header_texts(), exchange.body)
            return (event.data if event else None), event
    document = v2.read_json(exchange.body)
    if type(document) is dict and "instances" in document:
        return document, None
    structured = cloudevents.read_structured(document, exchange.header(b"content-type") or "")
    return (structured.data, structured) if structured else (document, None)


def answer_document(exchange: Exchange, model: str, body: bytes, event: cloudevents.Event | None) -> None:
    """Answer with JSON, as a CloudEvent where one was asked with."""
    if event is None:
        exchange.answer_json(body)
        return
    headers, body = cloudevents.write_answer(event, model, body, exchange.header(b"content-type") or "")
    content_type = headers.pop("content-type").encode()
    exchange.answer(200, body, content_type, [(k.encode(), v.encode()) for k, v in headers.items()])


def _first_input(model: TensorModel) -> str:
    return model.inputs[0].name if model.inputs else "input-0"


def _begin(exchange: Exchange, work: Callable[[], Awaitable[None]]) -> None:
    """Run what answers an exchange as a task, which ends with it."""
    task = asyncio.get_running_loop().create_task(_guard(exchange, work), name="inference")
    run_for(exchange, task)


async def _guard(exchange: Exchange, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception as error:
        refuse(exchange, error)


async def _predict_payload(served: Served, exchange: Exchange, *, is_explain: bool) -> None:
    """Ask a custom class by V1: whatever JSON came is its, and whatever it returns the answer."""
    model: Any = served.model
    if not hasattr(model, "predict"):
        raise bad_request(f"Model with name {served.name} is a model of language: ask by /openai/v1")
    document, event = read_document(exchange)
    began = time.perf_counter()
    ask = model.explain if is_explain else model.predict
    answer = await ask(document, exchange.header_texts())
    (served.measures.explain if is_explain else served.measures.predict)(time.perf_counter() - began)
    answer_document(exchange, served.name, write_payload(answer), event)


async def _infer_payload(served: Served, exchange: Exchange, json_length: str | None) -> None:
    """Ask a custom class by V2: it is given the JSON, tensors as lists."""
    model: Any = served.model
    if not hasattr(model, "predict"):
        raise bad_request(f"Model with name {served.name} is a model of language: ask by /openai/v1")
    request = v2.read_request(exchange.body, json_length)
    document = v2.read_json(exchange.body[: int(json_length)] if json_length else exchange.body)
    if json_length:
        document = v2.write_document(document, request.inputs)
    answer = await ask_payload(served, document, exchange.header_texts())
    if isinstance(answer, dict):
        answer = {"model_name": served.name, "id": request.id or make_id(), **answer}
    exchange.answer_json(write_payload(answer))


async def ask_payload(served: Served, document: Any, headers: dict[str, str]) -> Any:
    """Return what a custom class answers to V2's JSON."""
    model: Any = served.model
    began = time.perf_counter()
    answer = await model.predict(document, headers)
    served.measures.predict(time.perf_counter() - began)
    return answer


def write_payload(answer: Any) -> bytes:
    """Return a custom class' answer as JSON; raise Refused where it is none."""
    if isinstance(answer, bytes):
        return answer
    try:
        return orjson.dumps(
            answer, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS, default=_default
        )
    except TypeError as error:
        raise Refused(500, f"the model's answer is no JSON: {error}") from None


def _default(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")
