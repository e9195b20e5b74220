"""Ask algorithms, in a process of their own that lives no longer than it is needed.

The process (worker.py) starts with the first request, has proa from where this process has it, answers one request
after another, is started again when it died, and ends when it was not asked for a while or this process ends, however.
Only what is new of a study is said to it (sent.py). A request that takes too long costs the process its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from proa.ml.tuning.algorithms import wire
from proa.ml.tuning.algorithms.errors import KINDS, AlgorithmFailed, StudyForgotten, WorkerLost
from proa.ml.tuning.algorithms.sent import SentStudies
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggestions

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 120.0
IDLE_SECONDS = 300.0
STOP_SECONDS = 2.0
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Small matrices are not worth threads, and what is computed by one is always the same."""


class SuggestionWorker:
    """The one worker process of an operator. Requests queue; all raise SuggestionError (errors.py)."""

    def __init__(
        self, *, timeout_seconds: float = TIMEOUT_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._idle_seconds = idle_seconds
        self._sent = SentStudies()
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._last_words = ""

    @property
    def pid(self) -> int | None:
        """Return the process' id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def check(self, algorithm: str, study: Study) -> tuple[Problem, ...]:
        """Return what is wrong with the algorithm's settings, or the search space for it."""
        answer = await self._ask(
            lambda: {"do": "check", "algorithm": algorithm, "study": self._sent.say_study(study)}, study.key
        )
        return wire.read_problems(answer)

    async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
        """Return up to `count` suggestions."""
        answer = await self._ask(
            lambda: {
                "do": "suggest",
                "algorithm": algorithm,
                "study": self._sent.say_study(study),
                "count": count,
            },
            study.key,
        )
        return wire.read_suggestions(answer)

    async def check_early_stopping(self, algorithm: str, settings: Mapping[str, str]) -> tuple[Problem, ...]:
        """Return what is wrong with an early-stopping algorithm's settings."""
        request = {"do": "check-early-stopping", "algorithm": algorithm, "settings": dict(settings)}
        return wire.read_problems(await self._ask(lambda: request, ""))

    async def rules(
        self,
        algorithm: str,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> tuple[Rule, ...]:
        """Return the rules for a trial that is about to start.

        `points` are the objective metric's of each finished trial, by name; what was said before is not said again.
        """
        answer = await self._ask(
            lambda: {
                "do": "rules",
                "algorithm": algorithm,
                "settings": dict(settings),
                "study": self._sent.say_study(study, points),
            },
            study.key,
        )
        return wire.read_rules(answer)

    async def stop(self) -> None:
        """End the process. Another request would start it again."""
        async with self._turn:
            await self._end()
        if self._ending is not None:
            await self._ending

    async def _ask(self, make_request: Callable[[], dict[str, Any]], key: str) -> Any:
        async with self._turn:
            self._cancel_idle_timer()
            try:
                return await self._ask_again(make_request, key)
            finally:
                if self._process is not None:
                    self._idle_timer = asyncio.get_running_loop().call_later(
                        self._idle_seconds, self._end_soon
                    )

    async def _ask_again(self, make_request: Callable[[], dict[str, Any]], key: str) -> Any:
        """Ask; once more where the worker is new (it died) or has forgotten the study."""
        try:
            return await self._exchange(make_request)
        except StudyForgotten:
            self._sent.forget(key)
        except WorkerLost as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
            logger.warning("the worker for suggestions has ended, it is started again error=%s", error)
        return await self._exchange(make_request)

    async def _exchange(self, make_request: Callable[[], dict[str, Any]]) -> Any:
        try:
            process = await self._running()
            line = orjson.dumps(make_request()) + b"\n"
            if len(line) > wire.MAX_REQUEST_BYTES:
                raise AlgorithmFailed(
                    f"the study is too large: {len(line)} bytes of {wire.MAX_REQUEST_BYTES}"
                )
            async with asyncio.timeout(self._timeout_seconds):
                answer = await _say(process, line)
        except TimeoutError as error:
            await self._end(kill=True)
            words = f"no suggestion within {self._timeout_seconds:g} s; the worker was ended"
            raise WorkerLost(f"{words}, the next request starts another") from error
        except (OSError, EOFError) as error:
            await self._end(kill=True)
            raise WorkerLost(f"the worker for suggestions ended: {self._last_words or error}") from error
        except BaseException:  # what it still answers is of no request
            await self._end(kill=True)
            raise
        if failure := answer.get("error"):
            raise KINDS.get(failure["kind"], AlgorithmFailed)(failure["message"])
        return answer["result"]

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        self._sent.clear()
        self._last_words = ""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _START.format(module=f"{__package__}.worker"), _import_paths()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=wire.MAX_ANSWER_BYTES,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for this process, which then ends the other
        )
        self._log = asyncio.create_task(
            self._read_log(self._process), name="log of the worker for suggestions"
        )
        return self._process

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(1 << 16):
            for line in filter(None, chunk.decode(errors="replace").splitlines()):
                self._last_words = line[:1000]
                logger.warning("worker for suggestions: %s", line[:1000])

    async def _end(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        self._cancel_idle_timer()
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(0 if kill else STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._log is not None:
            await self._log
            self._log = None

    def _end_soon(self) -> None:
        self._ending = asyncio.create_task(self._end_idle(), name="end of the idle worker for suggestions")

    async def _end_idle(self) -> None:
        if not self._turn.locked():  # else it is not idle
            async with self._turn:
                await self._end()

    def _cancel_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None


def _import_paths() -> str:
    """Return where this process finds its modules, as the other is to find them."""
    return json.dumps([os.path.abspath(path) for path in sys.path])


async def _say(process: asyncio.subprocess.Process, line: bytes) -> dict[str, Any]:
    """Return the answer to a line; raise EOFError, OSError once the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    await process.stdin.drain()
    try:
        answer = await process.stdout.readline()
    except ValueError as error:
        raise AlgorithmFailed(
            f"the answer is longer than {wire.MAX_ANSWER_BYTES} bytes; ask for fewer"
        ) from error
    if not answer.endswith(b"\n"):
        raise EOFError("it said nothing")
    answered: dict[str, Any] = orjson.loads(answer)
    return answered
