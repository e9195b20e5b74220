"""A pipeline on real data, as a person runs it: by the SDK, and by `proa pipelines run` without it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.clusters import ROOT, Cluster, ProaCommand
from support.sdk_venvs import KFP, make_sdk_venv

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("pipelines-digits"),
    pytest.mark.timeout(600, func_only=True),  # making an SDK's environment is none of it
]

EXAMPLE = ROOT / "examples" / "digits_pipeline.py"
KINDS = ("logistic", "forest", "neighbours")
SCORE = """
import sys, joblib
from sklearn.datasets import load_digits
digits = load_digits()
print(joblib.load(sys.argv[1]).score(digits.data, digits.target))
"""


@pytest.fixture(scope="module")
def cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Return a cluster whose Python has the SDK and scikit-learn, as its user's would."""
    python = make_sdk_venv("kfp", KFP)
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("digits") / "home", str(python)))


@pytest.fixture(scope="module")
def compiled(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("compiled") / "digits.yaml")
    run_python(cluster, str(EXAMPLE), "--compile", path)
    return path


def run_python(cluster: Cluster, *arguments: str) -> str:
    """Run a program with the SDK's interpreter; the cluster is the one that its kubeconfig names."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        [cluster.proa.python, "-W", "ignore", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(cluster: Cluster, *arguments: str) -> Any:
    return json.loads(cluster.proa(*arguments, "-o", "json").stdout)


def tasks_of(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what Proa knows of a run's tasks, by path."""
    details = run["run_details"]["task_details"]
    return {
        detail["proa"]["path"]: detail["proa"] for detail in details if (detail.get("proa") or {}).get("path")
    }


def output(tasks: dict[str, dict[str, Any]], path: str, name: str = "Output") -> Any:
    return tasks[path]["outputs"]["parameters"][name]


def artifact(tasks: dict[str, dict[str, Any]], path: str, name: str) -> dict[str, Any]:
    (found,) = tasks[path]["outputs"]["artifacts"][name]
    return dict(found)


def test_the_sdk_runs_it_and_the_best_model_is_registered(cluster: Cluster, tmp_path: Path) -> None:
    assert "SUCCEEDED" in run_python(cluster, str(EXAMPLE))
    (listed,) = asked(cluster, "runs", "ls", "--state", "SUCCEEDED", "--name", "digits")["runs"]
    run = asked(cluster, "runs", "show", listed["run_id"])
    tasks = tasks_of(run)

    loop = next(path for path in tasks if path.endswith("kinds") or tasks[path]["kind"] == "loop")
    trainings = [f"{loop}[{index}]/train" for index in range(3)]
    accuracies = [output(tasks, path) for path in trainings]
    best = KINDS[accuracies.index(max(accuracies))]
    assert all(0.9 < accuracy < 1 for accuracy in accuracies)
    assert [tasks[path]["inputs"]["parameters"]["kind"] for path in trainings] == [*KINDS]

    inside = loop.rpartition("/")[0]
    assert output(tasks, f"{inside}/choose") == best
    accuracy = output(tasks, f"{inside}/evaluate")
    matrix = artifact(tasks, f"{inside}/evaluate", "matrix")["metadata"]["confusionMatrix"]
    matrix = matrix.get("struct", matrix)
    counts = [row["row"] for row in matrix["rows"]]
    assert sum(map(sum, counts)) == 450
    assert accuracy == pytest.approx(sum(counts[digit][digit] for digit in range(10)) / 450)

    registering = next(path for path in tasks if path.endswith("/register"))
    metadata = artifact(tasks, registering, "registered")["metadata"]
    assert metadata == {
        "name": "digits",
        "kind": best,
        "accuracy": pytest.approx(accuracy),
        "stage": "candidate",
    }
    assert not any(path.endswith("/refuse") and task["state"] == "SUCCEEDED" for path, task in tasks.items())
    assert output(tasks, "announce") == "COMPLETE"

    file = tmp_path / "model.joblib"
    cluster.proa("runs", "download", listed["run_id"], "registered", "-O", str(file))
    assert float(run_python(cluster, "-c", SCORE, str(file))) > 0.97

    step = cluster.proa("runs", "show", listed["run_id"], f"{inside}/evaluate").stdout
    assert "confusion matrix, 10 categories" in step
    assert "450 digits" in step


def test_without_the_sdk_what_is_cached_is_not_run_again(cluster: Cluster, compiled: str) -> None:
    first = cluster.proa("pipelines", "run", compiled, "--name", "one").stdout
    assert "/evaluate: " in first
    assert "succeeded in" in first
    cluster.proa("pipelines", "run", compiled, "--name", "two", "-p", "threshold=1.0")
    tasks = tasks_of(asked(cluster, "runs", "show", "two"))
    states = {
        path.rpartition("/")[2]: task["state"] for path, task in tasks.items() if task["kind"] == "container"
    }
    assert states == {
        **dict.fromkeys(("load", "split", "train", "choose", "evaluate"), "CACHED"),
        "refuse": "SUCCEEDED",
        "announce": "SUCCEEDED",
    } | ({"register": states["register"]} if "register" in states else {})
    assert (
        "below 1.0"
        in cluster.proa("runs", "logs", "two", next(p for p in tasks if p.endswith("/refuse"))).stdout
    )
    shown = cluster.proa("runs", "show", "two").stdout
    assert "hit" in shown
    assert "cached" in shown


def test_a_step_that_fails_is_told_with_the_end_of_its_log(cluster: Cluster, compiled: str) -> None:
    done = cluster.proa("pipelines", "run", compiled, "--name", "bad", "-p", "test_share=7.5", check=False)
    assert done.returncode == 1
    assert "/split: FAILED" in done.stdout
    assert "| " in done.stdout
    assert "test_size" in done.stdout
    assert "proa runs retry" in done.stdout
    tasks = tasks_of(asked(cluster, "runs", "show", "bad"))
    assert output(tasks, "announce") == "FAILED"
    assert [run["display_name"] for run in asked(cluster, "runs", "ls", "--state", "FAILED")["runs"]] == [
        "bad"
    ]


def test_the_guides_first_pipeline_runs_as_it_says(cluster: Cluster, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    (program,) = re.findall(r"```python\n(# first\.py\n.*?)```", page, re.DOTALL)
    file, compiled = tmp_path / "first.py", tmp_path / "first.yaml"
    file.write_text(program)
    assert "SUCCEEDED" in run_python(cluster, str(file))
    kfp = Path(cluster.proa.python).with_name("kfp")
    run_python(cluster, str(kfp), "dsl", "compile", "--py", str(file), "--output", str(compiled))
    assert "succeeded in" in cluster.proa("pipelines", "run", str(compiled), "-p", "x=3").stdout


def test_it_runs_at_times(cluster: Cluster, compiled: str) -> None:
    cluster.proa("pipelines", "upload", compiled, "--name", "kept")
    made = asked(
        cluster,
        "recurring",
        "create",
        "kept",
        "--name",
        "often",
        "--cron",
        "* * * * * *",
    )
    deadline = time.monotonic() + 120
    runs: list[dict[str, Any]] = []
    while len([run for run in runs if run["state"] == "SUCCEEDED"]) < 2:
        assert time.monotonic() < deadline, runs
        runs = asked(cluster, "runs", "ls", "--name", "often")["runs"]
        time.sleep(0.2)
    cluster.proa("recurring", "disable", "often")
    assert {run["recurring_run_id"] for run in runs} == {made["recurring_run_id"]}
    assert len({run["scheduled_at"] for run in runs}) == len(runs)
    assert asked(cluster, "recurring", "show", "often")["status"] == "DISABLED"
