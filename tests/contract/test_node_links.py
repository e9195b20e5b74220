"""Nodes of one machine reach each other's pods, as root and rootless, and lose nobody else when one ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded import linux
from proa.node.noded.probe import probe_features

SOURCE = Path(linux.__file__).parents[3]
OTHER_UID = 20001
STORY = """
import asyncio, json, os, sys
from pathlib import Path
uid, level, base = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.environ["HOME"] = "/tmp"
from proa.node.noded.launch import NodedSettings, ensure_noded, stop_noded
from proa.node.runtimes.protocol import ContainerConfig, RuntimeFailure, SandboxConfig

directories = {n: base / f"proa-{n}" for n in (1, 2, 3)}
ends = {n: {"number": n, "node_ip": f"10.243.0.{n}", "pod_cidr": f"10.244.{n}.0/24"} for n in directories}
SERVER = '''
import socket
server = socket.create_server(("", 8080))
while True:
    made, address = server.accept()
    made.sendall(address[0].encode())
    made.close()
'''

async def start(n):
    neighbours = tuple(str(path) for m, path in directories.items() if m != n)
    end = ends[n]
    settings = NodedSettings(f"proa-{n}", end["node_ip"], end["pod_cidr"], level=level, neighbours=neighbours)
    return await ensure_noded(directories[n], settings)

async def serve(client, n):
    pod = await client.run_sandbox(SandboxConfig("default", "p", f"uid-{n}", f"host-{n}"))
    config = ContainerConfig("c", "proa.local/python", ("python3", "-c", SERVER), (), log_path=str(base / f"log-{n}"))
    await client.start_container(await client.create_container(pod.id, config))
    return pod

async def ask(client, sandbox, host):
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while True:
            try:
                made = await client.dial(sandbox, host, 8080)
            except RuntimeFailure as failure:
                if "refused" not in failure.message:
                    raise
                await asyncio.sleep(0.01)  # it does not listen yet
                continue
            answer = (await loop.sock_recv(made, 100)).decode()
            made.close()
            return answer

async def main():
    told = {}
    clients = dict(zip(ends, await asyncio.gather(*map(start, ends))))
    try:
        told["levels"] = sorted({(await client.status()).level for client in clients.values()})
        for _ in range(2):
            for near, far in ((2, 1), (3, 1), (3, 2)):
                await clients[near].link(clients[far], ends[near], ends[far])
        pods = {n: await serve(clients[n], n) for n in ends}
        told["seen"] = [await ask(clients[n], pods[n].id, pods[2].ip) for n in (1, 2, 3)]
        told["node"] = await ask(clients[1], "", pods[3].ip)
        await clients[2].close()
        await stop_noded(directories[2])
        told["others"] = await ask(clients[1], pods[1].id, pods[3].ip)
        clients[2] = await start(2)
        await clients[2].link(clients[1], ends[2], ends[1])
        pod = await serve(clients[2], 2)
        told["again"] = await ask(clients[1], pods[1].id, pod.ip)
        await clients[3].link(clients[2], ends[3], ends[2])
        told["other way"] = await ask(clients[2], pod.id, pods[3].ip)
    finally:
        for n, client in clients.items():
            await client.close()
            await stop_noded(directories[n])
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="proa-contract-") as path:
        os.chmod(path, 0o777)
        yield Path(path)


def tell(level: str, folder: Path) -> dict[str, Any]:
    """Run the story on one rung of the ladder and return what it saw."""
    why = dict(probe_features())[level]
    if why:
        place = "not on this machine: " if level == "root" else ""  # a machine can be mended for rootless
        pytest.skip(f"{place}{level}: {why}")
    uid = OTHER_UID if level == "rootless" and os.geteuid() == 0 else 0
    python = "/usr/bin/python3" if uid and os.path.exists("/usr/bin/python3") else sys.executable
    environment = {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python, "-c", STORY, str(uid), level, str(folder)],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("level", ["root", "rootless"])
def test_pods_of_several_nodes_reach_one_another_by_their_own_addresses(level: str, folder: Path) -> None:
    told = tell(level, folder)
    assert told["levels"] in (["root"], ["rootless"], ["rootless-subids"])
    assert told["seen"] == ["10.244.1.2", "10.244.2.2", "10.244.3.2"]
    assert told["node"] == "10.243.0.1"
    assert told["others"] == "10.244.1.2"
    assert told["again"] == "10.244.1.2"
    assert told["other way"] == "10.244.2.2"
