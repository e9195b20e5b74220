"""Run a container's postStart and preStop hooks: exec, httpGet, sleep.

Follows pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

import asyncio

from proa.client.protocol import Object
from proa.node.probes.exec import run_command
from proa.node.probes.http import http_get
from proa.node.probes.ports import find_port
from proa.node.runtimes.protocol import Runtime, RuntimeFailure


class HookFailed(Exception):
    """The hook did not succeed."""


async def run_hook(
    runtime: Runtime,
    container_id: str,
    container: Object,
    hook: Object,
    pod_ip: str,
    timeout_seconds: float | None,
) -> None:
    """Run one hook to its end; raise HookFailed, or TimeoutError when it takes longer than it may."""
    async with asyncio.timeout(timeout_seconds):
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
        elif "exec" in hook:
            await _run_exec(runtime, container_id, hook["exec"].get("command") or [])
        elif "httpGet" in hook:
            await _run_http(runtime, container, hook["httpGet"], pod_ip)
        elif "tcpSocket" in hook:
            raise HookFailed("tcpSocket hooks are not run: the field exists for compatibility only")


async def _run_exec(runtime: Runtime, container_id: str, command: list[str]) -> None:
    try:
        code, output = await run_command(runtime, container_id, tuple(command))
    except RuntimeFailure as failure:
        raise HookFailed(failure.message) from failure
    if code != 0:
        raise HookFailed(f"command '{' '.join(command)}' exited with {code}: {output}")


async def _run_http(runtime: Runtime, container: Object, get: Object, pod_ip: str) -> None:
    try:
        port = find_port(container, get["port"])
        answer = await http_get(runtime, get, pod_ip, port)
    except (OSError, RuntimeFailure, ValueError) as error:
        raise HookFailed(str(error)) from error
    if not 200 <= answer.status < 400:
        raise HookFailed(f"HTTP hook answered {answer.status}")
