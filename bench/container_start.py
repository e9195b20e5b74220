"""How fast does a container start, beside the same program run bare, and in runc, crun or bwrap where installed?

All runs are one after another from this process; medians. A pod is everything: namespaces, network, address, control
groups, root file system, program, exit code.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from proa.node.noded.client import NodedClient
from proa.node.noded.launch import NodedSettings, ensure_noded, running_pid, stop_noded
from proa.node.runtimes.protocol import ContainerConfig, SandboxConfig

TRUE = "/bin/true"


def run(quick: bool) -> list[dict[str, Any]]:
    """Return one row a figure; fewer rounds when quick."""
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        return asyncio.run(_measure(Path(folder), 10 if quick else 50))


async def _measure(folder: Path, rounds: int) -> list[dict[str, Any]]:
    ready = [await _ready_milliseconds(folder / f"ready-{number}") for number in range(max(3, rounds // 10))]
    client = await ensure_noded(folder / "node", NodedSettings(node_name="bench"))
    try:
        level = (await client.status()).level
        sandbox = await client.run_sandbox(SandboxConfig("default", "bench", "bench", "bench"))
        container = await _median(rounds, lambda: _run_container(client, sandbox.id, [TRUE]))
        python = await _median(
            rounds, lambda: _run_container(client, sandbox.id, [sys.executable, "-c", "pass"])
        )
        pod = await _median(rounds, lambda: _run_pod(client))
        handlers = await _median_of_handlers(client, rounds)
        pid = running_pid(folder / "node")
        memory = _resident_mebibytes(pid or os.getpid())
    finally:
        await client.close()
        await stop_noded(folder / "node")
    bare = _median_of(rounds, [TRUE])
    bare_python = _median_of(rounds, [sys.executable, "-c", "pass"])
    rows = [
        _row(f"noded ready ({level})", statistics.median(ready), "python -c pass", bare_python),
        _row(f"container, {TRUE}, to its exit code ({level})", container, "subprocess.Popen", bare),
        _row(f"container, python -c pass ({level})", python, "subprocess.Popen", bare_python),
        _row(f"whole pod, {TRUE}, made and removed ({level})", pod, "subprocess.Popen", bare),
    ]
    for name, command in _others(folder).items():
        rows.append(_row(f"container, {TRUE} ({level})", container, name, _median_of(rounds, command)))
    for name, taken in handlers.items() if len(handlers) > 1 else ():
        rows.append(
            _row(f"container in a pod, {TRUE} ({level})", handlers["native"], f"handler {name}", taken)
        )
    rows.append({
        "name": "noded's memory", "value": memory, "unit": "MiB", "baseline": "an idle python",
        "baseline_value": _idle_python_mebibytes(), "ratio": round(_idle_python_mebibytes() / memory, 2),
    })  # fmt: skip
    return rows


async def _ready_milliseconds(directory: Path) -> float:
    begun = time.perf_counter()
    client = await ensure_noded(directory, NodedSettings(node_name="bench"))
    taken = (time.perf_counter() - begun) * 1000
    await client.close()
    await stop_noded(directory)
    return taken


async def _run_container(client: NodedClient, sandbox_id: str, argv: list[str]) -> None:
    events = client.events()
    config = ContainerConfig("bench", "proa.local/python", tuple(argv), ())
    identifier = await client.create_container(sandbox_id, config)
    await client.start_container(identifier)
    async for event in events:
        if event.type == "exited" and event.container_id == identifier:
            break
        if event.type == "resync" and (found := await client.get_container(identifier)) and found.finished_at:
            break
    await client.remove_container(identifier)


async def _median_of_handlers(client: NodedClient, rounds: int) -> dict[str, float]:
    """Return what a container takes with each handler of RuntimeClasses, in pods that are there, turn by turn."""
    names = [name for name in (await client.status()).handlers if name != "process"]
    sandboxes = {
        name: await client.run_sandbox(SandboxConfig("default", name, name, name, runtime_handler=name))
        for name in names
    }
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            begun = time.perf_counter()
            await _run_container(client, sandboxes[name].id, [TRUE])
            taken[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


async def _run_pod(client: NodedClient) -> None:
    sandbox = await client.run_sandbox(SandboxConfig("default", "pod", "pod", "pod"))
    await _run_container(client, sandbox.id, [TRUE])
    await client.remove_sandbox(sandbox.id)


async def _median(rounds: int, body: Callable[[], Awaitable[None]]) -> float:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await body()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def _median_of(rounds: int, command: list[str]) -> float:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def _others(folder: Path) -> dict[str, list[str]]:
    """Return the commands that do the same with what is installed, each tried once."""
    commands = {
        "bwrap": ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", TRUE]
    }
    for name in ("runc", "crun"):
        if shutil.which(name):
            commands[name] = [
                name,
                "run",
                "--bundle",
                str(_make_bundle(folder / name, name)),
                f"proa-bench-{os.getpid()}",
            ]
    return {name: command for name, command in commands.items() if shutil.which(name) and _works(command)}


def _make_bundle(folder: Path, program: str) -> Path:
    folder.mkdir()
    subprocess.run([program, "spec"], cwd=folder, check=True)
    spec = json.loads((folder / "config.json").read_text())
    spec["process"] |= {"args": [TRUE], "terminal": False}
    spec["root"] = {"path": "/", "readonly": True}
    (folder / "config.json").write_text(json.dumps(spec))
    return folder


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def _resident_mebibytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _idle_python_mebibytes() -> float:
    script = "print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    return round(int(answer.stdout) / 1024, 1)


def _row(name: str, milliseconds: float, baseline: str, baseline_milliseconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(milliseconds, 1),
        "unit": "ms",
        "baseline": baseline,
        "baseline_value": round(baseline_milliseconds, 1),
        "ratio": round(baseline_milliseconds / milliseconds, 2),
    }
