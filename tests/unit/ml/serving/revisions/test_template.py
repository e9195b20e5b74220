"""A component's pod template: files, probes, our server's flags or the agent; and what makes a new revision."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.serving.revisions.conversions import make_conversions
from proa.ml.serving.revisions.merging import merge_component
from proa.ml.serving.revisions.model_files import ModelFiles
from proa.ml.serving.revisions.sources import find_sources
from proa.ml.serving.revisions.template import (
    PodFiles,
    PodPorts,
    TemplateSettings,
    fingerprint,
    make_template,
    pod_ports,
)

OURS = {"name": "kserve-container", "image": "proa", "command": ["python", "-m", "proa.ml.serving.server"]}
THEIRS = {"name": "kserve-container", "image": "other"}
FILES = ModelFiles(
    ({"name": "storage-initializer"},),
    ({"name": "store", "emptyDir": {}},),
    ({"name": "store", "mountPath": "/mnt/models", "readOnly": True},),
)

CONVERSIONS = make_conversions("/cache", {"metadata": {"name": "ml"}}, {"metadata": {"uid": "u"}}, "m-00001")


def make_isvc(**predictor: Any) -> dict[str, Any]:
    spec = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}, **predictor}
    return {"metadata": {"name": "iris", "namespace": "ml"}, "spec": {"predictor": spec}}


def make(isvc: dict[str, Any], container: dict[str, Any], *, has_revisions: bool = True) -> dict[str, Any]:
    merged = merge_component(
        isvc, "predictor", {"metadata": {"name": "rt"}, "spec": {"containers": [container]}}
    )
    return make_template(
        isvc,
        "predictor",
        merged,
        PodFiles(FILES, CONVERSIONS),
        TemplateSettings("proa"),
        labels={"r": "1"},
        has_revisions=has_revisions,
    )


def fingerprint_of(isvc: dict[str, Any], container: dict[str, Any] = OURS) -> str:
    merged = merge_component(
        isvc, "predictor", {"metadata": {"name": "rt"}, "spec": {"containers": [container]}}
    )
    return fingerprint(isvc, "predictor", merged, find_sources(isvc, "predictor"))


def test_our_server_is_told_what_the_agent_would_do():
    isvc = make_isvc(
        containerConcurrency=4, timeout=60, logger={"url": "http://sink", "mode": "all"}, batcher={}
    )

    spec = make(isvc, OURS)["spec"]

    assert [container["name"] for container in spec["containers"]] == ["kserve-container"]
    args = spec["containers"][0]["args"]
    assert args[:4] == ["--container-concurrency", "4", "--timeout", "60"]
    assert {"--enable-batcher", "--log-url", "http://sink"} <= {*args}
    assert spec["containers"][0]["env"][0]["name"] == "POD_NAME"
    assert spec["terminationGracePeriodSeconds"] == 60
    assert pod_ports(spec) == PodPorts(8080, 8081)


@pytest.mark.parametrize(
    ("predictor", "has_revisions", "has_agent"),
    [({}, True, True), ({}, False, False), ({"logger": {"mode": "all"}}, False, True)],
    ids=["revisions need their load", "Standard mode needs nothing", "a logger does"],
)
def test_others_containers_get_the_agent_where_they_need_it(predictor, has_revisions, has_agent):
    spec = make(make_isvc(**predictor), THEIRS, has_revisions=has_revisions)["spec"]

    assert any(container["name"] == "agent" for container in spec["containers"]) == has_agent
    assert pod_ports(spec) == (PodPorts(9081, 0) if has_agent else PodPorts(8080, 0))


def test_the_containers_that_answer_see_the_models_files_read_only():
    container = {**OURS, "env": [{"name": "STORAGE_URI", "value": "s3://b/m"}]}

    spec = make(make_isvc(), container)["spec"]

    assert spec["initContainers"] == [{"name": "storage-initializer"}]
    assert [volume["name"] for volume in spec["volumes"]] == ["store", "proa-converted"]
    assert spec["volumes"][1]["hostPath"]["path"] == "/cache/ml/revisions/u/converted/m-00001"
    main = spec["containers"][0]
    assert main["volumeMounts"] == [
        {"name": "store", "mountPath": "/mnt/models", "readOnly": True},
        {"name": "proa-converted", "mountPath": "/mnt/converted"},
    ]
    assert {"name": "STORAGE_URI", "value": "/mnt/models"} in main["env"]
    assert main["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert main["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("changed", "is_new"),
    [
        ({"minReplicas": 3}, False),
        ({"maxReplicas": 3, "scaleTarget": 5, "scaleMetric": "rps"}, False),
        ({"canaryTrafficPercent": 10}, False),
        ({"timeout": 10}, True),
        ({"containerConcurrency": 1}, True),
        ({"logger": {"mode": "all"}}, True),
        ({"nodeSelector": {"a": "b"}}, True),
        ({"annotations": {"a": "b"}}, True),
        ({"annotations": {"autoscaling.knative.dev/target": "5"}}, False),
        ({"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/other"}}, True),
    ],
    ids=str,
)
def test_what_concerns_pods_makes_a_new_revision_and_nothing_else_does(changed, is_new):
    assert (fingerprint_of(make_isvc(**changed)) != fingerprint_of(make_isvc())) == is_new


def test_a_runtime_that_changes_makes_a_new_revision():
    assert fingerprint_of(make_isvc(), {**OURS, "image": "proa:2"}) != fingerprint_of(make_isvc())
