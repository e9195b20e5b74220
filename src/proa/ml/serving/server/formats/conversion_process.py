"""Run converting.py beside a server: of low priority, bounded in time and memory, and gone when the server is.

The process opens the pickle in the same pod, as the server does. Where memory is short the kernel ends it, not the
server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from proa.ml.serving.server.formats import settings
from proa.ml.serving.server.formats.protocol import LoadOptions

MOST_SECONDS = 300
"""Of a conversion, unless --convert_seconds says otherwise."""
PROGRAM = "proa.ml.serving.server.formats.converting"


class ConversionProcess:
    """What makes `stem`.json and `stem`.onnx of a file, at most once."""

    def __init__(self, path: Path, stem: Path, options: LoadOptions) -> None:
        """Raise ModelError where --convert_seconds is no number."""
        self.path, self.stem = path, stem
        self.seconds = settings.find_number(options.settings, "convert_seconds") or MOST_SECONDS
        self._trusted = options.settings.get("trusted_types", "")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.is_stopped = False

    def run(self) -> str:
        """Wait until it has ended; return why it made nothing, "" where it ended well."""
        with self._lock:
            if self.is_stopped:
                return "it was stopped"
            self._process = process = self._start()
        try:
            code = process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"making it takes longer than {self.seconds} s (--convert_seconds)"
        return f"the process that makes it ended with {code}" if code else ""

    def stop(self) -> None:
        """End it, now or when it would begin; may be called from any thread."""
        with self._lock:
            self.is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", PROGRAM, str(self.path), str(self.stem), self._trusted]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
