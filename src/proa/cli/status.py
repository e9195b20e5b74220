"""Show whether the cluster runs, its nodes, its pods, and what its processes use."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import time
from pathlib import Path
from typing import Any

from proa import __version__
from proa.cli.gateway import find_places, places_lines
from proa.cli.terminal import GREEN, RED, Terminal, format_bytes, format_table, print_json
from proa.client.protocol import Object
from proa.cluster_settings import read_settings
from proa.home import Home, find_home, option_for
from proa.local_nodes.addresses import PIPELINES_NAME, REGISTRY_NAME, REGISTRY_PORT, TUNING_NAME
from proa.objects.errors import ApiError

DESCRIPTION = """\
Show whether the cluster in this home runs, its nodes with their isolation, its pods, where its objects are and
whether they are encrypted there, and the memory of its processes.
"""
EPILOG = """\
Exit code 0: it runs and is ready. 1: it is stopped, or not ready.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="how to print (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Find out and print."""
    home = find_home(options.home)
    status = find_status(home)
    if options.output == "json":
        print_json(status)
    else:
        print_status(status)
    return 0 if status["ready"] else 1


def find_status(home: Home) -> dict[str, Any]:
    """Return what `-o json` prints."""
    status: dict[str, Any] = {
        "version": __version__,
        "home": str(home.path),
        "running": False,
        "ready": False,
    }
    server = home.find_server()
    if server is None:
        left = [process for node in home.node_folders() for process in find_noded(node)]
        return status | ({"processes": left} if left else {})
    if "node" in server:
        return status | find_joined(home, server)
    processes = [{"name": "server", **measure(int(server["pid"]))}]
    for node in home.node_folders():
        processes += find_noded(node)
    processes += find_envoy(home)
    status |= {"running": True, "kubeconfig": str(home.kubeconfig), "processes": processes}
    status |= {
        key: server.get(key)
        for key in ("pid", "server", "registry", "pipelines", "tuning", "startedAt", "startSeconds")
    }
    status |= describe_settings(home)
    status["gateway"] = find_places(home)
    try:
        status |= asyncio.run(ask(home))
    except (ApiError, OSError) as error:
        status["error"] = str(error)
    return status


def find_joined(home: Home, server: dict[str, Any]) -> dict[str, Any]:
    """Return the same of a home that is a node of another machine's cluster, as far as the node is told of it."""
    from proa.joining.membership import connect_as_node
    from proa.objects.resource import NODES, PODS

    async def ask_as_node() -> tuple[Object, int]:
        client = connect_as_node(home)
        try:
            node = await client.get(NODES, server["node"])
            pods = await client.list(PODS, field_selector=f"spec.nodeName={server['node']}")
        finally:
            await client.close()
        return node, len(pods.items)

    processes = [{"name": "node", **measure(int(server["pid"]))}, *find_noded(home.node(server["node"]))]
    status: dict[str, Any] = {"running": True, "processes": processes}
    status |= {key: server.get(key) for key in ("pid", "server", "node", "startedAt", "startSeconds")}
    try:
        node, pods = asyncio.run(ask_as_node())
    except (ApiError, OSError) as error:
        return status | {"error": str(error)}
    shown = describe_node(node)
    return status | {"ready": shown["ready"], "nodes": [shown], "pods": {"on this node": pods}}


def describe_settings(home: Home) -> dict[str, Any]:
    """Return where objects are, how large the log is there, what says how they are encrypted, and what is audited."""
    kept = read_settings(home)
    if kept is None:
        return {}
    store: dict[str, Any] = {"kind": "etcd", "address": kept.store} if kept.store else {"kind": "log"}
    if not kept.store:
        store |= {"path": str(home.store), "bytes": find_size(home.store)}
    audit = {"policy": kept.audit_policy, "log": kept.audit_log or str(home.audit_log)}
    return {
        "store": store,
        "encryptionConfig": kept.encryption or None,
        "audit": audit if kept.audit_policy else None,
    }


def find_size(folder: Path) -> int:
    """Return the bytes of the files in a folder, without those that compaction takes away meanwhile."""
    size = 0
    for path in folder.glob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            continue
    return size


def find_noded(node: Path) -> list[dict[str, Any]]:
    """Return the node's supervisor, as a list of one or none."""
    try:
        pid = int((node / "noded.pid").read_text().split()[0])
        return [{"name": f"noded {node.name}", **measure(pid)}]
    except (OSError, ValueError, IndexError):
        return []


def find_envoy(home: Home) -> list[dict[str, Any]]:
    """Return the gateway's Envoy, as a list of one or none."""
    try:
        pid = int((home.gateway / "envoy.pid").read_text())
        if "--restart-epoch" not in Path(f"/proc/{pid}/cmdline").read_text():
            return []
        return [{"name": "envoy", **measure(pid)}]
    except (OSError, ValueError, IndexError):
        return []


