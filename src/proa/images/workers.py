"""Give jobs with layers' files to worker processes (worker.py), and turn their refusals into errors again."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from proa.images import errors

_MAIN = Path(__file__).with_name("worker.py")


class Workers:
    """Worker processes for a while; several threads may ask at once. Use it as a context."""

    def __init__(self, incoming: Path) -> None:
        self._incoming = incoming
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_killed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            _end(process)

    def kill(self) -> None:
        """End all jobs under way, from another thread, and take no more; what they had begun is removed later."""
        with self._lock:
            self._is_killed = True
            for process in self._busy:
                process.kill()

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Have a job done; raise ImageError (or its kind) with the worker's words, Cancelled once it is killed."""
        if self._is_killed:
            raise errors.Cancelled("the work on layers was called off")
        with self._process() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended: it says nothing more
                process.stdin.write(json.dumps({"job": job, **arguments}).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        if not line and self._is_killed:
            raise errors.Cancelled("the work on layers was called off")
        if not line:
            raise errors.ImageError("the process that handles layers ended without a word")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["kind"], errors.ImageError)
            raise kind(answer["error"])
        return answer

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or subprocess.Popen(
            [sys.executable, "-I", str(_MAIN), str(self._incoming)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with self._lock:
            self._busy.add(process)
            if self._is_killed:
                process.kill()
        try:
            yield process
        except BaseException:
            with self._lock:
                self._busy.discard(process)
            process.kill()
            _end(process)
            raise
        with self._lock:
            self._busy.discard(process)
            if not self._is_closed and process.poll() is None:
                self._idle.append(process)
                return
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        process.__exit__(None, None, None)  # closes its pipes, which ends it, and waits
