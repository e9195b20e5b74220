"""The kubeflow-training SDK, unmodified: PyTorchJobs made, waited for, read by rank, scaled and deleted."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.sdk_venvs import TRAINING, make_sdk_venv

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("torch"),
    pytest.mark.timeout(300, func_only=True),  # making an SDK's environment is none of it
]
PROGRAM = Path(__file__).with_name("programs") / "training_client.py"


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the SDK."""
    return make_sdk_venv("training", TRAINING)


def test_users_of_the_sdk_train_scale_read_and_delete(
    torch_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "KUBECONFIG": str(torch_cluster.kubeconfig), "HOME": str(tmp_path)}
    command = [str(python), str(PROGRAM), str(tmp_path / "answers.json")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "answers.json").read_text())

    made = answers["function"]
    assert made["conditions"] == [
        ["Created", "True", "PyTorchJobCreated"],
        ["Running", "False", "PyTorchJobRunning"],
        ["Succeeded", "True", "PyTorchJobSucceeded"],
    ]
    pods = ["from-a-function-master-0", "from-a-function-worker-0"]
    assert made["pods"] == sorted(made["logs"]) == pods
    for rank, pod in enumerate(pods):
        assert f"rank {rank} of 2 has 30.0" in made["logs"][pod]
    assert (made["master"], made["default"], made["worker"]) == (pods[:1], pods[:1], pods[1:])
    assert any(event.endswith("Created pod: from-a-function-worker-0") for event in made["events"])
    assert (made["is"], made["listed"]) == ([True, False, True], ["from-a-function"])
    assert made["replicas"]["Master"] == 1

    scaled = answers["scaled"]
    assert (scaled["up"], scaled["down"], scaled["gone"]) == (True, True, True)
    assert scaled["pods"] == ["scaled-worker-0", "scaled-worker-1", "scaled-worker-2"]
    assert scaled["logs"] == {"scaled-worker-0": "1:4 scaled-worker-0:23456\n"}

    failed = answers["failed"]
    assert re.match("PyTorchJob default/failed is Failed", failed["said"])
    assert failed["conditions"][-1] == ["Failed", "True", "PyTorchJobFailed"]
    assert failed["message"].startswith(
        'job "failed" is failing because "Worker" replica(s) failed. Container '
    )
