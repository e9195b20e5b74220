"""Run one probe once and say what came of it, in upstream's words.

Follows pkg/kubelet/prober/prober.go, pkg/probe/{http,tcp,exec,grpc}.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex

from proa.client.protocol import Object
from proa.node.probes.exec import run_command
from proa.node.probes.grpc import check_health
from proa.node.probes.http import http_get, url_of
from proa.node.probes.ports import find_port
from proa.node.runtimes.protocol import Runtime, RuntimeFailure
from proa.objects.quick_dataclass import dataclass

DEADLINE_EXCEEDED = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether the probe succeeded, and what it said.

    `errored`: it could not be run, which tells nothing of the container; `is_warning`: it passed, but not as one would.
    """

    ok: bool
    message: str = ""
    errored: bool = False
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed."""

    container_id: str
    container: Object
    pod_ip: str


async def run_probe(runtime: Runtime, probe: Object, target: Target) -> ProbeResult:
    """Return the outcome; a probe that takes longer than timeoutSeconds has failed."""
    timeout_seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        if "exec" in probe:
            return await _exec(runtime, probe["exec"].get("command") or [], target, timeout_seconds)
        if "httpGet" in probe:
            return await _http(runtime, probe["httpGet"], target, timeout_seconds)
        if "tcpSocket" in probe:
            return await _tcp(runtime, probe["tcpSocket"], target, timeout_seconds)
        return ProbeResult(*await check_health(runtime, probe["grpc"], target.pod_ip, timeout_seconds))
    except ValueError as error:
        return ProbeResult(False, str(error), errored=True)


async def _exec(runtime: Runtime, command: list[str], target: Target, timeout_seconds: float) -> ProbeResult:
    try:
        async with asyncio.timeout(timeout_seconds):
            code, output = await run_command(runtime, target.container_id, tuple(command))
    except TimeoutError:
        line = shlex.join(command)
        return ProbeResult(False, f'command timed out: "{line}" timed out after {timeout_seconds:g}s')
    except RuntimeFailure as failure:
        return ProbeResult(False, failure.message, errored=True)
    return ProbeResult(code == 0, output)


async def _http(runtime: Runtime, get: Object, target: Target, timeout_seconds: float) -> ProbeResult:
    port = find_port(target.container, get["port"])
    url = url_of(get, target.pod_ip, port)
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await http_get(runtime, get, target.pod_ip, port)
    except TimeoutError:
        return ProbeResult(False, f'Get "{url}": {DEADLINE_EXCEEDED}')
    except (OSError, RuntimeFailure) as error:
        return ProbeResult(False, f'Get "{url}": {_words(error, target.pod_ip, port)}')
    if 300 <= answer.status < 400:
        body = answer.body.decode(errors="replace")
        return ProbeResult(True, f"Probe terminated redirects, Response body: {body}", is_warning=True)
    if 200 <= answer.status < 300:
        return ProbeResult(True)
    return ProbeResult(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _tcp(runtime: Runtime, action: Object, target: Target, timeout_seconds: float) -> ProbeResult:
    port = find_port(target.container, action["port"])
    host = action.get("host") or target.pod_ip
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await runtime.dial("", host, port)
    except TimeoutError:
        return ProbeResult(False, f"dial tcp {host}:{port}: i/o timeout")
    except (OSError, RuntimeFailure) as error:
        return ProbeResult(False, _words(error, host, port))
    connection.close()
    return ProbeResult(True)


def _words(error: OSError | RuntimeFailure, host: str, port: int) -> str:
    """Return a failed connection as Go's net package words it."""
    if isinstance(error, RuntimeFailure):
        return f"dial tcp {host}:{port}: connect: {error.message.rpartition(': ')[2]}"
    if error.errno is None:
        return str(error)
    if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT):
        return f"dial tcp {host}:{port}: connect: {os.strerror(error.errno).lower()}"
    return f"read tcp {host}:{port}: {os.strerror(error.errno).lower()}"
