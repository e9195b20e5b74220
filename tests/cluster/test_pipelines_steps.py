"""Steps of pipelines as pods of a real cluster: one that fails says in its task what happened and what to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.sdk_venvs import KFP, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("kfp"), pytest.mark.timeout(600, func_only=True)]
FAILURES = Path(__file__).with_name("programs") / "kfp_failures.py"

WORDS = {
    "silent": [
        "task 'silent'",
        "no output was written for parameter 'accuracy'",
        "/tmp/kfp/outputs/accuracy",
    ],
    "mistyped": ["declared NUMBER_DOUBLE", '"very good" is not a number'],
    "loud": ["exit code 1", "ValueError: the data is bad"],
    "wrong-type": ["want type <class 'int'>"],
    "imports": ["no_such_package", "packages_to_install"],
    "imageless": ["proa.local:5000/no/such:image", "cannot be pulled", "Check its name and tag"],
    "secret-env": ["Secret 'absent-secret'", "kubectl create secret"],
    "secret-volume": ["Secret 'absent-secret'", "kubectl create secret"],
    "claim": ["PersistentVolumeClaim 'absent-claim'", "Create it"],
    "full-disk": ["No space left on device", "larger volume"],
    "little-memory": ["more memory than its limit of 64Mi", "set_memory_limit"],
    "little-time": ["longer than its 2 seconds", "set_timeout"],
    "much-input": ["Pass what is large as an artifact"],
}


@pytest.fixture(scope="module")
def cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Return a cluster whose Python has the SDK, as its user's would."""
    python = make_sdk_venv("kfp", KFP)
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("steps") / "home", str(python)))


def run_program(cluster: Cluster, home: Path, *arguments: str) -> Any:
    """Return the JSON that a program of users prints last."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home)}
    done = subprocess.run(
        [cluster.proa.python, "-W", "ignore", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_step_that_fails_says_what_happened_and_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    told = run_program(cluster, tmp_path, str(FAILURES))

    assert {name: run["state"] for name, run in told.items()} == dict.fromkeys(WORDS, "FAILED")
    for name, words in WORDS.items():
        assert any(all(word in said for word in words) for said in told[name]["tasks"]), told[name]
        assert told[name]["error"].startswith("task '"), told[name]
