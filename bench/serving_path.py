"""What does the whole path to a model cost? Directly, through the gateway's Envoy, and through the least of Envoys.

No cluster: one model server (digits, ONNX, one row a request), the proxy as the gateway's controller has it with an
InferenceService's route, and an Envoy with one listener and one cluster, which logs, counts, edits and repeats nothing.
wrk, Envoy and the server share the machine. Runs of a second take turns; figures are medians.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gateway import HostPlace
from serving import ROOT, TICKS, Server, find_port, load, make_models, make_row, wait_for_prediction

from proa.network.data_path import Endpoint
from proa.network.gateway.envoy import PID_FILE, count_workers, find_binary
from proa.network.gateway.model import (
    BackendKey,
    Door,
    DoorKey,
    HeaderEdits,
    ObjectKey,
    PathMatch,
    Retry,
    Route,
    Target,
    ValueMatch,
    make_order,
)
from proa.network.gateway.proxy import Proxy, Snapshot

PORT = 18080
CONNECTIONS = (1, 32)
TYPE = "type.googleapis.com/envoy.extensions.filters"


class Way(NamedTuple):
    """One way to the model; `pid` is what is between, 0 for nothing."""

    name: str
    port: int
    pid: int = 0


class Seen(NamedTuple):
    """One run."""

    rate: float
    between_micros: float
    server_micros: float


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows."""
    rounds = 3 if quick else 10
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = make_server(folder, make_models(folder))
        (folder / "ours").mkdir()
        with running(
            server.command, folder, {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        ) as process:
            wait_for_prediction(server, process)
            with least_envoy(folder / "least", server.port) as least:
                return asyncio.run(measure(folder / "ours", server, process, least, rounds))


def make_server(folder: Path, row: list[float]) -> Server:
    """Return the model server."""
    port = find_port()
    tensor = {"name": "X", "shape": [1, 64], "datatype": "FP32", "data": row}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
    command = [sys.executable, "-m", "proa.ml.serving.server", "--model_name=m", "--format=onnx",
               f"--model_dir={folder / 'onnx'}", f"--http_port={port}", "--grpc_port=0", "--load-port=0",
               "--host=127.0.0.1"]  # fmt: skip
    return Server("proa", command, folder, port, f"http://127.0.0.1:{port}/v2/models/m/infer", body)


@contextmanager
def running(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process in a session of its own, whose output is of no interest."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)


@contextmanager
def least_envoy(folder: Path, server_port: int) -> Iterator[Way]:
    """Have the Envoy that does as little as one can."""
    folder.mkdir()
    port = find_port()
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "least",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "m"}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}],
    }
    endpoint = {"endpoint": {"address": address(server_port)}}
    resources = {
        "listeners": [
            {
                "name": "least",
                "address": address(port),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }
        ],
        "clusters": [
            {
                "name": "m",
                "load_assignment": {"cluster_name": "m", "endpoints": [{"lb_endpoints": [endpoint]}]},
            }
        ],
    }
    (folder / "envoy.json").write_text(json.dumps({"static_resources": resources}))
    workers = str(count_workers(os.cpu_count() or 1))
    command = [find_binary(), "-c", "envoy.json", "--concurrency", workers, "--disable-hot-restart"]
    with running(command, folder, {}) as process:
        yield Way("the least Envoy", port, process.pid)


def address(port: int) -> dict[str, Any]:
    """Return a port of loopback in Envoy's words."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def model_snapshot(server_port: int) -> Snapshot:
    """Return what the gateway makes of an InferenceService: gRPC and all else, headers, weights, retries."""
    name = ObjectKey("default", "m-predictor-00001")
    by_rest, by_grpc = BackendKey(name, 80), BackendKey(name, 8081, is_http2=True)
    revision = HeaderEdits(
        set=(("Knative-Serving-Revision", name.name), ("Knative-Serving-Namespace", "default"))
    )
    service = HeaderEdits(set=(("KServe-Isvc-Name", "m"), ("KServe-Isvc-Namespace", "default")))
    path = PathMatch("prefix", "/")
    is_grpc = ValueMatch("content-type", "^application/grpc.*", is_regex=True)
    routes = tuple(
        Route(
            f"HTTPRoute/default/m/{number}",
            make_order(path, owner="m", created="", rule=number, match=0),
            path,
            (Target(backend, 100, revision),),
            headers=headers,
            request_headers=service,
            timeout_seconds=300.0,
            retry=Retry(on_reset=True, codes=(502, 503), attempts=5),
        )
        for number, (backend, headers) in enumerate(((by_grpc, (is_grpc,)), (by_rest, ())))
    )
    door = Door(DoorKey(PORT, "HTTP"), {"127.0.0.1": routes})
    return Snapshot((door,), {by_rest: (Endpoint("127.0.0.1", server_port),), by_grpc: ()}, {})


async def measure(
    folder: Path, server: Server, process: subprocess.Popen[bytes], least: Way, rounds: int
) -> list[dict[str, Any]]:
    """Return the rows."""
    proxy = Proxy(folder, HostPlace(), "127.0.0.1")
    try:
        await proxy.start(model_snapshot(server.port))
        ours = Way("the gateway", proxy.ports.public[PORT], int((folder / PID_FILE).read_text()))
        ways = (Way("directly", server.port), ours, least)
        return await asyncio.to_thread(take_turns, ways, server, process, rounds)
    finally:
        await proxy.stop()


def take_turns(
    ways: tuple[Way, ...], server: Server, process: subprocess.Popen[bytes], rounds: int
) -> list[dict[str, Any]]:
    """Return the rows of all ways."""
    script = server.folder / "path.lua"
    script.write_text(
        f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\nwrk.body=[[{server.body.decode()}]]\n'
    )
    for way in ways:
        wait_for_prediction(by(way, server), process)
        ask(way, server, process.pid, script, CONNECTIONS[-1])
    rows = []
    for connections in CONNECTIONS:
        runs: dict[str, list[Seen]] = {way.name: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                runs[way.name].append(ask(way, server, process.pid, script, connections))
        direct, ours, least = (
            Seen(*map(statistics.median, zip(*runs[way.name], strict=True))) for way in ways
        )
        at = f"{connections} connections"
        rows += [
            make_row(f"{at}: by the gateway", ours.rate, "req/s", "directly", direct.rate, more=True),
            make_row(f"{at}: by the least Envoy", least.rate, "req/s", "directly", direct.rate, more=True),
            make_row(f"{at}: processor, the gateway", ours.between_micros, "us/req",
                     "the least Envoy", least.between_micros),
            make_row(f"{at}: processor, the server by it", ours.server_micros, "us/req",
                     "directly", direct.server_micros),
        ]  # fmt: skip
    return rows


def by(way: Way, server: Server) -> Server:
    """Return the server as it is asked by this way."""
    return server._replace(name=way.name, url=server.url.replace(f":{server.port}/", f":{way.port}/"))


def ask(way: Way, server: Server, server_pid: int, script: Path, connections: int) -> Seen:
    """Load one way for a second."""
    before = [processor_seconds(pid) for pid in (way.pid, server_pid)]
    rate, count = load(by(way, server), script, connections, 1)
    after = [processor_seconds(pid) for pid in (way.pid, server_pid)]
    between, serving = ((end - begin) / count * 1e6 for begin, end in zip(before, after, strict=True))
    return Seen(rate, between, serving)


def processor_seconds(pid: int) -> float:
    """Return what a process has used; nothing where there is none."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
