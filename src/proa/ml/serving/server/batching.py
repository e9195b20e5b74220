"""One model's calls: what came together is one call, and nothing waits for more to come.

A request is put in a queue, which is emptied at the loop's next turn: what one poll of the sockets brought is there by
then. A model that mostly takes longer than QUICK_SECONDS is called in a thread of its own, and the queue fills while it
is busy. Rows of several requests are one call where names, types and all axes but the first are the same; where such a
call fails, each of them is asked alone, so that nobody pays for a neighbour's mistake.

With `wait_seconds` a batch waits to be full for so long, as KServe's batcher has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.measures import Observe

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import TensorModel
    from proa.ml.serving.wire.tensors import Array, Arrays

QUICK_SECONDS = 0.001
MOST_ROWS = 128
"""Of one call of several requests, unless told otherwise; a request of more has its own call."""
QUICK_BYTES = 256 * 1024
"""More input than this never holds up the loop."""

Finish = Callable[["Arrays | None", Exception | None], None]

logger = logging.getLogger(__name__)


class Call:
    """What one request asks of the model. `finish` is called once, with its outputs or why there are none."""

    __slots__ = ("finish", "inputs", "key", "rows")

    def __init__(self, inputs: Arrays, finish: Finish) -> None:
        self.inputs = inputs
        self.finish = finish
        self.rows = 0
        self.key: object = None


class Batcher:
    """The queue of one model."""

    def __init__(
        self,
        model: TensorModel,
        observe_seconds: Observe,
        observe_rows: Observe,
        *,
        most_rows: int = MOST_ROWS,
        wait_seconds: float = 0.0,
    ) -> None:
        self._model = model
        self._observe_seconds = observe_seconds
        self._observe_rows = observe_rows
        self._most_rows = most_rows
        self._wait_seconds = wait_seconds
        self._is_batchable = model.is_batchable
        self._queue: list[Call] = []
        self._timer: asyncio.Handle | None = None
        self._slowness = 1.0
        """Which share of the calls, lately, took longer than QUICK_SECONDS; the first is expected to."""
        self._thread: ThreadPoolExecutor | None = None
        self._is_busy = False
        self._is_closed = False
        self._idle: asyncio.Future[None] | None = None

    def submit(self, inputs: Arrays, finish: Finish) -> None:
        """Have the model asked; `finish` is called from the loop."""
        self._queue.append(Call(inputs, finish))
        if self._timer is not None and not self._wait_seconds:
            return
        loop = asyncio.get_running_loop()
        if not self._wait_seconds or self._is_full():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_soon(self._flush)
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_seconds, self._flush)

    async def close(self) -> None:
        """Answer what is in the queue, then let go of the model."""
        self._is_closed = True
        self._wait_seconds = 0.0
        if self._queue or self._is_busy:
            self._idle = asyncio.get_running_loop().create_future()
            self._flush()
            await self._idle
        self._model.close()
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _is_full(self) -> bool:
        return sum(_count_rows(call.inputs) for call in self._queue) >= self._most_rows

    def _flush(self) -> None:
        """Ask the model what is in the queue, unless it is busy: then this is called again."""
        self._timer = None
        if self._is_busy:
            return
        queue, self._queue = self._queue, []
        groups = [queue] if len(queue) == 1 else self._group(queue)
        for number, group in enumerate(groups):
            if not self._is_quick(group):
                self._queue = [call for later in groups[number + 1 :] for call in later]
                self._begin(group)
                return
            self._finish(group, *self._ask(group))
        self._tell_idle()

    def _group(self, queue: Sequence[Call]) -> list[list[Call]]:
        """Return the calls by what can be one call, in the order of the first of each."""
        if not self._is_batchable:
            return [[call] for call in queue]
        open_groups: dict[object, list[Call]] = {}
        rows: dict[object, int] = {}
        groups: list[list[Call]] = []
        for call in queue:
            call.key, call.rows = _describe(call.inputs)
            group = open_groups.get(call.key)
            if group is None or call.key is None or rows[call.key] + call.rows > self._most_rows:
                group = open_groups[call.key] = []
                rows[call.key] = 0
                groups.append(group)
            group.append(call)
            rows[call.key] += call.rows
        return groups

    def _is_quick(self, group: Sequence[Call]) -> bool:
        if self._slowness > 0.5:
            return False
        return sum(array.nbytes for call in group for array in call.inputs.values()) < QUICK_BYTES

    def _begin(self, group: list[Call]) -> None:
        """Ask in the model's thread, and go on with the queue when it has answered."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._is_busy = True
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._ask, group)

        def done(answered: asyncio.Future[tuple[Any, Exception | None]]) -> None:
            self._is_busy = False
            self._finish(group, *answered.result())
            if self._queue and (not self._wait_seconds or self._is_full()) and self._timer is None:
                self._timer = loop.call_soon(self._flush)
            elif self._queue and self._timer is None:
                self._timer = loop.call_later(self._wait_seconds, self._flush)
            self._tell_idle()

        future.add_done_callback(done)

    def _ask(self, group: Sequence[Call]) -> tuple[list[Arrays | Exception] | None, Exception | None]:
        """Return what each call is answered with."""
        began = time.perf_counter()
        try:
            if len(group) == 1:
                return [self._model.predict(group[0].inputs)], None
            return self._ask_together(group), None
        except Exception as error:
            if len(group) == 1:
                return None, error
            return [self._ask_alone(call) for call in group], None
        finally:
            self._note(time.perf_counter() - began)

    def _ask_together(self, group: Sequence[Call]) -> list[Arrays | Exception]:
        import numpy

        inputs = {name: numpy.concatenate([call.inputs[name] for call in group]) for name in group[0].inputs}
        outputs = self._model.predict(inputs)
        rows = sum(call.rows for call in group)
        self._observe_rows(rows)
        if any(array.ndim == 0 or len(array) != rows for array in outputs.values()):
            self._is_batchable = False
            logger.warning("%d rows were not answered with as many: requests are asked alone", rows)
            raise ValueError("not a row an input's row")
        answers: list[Arrays | Exception] = []
        place = 0
        for call in group:
            end = place + call.rows
            answers.append({name: array[place:end] for name, array in outputs.items()})
            place = end
        return answers

    def _ask_alone(self, call: Call) -> Arrays | Exception:
        try:
            return self._model.predict(call.inputs)
        except Exception as error:
            return error

    def _note(self, seconds: float) -> None:
        self._slowness += 0.2 * ((seconds > QUICK_SECONDS) - self._slowness)
        self._observe_seconds(seconds)

    def _finish(
        self, group: Sequence[Call], answers: Sequence[Arrays | Exception] | None, error: Exception | None
    ) -> None:
        for number, call in enumerate(group):
            answer = error if answers is None else answers[number]
            if isinstance(answer, Exception):
                call.finish(None, answer)
            else:
                call.finish(answer, None)

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._is_busy and not self._queue and not self._idle.done():
            self._idle.set_result(None)


def _count_rows(inputs: Arrays) -> int:
    first = next(iter(inputs.values()))
    return len(first) if first.ndim else 1


def _describe(inputs: Arrays) -> tuple[object, int]:
    """Return what calls must have in common to be one, None where this one must be alone, and its rows."""
    if len(inputs) == 1:
        [(name, array)] = inputs.items()
        return ((name, array.dtype, array.shape[1:]), len(array)) if array.ndim and len(array) else (None, 1)
    rows = {len(array) if array.ndim else -1 for array in inputs.values()}
    if len(rows) != 1 or min(rows) < 1:
        return None, 1
    return tuple((name, _describe_array(array)) for name, array in inputs.items()), rows.pop()


def _describe_array(array: Array) -> tuple[object, ...]:
    return array.dtype, array.shape[1:]
