"""Micro-batches: what comes together is one call; shapes apart, failures alone, order kept, nothing lost."""

import asyncio
import threading

import numpy
import pytest

from proa.ml.serving.server.batching import Batcher
from support.model_server import Doubler


def ask_all(model: Doubler, inputs: list, **options: float) -> tuple[list, list[int]]:
    """Return what each of the inputs, asked at once after one that warms up, is answered with; and rows a call."""
    rows: list[int] = []

    async def go() -> list:
        batcher = Batcher(model, lambda seconds: None, rows.append, **options)
        answers: list = [None] * len(inputs)
        left = asyncio.Semaphore(0)

        def take(number: int):
            def finish(outputs, error) -> None:
                answers[number] = error if outputs is None else outputs["y"].tolist()
                left.release()

            return finish

        for number, one in enumerate(inputs):
            batcher.submit({"x": numpy.array(one)}, take(number))
        for _ in inputs:
            await left.acquire()
        await batcher.close()
        return answers

    return asyncio.run(go()), rows


def test_what_comes_together_is_one_call_and_each_gets_its_own():
    model = Doubler()
    answers, rows = ask_all(model, [[[n, n]] for n in range(50)])
    assert answers == [[[2 * n, 2 * n]] for n in range(50)]
    assert (model.calls, rows) == ([(50, 2)], [50])


def test_rows_types_and_shapes_apart_are_calls_apart():
    model = Doubler()
    answers, _ = ask_all(model, [[[1, 1]], [[2.5, 2]], [[1, 2, 3]], [[3, 3], [4, 4]], [[5, 5, 5]]])
    assert answers == [[[2, 2]], [[5.0, 4.0]], [[2, 4, 6]], [[6, 6], [8, 8]], [[10, 10, 10]]]
    assert sorted(model.calls) == [(1, 2), (2, 3), (3, 2)]


def test_a_call_has_no_more_rows_than_may_be_and_a_longer_request_is_alone():
    model = Doubler()
    answers, _ = ask_all(model, [[[n]] for n in range(10)] + [[[n] for n in range(9)]], most_rows=4)
    assert answers == [[[2 * n]] for n in range(10)] + [[[2 * n] for n in range(9)]]
    assert sorted(model.calls) == [(2, 1), (4, 1), (4, 1), (9, 1)]


def test_one_bad_request_does_not_fail_its_neighbours():
    model = Doubler(refused=13.0)
    answers, _ = ask_all(model, [[[1.0]], [[13.0]], [[2.0]]])
    assert (answers[0], answers[2]) == ([[2.0]], [[4.0]])
    assert str(answers[1]) == "input x: 13.0 is not taken"


def test_a_model_whose_rows_are_not_its_inputs_rows_is_asked_alone():
    class Counter(Doubler):
        def predict(self, inputs):
            super().predict(inputs)
            return {"y": numpy.array([len(inputs["x"])])}

    model = Counter()
    answers, _ = ask_all(model, [[[1], [1]], [[1]], [[1]]])
    assert answers == [[2], [1], [1]]


def test_a_model_that_takes_one_request_at_a_time_and_no_rows_is_asked_so():
    model = Doubler(is_batchable=False)
    answers, _ = ask_all(model, [[[1]], [[2]]])
    assert (answers, model.calls) == ([[[2]], [[4]]], [(1, 1), (1, 1)])
    answers, _ = ask_all(Doubler(), [3, 4, [], []])
    assert answers == [6, 8, [], []]


def test_a_slow_model_is_asked_in_its_thread_and_the_queue_fills_meanwhile():
    go_on = threading.Event()
    model = Doubler(go_on=go_on)

    async def go() -> None:
        batcher = Batcher(model, lambda seconds: None, lambda rows: None)
        answered: list = []
        for n in range(5):
            batcher.submit({"x": numpy.array([[n]])}, lambda outputs, error: answered.append(outputs))
            await asyncio.sleep(0.005)  # the loop is free
        assert answered == []
        go_on.set()
        await batcher.close()
        assert len(answered) == 5
        assert model.is_closed

    asyncio.run(go())
    assert model.calls == [(1, 1), (4, 1)]


@pytest.mark.parametrize(("rows", "seconds"), [(4, 30.0), (100, 0.05)], ids=["full", "time is up"])
def test_with_a_wait_a_batch_goes_when_it_is_full_or_its_time_is_up(rows, seconds):
    model = Doubler()
    answers, _ = ask_all(model, [[[n]] for n in range(4)], most_rows=rows, wait_seconds=seconds)
    assert (answers, model.calls) == ([[[2 * n]] for n in range(4)], [(4, 1)])
