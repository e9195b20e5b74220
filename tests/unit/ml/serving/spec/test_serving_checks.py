"""What is wrong with an InferenceService by its annotations, its name, its mode."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ml.serving.spec.services import make_model, make_service

from proa.client.protocol import Object
from proa.ml.serving.spec.checks import KNATIVE, STANDARD, check
from proa.ml.serving.spec.defaults import with_defaults

CLASS, MODE = "serving.kserve.io/autoscalerClass", "serving.kserve.io/deploymentMode"
HPA = {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}
CANARY = {"predictor": {"name": "next", "model": make_model()}, "trafficPercent": 10}


def predictor(**fields: Any) -> Object:
    return {"model": make_model(), **fields}


def said_of(isvc: Object, mode: str = KNATIVE) -> list[str]:
    return [str(problem) for problem in check(with_defaults(isvc), mode)]


@pytest.mark.parametrize(
    ("isvc", "mode"),
    [
        (make_service(), KNATIVE),
        (make_service(annotations={MODE: "RawDeployment"}), STANDARD),
        (make_service(predictor(scaleMetric="rps", scaleTarget=5)), KNATIVE),
        (make_service(predictor(scaleMetric="cpu", scaleTarget=50), annotations=HPA), KNATIVE),
        (make_service(predictor(scaleMetric="memory", scaleTarget=50), annotations={CLASS: "hpa"}), STANDARD),
        (make_service(predictor(scaleMetric="cpu", scaleTarget=500)), STANDARD),
        (make_service(predictor(deploymentStrategy={"type": "Recreate"})), STANDARD),
        (make_service(canary=[CANARY]), STANDARD),
        (make_service(name="x" * 47), KNATIVE),
    ],
)
def test_nothing_is_wrong(isvc: Object, mode: str) -> None:
    assert said_of(isvc, mode) == []


PREDICTOR_URIS = {
    "model": {"modelFormat": {"name": "sklearn"}},
    "storageUris": [{"uri": "s3://a", "mountPath": "/mnt/a"}, {"uri": "s3://b", "mountPath": "/opt/b"}],
}
WRONG: dict[str, tuple[Object, str, str]] = {
    "an autoscaler": (
        make_service(annotations={CLASS: "magic"}),
        KNATIVE,
        f"metadata.annotations[{CLASS}]: [magic] is not a supported autoscaler class type",
    ),
    "KEDA": (make_service(annotations={CLASS: "keda"}), STANDARD, "say hpa, external or none"),
    "a metric of another mode": (
        make_service(predictor(scaleMetric="cpu")),
        KNATIVE,
        "spec.predictor.scaleMetric: [cpu] is not a supported metric; cpu and memory are with annotation",
    ),
    "a metric of an HPA": (
        make_service(predictor(scaleMetric="rps"), annotations={CLASS: "hpa"}),
        STANDARD,
        "spec.predictor.scaleMetric: [rps] is not a supported metric",
    ),
    "no requests": (
        make_service(predictor(scaleMetric="rps", scaleTarget=0)),
        KNATIVE,
        "spec.predictor.scaleTarget: the target for rps should be greater than 1",
    ),
    "too much of a processor": (
        make_service(predictor(scaleTarget=101), annotations=HPA),
        KNATIVE,
        "the target utilization percentage should be a [1-100] integer",
    ),
    "a timeout": (
        make_service(predictor(timeout=-1)),
        KNATIVE,
        "spec.predictor.timeout: -1 is no number of seconds from 0 to 99999",
    ),
    "a long timeout": (
        make_service(predictor(timeout=100_000)),
        STANDARD,
        "spec.predictor.timeout: 100000 is no number of seconds",
    ),
    "a batch of none": (
        make_service(predictor(batcher={"maxBatchSize": -3})),
        KNATIVE,
        "spec.predictor.batcher.maxBatchSize: -3 is below 1",
    ),
    "a source": (
        make_service(
            predictor(autoScaling={"metrics": [{"type": "External"}]}),
            annotations={CLASS: "hpa"},
        ),
        STANDARD,
        "metrics[0].type: invalid HPA metric source type with value [External],valid metric source types are Resource",
    ),
    "a strategy": (
        make_service(predictor(deploymentStrategy={"type": "Recreate"})),
        KNATIVE,
        "customizing deploymentStrategy is only supported for raw deployment mode",
    ),
    "canaries": (make_service(canary=[CANARY]), KNATIVE, "spec.canary: canary is only supported in Standard"),
    "another mode": (
        {**make_service(annotations={MODE: "RawDeployment"}), "status": {"deploymentMode": "Serverless"}},
        KNATIVE,
        "update rejected: deploymentMode cannot be changed from 'Knative' to 'Standard'",
    ),
    "ModelMesh": (make_service(annotations={MODE: "ModelMesh"}), KNATIVE, "ModelMesh is not carried out"),
    "a long name": (
        make_service(name="x" * 48),
        KNATIVE,
        "metadata.name: must be no more than 47 characters",
    ),
    "a name that is long with a transformer": (
        make_service(name="x" * 46, transformer={"containers": [{"name": "t"}]}),
        KNATIVE,
        "metadata.name: must be no more than 45 characters",
    ),
    "a protocol": (
        make_service({"containers": [{"name": "a", "env": [{"name": "PROTOCOL", "value": "v3"}]}]}),
        KNATIVE,
        "spec.predictor.containers[0].env: invalid protocol v3. Must be one of [v1, v2]",
    ),
    "folders": (
        make_service(PREDICTOR_URIS),
        KNATIVE,
        "Current paths: [/mnt/a /opt/b] have no common parent beyond root",
    ),
    "claims": (
        make_service(
            {
                "model": {"modelFormat": {"name": "sklearn"}},
                "storageUris": [{"uri": "pvc://a", "mountPath": "/m"}, {"uri": "pvc://b", "mountPath": "/m"}],
            }
        ),
        KNATIVE,
        "PVC storage paths must be unique",
    ),
    "two ways": (
        make_service(
            {
                "containers": [{"name": "a", "env": [{"name": "STORAGE_URI", "value": "s3://a"}]}],
                "storageUris": [{"uri": "s3://a", "mountPath": "/m"}],
            }
        ),
        KNATIVE,
        "Setting both StorageURI and StorageURIs is not supported.",
    ),
    "workers": (
        make_service(predictor(workerSpec={})),
        STANDARD,
        "spec.predictor.workerSpec: a predictor of several",
    ),
    "an encrypted model": (
        make_service({"model": make_model(confidential={"enabled": True})}),
        KNATIVE,
        "spec.predictor.model.confidential: encrypted models are not carried out",
    ),
}


@pytest.mark.parametrize(("isvc", "mode", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_field(isvc: Object, mode: str, words: str) -> None:
    (said,) = said_of(isvc, mode)
    assert words in said
