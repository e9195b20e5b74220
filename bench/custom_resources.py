"""How long until a new kind takes objects, and what does a custom object cost beside a ConfigMap?

A definition and its first object are sent one after the other over one connection; Kubernetes holds the first create
back for two seconds. Then 16 connections create, get and patch objects of a kind with a schema, a default, a rule and a
status; ConfigMaps of the same run are the baseline.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

from raw_client import MERGE_PATCH, Ask, Connection, load
from running_cluster import RunningCluster, compile_sources, cpu_seconds, make_row, recorded, running_cluster

CONNECTIONS = 16
KINDS = 10
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/bench.example/v1/namespaces/default"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PATCH = b'{"metadata":{"labels":{"x":"y"}}}'
SPEC = {
    "type": "object",
    "required": ["replicas"],
    "properties": {
        "replicas": {"type": "integer", "minimum": 0},
        "image": {"type": "string", "maxLength": 100, "default": "none"},
        "arguments": {"type": "array", "items": {"type": "string"}},
    },
    "x-kubernetes-validations": [{"rule": "self.replicas < 100"}],
}


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; a third of the requests when quick."""
    compile_sources()
    with running_cluster() as cluster:
        return asyncio.run(measure(cluster, 500 if quick else 1500))


async def measure(cluster: RunningCluster, count: int) -> list[dict[str, Any]]:
    """Define kinds one after another, then load one of them, and ConfigMaps."""
    context = cluster.client_context()
    connections = [await Connection.open(cluster.host, cluster.port, context) for _ in range(CONNECTIONS)]
    seconds = []
    for number in range(KINDS):
        begun = time.perf_counter()
        await load(connections[:1], [Ask("POST", DEFINITIONS, definition(number))])
        await load(connections[:1], [Ask("POST", f"{GROUP}/bench{number}s", custom(number, "first"))])
        seconds.append(time.perf_counter() - begun)
    first = "definition to first object, median"
    rows = [recorded(first, statistics.median(seconds) * 1000, "ms", 2000, more_is_better=False)]
    path = f"{GROUP}/bench0s"
    mine = await costs(cluster.server_pid, connections, path, [custom(0, f"c{n}") for n in range(count)])
    theirs = await costs(
        cluster.server_pid, connections, CONFIG_MAPS, [config_map(f"c{n}") for n in range(count)]
    )
    for verb, cost in mine.items():
        name = f"custom object {verb}, server CPU"
        rows.append(make_row(name, cost, "ms", "a ConfigMap", theirs[verb], more_is_better=False))
    return rows


async def costs(pid: int, connections: list[Connection], path: str, bodies: list[bytes]) -> dict[str, float]:
    """Return milliseconds of server CPU a request, by verb."""
    names = [f"{path}/c{number}" for number in range(len(bodies))]
    loads = {
        "create": [Ask("POST", path, body) for body in bodies],
        "get": [Ask("GET", name) for name in names],
        "patch": [Ask("PATCH", name, PATCH, MERGE_PATCH) for name in names],
    }
    found = {}
    for verb, asks in loads.items():
        before = cpu_seconds(pid)
        await load(connections, asks)
        found[verb] = (cpu_seconds(pid) - before) / len(asks) * 1000
    return found


def definition(number: int) -> bytes:
    """Return a definition."""
    schema = {"type": "object", "properties": {"spec": SPEC, "status": {"type": "object"}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": f"bench{number}s", "kind": f"Bench{number}"}
    spec = {"group": "bench.example", "scope": "Namespaced", "names": names, "versions": [version]}
    return json.dumps({"metadata": {"name": f"bench{number}s.bench.example"}, "spec": spec}).encode()


def custom(number: int, name: str) -> bytes:
    """Return an object of a kind."""
    kind = {"apiVersion": "bench.example/v1", "kind": f"Bench{number}", "metadata": {"name": name}}
    return json.dumps({**kind, "spec": {"replicas": 3, "arguments": ["a", "b"]}}).encode()


def config_map(name: str) -> bytes:
    """Return a ConfigMap of about the same size."""
    return json.dumps({"metadata": {"name": name}, "data": {"a": "x" * 20, "b": "y" * 20}}).encode()
