"""TrainedModels: what fits is told to the predictor, and each says how it is and where."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.serving.kinds import INFERENCE_SERVICES, TRAINED_MODELS
from proa.ml.serving.operator.trained_model import TrainedModelController
from proa.ml.serving.revisions.trained_models import fitting
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS
from proa.reconcile.manager import Manager

READY = {
    "url": "http://many.ml.example.com",
    "address": {"url": "http://many.ml.svc.cluster.local"},
    "conditions": [{"type": "Ready", "status": "True"}],
}


def make_model(name: str, memory: str = "1Gi", made: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    model = {"storageUri": f"s3://b/{name}", "framework": "sklearn", "memory": memory}
    metadata = {"name": name, "namespace": "ml", "creationTimestamp": made}
    return {"metadata": metadata, "spec": {"inferenceService": "many", "model": model}}


def make_service(**model: Any) -> dict[str, Any]:
    predictor = {"model": {"modelFormat": {"name": "sklearn"}, **model}}
    return {
        "metadata": {"name": "many", "namespace": "ml", "uid": "u"},
        "spec": {"predictor": predictor},
        "status": READY,
    }


async def reconciled(*objects: tuple[Any, dict[str, Any]], gone_at: str = "") -> FakeClient:
    """Return the API after it; `gone_at` is the first call for which a TrainedModel is gone meanwhile."""
    client = FakeClient()
    if gone_at:
        client.fail_next(NotFound("trainedmodels a not found"), gone_at, TRAINED_MODELS)
    for resource, obj in objects:
        client.add(resource, obj)
    manager = Manager(client, (TrainedModelController(),), now=lambda: 1_750_000_000.0, random=lambda: 0.5)
    await manager.start()
    try:
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 30:
                await asyncio.sleep(0)
                quiet = quiet + 1 if manager.is_idle() else 0
    finally:
        await manager.stop()
    return client


def told(client: FakeClient, name: str) -> dict[str, str]:
    model = client.peek(TRAINED_MODELS, name, "ml") or {}
    return {one["type"]: one["status"] for one in model["status"]["conditions"]}


def test_models_that_fit_are_told_to_the_predictor_and_say_where_they_are():
    limits = {"resources": {"limits": {"memory": "1500Mi"}}}
    first, second = make_model("a"), make_model("b", made="2026-01-02T00:00:00Z")

    client = asyncio.run(
        reconciled(
            (INFERENCE_SERVICES, make_service(**limits)), (TRAINED_MODELS, first), (TRAINED_MODELS, second)
        )
    )

    config = client.peek(CONFIG_MAPS, "modelconfig-many-0", "ml")
    assert config is not None
    assert json.loads(config["data"]["models.json"]) == [
        {"modelName": "a", "modelSpec": first["spec"]["model"]}
    ]
    found = client.peek(TRAINED_MODELS, "a", "ml") or {}
    assert found["status"]["url"] == "http://many.ml.example.com/v1/models/a:predict"
    assert found["status"]["address"] == {"url": "http://many.ml.svc.cluster.local/v1/models/a:predict"}
    assert meta.controller_of(found) is not None
    assert set(told(client, "a").values()) == {"True"}
    assert told(client, "b") == {
        "InferenceServiceReady": "True",
        "IsMMSPredictor": "True",
        "MemoryResourceAvailable": "False",
        "Ready": "False",
    }


def test_a_predictor_with_a_model_of_its_own_takes_no_others():
    service = make_service(storageUri="s3://b/own")

    client = asyncio.run(reconciled((INFERENCE_SERVICES, service), (TRAINED_MODELS, make_model("a"))))

    assert told(client, "a")["IsMMSPredictor"] == "False"
    assert client.all(CONFIG_MAPS) == []


def test_a_model_whose_inference_service_is_missing_waits_and_says_so():
    client = asyncio.run(reconciled((TRAINED_MODELS, make_model("a"))))

    condition = meta.find_condition(client.all(TRAINED_MODELS)[0], "Ready")
    assert condition is not None
    assert (
        condition["message"] == "there is no InferenceService many: make it, or correct spec.inferenceService"
    )


@pytest.mark.parametrize("call", ["patch", "update"])
def test_a_model_that_is_deleted_meanwhile_is_no_failure(call: str, caplog: pytest.LogCaptureFixture):
    service = (INFERENCE_SERVICES, make_service())
    client = asyncio.run(reconciled(service, (TRAINED_MODELS, make_model("a")), gone_at=call))

    assert "modelconfig-many-0" in [meta.name(one) for one in client.all(CONFIG_MAPS)]
    assert caplog.records == []


def test_without_a_limit_all_models_fit():
    assert len(fitting([make_model("a"), make_model("b")], None)) == 2
    assert [meta.name(one) for one in fitting([make_model("a", "2Gi"), make_model("b")], "1Gi")] == ["b"]
