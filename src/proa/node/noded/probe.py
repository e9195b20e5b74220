"""Find out by trying what isolation this machine gives, and say for each lack what would mend it.

Each answer comes from the real operation, in a noded of its own that is gone at once: nothing is guessed from
versions or files. `proa doctor` prints it, and the ladder (ladder.py) climbs by the same code.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.node.noded.client import NodedClient

_PROBE_SECONDS = 20.0


def probe_features() -> Mapping[str, str]:
    """Return what works: names mapped to "" (it does), or to why not and what would help.

    `root`, `rootless-subids`, `rootless` are the rungs; the rest is what the highest of them has here.
    """
    return {**_probe_rungs(), **_probe_node()}


def chosen_level() -> str:
    """Return the rung that a node started now would stand on."""
    rungs = _probe_rungs()
    return next((name for name, why in rungs.items() if not why), "process")


def probe_runtimes() -> Mapping[str, str]:
    """Return what can run a pod's containers here, by the names of RuntimeClasses: "", or why it cannot.

    Each runs one, and so does a pod with ids of its own (hostUsers: false).
    """
    from proa.node.noded.launch import OTHER_RUNTIMES, find_programs

    async def ask(client: NodedClient) -> dict[str, str]:
        handlers = (await client.status()).handlers
        found = {f"runtime {name}": await _try_runtime(client, name) for name in handlers}
        if "native" in handlers:
            found["pods with ids of their own"] = await _try_runtime(client, "native", host_users=False)
        installed = find_programs()
        why = {
            name: "for nodes of root alone" if name in installed else "not installed"
            for name in OTHER_RUNTIMES
        }
        missing = {f"runtime {name}": f"{reason}; nothing needs it" for name, reason in why.items()}
        return missing | found

    return _ask_node(ask)


async def _try_runtime(client: NodedClient, handler: str, *, host_users: bool = True) -> str:
    """Run a program to its end; return "" when it did."""
    from proa.node.runtimes.protocol import ContainerConfig, RuntimeFailure, SandboxConfig

    config = SandboxConfig(
        "default", "probe", "probe", "probe", runtime_handler=handler, host_users=host_users
    )
    try:
        sandbox = await client.run_sandbox(config)
    except RuntimeFailure as failure:
        return failure.message
    try:
        container = ContainerConfig("probe", "proa.local/python", ("/bin/sh", "-c", "exit 7"), ())
        identifier = await client.create_container(sandbox.id, container)
        await client.start_container(identifier)
        async for _ in client.events():
            found = await client.get_container(identifier)
            if found is None or found.state == "Exited":
                break
        return "" if found is not None and found.exit_code == 7 else "its exit code is not the program's"
    except RuntimeFailure as failure:
        return failure.message
    finally:
        await client.remove_sandbox(sandbox.id)


@functools.cache
def _probe_rungs() -> dict[str, str]:
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("main.py")), "proa-noded-probe"]
    answer = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=True, text=True)
    return dict(json.loads(answer.stdout))


@functools.cache
def _probe_node() -> dict[str, str]:
    async def ask(client: NodedClient) -> dict[str, str]:
        return {**(await client.status()).features, "vxlan": await _why_no_overlay(client)}

    return _ask_node(ask)


def _ask_node(ask: Callable[[NodedClient], Awaitable[dict[str, str]]]) -> dict[str, str]:
    """Ask a noded that is there for no longer."""
    from proa.node.noded.launch import NodedSettings, ensure_noded, stop_noded

    async def main(directory: Path) -> dict[str, str]:
        client = await ensure_noded(directory, NodedSettings(node_name="probe"))
        try:
            return await ask(client)
        finally:
            await client.close()
            await stop_noded(directory)

    with tempfile.TemporaryDirectory(prefix="proa-probe-") as folder:
        return asyncio.run(main(Path(folder) / "node"))


async def _why_no_overlay(client: NodedClient) -> str:
    """Return "" where nodes of other machines can be reached from here."""
    from proa.node.noded.overlay import PORT
    from proa.node.runtimes.protocol import RuntimeFailure

    device = {"vni": os.getpid(), "local": "127.0.0.1", "port": PORT, "mtu": 1450, "node_ip": "10.243.0.1"}
    try:
        await client.set_overlay(device, [])
    except PermissionError:
        return "nodes of other machines need root: the way to them is a VXLAN device of the machine's network"
    except (OSError, RuntimeFailure) as error:
        why = error.message if isinstance(error, RuntimeFailure) else error.strerror or str(error)
        return f"no nodes of other machines: {why}; it takes the kernel's module vxlan and UDP port {PORT}"
    return ""
