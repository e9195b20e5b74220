from __future__ import annotations

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
DEADLINE = 60.0


class Program:
    """The collector as a process, with a file that a training would write."""

    def __init__(
        self, folder: Path, kind: str = "StdOut", env: dict[str, str] | None = None, **asked: Any
    ) -> None:
        self.log = folder / "metrics.log"
        self.output = folder / "output"
        self.message = folder / "message"
        said = {
            "trial": "t-1",
            "kind": kind,
            "metric": ["accuracy", "loss"],
            "maximized": "true",
            "marker": MARKER,
            "path": str(self.log),
            "message": str(self.message),
            **asked,
        }
        each = [(key, value if isinstance(value, list) else [value]) for key, value in said.items()]
        self._arguments = [f"{key.replace('_', '-')}={value}" for key, values in each for value in values]
        # inherited: a signal before the program is up is kept for it, as by a node
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proa.ml.tuning.collector", *self._arguments],
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
        name = "metrics-logger-and-collector"
        terminated = {"exitCode": 0, "message": self.message.read_text()[:4096]}
        status = {"name": name, "state": {"terminated": terminated}}
        return {
            "spec": {"initContainers": [{"name": name, "args": self._arguments}]},
            "status": {"phase": "Succeeded", "initContainerStatuses": [status]},
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
