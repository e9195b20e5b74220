from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.ml.tuning.algorithms import random_search, wire
from proa.ml.tuning.algorithms.errors import SuggestionError, UnknownAlgorithm, WorkerLost
from proa.ml.tuning.algorithms.sent import SentStudies
from proa.ml.tuning.algorithms.suggestion_worker import SuggestionWorker
from proa.ml.tuning.algorithms.worker import Worker
from support.studies import make_study, make_trial


def with_worker(scenario: Callable[[SuggestionWorker], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        worker = SuggestionWorker(**options)
        try:
            await scenario(worker)
        finally:
            await worker.stop()
        assert worker.pid is None

    asyncio.run(run())


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_worker_suggests_what_the_algorithm_does_and_leaves_no_process() -> None:
    study = make_study()
    pids = []

    async def scenario(worker: SuggestionWorker) -> None:
        assert worker.pid is None  # nothing runs before it is needed
        assert await worker.check("random", study) == ()
        assert await worker.suggest("random", study, 3) == random_search.suggest(study, 3, {})
        pids.append(worker.pid)

    with_worker(scenario)
    assert not exists(pids[0])


def test_a_killed_worker_is_started_again_and_is_told_all_of_the_study() -> None:
    trials = tuple(make_trial(n, {"layers": "1"}, 0.5) for n in range(3))

    async def scenario(worker: SuggestionWorker) -> None:
        before = await worker.suggest("random", make_study(trials=trials), 2)
        killed = worker.pid
        os.kill(killed, signal.SIGKILL)
        assert await worker.suggest("random", make_study(trials=trials), 2) == before
        assert worker.pid != killed

    with_worker(scenario)


def test_a_request_that_takes_too_long_ends_the_process_and_says_so() -> None:
    async def scenario(worker: SuggestionWorker) -> None:
        with pytest.raises(WorkerLost, match="no suggestion within 0 s"):
            await worker.suggest("random", make_study(), 1)
        assert worker.pid is None

    with_worker(scenario, timeout_seconds=0)


def test_an_unknown_algorithm_is_named_with_those_there_are() -> None:
    async def scenario(worker: SuggestionWorker) -> None:
        with pytest.raises(UnknownAlgorithm, match=r"no algorithm 'magic'; there is random, grid"):
            await worker.check("magic", make_study())
        assert await worker.check("random", make_study()) == ()  # it goes on

    with_worker(scenario)


def test_an_algorithm_that_raises_is_a_failure_with_its_words() -> None:
    async def scenario(worker: SuggestionWorker) -> None:
        with pytest.raises(SuggestionError, match="algorithm 'random' failed: ValueError: invalid literal"):
            await worker.suggest("random", make_study(settings={"random_state": "x"}), 1)

    with_worker(scenario)


def test_an_idle_worker_ends_and_the_next_request_starts_another() -> None:
    async def scenario(worker: SuggestionWorker) -> None:
        first = await worker.suggest("random", make_study(), 1)
        async with asyncio.timeout(60):
            while worker.pid is not None:
                await asyncio.sleep(0.01)
        assert await worker.suggest("random", make_study(), 1) == first

    with_worker(scenario, idle_seconds=0)


def test_a_cancelled_request_does_not_answer_the_next_one() -> None:
    async def scenario(worker: SuggestionWorker) -> None:
        await worker.check("random", make_study())
        asked = asyncio.create_task(worker.suggest("random", make_study(), 5))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert len((await worker.suggest("random", make_study(), 2)).suggested) == 2

    with_worker(scenario)


def test_only_what_is_new_of_a_study_is_said() -> None:
    sent, worker = SentStudies(), Worker()
    trials = [make_trial(n, {"layers": "1"}, 0.5) for n in range(100)]
    first = sent.say_study(make_study(trials=tuple(trials)))
    trials[3] = make_trial(3, {"layers": "1"}, float("nan"))
    trials.append(make_trial(100, {"layers": "2"}))
    second = sent.say_study(make_study(trials=tuple(trials)))

    assert (first["base"], len(first["trials"])) == (0, 100)
    assert (second["base"], [line[0] for line in second["trials"]]) == (1, [3, 100])
    worker.answer({"do": "check", "algorithm": "random", "study": first})
    study, _ = worker._read_study(second)
    assert study.trials[3].value is None  # not a number is not known
    assert study.trials[:3] + study.trials[4:] == tuple(trials[:3] + trials[4:])


def test_a_study_that_the_worker_has_forgotten_is_told_so() -> None:
    sent, worker = SentStudies(), Worker()
    sent.say_study(make_study())
    answer = worker.answer({"do": "check", "algorithm": "random", "study": sent.say_study(make_study())})
    assert answer["error"]["kind"] == "study-forgotten"


def test_a_study_survives_the_wire() -> None:
    study = make_study(trials=(make_trial(0, {"lr": "0.1"}, 0.25, generation="0"),), max_trials=12)
    trials = [wire.read_trial(wire.trial_line(trial)) for trial in study.trials]
    assert wire.read_study(study.key, wire.study_head(study), trials) == study