def measure(pid: int) -> dict[str, Any]:
    """Return a process's id, memory that is its own (PSS, bytes) and processor time so far."""
    pss = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            pss = int(line.split()[1]) * 1024
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        "pid": pid,
        "memoryBytes": pss,
        "cpuSeconds": (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
    }


async def ask(home: Home) -> dict[str, Any]:
    """Ask the API server for nodes and pods."""
    from proa.client.kubeconfig import connect
    from proa.objects.resource import NODES, PODS

    client = connect(home.kubeconfig)
    problem = ""
    try:
        try:
            await client.read("/readyz")
        except ApiError as error:
            problem = error.message
        nodes = (await client.list(NODES)).items
        pods = (await client.list(PODS)).items
    finally:
        await client.close()
    phases: dict[str, int] = {}
    for pod in pods:
        phase = (pod.get("status") or {}).get("phase", "Unknown")
        phases[phase] = phases.get(phase, 0) + 1
    shown = [describe_node(node) for node in nodes]
    is_ready = not problem and any(node["ready"] for node in shown)
    return {"ready": is_ready, "nodes": shown, "pods": phases} | ({"problem": problem} if problem else {})


def describe_node(node: Object) -> dict[str, Any]:
    """Return what is worth knowing of a node."""
    conditions = {c["type"]: c for c in node["status"].get("conditions") or []}
    annotations = node["metadata"].get("annotations") or {}
    condition = conditions.get("Ready", {}).get("status", "Unknown")
    return {
        "name": node["metadata"]["name"],
        "ready": condition == "True",
        "condition": condition,
        "isolation": annotations.get("proa.local/isolation", "unknown"),
        "address": next((a["address"] for a in node["status"].get("addresses") or []), ""),
    }


def print_status(status: dict[str, Any]) -> None:
    """Print for a person."""
    terminal = Terminal()
    if not status["running"]:
        terminal.line(f"{terminal.paint('stopped', RED)}  {status['home']}")
        if left := [process["name"].removeprefix("noded ") for process in status.get("processes", [])]:
            terminal.line(f"the server has ended without being asked to; pods go on, on {', '.join(left)}")
        verb = "join" if (Path(status["home"]) / "join.json").exists() else "up"
        terminal.line(f"start it with: proa {verb} --detach{option_for(Path(status['home']))}")
        return
    word = terminal.paint("ready", GREEN) if status["ready"] else terminal.paint("not ready", RED)
    uptime = time.time() - float(status["startedAt"])
    terminal.line(f"{word}  {status['server']}  up {uptime:.0f} s, started in {status['startSeconds']:.2f} s")
    if "error" in status:
        terminal.line(f"the API does not answer: {status['error']}")
        return
    if "problem" in status:
        terminal.line(status["problem"])
    rows = [("NODE", "READY", "ISOLATION", "ADDRESS")]
    rows += [(n["name"], n["condition"], n["isolation"], n["address"]) for n in status["nodes"]]
    terminal.line(format_table(rows))
    terminal.line(
        "pods: " + (", ".join(f"{n} {phase}" for phase, n in sorted(status["pods"].items())) or "none")
    )
    for line in settings_lines(status):
        terminal.line(line)
    for line in places_lines(status.get("gateway") or []):
        terminal.line(line)
    if status.get("registry"):
        terminal.line(
            f"registry: {status['registry']}, in pods and images' names {REGISTRY_NAME}:{REGISTRY_PORT}"
        )
    if status.get("pipelines"):
        terminal.line(
            f"pipelines: kfp.Client(host='{status['pipelines']}', existing_token=...), in pods {PIPELINES_NAME}"
        )
    if status.get("tuning"):
        where = f"KatibClient.get_trial_metrics(..., db_manager_address='{status['tuning']}')"
        terminal.line(f"tuning: {where}, in pods {TUNING_NAME}")
    used = ", ".join(f"{p['name']} {format_bytes(p['memoryBytes'])}" for p in status["processes"])
    terminal.line(f"memory: {used}")
    if "kubeconfig" in status:
        terminal.line(f"KUBECONFIG={shlex.quote(status['kubeconfig'])}")


def settings_lines(status: dict[str, Any]) -> list[str]:
    """Return where objects are kept, whether they are encrypted there, and where requests are noted, if they are."""
    if "store" not in status:
        return []
    store, encryption, audit = status["store"], status["encryptionConfig"], status["audit"]
    where = store["address"] if store["kind"] == "etcd" else f"log, {format_bytes(store['bytes'])}"
    how = f"encrypted as {encryption} says" if encryption else "not encrypted at rest"
    return [f"store: {where}; {how}", *([f"audit: {audit['policy']}, to {audit['log']}"] if audit else [])]
