"""Put the instances of several requests into one, as many as there are in time, and give each its predictions.

A batch goes to the container when it has so many instances, or so long after its first request; one for each path. Who
asked gets the batch's id with the predictions. Source: KServe's pkg/batcher/handler.go, whose answers these are: an
error of the container is a message with status 200.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson

PREDICT = b":predict"
MAX_DEPTH = 10_000
"""So many instances may wait for one path; what asks for more is refused."""


class Refused(Exception):
    """A request cannot be batched: why, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Reply(NamedTuple):
    """The container's answer to a batch."""

    status: int
    body: bytes


class _Waiting(NamedTuple):
    instances: list[Any]
    answer: asyncio.Future[bytes]


class _Batch:
    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.waiting: list[_Waiting] = []
        self.size = 0


Ask = Callable[[str, bytes], Awaitable[Reply]]
"""Sends a body to a path of the container."""


class Batcher:
    """`ask` brings a batch to the container, and raises nothing."""

    def __init__(self, ask: Ask, max_size: int, max_latency_seconds: float) -> None:
        self._ask = ask
        self._max_size, self._max_latency = max_size, max_latency_seconds
        self._batches: dict[str, _Batch] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    async def predict(self, path: str, body: bytes) -> bytes:
        """Return the answer to a request; raise Refused where it is none that can be batched."""
        instances = _read_instances(body)
        loop = asyncio.get_running_loop()
        batch = self._batches.get(path)
        if batch is None:
            batch = self._batches[path] = _Batch(loop.call_later(self._max_latency, self._flush, path))
        elif batch.size + len(instances) > max(MAX_DEPTH, self._max_size):
            raise Refused(503, "too many instances wait for a batch")
        answer: asyncio.Future[bytes] = loop.create_future()
        batch.waiting.append(_Waiting(instances, answer))
        batch.size += len(instances)
        if batch.size >= self._max_size:
            self._flush(path)
        return await answer

    def flush(self) -> None:
        """Send all that wait, at the end."""
        for path in tuple(self._batches):
            self._flush(path)

    def _flush(self, path: str) -> None:
        batch = self._batches.pop(path)
        batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._predict(path, batch.waiting))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _predict(self, path: str, waiting: list[_Waiting]) -> None:
        waiting = [one for one in waiting if not one.answer.done()]  # those whose client has gone
        if not waiting:
            return
        instances = [instance for one in waiting for instance in one.instances]
        reply = await self._ask(path, orjson.dumps({"instances": instances}))
        for one, answer in zip(
            waiting, share_out(reply, [len(one.instances) for one in waiting]), strict=True
        ):
            if not one.answer.done():
                one.answer.set_result(answer)


def share_out(reply: Reply, sizes: list[int]) -> list[bytes]:
    """Return the answer of each request of a batch, in order, by how many instances it had."""
    if reply.status != 200:
        return [_answer(reply.body.decode("utf-8", "replace"), "", None)] * len(sizes)
    identity = str(uuid.uuid4())
    try:
        predictions = orjson.loads(reply.body)["predictions"]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        return [_answer(f"the container's answer has no predictions: {error}", identity, None)] * len(sizes)
    if not isinstance(predictions, list) or len(predictions) != sum(sizes):
        return [_answer("size of prediction is not equal to the size of instances", identity, None)] * len(
            sizes
        )
    answers, start = [], 0
    for size in sizes:
        answers.append(_answer("", identity, predictions[start : start + size]))
        start += size
    return answers


def _read_instances(body: bytes) -> list[Any]:
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, "can't Unmarshal body") from None
    instances = read.get("instances") if isinstance(read, dict) else None
    if instances is not None and not isinstance(instances, list):
        raise Refused(400, "can't Unmarshal body")
    if not instances:
        raise Refused(400, "no instances in the request")
    return instances


def _answer(message: str, identity: str, predictions: list[Any] | None) -> bytes:
    return orjson.dumps({"message": message, "batchId": identity, "predictions": predictions})
