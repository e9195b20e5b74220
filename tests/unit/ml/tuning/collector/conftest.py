from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.collector import reading, wire

SOURCE = Path(wire.__file__).parents[4]
MARKER = "proa-metrics-0123"
DEADLINE = 20.0


class Program:
    """The collector as a process, with a file that a training would write."""

    def __init__(
        self, folder: Path, kind: str = "StdOut", env: dict[str, str] | None = None, **asked: Any
    ) -> None:
        self.log = folder / "metrics.log"
        self.output = folder / "output"
        self.message = folder / "message"
        settings = {
            "trial": "t-1",
            "kind": kind,
            "metrics": ["accuracy", "loss"],
            "maximized": True,
            "marker": MARKER,
            "path": str(self.log),
            "message_path": str(self.message),
            **asked,
        }
        self._metrics = settings["metrics"]
        # inherited: a signal before the program is up is kept for it, as by a node
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proa.ml.tuning.collector", json.dumps(settings)],
                stdout=output,
                env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], **(env or {})},
            )
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def printed(self) -> bytes:
        return self.output.read_bytes()

    def end(self) -> reading.Report:
        """The training has ended: the program is told to, and what it told is read as the operator does."""
        self.process.terminate()
        assert self.process.wait(DEADLINE) == 0
        told = reading.find(self._pod())
        assert told is not None
        lines = self.printed().decode(errors="replace").splitlines()
        return reading.read(told, "\n".join(lines[-told.lines :] if told.lines else []))

    def _pod(self) -> dict[str, Any]:
        args = [json.dumps({"marker": MARKER, "metrics": self._metrics})]
        name = "metrics-logger-and-collector"
        terminated = {"exitCode": 0, "message": self.message.read_text()[:4096]}
        status = {"name": name, "state": {"terminated": terminated}}
        return {
            "spec": {"initContainers": [{"name": name, "args": args}]},
            "status": {"initContainerStatuses": [status]},
        }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start_program(**asked: Any) -> Program:
        started.append(Program(tmp_path, **asked))
        return started[-1]

    yield start_program
    for program in started:
        program.process.kill()
        program.process.wait()
