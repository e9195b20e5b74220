"""What users of KServe's SDK do, by its own documentation: run as `kserve_sdk.py FOLDER ANSWERS.json`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
import numpy
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    KServeClient,
    RESTConfig,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
    V1beta1SKLearnSpec,
)
from kubernetes import client as kubernetes
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAMESPACE = "default"
WAIT = {"timeout_seconds": 180, "polling_interval": 0.2}


def train(folder: Path, rows: int) -> Any:
    x, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)).fit(x[:rows], y[:rows])
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    return model


def make_service(name: str, predictor: V1beta1PredictorSpec) -> V1beta1InferenceService:
    return V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=kubernetes.V1ObjectMeta(name=name, namespace=NAMESPACE),
        spec=V1beta1InferenceServiceSpec(predictor=predictor),
    )


def traffic_of(service: dict[str, Any]) -> list[list[Any]]:
    component = service["status"]["components"]["predictor"]
    return [[target["revisionName"], target.get("percent")] for target in component["traffic"]]


async def ask(service: dict[str, Any], name: str, rows: numpy.ndarray) -> dict[str, Any]:
    """Ask by both protocols; the host is sent as a header, as where no resolver knows it."""
    place = urlsplit(service["status"]["url"])
    base, headers = f"http://127.0.0.1:{place.port or 80}", {"Host": place.netloc}
    answers: dict[str, Any] = {}
    async with InferenceRESTClient(config=RESTConfig(protocol="v1", retries=2)) as client:
        told = await client.infer(base, {"instances": rows.tolist()}, model_name=name, headers=headers)
        answers["v1"] = told["predictions"]
    async with InferenceRESTClient(config=RESTConfig(protocol="v2", retries=2)) as client:
        for is_binary in (False, True):
            tensor = InferInput("input-0", list(rows.shape), "FP64")
            tensor.set_data_from_numpy(rows, binary_data=is_binary)
            request = InferRequest(model_name=name, infer_inputs=[tensor])
            told = await client.infer(base, request, model_name=name, headers=headers)
            answers["v2 binary" if is_binary else "v2"] = told.outputs[0].as_numpy().tolist()
        answers["ready"] = [
            await client.is_server_ready(base, headers=headers),
            await client.is_server_live(base, headers=headers),
            await client.is_model_ready(base, name, headers=headers),
        ]
    return answers


async def ask_by_grpc(service: dict[str, Any], name: str, rows: numpy.ndarray) -> dict[str, Any]:
    place = urlsplit(service["status"]["url"])
    authority = [("grpc.default_authority", place.netloc)]
    async with InferenceGRPCClient(f"127.0.0.1:{place.port or 80}", channel_args=authority) as client:
        tensor = InferInput("input-0", list(rows.shape), "FP64")
        tensor.set_data_from_numpy(rows, binary_data=True)
        told = await client.infer(InferRequest(model_name=name, infer_inputs=[tensor]))
        return {
            "grpc": told.outputs[0].as_numpy().tolist(),
            "ready": [await client.is_server_ready(), await client.is_model_ready(name)],
        }


def main(folder: Path, answers_file: Path) -> None:
    first, second = train(folder / "one", 300), train(folder / "two", 1500)
    x = load_digits().data[1500:1520]
    client = KServeClient(config_file=os.environ["KUBECONFIG"])
    seen: dict[str, Any] = {
        "wanted": {"first": first.predict(x).tolist(), "second": second.predict(x).tolist()}
    }

    legacy = V1beta1PredictorSpec(sklearn=V1beta1SKLearnSpec(storage_uri=(folder / "one").as_uri()))
    seen["created"] = client.create(make_service("digits", legacy))["metadata"]["name"]
    client.wait_isvc_ready("digits", namespace=NAMESPACE, **WAIT)
    seen["ready"] = client.is_isvc_ready("digits", namespace=NAMESPACE)
    service = client.get("digits", namespace=NAMESPACE)
    seen["first"] = asyncio.run(ask(service, "digits", x))
    seen["first traffic"] = traffic_of(service)

    change = V1beta1PredictorSpec(
        canary_traffic_percent=20, sklearn=V1beta1SKLearnSpec(storage_uri=(folder / "two").as_uri())
    )
    patched = client.patch("digits", make_service("digits", change), namespace=NAMESPACE)
    generation = patched["metadata"]["generation"]
    client.wait_isvc_ready("digits", namespace=NAMESPACE, expected_generation=generation, **WAIT)
    seen["canary traffic"] = wait_for_traffic(client, 2)

    whole = V1beta1PredictorSpec(sklearn=V1beta1SKLearnSpec(storage_uri=(folder / "two").as_uri()))
    client.replace("digits", make_service("digits", whole), namespace=NAMESPACE)
    seen["promoted traffic"] = wait_for_traffic(client, 1)
    seen["second"] = asyncio.run(ask(client.get("digits", namespace=NAMESPACE), "digits", x))

    port = kubernetes.V1ContainerPort(container_port=8081, name="h2c", protocol="TCP")
    model = V1beta1ModelSpec(
        model_format=V1beta1ModelFormat(name="sklearn"),
        protocol_version="v2",
        storage_uri=(folder / "two").as_uri(),
        ports=[port],
    )
    client.create(make_service("digits-grpc", V1beta1PredictorSpec(model=model)), namespace=NAMESPACE)
    client.wait_isvc_ready("digits-grpc", namespace=NAMESPACE, **WAIT)
    seen["grpc"] = asyncio.run(ask_by_grpc(client.get("digits-grpc", namespace=NAMESPACE), "digits-grpc", x))

    for name in ("digits", "digits-grpc"):
        client.delete(name, namespace=NAMESPACE)
    seen["left"] = [item["metadata"]["name"] for item in client.get(namespace=NAMESPACE)["items"]]
    answers_file.write_text(json.dumps(seen))


def wait_for_traffic(client: KServeClient, revisions: int) -> list[list[Any]]:
    """Return who gets how much once so many revisions get some, the latest being ready."""
    for event in kubernetes_watch(client):
        component = event["status"]["components"]["predictor"]
        found = traffic_of(event)
        if len(found) == revisions and component["latestReadyRevision"] == component["latestCreatedRevision"]:
            return found
    raise TimeoutError("the traffic has not moved")


def kubernetes_watch(client: KServeClient) -> Any:
    from kubernetes import watch

    stream = watch.Watch().stream(
        client.api_instance.list_namespaced_custom_object,
        "serving.kserve.io",
        "v1beta1",
        NAMESPACE,
        "inferenceservices",
        field_selector="metadata.name=digits",
        timeout_seconds=180,
    )
    return (event["object"] for event in stream if "components" in event["object"].get("status", {}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
