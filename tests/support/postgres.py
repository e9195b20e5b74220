"""Run a real PostgreSQL for tests: Debian's, with its data in a temporary folder and a socket there, on no port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 90.0
USER = "postgres"
GUARD = """
import os, signal, sys
server = int(sys.argv[1])
sys.stdin.buffer.read()
try:
    os.kill(server, signal.SIGQUIT)
except ProcessLookupError:
    pass
"""
"""Ends the server when its standard input ends, as it does when whoever started it is gone."""


class Postgres:
    """One server. It does not sync: a kill of it keeps what it wrote, a power failure need not."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._schemas = 0

    def make(self) -> None:
        """Make its data folder."""
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                self._programs / "initdb",
                "-D",
                self._folder / "data",
                "-A",
                "trust",
                "-U",
                USER,
                "-N",
                "-E",
                "UTF8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
        )

    def start(self) -> None:
        """Start it; return when it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "max_connections": "20",
            "shared_buffers": "8MB",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._folder,
            )
        self._guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(Exception):
                self._run("SELECT 1")
                return
            time.sleep(0.02)
        raise AssertionError(f"PostgreSQL does not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it at once, and everybody's connection with it."""
        assert self._process is not None
        assert self._guard is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._guard.communicate()

    def new_url(self) -> str:
        """Return the URL of an empty place in it."""
        self._schemas += 1
        name = f"test_{self._schemas}"
        self._run(f"CREATE SCHEMA {name}")
        return f"{self._url}&options=-csearch_path%3D{name}"

    @property
    def _url(self) -> str:
        return f"postgresql://{USER}:open%20sesame%2F@/postgres?host={self._folder}"

    def _run(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql)


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs, or skip the test."""
    pytest.importorskip("psycopg", reason="not on this machine: no psycopg; pip install 'proa[postgres]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("not on this machine: no PostgreSQL server; Debian's package is postgresql")
    if os.geteuid() == 0 and "postgres" not in [account.pw_name for account in pwd.getpwall()]:
        pytest.skip("not on this machine: no user postgres, and PostgreSQL does not run as root")
    return found[-1]


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Run one, empty, until the block ends."""
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="proa-postgres-", dir="/tmp"))  # a socket's path is short
    try:
        postgres = Postgres(folder, programs)
        postgres.make()
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder)
