"""KServe's SDK, unmodified: create, wait, predict by V1, V2 and gRPC, patch to a canary, promote, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.clusters import Cluster, run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(700, func_only=True),  # making an SDK's environment is none of it
]
PROGRAM = Path(__file__).with_name("programs") / "kserve_sdk.py"


def test_a_model_is_made_asked_rolled_out_and_removed(serving_cluster: Cluster, tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    command = ["env", f"KUBECONFIG={serving_cluster.kubeconfig}", str(serving_cluster.proa.python)]
    run([*command, str(PROGRAM), str(tmp_path / "models"), str(answers)], timeout=600, cwd=tmp_path)
    seen = json.loads(answers.read_text())

    first, second = seen["wanted"]["first"], seen["wanted"]["second"]
    assert first != second, "two models that cannot be told apart tell nothing"
    assert (seen["created"], seen["ready"]) == ("digits", True)
    assert seen["first"] == {"v1": first, "v2": first, "v2 binary": first, "ready": [True, True, True]}
    assert seen["first traffic"] == [["digits-predictor-00001", 100]]
    assert sorted(seen["canary traffic"]) == [["digits-predictor-00001", 80], ["digits-predictor-00002", 20]]
    assert seen["promoted traffic"] == [["digits-predictor-00002", 100]]
    assert seen["second"]["v1"] == second
    assert seen["grpc"] == {"grpc": second, "ready": [True, True]}
    assert seen["left"] == []
