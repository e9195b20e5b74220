"""What does a trial cost: 20 one after another, and 500 with 16 at a time?

A trial is a Job whose Python program computes one value and prints it, tuned by TPE. The baseline of the same run is
Optuna alone: TPE in this process and the same program as a subprocess, by a pool of as many workers; no isolation, no
API, no history that survives. The aim is under 0.3 s more a trial.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests")]

SHAPES = ((20, 1), (500, 16))
"""How many trials, and how many at a time."""
QUICK_SHAPES = ((10, 1), (64, 16))
LIMIT_SECONDS = 1800.0
PROGRAM = "import sys; x, y = map(float, sys.argv[1:]); print(f'loss={(x - 1) ** 2 + (y + 2) ** 2}')"


def run(quick: bool) -> list[dict[str, object]]:
    """Return two rows for each shape: all of it, and what a trial costs more than its own work."""
    shapes = QUICK_SHAPES if quick else SHAPES
    alone = {shape: run_alone(*shape) for shape in shapes}
    rows: list[dict[str, object]] = []
    for (trials, parallel), seconds in run_on_a_cluster(shapes).items():
        floor = alone[trials, parallel]
        at_a_time = "one after another" if parallel == 1 else f"{parallel} at a time"
        row = {"unit": "s", "baseline": "Optuna alone, a pool of processes", "baseline_value": floor}
        rows.append(
            {"name": f"{trials} trials, {at_a_time}", "value": seconds, "ratio": floor / seconds, **row}
        )
        more = {
            "name": f"... a trial's overhead, {at_a_time}",
            "value": (seconds - floor) / trials,
            "unit": "s",
        }
        rows.append(more | {"baseline": "", "baseline_value": 0, "ratio": 0})
    return rows


def run_alone(trials: int, parallel: int) -> float:
    """Return the seconds that Optuna takes with a pool of `parallel` workers, each running a program a trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, constant_liar=parallel > 1))

    def work(trial: Any) -> float:
        values = [repr(trial.params[name]) for name in ("x", "y")]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *values], check=True, capture_output=True, text=True
        )
        return float(done.stdout.partition("=")[2])

    begun = time.perf_counter()
    with ThreadPoolExecutor(parallel) as pool:
        running: dict[Future[float], Any] = {}
        asked = 0
        while asked < trials or running:
            while asked < trials and len(running) < parallel:
                trial = study.ask()
                trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5)
                running[pool.submit(work, trial)] = trial
                asked += 1
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                study.tell(running.pop(ended), ended.result())
    return time.perf_counter() - begun


def run_on_a_cluster(shapes: tuple[tuple[int, int], ...]) -> dict[tuple[int, int], float]:
    """Return the seconds of an experiment of each shape."""
    from support.clusters import ProaCommand

    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        proa = ProaCommand(Path(folder) / "home", sys.executable)
        proa("up", "--detach", "--port", "0")
        try:
            return asyncio.run(measure(proa.home / "kubeconfig", shapes))
        finally:
            proa("reset", "--yes")


async def measure(kubeconfig: Path, shapes: tuple[tuple[int, int], ...]) -> dict[tuple[int, int], float]:
    """Return the seconds of each experiment, from its creation until its status says that it has succeeded."""
    from proa.client.kubeconfig import connect

    client = connect(kubeconfig)
    try:
        await measure_one(client, "warm", 1, 1)  # what tunes begins with the first experiment
        return {shape: await measure_one(client, f"trials-{shape[0]}", *shape) for shape in shapes}
    finally:
        await client.close()


async def measure_one(client: Any, name: str, trials: int, parallel: int) -> float:
    from proa.ml.tuning.kinds import EXPERIMENTS

    begun = time.perf_counter()
    made = await client.create(EXPERIMENTS, make_experiment(name, trials, parallel), "default")
    async with asyncio.timeout(LIMIT_SECONDS):
        async for status in statuses(client, EXPERIMENTS, made):
            conditions = {
                each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"
            }
            if "Failed" in conditions:
                raise RuntimeError(f"{name}: {conditions['Failed']['message']}")
            if "Succeeded" in conditions:
                break
    seconds = time.perf_counter() - begun
    if status["trialsSucceeded"] != trials:
        raise RuntimeError(f"{name}: {status}")
    return seconds


async def statuses(client: Any, resource: Any, made: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield the object's status whenever it changes."""
    selector = f"metadata.name={made['metadata']['name']}"
    version = made["metadata"]["resourceVersion"]
    async for event in client.watch(resource, "default", resource_version=version, field_selector=selector):
        yield event.object.get("status") or {}


def make_experiment(name: str, trials: int, parallel: int) -> dict[str, Any]:
    names = ("x", "y")
    container = {
        "name": "train",
        "image": "python:3.11",
        "command": ["python", "-c", PROGRAM, *(f"${{trialParameters.{each}}}" for each in names)],
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    space = {"min": "-5", "max": "5"}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {
                "algorithmName": "tpe",
                "algorithmSettings": [{"name": "random_state", "value": "1"}],
            },
            "parallelTrialCount": parallel,
            "maxTrialCount": trials,
            "parameters": [
                {"name": each, "parameterType": "double", "feasibleSpace": space} for each in names
            ],
            "trialTemplate": {
                "primaryContainerName": "train",
                "trialParameters": [{"name": each, "reference": each} for each in names],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}},
            },
        },
    }
