"""What does the agent cost before anybody's container? The same container asked directly, in the same run.

The container is a FastAPI application under uvicorn, as people bring them. Once the agent only passes on, once it logs
each request and answer to a receiver too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serving import ROOT, Server, cpu_seconds, find_port, load, make_row, memory_mib

START_SECONDS = 60.0
CONNECTIONS = (1, 32)
APPLICATION = """
import sys
import uvicorn
from fastapi import FastAPI, Request
app = FastAPI()

@app.post("/v1/models/m:predict")
async def predict(request: Request):
    asked = await request.json()
    return {"predictions": [sum(one) for one in asked["instances"]]}

@app.post("/")
async def receive(request: Request):
    return {}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""
BODY = b'{"instances": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]]}'


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for each number of connections, with and without a log."""
    from support.sdk_venvs import TORCH, make_sdk_venv

    seconds = 3 if quick else 10
    application = [str(make_sdk_venv("torch", TORCH)), "-c", APPLICATION]
    rows: list[dict[str, object]] = []
    port, sink, front = find_port(), find_port(), find_port()
    agent = [sys.executable, "-m", "proa.ml.serving.agent", "--host=127.0.0.1", f"--port={front}",
             f"--component-port={port}", "--quiet-seconds=0.1"]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, started([*application, str(port)], port) as container:
        script = Path(scratch) / "ask.lua"
        text = BODY.decode()
        script.write_text(
            f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\nwrk.body=[==[{text}]==]\n'
        )
        direct = [ask(port, script, connections, seconds, container) for connections in CONNECTIONS]
        with started([*agent, f"--load-port={find_port()}"], front) as process:
            for (rate, own, _), connections in zip(direct, CONNECTIONS, strict=True):
                through, cost, _ = ask(front, script, connections, seconds, process)
                name = f"{connections} connections"
                rows.append(make_row(f"through: {name}", through, "req/s", "direct", rate, more=True))
                rows.append(make_row(f"processor: {name}", cost, "us/req", "container's own", own))
            rows.append(
                make_row("memory (PSS)", memory_mib(process), "MiB", "container's own", memory_mib(container))
            )
        logged = [*agent, f"--load-port={find_port()}", f"--log-url=http://127.0.0.1:{sink}/"]
        with started([*application, str(sink)], sink), started(logged, front) as process:
            through, _, _ = ask(front, script, CONNECTIONS[-1], seconds, process)
            rows.append(
                make_row(
                    "through, and logged: 32 connections",
                    through,
                    "req/s",
                    "direct",
                    direct[-1][0],
                    more=True,
                )
            )
    return rows


def ask(port: int, script: Path, connections: int, seconds: int, process: int) -> tuple[float, float, int]:
    """Return requests a second, and a process' processor time a request in microseconds, and how many there were."""
    server = Server("", (), script.parent, port, f"http://127.0.0.1:{port}/v1/models/m:predict", BODY)
    load(server, script, connections, 1)
    before = cpu_seconds(process)
    rate, count = load(server, script, connections, seconds)
    return rate, (cpu_seconds(process) - before) / count * 1e6, count


@contextmanager
def started(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server until the block ends; its process id, once it answers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        url = f"http://127.0.0.1:{port}/v1/models/m:predict"
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(url, BODY), timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
