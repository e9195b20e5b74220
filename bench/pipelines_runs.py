"""What does a step of a pipeline cost: 50 one after another, 100 side by side, and 1,000 of them?

Steps are lightweight Python components that add two numbers, each in a pod of its own. The baseline of the same run is
`kfp local` (SubprocessRunner), which runs them as bare processes of the same interpreter, one after another: no
isolation, no API, no history. The cache is not asked. The aim is three times faster.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests")]

LENGTH, WIDTH, FAN_OUT = 50, 100, 1000
LOCAL = Path(__file__).with_name("kfp_local.py")
LIMIT_SECONDS = 1800.0


def run(quick: bool) -> list[dict[str, object]]:
    """Return a row for each pipeline; when quick, without the large one, and with a baseline of a few steps."""
    from support.clusters import ProaCommand
    from support.sdk_venvs import KFP, make_sdk_venv

    python = str(make_sdk_venv("kfp", KFP))
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        subprocess.run([python, LOCAL, "compile", folder, str(LENGTH), str(WIDTH), str(FAN_OUT)], check=True)
        proa = ProaCommand(Path(folder) / "home", python)
        proa("up", "--detach", "--port", "0")
        try:
            names = ["chain", f"fan-{WIDTH}", *([] if quick else [f"fan-{FAN_OUT}"])]
            seconds = asyncio.run(measure(Path(folder), proa.home / "kubeconfig", names))
        finally:
            proa("reset", "--yes")
    counts = {"chain": 5, "fan": 5} if quick else {"chain": LENGTH, "fan": WIDTH}
    floor = {shape: run_locally(python, shape, count) / count for shape, count in counts.items()}
    rows = [
        make_row(f"{LENGTH} steps, one after another", seconds["chain"], floor["chain"] * LENGTH),
        make_row(f"{WIDTH} steps side by side", seconds[f"fan-{WIDTH}"], floor["fan"] * WIDTH),
    ]
    if not quick:
        name = f"{FAN_OUT:,} steps side by side"
        rows.append(make_row(name, seconds[f"fan-{FAN_OUT}"], floor["fan"] * FAN_OUT))
    return rows


def make_row(name: str, seconds: float, floor: float) -> dict[str, object]:
    return {
        "name": name,
        "value": seconds,
        "unit": "s",
        "baseline": "kfp local, bare processes",
        "baseline_value": floor,
        "ratio": floor / seconds,
    }


def run_locally(python: str, shape: str, steps: int) -> float:
    """Return the seconds that `kfp local` takes for so many steps."""
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        done = subprocess.run(
            [python, LOCAL, "run", shape, str(steps)],
            check=True,
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
    seconds: float = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds


async def measure(folder: Path, kubeconfig: Path, names: list[str]) -> dict[str, float]:
    """Return the seconds of each pipeline, from its Run's creation until the status says that it has succeeded."""
    from proa.client.kubeconfig import connect
    from proa.ml.pipelines.ir.document import read_package

    client = connect(kubeconfig)
    try:
        await client.read("/apis/v2beta1/healthz")  # pipelines begin with the first request
        specs = {name: read_package((folder / f"{name}.yaml").read_bytes()).pipeline_spec for name in names}
        return {name: await measure_one(client, name, spec) for name, spec in specs.items()}
    finally:
        await client.close()


async def measure_one(client: Any, name: str, pipeline_spec: dict[str, Any]) -> float:
    from proa.ml.pipelines.operator.resources import RUNS

    spec = {"pipelineSpec": pipeline_spec, "cacheEnabled": False}
    obj = {"apiVersion": RUNS.api_version, "kind": RUNS.kind, "metadata": {"name": name}, "spec": spec}
    begun = time.perf_counter()
    made = await client.create(RUNS, obj, "default")
    async with asyncio.timeout(LIMIT_SECONDS):
        version = made["metadata"]["resourceVersion"]
        async for event in client.watch(RUNS, "default", resource_version=version):
            if event.object["metadata"].get("name") != name:
                continue
            status = event.object.get("status") or {}
            if status.get("state") == "SUCCEEDED":
                break
            if status.get("state") == "FAILED":
                raise RuntimeError(f"{name}: {status.get('message')}")
    return time.perf_counter() - begun
