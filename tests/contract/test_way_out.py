"""Pods reach the host's networks and nothing that only the host's loopback has, as root and rootless.

The host is a network namespace of its own, with 198.51.100.1 as its address.
"""

from __future__ import annotations

import json
import os
import shutil
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
import asyncio, json, os, socket, sys
from pathlib import Path
uid, level, base = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.environ["HOME"] = "/tmp"
from proa.network.outside.destinations import Destinations
from proa.network.outside.way_out import WayOut
from proa.node.noded.launch import NodedSettings, ensure_noded, stop_noded
from proa.node.runtimes.protocol import RuntimeFailure, SandboxConfig

INSIDE = ("10.96.0.0/16", "10.243.0.0/16", "10.244.0.0/16")
HOST, LOOPBACK = "198.51.100.1", "10.243.255.2"
loop = None

async def answer(reader, writer):
    count = 0
    while data := await reader.read(1 << 16):
        count += len(data)
    writer.write(b"%d " % count + b"y" * count)
    await writer.drain()
    writer.close()

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(b"echo " + data, address)

async def ask(client, pod, address, port, count=5):
    try:
        made = await client._socket_in(pod, "tcp", "", 0)
        async with asyncio.timeout(60):
            await loop.sock_connect(made, (address, port))
            reader, writer = await asyncio.open_connection(sock=made)
            writer.write(b"x" * count)
            writer.write_eof()
            told = await reader.read()
        writer.close()
        return told[:9].decode() + f"+{len(told)}"
    except OSError as error:
        return type(error).__name__ if error.errno not in (101, 113) else "Unreachable"

async def ask_udp(client, pod, address, port, count=5):
    made = await client._socket_in(pod, "udp", "", 0)
    try:
        made.connect((address, port))
        async with asyncio.timeout(60):
            for _ in range(3):
                await loop.sock_sendall(made, b"x" * count)
                told = await loop.sock_recv(made, 65535)
        return told[:6].decode() + f"+{len(told)}"
    except OSError as error:
        return type(error).__name__ if error.errno not in (101, 113) else "Unreachable"
    finally:
        made.close()

def host_rules():
    import subprocess
    return [subprocess.run(["ip", *words.split()], capture_output=True).stdout.decode()
            for words in ("-o link", "-o address", "rule", "route show table all")]

async def main():
    global loop
    loop = asyncio.get_running_loop()
    told = {}
    before = host_rules()
    for address, port in ((HOST, 8080), ("127.0.0.1", 8081)):
        await asyncio.start_server(answer, address, port)
    await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 8080))
    settings = NodedSettings("proa-1", "10.243.0.1", "10.244.1.0/24", level=level)
    client = await ensure_noded(base / "proa-1", settings)
    way = None
    try:
        status = await client.status()
        told["level"], told["netfilter"] = status.level, status.features["netfilter"]
        if told["netfilter"]:
            return
        pod = (await client.run_sandbox(SandboxConfig("default", "p", "uid-1", "host-1"))).id
        told["closed"] = await ask(client, pod, HOST, 8080)
        way = WayOut(client, Destinations("yes", INSIDE, LOOPBACK))
        await way.start()
        for name, who in (("pod", pod), ("node", "")):
            told[name] = {
                "answer": await ask(client, who, HOST, 8080),
                "much": await ask(client, who, HOST, 8080, 3_000_000),
                "datagram": await ask_udp(client, who, HOST, 8080),
                "large datagram": await ask_udp(client, who, HOST, 8080, 30_000),
                "nobody listens": await ask(client, who, HOST, 8079),
                "nobody takes": await ask_udp(client, who, HOST, 8079),
                "loopback": await ask(client, who, LOOPBACK, 8081),
                "no route from the host": await ask(client, who, "203.0.113.9", 80),
                "the metadata service": await ask(client, who, "169.254.169.254", 80),
                "pods of a node that is not": await ask(client, who, "10.244.9.9", 80),
            }
        pods = (await asyncio.gather(*(ask(client, pod, HOST, 8080, 100_000) for _ in range(100))))
        told["many"] = len(pods), sorted(set(pods))
        await way.stop()
        told["stopped"] = [await ask(client, pod, HOST, 8080), await ask(client, "", HOST, 8080)]
        way = WayOut(client, Destinations("loopback", INSIDE, LOOPBACK))
        await way.start()
        told["with loopback"] = [await ask(client, who, LOOPBACK, 8081) for who in (pod, "")]
        told["other loopback"] = [await ask(client, who, "127.0.0.1", 8081) for who in (pod, "")]
        told["host"] = host_rules() == before
    finally:
        if way is not None:
            await way.close()
        await client.close()
        await stop_noded(base / "proa-1")
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
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("not on this machine: needs root and ip to make a host's network")
    if why := dict(probe_features())[level]:
        place = "not on this machine: " if level == "root" else ""  # a machine can be mended for rootless
        pytest.skip(f"{place}{level}: {why}")
    uid = OTHER_UID if level == "rootless" else 0
    python = "/usr/bin/python3" if uid and os.path.exists("/usr/bin/python3") else sys.executable
    environment = {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    host = ["unshare", "--net", "sh", "-c"]
    host += ['ip link set lo up && ip address add 198.51.100.1/32 dev lo && exec "$@"', "sh"]
    done = subprocess.run(
        [*host, python, "-c", STORY, str(uid), level, str(folder)],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    if why := told["netfilter"]:
        pytest.skip(f"not on this machine: netfilter: {why}")
    return told


@pytest.mark.parametrize("level", ["root", "rootless"])
def test_pods_and_the_node_reach_other_networks_and_nothing_of_the_hosts_loopback(
    level: str, folder: Path
) -> None:
    told = tell(level, folder)
    assert told["level"] == level
    reached = {
        "answer": "5 yyyyy+7",
        "much": "3000000 y+3000008",
        "datagram": "echo x+10",
        "large datagram": "echo x+30005",
        "nobody listens": "ConnectionResetError",
        "nobody takes": "ConnectionRefusedError",
        "loopback": "Unreachable",
        "no route from the host": "ConnectionResetError",
        "the metadata service": "Unreachable",
        "pods of a node that is not": "Unreachable",
    }
    assert told["pod"] == reached
    assert told["node"] == reached | {"loopback": "ConnectionRefusedError"}
    assert told["many"] == [100, ["100000 yy+100007"]]
    assert told["closed"] == "Unreachable"
    assert told["stopped"] == ["Unreachable", "ConnectionRefusedError"]
    assert told["with loopback"] == ["5 yyyyy+7"] * 2
    assert told["other loopback"] == ["ConnectionRefusedError"] * 2
    assert told["host"]
