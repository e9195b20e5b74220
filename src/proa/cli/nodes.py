"""List this machine's nodes, and switch one off and on again, as a machine whose plug is pulled."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal, format_table, print_json
from proa.client.protocol import Object
from proa.cluster_settings import read_settings
from proa.home import Home, find_home
from proa.local_nodes import power
from proa.local_nodes.addresses import Place, find_number, places
from proa.objects.errors import ApiError

DESCRIPTION = """\
List the nodes of the cluster in this home, or switch some of them off or on.
A node that is switched off ends at once, with everything on it, and tells nobody: the cluster finds out by its
silence, as it does with a machine that has lost its power. It stays off until it is switched on.
"""
EPILOG = """\
examples:
  proa nodes                  which there are
  proa nodes stop proa-2      pull its plug: its pods are started elsewhere once it was silent for long enough
  proa nodes start proa-2     plug it in again: return when it is Ready
"""
TIMEOUT_SECONDS = 60.0
LOOK_SECONDS = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "action", nargs="?", choices=["list", "stop", "start"], default="list", help="default: list"
    )
    parser.add_argument("name", nargs="*", help="the nodes to stop or start, as proa-2")
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="how to print (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Do it."""
    home = find_home(options.home)
    settings = read_settings(home)
    if settings is None:
        raise Failure(f"there is no cluster in {home.path}; `proa up --nodes 3` makes one with three nodes")
    known = [place.name for place in places(settings.nodes)]
    if options.action == "list":
        if options.name:
            raise UsageError("list takes no names")
    elif not options.name:
        raise UsageError(f"{options.action} which? There are {', '.join(known)}")
    for name in options.name:
        if name not in known:
            raise UsageError(f"there is no node {name}; there are {', '.join(known)}")
    if options.action != "list":
        switch(home, options.name, on=options.action == "start")
    show(home, known, options.output)
    return 0


def switch(home: Home, names: list[str], *, on: bool) -> None:
    """Switch nodes on or off, and return when they are; without a server that is when one starts."""
    began = time.time()
    for name in names:
        (power.switch_on if on else power.switch_off)(home.node(name))
    server = home.find_server()
    if server is None:
        return
    if server.get("ready"):
        os.kill(int(server["pid"]), signal.SIGUSR1)
    terminal = Terminal()
    if on:
        what = f"{', '.join(names)} to be Ready"
        wait_for(home, terminal, what, lambda: are_up(home, names, began))
    else:
        what = f"{', '.join(names)} to end"
        wait_for(home, terminal, what, lambda: not any(is_there(home, name) for name in names))


def wait_for(home: Home, terminal: Terminal, what: str, is_so: Callable[[], bool]) -> None:
    """Return when it is so; raise Failure where that takes too long, or the server has ended."""
    started = time.monotonic()
    while not is_so():
        waited = time.monotonic() - started
        if waited > TIMEOUT_SECONDS:
            raise Failure(f"waited {TIMEOUT_SECONDS:.0f} s for {what}; the server's log: {home.log}")
        if not home.is_running():
            raise Failure(f"the server has ended while waiting for {what}; its log: {home.log}")
        terminal.progress(f"waiting for {what} ({waited:.0f} s)")
        time.sleep(LOOK_SECONDS)


def is_there(home: Home, name: str) -> bool:
    """Tell whether the node's supervisor runs."""
    from proa.node.noded.launch import running_pid

    return running_pid(home.node(name)) is not None


def are_up(home: Home, names: list[str], since: float) -> bool:
    """Tell whether the nodes have reported themselves Ready since then."""
    if not all(is_there(home, name) for name in names):
        return False
    try:
        nodes = asyncio.run(get_nodes(home))
    except (ApiError, OSError):
        return False
    return all(is_ready_since(nodes.get(name) or {}, since) for name in names)


def is_ready_since(node: Object, since: float) -> bool:
    """Tell whether a node has said that it is Ready at that time or later; it says so in whole seconds."""
    from proa.objects import meta

    ready = meta.find_condition(node, "Ready") or {}
    heard = meta.parse_time(ready["lastHeartbeatTime"]) if "lastHeartbeatTime" in ready else 0.0
    return ready.get("status") == "True" and heard >= int(since)


async def get_nodes(home: Home) -> dict[str, Object]:
    """Return the Node objects by name."""
    from proa.client.kubeconfig import connect
    from proa.objects.resource import NODES

    client = connect(home.kubeconfig)
    try:
        return {node["metadata"]["name"]: node for node in (await client.list(NODES)).items}
    finally:
        await client.close()


def show(home: Home, names: list[str], output: str) -> None:
    """Print the nodes: whether each is switched on, and what the cluster thinks of it."""
    nodes: dict[str, Object] = {}
    if home.is_running():
        try:
            nodes = asyncio.run(get_nodes(home))
        except (ApiError, OSError) as error:
            raise Failure(f"the API does not answer: {error}") from None
    found = [describe(home, name, nodes.get(name)) for name in names]
    if output == "json":
        print_json({"nodes": found})
        return
    rows = [("NODE", "SWITCH", "RUNS", "READY", "ADDRESS", "PODS")]
    rows += [
        (n["name"], n["switch"], "yes" if n["running"] else "no", n["ready"], n["address"], n["podCIDR"])
        for n in found
    ]
    Terminal().line(format_table(rows))


def describe(home: Home, name: str, node: Object | None) -> dict[str, Any]:
    """Return what is worth knowing of one node; `ready` is "" where the cluster does not know it."""
    status = (node or {}).get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    place = Place(find_number(name))
    return {
        "name": name,
        "switch": "off" if power.is_off(home.node(name)) else "on",
        "running": is_there(home, name),
        "ready": conditions.get("Ready", ""),
        "address": place.ip,
        "podCIDR": place.pod_cidr,
    }
