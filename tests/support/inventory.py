"""Count what a cluster holds of its machine, to see that nothing of pods that are gone is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from support.clusters import Cluster


def server_pid(cluster: Cluster) -> int:
    """Return the server's process."""
    pid: int = cluster.proa.status()["pid"]
    return pid


def noded_pid(cluster: Cluster, node: str = "proa-1") -> int:
    """Return the process of a node's supervisor."""
    return int((cluster.proa.home / "nodes" / node / "noded.pid").read_text().split()[0])


def take_inventory(cluster: Cluster, node: str = "proa-1") -> Counter[str]:
    """Return how many there are of all that pods are made of: processes, namespaces, mounts, files, rules."""
    home = cluster.proa.home / "nodes" / node
    noded, server = noded_pid(cluster, node), server_pid(cluster)
    below = descendants(noded)
    found = Counter(
        {
            "processes": len(below),
            "network namespaces": len({link for pid in below if (link := namespace(pid, "net"))}),
            "mounts of the node": Path(f"/proc/{noded}/mountinfo").read_text().count(f" {home}/"),
            "links": len(Path(f"/proc/{noded}/net/dev").read_text().splitlines()),
            "routes": len(Path(f"/proc/{noded}/net/route").read_text().splitlines()),
            "addresses": Path(f"/proc/{noded}/net/fib_trie").read_text().count("host LOCAL"),
            "descriptors of noded": len(os.listdir(f"/proc/{noded}/fd")),
            "descriptors of the server": len(descriptors(server) - descriptors(server, "/store/")),
            "threads of the server": len(os.listdir(f"/proc/{server}/task")),
            "folders of pods": count(home / "pods"),
            "folders of logs": count(home / "logs/pods"),
            "records": count(home / "state/sandboxes") + count(home / "state/containers"),
            "roots": count(home / "state/roots"),
            "control groups": len(control_groups(home)),
            "links of the host": len(Path("/proc/net/dev").read_text().splitlines()),
        }
    )
    found.update(Counter(f"rule {rule}" for rule in rules_of(noded)))
    return found


def descendants(pid: int) -> set[int]:
    """Return the ids of a process and of everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = set(), [pid]
    while todo:
        found.add(current := todo.pop())
        todo += children.get(current, [])
    return found


def descriptors(pid: int, place: str = "") -> set[str]:
    """Return a process' descriptors, of those whose file's path has `place`; history holds files of the store open."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if place in os.readlink(f"/proc/{pid}/fd/{name}"):
                found.add(name)
    return found


def namespace(pid: int, kind: str) -> str:
    """Return what a process' namespace is called, "" when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def count(folder: Path) -> int:
    """Return how many entries a folder has."""
    return len(os.listdir(folder)) if folder.is_dir() else 0


def control_groups(home: Path) -> set[Path]:
    """Return the control groups of a node's pods and containers."""
    record = home / "noded.cgroups"
    own = {Path(line) for line in record.read_text().splitlines()} if record.exists() else set()
    return {folder for parent in own if parent.is_dir() for folder in parent.rglob("*") if folder.is_dir()}


def rules_of(noded: int) -> list[str]:
    """Return the lines of nftables' rules in the node's network, none where they cannot be read.

    Lists of elements are taken apart. Left out are addresses, ports and plans, which differ from pod to pod, and the
    chains of plans, of which there is one a number of endpoints.
    """
    program = next((path for path in ("/usr/sbin/nft", "/sbin/nft") if os.access(path, os.X_OK)), "")
    if not program or os.geteuid() != 0:
        return []
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        descriptor = os.open(f"/proc/{noded}/ns/net", os.O_RDONLY)
        libc.setns(descriptor, 0x40000000)

    listed = subprocess.run(
        [program, "list", "ruleset"], capture_output=True, text=True, preexec_fn=enter, check=True
    )
    kept = re.sub(r"\tchain plan_\d+ {.*?\n\t}\n", "", listed.stdout, flags=re.S)
    lines, table, block = [], "", ""
    for line in kept.splitlines():
        if line.startswith("table"):
            table = line.rstrip(" {")
        elif line.startswith("\t") and not line.startswith("\t\t"):
            block = line.strip(" \t{")
        else:
            shown = re.sub(r"elements = {|[\d.:a-f/]*[.:\d][\d.:a-f/]*|plan_\d+", "*", line)
            lines.append(f"{table} {block} {' '.join(shown.split()).strip('*,{} ')}")
    return lines
