"""Serve Proa's own algorithms by Katib's gRPC: `python -m proa.ml.tuning.grpc.suggestion_server [--port 6789]`.

So they are a Suggestion service of any Katib. An algorithm that waits for results answers with fewer suggestions than
it is asked for. Early stopping says its rules; that a trial was stopped is for whoever collects its metrics to say.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from proa.ml.grpc.channel import Dial, call
from proa.ml.grpc.codec import Message
from proa.ml.grpc.connection import Caller
from proa.ml.grpc.server import GrpcServer, Method
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.algorithms.errors import SuggestionError, UnknownAlgorithm, WorkerLost
from proa.ml.tuning.algorithms.suggestion_worker import SuggestionWorker
from proa.ml.tuning.grpc.messages import DB_MANAGER, EARLY_STOPPING, HEALTH, KATIB, SUGGESTION
from proa.ml.tuning.grpc.studies import describe, make_rules, make_suggestions, read_settings, read_study
from proa.ml.tuning.grpc.times import read_time
from proa.ml.tuning.records import MetricPoint, Study

PORT = 6789
MAX_AT_ONCE = 10_000
"""Suggestions in one answer."""
READ_SECONDS = 30.0


class Services:
    """The methods of Suggestion and EarlyStopping, answered by a worker process."""

    def __init__(self, worker: SuggestionWorker, dial: Dial, *, algorithm: str = "") -> None:
        """`dial` reaches the DBManager that a request names; `algorithm` answers whatever name is asked for."""
        self._worker = worker
        self._dial = dial
        self._algorithm = algorithm

    @property
    def methods(self) -> dict[str, Method]:
        """Return what a server serves."""
        return {
            f"/{SUGGESTION}/GetSuggestions": _answering(self.suggest),
            f"/{SUGGESTION}/ValidateAlgorithmSettings": _answering(self.check),
            f"/{EARLY_STOPPING}/GetEarlyStoppingRules": _answering(self.rules),
            f"/{EARLY_STOPPING}/ValidateEarlyStoppingSettings": _answering(self.check_early_stopping),
            f"/{HEALTH}/Check": _is_serving,
        }

    async def check(self, request: Message, caller: Caller) -> Message:
        """Refuse settings or a search space that the algorithm cannot take."""
        algorithm, study = read_study(request["experiment"])
        if problems := await self._worker.check(self._algorithm or algorithm, study):
            raise CallFailed(Code.INVALID_ARGUMENT, describe(problems))
        return {}

    async def suggest(self, request: Message, caller: Caller) -> Message:
        """Return up to as many suggestions as are asked for."""
        algorithm, study = read_study(request["experiment"], request["trials"])
        count = request["current_request_number"]
        if not 0 < count <= MAX_AT_ONCE:
            raise CallFailed(
                Code.INVALID_ARGUMENT, f"current_request_number: {count} is not from 1 to {MAX_AT_ONCE}"
            )
        return make_suggestions(
            await self._worker.suggest(self._algorithm or algorithm, study, count), algorithm
        )

    async def check_early_stopping(self, request: Message, caller: Caller) -> Message:
        """Refuse settings that the early-stopping algorithm cannot take."""
        algorithm, settings = _read_early_stopping(request["early_stopping"])
        if problems := await self._worker.check_early_stopping(algorithm, settings):
            raise CallFailed(Code.INVALID_ARGUMENT, describe(problems))
        return {}

    async def rules(self, request: Message, caller: Caller) -> Message:
        """Return the rules for the next trial, from what finished trials told the DBManager."""
        _, study = read_study(request["experiment"], request["trials"])
        algorithm, settings = _read_early_stopping(request["experiment"]["spec"]["early_stopping"])
        points = await self._read_points(study, request["db_manager_address"])
        return make_rules(await self._worker.rules(algorithm, study, settings, points))

    async def _read_points(self, study: Study, address: str) -> dict[str, list[MetricPoint]]:
        host, _, port = address.rpartition(":")
        names = [trial.name for trial in study.trials if trial.state == "succeeded"]
        if names and not (host and port.isdigit()):
            raise CallFailed(Code.INVALID_ARGUMENT, f"db_manager_address: {address!r} is no host:port")
        found = {}
        for name in names:
            message = {"trial_name": name, "metric_name": study.objective.metric}
            path = f"/{DB_MANAGER}/GetObservationLog"
            reply = await call(KATIB, self._dial, (host, int(port)), path, message, READ_SECONDS)
            logs = (reply["observation_log"] or {}).get("metric_logs", ())
            found[name] = [
                MetricPoint(
                    read_time(log["time_stamp"]),
                    study.objective.metric,
                    (log["metric"] or {}).get("value", ""),
                )
                for log in logs
            ]
        return found


class _Answers(Protocol):
    def __call__(self, request: Message, caller: Caller) -> Awaitable[Message]: ...


def _answering(method: _Answers) -> Method:
    """Return a method whose errors are the wire's."""

    async def answer(request: Message, caller: Caller) -> Message:
        try:
            return await method(request, caller)
        except UnknownAlgorithm as error:
            raise CallFailed(Code.INVALID_ARGUMENT, str(error)) from None
        except WorkerLost as error:
            raise CallFailed(Code.UNAVAILABLE, str(error)) from None
        except SuggestionError as error:
            raise CallFailed(Code.INTERNAL, str(error)) from None

    return answer


def _read_early_stopping(said: Message | None) -> tuple[str, dict[str, str]]:
    if not said:
        raise CallFailed(
            Code.INVALID_ARGUMENT, "early_stopping is missing: it has algorithm_name and algorithm_settings"
        )
    return said["algorithm_name"], read_settings(said["algorithm_settings"])


async def _is_serving(request: Message, caller: Caller) -> Message:
    return {"status": "SERVING"}


async def serve(sock: socket.socket, until: Callable[[], Awaitable[object]], algorithm: str = "") -> None:
    """Answer on a listening socket until `until` returns; see `Services`."""
    worker = SuggestionWorker()
    server = GrpcServer(KATIB, Services(worker, asyncio.open_connection, algorithm=algorithm).methods)
    await server.serve(sock)
    try:
        await until()
    finally:
        await server.close()
        await worker.stop()


async def _main(host: str, port: int, algorithm: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sock = socket.create_server((host, port))
    print(f"algorithms are served at {host}:{sock.getsockname()[1]}", flush=True)
    await serve(sock, stop.wait, algorithm)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve Proa's algorithms as a Suggestion service of Katib.")
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on (default: all)")  # noqa: S104
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any free one")
    parser.add_argument(
        "--algorithm", default="", help="the one that answers, whatever name is asked for (default: by name)"
    )
    options = parser.parse_args()
    asyncio.run(_main(options.host, options.port, options.algorithm))


if __name__ == "__main__":
    main()
