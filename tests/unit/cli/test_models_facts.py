"""What `proa models` says of an InferenceService, its Deployments and pods."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from proa.cli import Failure, UsageError
from proa.cli.models.deploying import check_form, find_source
from proa.cli.models.describing import describe, traffic_of
from proa.cli.models.facts import FAILED, READY, STOPPED, WAITING, Served, by_service, read_served
from proa.cli.models.predicting import predict, read_body
from proa.cli.terminal import Terminal

LABELS = {"serving.kserve.io/inferenceservice": "iris", "component": "predictor"}


def make_service(ready: str = "True", transition: str = "UpToDate", **more: Any) -> dict[str, Any]:
    component = {
        "latestCreatedRevision": "iris-predictor-00002",
        "latestReadyRevision": "iris-predictor-00002",
        "traffic": [
            {"revisionName": "iris-predictor-00002", "percent": 10, "latestRevision": True},
            {"revisionName": "iris-predictor-00001", "percent": 90, "tag": "prev"},
        ],
    }
    status: dict[str, Any] = {
        "observedGeneration": 3,
        "url": "http://iris.default.proa.localhost:8080",
        "conditions": [{"type": "Ready", "status": ready, "message": "words"}],
        "components": {"predictor": component},
        "modelStatus": {"transitionStatus": transition, "lastFailureInfo": {"message": "no such file"}},
    }
    return {
        "metadata": {
            "name": "iris",
            "namespace": "default",
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "s3://b/iris"}}},
        "status": status | more,
    }


def make_deployment(revision: str, replicas: int = 1) -> dict[str, Any]:
    labels = LABELS | {"serving.knative.dev/revision": revision}
    return {
        "metadata": {"name": f"{revision}-deployment", "namespace": "default", "labels": labels},
        "spec": {"replicas": replicas},
    }


def make_pod(revision: str, number: int, *, is_ready: bool = True) -> dict[str, Any]:
    labels = LABELS | {"serving.knative.dev/revision": revision}
    conditions = [{"type": "Ready", "status": "True" if is_ready else "False"}]
    return {
        "metadata": {"name": f"{revision}-{number}", "namespace": "default", "labels": labels},
        "status": {"phase": "Running", "conditions": conditions},
    }


def read(**more: Any) -> Served:
    first, second = "iris-predictor-00001", "iris-predictor-00002"
    deployments = [make_deployment(first, 2), make_deployment(second)]
    pods = [make_pod(first, 1), make_pod(first, 2, is_ready=False), make_pod(second, 1)]
    return read_served(make_service(**more), deployments, pods)


@pytest.mark.parametrize(
    ("more", "state", "is_failed", "is_settled", "why"),
    [
        ({}, READY, False, True, "words"),
        ({"ready": "Unknown"}, WAITING, False, False, "words"),
        ({"ready": "False", "transition": "BlockedByFailedLoad"}, FAILED, True, True, "no such file"),
        ({"transition": "BlockedByFailedLoad"}, READY, True, True, "no such file"),
        ({"ready": "False", "transition": "InvalidSpec"}, FAILED, True, True, "words"),
        ({"observedGeneration": 2}, READY, False, False, "words"),
        ({"observedGeneration": 2, "transition": "BlockedByFailedLoad"}, READY, False, False, "no such file"),
        ({"conditions": [{"type": "Stopped", "status": "True"}]}, STOPPED, False, True, ""),
    ],
    ids=[
        "ready",
        "not yet",
        "failed",
        "failed beside another",
        "refused",
        "old status",
        "old failure",
        "stopped",
    ],
)
def test_its_state_is_of_the_spec_as_it_is_now(
    more: dict[str, Any], state: str, is_failed: bool, is_settled: bool, why: str
) -> None:
    served = read(**more)
    assert (served.state, served.is_failed, served.is_settled, served.why) == (
        state,
        is_failed,
        is_settled,
        why,
    )


def test_a_rollout_is_not_over_before_its_revision_is_ready() -> None:
    service = make_service()
    service["status"]["components"]["predictor"]["latestReadyRevision"] = "iris-predictor-00001"
    assert not read_served(service, [], []).is_settled


def test_revisions_are_told_with_their_traffic_and_pods_the_newest_first() -> None:
    newest, oldest = read().revisions
    assert (newest.name, newest.percent, newest.ready, newest.wanted) == ("iris-predictor-00002", 10, 1, 1)
    assert (oldest.name, oldest.percent, oldest.ready, oldest.wanted) == ("iris-predictor-00001", 90, 1, 2)
    assert (oldest.tag, oldest.pods) == ("prev", ("iris-predictor-00001-1", "iris-predictor-00001-2"))
    assert traffic_of(read()) == "predictor-00002 10% predictor-00001 90%"


@pytest.mark.parametrize(
    ("predictor", "canary_is_ready", "expected"),
    [
        ("", True, {"iris-predictor": 70, "iris-blue-predictor": 30}),
        ("", False, {"iris-predictor": 100, "iris-blue-predictor": 0}),
        ("green", True, {"iris-predictor": 70, "iris-blue-predictor": 30}),
    ],
    ids=["a canary", "one that starts", "a predictor of another name that starts"],
)
def test_without_revisions_who_is_ready_has_its_share(
    predictor: str, canary_is_ready: bool, expected: dict[str, int]
) -> None:
    canary = {"name": "blue", "ready": canary_is_ready, "trafficPercent": 30}
    service = make_service(components={"predictor": {}}, canaryStatuses=[canary])
    service["spec"]["predictor"]["name"] = predictor
    deployments = [
        {
            "metadata": {"name": name, "labels": LABELS | {"app": f"isvc.{name}"}},
            "spec": {"replicas": 1},
            "status": {"availableReplicas": 1},
        }
        for name in expected
    ]
    served = read_served(service, deployments, [])
    assert {one.name: one.percent for one in served.revisions} == expected


def test_objects_of_other_components_are_left_out() -> None:
    transformer = make_deployment("iris-transformer-00001")
    transformer["metadata"]["labels"]["component"] = "transformer"
    mine = make_deployment("iris-predictor-00001")
    assert by_service([transformer, mine, {"metadata": {"name": "x"}}]) == {"default/iris": [mine]}


def test_a_person_sees_shares_replicas_and_requests() -> None:
    lines = describe(read(), Terminal(), 1767225700.0, {"iris-predictor-00001-1": 12.5})
    table = [line.split() for line in lines[-2:]]
    assert table[0] == ["iris-predictor-00002", "10%", "██", "1/1"]
    assert table[1] == ["iris-predictor-00001", "(prev)", "90%", "█" * 18, "1/2", "12.5"]


@pytest.mark.parametrize(
    ("file", "format_name"),
    [("model.onnx", "onnx"), ("model.joblib", "sklearn"), ("model.ubj", "xgboost"), ("app.py", "fastapi")],
)
def test_the_format_of_a_folder_is_what_its_files_tell(tmp_path: Path, file: str, format_name: str) -> None:
    (tmp_path / file).write_text("from fastapi import FastAPI\n\napp = FastAPI()\n")
    assert find_source(str(tmp_path), "") == (tmp_path.as_uri(), format_name)


def test_what_cannot_be_a_source_is_refused(tmp_path: Path) -> None:
    assert find_source("s3://b/m", "") == ("s3://b/m", "")
    with pytest.raises(UsageError, match="no such file"):
        find_source(str(tmp_path / "nowhere"), "")
    with pytest.raises(UsageError, match="--format says it"):
        find_source(str(tmp_path), "")
    with pytest.raises(Failure, match=r"spec\.predictor\.model"):
        check_form({"spec": {"predictor": {"sklearn": {}}}}, "iris")


@pytest.mark.parametrize(
    ("data", "body"),
    [("[[1, 2]]", {"instances": [[1, 2]]}), ('{"inputs": []}', {"inputs": []})],
)
def test_rows_become_instances(data: str, body: dict[str, Any]) -> None:
    assert read_body(data) == body


@pytest.mark.parametrize("data", ["{", "1", "@/no/such/file"])
def test_a_body_that_is_none_is_refused(data: str) -> None:
    with pytest.raises(UsageError):
        read_body(data)


def test_who_has_no_address_cannot_be_asked() -> None:
    options = argparse.Namespace(revision="", timeout=1.0)
    with pytest.raises(Failure, match="iris has no address: words"):
        predict(read(url=""), {"instances": []}, options)
