"""What an InferenceService that leaves something open means, and what its runtime's server is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.ml.serving.spec.services import make_model, make_runtime, make_service

from proa.ml.serving.spec.defaults import LEGACY_FORMATS, has_many_models, with_defaults
from proa.ml.serving.spec.runtime_defaults import with_runtime
from proa.ml.serving.spec.selection import Selected

RESOURCES = {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}}


@pytest.mark.parametrize("name", LEGACY_FORMATS)
def test_an_old_form_is_a_model(name: str) -> None:
    given = make_service({name: {"storageUri": "s3://a", "args": ["--x"]}, "minReplicas": 2})
    before = copy.deepcopy(given)
    predictor = with_defaults(given)["spec"]["predictor"]
    assert name not in predictor
    assert predictor["minReplicas"] == 2
    protocol = {"protocolVersion": "v2"} if name in ("triton", "onnx", "huggingface") else {}
    assert predictor["model"] == {
        "modelFormat": {"name": name},
        "storageUri": "s3://a",
        "args": ["--x"],
        **protocol,
    }
    assert given == before, "what users wrote stays"


def test_defaults_of_defaults_are_the_same() -> None:
    spec = {
        "transformer": {"containers": [{"name": "t", "image": "mine"}]},
        "explainer": {"art": {"type": "x"}},
    }
    for predictor in ({"model": make_model("triton")}, {"sklearn": {}}, {"containers": [{"image": "mine"}]}):
        once = with_defaults(make_service(predictor, **spec), RESOURCES)
        assert with_defaults(once, RESOURCES) == once


@pytest.mark.parametrize(
    ("model", "protocol"),
    [
        (make_model("triton"), "v2"),
        (make_model("vLLM"), "v2"),
        (make_model("triton", protocolVersion="grpc-v2"), "grpc-v2"),
        (make_model("onnx"), None),
    ],
)
def test_some_formats_have_a_protocol_of_their_own(model: Any, protocol: str | None) -> None:
    made = with_defaults(make_service({"model": model}))
    assert made["spec"]["predictor"]["model"].get("protocolVersion") == protocol
    assert made["metadata"]["annotations"] == {"modelFormat": model["modelFormat"]["name"]}


def test_containers_of_users_get_a_name_and_resources_and_no_token() -> None:
    one = with_defaults(make_service({"containers": [{"name": "web"}]}), RESOURCES)["spec"]["predictor"]
    assert one["containers"] == [{"name": "kserve-container", "resources": RESOURCES}]
    assert one["automountServiceAccountToken"] is False
    two = [
        {"name": "kserve-container", "resources": {"requests": {"cpu": "2"}}},
        {"name": "transformer-container"},
    ]
    made = with_defaults(make_service({"containers": two, "automountServiceAccountToken": True}), RESOURCES)
    assert made["spec"]["predictor"]["containers"] == [
        {"name": "kserve-container", "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "2Gi"}}},
        {"name": "transformer-container"},
    ]
    assert made["spec"]["predictor"]["automountServiceAccountToken"] is True
    assert (
        "resources" not in with_defaults(make_service({"containers": [{"name": "a"}]}))["spec"]["predictor"]
    )


def test_canaries_are_of_one_form_too() -> None:
    canary = {"predictor": {"name": "next", "onnx": {"storageUri": "s3://a"}}, "trafficPercent": 5}
    made = with_defaults(make_service(canary=[canary]))["spec"]["canary"][0]
    assert made["predictor"]["model"]["protocolVersion"] == "v2"
    assert made["trafficPercent"] == 5


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [
        ({"model": {"modelFormat": {"name": "sklearn"}}}, True),
        ({"model": make_model()}, False),
        ({"model": {"modelFormat": {"name": "sklearn"}, "storage": {"path": "x"}}}, False),
        ({"model": {"modelFormat": {"name": "sklearn"}}, "storageUris": [{"uri": "s3://a"}]}, False),
        ({"model": {"modelFormat": {"name": "huggingface"}}}, False),
        ({"containers": [{"env": [{"name": "MULTI_MODEL_SERVER", "value": "true"}]}]}, True),
        ({"containers": [{"image": "mine"}]}, False),
    ],
)
def test_a_predictor_without_a_model_of_its_own_takes_many(predictor: Any, expected: bool) -> None:
    assert has_many_models(predictor) is expected


def told(name: str, model: Any, **runtime: Any) -> Any:
    isvc = with_defaults(make_service({"model": model}))
    return with_runtime(isvc, Selected(make_runtime(name, "sklearn", **runtime), True, "v1"))


def test_an_ml_server_is_told_its_model_by_its_environment() -> None:
    made = told(
        "kserve-mlserver", make_model("xgboost", env=[{"name": "MLSERVER_MODEL_NAME", "value": "mine"}])
    )
    model = made["spec"]["predictor"]["model"]
    assert (model["runtime"], model["protocolVersion"]) == ("kserve-mlserver", "v2")
    assert model["env"] == [
        {"name": "MLSERVER_MODEL_NAME", "value": "mine"},
        {"name": "MLSERVER_MODEL_URI", "value": "/mnt/models"},
    ]
    assert made["metadata"]["labels"] == {"modelClass": "mlserver_xgboost.XGBoostModel"}
    none = told(
        "mine",
        {"modelFormat": {"name": "sklearn"}},
        annotations={"serving.kserve.io/server-type": "mlserver"},
    )
    assert none["spec"]["predictor"]["model"]["env"] == [
        {"name": "MLSERVER_LOAD_MODELS_AT_STARTUP", "value": "false"}
    ]


def test_torchserve_and_triton_are_told_what_upstream_tells_them() -> None:
    torch = told("kserve-torchserve", make_model("pytorch"))
    assert torch["spec"]["predictor"]["model"]["env"] == [{"name": "PROTOCOL_VERSION", "value": "v1"}]
    assert torch["metadata"]["labels"] == {"serviceEnvelope": "kserve"}
    v2 = told("kserve-torchserve", make_model("pytorch", protocolVersion="grpc-v2"))
    assert v2["metadata"]["labels"] == {"serviceEnvelope": "kservev2"}
    triton = told("kserve-tritonserver", {"modelFormat": {"name": "triton"}})
    assert triton["spec"]["predictor"]["model"]["args"] == ["--model-control-mode=explicit"]
    other = told("mine", make_model(args=["--a"]))
    assert other["spec"]["predictor"]["model"] == make_model(
        args=["--a"], runtime="mine", protocolVersion="v1"
    )
    assert "labels" not in other["metadata"]
